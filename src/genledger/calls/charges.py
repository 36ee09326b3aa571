"""What a settled call consumed and cost, from what the provider answered or what was received of it."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any, NamedTuple

from genledger import pricing
from genledger.pricing.cost import Cost, is_rejection
from genledger.pricing.usage import Usage
from genledger_semconv import attributes as A

from . import faults
from .lengths import text_length
from .operation import Attributes, Peer
from .projection import cost_attributes, usage_attributes

if TYPE_CHECKING:
    from .call import Call


class Charge(NamedTuple):
    """What a call consumed and cost; `unpriced` says why the cost is not known, when that has to be said."""

    usage: Usage | None = None
    cost: Cost | None = None
    unpriced: str | None = None
    estimated: bool = False
    tier: str | None = None
    region: str | None = None


NOTHING = Charge()
"""The charge of a call that nobody bills."""


def charge_of(call: Call, response: Any, *, failed: bool, length: int) -> Charge:
    """The charge of one call. Never raises: a fault of ours leaves the call unpriced, with the reason `error`.

    Args:
        call: The call.
        response: The provider's answer, as far as it came.
        failed: The call failed: without an answer nothing is billed, and nothing has to be explained.
        length: Characters of generated text that were received, when the provider has not counted all of them.
    """
    if not call.operation.priced:
        return NOTHING
    usage: Usage | None = None
    try:
        reading, estimated = _read(call, response, length)
        if reading is None:
            return NOTHING if failed else Charge(unpriced="no_usage")
        usage = reading.usage
        if length and not estimated:
            usage, estimated = _completed(call, usage, length)
        cost, unpriced = cost_of(reading, usage, call.peer, reading.model or call.model, call.started_ns)
        return Charge(usage, cost, unpriced, estimated, reading.tier, reading.region)
    except Exception as fault:
        faults.report("pricing", fault)
        return Charge(usage, unpriced="error")


def _read(call: Call, response: Any, length: int) -> tuple[pricing.Reading | None, bool]:
    """What the answer says of usage; for a stream that says nothing, an estimate."""
    if response is None:
        return None, False
    provider, api, base_url = call.peer.provider, call.operation.api, call.peer.base_url
    reading = pricing.read_quickly(api, response, call.body, base_url)
    if reading is None:
        reading = pricing.read_usage(provider, api, response, call.body, base_url=base_url, headers=call.headers)
    if reading is not None or not call.streamed:
        return reading, False
    count, model = pricing.estimate_tokens, call.model or ""
    usage = Usage(input=count(text_length(call.body), provider, model), output=count(length, provider, model))
    return pricing.Reading(usage=usage, model=call.model, requested=call.model), True


def _completed(call: Call, usage: Usage, length: int) -> tuple[Usage, bool]:
    """The usage of a stream that was cut: what was received counts, where the provider had said less."""
    received = pricing.estimate_tokens(length, call.peer.provider, call.model or "")
    missing = received - usage.output_tokens
    return (replace(usage, output=usage.output + missing), True) if missing > 0 else (usage, False)


def cost_of(
    reading: pricing.Reading, usage: Usage, peer: Peer, model: str | None, at_ns: int
) -> tuple[Cost | None, str | None]:
    """What a usage costs by what the provider says about it, or else why that is not known."""
    answer = pricing.price(
        usage,
        provider=peer.provider,
        model=model,
        at_ns=at_ns,
        tier=reading.tier,
        region=reading.region,
        base_url=peer.base_url,
        reported=reading.reported,
        notes=reading.notes,
        requested=reading.requested,
        context=reading.context,
        also=reading.also,
    )
    if not isinstance(answer, str):
        for note in filter(is_rejection, answer.notes):
            pricing.warn_rejected(peer.provider, model, note)
        return answer, None
    if answer != "no_usage":
        pricing.warn_unpriced(peer.provider, model, answer)
    return None, answer


def write_charge(charge: Charge, attributes: Attributes, *, generates: bool) -> None:
    """Write a charge into the attributes of its span."""
    if charge.usage is not None:
        usage_attributes(charge.usage, attributes, generates=generates)
        if charge.estimated:
            attributes[A.GENLEDGER_USAGE_ESTIMATED] = True
    cost_attributes(charge.cost, charge.unpriced, attributes)
