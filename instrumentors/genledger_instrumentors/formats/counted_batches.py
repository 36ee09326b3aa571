"""Batches whose own state counts what all of their requests consumed: each is one call."""

from __future__ import annotations

from typing import Any

from genledger.engine.operation import Operation, text
from genledger.pricing.getters import first
from genledger_semconv import attributes as A
from genledger_semconv import spans as S

from .openai_fields import read_answer

COUNTED_BATCH = Operation(
    name=S.BATCH,
    api="batch",
    fields={"model": (A.GEN_AI_REQUEST_MODEL, text)},
    response=read_answer,
    fixed_model=True,
)


def tokens(holder: Any, given: tuple[str, ...], generated: tuple[str, ...]) -> dict[str, int] | None:
    """Return the tokens that a state counts, as a usage; some write them as text."""
    read, written = first(holder, *given), first(holder, *generated)
    try:
        return {"prompt_tokens": int(str(read)), "completion_tokens": int(str(written))}
    except ValueError:
        return None
