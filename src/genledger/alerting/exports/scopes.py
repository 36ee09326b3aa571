"""What the exports share: the scope of a rule, what it says, and what can be done."""

from __future__ import annotations

from collections.abc import Callable

from genledger.alerting.rules import ACTING_FIELDS, KINDS, AlertRule

IN_METRICS = frozenset({"tenant", "feature", "model", "provider", "prompt_version"})
"""Fields of a scope that metrics have as labels."""


class CannotSay(Exception):
    """A target has no words for a rule. The message says which."""


def summary(rule: AlertRule, value_of: Callable[[str], str]) -> str:
    """Return one line: the rule, its scope, and what happened.

    Args:
        rule: It fires.
        value_of: Returns what stands for the value of a field where the rule has a scope for each.
    """
    scope = " ".join(f"{field}={value_of(field)}" for field in rule.by)
    fixed = " ".join(f"{field}={pattern}" for field, pattern in rule.filters.items())
    named = " ".join(filter(None, (scope, fixed)))
    return f"{rule.name}{f', {named}' if named else ''}: {KINDS[rule.kind].says}"


def remedy(rule: AlertRule, value_of: Callable[[str], str]) -> tuple[str, str]:
    """Return the command that acts, and the one that undoes it; nothing for the second if there is nothing to undo."""
    scope = {field: value_of(field) for field in rule.by if field in ACTING_FIELDS}
    scope |= {field: pattern for field, pattern in rule.filters.items() if field in ACTING_FIELDS}
    words = " ".join(f"{field}={value}" for field, value in scope.items())
    match rule.kind:
        case "errors" | "embeddings" if words:
            return f"genledger kill {words} --for 1h --why 'alert {rule.name}'", f"genledger revive {words}"
        case "spike" | "growth" | "spend":
            name = f"alert {rule.name}"
            limit = f"genledger budgets set name='{name}' {words} usd=AMOUNT/day --for {rule.action_for}"
            return limit.replace("  ", " "), f"genledger budgets unset '{name}'"
        case "regression":
            return f"genledger query --metric tokens_per_outcome --by {rule.split}", ""
        case "pace":
            return "genledger budgets", ""
        case "unpriced":
            return "genledger query --metric unpriced --by request_model --by unpriced_reason", ""
        case "new":
            return f"genledger query --metric cost --by {rule.watch}", ""
        case _:
            return "genledger doctor", ""
