"""Names of rules: two rules of one name would share their counters."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from genledger.budgets.rules.rule import Rule


def twins(rules: Sequence[Rule]) -> list[int]:
    """Return the indexes of rules that have the name of an earlier rule."""
    first: dict[str, int] = {}
    return [place for place, rule in enumerate(rules) if first.setdefault(rule.name, place) != place]


def twin(rule: Rule) -> str:
    """Return the problem of a rule that has the name of an earlier rule."""
    return f"another budget is also named {rule.name!r}; rename one of them"
