"""What calls do, whatever they cost: errors, embeddings, calls without a price, lost ones, none at all."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from datetime import datetime, timedelta

from genledger.alerting import verdicts
from genledger.alerting.history import LOOK_BACK_DAYS, History, Scope, conditions, scope_of, within
from genledger.alerting.kinds.surroundings import Surroundings, largest
from genledger.alerting.rule_findings import RuleFinding
from genledger.alerting.rules import AlertRule
from genledger.alerting.verdicts import Traffic
from genledger.ledger.query import Filter
from genledger.reports.baselines import WEEK

LEAST_EMBEDDING_USD = 1.0
"""The least excess of embeddings that is reported, in USD, without a `min_usd`: they are cheap."""

EMBEDDINGS = ("embeddings",)
"""`gen_ai.operation.name` of embeddings."""


def error_burns(rule: AlertRule, history: History, around: Surroundings) -> Iterator[RuleFinding]:
    """Yield whether calls fail while input tokens rise."""
    now = history.local(rule.timezone)
    over = timedelta(seconds=rule.window_s)

    def traffic(since: datetime, until: datetime) -> dict[Scope, Traffic]:
        rows = history.rows(("calls", "errors", "input_tokens"), since, until, by=rule.by, where=conditions(rule))
        return {
            scope: Traffic(row["calls"], row["errors"] or 0, row["input_tokens"] or 0)
            for row in rows
            if (scope := scope_of(rule, row)) is not None
        }

    before, last = traffic(now - 2 * over, now - over), traffic(now - over / 6, now)
    for scope, calls in traffic(now - over, now).items():
        for above in rule.thresholds:
            verdict = verdicts.errors(
                rule.form,
                calls,
                last.get(scope, Traffic()),
                before.get(scope, Traffic()),
                above=above,
                min_calls=rule.min_calls or verdicts.MIN_CALLS,
            )
            where = within(rule, scope)
            cause = _errors_most(history, where, now - over, now) if verdict.firing else ()
            yield RuleFinding(rule, scope, above, now - over, now, verdict, cause=cause, where=where)


def _errors_most(history: History, where: Sequence[Filter], start: datetime, end: datetime) -> tuple[str, ...]:
    failed = history.rows(("errors", "retries"), start, end, by=("error_type",), where=where)
    kinds = [f"{row['error_type']} ({row['errors']:,})" for row in failed if row["errors"] and row["error_type"]]
    retries = sum(row["retries"] or 0 for row in failed)
    return tuple(
        filter(None, (f"errors: {', '.join(kinds[:3])}" if kinds else "", f"{retries:,} retries" if retries else ""))
    )


def embedding_surges(rule: AlertRule, history: History, around: Surroundings) -> Iterator[RuleFinding]:
    """Yield whether embeddings take more tokens than generation, and than usual."""
    now = history.local(rule.timezone)
    over = timedelta(seconds=rule.window_s)
    only = Filter("operation", "=", EMBEDDINGS)
    none = Filter("operation", "!=", EMBEDDINGS)
    floor = rule.min_usd if rule.min_usd is not None else LEAST_EMBEDDING_USD

    def tokens(since: datetime, until: datetime, which: Filter) -> dict[Scope, tuple[float, float]]:
        rows = history.rows(("tokens", "cost"), since, until, by=rule.by, where=(*conditions(rule), which))
        return {
            scope: (float(row["tokens"] or 0), row["cost"] or 0.0)
            for row in rows
            if (scope := scope_of(rule, row)) is not None
        }

    generated = tokens(now - over, now, none)
    weeks = [tokens(now - timedelta(weeks=ago) - over, now - timedelta(weeks=ago), only) for ago in range(1, 5)]
    hourly: dict[Scope, dict[str, float]] = {}
    since = now - timedelta(days=2 * WEEK)
    seen = [row["time"] for row in history.rows(("calls",), since, every="hour", where=conditions(rule))]
    age = (now - datetime.fromisoformat(seen[0])).total_seconds() / 3600 if seen else 0.0
    for row in history.rows(("tokens",), since, now - over, by=rule.by, every="hour", where=(*conditions(rule), only)):
        scope_found = scope_of(rule, row)
        if scope_found is not None:
            hourly.setdefault(scope_found, {})[row["time"]] = float(row["tokens"] or 0)
    hours_in_window = max(1.0, rule.window_s / 3600)
    for scope, (embedded, cost) in tokens(now - over, now, only).items():
        known = list(hourly.get(scope, {}).values())
        windows = [*[0.0] * max(0, int(age) - len(known)), *(value * hours_in_window for value in known)]
        for above in rule.thresholds:
            usual = sum(windows) / len(windows) if windows else 0.0
            excess = cost * max(0.0, embedded - usual) / embedded if embedded else 0.0
            verdict = verdicts.embeddings(
                rule.form,
                embedded,
                generated.get(scope, (0.0, 0.0))[0],
                windows,
                [week[scope][0] for week in weeks if scope in week],
                excess,
                above=above,
                floor=floor,
            )
            where = (*within(rule, scope), only)
            cause = largest(history, where, now - over, now) if verdict.firing else ()
            yield RuleFinding(rule, scope, above, now - over, now, verdict, excess, cause=cause, where=where)


def unpriced_shares(rule: AlertRule, history: History, around: Surroundings) -> Iterator[RuleFinding]:
    """Yield whether calls have no price."""
    now = history.local(rule.timezone)
    start = now - timedelta(seconds=rule.window_s)
    for row in history.rows(("calls", "unpriced"), start, by=rule.by, where=conditions(rule)):
        scope = scope_of(rule, row)
        if scope is None:
            continue
        for above in rule.thresholds:
            verdict = verdicts.share(
                rule.form,
                row["unpriced"] or 0,
                row["calls"],
                above=above,
                min_calls=rule.min_calls or verdicts.MIN_CALLS,
            )
            where = within(rule, scope)
            cause: tuple[str, ...] = ()
            if verdict.firing:
                rows = history.rows(("unpriced",), start, by=("model", "unpriced_reason"), where=where)
                models = [
                    f"{one['model']} ({one['unpriced_reason']}, {one['unpriced']:,})" for one in rows if one["unpriced"]
                ]
                cause = (f"unpriced: {', '.join(models[:3])}",)
            yield RuleFinding(rule, scope, above, start, now, verdict, cause=cause, where=where)


def lost_records(rule: AlertRule, history: History, around: Surroundings) -> Iterator[RuleFinding]:
    """Yield whether processes have lost records."""
    now = history.local(rule.timezone)
    start = now - timedelta(seconds=rule.window_s)
    (row,) = history.rows(("calls",), start) or [{"calls": 0}]
    records = history.lost_since(start.timestamp())
    for above in rule.thresholds:
        verdict = verdicts.lost(rule.form, records, row["calls"], above=above)
        yield RuleFinding(rule, (), above, start, now, verdict)


def silences(rule: AlertRule, history: History, around: Surroundings) -> Iterator[RuleFinding]:
    """Yield whether there are no calls."""
    now = history.local(rule.timezone)
    over = timedelta(seconds=rule.window_s)

    def calls(since: datetime, until: datetime) -> dict[Scope, int]:
        rows = history.rows(("calls",), since, until, by=rule.by, where=conditions(rule))
        return {scope: row["calls"] for row in rows if (scope := scope_of(rule, row)) is not None}

    begin = now - timedelta(days=LOOK_BACK_DAYS)
    earlier = calls(begin, now - over)
    current = calls(now - over, now)
    weeks = [calls(now - timedelta(weeks=ago) - over, now - timedelta(weeks=ago)) for ago in range(1, 5)]
    known = [sum(1 for week in weeks[: ago + 1] if week) for ago in range(4)][-1]
    for scope, count in earlier.items():
        same = [week.get(scope, 0) for week in weeks[:known]]
        verdict = verdicts.silence(rule.form, current.get(scope, 0), same, count)
        yield RuleFinding(rule, scope, 0.0, now - over, now, verdict, where=within(rule, scope))
