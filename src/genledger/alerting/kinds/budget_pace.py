"""Budgets that will not last."""

from __future__ import annotations

import fnmatch
from collections.abc import Iterator, Mapping, Sequence
from datetime import datetime, timedelta
from zoneinfo import ZoneInfo

from genledger.alerting import verdicts
from genledger.alerting.history import History, Scope
from genledger.alerting.kinds.surroundings import Surroundings, midnight
from genledger.alerting.rule_findings import RuleFinding
from genledger.alerting.rules import AlertRule
from genledger.budgets.rules.scope import EACH
from genledger.budgets.rules.units import from_units
from genledger.ledger.query import Filter
from genledger.reports import baselines
from genledger.reports.baselines import HISTORY_DAYS


def paces(rule: AlertRule, history: History, around: Surroundings) -> Iterator[RuleFinding]:
    """Yield whether budgets will last."""
    for budget in around.budgets:
        measured = {"usd": "cost", "tokens": "tokens", "requests": "calls"}.get(budget.measure)
        known_fields = {"tenant", "feature", "user", "model"}
        if (
            measured is None
            or budget.window.period not in ("day", "week", "month")
            or not set(budget.scope.patterns) <= known_fields
            or not fnmatch.fnmatchcase(budget.name, rule.budget)
        ):
            continue
        start_s, end_s = budget.window.bounds(history.now)
        zone = ZoneInfo(budget.timezone)
        start, end = (datetime.fromtimestamp(at, zone) for at in (start_s, end_s))
        today = midnight(history.local(budget.timezone))
        by = tuple(name for name, pattern in budget.scope.patterns.items() if pattern == EACH)
        fixed = tuple(
            Filter(name, "~" if any(one in pattern for one in "*?[") else "=", (pattern,))
            for name, pattern in budget.scope.patterns.items()
            if pattern != EACH
        )
        used = history.rows((measured,), start, by=by, where=fixed)
        days = _by_day(history, measured, today, by, fixed)
        for row in used:
            if any(row[name] is None for name in by):
                continue
            scope: Scope = tuple(
                (name, str(row[name]) if name in by else pattern) for name, pattern in budget.scope.patterns.items()
            )
            limit = from_units(budget.measure, budget.limit(around.tier_of(dict(scope).get("tenant"))))
            values, calls = days.get(tuple(row[name] for name in by), ([], []))
            ahead = max(0, (end.date() - today.date()).days)
            total, low = baselines.forecast(values, calls, today.weekday(), ahead)
            so_far = _part_of_today(history, measured, today, by, fixed, row)
            for above in rule.thresholds:
                verdict = verdicts.pace(
                    rule.form,
                    float(row[measured] or 0.0),
                    float(limit),
                    (history.now - start_s) / (end_s - start_s),
                    (max(0.0, total - so_far), max(0.0, low - so_far)),
                    len(values),
                    above=above,
                    known=total > 0,
                )
                each = tuple(Filter(name, "=", (str(row[name]),)) for name in by)
                yield RuleFinding(
                    rule,
                    scope,
                    above,
                    start,
                    end,
                    verdict,
                    (verdict.expected or verdict.value) - limit if measured == "cost" else 0.0,
                    subject=f"budget {budget.name}",
                    where=(*fixed, *each),
                    unit="USD" if measured == "cost" else budget.measure,
                )


def _by_day(
    history: History, metric: str, today: datetime, by: Sequence[str], where: Sequence[Filter]
) -> Mapping[tuple[str, ...], tuple[list[float], list[float]]]:
    """Return the days before today of each scope, from its first call on, and their calls."""
    metrics = (metric,) if metric == "calls" else (metric, "calls")
    since = today - timedelta(days=HISTORY_DAYS)
    found: dict[tuple[str, ...], dict[str, tuple[float, float]]] = {}
    for row in history.rows(metrics, since, today, by=by, every="day", where=where):
        key = tuple(row[name] for name in by)
        found.setdefault(key, {})[row["time"][:10]] = (float(row[metric] or 0.0), float(row["calls"]))
    dates = [(since + timedelta(days=number)).date().isoformat() for number in range(HISTORY_DAYS)]
    series = {}
    for key, known in found.items():
        first = min(known)
        values = [known.get(date, (0.0, 0.0)) for date in dates if date >= first]
        series[key] = ([value for value, _ in values], [calls for _, calls in values])
    return series


def _part_of_today(
    history: History,
    metric: str,
    today: datetime,
    by: Sequence[str],
    where: Sequence[Filter],
    row: Mapping[str, object],
) -> float:
    for one in history.rows((metric,), today, by=by, where=where):
        if all(one[name] == row[name] for name in by):
            return float(one[metric] or 0.0)
    return 0.0
