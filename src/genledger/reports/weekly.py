"""A week against the week before: what grew, by what, and what that is worth."""

from __future__ import annotations

import math
import re
import sqlite3
from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date, datetime, timedelta
from typing import Any, Literal, NamedTuple
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from genledger.ledger import queries, weeks
from genledger.ledger.query import Query, ask
from genledger.ledger.spending import Selection
from genledger.ledger.weeks import ClusterOutcome, ClusterSpend, Composition, Period
from genledger.reports import unit_economics
from genledger.reports.baselines import PART_OF_THRESHOLD, ratio_interval, ratio_of_sums
from genledger.reports.change_split import Split, split
from genledger.reports.evidence import Pair, least_growth
from genledger.reports.long_outputs import Outlier, outliers
from genledger.reports.unit_economics import MIN_SUCCESSES, CostPerSuccess, Margin, Waste

GROWTH = 0.2
"""Growth that is marked: 20 %, if the low end of its 95 % interval is above `PART_OF_THRESHOLD` of that: 5 %."""

DEAREST = 3
"""Features that are named as the dearest."""

By = Literal["all", "feature", "tenant"]
State = Literal["usual", "grown", "not enough data", "new", "unknown"]


class WeekError(ValueError):
    """There is no such week; the message says why."""


class Week(NamedTuple):
    """A week from Monday, and as much of the week before.

    Attributes:
        name: In ISO 8601, such as `2026-W47`.
        begin: Its beginning.
        end: Its end, exclusive; now, if it is not over.
        begin_before: The beginning of the week before.
        end_before: Its end, or the time of `end` seven days earlier.
    """

    name: str
    begin: datetime
    end: datetime
    begin_before: datetime
    end_before: datetime

    @property
    def over(self) -> bool:
        """Return whether the whole week is there."""
        return self.end == self.begin + timedelta(days=7)


@dataclass(frozen=True, slots=True)
class Change:
    """A number against the week before.

    Attributes:
        now: In the week.
        before: In the week before.
        growth: The change as a share of the week before; `None` if there is nothing to compare with.
        low: The low end of its 95 % interval; `None` where the growth is not above `GROWTH`.
        n: What it is judged by: sessions (or traces) or successes, in the smaller of the two weeks.
        state: `grown`: above `GROWTH`, surely above a quarter of that. `not enough data`: above it, but not surely.
    """

    now: float | None
    before: float | None
    growth: float | None
    low: float | None
    n: int
    state: State


@dataclass(frozen=True, slots=True)
class Compared:
    """What a feature or tenant did, against the week before; `split` where its cost has grown."""

    by: By
    key: str | None
    cost: Change
    calls: Change
    tokens: Change
    split: Split | None


@dataclass(frozen=True, slots=True)
class Success:
    """The cost per success of a feature or tenant, against the week before.

    A tenant's cost is that in the features where the outcome is recorded, by whomever.
    """

    by: By
    key: str | None
    now: CostPerSuccess
    before: CostPerSuccess
    change: Change


@dataclass(frozen=True, slots=True)
class Dearest:
    """One of the dearest features, and the model that cost most there."""

    key: str | None
    cost: float
    share: float
    model: str | None
    model_cost: float | None


@dataclass(frozen=True, slots=True)
class Failures:
    """Errors and retries.

    Attributes:
        calls: All calls.
        errors: Those that ended as error, timeout or rate limit.
        errors_usd: What these cost.
        retried: Calls that needed more than one request.
        retries: The further requests.
        causes: Why, as far as it is known.
        retries_usd: What those of them may have cost that were sent and never answered.
        retried_usd: What the retried calls cost altogether.
    """

    calls: int
    errors: int
    errors_usd: float
    retried: int
    retries: int
    causes: dict[str, int]
    retries_usd: float
    retried_usd: float | None


@dataclass(frozen=True, slots=True)
class UnpricedModel:
    """Calls of a model whose cost is unknown for one reason."""

    model: str | None
    reason: str | None
    calls: int


@dataclass(frozen=True, slots=True)
class Unpriced:
    """Calls whose cost is unknown, of all calls."""

    calls: int
    unpriced: int
    models: list[UnpricedModel]


@dataclass(frozen=True, slots=True)
class Weekly:
    """The report on a week. Rows are in the order of their cost."""

    week: Week
    zone: str
    whole: Compared
    features: list[Compared]
    tenants: list[Compared]
    dearest: list[Dearest]
    successes: list[Success]
    waste: list[Waste]
    wasted: Waste
    unjoined: int
    margins: list[tuple[By, Margin]]
    failures: Failures
    outliers: list[Outlier]
    unpriced: Unpriced

    @property
    def empty(self) -> bool:
        """Return whether there is nothing to report, in neither week."""
        return not (self.whole.calls.now or self.whole.calls.before or self.successes or self.margins)


def read_week(text: str | None, zone: str, now: datetime) -> Week:
    """Return a week by its name in ISO 8601; by default, the last one that is over.

    Raises:
        WeekError: It is no week, has not begun, or there is no such time zone.
    """
    try:
        local = now.astimezone(ZoneInfo(zone))
    except (ZoneInfoNotFoundError, ValueError, OSError):
        raise WeekError(f"there is no time zone {zone!r}; give an IANA name such as Europe/Berlin") from None
    if text is None:
        monday = local.date() - timedelta(days=local.weekday() + 7)
    else:
        found = re.fullmatch(r"(\d{4})-?W(\d\d)", text)
        try:
            monday = date.fromisocalendar(int(found[1]), int(found[2]), 1) if found else None  # type: ignore[assignment]
            _days_after(monday, -7), _days_after(monday, 7)
        except (ValueError, OverflowError, TypeError):
            raise WeekError(f"{text!r} is no week; give one in ISO 8601, such as 2026-W47") from None
    year, number, _ = monday.isocalendar()
    begin, end = _midnight(monday, local), _midnight(_days_after(monday, 7), local)
    begin_before, end_before = _midnight(_days_after(monday, -7), local), begin
    if begin >= local:
        raise WeekError(f"week {year}-W{number:02} has not begun; it does on {begin:%A, %Y-%m-%d}")
    if end > local:
        end, end_before = local, local - timedelta(days=7)
    return Week(f"{year}-W{number:02}", begin, end, begin_before, end_before)


def weekly(connection: sqlite3.Connection, week: Week, zone: str) -> Weekly:
    """Return the report on a week.

    Args:
        connection: From `Ledger.reading()`.
        week: The week.
        zone: The time zone that its days are cut in.
    """
    both = _Weeks(connection, week, zone)
    features, tenants = both.compared("feature"), both.compared("tenant")
    (whole,) = both.compared("all")
    with_causes = both.with_causes([whole, *features, *tenants])
    waste = both.waste()
    wasted = unit_economics.altogether(waste)
    return Weekly(
        week=week,
        zone=zone,
        whole=with_causes[0],
        features=with_causes[1 : len(features) + 1],
        tenants=with_causes[len(features) + 1 :],
        dearest=both.dearest(features, whole),
        successes=[*both.successes("feature"), *both.successes("tenant")],
        waste=waste,
        wasted=wasted,
        unjoined=sum(one.successes for one in both.outcomes[0] if not one.joined),
        margins=both.margins(),
        failures=both.failures(wasted),
        outliers=outliers(connection, both.periods[0], Period(both.periods[1].begin_ns, both.periods[0].end_ns)),
        unpriced=both.unpriced(),
    )


Key = str | None
Place = tuple[Key, Key, str]


@dataclass(slots=True)
class _Side:
    """One week of one feature or tenant: what each cluster adds, and each weekday."""

    cost: list[float] = field(default_factory=list)
    calls: list[float] = field(default_factory=list)
    tokens: list[float] = field(default_factory=list)
    priced: int = 0
    days: dict[int, dict[str, float]] = field(default_factory=dict)


class _Weeks:
    """Both weeks, as read from the ledger: the week first."""

    def __init__(self, connection: sqlite3.Connection, week: Week, zone: str) -> None:
        self._connection = connection
        self._week = week
        self._zone = zone
        self.periods = (_period(week.begin, week.end), _period(week.begin_before, week.end_before))
        self.spend = tuple(weeks.cluster_spend(connection, period) for period in self.periods)
        self.outcomes = tuple(weeks.cluster_outcomes(connection, period) for period in self.periods)

    def compared(self, by: By) -> list[Compared]:
        """Return every feature or tenant of the two weeks, or all together, against the week before."""
        now, before = (self._side(by, which) for which in (0, 1))
        keys = {None: None} if by == "all" else {**now, **before}
        rows = []
        for key in keys:
            one, other = now.get(key, _Side()), before.get(key, _Side())
            cost, calls, tokens = (_sum_change(one, other, name) for name in ("cost", "calls", "tokens"))
            rows.append(Compared(by, key, cost, calls, tokens, None))
        return sorted(rows, key=lambda row: (-(row.cost.now or 0.0), -(row.calls.now or 0), str(row.key)))

    def _side(self, by: By, which: int) -> dict[Key, _Side]:
        sides: dict[Key, _Side] = defaultdict(_Side)
        clusters: dict[tuple[Key, str], list[float]] = defaultdict(lambda: [0.0, 0.0, 0.0])
        for one in self.spend[which]:
            sums = clusters[_key(one, by), one.cluster]
            sums[0] += one.cost
            sums[1] += one.calls
            sums[2] += one.tokens
            sides[_key(one, by)].priced += one.priced
        for (key, _), (cost, calls, tokens) in clusters.items():
            side = sides[key]
            side.cost.append(cost)
            side.calls.append(calls)
            side.tokens.append(tokens)
        first = (self._week.begin, self._week.begin_before)[which].date()
        for row in self._ask(("cost", "calls", "tokens"), () if by == "all" else (by,), which, every="day"):
            day = (date.fromisoformat(row["time"][:10]) - first).days
            sides[row.get(by)].days[day] = {name: row[name] or 0.0 for name in ("cost", "calls", "tokens")}
        return sides

    def with_causes(self, rows: Sequence[Compared]) -> list[Compared]:
        """Return the rows, with the causes of those whose cost has grown."""
        if not any(row.cost.state == "grown" for row in rows):
            return list(rows)
        of_weeks = [weeks.compositions(self._connection, period) for period in self.periods]
        return [self._with_causes(row, *of_weeks) if row.cost.state == "grown" else row for row in rows]

    def _with_causes(
        self, row: Compared, now: Mapping[Place, Composition], before: Mapping[Place, Composition]
    ) -> Compared:
        parts = split(_of(row, now), _of(row, before), row.cost.now or 0.0, row.cost.before or 0.0)
        return Compared(row.by, row.key, row.cost, row.calls, row.tokens, parts)

    def dearest(self, features: Sequence[Compared], whole: Compared) -> list[Dearest]:
        """Return the dearest features of the week, each with its dearest model."""
        top: dict[Key, tuple[str | None, float | None]] = {}
        for row in self._ask(("cost",), ("feature", "model"), 0):
            top.setdefault(row["feature"], (row["model"], row["cost"]))
        return [
            Dearest(row.key, row.cost.now, row.cost.now / whole.cost.now, *top.get(row.key, (None, None)))
            for row in features[:DEAREST]
            if row.cost.now and whole.cost.now
        ]

    def successes(self, by: By) -> list[Success]:
        """Return the cost per success of each feature or tenant and outcome."""
        now, before = (self._success_clusters(by, which) for which in (0, 1))
        rows = []
        for key, name in {**now, **before}:
            one, other = now.get((key, name), []), before.get((key, name), [])
            this, last = unit_economics.cost_per_success(name, one), unit_economics.cost_per_success(name, other)
            change = _change(
                this.each,
                last.each,
                min(this.successes, last.successes),
                lambda one=one, other=other: ratio_interval(ratio_of_sums(one), ratio_of_sums(other))[0],  # type: ignore[misc]
                least_n=MIN_SUCCESSES,
            )
            rows.append(Success(by, key, this, last, change))
        return sorted(rows, key=lambda row: (row.now.outcome, -row.now.cost, str(row.key)))

    def _success_clusters(self, by: By, which: int) -> dict[tuple[Key, str], list[Pair]]:
        recorded: dict[str, set[Key]] = defaultdict(set)
        for outcome in (*self.outcomes[0], *self.outcomes[1]):
            if outcome.successes:
                recorded[outcome.name].add(outcome.feature)
        found: dict[tuple[Key, str], dict[str, list[float]]] = defaultdict(lambda: defaultdict(lambda: [0.0, 0.0]))
        for spent in self.spend[which]:
            for name, features in recorded.items():
                if spent.feature in features:
                    found[_key(spent, by), name][spent.cluster][0] += spent.cost
        for outcome in self.outcomes[which]:
            if outcome.successes:
                found[_key(outcome, by), outcome.name][outcome.cluster][1] += outcome.successes
        return {place: [(cost, gained) for cost, gained in clusters.values()] for place, clusters in found.items()}

    def waste(self) -> list[Waste]:
        """Return what each feature spent in vain."""
        period = self.periods[0]
        traces = weeks.traces_won(self._connection, period)
        judged = {feature for feature, (won, _) in traces.items() if won}
        judged |= {outcome.feature for outcome in self.outcomes[0] if outcome.joined}
        return unit_economics.wasted(
            weeks.endings(self._connection, period),
            weeks.lost_attempts(self._connection, period),
            traces,
            frozenset(judged),
        )

    def margins(self) -> list[tuple[By, Margin]]:
        """Return what is left of revenue, altogether and by feature and tenant, where there is any."""
        revenue = weeks.revenue(self._connection, self.periods[0])
        rows: list[tuple[By, Margin]] = []
        for by in ("all", "feature", "tenant"):
            earned: dict[Key, dict[str, float]] = defaultdict(lambda: defaultdict(float))
            for one in revenue:
                earned[_key(one, by)][one.currency] += one.amount
            spent: dict[Key, float] = defaultdict(float)
            for cluster in self.spend[0]:
                spent[_key(cluster, by)] += cluster.cost
            found = [unit_economics.margin(key, amounts, spent[key]) for key, amounts in earned.items()]
            found.sort(key=lambda row: (-sum(row.revenue.values()), str(row.key)))
            rows += [(by, row) for row in found]
        return rows

    def failures(self, wasted: Waste) -> Failures:
        """Return errors and retries, and what they cost."""
        period = self.periods[0]
        (row,) = self._ask(("calls", "errors"), (), 0) or [{"calls": 0, "errors": 0}]
        retries = queries.retries(self._connection, Selection(*period))
        return Failures(
            calls=row["calls"],
            errors=row["errors"],
            errors_usd=wasted.failed,
            retried=retries.calls,
            retries=retries.requests,
            causes=retries.causes,
            retries_usd=wasted.retries,
            retried_usd=retries.cost_usd,
        )

    def unpriced(self) -> Unpriced:
        """Return what has no price."""
        (row,) = self._ask(("calls", "unpriced"), (), 0) or [{"calls": 0, "unpriced": 0}]
        models = [
            UnpricedModel(one["model"], one["unpriced_reason"], one["unpriced"])
            for one in self._ask(("unpriced",), ("model", "unpriced_reason"), 0)
            if one["unpriced"]
        ]
        return Unpriced(row["calls"], row["unpriced"], models)

    def _ask(
        self, metrics: tuple[str, ...], by: tuple[str, ...], which: int, every: Any = None
    ) -> list[dict[str, Any]]:
        begin_ns, end_ns = self.periods[which]
        question = Query(metrics=metrics, by=by, every=every, since_ns=begin_ns, until_ns=end_ns, zone=self._zone)
        return ask(self._connection, question).rows


def _sum_change(now: _Side, before: _Side, name: Literal["cost", "calls", "tokens"]) -> Change:
    clusters: tuple[list[float], list[float]] = (getattr(now, name), getattr(before, name))
    days = [
        (now.days.get(day, {}).get(name, 0.0), before.days.get(day, {}).get(name, 0.0))
        for day in sorted({**now.days, **before.days})
    ]
    n = min(len(values) for values in clusters)
    return _change(_whole(now, name), _whole(before, name), n, lambda: least_growth(*clusters, days))


def _whole(side: _Side, name: Literal["cost", "calls", "tokens"]) -> float | None:
    unknown = name == "cost" and side.calls and not side.priced
    return None if unknown else math.fsum(getattr(side, name))


def _change(now: float | None, before: float | None, n: int, least: Callable[[], float], *, least_n: int = 2) -> Change:
    if not before:
        return Change(now, before, None, None, n, "new" if now else "unknown")
    if now is None:
        return Change(now, before, None, None, n, "unknown")
    growth = now / before - 1
    if growth <= GROWTH:
        return Change(now, before, growth, None, n, "usual")
    low = least() - 1
    sure = n >= least_n and low > GROWTH * PART_OF_THRESHOLD
    return Change(now, before, growth, low, n, "grown" if sure else "not enough data")


def _key(one: ClusterSpend | ClusterOutcome | weeks.Revenue, by: By) -> Key:
    return None if by == "all" else one.feature if by == "feature" else one.tenant


def _of(row: Compared, week: Mapping[Place, Composition]) -> dict[str, Composition]:
    """Return what a row consisted of, by model."""
    found: dict[str, Composition] = {}
    for (tenant, feature, model), one in week.items():
        if row.by == "all" or row.key == (feature if row.by == "feature" else tenant):
            whole = found.setdefault(model, Composition())
            whole.calls += one.calls
            whole.priced += one.priced
            for bucket, (quantity, cost) in one.parts.items():
                known = whole.parts.get(bucket, (0.0, 0.0))
                whole.parts[bucket] = (known[0] + quantity, known[1] + cost)
    return found


def _period(begin: datetime, end: datetime) -> Period:
    return Period(_ns(begin), _ns(end))


def _ns(when: datetime) -> int:
    seconds, micros = divmod(round(when.timestamp() * 1_000_000), 1_000_000)
    return seconds * 1_000_000_000 + micros * 1_000


def _days_after(day: date, days: int) -> date:
    return day + timedelta(days=days)


def _midnight(day: date, local: datetime) -> datetime:
    return datetime(day.year, day.month, day.day, tzinfo=local.tzinfo)
