"""Answers that came from a cache of the application, or of a library: what was not spent."""

from __future__ import annotations

import math
import time

from opentelemetry.context import Context, get_current
from opentelemetry.trace import get_current_span

from genledger import pricing
from genledger.context.attribution import current
from genledger.engine.record import CacheHit
from genledger.engine.recorder import Recorder, active
from genledger.pricing.usage import Usage
from genledger.shared import internal_errors


def record_cache_hit(
    saved_usd: float | None = None,
    *,
    cache: str = "application",
    model: str | None = None,
    provider: str | None = None,
    usage: Usage | None = None,
    input_tokens: int | None = None,
    output_tokens: int | None = None,
) -> None:
    """Record that a cache of the application answered in place of a provider. It is no call, and costs nothing.

    What it saved is `saved_usd`, else what the call would have cost now: the price of its tokens. Without both it is
    unknown, and in no sum.

    Args:
        saved_usd: What the call would have cost in USD, such as the cost of the call whose answer was kept.
        cache: The cache, by a word of the application's.
        model: The model that would have been asked.
        provider: Who would have been called (default: whose own model it is).
        usage: What the call would have consumed; instead of the two counts.
        input_tokens: Tokens that it would have been given.
        output_tokens: Tokens that it would have generated. A count that is left out is 0: nothing is overstated.

    Raises:
        TypeError: An argument has the wrong type.
        ValueError: The cache has no name, or a number is negative or not finite.
    """
    if not isinstance(cache, str) or not cache.strip():
        raise ValueError(f"record_cache_hit(cache=…) must be a string that is not empty, not {cache!r:.60}")
    if saved_usd is not None:
        try:
            saved_usd = float(saved_usd)
        except (TypeError, ValueError):
            kind = type(saved_usd).__name__
            raise TypeError(f"record_cache_hit(saved_usd) must be a number, not {kind}") from None
        if not math.isfinite(saved_usd) or saved_usd < 0:
            raise ValueError(f"record_cache_hit(saved_usd) must be 0 or more, not {saved_usd!r}")
    for name, count in (("input_tokens", input_tokens), ("output_tokens", output_tokens)):
        if count is not None and (isinstance(count, bool) or not isinstance(count, int)):
            raise TypeError(f"record_cache_hit({name}=…) must be a whole number, not {type(count).__name__}")
        if count is not None and count < 0:
            raise ValueError(f"record_cache_hit({name}=…) must be 0 or more, not {count!r}")
    if usage is not None and not isinstance(usage, Usage):
        raise TypeError(f"record_cache_hit(usage=…) must be a genledger.pricing.Usage, not {type(usage).__name__}")
    recorder = active()
    if recorder is None:
        return
    if usage is None and (input_tokens or output_tokens):
        usage = Usage(input=input_tokens or 0, output=output_tokens or 0)
    note_hit(recorder, cache, model=model, provider=provider, usage=usage, saved_usd=saved_usd)


def note_hit(
    recorder: Recorder,
    cache: str,
    *,
    model: str | None = None,
    provider: str | None = None,
    usage: Usage | None = None,
    saved_usd: float | None = None,
    context: Context | None = None,
) -> None:
    """Count a cache hit, and hand it to the ledger.

    Args:
        recorder: The recorder in force.
        cache: The cache's name.
        model: The model that would have been asked.
        provider: Who would have been called.
        usage: What the call would have consumed.
        saved_usd: What it would have cost, where that is known better than by its usage.
        context: Whom it is for; the current context by default.
    """
    context = get_current() if context is None else context
    at_ns = time.time_ns()
    if saved_usd is None and usage is not None and model is not None:
        saved_usd = _price(usage, model, provider, at_ns)
    span = get_current_span(context).get_span_context()
    inside = span.is_valid
    hit = CacheHit(
        cache,
        at_ns,
        current(context),
        span.trace_id if inside else None,
        span.span_id if inside else None,
        provider,
        model,
        usage,
        saved_usd,
        recorder.release,
    )
    recorder.tell(hit, span if inside else None)


def _price(usage: Usage, model: str, provider: str | None, at_ns: int) -> float | None:
    """Return what a usage costs in USD, `None` where the price is not known."""
    try:
        if provider is None:
            found = pricing.quote(model)
            if isinstance(found, str):
                return None
            provider = found.provider
        cost = pricing.price(usage, provider=provider, model=model, at_ns=at_ns)
        return None if isinstance(cost, str) else cost.amount
    except Exception as fault:
        internal_errors.report("pricing a cache hit", fault)
        return None
