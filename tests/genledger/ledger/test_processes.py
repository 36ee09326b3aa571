from __future__ import annotations

import os
import sqlite3
import subprocess
import sys
from collections.abc import Callable
from contextlib import closing, suppress
from pathlib import Path

import pytest

from genledger.engine.record import CallRecord
from genledger.ledger import Ledger

MakeEntry = Callable[..., CallRecord]


def start_writer(path: Path, first: int, count: int, at_once: int = 10) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, str(Path(__file__).with_name("writer.py")), str(path), str(first), str(count), str(at_once)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
    )


def go(writer: subprocess.Popen[str]) -> None:
    assert writer.stdin is not None
    writer.stdin.write("go\n")
    writer.stdin.flush()


def written(path: Path) -> set[int]:
    with closing(sqlite3.connect(path)) as connection:
        assert connection.execute("PRAGMA integrity_check").fetchone()[0] == "ok"
        return {row[0] for row in connection.execute("SELECT started_ns FROM calls")}


def test_several_processes_make_one_ledger_and_lose_nothing(tmp_path: Path) -> None:
    path = tmp_path / "ledger.db"
    writers = [start_writer(path, first, 400) for first in (1, 1_001, 2_001)]
    for writer in writers:
        go(writer)
    for writer in writers:
        writer.communicate(timeout=300)
        assert writer.returncode == 0
    assert written(path) == {first + number for first in (1, 1_001, 2_001) for number in range(400)}
    with closing(sqlite3.connect(path)) as connection:
        assert connection.execute("PRAGMA auto_vacuum").fetchone()[0] == 2


def test_writers_at_full_speed_are_served_in_the_order_in_which_they_came(tmp_path: Path) -> None:
    """Two that come at the same moment may change places, but nobody is passed over again and again."""
    turns, at_once = 20, 1_000
    writers = [start_writer(tmp_path / "ledger.db", first, turns * at_once, at_once) for first in (1, 10**6, 10**7)]
    for writer in writers:
        go(writer)
    writes = []
    for writer in writers:
        output, _ = writer.communicate(timeout=300)
        writes.extend([float(moment) for moment in line.split()[1:]] for line in output.splitlines())
    assert len(writes) == len(writers) * turns
    passed_over = [sum(began < later and sooner < ended for later, sooner in writes) for began, ended in writes]
    assert max(passed_over) < 4, f"{max(passed_over)} who came later were served sooner"


def test_a_killed_process_leaves_a_sound_file_with_all_it_was_told_is_written(tmp_path: Path) -> None:
    path = tmp_path / "ledger.db"
    writer = start_writer(path, 1, 100_000)
    go(writer)
    assert writer.stdout is not None
    confirmed = [int(writer.stdout.readline().split()[0]) for _ in range(20)][-1]
    writer.kill()
    rest, _ = writer.communicate(timeout=300)
    confirmed = max([confirmed, *(int(line.split()[0]) for line in rest.splitlines() if line)])
    found = written(path)
    assert set(range(1, confirmed)) <= found
    assert len(found) % 10 == 0


@pytest.mark.skipif(not hasattr(os, "fork"), reason="this platform has no fork")
def test_a_forked_child_and_its_parent_both_go_on_writing(tmp_path: Path, make_entry: MakeEntry) -> None:
    path = tmp_path / "ledger.db"
    ledger = Ledger(path)
    before, inside, meanwhile, after = (make_entry() for _ in range(4))
    ledger.write([before])
    child_may_go, parent_may_go = os.pipe(), os.pipe()
    child = os.fork()
    if child == 0:
        status = 1
        try:
            os.read(child_may_go[0], 1)
            ledger.write([inside])
            os.write(parent_may_go[1], b".")
            os.read(child_may_go[0], 1)
            ledger.write([inside])
            status = 0
        finally:
            os._exit(status)
    ledger.write([meanwhile])
    ledger.close()  # the last connection of this process; the child's file must survive it
    os.write(child_may_go[1], b".")
    os.read(parent_may_go[0], 1)
    ledger.close()
    os.write(child_may_go[1], b".")
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
    ledger.write([after])
    ledger.close()
    assert written(path) == {entry.started_ns for entry in (before, inside, meanwhile, after)}
    for end in (*child_may_go, *parent_may_go):
        os.close(end)


@pytest.mark.skipif(not Path("/proc/self/fd").exists(), reason="this platform does not list open files")
def test_no_connection_is_open_while_the_process_forks(tmp_path: Path, make_entry: MakeEntry) -> None:
    ledger = Ledger(tmp_path / "ledger.db")
    ledger.write([make_entry()])
    assert open_files(tmp_path)
    child = os.fork()
    if child == 0:
        os._exit(0 if not open_files(tmp_path) else 1)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
    ledger.write([make_entry()])
    assert len(written(tmp_path / "ledger.db")) == 2


def open_files(directory: Path) -> list[str]:
    """The files of a directory that this process has open."""
    found = []
    for name in os.listdir("/proc/self/fd"):
        with suppress(OSError):  # the descriptor of the listing itself
            found.append(os.readlink(f"/proc/self/fd/{name}"))
    return [path for path in found if path.startswith(str(directory))]
