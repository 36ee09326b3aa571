"""The file that the processes of one machine share."""

from __future__ import annotations

import os
import sqlite3
import threading
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from genledger.budgets import BudgetRequest, Guard, StoreDown, budget
from genledger.budgets.budget_status import read_status
from genledger.budgets.stores.sqlite import SQLiteStore

from ..forks import run_together

MakeGuard = Callable[..., Guard]
MakeDemand = Callable[..., BudgetRequest]


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "state" / "budgets.db"


def spend(guard: Guard, demand: MakeDemand, usd: float) -> None:
    guard.admit(demand(usd)).settle(usd, 1)
    assert guard.flush(60)


def test_no_other_user_may_read_it(path: Path) -> None:
    before = os.umask(0o000)
    try:
        SQLiteStore(str(path)).mark("m", 60.0)
    finally:
        os.umask(before)
    assert {each.name: each.stat().st_mode & 0o077 for each in (path.parent, *path.parent.iterdir())} == {
        "state": 0,
        "budgets.db": 0,
        "budgets.db-wal": 0,
        "budgets.db-shm": 0,
        "budgets.db-lock": 0,
    }


@pytest.mark.parametrize("begin", ["BEGIN IMMEDIATE", "BEGIN EXCLUSIVE"])
def test_who_opens_it_while_another_makes_it_waits(path: Path, begin: str) -> None:
    path.parent.mkdir()
    with closing(sqlite3.connect(path, isolation_level=None, check_same_thread=False)) as other:
        other.execute(begin)
        release = threading.Timer(0.1, other.rollback)
        release.start()
        assert SQLiteStore(str(path)).document() == ""
        release.join()


@pytest.mark.skipif(not hasattr(os, "fork"), reason="this platform has no fork")
def test_processes_that_start_together_all_get_their_store(tmp_path: Path) -> None:
    for start in range(20):
        path = tmp_path / str(start) / "budgets.db"
        assert run_together([lambda path=path: SQLiteStore(str(path)).document()] * 4) == [0] * 4


@pytest.mark.skipif(not Path("/proc/self/fd").exists(), reason="this platform does not list open files")
def test_it_is_not_open_while_the_process_forks(path: Path) -> None:
    store = SQLiteStore(str(path))
    assert store.mark("before", 60.0)
    child = os.fork()
    if child == 0:
        links = [Path(f"/proc/self/fd/{each}") for each in os.listdir("/proc/self/fd")]
        os._exit(any(link.is_symlink() and os.readlink(link).startswith(str(path)) for link in links))
    assert os.waitpid(child, 0)[1] == 0
    assert not store.mark("before", 60.0)


def test_a_file_that_is_removed_is_made_anew_and_learns_again_what_was_spent(
    path: Path, make_guard: MakeGuard, demand: MakeDemand, caplog: pytest.LogCaptureFixture
) -> None:
    rules = [budget(name="b", usd=100, per="month")]
    guards: list[Any] = [make_guard(rules, str(path)) for _ in range(2)]
    spend(guards[0], demand, 60.0)
    spend(guards[1], demand, 5.0)
    for each in path.parent.iterdir():
        each.unlink()
    spend(guards[0], demand, 10.0)
    spend(guards[1], demand, 1.0)
    assert [status.settled for status in read_status(SQLiteStore(str(path)))] == [76.0]
    assert {record.message.partition(":")[0] for record in caplog.records} == {f"budget store {path}"}


def test_a_damaged_file_is_a_store_that_is_down_and_stays_where_it_is(path: Path) -> None:
    store = SQLiteStore(str(path))
    for number in range(200):
        assert store.mark(f"{number}" * 20, 60.0)
    store.close()
    os.truncate(path, 0)
    for opened in (store, SQLiteStore(str(path))):
        with pytest.raises(StoreDown, match=rf"{path}: .*cut to 0 bytes"):
            opened.mark("m", 60.0)
        with pytest.raises(StoreDown):
            opened.document()
    assert path.stat().st_size == 0


def test_a_file_of_an_earlier_version_is_used_as_it_is(path: Path) -> None:
    path.parent.mkdir()
    with closing(sqlite3.connect(path)) as connection:
        connection.executescript(
            """
            CREATE TABLE budget_counters (key TEXT PRIMARY KEY, state BLOB NOT NULL, expires REAL NOT NULL)
                WITHOUT ROWID;
            INSERT INTO budget_counters VALUES ('c', CAST('{"spent": {"0": 7}, "leases":
                {"l": [3, 7, 0, 1.5, false]}, "meta": "{}", "expires": 4e9}' AS BLOB), 4e9);
            """
        )
    (counter,) = SQLiteStore(str(path)).counters().values()
    assert (counter.settled, counter.leases["l"].total) == (7, 7)
