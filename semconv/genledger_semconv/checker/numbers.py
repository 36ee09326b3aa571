"""Rules for what is counted: token totals and their parts, costs and their parts."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from typing import Any

from .. import attributes as A
from .deviation import Report

_INPUT_PARTS = (
    (A.GEN_AI_USAGE_CACHE_READ_INPUT_TOKENS, A.GEN_AI_USAGE_CACHE_WRITE_INPUT_TOKENS),
    (
        A.GEN_AI_USAGE_TEXT_INPUT_TOKENS,
        A.GEN_AI_USAGE_IMAGE_INPUT_TOKENS,
        A.GEN_AI_USAGE_AUDIO_INPUT_TOKENS,
    ),
)
_OUTPUT_PARTS = (
    (A.GEN_AI_USAGE_REASONING_OUTPUT_TOKENS,),
    (
        A.GEN_AI_USAGE_TEXT_OUTPUT_TOKENS,
        A.GEN_AI_USAGE_IMAGE_OUTPUT_TOKENS,
        A.GEN_AI_USAGE_AUDIO_OUTPUT_TOKENS,
    ),
)
_CACHED = {
    A.GEN_AI_USAGE_TEXT_CACHE_READ_INPUT_TOKENS: A.GEN_AI_USAGE_TEXT_INPUT_TOKENS,
    A.GEN_AI_USAGE_IMAGE_CACHE_READ_INPUT_TOKENS: A.GEN_AI_USAGE_IMAGE_INPUT_TOKENS,
    A.GEN_AI_USAGE_AUDIO_CACHE_READ_INPUT_TOKENS: A.GEN_AI_USAGE_AUDIO_INPUT_TOKENS,
}

SUMS: tuple[tuple[tuple[str, ...], str], ...] = (
    *((parts, A.GEN_AI_USAGE_INPUT_TOKENS) for parts in _INPUT_PARTS),
    *((parts, A.GEN_AI_USAGE_OUTPUT_TOKENS) for parts in _OUTPUT_PARTS),
    (tuple(_CACHED), A.GEN_AI_USAGE_CACHE_READ_INPUT_TOKENS),
    *(((part,), total) for part, total in _CACHED.items()),
)
"""Attributes whose sum is never more than a total, with that total."""

COST_PARTS = (
    A.GENLEDGER_COST_INPUT,
    A.GENLEDGER_COST_OUTPUT,
    A.GENLEDGER_COST_CACHE_READ,
    A.GENLEDGER_COST_CACHE_WRITE,
    A.GENLEDGER_COST_OTHER,
)
"""The exclusive parts of `genledger.cost.amount`."""

_NEVER_NEGATIVE = ("gen_ai.usage.", f"{A.GENLEDGER_USAGE}.", "genledger.cost.")


def _numbers(attributes: Mapping[str, Any]) -> dict[str, float]:
    return {
        name: value
        for name, value in attributes.items()
        if name.startswith(_NEVER_NEGATIVE) and isinstance(value, (int, float)) and not isinstance(value, bool)
    }


def _too_large(numbers: Mapping[str, float]) -> Iterator[tuple[str, tuple[str, ...]]]:
    for parts, total in SUMS:
        present = tuple(part for part in parts if part in numbers)
        if present and total in numbers and sum(numbers[part] for part in present) > numbers[total]:
            yield total, present


def check_usage(attributes: Mapping[str, Any], report: Report) -> None:
    """Check that counts are not negative, and that no parts exceed their total."""
    numbers = _numbers(attributes)
    for name, value in numbers.items():
        if not value >= 0 and not name.startswith("genledger.cost."):
            report("usage", f"is {value}, but a count is never negative", name)
    for total, parts in _too_large(numbers):
        counted = " + ".join(f"{part} {numbers[part]}" for part in parts)
        report("usage", f"is {numbers[total]}, less than {counted}", total)


def check_cost(attributes: Mapping[str, Any], report: Report) -> None:
    """Check that a call is priced or unpriced, not both, and that the parts are the whole."""
    numbers = _numbers(attributes)
    amount = numbers.get(A.GENLEDGER_COST_AMOUNT)
    details = [name for name in attributes if name.startswith("genledger.cost.")]
    if A.GENLEDGER_COST_UNPRICED in attributes:
        for name in details:
            if name != A.GENLEDGER_COST_UNPRICED:
                report("cost", "is set on a call that is said to be unpriced", name)
        return
    if amount is None:
        for name in details:
            if name != A.GENLEDGER_COST_AMOUNT:
                report("cost", f"is set without {A.GENLEDGER_COST_AMOUNT}", name)
        return
    for name in (A.GENLEDGER_COST_AMOUNT, *COST_PARTS):
        if name in numbers and not numbers[name] >= 0:
            report("cost", f"is {numbers[name]}, but a cost is never negative", name)
    if A.GENLEDGER_COST_SOURCE not in attributes:
        report("cost", f"is missing although {A.GENLEDGER_COST_AMOUNT} is set", A.GENLEDGER_COST_SOURCE)
    parts = [numbers[name] for name in COST_PARTS if name in numbers]
    if parts and not math.isclose(math.fsum(parts), amount, rel_tol=1e-9, abs_tol=1e-15):
        report("cost", f"is {amount}, but its parts add up to {math.fsum(parts)}", A.GENLEDGER_COST_AMOUNT)
