from __future__ import annotations

import os
import sqlite3
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from genledger.context.attribution import Attribution
from genledger.engine.later_usage.job_book import CallStart, Origin
from genledger.engine.record import CallRecord, ProductEvent
from genledger.ledger import Ledger, LedgerError, LedgerStartedOver, default_path
from genledger.ledger.rows import record_of
from genledger.pricing.cost import Cost, Part
from genledger.pricing.usage import TOKEN_BUCKETS, Usage

MakeEntry = Callable[..., CallRecord]
DAY_NS = 86_400 * 10**9

text = st.text(st.characters(exclude_categories=["Cs"]), max_size=20)
tokens = st.integers(0, 2**53)
amounts = st.floats(0, 1e9, allow_subnormal=False)
attributions = st.builds(
    Attribution,
    tenant=st.none() | text,
    feature=st.none() | text,
    user=st.none() | text,
    session=st.none() | text,
    prompt_name=st.none() | text,
    prompt_version=st.none() | text,
    tags=st.lists(text, max_size=3).map(tuple),
    metadata=st.dictionaries(text, text | st.integers(-(2**53), 2**53) | amounts | st.booleans(), max_size=3),
)
usages = st.builds(
    Usage,
    units=st.dictionaries(text, amounts, max_size=3),
    **dict.fromkeys(TOKEN_BUCKETS, tokens),
)
costs = st.builds(
    Cost,
    amount=amounts,
    source=st.sampled_from(["provider", "override", "table"]),
    parts=st.lists(st.builds(Part, text, amounts, amounts, amounts), max_size=3).map(tuple),
    table_date=st.none() | text,
    notes=st.lists(text, max_size=2).map(tuple),
)
entries = st.builds(
    CallRecord,
    trace_id=st.integers(1, 2**128 - 1),
    span_id=st.integers(1, 2**64 - 1),
    parent_span_id=st.none() | st.integers(1, 2**64 - 1),
    library=text,
    provider=text,
    operation=text,
    request_model=st.none() | text,
    response_model=st.none() | text,
    response_id=st.none() | text,
    started_ns=st.integers(0, 2**62),
    duration_s=amounts,
    time_to_first_chunk_s=st.none() | amounts,
    stream=st.booleans(),
    outcome=st.sampled_from(["success", "timeout", "rate_limited", "error", "cancelled", "blocked"]),
    error_type=st.none() | text,
    attempts=st.integers(1, 9),
    retry_causes=st.lists(text, max_size=3).map(tuple),
    attribution=attributions,
    usage=st.none() | usages,
    usage_estimated=st.booleans(),
    cost=st.none() | costs,
    unpriced=st.none() | text,
    server_address=st.none() | text,
    server_port=st.none() | st.integers(1, 65535),
)


@pytest.fixture
def ledger(tmp_path: Path) -> Ledger:
    return Ledger(tmp_path / "ledger.db")


def calls(ledger: Ledger) -> list[CallRecord]:
    with ledger.reading() as connection:
        return [record_of(row) for row in connection.execute("SELECT * FROM calls ORDER BY started_ns, span_id")]


def rows(ledger: Ledger, table: str) -> list[tuple[Any, ...]]:
    with ledger.reading() as connection:
        return [tuple(row) for row in connection.execute(f"SELECT * FROM {table}")]


@settings(
    max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow]
)
@given(entry=entries)
def test_whatever_is_written_is_read_back_the_same(ledger: Ledger, entry: CallRecord) -> None:
    ledger.write([entry])
    assert [read for read in calls(ledger) if (read.trace_id, read.span_id) == (entry.trace_id, entry.span_id)] == [
        entry
    ]


def test_writing_a_call_again_replaces_it(ledger: Ledger, make_entry: MakeEntry) -> None:
    first = make_entry(usd=1.0)
    ledger.write([first, first])
    again = replace(first, cost=Cost(2.0, "provider"))
    ledger.write([again])
    assert calls(ledger) == [again]


@pytest.mark.parametrize("number", [1, 511, 512, 513, 1337])
def test_however_many_calls_are_written_at_once_each_is_there_once(
    number: int, ledger: Ledger, make_entry: MakeEntry
) -> None:
    written = [make_entry(span_id=place + 1, started_ns=place) for place in range(number)]
    ledger.write([*written, written[0]])
    assert sorted(calls(ledger), key=lambda call: call.span_id) == written


def test_product_events_are_kept_with_their_attribution(ledger: Ledger) -> None:
    ledger.write(events=[ProductEvent("draft_accepted", 5, Attribution(tenant="acme", tags=("a",)), 7, None, 2.0)])
    with ledger.reading() as connection:
        row = dict(connection.execute("SELECT * FROM outcomes").fetchone())
    assert {name: value for name, value in row.items() if value is not None} == {
        "name": "draft_accepted",
        "at_ns": 5,
        "value": 2.0,
        "trace_id": f"{7:032x}",
        "tenant": "acme",
        "tags": '["a"]',
    }


def test_a_record_that_does_not_fit_keeps_the_others_of_its_write_out(ledger: Ledger, make_entry: MakeEntry) -> None:
    with pytest.raises(OverflowError):
        ledger.write([make_entry(), make_entry(attempts=2**70)])
    assert calls(ledger) == []
    ledger.write([make_entry()])
    assert len(calls(ledger)) == 1


def test_calls_without_a_cost_can_be_priced_later(ledger: Ledger, make_entry: MakeEntry) -> None:
    known, unknown, without_usage = make_entry(), make_entry(usd=None), make_entry(usd=None, usage=None)
    ledger.write([unknown, without_usage, known])
    assert list(ledger.unpriced()) == [unknown]
    cost = Cost(0.5, "table", (Part("input", 100, 0.005, 0.5),), "2026-12-01", ("priced later",))
    ledger.set_cost([(unknown, cost)])
    assert list(ledger.unpriced()) == []
    assert replace(unknown, cost=cost, unpriced=None) in calls(ledger)


def test_unpriced_calls_may_be_priced_while_they_are_read(ledger: Ledger, make_entry: MakeEntry) -> None:
    ledger.write([make_entry(usd=None, started_ns=1) for _ in range(2_500)])
    seen = 0
    for entry in ledger.unpriced():
        if seen % 500 == 0:
            ledger.set_cost([(entry, Cost(1.0, "table"))])
        seen += 1
    assert seen == 2_500
    assert len(list(ledger.unpriced())) == 2_495


def test_a_batch_remembers_for_whom_it_was_created(ledger: Ledger) -> None:
    who = Attribution(tenant="acme", feature="nightly", tags=("a", "b"), metadata={"plan": "pro", "seats": 3})
    ledger.remember_job("openai", "batch_1", Origin(who))
    assert ledger.job_origin("openai", "batch_1") == Origin(who)
    assert ledger.job_origin("anthropic", "batch_1") is None
    start = CallStart(2**128 - 1, 2**64 - 1, None, "openai", "chat", "responses", "inference", "gpt-5", 1, True)
    ledger.remember_job("openai", "resp_1", Origin(who, start))
    assert ledger.job_origin("openai", "resp_1") == Origin(who, start)
    assert ledger.unclaimed_results("openai", "resp_1", ["answer"]) == {"answer"}
    assert ledger.claim_results("openai", "resp_1", ["answer"]) == {"answer"}
    assert ledger.unclaimed_results("openai", "resp_1", ["answer"]) == set()


def test_each_result_of_a_batch_is_handed_out_once(ledger: Ledger) -> None:
    assert ledger.claim_results("openai", "b", ["1", "2", "2"]) == {"1", "2"}
    assert ledger.claim_results("openai", "b", ["2", "3"]) == {"3"}
    assert ledger.claim_results("openai", "other", ["2"]) == {"2"}


def test_results_are_handed_out_once_to_concurrent_readers(tmp_path: Path) -> None:
    ids = [str(number) for number in range(300)]
    ledgers = [Ledger(tmp_path / "ledger.db") for _ in range(4)]
    start = threading.Barrier(4)

    def read(ledger: Ledger) -> list[str]:
        start.wait()
        return [one for some in ids for one in ledger.claim_results("openai", "b", [some])]

    with ThreadPoolExecutor(4) as threads:
        claimed = [one for result in threads.map(read, ledgers) for one in result]
    assert sorted(claimed) == sorted(ids)


def test_what_is_too_old_is_pruned(tmp_path: Path, make_entry: MakeEntry) -> None:
    ledger = Ledger(tmp_path / "ledger.db", max_age_days=10)
    now = time.time_ns()
    old = [make_entry(started_ns=now - 11 * DAY_NS) for _ in range(5_000)]
    young = make_entry(started_ns=now - 9 * DAY_NS)
    ledger.write(
        [*old, young],
        [ProductEvent("x", now - age * DAY_NS, Attribution(), None, None, 1.0) for age in (9, 11)],
    )
    before = ledger.size_bytes()
    assert ledger.prune() == 5_001
    assert calls(ledger) == [young]
    assert [row[1] for row in rows(ledger, "outcomes")] == [now - 9 * DAY_NS]
    assert ledger.size_bytes() < before / 10
    assert ledger.prune() == 0


def test_batches_are_remembered_longer_than_providers_keep_their_results(tmp_path: Path) -> None:
    path = tmp_path / "ledger.db"
    ledger = Ledger(path, max_age_days=1)
    for name, age in (("young", 89), ("old", 91)):
        ledger.remember_job("openai", name, Origin(Attribution()))
        ledger.claim_results("openai", name, ["1"])
        with closing(sqlite3.connect(path)) as connection:
            at = time.time_ns() - age * DAY_NS
            connection.execute("UPDATE batches SET created_ns = ? WHERE batch_id = ?", (at, name))
            connection.execute("UPDATE batch_results SET claimed_ns = ? WHERE batch_id = ?", (at, name))
            connection.commit()
    ledger.prune()
    assert ledger.job_origin("openai", "young") is not None
    assert ledger.job_origin("openai", "old") is None
    assert ledger.claim_results("openai", "young", ["1"]) == set()
    assert ledger.claim_results("openai", "old", ["1"]) == {"1"}


def test_beyond_its_size_the_ledger_gives_up_its_oldest_calls(tmp_path: Path, make_entry: MakeEntry) -> None:
    ledger = Ledger(tmp_path / "ledger.db", max_age_days=None, max_bytes=2_000_000)
    ledger.write([make_entry() for _ in range(12_000)])
    assert ledger.size_bytes() > 2_000_000
    removed = ledger.prune()
    left = calls(ledger)
    assert len(left) == 12_000 - removed
    assert len(left) > 1_000
    assert ledger.size_bytes() <= 2_000_000
    ledger.write([make_entry()])
    assert calls(ledger)[: len(left)] == left
    ids = [entry.span_id for entry in left]
    assert ids == list(range(ids[-1] - len(ids) + 1, ids[-1] + 1))


def test_a_bound_smaller_than_an_empty_file_ends(tmp_path: Path, make_entry: MakeEntry) -> None:
    ledger = Ledger(tmp_path / "ledger.db", max_bytes=1)
    ledger.write([make_entry()])
    assert ledger.prune() == 1


def test_a_locked_file_is_an_error_that_passes(tmp_path: Path, make_entry: MakeEntry) -> None:
    path = tmp_path / "ledger.db"
    ledger = Ledger(path, busy_timeout_s=0.01)
    ledger.open()
    with closing(sqlite3.connect(path, isolation_level=None)) as other:
        other.execute("BEGIN IMMEDIATE")
        with pytest.raises(LedgerError, match=r"locked.*Another process"):
            ledger.write([make_entry()])
        other.execute("COMMIT")
        ledger.write([make_entry()])
    assert len(calls(ledger)) == 1


def test_a_full_disk_is_an_error_that_passes(ledger: Ledger, make_entry: MakeEntry) -> None:
    with ledger.reading() as connection:
        pages = connection.execute("PRAGMA page_count").fetchone()[0]
        # SQLite's own limit fails as a full disk does, and ends with the connection.
        connection.execute(f"PRAGMA max_page_count = {pages + 1}")
    some = [make_entry() for _ in range(500)]
    with pytest.raises(LedgerError, match=r"full.*Free some space"):
        ledger.write(some)
    assert calls(ledger) == []
    ledger.write(some)
    assert len(calls(ledger)) == 500


def test_a_deleted_file_is_made_anew(ledger: Ledger, make_entry: MakeEntry) -> None:
    ledger.write([make_entry()])
    ledger.path.unlink()
    after = make_entry()
    ledger.write([after])
    assert calls(Ledger(ledger.path)) == [after]


def test_a_damaged_file_is_put_aside_by_a_write_that_may_be_repeated(ledger: Ledger, make_entry: MakeEntry) -> None:
    ledger.write([make_entry() for _ in range(200)])
    ledger.close()
    whole = ledger.path.read_bytes()
    ledger.path.write_bytes(whole[:4096] + b"\xff" * (len(whole) - 4096))
    after = make_entry()
    with pytest.raises(LedgerStartedOver, match=rf"{ledger.path}.*malformed.*kept as {ledger.path}.damaged-"):
        ledger.write([after])
    ledger.write([after])
    assert calls(ledger) == [after]
    (kept,) = ledger.path.parent.glob("*.damaged-*Z")
    assert kept.stat().st_size == len(whole)


def test_a_damaged_file_is_left_to_writers_by_those_who_read(ledger: Ledger, make_entry: MakeEntry) -> None:
    ledger.write([make_entry() for _ in range(200)])
    ledger.close()
    os.truncate(ledger.path, 100)
    reader = Ledger(ledger.path)
    with pytest.raises(LedgerError, match=rf"{ledger.path}.*cut to 100 bytes.*Move it away"):
        reader.size_bytes()
    assert ledger.path.stat().st_size == 100


def test_the_path_comes_from_the_environment(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GENLEDGER_LEDGER", str(tmp_path / "mine.db"))
    assert default_path() == Ledger().path == tmp_path / "mine.db"


def test_without_that_it_is_in_the_users_state_directory(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("GENLEDGER_LEDGER", raising=False)
    assert default_path().name == "ledger.db"
    assert default_path().parent.name == "genledger"
