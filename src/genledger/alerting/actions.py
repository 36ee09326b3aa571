"""What can be done about an alert: each command that acts, with the one that undoes it."""

from __future__ import annotations

import shlex
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

from genledger.alerting.history import History
from genledger.alerting.rule_findings import RuleFinding
from genledger.alerting.rules import ACTING_FIELDS, Action, seconds_of
from genledger.budgets import Store, kill, set_budget
from genledger.budgets.rules.scope import EACH
from genledger.shared.text import bounded

LEAST_USD = 1.0
"""The least budget that an alert sets, in USD a day."""

TIMES_EXPECTED = 2.0
"""What a throttled scope may still spend in a day, as a multiple of what was expected."""

KILL_FOR = "1h"
"""How long the kill switch lasts that an alert suggests without an `action`."""


@dataclass(frozen=True, slots=True)
class Remedy:
    """One thing to do.

    Attributes:
        title: What it does, for people.
        command: The command that does it.
        undo: The command that takes it back; empty if there is nothing to take back.
        does: `budget` or `kill`; `None` for one that only people can do.
        fields: The keys of the budget, or the scope of the kill switch.
        seconds: How long it lasts.
        why: The reason, for the audit log.
    """

    title: str
    command: str
    undo: str = ""
    does: Literal["budget", "kill"] | None = None
    fields: Mapping[str, Any] | None = None
    seconds: float = 0.0
    why: str = ""


def remedies_for(finding: RuleFinding, history: History) -> tuple[Remedy, ...]:
    """Return what can be done; first what the rule does by itself, if it does anything."""
    rule = finding.rule
    if rule.action != "notify":
        return (_step(rule.action, finding, history, rule.action_for),)
    match rule.kind:
        case "spike" | "growth" | "spend" | "pace":
            return (_step("throttle", finding, history, rule.action_for),)
        case "errors" | "embeddings":
            return (_step("kill", finding, history, KILL_FOR),)
        case "new" if rule.watch in ACTING_FIELDS:
            return (_step("kill", finding, history, KILL_FOR),)
        case "regression":
            _, _, version = finding.subject.partition(" ")
            return (
                Remedy("roll back the new version", f"genledger query --metric tokens_per_outcome --by {rule.split}"),
                Remedy(
                    "see its calls",
                    f"genledger query --metric tokens --by trace --where {rule.split}={shlex.quote(version)}",
                ),
            )
        case "unpriced":
            return (Remedy("see which models have no price, and set one", "genledger prices"),)
        case _:
            return (Remedy("find out why", "genledger doctor"),)


def act(step: Remedy, store: Store) -> None:
    """Do what a step says. It is safe to do it again.

    Raises:
        RuleError: The budget or the switch makes no sense.
        StoreDown: The store did not answer.
    """
    if step.does == "budget":
        set_budget(store, step.fields or {}, for_=step.seconds, why=step.why, who="genledger alerts")
    elif step.does == "kill":
        kill(store, step.fields or {}, for_=step.seconds, why=step.why, who="genledger alerts")


def _step(action: Action, finding: RuleFinding, history: History, lasts: str) -> Remedy:
    rule = finding.rule
    scope: dict[str, Any] = {field: value for field, value in finding.scope if field in ACTING_FIELDS}
    if rule.kind == "new":
        field, _, value = finding.subject.partition(" ")
        scope[field] = value
    why = f"alert {rule.name}"
    seconds = seconds_of(lasts)
    if action == "kill" and scope and EACH not in scope.values():
        words = _words(scope)
        return Remedy(
            f"block {_label(scope)} for {lasts}",
            f"genledger kill {words} --for {_command_time(seconds)} --why {shlex.quote(why)}",
            f"genledger revive {words}",
            "kill",
            scope,
            seconds,
            why,
        )
    # A budget of its own, beside those that there are; a whole organization is throttled, never blocked.
    fields: dict[str, Any] = {"name": bounded(f"alert {rule.name} {finding.label}".replace("|", "/")), **scope}
    if action == "degrade" and rule.degrade is not None:
        given = rule.degrade.model_dump(exclude_none=True)
        fields |= {"usd": 0, "per": "day", "at_limit": "degrade", "degrade": given}
        words = " ".join([_words({"name": fields["name"], **scope}), "usd=0/day at_limit=degrade"])
        if "model" in given:
            words += f" degrade={shlex.quote(given['model'])}"
        if "max_output_tokens" in given:
            words += f" max_output_tokens={given['max_output_tokens']}"
        title = f"send {_label(scope)} to {given.get('model', 'shorter answers')} for {lasts}"
    else:
        usd = _allowance(finding, history)
        fields |= {"usd": usd, "per": "day"}
        words = f"{_words({'name': fields['name'], **scope})} usd={usd:g}/day"
        title = f"limit {_label(scope)} to ${usd:,.2f} more a day for {lasts}"
    return Remedy(
        title,
        f"genledger budgets set {words} --for {_command_time(seconds)} --why {shlex.quote(why)}",
        f"genledger budgets unset {shlex.quote(fields['name'])}",
        "budget",
        fields,
        seconds,
        why,
    )


def _allowance(finding: RuleFinding, history: History) -> float:
    """Return what the scope may still spend in a day, in USD."""
    usual = history.usual_day(finding.where, finding.rule.timezone)
    if finding.rule.kind == "spike" and finding.verdict.expected:
        usual = finding.verdict.expected
    return round(max(LEAST_USD, TIMES_EXPECTED * usual), 2)


def _label(scope: Mapping[str, str]) -> str:
    return " ".join(f"{field}={value}" for field, value in scope.items()) or "everything"


def _words(fields: Mapping[str, Any]) -> str:
    return " ".join(f"{key}={shlex.quote(str(value))}" for key, value in fields.items())


def _command_time(seconds: int) -> str:
    for unit, size in (("d", 86400), ("h", 3600), ("m", 60)):
        if seconds % size == 0:
            return f"{seconds // size}{unit}"
    return f"{seconds}s"
