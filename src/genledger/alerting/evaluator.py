"""One round of alerting: evaluate the rules, note what began and ended, act, and deliver the messages."""

from __future__ import annotations

import sqlite3
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import orjson

from genledger.alerting.actions import Remedy, act, remedies_for
from genledger.alerting.alert_book import NAME, OWED_SECONDS, AlertBook, change, lost_of
from genledger.alerting.evaluation import evaluate
from genledger.alerting.history import History
from genledger.alerting.kinds.surroundings import Surroundings
from genledger.alerting.rule_findings import RuleFinding
from genledger.alerting.rules import AlertFile, AlertRule
from genledger.budgets import RuleError, Store
from genledger.budgets.enforcement.kill_switch import Controls
from genledger.budgets.rules.plan_tiers import Tiers
from genledger.channels.message import Notice
from genledger.channels.outbox import Outbox
from genledger.ledger import Ledger, LedgerError
from genledger.ledger.query import QueryError
from genledger.shared.loggers import logger_of
from genledger.shared.text import message

_log = logger_of("genledger.alerts")


@dataclass(slots=True)
class Round:
    """What one evaluation has found.

    Attributes:
        findings: All answers, firing or not.
        notices: Messages about what began and what ended.
        problems: Rules that could not be evaluated, and actions that failed; one line each.
        delivered: Whether every channel has every message, as far as this process could see to it.
    """

    findings: list[RuleFinding] = field(default_factory=list)
    notices: list[Notice] = field(default_factory=list)
    problems: list[str] = field(default_factory=list)
    delivered: bool = True


def surroundings(file: AlertFile, store: Store, keys: Mapping[str, float] | None = None) -> Surroundings:
    """Return the budgets and tiers of a rule file and a store, with the API keys that are known.

    Raises:
        StoreDown: The store did not answer.
    """
    try:
        controls = Controls.read(store.document())
        controls.forget_ended(store.now())
        stored, own = controls.tiers, controls.rules()
    except (ValueError, KeyError, TypeError):
        stored, own = {}, []
    tiers = Tiers()
    tiers.update(stored, file.tiers.tenants, file.tiers.default)
    budgets = {rule.name: rule for rule in (*file.budget, *own)}
    # A budget that an alert has set is no plan: its pace is no news.
    return Surroundings([rule for rule in budgets.values() if not rule.name.startswith("alert ")], tiers.of, keys or {})


def look(
    rules: Sequence[AlertRule], ledger: Ledger, around: Surroundings, now: float, lost: Mapping[float, int]
) -> tuple[list[RuleFinding], set[str], list[str], dict[str, tuple[Remedy, ...]]]:
    """Evaluate every rule at a moment.

    Returns:
        The findings, the names of the rules that could be evaluated, the problems of the others, and what can be done
        about each finding that fires, by its id.

    Raises:
        LedgerError: The ledger cannot be read.
    """
    findings: list[RuleFinding] = []
    evaluated: set[str] = set()
    problems: list[str] = []
    steps: dict[str, tuple[Remedy, ...]] = {}
    with ledger.reading() as connection:
        history = History(connection, now, lost)
        for rule in rules:
            try:
                found = evaluate(rule, history, around)
                steps |= {one.id: remedies_for(one, history) for one in found if one.verdict.firing}
            except QueryError as error:
                problems.append(f"alert {rule.name!r} cannot be evaluated: {error}")
                continue
            except (LedgerError, sqlite3.Error):
                raise
            except Exception as error:  # a fault of ours stops no other rule
                problems.append(f"alert {rule.name!r} cannot be evaluated: {type(error).__name__}: {error}")
                continue
            findings += found
            evaluated.add(rule.name)
    return findings, evaluated, problems, steps


def run_round(file: AlertFile, ledger: Ledger, store: Store, *, every_rule: bool = True) -> Round:
    """Evaluate the rules once, and tell and do what follows.

    Args:
        file: The rules and channels.
        ledger: The ledger.
        store: Where it is kept what has been told.
        every_rule: Whether to evaluate rules with long windows, too, that have been evaluated a short time ago.

    Raises:
        LedgerError: The ledger cannot be read.
        StoreDown: The store did not answer.
    """
    now = store.now()
    _hand_over(store, file, [])  # what another process could not finish
    if any(rule.watch == "api_key" for rule in file.alert):
        keys = _keys(store)
        change(store, lambda book: book.meet(keys, now))
    book = AlertBook.read(store.document(NAME))
    due = [rule for rule in file.alert if every_rule or book.is_due(rule, now)]
    around = surroundings(file, store, book.keys)
    findings, evaluated, problems, steps = look(due, ledger, around, now, lost_of(book))
    known = {rule.name for rule in file.alert}
    notices = change(
        store,
        lambda book: book.advance(findings, evaluated, known, now, lambda finding: steps.get(finding.id, ())),
    )
    _hand_over(store, file, problems)
    delivered = Outbox(store, file.alerts.targets).deliver() if file.alerts.targets else True
    return Round(findings, notices, problems, delivered)


def _keys(store: Store) -> set[str]:
    """Return the digests of the API keys that budgets with `api_key = "each"` count."""
    found = set()
    for counter in store.counters().values():
        for part in orjson.loads(counter.meta)["scope"].split(" "):
            field, _, value = part.partition("=")
            if field == "api_key" and not any(character in value for character in "*?["):
                found.add(value)
    return found


def _hand_over(store: Store, file: AlertFile, problems: list[str]) -> None:
    """Act, and give the store the messages to deliver; both are safe to be done twice."""
    pending = AlertBook.read(store.document(NAME)).pending
    if not pending:
        return
    for one in pending:
        for fields in one["acts"]:
            try:
                act(Remedy(**fields), store)
            except RuleError as error:
                problems.append(f"{fields['command']}: {error}")
                _log.error("An alert could not act (%s): %s", message(fields["command"]), error)
        if file.alerts.targets:
            store.owe(one["key"], OWED_SECONDS, one["notice"])
    done = {one["key"] for one in pending}

    def alter(book: AlertBook) -> None:
        book.pending = [one for one in book.pending if one["key"] not in done]

    change(store, alter)
