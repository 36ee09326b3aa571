"""Spikes, growth, and spend that passes an amount."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime, timedelta

from genledger.alerting import verdicts
from genledger.alerting.history import History, Scope, conditions, scope_of, within
from genledger.alerting.kinds.surroundings import Surroundings, largest, least_impact, midnight
from genledger.alerting.rule_findings import RuleFinding
from genledger.alerting.rules import MIN_USD, AlertRule
from genledger.alerting.verdicts import Verdict
from genledger.reports.baselines import HISTORY_DAYS, WEEK

FIRST_TIMES = 10.0
"""What a scope without history must pass in a day, as a multiple of the least impact, without a `first_usd`."""


def spikes(rule: AlertRule, history: History, around: Surroundings) -> Iterator[RuleFinding]:
    """Yield whether the day before and today cost more than expected."""
    floor = least_impact(rule, history)
    first = rule.first_usd if rule.first_usd is not None else FIRST_TIMES * max(floor, MIN_USD)
    for start, end in _days(rule, history):
        found = history.series(rule, HISTORY_DAYS, min(end, history.local(rule.timezone)))
        for scope, days in found.items():
            for above in rule.thresholds:
                verdict = verdicts.spike(
                    rule.form,
                    days.today.cost,
                    days.costs,
                    days.calls,
                    start.weekday(),
                    above=above,
                    floor=floor,
                    first=first,
                )
                yield _money(rule, history, scope, above, start, end, verdict)


def spends(rule: AlertRule, history: History, around: Surroundings) -> Iterator[RuleFinding]:
    """Yield whether spend passes the amounts."""
    if rule.per == "day":
        for start, end in _days(rule, history):
            found = history.series(rule, HISTORY_DAYS, min(end, history.local(rule.timezone)))
            for scope, days in found.items():
                for above in rule.thresholds:
                    verdict = verdicts.spend(
                        rule.form, days.today.cost, days.costs, days.calls, start.weekday(), above=above
                    )
                    yield _money(rule, history, scope, above, start, end, verdict)
        return
    for start, end in _periods(rule, history):
        for row in history.rows(("cost",), start, end, by=rule.by, where=conditions(rule)):
            scope_found = scope_of(rule, row)
            if scope_found is not None:
                for above in rule.thresholds:
                    verdict = verdicts.spend("plain", row["cost"] or 0.0, (), (), 0, above=above)
                    yield _money(rule, history, scope_found, above, start, end, verdict)


def growths(rule: AlertRule, history: History, around: Surroundings) -> Iterator[RuleFinding]:
    """Yield whether the last whole week cost more than the one before."""
    now = midnight(history.local(rule.timezone))
    end = now - timedelta(days=now.weekday())
    start = end - timedelta(days=WEEK)
    floor = least_impact(rule, history, WEEK)
    for scope, series in history.series(rule, HISTORY_DAYS + WEEK, end).items():
        days = [*series.before, series.today]
        week, before = days[-WEEK:], days[-2 * WEEK : -WEEK]
        until_then = days[:-WEEK]
        for above in rule.thresholds:
            verdict = verdicts.growth(
                rule.form,
                [day.cost for day in week],
                [day.cost for day in before],
                [day.cost for day in until_then],
                [float(day.calls) for day in until_then],
                above=above,
                floor=floor,
            )
            cause = _split(rule, history, scope, start, end) if verdict.firing else ()
            yield _money(rule, history, scope, above, start, end, verdict, cause=cause)


def _days(rule: AlertRule, history: History) -> Iterator[tuple[datetime, datetime]]:
    """Yield the day before, which may have got its last records since, and today, from its beginning to its end."""
    now = history.local(rule.timezone)
    today = midnight(now)
    yield today - timedelta(days=1), today
    if today < now:
        yield today, today + timedelta(days=1)


def _periods(rule: AlertRule, history: History) -> Iterator[tuple[datetime, datetime]]:
    """Yield the hour, week or month before the one that it is now, and that one."""
    now = history.local(rule.timezone)
    if rule.per == "hour":
        start = datetime.fromtimestamp(history.now // 3600 * 3600, now.tzinfo)
        yield start - timedelta(hours=1), start
        yield start, datetime.fromtimestamp(start.timestamp() + 3600, now.tzinfo)
    elif rule.per == "week":
        start = midnight(now) - timedelta(days=now.weekday())
        yield start - timedelta(days=7), start
        yield start, start + timedelta(days=7)
    else:
        start = midnight(now).replace(day=1)
        yield (start - timedelta(days=1)).replace(day=1), start
        yield start, (start + timedelta(days=32)).replace(day=1)


def _split(rule: AlertRule, history: History, scope: Scope, start: datetime, end: datetime) -> tuple[str, ...]:
    """Return what a week's growth is made of: more calls, longer ones, or dearer tokens."""

    def sums(since: datetime, until: datetime) -> tuple[float, float, float]:
        (row,) = history.rows(("cost", "calls", "tokens"), since, until, where=within(rule, scope)) or [{}]
        return row.get("calls") or 0, row.get("tokens") or 0, row.get("cost") or 0.0

    calls, tokens, cost = sums(start, end)
    calls_before, tokens_before, cost_before = sums(start - timedelta(days=WEEK), start)
    if not (calls and tokens and cost and calls_before and tokens_before and cost_before):
        return ()
    longer = (tokens / calls) / (tokens_before / calls_before)
    dearer = (cost / tokens) / (cost_before / tokens_before)
    return (
        f"{_times(calls / calls_before)} the calls, {_times(longer)} the tokens per call, "
        f"{_times(dearer)} the cost per token (prices and models)",
    )


def _times(ratio: float) -> str:
    return f"{ratio:.2g} times" if ratio < 100 else f"{ratio:,.0f} times"


def _money(
    rule: AlertRule,
    history: History,
    scope: Scope,
    above: float,
    start: datetime,
    end: datetime,
    verdict: Verdict,
    *,
    cause: tuple[str, ...] = (),
) -> RuleFinding:
    where = within(rule, scope)
    excess = verdict.value - (verdict.expected or 0.0)
    if verdict.firing:
        cause = (*cause, *largest(history, where, start, end))
    return RuleFinding(rule, scope, above, start, end, verdict, excess, cause=cause, where=where)
