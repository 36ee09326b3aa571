"""Answers that came from a cache, of a client or a gateway: what the call would have consumed and cost."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from genledger import pricing
from genledger.engine.record import CacheHit
from genledger.pricing.cost import Cost
from genledger.pricing.reported import GATEWAY_CACHE

if TYPE_CHECKING:
    from genledger.engine.call import Call


def of_gateway(cost: Cost | None) -> bool:
    """Return whether a cost is that of an answer which a gateway had in its cache."""
    return cost is not None and GATEWAY_CACHE in cost.notes


def hit_of(call: Call, response: Any, cache: str | None = None) -> CacheHit:
    """Return the hit that answered a call, or a part of it, in a cache: by default in one of the library's own.

    A cost in the answer is not believed: it is that of the hit. Without usage, nobody knows what was saved.
    """
    endpoint, context, usage, saved = call.endpoint, call.span.get_span_context(), None, None
    if response is not None:
        provider, api, base_url = endpoint.provider, call.operation.api, endpoint.base_url
        reading = pricing.read_usage(provider, api, response, call.body, base_url=base_url, headers=call.headers)
        if reading is not None:
            usage = reading.usage
            reading.model, reading.reported, reading.notes = reading.model or call.model, None, ()
            cost = pricing.price_reading(reading, provider=provider, at_ns=call.started_ns, base_url=base_url)
            saved = None if isinstance(cost, str) else cost.amount
    return CacheHit(
        cache or call.library,
        call.started_ns,
        call.attribution,
        context.trace_id,
        context.span_id,
        endpoint.provider,
        call.model,
        usage,
        saved,
        call.recorder.release,
    )
