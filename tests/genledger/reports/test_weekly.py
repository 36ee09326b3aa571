"""The report on a week: the numbers of the ledger, and what is said about them."""

from __future__ import annotations

import random
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import pytest

from genledger.context.attribution import Attribution
from genledger.engine.record import CallRecord, ProductEvent
from genledger.ledger import Ledger
from genledger.ledger.query import Query, ask
from genledger.pricing.cost import Cost, Part
from genledger.pricing.usage import Usage
from genledger.reports.weekly import WeekError, Weekly, read_week, weekly

from ..samples import a_call

NOW = datetime(2026, 11, 25, 15, 30, tzinfo=UTC)
MONDAY = datetime(2026, 11, 16, tzinfo=UTC)


def ns(when: datetime) -> int:
    return int(when.timestamp()) * 10**9


def calls(
    n: int,
    week: int,
    *,
    feature: str = "copilot",
    output: int = 100,
    rate: float = 1e-3,
    seed: int = 1,
    model: str = "gpt-4o",
) -> Iterator[CallRecord]:
    """As many calls in this week before (-1) or of the report (0), alike on each day."""
    chance = random.Random(seed)
    for number in range(n):
        at = MONDAY + timedelta(days=7 * week + number % 7, seconds=chance.randrange(86_400))
        tokens = round(output * chance.uniform(0.8, 1.2))
        parts = (Part("input", 1000, 1e-5, 0.01), Part("output", tokens, rate, tokens * rate))
        yield a_call(
            started_ns=ns(at),
            response_model=model,
            usage=Usage(input=1000, output=tokens),
            cost=Cost(0.01 + tokens * rate, "table", parts),
            attribution=Attribution(tenant=f"t{number % 2}", feature=feature),
        )


def report(ledger: Ledger, week: str | None = None, zone: str = "UTC", now: datetime = NOW) -> Weekly:
    with ledger.reading() as connection:
        return weekly(connection, read_week(week, zone, now), zone)


@pytest.fixture
def ledger(tmp_path: Path) -> Ledger:
    return Ledger(tmp_path / "ledger.db", max_age_days=None)


def test_the_default_is_the_last_week_that_is_over() -> None:
    week = read_week(None, "UTC", NOW)
    assert (week.name, week.begin, week.end, week.over) == ("2026-W47", MONDAY, MONDAY + timedelta(days=7), True)
    assert week.begin_before == MONDAY - timedelta(days=7)


def test_weeks_are_those_of_the_time_zone() -> None:
    zone = ZoneInfo("Asia/Kolkata")
    sunday_evening = datetime(2026, 11, 22, 19, tzinfo=UTC)  # half past midnight on Monday
    assert read_week(None, "Asia/Kolkata", sunday_evening).begin == datetime(2026, 11, 16, tzinfo=zone)
    assert read_week(None, "UTC", sunday_evening).name == "2026-W46"


def test_a_week_in_which_summer_time_ends_is_an_hour_longer() -> None:
    week = read_week("2026-W43", "Europe/Berlin", NOW)
    assert week.end.timestamp() - week.begin.timestamp() == 7 * 86_400 + 3600
    assert week.over


def test_a_week_that_is_not_over_is_compared_with_as_much_of_the_week_before() -> None:
    week = read_week("2026-W48", "UTC", NOW)
    assert (week.end, week.end_before, week.over) == (NOW, NOW - timedelta(days=7), False)


@pytest.mark.parametrize("text", ["2026-W54", "2026-W00", "47", "", "0001-W01", "9999-W53", "2026-W4x", "2026-11-16"])
def test_what_is_no_week_is_refused(text: str) -> None:
    with pytest.raises(WeekError, match="2026-W47"):
        read_week(text, "UTC", NOW)


def test_a_week_to_come_and_an_unknown_zone_are_refused() -> None:
    with pytest.raises(WeekError, match="has not begun"):
        read_week("2026-W49", "UTC", NOW)
    for zone in ("Mars/Olympus", "", "../etc/passwd", "x\0"):
        with pytest.raises(WeekError, match="no time zone"):
            read_week(None, zone, NOW)


def test_the_numbers_are_those_of_queries(ledger: Ledger) -> None:
    zone = "Asia/Kolkata"
    ledger.write([*calls(300, -1), *calls(400, 0, seed=2), *calls(150, 0, feature="search", seed=3)])
    found = report(ledger, zone=zone)
    for by, rows in (("feature", found.features), ("tenant", found.tenants)):
        for begin, end, which in (
            (found.week.begin, found.week.end, "now"),
            (found.week.begin_before, found.week.end_before, "before"),
        ):
            question = Query(
                metrics=("cost", "calls", "tokens"), by=(by,), since_ns=ns(begin), until_ns=ns(end), zone=zone
            )
            with ledger.reading() as connection:
                asked = {row[by]: row for row in ask(connection, question).rows}
            for row in rows:
                expected: dict[str, Any] = asked.get(row.key, {"cost": 0.0, "calls": 0, "tokens": 0})
                assert getattr(row.cost, which) == pytest.approx(expected["cost"])
                assert getattr(row.calls, which) == expected["calls"]
                assert getattr(row.tokens, which) == expected["tokens"]


def test_growth_is_marked_with_its_cause(ledger: Ledger) -> None:
    ledger.write(
        [
            *calls(350, -1),
            *calls(350, 0, output=200, seed=2),
            *calls(70, -1, feature="search"),
            *calls(70, 0, feature="search"),
        ]
    )
    found = report(ledger)
    copilot, search = found.features
    assert (copilot.key, copilot.cost.state, copilot.calls.state) == ("copilot", "grown", "usual")
    assert copilot.split is not None
    assert max(copilot.split.causes, key=lambda name: copilot.split.causes[name]) == "tokens per call"  # type: ignore[union-attr]
    assert copilot.split.causes["volume"] == 0
    assert (search.cost.state, search.split) == ("usual", None)
    assert (found.whole.cost.state, {row.cost.state for row in found.tenants}) == ("grown", {"grown"})


def test_little_data_is_not_enough_for_an_arrow(ledger: Ledger) -> None:
    ledger.write([*calls(12, -1), *calls(17, 0)])
    (copilot,) = report(ledger).features
    assert copilot.cost.growth is not None
    assert copilot.cost.growth > 0.2
    assert (copilot.cost.state, copilot.cost.n, copilot.split) == ("not enough data", 12, None)


def test_what_was_not_there_before_is_new(ledger: Ledger) -> None:
    ledger.write([*calls(50, 0), *calls(50, -1, feature="search")])
    copilot, search = report(ledger).features
    assert (copilot.cost.state, copilot.cost.growth) == ("new", None)
    assert (search.cost.now, search.cost.growth) == (0.0, -1.0)


def test_a_cost_without_any_price_is_unknown(ledger: Ledger) -> None:
    ledger.write([a_call(None, started_ns=ns(MONDAY)), a_call(2.0, started_ns=ns(MONDAY) - 10**12)])
    found = report(ledger)
    assert (found.whole.cost.now, found.whole.cost.state) == (None, "unknown")
    assert (found.unpriced.unpriced, found.unpriced.models[0].reason) == (1, "unknown_model")


def test_the_cost_of_a_success_is_that_of_its_feature(ledger: Ledger) -> None:
    rows = [*calls(100, 0), *calls(100, -1), *calls(50, 0, feature="indexer")]
    events = [
        ProductEvent("accepted", one.started_ns, one.attribution, one.trace_id, None, 1.0)
        for one in rows
        if one.attribution.feature == "copilot" and one.trace_id >> 64 & 1
    ]
    ledger.write(rows, events)
    found = report(ledger)
    (copilot,) = (one for one in found.successes if one.by == "feature")
    cost = next(row.cost.now for row in found.features if row.key == "copilot")
    assert (copilot.now.cost, copilot.now.successes) == (pytest.approx(cost), 50)
    assert copilot.now.low
    assert copilot.now.high
    assert copilot.now.low < cost / 50 < copilot.now.high
    tenants = {one.key: one.now for one in found.successes if one.by == "tenant"}
    assert sum(one.successes for one in tenants.values()) == 50
    assert sum(one.cost for one in tenants.values()) == pytest.approx(cost)  # without the indexer
    waste = {row.key: row for row in found.waste}
    assert waste["copilot"].unsuccessful == pytest.approx(cost / 2, rel=0.1)
    assert (waste["copilot"].traces, waste["copilot"].traces_won, waste["indexer"].unsuccessful) == (100, 50, None)


def test_a_tenant_without_a_success_is_listed(ledger: Ledger) -> None:
    rows = list(calls(60, 0))
    events = [
        ProductEvent("accepted", rows[0].started_ns, Attribution(tenant="t0", feature="copilot"), None, None, 1.0)
    ]
    ledger.write(rows, events)
    tenants = {one.key: one.now for one in report(ledger).successes if one.by == "tenant"}
    assert (tenants["t1"].successes, tenants["t1"].each) == (0, None)
    assert tenants["t1"].cost > 0


def test_the_dearest_features_are_named_with_their_model(ledger: Ledger) -> None:
    rows = [call for size in range(1, 5) for call in calls(10, 0, feature=f"f{size}", output=100 * size)]
    ledger.write([*rows, *calls(2, 0, feature="f4", model="small")])
    found = report(ledger)
    assert [(one.key, one.model) for one in found.dearest] == [("f4", "gpt-4o"), ("f3", "gpt-4o"), ("f2", "gpt-4o")]
    assert found.dearest[0].share == pytest.approx(found.dearest[0].cost / (found.whole.cost.now or 0))


def test_a_call_and_a_trace_with_very_long_output_are_found(ledger: Ledger) -> None:
    rows = list(calls(200, 0))
    runaway = rows[3]
    long = a_call(started_ns=ns(MONDAY), usage=Usage(output=9000), attribution=runaway.attribution)
    loop = [
        a_call(started_ns=ns(MONDAY), trace_id=7, usage=Usage(output=100), attribution=runaway.attribution)
        for _ in range(60)
    ]
    ledger.write([*rows, long, *loop])
    found = report(ledger).outliers
    assert [(one.output.output_tokens, one.output.span is None, one.output.calls) for one in found] == [
        (9000, False, 1),
        (6000, True, 60),
    ]
    assert found[0].usual == pytest.approx(100, abs=5)


def test_outputs_that_always_differ_are_not_unusual(ledger: Ledger) -> None:
    chance = random.Random(5)
    ledger.write(
        a_call(started_ns=ns(MONDAY), usage=Usage(output=1 + int(chance.lognormvariate(5, 1.2)))) for _ in range(500)
    )
    assert report(ledger).outliers == []


def test_errors_and_retries_have_their_cost(ledger: Ledger) -> None:
    ledger.write(
        [
            a_call(1.0, started_ns=ns(MONDAY), outcome="error", error_type="x"),
            a_call(2.0, started_ns=ns(MONDAY), attempts=3, retry_causes=("429", "503")),
            a_call(4.0, started_ns=ns(MONDAY)),
        ]
    )
    found = report(ledger).failures
    assert (found.calls, found.errors, found.errors_usd) == (3, 1, 1.0)
    assert (found.retried, found.retries, found.causes) == (1, 2, {"429": 1, "503": 1})
    assert (found.retries_usd, found.retried_usd) == (0.0, 2.0)


def test_margin_is_revenue_minus_the_cost_of_all_calls(ledger: Ledger) -> None:
    rows = list(calls(70, 0))
    at = rows[0].started_ns
    paid = [
        ProductEvent("invoice_paid", at, Attribution(tenant="t0", feature="copilot"), None, None, 20.0, "USD"),
        ProductEvent("invoice_paid", at, Attribution(tenant="t1", feature="copilot"), None, None, 3.0, "EUR"),
    ]
    ledger.write(rows, paid)
    found = {(by, row.key): row for by, row in report(ledger).margins}
    costs = {row.key: row.cost.now for row in report(ledger).tenants}
    assert found["tenant", "t0"].margin == pytest.approx(20.0 - (costs["t0"] or 0))
    assert found["tenant", "t0"].share == pytest.approx(1 - (costs["t0"] or 0) / 20.0)
    assert (found["tenant", "t1"].margin, found["tenant", "t1"].revenue) == (None, {"EUR": 3.0})
    assert found["all", None].margin is None


def test_an_empty_ledger_has_an_empty_report(ledger: Ledger) -> None:
    found = report(ledger)
    assert found.empty
    assert (found.whole.cost.now, found.features, found.waste) == (0.0, [], [])
