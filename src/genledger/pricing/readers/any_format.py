"""Usage of an answer whose format is not known by its endpoint: each sign of a format is looked for."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from genledger.pricing.getters import Counts, duration, field, first, items, number, path, text
from genledger.pricing.readers import heard_audio, shapes
from genledger.pricing.readers.tools import units_of
from genledger.pricing.readers.usage_block import usage_block
from genledger.pricing.usage import NO_UNITS, Usage

Consumed = tuple[Usage | None, int | None, tuple[tuple[str, Usage], ...]]
"""The buckets, the largest single prompt, and what other models consumed."""

_BLOCK_UNITS = (
    ("seconds", "second"),
    ("characters", "character"),
    ("search_units", "search_unit"),
    ("billable_units", "billable_unit"),
    ("image_count", "image"),
)


def read_any(
    counts: Counts,
    provider: str,
    api: str,
    body: object,
    request: object,
    headers: Mapping[str, object],
    model: str | None,
) -> Consumed:
    """Read what an answer consumed, in whichever format it is."""
    usage: Any = usage_block(body)
    if usage is not None and field(usage, "prompt_tokens") is not None:
        return shapes.chat(counts, usage, provider), None, ()
    meta = first(body, "usageMetadata", "usage_metadata")
    if meta is not None and api != "cachedContents":
        return shapes.gemini(counts, meta), None, ()
    billed = field(usage, "billed_units") or path(body, "meta", "billed_units")
    if billed is not None:
        return shapes.cohere(counts, billed), None, ()
    if usage is not None and not (_partial(usage) and _in_bedrock_headers(headers)):
        block = _usage_block(counts, provider, api, usage, model)
        if block is not None:
            return block
    return _without_block(counts, provider, api, body, request, headers), None, ()


def _has(usage: object, *names: str) -> bool:
    return first(usage, *names) is not None


def _partial(usage: object) -> bool:
    """Return whether a count is missing: a Bedrock guardrail that changes an answer removes its output tokens."""
    return _has(usage, "inputTokens", "input_tokens") != _has(usage, "outputTokens", "output_tokens")


def _in_bedrock_headers(headers: Mapping[str, object]) -> bool:
    return any(name.startswith("x-amzn-bedrock-") and name.endswith("-token-count") for name in headers)


def _usage_block(counts: Counts, provider: str, api: str, usage: object, model: str | None) -> Consumed | None:
    if _has(usage, "prompt_tokens", "completion_tokens"):
        return shapes.chat(counts, usage, provider), None, ()
    if _has(usage, "inputTokens", "outputTokens"):
        return shapes.converse(counts, usage), None, ()
    if _has(usage, "total_input_tokens", "total_output_tokens"):
        return shapes.interactions(counts, usage), None, ()
    if _has(usage, "input_tokens", "output_tokens"):
        if _is_anthropic(provider, api, usage, model):
            return sampled(counts, usage, model)
        context = counts.get(field(usage, "context_details"), "input_tokens")
        consumed = shapes.responses(counts, usage, images=api == "images")
        if provider == "alibaba" and api == "embeddings":  # what is no text is beside the input
            shown = counts(usage, "image_tokens") + counts(usage, "video_tokens")
            consumed = replace(consumed, input_image=consumed.input_image + shown)
        return consumed, context, ()
    if provider == "alibaba" and (seconds := _made_seconds(usage)) is not None:
        return Usage(units=seconds), None, ()
    for name, unit in _BLOCK_UNITS:
        amount = duration(field(usage, name)) if unit == "second" else number(field(usage, name))
        if amount:
            return Usage(units={unit: amount}), None, ()
    if _has(usage, "total_tokens"):
        return shapes.chat(counts, usage, provider), None, ()
    return None


def _made_seconds(usage: object) -> dict[str, float] | None:
    """Return the seconds that Alibaba bills for audio, or for a video of a resolution; `None` for what has none.

    https://www.alibabacloud.com/help/en/model-studio/video-generation-api
    """
    seconds = duration(first(usage, "video_duration", "duration"))
    if not seconds:
        return None
    lines = number(field(usage, "SR"))
    return {f"{int(lines)}p_second" if lines else "second": seconds * (number(field(usage, "video_count")) or 1.0)}


def _is_anthropic(provider: str, api: str, usage: object, model: str | None) -> bool:
    if api == "messages" or provider == "anthropic":
        return True
    if _has(usage, "input_tokens_details", "input_token_details"):
        return False
    return _has(usage, "cache_creation_input_tokens", "cache_read_input_tokens") or (
        api in ("invoke_model", "batch") and "claude" in (model or "")
    )


def _without_block(
    counts: Counts, provider: str, api: str, body: object, request: object, headers: Mapping[str, object]
) -> Usage | None:
    """Answers that report usage outside a usage block, or bill by something else than tokens."""
    if _has(
        body,
        "inputTextTokenCount",
        "prompt_token_count",
        "generation_token_count",
        "amazon-bedrock-invocationMetrics",
    ):
        usage = shapes.invoke_model(counts, body)
        shown = field(request, "inputImage") is not None  # Titan's multimodal embeddings bill it beside the text
        return replace(usage, units={"image": 1.0}) if shown else usage
    if _has(body, "prompt_eval_count", "eval_count"):
        return shapes.ollama(counts, body)
    if api == "text_generation" and (generated := shapes.text_generation(counts, body)) is not None:
        return generated
    if provider == "watsonx" and (counted := shapes.watsonx(counts, body)) is not None:
        return counted
    if _in_bedrock_headers(headers):
        return shapes.bedrock_headers(counts, headers)
    if api in ("embedContent", "embeddings", "embed"):
        usage = shapes.embedding_statistics(counts, body)
        return usage if usage.input else None
    if provider == "deepgram" and field(body, "metadata") is not None:
        return heard_audio.deepgram(counts, body, request)
    units = units_of(provider, api, body, request, headers)
    return Usage(units=units) if units else None


def sampled(counts: Counts, usage: Any, model: str | None) -> Consumed:
    """Anthropic's usage with its `iterations`.

    The totals on top cover the message iterations only. A compaction is billed beside them at the same
    model's rates, an advisor at its own model's (Anthropic: compaction, advisor tool).
    """
    total = shapes.anthropic(counts, usage)
    if field(usage, "iterations") is None:
        return total, None, ()
    also: list[tuple[str, Usage]] = []
    context: int | None = None
    for iteration in items(usage, "iterations"):
        one = shapes.anthropic(counts, iteration)
        other = text(iteration, "model")
        if other is not None and other != model:
            also.append((other, one))
            continue
        context = max(context or 0, one.input_tokens)
        if field(iteration, "type") == "compaction":
            total = total + replace(one, units=NO_UNITS)
    return total, context, tuple(also)
