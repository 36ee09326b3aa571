"""Attacks on files: whoever looks at them, opens them, cuts them or takes them away, nothing is lost in silence."""

from __future__ import annotations

import json
import os
import random
import shutil
import sqlite3
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import closing, suppress
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from genledger.budgets import open_store
from genledger.context.attribution import Attribution
from genledger.destinations.delivery.spool import Spool
from genledger.destinations.ledger import LedgerDestination
from genledger.destinations.selection.allowance import Allowance
from genledger.engine.later_usage.job_book import Origin
from genledger.engine.record import StepRecord
from genledger.ledger import Ledger
from genledger.shared.turns import Turns

from ..genledger.forks import run_together

Scale = Callable[[int, int], int]
LONG = 120.0

pytestmark = pytest.mark.skipif(not hasattr(os, "fork"), reason="these attacks are on Unix")


def write_ledger(path: Path, number: int) -> None:
    destination = LedgerDestination(path)
    destination.accept(StepRecord(number, number, None, "task", "step", time.time_ns(), 0.0, None))
    assert destination.shutdown(LONG)


def count_ledger(path: Path) -> int:
    with Ledger(path).reading() as connection:
        return int(connection.execute("SELECT count(*) FROM steps").fetchone()[0])


def write_book(path: Path, number: int) -> None:
    ledger = Ledger(path, busy_timeout_s=LONG)
    ledger.remember_job("openai", f"batch {number}", Origin(Attribution(tenant="acme")))
    assert ledger.claim_results("openai", "batch", [str(number)]) == {str(number)}
    ledger.close()


def count_book(path: Path) -> int:
    with Ledger(path).reading() as connection:
        return int(connection.execute("SELECT count(*) FROM batch_results").fetchone()[0])


def write_budgets(path: Path, number: int) -> None:
    store = open_store(path)
    assert store.mark(f"mark {number}", 3600.0)
    store.close()


def count_budgets(path: Path) -> int:
    with closing(sqlite3.connect(path)) as connection:
        return int(connection.execute("SELECT count(*) FROM budget_marks").fetchone()[0])


def write_spool(path: Path, number: int) -> None:
    spool = Spool(path / "below")
    spool.put(b"spans" * 100, number + 1)
    spool.close()


def count_spool(path: Path) -> int:
    return Spool(path / "below").pending().requests


def write_durable(path: Path, number: int) -> None:
    spool = Spool(path / "below")
    assert spool.append(b"span") is not None
    spool.close()


def count_durable(path: Path) -> int:
    return Spool(path / "below").pending().spans


def write_allowance(path: Path, number: int) -> None:
    spool = Spool(path / "below")
    Allowance(1000, spool).add(1)
    spool.close()


def count_allowance(path: Path) -> int:
    return Allowance(1000, Spool(path / "below")).used


Kind = tuple[Callable[[Path, int], None], Callable[[Path], int]]
KINDS: dict[str, Kind] = {
    "ledger": (write_ledger, count_ledger),
    "book": (write_book, count_book),
    "budgets": (write_budgets, count_budgets),
    "spool": (write_spool, count_spool),
    "durable": (write_durable, count_durable),
    "allowance": (write_allowance, count_allowance),
}


@pytest.fixture(params=[0o000, 0o002, 0o022, 0o027, 0o077], ids=oct)
def umask(request: pytest.FixtureRequest) -> Iterator[None]:
    before = os.umask(request.param)
    yield
    os.umask(before)


@pytest.mark.usefixtures("umask")
@pytest.mark.parametrize("kind", KINDS)
def test_nobody_else_may_read_what_is_written_whatever_the_umask(tmp_path: Path, kind: str) -> None:
    write, _ = KINDS[kind]
    write(tmp_path / "state" / "deep" / kind, 1)
    made = list(tmp_path.rglob("*"))
    assert len(made) > 2
    assert {str(path): oct(path.stat().st_mode) for path in made if path.stat().st_mode & 0o077} == {}


@pytest.mark.parametrize("kind", KINDS)
def test_processes_that_start_together_all_get_their_file(tmp_path: Path, kind: str, scale: Scale) -> None:
    write, count = KINDS[kind]
    for start in range(scale(3, 60)):
        path = tmp_path / str(start) / kind
        assert run_together([partial(write, path, number) for number in range(6)]) == [0] * 6
        assert count(path) == 6


class Writers:
    """Processes that write one ledger."""

    def __init__(self, path: Path, count: int) -> None:
        program = str(Path(__file__).with_name("scribe.py"))
        self._processes = [
            subprocess.Popen(
                [sys.executable, program, str(path), str(index)],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                text=True,
                env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
            )
            for index in range(1, count + 1)
        ]
        for process in self._processes:
            assert process.stdout is not None
            assert process.stdout.readline() == "ready\n"

    def end(self) -> list[dict[str, Any]]:
        """What each has made of its records, and what it said (`said`)."""
        found = []
        for process in self._processes:
            output, said = process.communicate(timeout=LONG)
            found.append({**json.loads(output), "said": said})
        return found

    def kill(self) -> None:
        for process in self._processes:
            process.kill()
            process.wait()
            for stream in (process.stdin, process.stdout, process.stderr):
                assert stream is not None
                stream.close()


# Between two writes: what is cut off at the very moment at which SQLite writes there is not told from what it wrote.


def cut(path: Path, chance: random.Random) -> None:
    with Turns(path.with_name(f"{path.name}-lock")).take(LONG):
        size = path.stat().st_size
        os.truncate(path, chance.choice((0, 100, 4096, chance.randrange(size + 1), max(0, size - 4096))))


def cut_log(path: Path, chance: random.Random) -> None:
    with Turns(path.with_name(f"{path.name}-lock")).take(LONG):
        log = path.with_name(f"{path.name}-wal")
        os.truncate(log, chance.randrange(log.stat().st_size + 1))


def remove(path: Path, chance: random.Random) -> None:
    path.unlink()


def remove_all(path: Path, chance: random.Random) -> None:
    for suffix in ("", "-wal", "-shm", "-lock"):
        path.with_name(path.name + suffix).unlink(missing_ok=True)


def move(path: Path, chance: random.Random) -> None:
    path.rename(path.with_name(f"moved-{chance.getrandbits(64)}.db"))


def restore(path: Path, chance: random.Random) -> None:
    """Put an older copy in its place, if that is sound."""
    copy = path.with_name("copy")
    with closing(sqlite3.connect(path)) as source, closing(sqlite3.connect(copy)) as target:
        source.backup(target)
        assert sound(target)
    os.replace(copy, path)


ATTACKS = {attack.__name__: attack for attack in (cut, cut_log, remove, remove_all, move, restore)}


def sound(connection: sqlite3.Connection) -> bool:
    return connection.execute("PRAGMA integrity_check").fetchall() == [("ok",)]


def readable(path: Path) -> set[int]:
    """The calls in a file, as far as it can be read."""
    found: set[int] = set()
    with suppress(sqlite3.Error), closing(sqlite3.connect(path)) as connection:
        for order in ("rowid", "rowid DESC", "started_ns", "started_ns DESC"):
            with suppress(sqlite3.Error):
                for row in connection.execute(f"SELECT started_ns FROM calls ORDER BY {order}"):
                    found.add(row[0])
    return found


@pytest.mark.parametrize("attacks", [[name] for name in ATTACKS] + [list(ATTACKS)], ids=lambda names: "+".join(names))
def test_what_is_lost_of_a_ledger_is_reported(tmp_path: Path, scale: Scale, attacks: list[str]) -> None:
    for seed in range(scale(1, 20)):
        directory = tmp_path / str(seed)
        path = directory / "ledger.db"
        chance = random.Random(seed)
        writers = Writers(path, 3)
        try:
            for _ in range(scale(6, 30)):
                time.sleep(chance.uniform(0.05, 0.4))
                with suppress(OSError, sqlite3.Error, AssertionError):  # the file is not there yet, or just made
                    ATTACKS[chance.choice(attacks)](path, chance)
            found = writers.end()
        finally:
            writers.kill()
        made = sum(one["made"] for one in found)
        written = sum(one["written"] for one in found)
        dropped = sum(sum(one["dropped"].values()) for one in found)
        assert [one["waiting"] for one in found] == [0, 0, 0]
        assert made == written + dropped
        here = readable(path)
        everywhere = here.union(*(readable(each) for each in directory.glob("*.db*") if each.suffix != ".db-lock"))
        assert made - len(everywhere) <= dropped, found
        moved = set().union(*(readable(each) for each in directory.glob("moved-*.db")))
        assert written <= len(here | moved), found
        with closing(sqlite3.connect(path)) as connection:
            # SQLite may apply the log of a file that is replaced while it is open to the new one; every row above was
            # read, or counted as lost. https://www.sqlite.org/howtocorrupt.html#_unlinking_or_renaming_a_database_file_while_in_use
            assert sound(connection) or "restore" in attacks
        for one in found:
            for reason, count in one["dropped"].items():
                assert f"{count} records" in one["said"] or one["said"].count(" records ") > 1, (reason, one)
        shutil.rmtree(directory)
