"""Usage and cost of a span as Langfuse's `usage_details` and `cost_details`: exclusive buckets and a total.

The GenAI conventions count inclusively (cached tokens are part of the input, reasoning is part of the
output); Langfuse adds up what it is given. Bucket names are those that Langfuse's own price list uses.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any, TypeGuard

from genledger.pricing.readers.attributes import USAGE_PREFIXES, usage_from_attributes
from genledger_semconv import attributes as A

_COSTS = (
    (A.GENLEDGER_COST_INPUT, "input"),
    (A.GENLEDGER_COST_CACHE_READ, "input_cached_tokens"),
    (A.GENLEDGER_COST_CACHE_WRITE, "input_cache_creation"),
    (A.GENLEDGER_COST_OUTPUT, "output"),
    (A.GENLEDGER_COST_OTHER, "other"),
)

_PLACES = 12
"""Decimals that Langfuse keeps. It cuts off what is behind them: of 0.0012799999999999999, the last digit would go."""


def is_usage_key(key: str) -> bool:
    """Return whether Langfuse would read an attribute of this name as usage or cost."""
    return key.startswith(USAGE_PREFIXES)


def usage_details(given: Mapping[str, Any]) -> dict[str, int] | None:
    """Return tokens in exclusive buckets, and their `total`; `None` when the span says nothing of usage.

    Reasoning is part of `output`: no cost is kept for it apart, and Langfuse has no price for it for many
    models, which would make it free. What is billed by other units than tokens is not usage here.
    """
    usage = usage_from_attributes(given)
    if usage is None or (usage.units and not usage.total_tokens):
        return None
    buckets = {
        "input": usage.input,
        "input_cached_tokens": usage.cache_read_tokens,
        "input_cache_creation": usage.cache_write,
        "input_cache_creation_1h": usage.cache_write_1h,
        "input_audio_tokens": usage.input_audio,
        "input_image_tokens": usage.input_image,
        "output": usage.output + usage.reasoning,
        "output_audio_tokens": usage.output_audio,
        "output_image_tokens": usage.output_image,
    }
    details = {name: count for name, count in buckets.items() if count or name in ("input", "output")}
    details["total"] = sum(details.values())
    return details


def cost_details(given: Mapping[str, Any]) -> dict[str, float] | None:
    """Return USD by bucket, and their `total`; `None` when the cost is not known."""
    total = given.get(A.GENLEDGER_COST_AMOUNT)
    if not _is_amount(total):
        return None
    details = {
        name: round(float(given[key]), _PLACES)
        for key, name in _COSTS
        if _is_amount(given.get(key)) and (given[key] or name in ("input", "output"))
    }
    details["total"] = round(float(total), _PLACES)
    return details


def _is_amount(value: Any) -> TypeGuard[float]:
    return isinstance(value, (int, float)) and not isinstance(value, bool) and 0 <= value < math.inf
