"""Model routing by feature, tenant and tier."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from genledger.budgets.rules.model_choice import ModelChoice, remember
from genledger.budgets.rules.scope import FIELDS

if TYPE_CHECKING:
    from genledger.budgets.rules.rule import Route


def choose(
    routes: Sequence[Route], values: Mapping[str, str | None], tier: str | None, asked: str | None
) -> ModelChoice:
    """Return the model of the first matching route, else the requested model.

    Raises:
        ValueError: No route matches and no model was requested.
    """
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
    remember(choice)
    return choice
