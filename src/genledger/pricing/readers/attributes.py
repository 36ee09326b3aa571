"""Usage in the attributes of a span: in the conventions' names, their former ones, and those of other instrumentations.

Traceloop's: https://github.com/traceloop/openllmetry. OpenInference's:
https://github.com/Arize-ai/openinference/blob/main/spec/semantic_conventions.md
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from genledger.pricing.getters import MOST, Counts, number
from genledger.pricing.readers.token_split import Media, split
from genledger.pricing.usage import NO_UNITS, Usage
from genledger_semconv import attributes as A

USAGE_PREFIXES = ("gen_ai.usage.", "llm.usage.", "llm.token_count.", "llm.cost.", "ai.usage.")
"""What the names of attributes begin with that a backend reads as usage or cost."""

LANGFUSE_PRICING = (
    "langfuse.observation.usage_details",
    "langfuse.observation.cost_details",
    "langfuse.observation.model.name",
)
"""What Langfuse prices an observation of its own SDK by. Without usage, it counts and prices the text by the model."""

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
_AUDIO = (A.GEN_AI_USAGE_AUDIO_INPUT_TOKENS, "llm.token_count.prompt_details.audio")
_AUDIO_OUT = (A.GEN_AI_USAGE_AUDIO_OUTPUT_TOKENS, "llm.token_count.completion_details.audio")
_OWN = f"{A.GENLEDGER_USAGE}."
_HOUR = "cache_write_1h"


def usage_from_attributes(attributes: Mapping[str, Any]) -> Usage | None:
    """Return what a span says that its call consumed, in exclusive buckets; `None` when it says nothing of it.

    The conventions' totals include cached tokens. Some instrumentations report the provider's own count, which leaves
    them out: an input smaller than what was cached of it is such a count. Counts that cannot be right are left out.
    """
    given, generated = _count(attributes, *_INPUT), _count(attributes, *_OUTPUT)
    units = {
        name.removeprefix(_OWN): value
        for name, value in attributes.items()
        if name.startswith(_OWN) and (amount := number(value)) is not None and amount <= MOST
    }
    if given is None and generated is None and not units:
        return None
    hour = int(units.pop(_HOUR, 0))
    read, written = _count(attributes, *_CACHE_READ) or 0, max(_count(attributes, *_CACHE_WRITE) or 0, hour)
    total = given or 0
    return split(
        Counts(),
        total if read + written <= total else total + read + written,
        generated or 0,
        cache_read=read,
        cache_write=written - hour,
        cache_write_1h=hour,
        reasoning=_count(attributes, A.GEN_AI_USAGE_REASONING_OUTPUT_TOKENS) or 0,
        media=Media(
            audio=_count(attributes, *_AUDIO) or 0,
            image=_count(attributes, A.GEN_AI_USAGE_IMAGE_INPUT_TOKENS) or 0,
            cached_audio=_count(attributes, A.GEN_AI_USAGE_AUDIO_CACHE_READ_INPUT_TOKENS) or 0,
            cached_image=_count(attributes, A.GEN_AI_USAGE_IMAGE_CACHE_READ_INPUT_TOKENS) or 0,
            audio_out=_count(attributes, *_AUDIO_OUT) or 0,
            image_out=_count(attributes, A.GEN_AI_USAGE_IMAGE_OUTPUT_TOKENS) or 0,
        ),
        units=units or NO_UNITS,
    )


def _count(attributes: Mapping[str, Any], *names: str) -> int | None:
    """Return the first of several spellings that is a count."""
    for name in names:
        value = attributes.get(name)
        if isinstance(value, (int, float)) and not isinstance(value, bool) and 0 <= value <= MOST:
            return int(value)
    return None
