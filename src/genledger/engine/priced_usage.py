"""What a settled call consumed and cost, from what the provider answered or what was received of it.

On a span, it is the conventions' inclusive totals, and our own names for the cost.
"""

from __future__ import annotations

import time
from dataclasses import replace
from math import ceil
from typing import TYPE_CHECKING, Any, NamedTuple

from genledger import pricing
from genledger.engine.ceiling import ceiling, input_tokens, largest
from genledger.engine.operation import Attributes, Endpoint, Received
from genledger.pricing.cost import Cost, is_rejection
from genledger.pricing.usage import Usage
from genledger.shared import internal_errors
from genledger_semconv import attributes as A

if TYPE_CHECKING:
    from genledger.engine.call import Call


NOTICE = 0.5
"""Seconds that a provider is taken to go on generating, and billing, after a stream was dropped."""

PACE = 100.0
"""Tokens a second that a provider is taken to generate before chunks have shown how fast it is, and at most while
they came for less than `NOTICE` seconds: those that waited in a buffer arrive faster than they were made."""

_SHORTEST = 0.05
"""Seconds over which a pace is measured at least."""


class Lost(NamedTuple):
    """Estimated usage and cost of an attempt that may have been billed, or the reason why the cost is unknown."""

    usage: Usage
    cost: Cost | None
    unpriced: str | None


class PricedUsage(NamedTuple):
    """Usage and cost of a call; `unpriced` is the reason for an unknown cost, if one has to be reported.

    `usage` and `cost` include the attempts that were `lost`, each of which is estimated alike.
    """

    usage: Usage | None = None
    cost: Cost | None = None
    unpriced: str | None = None
    estimated: bool = False
    tier: str | None = None
    region: str | None = None
    lost: Lost | None = None


NOTHING = PricedUsage()
"""The priced of a call that nobody bills."""


def priced_usage_of(call: Call, response: Any, *, failed: bool, received: Received | None) -> PricedUsage:
    """Return the priced usage of one call. Never raises: an internal error leaves it unpriced, with the reason `error`.

    Args:
        call: The call.
        response: The provider's answer, as far as it came.
        failed: The call failed: without an answer, and with no attempt that may be billed, it costs nothing.
        received: How much generated text came, when the provider has not counted all of it.
    """
    if not call.operation.priced or call.local is not None or call.later == "elsewhere":
        return NOTHING
    if call.later == "pending":
        return PricedUsage(unpriced="pending")
    priced = NOTHING
    try:
        reading, estimated = _read(call, response, received)
        if reading is not None:
            if received is not None and not estimated:
                reading.usage, estimated = _completed(call, reading.usage, received)
            priced = PricedUsage(reading.usage, None, "error", estimated, reading.tier, reading.region)
            if estimated:
                reading.partial = False
            reading.model = reading.model or call.model
            cost, unpriced = cost_of(reading, call.endpoint, call.started_ns)
            priced = priced._replace(cost=cost, unpriced=unpriced)
        elif not failed and not call.lost:
            priced = PricedUsage(unpriced="no_usage")
        return _with_lost(call, priced) if call.lost else priced
    except Exception as fault:
        internal_errors.report("pricing", fault)
        return priced._replace(cost=None, unpriced="error")


def _read(call: Call, response: Any, received: Received | None) -> tuple[pricing.Reading | None, bool]:
    """Read the usage in the answer; estimate that of a stream without usage."""
    if response is None:
        return None, False
    provider, api, base_url = call.endpoint.provider, call.operation.api, call.endpoint.base_url
    reading = pricing.read_usage(provider, api, response, call.body, base_url=base_url, headers=call.headers)
    if reading is not None or not call.streamed or call.operation.hidden_prompt:
        return reading, False
    output = _generated(call, received) if received is not None else 0
    usage = Usage(input=_given(call), output=output)
    return pricing.Reading(usage=usage, model=call.model, requested=call.model), True


def known_by_headers(call: Call) -> bool:
    """Return whether the headers of an answer say by themselves what the call consumed or cost."""
    endpoint, api, headers = call.endpoint, call.operation.api, call.headers
    if headers is None:
        return False
    provider, base_url = endpoint.provider, endpoint.base_url
    return pricing.read_usage(provider, api, {}, call.body, base_url=base_url, headers=headers) is not None


def _completed(call: Call, usage: Usage, received: Received) -> tuple[Usage, bool]:
    """The usage of a stream that its provider had not counted to its end, and whether it is an estimate."""
    missing = _generated(call, received) - usage.output_tokens
    if missing <= 0:
        return usage, received.measured
    given = usage.input if usage.input_tokens else _given(call)
    return replace(usage, input=given, output=usage.output + missing), True


def _given(call: Call) -> int:
    return input_tokens(call.body, call.endpoint.provider, call.model or "", carefully=True)


def _generated(call: Call, received: Received) -> int:
    """About how many tokens the provider generated: never less than came, within what the request allows.

    A provider bills what it generated until it noticed that nobody reads on. So a stream that was cut counts what
    came, what may have been generated since the application last had all there was, and what `NOTICE` more seconds
    bring; at the pace at which chunks came until then.
    """
    tokens = pricing.estimate_tokens(received.length, call.endpoint.provider, call.model or "")
    if not received.generating:
        return tokens
    tokens = max(tokens, received.chunks)
    if received.chunks:
        then, pace = tokens * received.level / received.chunks, PACE
        if received.seconds >= _SHORTEST:
            pace = then / received.seconds
        if received.seconds < NOTICE:
            pace = min(pace, PACE)
        made = max(float(tokens), then + pace * received.since) + pace * NOTICE
    else:
        made = PACE * (time.perf_counter() - call.started + NOTICE)
    most = largest(call.endpoint.provider, call.operation, call.body).output_tokens
    return max(tokens, min(ceil(made), most))


def lost_attempt(call: Call) -> Lost:
    """Return what an attempt of this call is taken for whose answer never came: its ceiling."""
    usage = ceiling(call, call.body, carefully=True)
    reading = pricing.Reading(usage=usage, model=call.model, requested=call.model)
    return Lost(usage, *cost_of(reading, call.endpoint, call.started_ns))


def _with_lost(call: Call, priced: PricedUsage) -> PricedUsage:
    """Add the attempts that may have been billed although their answer never came: each at its ceiling."""
    lost = call.lost_attempt if call.lost_attempt is not None else lost_attempt(call)
    each, cost, unpriced = lost
    usage = priced.usage
    for _ in range(call.lost):
        usage = each if usage is None else usage + each
    more = _times(cost, call.lost)
    if priced.usage is None and priced.cost is None:
        return PricedUsage(usage, more, unpriced, True, lost=lost)
    if priced.cost is None or more is None:
        reason = priced.unpriced or unpriced
        return priced._replace(usage=usage, cost=None, unpriced=reason, estimated=True, lost=lost)
    total = replace(
        priced.cost,
        amount=priced.cost.amount + more.amount,
        parts=priced.cost.parts + more.parts if priced.cost.parts else (),
        notes=(*priced.cost.notes, f"includes_lost_attempts:{call.lost}"),
    )
    return priced._replace(usage=usage, cost=total, estimated=True, lost=lost)


def _times(cost: Cost | None, number: int) -> Cost | None:
    if cost is None:
        return None
    parts = tuple(part._replace(count=part.count * number, amount=part.amount * number) for part in cost.parts)
    return replace(cost, amount=cost.amount * number, parts=parts)


def cost_of(reading: pricing.Reading, endpoint: Endpoint, at_ns: int) -> tuple[Cost | None, str | None]:
    """Return the cost of what an answer reports, or the reason why it is unknown."""
    answer = pricing.price_reading(reading, provider=endpoint.provider, at_ns=at_ns, base_url=endpoint.base_url)
    if not isinstance(answer, str):
        for note in filter(is_rejection, answer.notes):
            pricing.warn_rejected(endpoint.provider, reading.model, note)
        return answer, None
    if answer != "no_usage":
        pricing.warn_unpriced(endpoint.provider, reading.model, answer)
    return None, answer


def write_priced_usage(priced: PricedUsage, attributes: Attributes, *, generates: bool) -> None:
    """Write a priced usage into the attributes of its span."""
    if priced.usage is not None:
        usage_attributes(priced.usage, attributes, generates=generates)
        if priced.estimated:
            attributes[A.GENLEDGER_USAGE_ESTIMATED] = True
    cost_attributes(priced.cost, priced.unpriced, attributes)


def usage_attributes(usage: Usage, attributes: Attributes, *, generates: bool) -> None:
    """Write the counts of a call; `generates` says whether the operation has output tokens at all."""
    units = usage.units
    input_tokens = usage.input_tokens
    output_tokens = usage.output_tokens
    if input_tokens or output_tokens or not units:
        attributes[A.GEN_AI_USAGE_INPUT_TOKENS] = input_tokens
        if generates:
            attributes[A.GEN_AI_USAGE_OUTPUT_TOKENS] = output_tokens
    if usage.cache_read or usage.cache_read_audio or usage.cache_read_image:
        attributes[A.GEN_AI_USAGE_CACHE_READ_INPUT_TOKENS] = usage.cache_read_tokens
    if usage.cache_write or usage.cache_write_1h:
        attributes[A.GEN_AI_USAGE_CACHE_WRITE_INPUT_TOKENS] = usage.cache_write_tokens
        if usage.cache_write_1h:
            attributes[f"{A.GENLEDGER_USAGE}.cache_write_1h"] = usage.cache_write_1h
    if usage.reasoning:
        attributes[A.GEN_AI_USAGE_REASONING_OUTPUT_TOKENS] = usage.reasoning
    audio = usage.input_audio + usage.cache_read_audio
    image = usage.input_image + usage.cache_read_image
    if audio or image:
        attributes[A.GEN_AI_USAGE_TEXT_INPUT_TOKENS] = input_tokens - audio - image
        if audio:
            attributes[A.GEN_AI_USAGE_AUDIO_INPUT_TOKENS] = audio
        if image:
            attributes[A.GEN_AI_USAGE_IMAGE_INPUT_TOKENS] = image
        if usage.cache_read_audio:
            attributes[A.GEN_AI_USAGE_AUDIO_CACHE_READ_INPUT_TOKENS] = usage.cache_read_audio
        if usage.cache_read_image:
            attributes[A.GEN_AI_USAGE_IMAGE_CACHE_READ_INPUT_TOKENS] = usage.cache_read_image
    if usage.output_audio or usage.output_image:
        attributes[A.GEN_AI_USAGE_TEXT_OUTPUT_TOKENS] = usage.output + usage.reasoning
        if usage.output_audio:
            attributes[A.GEN_AI_USAGE_AUDIO_OUTPUT_TOKENS] = usage.output_audio
        if usage.output_image:
            attributes[A.GEN_AI_USAGE_IMAGE_OUTPUT_TOKENS] = usage.output_image
    for unit, count in units.items():
        attributes[f"{A.GENLEDGER_USAGE}.{unit}"] = count


def cost_attributes(cost: Cost | None, unpriced: str | None, attributes: Attributes) -> None:
    """Write what a call cost, or why that is not known."""
    if cost is None:
        if unpriced is not None:
            attributes[A.GENLEDGER_COST_UNPRICED] = unpriced
        return
    attributes[A.GENLEDGER_COST_AMOUNT] = cost.amount
    attributes[A.GENLEDGER_COST_SOURCE] = cost.source
    for part in cost.parts:
        if part.amount:
            name = _COST_OF_BUCKET.get(part.bucket, A.GENLEDGER_COST_OTHER)
            attributes[name] = attributes.get(name, 0.0) + part.amount  # type: ignore[operator]
    if cost.table_date is not None:
        attributes[A.GENLEDGER_COST_TABLE_DATE] = cost.table_date
    if cost.notes:
        attributes[A.GENLEDGER_COST_NOTES] = cost.notes


_COST_OF_BUCKET = {
    "input": A.GENLEDGER_COST_INPUT,
    "input_audio": A.GENLEDGER_COST_INPUT,
    "input_image": A.GENLEDGER_COST_INPUT,
    "cache_read": A.GENLEDGER_COST_CACHE_READ,
    "cache_read_audio": A.GENLEDGER_COST_CACHE_READ,
    "cache_read_image": A.GENLEDGER_COST_CACHE_READ,
    "cache_write": A.GENLEDGER_COST_CACHE_WRITE,
    "cache_write_1h": A.GENLEDGER_COST_CACHE_WRITE,
    "output": A.GENLEDGER_COST_OUTPUT,
    "reasoning": A.GENLEDGER_COST_OUTPUT,
    "output_audio": A.GENLEDGER_COST_OUTPUT,
    "output_image": A.GENLEDGER_COST_OUTPUT,
}
