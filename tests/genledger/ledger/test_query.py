"""Questions to the ledger: the same numbers as adding up by hand, with the rollups and without them."""

from __future__ import annotations

import random
from collections import defaultdict
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from statistics import fmean
from typing import Any
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from genledger.context.attribution import Attribution
from genledger.engine.record import CacheHit, CallRecord, ProductEvent, StepRecord
from genledger.ledger import Ledger
from genledger.ledger.query import Answer, Filter, Query, QueryError, ask

from ..samples import a_call

BEGIN = datetime(2026, 10, 20, 22, 17, tzinfo=UTC)  # summer time ends in Berlin on the 25th
HOURS = 9 * 24
TENANTS = ("acme", "globex", None)
FEATURES = ("search", "draft")
MODELS = ("gpt-4o", "claude-sonnet-4-5")


def ns(when: datetime) -> int:
    return int(when.timestamp()) * 10**9


def calls() -> list[CallRecord]:
    chance = random.Random(7)
    return [
        a_call(
            span_id=number,
            trace_id=number // 3 + 1,
            started_ns=ns(BEGIN + timedelta(seconds=chance.randrange(HOURS * 3600))),
            response_model=chance.choice(MODELS),
            usd=None if chance.random() < 0.1 else chance.randrange(1, 1000) / 1e4,
            outcome=chance.choice(("success", "success", "success", "error")),
            duration_s=chance.randrange(1, 50) / 10,
            attribution=Attribution(
                tenant=chance.choice(TENANTS),
                feature=chance.choice(FEATURES),
                user=f"u{chance.randrange(5)}",
                tags=tuple(chance.sample(("red", "green", "blue"), chance.randrange(3))),
                metadata={"plan": chance.choice(("pro", "free"))},
            ),
        )
        for number in range(1, 600)
    ]


CALLS = calls()
EVENTS = [
    ProductEvent("draft_accepted", call.started_ns, call.attribution, call.trace_id, call.span_id, 2.0)
    for call in CALLS[::7]
]


@pytest.fixture(scope="module")
def ledger(tmp_path_factory: pytest.TempPathFactory) -> Ledger:
    ledger = Ledger(tmp_path_factory.mktemp("query") / "ledger.db", max_age_days=None)
    ledger.write(CALLS, EVENTS, [])
    return ledger


@pytest.fixture(scope="module")
def rolled(ledger: Ledger) -> Ledger:
    assert ledger.roll_up(most=1000) > 100
    ledger.write(CALLS[100:103])  # the same again: their hours are to be rolled up again
    return ledger


def asked(ledger: Ledger, *metrics: str, **more: Any) -> Answer:
    rolled = more.pop("rolled", True)
    with ledger.reading() as connection:
        return ask(connection, Query(metrics=metrics, **more), rolled=rolled)


def cost(calls: list[CallRecord]) -> float | None:
    priced = [call.cost.amount for call in calls if call.cost is not None]
    return pytest.approx(sum(priced)) if priced else None


def test_calls_and_cost_by_a_field_are_what_they_add_up_to(rolled: Ledger) -> None:
    groups: dict[Any, list[CallRecord]] = defaultdict(list)
    for call in CALLS:
        groups[call.attribution.tenant, call.response_model].append(call)
    answer = asked(rolled, "cost", "calls", by=("tenant", "model"))
    assert answer.columns == ("tenant", "model", "cost", "calls")
    assert {(row["tenant"], row["model"]): (row["cost"], row["calls"]) for row in answer.rows} == {
        key: (cost(calls), len(calls)) for key, calls in groups.items()
    }
    assert [row["cost"] for row in answer.rows] == sorted((row["cost"] for row in answer.rows), reverse=True)


@pytest.mark.parametrize("zone", ["UTC", "Europe/Berlin", "Asia/Kolkata", "Asia/Kathmandu", "America/Los_Angeles"])
@pytest.mark.parametrize("every", ["hour", "day", "week", "month"])
def test_time_is_cut_in_the_zone(rolled: Ledger, zone: str, every: Any) -> None:
    def start(call: CallRecord) -> str:
        when = datetime.fromtimestamp(call.started_ns // 10**9, ZoneInfo(zone))
        if every == "hour":
            return (when.astimezone(UTC) - timedelta(minutes=when.minute, seconds=when.second)).isoformat()
        when = when.replace(hour=0, minute=0, second=0, fold=0)
        if every == "week":
            when -= timedelta(days=when.weekday())
        return when.replace(day=1).isoformat() if every == "month" else when.isoformat()

    groups: dict[str, list[CallRecord]] = defaultdict(list)
    for call in CALLS:
        groups[start(call)].append(call)
    rows = asked(rolled, "calls", "cost", every=every, zone=zone).rows
    found = {
        datetime.fromisoformat(row["time"]).astimezone(UTC).isoformat() if every == "hour" else row["time"]: row
        for row in rows
    }
    assert {key: (row["calls"], row["cost"]) for key, row in found.items()} == {
        key: (len(calls), cost(calls)) for key, calls in groups.items()
    }
    assert [row["time"] for row in rows] == sorted(
        (row["time"] for row in rows), key=lambda text: datetime.fromisoformat(text)
    )


FIELDS = ["tenant", "feature", "model", "provider", "outcome", "user", "tag", "metadata.plan", "trace", "stream"]


@settings(max_examples=60, deadline=None)
@given(
    by=st.lists(st.sampled_from(FIELDS), max_size=3, unique=True),
    every=st.sampled_from([None, "hour", "day", "week"]),
    zone=st.sampled_from(["UTC", "Europe/Berlin", "Asia/Kathmandu"]),
    begin=st.integers(-5, HOURS * 3600),
    length=st.integers(1, HOURS * 3600),
    where=st.lists(
        st.builds(
            Filter,
            st.sampled_from(["tenant", "feature", "model"]),
            st.sampled_from(["=", "!=", "~"]),
            st.lists(st.sampled_from(["acme", "globex", "", "draft", "gpt*", "gpt-4o"]), min_size=1).map(tuple),
        ),
        max_size=2,
    ),
)
def test_rollups_change_no_number(rolled: Ledger, where: Any, begin: int, length: int, **more: Any) -> None:
    since = ns(BEGIN + timedelta(seconds=begin))
    period = {"since_ns": since, "until_ns": since + length * 10**9, "where": tuple(where), **more}
    metrics = ("calls", "cost", "tokens", "errors", "latency", "unpriced_share", "retries")
    with_, without = (asked(rolled, *metrics, **period, rolled=used) for used in (True, False))
    assert len(with_.rows) == len(without.rows)
    for one, other in zip(sorted(with_.rows, key=repr), sorted(without.rows, key=repr), strict=True):
        assert one == {
            name: pytest.approx(value, rel=1e-9) if isinstance(value, float) else value for name, value in other.items()
        }


@pytest.mark.parametrize(
    ("condition", "holds"),
    [
        (Filter("tenant", "=", ("acme",)), lambda a: a.tenant == "acme"),
        (Filter("tenant", "=", ("acme", "")), lambda a: a.tenant in ("acme", None)),
        (Filter("tenant", "!=", ("acme",)), lambda a: a.tenant != "acme"),
        (Filter("tenant", "!=", ("",)), lambda a: a.tenant is not None),
        (Filter("tenant", "~", ("ac*", "glo?ex")), lambda a: a.tenant is not None),
        (Filter("metadata.plan", "=", ("pro",)), lambda a: a.metadata["plan"] == "pro"),
        (Filter("tag", "=", ("red",)), lambda a: "red" in a.tags),
        (Filter("tag", "=", ("red", "green")), lambda a: {"red", "green"} & {*a.tags}),
        (Filter("tag", "!=", ("red",)), lambda a: "red" not in a.tags),
        (Filter("tag", "~", ("gr*", "*ue")), lambda a: {"green", "blue"} & {*a.tags}),
        (Filter("tag", "=", ("", "red")), lambda a: not a.tags or "red" in a.tags),
        (Filter("user", "=", ("u1", "u2")), lambda a: a.user in ("u1", "u2")),
    ],
)
def test_conditions_select_calls(rolled: Ledger, condition: Filter, holds: Any) -> None:
    (row,) = asked(rolled, "calls", where=(condition,)).rows
    assert row["calls"] == sum(1 for call in CALLS if holds(call.attribution))


def test_a_call_counts_for_each_of_its_tags(rolled: Ledger) -> None:
    expected: dict[str | None, int] = defaultdict(int)
    for call in CALLS:
        for tag in call.attribution.tags or (None,):
            expected[tag] += 1
    assert {row["tag"]: row["calls"] for row in asked(rolled, "calls", by=("tag",)).rows} == expected


def test_percentiles_and_different_values_are_of_the_calls_themselves(rolled: Ledger) -> None:
    (row,) = asked(rolled, "latency", "latency_p50", "latency_p95", "users", "traces").rows
    durations = sorted(call.duration_s for call in CALLS if call.outcome == "success")
    assert row["latency"] == pytest.approx(fmean(durations))
    for share, name in ((0.5, "latency_p50"), (0.95, "latency_p95")):
        place = next(number for number in range(1, len(durations) + 1) if number >= share * len(durations))
        assert row[name] == durations[place - 1]
    assert (row["users"], row["traces"]) == (5, len({call.trace_id for call in CALLS}))


def test_cost_and_tokens_of_an_outcome_divide_sums(rolled: Ledger) -> None:
    answer = asked(rolled, "cost_per_outcome", "outcomes", "outcome_value", by=("feature", "outcome_name"))
    for row in answer.rows:
        calls = [call for call in CALLS if call.attribution.feature == row["feature"]]
        events = [event for event in EVENTS if event.attribution.feature == row["feature"]]
        assert (row["outcomes"], row["outcome_value"]) == (len(events), 2.0 * len(events))
        assert row["cost_per_outcome"] == pytest.approx(
            sum(call.cost.amount for call in calls if call.cost is not None) / len(events)
        )


def test_answers_of_caches_stand_beside_the_calls(tmp_path: Path) -> None:
    ledger, who = Ledger(tmp_path / "l.db"), Attribution(tenant="acme", feature="faq")
    call = a_call(span_id=1, attribution=who, response_model="gpt-4o", provider="openai")
    hits = [
        CacheHit("prompts", call.started_ns + number, who, 5, number, "openai", "gpt-4o", None, saved, "1.2")
        for number, saved in enumerate((0.5, 0.25, None))
    ]
    ledger.write([call], hits=hits)
    for by in ((), ("tenant",), ("model",), ("release",)):
        rows = asked(ledger, "calls", "cache_hits", "saved", by=by).rows
        assert [sum(row[name] or 0 for row in rows) for name in ("calls", "cache_hits", "saved")] == [1, 3, 0.75]
    with ledger.reading() as connection, pytest.raises(QueryError, match="an answer of a cache has none"):
        ask(connection, Query(metrics=("saved",), by=("outcome",)))


def test_who_spends_without_an_outcome_is_listed(tmp_path: Path) -> None:
    ledger = Ledger(tmp_path / "l.db")
    ledger.write([a_call(span_id=1, attribution=Attribution(tenant="acme"))])
    (row,) = asked(ledger, "cost_per_outcome", "outcomes", by=("tenant",)).rows
    assert row == {"tenant": "acme", "cost_per_outcome": None, "outcomes": 0}


def test_a_ratio_of_nothing_is_unknown(tmp_path: Path) -> None:
    ledger = Ledger(tmp_path / "l.db")
    ledger.write([], [EVENTS[0]])
    (row,) = asked(ledger, "outcomes", "calls", "tokens", "tokens_per_call", "tokens_per_outcome").rows
    assert row == {"outcomes": 1, "calls": 0, "tokens": 0, "tokens_per_call": None, "tokens_per_outcome": None}


def test_calls_belong_to_the_agent_around_them(tmp_path: Path) -> None:
    ledger = Ledger(tmp_path / "l.db")
    inside, outside = a_call(span_id=2, trace_id=9, parent_span_id=1), a_call(span_id=3, trace_id=9)
    ledger.write([inside, outside], [], [StepRecord(9, 1, None, "agent", "helper", inside.started_ns, 1.0, None)])
    rows = asked(ledger, "calls", by=("agent",), every="day").rows
    assert {row["agent"]: row["calls"] for row in rows} == {"helper": 1, None: 1}


def test_the_order_and_the_number_of_rows_are_as_asked(rolled: Ledger) -> None:
    rows = asked(rolled, "calls", "cost", by=("user",), order="user").rows
    assert [row["user"] for row in rows] == ["u0", "u1", "u2", "u3", "u4"]
    (most,) = asked(rolled, "calls", by=("user",), order="-calls", limit=1).rows
    assert most["calls"] == max(row["calls"] for row in rows)


@pytest.mark.parametrize("order", [None, "-cost", "cost", "-calls"])
@pytest.mark.parametrize("by", [("trace",), ("feature", "user"), ("tag",)], ids=str)
def test_the_largest_groups_are_the_first_of_all(rolled: Ledger, by: tuple[str, ...], order: str | None) -> None:
    question: dict[str, Any] = {"by": by, "order": order}
    every = asked(rolled, "cost", "calls", "unpriced_share", **question).rows
    assert asked(rolled, "cost", "calls", "unpriced_share", **question, limit=7).rows == every[:7]


def test_an_empty_ledger_answers_nothing(tmp_path: Path) -> None:
    assert asked(Ledger(tmp_path / "l.db"), "cost", "users", "latency_p50", "outcomes", every="day").rows == []


@pytest.mark.parametrize(
    ("question", "said"),
    [
        ({"metrics": ()}, "needs a metric"),
        ({"metrics": ("costs",)}, "no metric 'costs'; did you mean cost?"),
        ({"metrics": ("cost",), "by": ("tennant",)}, "no field 'tennant'; did you mean tenant?"),
        ({"metrics": ("cost",), "where": (Filter("metadata.", "=", ("x",)),)}, "no field 'metadata.'"),
        ({"metrics": ("cost",), "by": ("agent", "tool")}, "not about agent and tool"),
        ({"metrics": ("cost_per_outcome",), "by": ("model",)}, "cannot be asked by model: an outcome has none"),
        ({"metrics": ("cost",), "by": ("outcome_name",)}, "needs a metric of outcomes"),
        ({"metrics": ("cost",), "order": "-calls"}, "order '-calls' is none of"),
        ({"metrics": ("cost",), "every": "hour", "since_ns": 0}, "more than 25,000 times one hour"),
    ],
)
def test_a_question_that_has_no_answer_says_why(rolled: Ledger, question: dict[str, Any], said: str) -> None:
    with rolled.reading() as connection, pytest.raises(QueryError, match=said.replace("?", r"\?")):
        ask(connection, Query(**question))


def test_names_are_no_sql(tmp_path: Path) -> None:
    ledger = Ledger(tmp_path / "l.db")
    key = "a') OR 1=1 --\x00"
    ledger.write([a_call(span_id=1, attribution=Attribution(metadata={"a') OR 1=1 --": "x"}))])
    (row,) = asked(ledger, "calls", by=(f"metadata.{key}",), where=(Filter(f"metadata.{key}", "=", ("x",)),)).rows
    assert row == {f"metadata.{key}": "x", "calls": 1}


def _hours(ledger: Ledger) -> Iterator[int]:
    with ledger.reading() as connection:
        yield from (row[0] for row in connection.execute("SELECT hour FROM rollups"))


def test_what_is_pruned_is_in_no_rollup(tmp_path: Path) -> None:
    ledger = Ledger(tmp_path / "l.db", max_age_days=None)
    ledger.write(CALLS)
    ledger.roll_up(most=1000)
    ledger.max_age_days = (datetime.now(UTC) - (BEGIN + timedelta(hours=HOURS / 2))).total_seconds() / 86400
    ledger.prune()
    for rolled in (True, False):
        (row,) = asked(ledger, "calls", rolled=rolled, since_ns=ns(BEGIN)).rows
        assert 200 < row["calls"] < 400
    assert min(_hours(ledger)) == (BEGIN + timedelta(hours=HOURS / 2)).timestamp() // 3600
