"""The evaluation of rules: what each kind asks the ledger, and the decisions about the answers."""

from __future__ import annotations

import fnmatch
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from zoneinfo import ZoneInfo

from genledger.alerting import baselines, decisions
from genledger.alerting.baselines import HISTORY_DAYS, WEEK
from genledger.alerting.decisions import Traffic, Verdict
from genledger.alerting.finding import Finding
from genledger.alerting.history import History, Scope, conditions, scope_of, within
from genledger.alerting.rules import MIN_SHARE, MIN_USD, AlertRule
from genledger.budgets.rules.rule import Rule
from genledger.budgets.rules.scope import EACH
from genledger.budgets.rules.units import from_units
from genledger.ledger.query import Filter

FIRST_TIMES = 10.0
"""What a scope without history must pass in a day, as a multiple of the least impact, without a `first_usd`."""

LOOK_BACK_DAYS = 28
"""Days without a value that make it a new one."""

LEAST_EMBEDDING_USD = 1.0
"""The least excess of embeddings that is reported, in USD, without a `min_usd`: they are cheap."""

NEW_CALLS = 5
NEW_USD = 1.0
"""The least calls and cost of a new value that are reported, unless the rule says otherwise."""

EMBEDDINGS = ("embeddings",)
"""`gen_ai.operation.name` of embeddings."""


@dataclass(frozen=True, slots=True)
class Surroundings:
    """What rules look at besides the ledger.

    Attributes:
        budgets: The budgets of the file, for `pace`.
        tier_of: The plan tier of a tenant.
    """

    budgets: Sequence[Rule] = ()
    tier_of: Callable[[str | None], str | None] = field(default=lambda tenant: None)


def evaluate(rule: AlertRule, history: History, around: Surroundings) -> list[Finding]:
    """Return what a rule finds, for each of its scopes, windows and thresholds, firing or not.

    Raises:
        QueryError: The ledger cannot answer what the rule asks.
        LedgerError: The ledger cannot be read.
    """
    return list(_KINDS[rule.kind](rule, history, around))


def least_impact(rule: AlertRule, history: History, days: int = 1) -> float:
    """Return the least impact of a window of so many days that the rule reports, in USD."""
    if rule.min_usd is not None:
        return rule.min_usd
    if rule.form == "plain":
        return 0.0
    return max(MIN_USD, MIN_SHARE * days * history.usual_day((), rule.timezone))


def _midnight(when: datetime) -> datetime:
    return when.replace(hour=0, minute=0, second=0, microsecond=0)


def _days(rule: AlertRule, history: History) -> Iterator[tuple[datetime, datetime]]:
    """Yield the day before, which may have got its last records since, and today, from its beginning to its end."""
    now = history.local(rule.timezone)
    today = _midnight(now)
    yield today - timedelta(days=1), today
    if today < now:
        yield today, today + timedelta(days=1)


def _spike(rule: AlertRule, history: History, around: Surroundings) -> Iterator[Finding]:
    floor = least_impact(rule, history)
    first = rule.first_usd if rule.first_usd is not None else FIRST_TIMES * max(floor, MIN_USD)
    for start, end in _days(rule, history):
        found = history.series(rule, HISTORY_DAYS, min(end, history.local(rule.timezone)))
        for scope, days in found.items():
            for above in rule.thresholds:
                verdict = decisions.spike(
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


def _spend(rule: AlertRule, history: History, around: Surroundings) -> Iterator[Finding]:
    if rule.per == "day":
        for start, end in _days(rule, history):
            found = history.series(rule, HISTORY_DAYS, min(end, history.local(rule.timezone)))
            for scope, days in found.items():
                for above in rule.thresholds:
                    verdict = decisions.spend(
                        rule.form, days.today.cost, days.costs, days.calls, start.weekday(), above=above
                    )
                    yield _money(rule, history, scope, above, start, end, verdict)
        return
    for start, end in _periods(rule, history):
        for row in history.rows(("cost",), start, end, by=rule.by, where=conditions(rule)):
            scope_found = scope_of(rule, row)
            if scope_found is not None:
                for above in rule.thresholds:
                    verdict = decisions.spend("plain", row["cost"] or 0.0, (), (), 0, above=above)
                    yield _money(rule, history, scope_found, above, start, end, verdict)


def _periods(rule: AlertRule, history: History) -> Iterator[tuple[datetime, datetime]]:
    """Yield the hour, week or month before the one that it is now, and that one."""
    now = history.local(rule.timezone)
    if rule.per == "hour":
        start = datetime.fromtimestamp(history.now // 3600 * 3600, now.tzinfo)
        yield start - timedelta(hours=1), start
        yield start, datetime.fromtimestamp(start.timestamp() + 3600, now.tzinfo)
    elif rule.per == "week":
        start = _midnight(now) - timedelta(days=now.weekday())
        yield start - timedelta(days=7), start
        yield start, start + timedelta(days=7)
    else:
        start = _midnight(now).replace(day=1)
        yield (start - timedelta(days=1)).replace(day=1), start
        yield start, (start + timedelta(days=32)).replace(day=1)


def _growth(rule: AlertRule, history: History, around: Surroundings) -> Iterator[Finding]:
    now = _midnight(history.local(rule.timezone))
    end = now - timedelta(days=now.weekday())
    start = end - timedelta(days=WEEK)
    floor = least_impact(rule, history, WEEK)
    for scope, series in history.series(rule, HISTORY_DAYS + WEEK, end).items():
        days = [*series.before, series.today]
        week, before = days[-WEEK:], days[-2 * WEEK : -WEEK]
        until_then = days[:-WEEK]
        for above in rule.thresholds:
            verdict = decisions.growth(
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
) -> Finding:
    where = within(rule, scope)
    excess = verdict.value - (verdict.expected or 0.0)
    if verdict.firing:
        cause = (*cause, *_largest(history, where, start, end))
    return Finding(rule, scope, above, start, end, verdict, excess, cause=cause, where=where)


def _largest(history: History, where: Sequence[Filter], start: datetime, end: datetime) -> tuple[str, ...]:
    """Return the feature and the model that cost most in a window, with their shares."""
    named = {one.field for one in where if one.operator == "="}
    found = []
    for name in ("tenant", "feature", "model"):
        if name in named:
            continue
        rows = [row for row in history.rows(("cost",), start, end, by=(name,), where=where) if row["cost"]]
        whole = sum(row["cost"] for row in rows)
        if whole > 0 and rows[0][name] is not None:
            found.append(f"{rows[0]['cost'] / whole:.0%} from {name}={rows[0][name]}")
    return (", ".join(found),) if found else ()


def _regression(rule: AlertRule, history: History, around: Surroundings) -> Iterator[Finding]:
    now = history.local(rule.timezone)
    since = now - 2 * timedelta(seconds=rule.window_s)
    used_by_trace = history.rows((rule.metric,), since, by=(*rule.by, rule.split, "trace"), where=conditions(rule))
    wanted = (Filter("outcome_name", "=", (rule.outcome_name,)),) if rule.outcome_name is not None else ()
    successes = {
        row["trace"]: row["outcomes"] for row in history.rows(("outcomes",), since, by=("trace",), where=wanted)
    }
    firsts = {
        (scope_of(rule, row), row[rule.split]): row["time"]
        for row in reversed(
            history.rows(("calls",), since, by=(*rule.by, rule.split), every="hour", where=conditions(rule))
        )
    }
    pairs: dict[Scope, dict[str, list[tuple[float, float]]]] = {}
    for row in used_by_trace:
        scope, version = scope_of(rule, row), row[rule.split]
        if scope is not None and version is not None:
            pair = (float(row[rule.metric] or 0), float(successes.get(row["trace"], 0)))
            pairs.setdefault(scope, {}).setdefault(str(version), []).append(pair)
    for scope, versions in pairs.items():
        order = sorted(versions, key=lambda version: firsts.get((scope, version), ""))
        if len(order) < 2:
            continue
        before, after = order[-2], order[-1]
        first = datetime.fromisoformat(firsts[scope, after])
        for above in rule.thresholds:
            verdict = decisions.regression(
                rule.form,
                versions[after],
                versions[before],
                above=above,
                min_successes=rule.min_successes,
            )
            yield Finding(
                rule,
                scope,
                above,
                first,
                now,
                verdict,
                subject=f"{rule.split} {after}",
                cause=(f"{rule.split} {after} since {first:%Y-%m-%d %H:%M}, before it {before}",),
                where=(*within(rule, scope), Filter(rule.split, "=", (after,))),
                unit="tokens per success" if rule.metric == "tokens" else "USD per success",
            )


def _errors(rule: AlertRule, history: History, around: Surroundings) -> Iterator[Finding]:
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
            verdict = decisions.errors(
                rule.form,
                calls,
                last.get(scope, Traffic()),
                before.get(scope, Traffic()),
                above=above,
                min_calls=rule.min_calls or decisions.MIN_CALLS,
            )
            where = within(rule, scope)
            cause = _errors_most(history, where, now - over, now) if verdict.firing else ()
            yield Finding(rule, scope, above, now - over, now, verdict, cause=cause, where=where)


def _errors_most(history: History, where: Sequence[Filter], start: datetime, end: datetime) -> tuple[str, ...]:
    failed = history.rows(("errors", "retries"), start, end, by=("error_type",), where=where)
    kinds = [f"{row['error_type']} ({row['errors']:,})" for row in failed if row["errors"] and row["error_type"]]
    retries = sum(row["retries"] or 0 for row in failed)
    return tuple(
        filter(None, (f"errors: {', '.join(kinds[:3])}" if kinds else "", f"{retries:,} retries" if retries else ""))
    )


def _pace(rule: AlertRule, history: History, around: Surroundings) -> Iterator[Finding]:
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
        today = _midnight(history.local(budget.timezone))
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
                verdict = decisions.pace(
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
                yield Finding(
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


def _embeddings(rule: AlertRule, history: History, around: Surroundings) -> Iterator[Finding]:
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
            verdict = decisions.embeddings(
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
            cause = _largest(history, where, now - over, now) if verdict.firing else ()
            yield Finding(rule, scope, above, now - over, now, verdict, excess, cause=cause, where=where)


def _unpriced(rule: AlertRule, history: History, around: Surroundings) -> Iterator[Finding]:
    now = history.local(rule.timezone)
    start = now - timedelta(seconds=rule.window_s)
    for row in history.rows(("calls", "unpriced"), start, by=rule.by, where=conditions(rule)):
        scope = scope_of(rule, row)
        if scope is None:
            continue
        for above in rule.thresholds:
            verdict = decisions.share(
                rule.form,
                row["unpriced"] or 0,
                row["calls"],
                above=above,
                min_calls=rule.min_calls or decisions.MIN_CALLS,
            )
            where = within(rule, scope)
            cause: tuple[str, ...] = ()
            if verdict.firing:
                rows = history.rows(("unpriced",), start, by=("model", "unpriced_reason"), where=where)
                models = [
                    f"{one['model']} ({one['unpriced_reason']}, {one['unpriced']:,})" for one in rows if one["unpriced"]
                ]
                cause = (f"unpriced: {', '.join(models[:3])}",)
            yield Finding(rule, scope, above, start, now, verdict, cause=cause, where=where)


def _dropped(rule: AlertRule, history: History, around: Surroundings) -> Iterator[Finding]:
    now = history.local(rule.timezone)
    start = now - timedelta(seconds=rule.window_s)
    (row,) = history.rows(("calls",), start) or [{"calls": 0}]
    records = history.lost_since(start.timestamp())
    for above in rule.thresholds:
        verdict = decisions.lost(rule.form, records, row["calls"], above=above)
        yield Finding(rule, (), above, start, now, verdict)


def _silence(rule: AlertRule, history: History, around: Surroundings) -> Iterator[Finding]:
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
        verdict = decisions.silence(rule.form, current.get(scope, 0), same, count)
        yield Finding(rule, scope, 0.0, now - over, now, verdict, where=within(rule, scope))


def _new(rule: AlertRule, history: History, around: Surroundings) -> Iterator[Finding]:
    now = history.local(rule.timezone)
    start = now - timedelta(seconds=rule.window_s)
    begin = start - timedelta(days=LOOK_BACK_DAYS)
    before = {row[rule.watch] for row in history.rows(("calls",), begin, start, by=(rule.watch,))}
    days = {row["time"][:10] for row in history.rows(("calls",), begin, start, every="day")}
    span = (start.date() - datetime.fromisoformat(min(days)).date()).days if days else 0
    for row in history.rows(("cost", "calls"), start, by=(*rule.by, rule.watch), where=conditions(rule)):
        scope, value = scope_of(rule, row), row[rule.watch]
        if scope is None or value is None or value in before:
            continue
        verdict = decisions.first_seen(
            rule.form,
            row["calls"],
            row["cost"],
            span,
            min_calls=rule.min_calls or NEW_CALLS,
            min_usd=rule.min_usd if rule.min_usd is not None else NEW_USD,
        )
        where = (*within(rule, scope), Filter(rule.watch, "=", (str(value),)))
        yield Finding(
            rule, scope, 0.0, start, now, verdict, row["cost"] or 0.0, subject=f"{rule.watch} {value}", where=where
        )


_KINDS: Mapping[str, Callable[[AlertRule, History, Surroundings], Iterator[Finding]]] = {
    "spike": _spike,
    "regression": _regression,
    "errors": _errors,
    "pace": _pace,
    "embeddings": _embeddings,
    "growth": _growth,
    "spend": _spend,
    "unpriced": _unpriced,
    "dropped": _dropped,
    "silence": _silence,
    "new": _new,
}
