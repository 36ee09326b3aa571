"""Which model a feature of a tenant should use, and which was chosen for the work at hand."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextvars import ContextVar
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from genledger.budgets.rules.rule import Route


class ModelChoice(NamedTuple):
    """The model to use, and why. `asked` is the one that would have been used without the rule."""

    model: str
    asked: str | None
    rule: str | None
    reason: str


_CHOICE: ContextVar[ModelChoice | None] = ContextVar("genledger-model-choice", default=None)


def choose(
    routes: Sequence[Route], values: Mapping[str, str | None], tier: str | None, asked: str | None
) -> ModelChoice:
    """Return the model of the first matching route, else the requested model.

    Raises:
        ValueError: No route matches and no model was requested.
    """
    from genledger.budgets.rules.scope import FIELDS  # only who routes needs it: every call imports this module

    named = {field: values.get(field) for field in FIELDS}
    for each in routes:
        if each.scope.label(named) is not None and each.tier in (None, tier):
            why = f"{each.scope} tier={tier}" if each.tier else str(each.scope)
            choice = ModelChoice(each.model, asked, each.name, f"route {each.name!r} applies to {why}")
            break
    else:
        if asked is None:
            raise ValueError(f"no route matches {dict(values)} and there is no default model; pass one")
        choice = ModelChoice(asked, asked, None, "no route matches")
    _CHOICE.set(choice)
    return choice


def chosen(model: str | None) -> ModelChoice | None:
    """The choice last made in this task or thread, if `model` is the model it chose."""
    choice = _CHOICE.get()
    return choice if choice is not None and choice.model == model else None
