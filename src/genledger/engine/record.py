"""Record of one call: operation, attribution, usage, cost and outcome."""

from __future__ import annotations

from dataclasses import dataclass
from operator import attrgetter
from typing import TYPE_CHECKING, Literal, NamedTuple

from genledger.context.attribution import Attribution
from genledger.pricing.cost import Cost
from genledger.pricing.usage import Usage
from genledger.shared.text import MAX_NAME, bounded

if TYPE_CHECKING:
    from genledger.engine.steps import Kind

Outcome = Literal["success", "timeout", "rate_limited", "error", "cancelled", "blocked"]
"""How a call ended."""


@dataclass(slots=True)
class CallRecord:
    """One settled call. Created when the call settles, and not changed afterwards.

    Times are nanoseconds since the epoch, durations seconds (0 for the result of a batch, which does not say how
    long it took). `trace_id` and `span_id` are the integers of the
    span context; together they identify the call. `cost` is `None` when `unpriced` says why, and for a call that
    nobody bills (an embedded database, a request that failed before it was served).
    `attempts` counts the requests sent (1 without retries); `retry_causes` has one word per retry
    (`429`, `503`, `timeout`, `connection`). `tier` and `region` are what the price depends on beside the model:
    `batch`, `flex`, `priority`; the place the provider says it served from. `release` is the application's. Texts are
    `bounded`, whoever they are from.
    """

    trace_id: int
    span_id: int
    parent_span_id: int | None
    library: str
    provider: str
    operation: str
    request_model: str | None
    response_model: str | None
    response_id: str | None
    started_ns: int
    duration_s: float
    time_to_first_chunk_s: float | None
    stream: bool
    outcome: Outcome
    error_type: str | None
    attempts: int
    retry_causes: tuple[str, ...]
    attribution: Attribution
    usage: Usage | None
    usage_estimated: bool
    cost: Cost | None
    unpriced: str | None
    server_address: str | None
    server_port: int | None
    tier: str | None = None
    region: str | None = None
    release: str | None = None

    def __post_init__(self) -> None:
        # All at once: nearly every call has short names, and is on the application's way.
        together = "".join(filter(None, _texts(self)))
        if len(together) > MAX_NAME or not together.isascii():
            for name in _TEXTS:
                value = getattr(self, name)
                if value is not None:
                    setattr(self, name, bounded(value))


_TEXTS = (
    "library", "provider", "operation", "request_model", "response_model", "response_id", "outcome", "error_type",
    "server_address", "tier", "region",
)  # fmt: skip
_texts = attrgetter(*_TEXTS)


@dataclass(slots=True)
class StepRecord:
    """Work of the application that calls are made in: an agent, a tool, a workflow, an observed task.

    It costs nothing by itself; it gives a trace its shape. `started_ns` is nanoseconds since the epoch, `duration_s`
    seconds. Without a `kind`, it is no step but a span between a step or call and the step around it, and has no name.
    """

    trace_id: int
    span_id: int
    parent_span_id: int | None
    kind: Kind | None
    name: str
    started_ns: int
    duration_s: float
    error_type: str | None
    tenant: str | None = None
    feature: str | None = None


class ProductEvent(NamedTuple):
    """Something the application's user did with a result: `draft_accepted`, `ticket_deflected`.

    Joined to the spend of the same trace or attribution. `at_ns` is nanoseconds since the epoch. With a `key`, it
    replaces the one of its name that has the same key: what it leaves out of the attribution, the `currency`, and the
    time and place that are not `timed` and `placed` stay as they were.

    Attributes:
        timed: Whether the application gave the time; otherwise it is when the event was recorded.
        placed: Whether the application gave the trace; otherwise it is the one that was current.
        release: The application's release that recorded it.
    """

    name: str
    at_ns: int
    attribution: Attribution
    trace_id: int | None
    span_id: int | None
    value: float
    currency: str | None = None
    key: str | None = None
    timed: bool = False
    placed: bool = False
    release: str | None = None


class CacheHit(NamedTuple):
    """Answer that came from a cache of the application: no call was made, and nothing is paid for.

    Attributes:
        cache: The cache: the application's word for it, or the library that has it.
        at_ns: When, in nanoseconds since the epoch.
        attribution: Whom the answer was for.
        trace_id: The trace that was current.
        span_id: The span that was current.
        provider: Who would have been called; `None` if nobody knows.
        model: The model that would have been asked.
        usage: What the call would have consumed.
        saved_usd: What it would have cost; `None` where that is not known.
        release: The application's release.
    """

    cache: str
    at_ns: int
    attribution: Attribution
    trace_id: int | None
    span_id: int | None
    provider: str | None = None
    model: str | None = None
    usage: Usage | None = None
    saved_usd: float | None = None
    release: str | None = None
