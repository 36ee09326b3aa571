"""The chosen model of the current task, for the span of the call that uses it."""

from __future__ import annotations

from contextvars import ContextVar
from typing import NamedTuple


class ModelChoice(NamedTuple):
    """The model to use, and why. `asked` is the one that would have been used without the rule."""

    model: str
    asked: str | None
    rule: str | None
    reason: str


_CHOICE: ContextVar[ModelChoice | None] = ContextVar("genledger-model-choice", default=None)


def remember(choice: ModelChoice) -> None:
    """Keep a choice for the calls of this task or thread."""
    _CHOICE.set(choice)


def chosen(model: str | None) -> ModelChoice | None:
    """Return the choice last made in this task or thread, if `model` is the model it chose."""
    choice = _CHOICE.get()
    return choice if choice is not None and choice.model == model else None
