"""Usage and cost as span attributes: the conventions' inclusive totals, and our own names for the cost."""

from __future__ import annotations

from genledger.engine.operation import Attributes
from genledger.pricing.cost import Cost
from genledger.pricing.usage import Usage
from genledger_semconv import attributes as A


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
