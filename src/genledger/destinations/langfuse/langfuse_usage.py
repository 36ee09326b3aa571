"""Usage and cost of a span as Langfuse's `usage_details` and `cost_details`: exclusive buckets and a total.

The GenAI conventions count inclusively (cached tokens are part of the input, reasoning is part of the
output); Langfuse adds up what it is given. Bucket names are those that Langfuse's own price list uses.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any, TypeGuard

from genledger_semconv import attributes as A

_USAGE_PREFIXES = ("gen_ai.usage.", "llm.usage.", "llm.token_count.", "llm.cost.", "ai.usage.")

# Names for the same count, newest first: the conventions, their former names, other instrumentors'.
_INPUT = (
    A.GEN_AI_USAGE_INPUT_TOKENS,
    "gen_ai.usage.prompt_tokens",
    "llm.usage.prompt_tokens",
    "llm.token_count.prompt",
)
_OUTPUT = (
    A.GEN_AI_USAGE_OUTPUT_TOKENS,
    "gen_ai.usage.completion_tokens",
    "llm.usage.completion_tokens",
    "llm.token_count.completion",
)
_CACHE_READ = (
    A.GEN_AI_USAGE_CACHE_READ_INPUT_TOKENS,
    "gen_ai.usage.cache_read_input_tokens",
    "gen_ai.usage.input_cached_tokens",
    "llm.usage.cache_read_input_tokens",
    "llm.token_count.prompt_details.cache_read",
)
_CACHE_WRITE = (
    A.GEN_AI_USAGE_CACHE_WRITE_INPUT_TOKENS,
    "gen_ai.usage.cache_creation.input_tokens",
    "gen_ai.usage.cache_creation_input_tokens",
    "llm.usage.cache_creation_input_tokens",
    "llm.token_count.prompt_details.cache_write",
)
_AUDIO_IN = (A.GEN_AI_USAGE_AUDIO_INPUT_TOKENS, "llm.token_count.prompt_details.audio")
_AUDIO_CACHED = (A.GEN_AI_USAGE_AUDIO_CACHE_READ_INPUT_TOKENS,)
_IMAGE_IN = (A.GEN_AI_USAGE_IMAGE_INPUT_TOKENS,)
_IMAGE_CACHED = (A.GEN_AI_USAGE_IMAGE_CACHE_READ_INPUT_TOKENS,)
_AUDIO_OUT = (A.GEN_AI_USAGE_AUDIO_OUTPUT_TOKENS, "llm.token_count.completion_details.audio")
_IMAGE_OUT = (A.GEN_AI_USAGE_IMAGE_OUTPUT_TOKENS,)

_MOST = 2**53
"""More tokens than this are no count."""

_COSTS = (
    (A.GENLEDGER_COST_INPUT, "input"),
    (A.GENLEDGER_COST_CACHE_READ, "input_cached_tokens"),
    (A.GENLEDGER_COST_CACHE_WRITE, "input_cache_creation"),
    (A.GENLEDGER_COST_OUTPUT, "output"),
    (A.GENLEDGER_COST_OTHER, "other"),
)


def is_usage_key(key: str) -> bool:
    """Whether Langfuse would read an attribute of this name as usage or cost."""
    return key.startswith(_USAGE_PREFIXES)


def usage_details(given: Mapping[str, Any]) -> dict[str, int] | None:
    """Tokens in exclusive buckets, and their `total`; `None` when the span says nothing of usage.

    Reasoning is part of `output`: no cost is kept for it apart, and Langfuse has no price for it for many
    models, which would make it free. What is billed by other units than tokens is not usage here.
    """
    input_tokens, output_tokens = _count(given, _INPUT), _count(given, _OUTPUT)
    if input_tokens is None and output_tokens is None:
        return None
    cache_read = _count(given, _CACHE_READ) or 0
    cache_write = _count(given, _CACHE_WRITE) or 0
    hour = min(_bucket(given, "cache_write_1h") or 0, cache_write)
    audio_in = _apart(given, "input_audio", _AUDIO_IN, _AUDIO_CACHED)
    image_in = _apart(given, "input_image", _IMAGE_IN, _IMAGE_CACHED)
    audio_out = _apart(given, "output_audio", _AUDIO_OUT, ())
    image_out = _apart(given, "output_image", _IMAGE_OUT, ())
    rest = (input_tokens or 0) - cache_read - cache_write
    if rest < 0:
        # Some instrumentors report the provider's own count, which leaves the cached tokens out.
        rest = input_tokens or 0
    buckets = {
        "input": max(0, rest - audio_in - image_in),
        "input_cached_tokens": cache_read,
        "input_cache_creation": cache_write - hour,
        "input_cache_creation_1h": hour,
        "input_audio_tokens": min(audio_in, rest),
        "input_image_tokens": min(image_in, max(0, rest - audio_in)),
        "output": max(0, (output_tokens or 0) - audio_out - image_out),
        "output_audio_tokens": min(audio_out, output_tokens or 0),
        "output_image_tokens": min(image_out, max(0, (output_tokens or 0) - audio_out)),
    }
    details = {name: count for name, count in buckets.items() if count or name in ("input", "output")}
    details["total"] = sum(details.values())
    return details


def cost_details(given: Mapping[str, Any]) -> dict[str, float] | None:
    """USD by bucket, and their `total`; `None` when the cost is not known."""
    total = given.get(A.GENLEDGER_COST_AMOUNT)
    if not _is_amount(total):
        return None
    details = {
        name: float(given[key])
        for key, name in _COSTS
        if _is_amount(given.get(key)) and (given[key] or name in ("input", "output"))
    }
    details["total"] = float(total)
    return details


def _is_amount(value: Any) -> TypeGuard[float]:
    return isinstance(value, (int, float)) and not isinstance(value, bool) and 0 <= value < math.inf


def _count(given: Mapping[str, Any], keys: tuple[str, ...]) -> int | None:
    for key in keys:
        value = given.get(key)
        if isinstance(value, (int, float)) and not isinstance(value, bool) and 0 <= value <= _MOST:
            return int(value)
    return None


def _bucket(given: Mapping[str, Any], name: str) -> int | None:
    return _count(given, (f"{A.GENLEDGER_USAGE}.{name}",))


def _apart(given: Mapping[str, Any], bucket: str, keys: tuple[str, ...], cached: tuple[str, ...]) -> int:
    """Tokens of another modality that came from no cache."""
    own = _bucket(given, bucket)
    if own is not None:
        return own
    return max(0, (_count(given, keys) or 0) - (_count(given, cached) or 0))
