"""Models, keys and other values that were not there before."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime, timedelta

from genledger.alerting import verdicts
from genledger.alerting.history import LOOK_BACK_DAYS, History, conditions, scope_of, within
from genledger.alerting.kinds.surroundings import Surroundings
from genledger.alerting.rule_findings import RuleFinding
from genledger.alerting.rules import AlertRule
from genledger.alerting.verdicts import Verdict
from genledger.ledger.query import Filter

NEW_CALLS = 5
NEW_USD = 1.0
"""The least calls and cost of a new value that are reported, unless the rule says otherwise."""


def new_values(rule: AlertRule, history: History, around: Surroundings) -> Iterator[RuleFinding]:
    """Yield whether values are new."""
    now = history.local(rule.timezone)
    start = now - timedelta(seconds=rule.window_s)
    if rule.watch == "api_key":
        for key, seen in around.keys.items():
            verdict = Verdict(seen >= start.timestamp(), 0.0, 0.0, n=len(around.keys), of="known keys")
            yield RuleFinding(rule, (), 0.0, start, now, verdict, subject=f"api_key {key}")
        return
    begin = start - timedelta(days=LOOK_BACK_DAYS)
    before = {row[rule.watch] for row in history.rows(("calls",), begin, start, by=(rule.watch,))}
    days = {row["time"][:10] for row in history.rows(("calls",), begin, start, every="day")}
    span = (start.date() - datetime.fromisoformat(min(days)).date()).days if days else 0
    for row in history.rows(("cost", "calls"), start, by=(*rule.by, rule.watch), where=conditions(rule)):
        scope, value = scope_of(rule, row), row[rule.watch]
        if scope is None or value is None or value in before:
            continue
        verdict = verdicts.first_seen(
            rule.form,
            row["calls"],
            row["cost"],
            span,
            min_calls=rule.min_calls or NEW_CALLS,
            min_usd=rule.min_usd if rule.min_usd is not None else NEW_USD,
        )
        where = (*within(rule, scope), Filter(rule.watch, "=", (str(value),)))
        yield RuleFinding(
            rule, scope, 0.0, start, now, verdict, row["cost"] or 0.0, subject=f"{rule.watch} {value}", where=where
        )
