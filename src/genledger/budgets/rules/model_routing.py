"""Which model a feature of a tenant should use."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from genledger.budgets.rules.model_choice import ModelChoice, remember
from genledger.budgets.rules.rule import FIELDS, RuleError, Scope, read_scope, unknown_key


@dataclass(frozen=True, slots=True)
class Route:
    """One routing rule; made by `route()`."""

    name: str
    scope: Scope
    tier: str | None
    model: str


def route(**fields: Any) -> Route:
    """One routing rule. The arguments are the keys of a `[[route]]` table.

    ```python
    route(feature="summaries", tier="starter", model="gpt-5-mini")
    ```

    Raises:
        RuleError: A key is missing, unknown or has a value that makes no sense; it names the key.
    """
    known = ("name", "tenant", "feature", "tier", "model")
    for key in fields:
        if key not in known:
            raise unknown_key(key, known)
    scope = read_scope({key: fields[key] for key in FIELDS if key in fields and key != "model"})
    tier, model = fields.get("tier"), fields.get("model")
    if not isinstance(model, str) or not model:
        raise RuleError("model", f"expected the name of the model to use, got {model!r}")
    if tier is not None and not isinstance(tier, str):
        raise RuleError("tier", f"expected the name of a plan tier, got {tier!r}")
    wanted = f"{scope} tier={tier}" if tier else str(scope)
    name = fields.get("name", f"{wanted} -> {model}")
    if not isinstance(name, str) or not name:
        raise RuleError("name", f"expected a name, got {name!r}")
    return Route(name, scope, tier, model)


def choose(
    routes: Sequence[Route], values: Mapping[str, str | None], tier: str | None, asked: str | None
) -> ModelChoice:
    """The first route that matches decides; without one, the model asked for is used.

    Raises:
        ValueError: No route matches and no model was asked for.
    """
    named = {field: values.get(field) for field in FIELDS}
    for each in routes:
        if each.scope.label(named) is not None and each.tier in (None, tier):
            why = f"{each.scope} tier={tier}" if each.tier else str(each.scope)
            choice = ModelChoice(each.model, asked, each.name, f"route {each.name!r} applies to {why}")
            break
    else:
        if asked is None:
            raise ValueError(f"no route matches {dict(values)} and no default model was given")
        choice = ModelChoice(asked, asked, None, "no route matches")
    remember(choice)
    return choice
