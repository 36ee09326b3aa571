"""The SQL of dashboards gives the numbers that `genledger query` gives, for every panel that has it."""

from __future__ import annotations

import random
import re
import sqlite3
from collections.abc import Iterator, Mapping
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from genledger.context.attribution import Attribution
from genledger.dashboards.catalog import DASHBOARDS
from genledger.dashboards.panels import Panel, question
from genledger.engine.record import CacheHit, CallRecord, ProductEvent
from genledger.ledger import Ledger
from genledger.ledger.fields import FIELDS, METRICS, OUTCOME_NAME
from genledger.ledger.panel_sql import ALL, Shape, options, sql
from genledger.ledger.query import Filter, Query, ask

from ..samples import a_call

BEGIN = datetime(2026, 11, 2, tzinfo=UTC)
DAYS = 9
HOUR_MS = 3_600_000

PANELS = {f"{dashboard.name}: {panel.title}": panel for dashboard in DASHBOARDS for panel in dashboard.panels}


def ns(when: datetime) -> int:
    return int(when.timestamp()) * 10**9


def call(number: int, chance: random.Random) -> CallRecord:
    operation = chance.choice(("chat", "chat", "embeddings", "retrieval"))
    outcome = chance.choice(("success", "success", "success", "error", "cancelled", "blocked"))
    return a_call(
        None if chance.random() < 0.2 else chance.randrange(1, 1000) / 1e4,
        trace_id=number // 3 + 1,
        started_ns=ns(BEGIN + timedelta(seconds=chance.randrange(DAYS * 86_400))),
        operation=operation,
        provider=chance.choice(("openai", "anthropic")),
        response_model=chance.choice(("gpt-4o", "claude-sonnet-4-5", None)),
        outcome=outcome,
        error_type="Timeout" if outcome == "error" else None,
        attempts=chance.choice((1, 1, 2)),
        duration_s=chance.randrange(1, 50) / 10,
        time_to_first_chunk_s=chance.choice((None, 0.25, 0.5)),
        attribution=Attribution(
            tenant=chance.choice(("acme", "o'neill", None)),
            feature=chance.choice(("search", "draft")),
            user=f"u{chance.randrange(5)}",
            prompt_version=chance.choice(("3", None)),
        ),
    )


@pytest.fixture(scope="module")
def connection(tmp_path_factory: pytest.TempPathFactory) -> Iterator[sqlite3.Connection]:
    chance = random.Random(17)
    ledger = Ledger(tmp_path_factory.mktemp("ledger") / "ledger.db", max_age_days=None)
    calls = [call(number, chance) for number in range(1, 2_000)]
    events = [
        ProductEvent("accepted", ns(BEGIN + timedelta(minutes=20 * number)), one.attribution, None, None, 2.0)
        for number, one in enumerate(calls[: DAYS * 72])
    ]
    paid = [one._replace(value=3.0, currency="EUR") for one in events[:3]]
    hits = [
        CacheHit("redis", one.at_ns, one.attribution, None, None, "openai", "gpt-4o", None, 0.25, None)
        for one in events[::2]
    ]
    ledger.write(calls, [*events, *paid], [], hits)
    with ledger.reading() as reading:
        yield reading


def answer(connection: sqlite3.Connection, text: str, **chosen: str) -> list[dict[str, Any]]:
    """The answer as Grafana gets it, with its variables replaced."""
    begin, end = ns(BEGIN) // 10**6, ns(BEGIN + timedelta(days=DAYS)) // 10**6
    for name, value in (("__from", begin), ("__to", end), ("__interval_ms", HOUR_MS)):
        text = text.replace(f"${name}", str(value))
    text = re.sub(r"\$\{(\w+):sqlstring\}", lambda found: chosen.get(found[1], ALL), text)
    assert "$" not in text
    return [dict(row) for row in connection.execute(text)]


def expected(connection: sqlite3.Connection, panel: Panel) -> list[dict[str, Any]]:
    asked = replace(
        question(panel),
        every=(panel.every or "hour") if panel.over_time else None,
        since_ns=ns(BEGIN),
        until_ns=ns(BEGIN + timedelta(days=DAYS)),
        order=None if panel.over_time else f"-{panel.metrics[0]}",
    )
    if panel.top and panel.over_time:
        (largest,) = panel.by
        most = ask(connection, replace(asked, every=None, order=f"-{panel.metrics[0]}")).rows
        known = tuple(row[largest] or "" for row in most)
        asked = replace(asked, limit=0, where=(*asked.where, Filter(largest, "=", known)))
    if panel.least_outcomes and "outcomes" not in asked.metrics:
        asked = replace(asked, metrics=(*asked.metrics, "outcomes"))
    rows = ask(connection, asked).rows
    if panel.least_outcomes:
        rows = [row for row in rows if row.pop("outcomes") >= panel.least_outcomes]
    return rows


def plain(row: Mapping[str, Any], panel: Panel) -> dict[str, Any]:
    """A row with what only one of both says made alike."""
    found = {name: "(none)" if row[name] is None else str(row[name]) for name in panel.by}
    if panel.over_time:
        time = row["time"]
        found["time"] = datetime.fromisoformat(time).timestamp() if isinstance(time, str) else time
    return found | {name: row[name] for name in panel.metrics}


def is_shown(row: Mapping[str, Any], panel: Panel) -> bool:
    """Whether a row has anything to show."""
    if any(row[name] for name in panel.metrics):
        return True
    rate = all(METRICS[name].unit in ("1", "s") for name in panel.metrics if name in METRICS)
    return bool(rate or len(panel.metrics) > 1 or not panel.by)


def key(row: Mapping[str, Any], panel: Panel) -> tuple[Any, ...]:
    return (row.get("time"), *(row[name] for name in panel.by))


ANSWERED = {
    name: panel
    for name, panel in PANELS.items()
    if sql(question(panel), Shape(panel.over_time)) is not None and not panel.windows
}
KNOWN = {*FIELDS, OUTCOME_NAME}
COMPARED = {
    name: panel
    for name, panel in ANSWERED.items()
    if all(metric in METRICS for metric in panel.metrics) and {*panel.by, *(one.field for one in panel.where)} <= KNOWN
}


def test_most_panels_are_compared() -> None:
    assert len(COMPARED) > 40


@pytest.mark.parametrize("name", COMPARED)
def test_a_panel_shows_what_a_question_answers(name: str, connection: sqlite3.Connection) -> None:
    panel = COMPARED[name]
    text = sql(question(panel), Shape(panel.over_time, {}, panel.least_outcomes))
    assert text is not None
    found = [plain(row, panel) for row in answer(connection, text)]
    wanted = [plain(row, panel) for row in expected(connection, panel)]
    found, wanted = ([row for row in rows if is_shown(row, panel)] for rows in (found, wanted))
    assert found
    if not panel.over_time and panel.top:
        # Which of equals come first is open.
        assert [row[panel.metrics[0]] for row in found] == pytest.approx([row[panel.metrics[0]] for row in wanted])
        return
    assert {key(row, panel) for row in found} == {key(row, panel) for row in wanted}
    by_key = {key(row, panel): row for row in wanted}
    for row in found:
        assert row == pytest.approx(by_key[key(row, panel)])


def test_a_table_of_windows_has_a_column_for_each(connection: sqlite3.Connection) -> None:
    query = Query(metrics=("cost",), by=("tenant",), limit=20)
    text = sql(query, Shape(hours={"last_24h": 24, "last_7d": 168}))
    assert text is not None
    found = answer(connection, text)
    end = BEGIN + timedelta(days=DAYS)
    for column, hours in (("last_24h", 24), ("last_7d", 168)):
        wanted = ask(connection, replace(query, since_ns=ns(end - timedelta(hours=hours)), until_ns=ns(end))).rows
        assert {row["tenant"]: row[column] for row in found} == pytest.approx(
            {row["tenant"] or "(none)": row["cost"] for row in wanted}
        )
    assert [row["last_7d"] for row in found] == sorted((row["last_7d"] for row in found), reverse=True)


def test_calls_that_took_more_than_one_request_are_apart(connection: sqlite3.Connection) -> None:
    text = sql(Query(metrics=("calls",), where=(Filter("retried", "=", ("yes",)),)), Shape())
    assert text is not None
    (wanted,) = connection.execute("SELECT count(*) FROM calls WHERE attempts > 1").fetchone()
    assert answer(connection, text) == [{"calls": wanted}]


def test_values_of_outcomes_are_added_up_in_their_own_currencies(connection: sqlite3.Connection) -> None:
    text = sql(Query(metrics=("outcome_value",), by=("outcome_name", "currency")), Shape())
    assert text is not None
    found = {(row["outcome_name"], row["currency"]): row["outcome_value"] for row in answer(connection, text)}
    assert found == {("accepted", "(none)"): 2.0 * DAYS * 72, ("accepted", "EUR"): 9.0}


def test_hits_of_the_applications_caches_are_counted_apart(connection: sqlite3.Connection) -> None:
    text = sql(Query(metrics=("cache_hits", "saved"), by=("feature",), every="day"), Shape(over_time=True))
    assert text is not None
    found = answer(connection, text)
    assert {row["time"] for row in found} == {ns(BEGIN + timedelta(days=day)) // 10**9 for day in range(DAYS)}
    assert sum(row["cache_hits"] for row in found) == DAYS * 36
    assert sum(row["saved"] for row in found) == pytest.approx(DAYS * 36 * 0.25)


def test_a_reader_chooses_tenants_whatever_they_are_called(connection: sqlite3.Connection) -> None:
    text = sql(Query(metrics=("calls",), by=("tenant",)), Shape())
    assert text is not None
    assert [row["tenant"] for row in answer(connection, text, tenant="'o''neill'")] == ["o'neill"]
    assert {row["tenant"] for row in answer(connection, text, tenant="'acme','o''neill'")} == {"acme", "o'neill"}


@pytest.mark.parametrize(
    ("field", "values"),
    [("tenant", {"acme", "o'neill"}), ("feature", {"search", "draft"})],
)
def test_a_variable_has_the_values_there_are(field: str, values: set[str], connection: sqlite3.Connection) -> None:
    assert {row[0] for row in map(tuple, map(dict.values, answer(connection, options(field))))} == values


@pytest.mark.parametrize(
    "query",
    [
        Query(metrics=("cost",), by=("agent",)),
        Query(metrics=("cost",), by=("tag",)),
        Query(metrics=("budget_used",)),
        Query(metrics=("cost",), by=("budget_rule",)),
    ],
)
def test_what_one_statement_cannot_answer_has_none(query: Query) -> None:
    assert sql(query, Shape()) is None
