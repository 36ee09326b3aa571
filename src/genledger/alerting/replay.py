"""What rules would have told about the past: the same evaluation, at every moment that matters."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import NamedTuple
from zoneinfo import ZoneInfo

from genledger.alerting.alert_book import AlertBook
from genledger.alerting.evaluation import evaluate
from genledger.alerting.history import History
from genledger.alerting.kinds.surroundings import Surroundings
from genledger.alerting.rule_findings import RuleFinding
from genledger.alerting.rules import AlertRule
from genledger.alerting.texts import data_of
from genledger.ledger import Ledger

LEAST_STEP_S = 900
"""Seconds between two moments at least."""

HALVED_BELOW_S = 3600
"""Windows shorter than this are judged twice in their length, longer ones once."""


class Fired(NamedTuple):
    """An alert that would have been told at a moment."""

    at: datetime
    finding: RuleFinding


@dataclass(slots=True)
class Replayed:
    """What a rule would have told.

    Attributes:
        rule: The rule.
        fired: The alerts, oldest first.
        scopes: Scopes that were judged.
        unsure: Of these, the ones for which there were never enough data.
        data: What one of `unsure` had, for people.
    """

    rule: AlertRule
    fired: list[Fired] = field(default_factory=list)
    scopes: int = 0
    unsure: int = 0
    data: str = ""


def replay(
    rules: Sequence[AlertRule], ledger: Ledger, around: Surroundings, since: datetime, until: datetime
) -> list[Replayed]:
    """Return what each rule would have told from `since` to `until`.

    A day's, week's or month's spend is judged when the window is over: what passes the limit then, had passed it
    before.

    Raises:
        QueryError: The ledger cannot answer what a rule asks.
        LedgerError: The ledger cannot be read.
    """
    return [_replay(rule, ledger, around, since, until) for rule in rules]


def moments(rule: AlertRule, since: datetime, until: datetime) -> Iterator[datetime]:
    """Yield the moments at which a rule is evaluated, in its time zone, oldest first."""
    zone = ZoneInfo(rule.timezone)
    if rule.window_s or rule.calendar == "hour":
        window = rule.window_s or 3600
        step = timedelta(seconds=max(LEAST_STEP_S, window // 2 if window < HALVED_BELOW_S else min(window, 86400)))
        at = since.astimezone(zone)
        while at < until:
            at = min(until, at + step).astimezone(zone)
            yield at
        return
    day = since.astimezone(zone).replace(hour=0, minute=0, second=0, microsecond=0)
    while day < until:
        day += timedelta(days=1)
        yield min(day, until.astimezone(zone))


def _replay(rule: AlertRule, ledger: Ledger, around: Surroundings, since: datetime, until: datetime) -> Replayed:
    found = Replayed(rule)
    book = AlertBook()
    judged: dict[str, bool] = {}
    for at in moments(rule, since, until):
        with ledger.reading() as connection:
            findings = evaluate(rule, History(connection, at.timestamp()), around)
        known = set(book.alerts)
        book.advance(findings, [rule.name], [rule.name], at.timestamp(), lambda finding: ())
        found.fired += [Fired(at, one) for one in findings if one.id in book.alerts and one.id not in known]
        for one in findings:
            judged[one.label] = judged.get(one.label, False) or one.verdict.enough
            if not one.verdict.enough:
                found.data = data_of(one)
    found.scopes = len(judged)
    found.unsure = sum(1 for enough in judged.values() if not enough)
    return found
