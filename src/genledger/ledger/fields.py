"""The words of questions: what calls can be grouped and filtered by, and what can be measured of them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal, NamedTuple

from genledger.pricing.usage import INPUT_BUCKETS, OUTPUT_BUCKETS

METADATA = "metadata."
"""Begins the name of a field that the application's own metadata has: `metadata.plan`."""


class Field(NamedTuple):
    """What calls can be grouped and filtered by.

    Attributes:
        expression: In SQL, of a row of `calls`.
        rolled: Whether the hourly rollups keep it apart.
        shared: Whether outcomes and answers of caches have it, too, by the same expression.
    """

    expression: str
    rolled: bool = False
    shared: bool = False


FIELDS: Mapping[str, Field] = {
    "tenant": Field("tenant", True, True),
    "feature": Field("feature", True, True),
    "user": Field("user", shared=True),
    "session": Field("session", shared=True),
    "prompt_name": Field("prompt_name", True, True),
    "prompt_version": Field("prompt_version", True, True),
    "prompt": Field("nullif(trim(ifnull(prompt_name, '') || ' ' || ifnull(prompt_version, '')), '')", shared=True),
    "model": Field("ifnull(response_model, request_model)", True),
    "request_model": Field("request_model", True),
    "provider": Field("provider", True),
    "operation": Field("operation", True),
    "library": Field("library"),
    "outcome": Field("outcome", True),
    "error_type": Field("error_type"),
    "tier": Field("tier", True),
    "region": Field("region"),
    "release": Field("release", True, True),
    "unpriced_reason": Field("unpriced"),
    "stream": Field("stream"),
    "retried": Field("iif(attempts > 1, 'yes', 'no')"),
    "trace": Field("trace_id", shared=True),
    "tag": Field("each_tag.value", shared=True),
    "agent": Field("run_name"),
    "workflow": Field("run_name"),
    "tool": Field("run_name"),
}
"""Every field but the application's own metadata, and `outcome_name`, which only outcomes have."""

RUNS = frozenset({"agent", "workflow", "tool"})
"""The fields that are kinds of step: a call belongs to the nearest step of that kind around it."""

OUTCOME_NAME = "outcome_name"
"""The name that the application gave an outcome."""

_CACHED = ("cache_read", "cache_read_audio", "cache_read_image")


def _tokens(buckets: tuple[str, ...]) -> str:
    return f"ifnull({' + '.join(buckets)}, 0)"


SUMS: Mapping[str, str] = {
    "calls": "1",
    "priced": "(cost_usd IS NOT NULL)",
    "unpriced": "(unpriced IS NOT NULL)",
    "errors": "(outcome IN ('error', 'timeout', 'rate_limited'))",
    "succeeded": "(outcome = 'success')",
    "attempts": "attempts",
    "seconds": "iif(outcome = 'success', duration_s, 0.0)",
    "chunk_seconds": "ifnull(time_to_first_chunk_s, 0.0)",
    "chunked": "(time_to_first_chunk_s IS NOT NULL)",
    "input_tokens": _tokens(tuple(INPUT_BUCKETS)),
    "output_tokens": _tokens(tuple(OUTPUT_BUCKETS)),
    "cached_tokens": _tokens(_CACHED),
    "cache_write_tokens": _tokens(("cache_write", "cache_write_1h")),
    "reasoning_tokens": "ifnull(reasoning, 0)",
    "cost": "cost_usd",
}
"""What is added up over calls, and its value for one row of `calls`; the rollups have a column of the name."""


Table = Literal["calls", "outcomes", "cache_hits"]
"""What a metric is about."""


class Metric(NamedTuple):
    """What can be measured of calls, of outcomes, or of the answers of the application's caches.

    Attributes:
        expression: In SQL, of the sums of `SUMS`; empty for one that is measured in another way.
        unit: `USD`, `s`, `1` for a share, or what is counted.
        distinct: The field whose different values are counted.
        share: Of successful calls' durations, which are at most this long; for percentiles.
        of: What it is about. One of outcomes with an expression is that of the calls, divided by the outcomes.
    """

    expression: str = ""
    unit: str = ""
    distinct: str | None = None
    share: float | None = None
    of: Table = "calls"

    @property
    def is_ratio(self) -> bool:
        """Whether it divides, so that it is unknown where there is nothing, and those of groups do not add up."""
        return "/" in self.expression or (self.of == "outcomes" and bool(self.expression))


_TOKENS = "sum(input_tokens) + sum(output_tokens)"

METRICS: Mapping[str, Metric] = {
    "cost": Metric("sum(cost)", "USD"),
    "calls": Metric("sum(calls)", "calls"),
    "priced": Metric("sum(priced)", "calls"),
    "unpriced": Metric("sum(unpriced)", "calls"),
    "unpriced_share": Metric("1.0 * sum(unpriced) / sum(calls)", "1"),
    "errors": Metric("sum(errors)", "calls"),
    "succeeded": Metric("sum(succeeded)", "calls"),
    "error_rate": Metric("1.0 * sum(errors) / sum(calls)", "1"),
    "tokens": Metric(_TOKENS, "tokens"),
    "input_tokens": Metric("sum(input_tokens)", "tokens"),
    "output_tokens": Metric("sum(output_tokens)", "tokens"),
    "cached_tokens": Metric("sum(cached_tokens)", "tokens"),
    "cache_write_tokens": Metric("sum(cache_write_tokens)", "tokens"),
    "reasoning_tokens": Metric("sum(reasoning_tokens)", "tokens"),
    "attempts": Metric("sum(attempts)", "requests"),
    "retries": Metric("sum(attempts) - sum(calls)", "requests"),
    "latency": Metric("sum(seconds) / nullif(sum(succeeded), 0)", "s"),
    "latency_p50": Metric(unit="s", share=0.5),
    "latency_p95": Metric(unit="s", share=0.95),
    "time_to_first_chunk": Metric("sum(chunk_seconds) / nullif(sum(chunked), 0)", "s"),
    "cost_per_call": Metric("sum(cost) / nullif(sum(priced), 0)", "USD"),
    "tokens_per_call": Metric(f"1.0 * ({_TOKENS}) / sum(calls)", "tokens"),
    "users": Metric(unit="users", distinct="user"),
    "sessions": Metric(unit="sessions", distinct="session"),
    "traces": Metric(unit="traces", distinct="trace"),
    "cache_hits": Metric(unit="hits", of="cache_hits"),
    "saved": Metric(unit="USD", of="cache_hits"),
    "outcomes": Metric(unit="outcomes", of="outcomes"),
    "outcome_value": Metric(unit="", of="outcomes"),
    "cost_per_outcome": Metric("sum(cost)", "USD", of="outcomes"),
    "tokens_per_outcome": Metric(_TOKENS, "tokens", of="outcomes"),
}
"""Every metric. A sum of costs is that of the priced calls, and unknown, not zero, where there is none."""
