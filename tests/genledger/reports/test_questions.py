"""Questions in words: the same numbers as adding up by hand, in any zone, and beside the period before."""

from __future__ import annotations

import random
import subprocess
import sys
from collections import defaultdict
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from functools import partial
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import genledger
from genledger.context.attribution import Attribution
from genledger.engine.record import CallRecord, ProductEvent
from genledger.ledger import Ledger, LedgerError
from genledger.ledger.query import ask
from genledger.reports.periods import before, between
from genledger.reports.questions import Question, query, read_condition

from ..samples import a_call

ZONES = ["UTC", "Europe/Berlin", "Asia/Kolkata", "Asia/Kathmandu", "Australia/Lord_Howe"]
NOW = datetime(2026, 10, 27, 10, 7, tzinfo=UTC)  # summer time ended in Berlin on the 25th
DAYS = 70


def made() -> list[CallRecord]:
    chance = random.Random(17)
    return [
        a_call(
            None if chance.random() < 0.1 else chance.randrange(1, 1000) / 1e4,
            started_ns=int((NOW - timedelta(seconds=chance.randrange(DAYS * 86_400))).timestamp()) * 10**9,
            outcome=chance.choice(("success", "error")),
            attribution=Attribution(
                tenant=chance.choice(("acme", "globex", None)),
                feature=chance.choice(("search", "draft")),
                metadata={"plan": chance.choice(("pro", "free"))},
            ),
        )
        for _ in range(400)
    ]


CALLS = made()
ATTRIBUTES: dict[str, Callable[[CallRecord], Any]] = {
    "tenant": lambda call: call.attribution.tenant,
    "feature": lambda call: call.attribution.feature,
    "metadata.plan": lambda call: call.attribution.metadata["plan"],
    "outcome": lambda call: call.outcome,
}


@pytest.fixture(scope="module")
def path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("questions") / "ledger.db"
    ledger = Ledger(path, max_age_days=None)
    ledger.write(CALLS, [ProductEvent("done", CALLS[0].started_ns, CALLS[0].attribution, None, None, 1.0)])
    ledger.roll_up(most=300)  # some hours are left to the calls themselves
    return path


def found(path: Path, now: datetime = NOW, **question: Any) -> list[dict[str, Any]]:
    with Ledger(path).reading() as connection:
        return Question(**question).find(partial(ask, connection), now).rows


def cost(calls: list[CallRecord]) -> Any:
    priced = [call.cost.amount for call in calls if call.cost is not None]
    return pytest.approx(sum(priced)) if priced else None


def within(begin: datetime, end: datetime) -> list[CallRecord]:
    return [call for call in CALLS if begin.timestamp() * 1e9 <= call.started_ns < end.timestamp() * 1e9]


@settings(max_examples=60, deadline=None)
@given(
    since=st.sampled_from(
        ["today", "yesterday", "this-week", "last-week", "this-month", "last-month", "7d", "36h", "2026-10-20"]
    ),
    zone=st.sampled_from(ZONES),
    by=st.lists(st.sampled_from(sorted(ATTRIBUTES)), max_size=2, unique=True),
    plan=st.sampled_from([None, "pro"]),
)
def test_a_comparison_is_what_both_periods_add_up_to(
    path: Path, since: str, zone: str, by: list[str], plan: str | None
) -> None:
    begin, end = between(since, None, zone, NOW)
    assert begin is not None
    periods = (begin, end or NOW), before(since, begin, end or NOW, zone)
    sums: list[dict[tuple[Any, ...], list[CallRecord]]] = []
    for period in periods:
        groups: dict[tuple[Any, ...], list[CallRecord]] = defaultdict(list)
        for call in within(*period):
            if plan is None or call.attribution.metadata["plan"] == plan:
                groups[tuple(ATTRIBUTES[name](call) for name in by)].append(call)
        sums.append(groups)
    where = () if plan is None else (read_condition(f"metadata.plan={plan}"),)
    rows = found(
        path,
        metrics=("cost", "calls"),
        by=tuple(by),
        where=where,
        since=since,
        tz=zone,
        compare="previous",
    )
    assert {tuple(row[name] for name in by) for row in rows} == {*sums[0], *sums[1]}
    for row in rows:
        now, past = (groups.get(tuple(row[name] for name in by), []) for groups in sums)
        assert (row["calls"], row["calls_before"]) == (len(now), len(past))
        assert (row["cost"], row["cost_before"]) == (cost(now), cost(past))
        assert row["calls_change"] == (pytest.approx(len(now) / len(past) - 1) if past else None)


@pytest.mark.parametrize("zone", ZONES)
def test_days_are_compared_with_the_days_of_the_week_before(path: Path, zone: str) -> None:
    days = {}
    for call in CALLS:
        day = datetime.fromtimestamp(call.started_ns // 10**9, ZoneInfo(zone)).date()
        days[day] = days.get(day, 0) + 1
    rows = found(path, metrics=("calls",), every="day", since="last-week", tz=zone, compare="previous")
    assert [row["time"][:10] for row in rows] == [f"2026-10-{day}" for day in range(19, 26)]
    for row in rows:
        day = datetime.fromisoformat(row["time"]).date()
        assert (row["calls"], row["calls_before"]) == (days.get(day, 0), days.get(day - timedelta(days=7), 0))


def test_who_is_gone_and_who_is_new_are_both_in_a_comparison(tmp_path: Path) -> None:
    old, new = (int((NOW - timedelta(hours=hours)).timestamp()) * 10**9 for hours in (36, 2))
    ledger = Ledger(tmp_path / "ledger.db", max_age_days=None)
    ledger.write(
        [
            a_call(1.0, started_ns=old, attribution=Attribution(tenant="gone")),
            a_call(2.0, started_ns=old, attribution=Attribution(tenant="there")),
            a_call(3.0, started_ns=new, attribution=Attribution(tenant="there")),
            a_call(4.0, started_ns=new, attribution=Attribution(tenant="new")),
        ]
    )
    rows = found(
        ledger.path, metrics=("cost", "calls"), by=("tenant",), since="24h", compare="previous", order="-cost_change"
    )
    assert [list(row.values()) for row in rows] == [
        ["there", 3.0, 2.0, 0.5, 1, 1, 0.0],
        ["new", 4.0, None, None, 1, 0, None],
        ["gone", None, 1.0, None, 0, 1, -1.0],
    ]


def test_python_asks_with_words(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GENLEDGER_LEDGER", str(path))
    conditions: list[Any] = [
        {"tenant": ["acme", None], "metadata.plan": "pro"},
        ["tenant=acme,", "metadata.plan=pro"],
        ["tenant!=globex", "metadata.plan~p?o"],
    ]
    expected = [
        call for call in CALLS if call.attribution.tenant != "globex" and call.attribution.metadata["plan"] == "pro"
    ]
    for where in conditions:
        (row,) = query("calls", where=where, since="2026-01-01")
        assert row == {"calls": len(expected)}
    rows = genledger.query(["cost", "calls"], by="tenant", since="2026-01-01", order="-calls", limit=1, ledger=path)
    assert len(rows) == 1


def test_a_ledger_that_is_not_there_is_not_made(tmp_path: Path) -> None:
    with pytest.raises(LedgerError, match="there is no ledger"):
        query("cost", ledger=tmp_path / "none.db")
    assert not (tmp_path / "none.db").exists()


@pytest.mark.parametrize(
    ("question", "said"),
    [
        ({"metrics": "costs"}, "no metric 'costs'; did you mean cost?"),
        ({"by": "tennant"}, "no field 'tennant'; did you mean tenant?"),
        ({"every": "year"}, "no time grain 'year'; there are hour, day, week, month"),
        ({"where": ["tenant"]}, "'tenant' is no condition; write it like tenant=acme"),
        ({"since": "soon"}, "'soon' is neither"),
        ({"since": "2d", "until": "3d"}, "the period is empty"),
        ({"tz": "Mars/Olympus"}, "no time zone 'Mars/Olympus'"),
        ({"compare": "next"}, "no comparison with 'next'; there is previous"),
        ({"compare": "previous", "since": "all"}, "there is nothing before `all`"),
        ({"compare": "previous", "order": "-price"}, "order '-price' is none of cost, cost_before, cost_change"),
    ],
)
def test_a_question_that_cannot_be_asked_says_why(path: Path, question: dict[str, Any], said: str) -> None:
    with pytest.raises(ValueError) as refused:
        query(**question, ledger=path)
    assert said in str(refused.value)


def test_instrumenting_imports_no_report() -> None:
    script = "import genledger, sys; genledger.instrument(destinations=[]); print(*sys.modules)"
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert not [name for name in done.stdout.split() if name.startswith("genledger.reports")]
