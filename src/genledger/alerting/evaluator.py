"""One round of alerting: evaluate the rules, note what began and ended, act, and deliver the messages."""

from __future__ import annotations

import sqlite3
from collections.abc import Mapping
from dataclasses import dataclass, field

from genledger.alerting.actions import Step, act, steps_for
from genledger.alerting.alert_book import NAME, OWED_SECONDS, AlertBook, change, lost_of
from genledger.alerting.evaluation import Surroundings, evaluate
from genledger.alerting.finding import Finding
from genledger.alerting.history import History
from genledger.alerting.rules import AlertFile
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

    findings: list[Finding] = field(default_factory=list)
    notices: list[Notice] = field(default_factory=list)
    problems: list[str] = field(default_factory=list)
    delivered: bool = True


def surroundings(file: AlertFile, store: Store) -> Surroundings:
    """Return the budgets and tiers of a rule file and a store.

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
    return Surroundings([rule for rule in budgets.values() if not rule.name.startswith("alert ")], tiers.of)


def look(
    file: AlertFile, ledger: Ledger, around: Surroundings, now: float, lost: Mapping[float, int]
) -> tuple[list[Finding], set[str], list[str], dict[str, tuple[Step, ...]]]:
    """Evaluate every rule at a moment.

    Returns:
        The findings, the names of the rules that could be evaluated, the problems of the others, and what can be done
        about each finding that fires, by its id.

    Raises:
        LedgerError: The ledger cannot be read.
    """
    findings: list[Finding] = []
    evaluated: set[str] = set()
    problems: list[str] = []
    steps: dict[str, tuple[Step, ...]] = {}
    with ledger.reading() as connection:
        history = History(connection, now, lost)
        for rule in file.alert:
            try:
                found = evaluate(rule, history, around)
                steps |= {one.id: steps_for(one, history) for one in found if one.verdict.firing}
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


def run_round(file: AlertFile, ledger: Ledger, store: Store) -> Round:
    """Evaluate every rule once, and tell and do what follows.

    Raises:
        LedgerError: The ledger cannot be read.
        StoreDown: The store did not answer.
    """
    now = store.now()
    _hand_over(store, file, [])  # what another process could not finish
    lost = lost_of(AlertBook.read(store.document(NAME)))
    findings, evaluated, problems, steps = look(file, ledger, surroundings(file, store), now, lost)
    known = {rule.name for rule in file.alert}
    notices = change(
        store,
        lambda book: book.advance(findings, evaluated, known, now, lambda finding: steps.get(finding.id, ())),
    )
    _hand_over(store, file, problems)
    delivered = Outbox(store, file.alerts.targets).deliver() if file.alerts.targets else True
    return Round(findings, notices, problems, delivered)


def _hand_over(store: Store, file: AlertFile, problems: list[str]) -> None:
    """Act, and give the store the messages to deliver; both are safe to be done twice."""
    pending = AlertBook.read(store.document(NAME)).pending
    if not pending:
        return
    for one in pending:
        for fields in one["acts"]:
            try:
                act(Step(**fields), store)
            except RuleError as error:
                problems.append(f"{fields['command']}: {error}")
                _log.error("An alert could not act (%s): %s", message(fields["command"]), error)
        if file.alerts.targets:
            store.owe(one["key"], OWED_SECONDS, one["notice"])
    done = {one["key"] for one in pending}

    def alter(book: AlertBook) -> None:
        book.pending = [one for one in book.pending if one["key"] not in done]

    change(store, alter)
