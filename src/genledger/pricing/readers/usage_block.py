"""Where an answer has its usage block, and whether that block counts what was generated."""

from __future__ import annotations

from typing import Any

from genledger.pricing.getters import field, first, items


def usage_block(answer: Any) -> Any:
    """Return the usage block of an answer or of one chunk of a stream; `None` when it has none.

    Groq's streams have it in `x_groq`, Moonshot's in the last choice.
    """
    block = field(answer, "usage")
    if block is not None:
        return block
    holders = (field(answer, "x_groq"), *items(answer, "choices"))
    return next((block for holder in holders if (block := field(holder, "usage")) is not None), None)


def lacks_output(block: Any) -> bool:
    """Return whether a usage block of tokens does not count the output, neither by itself nor within a total."""
    given = first(block, "prompt_tokens", "input_tokens") is not None
    total = first(block, "total_tokens") is not None
    return (given or total) and not (given and total) and first(block, "completion_tokens", "output_tokens") is None


def counts_all(block: Any) -> bool:
    """Return whether a usage block counts input and output. One of zeros does not: no answer has neither."""
    counts = (first(block, "prompt_tokens", "input_tokens"), first(block, "completion_tokens", "output_tokens"))
    return block is not None and not lacks_output(block) and any(count != 0 for count in counts)
