from __future__ import annotations

import os
import shutil
import sqlite3
import threading
from collections.abc import Callable, Iterator
from contextlib import closing, suppress
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from genledger.shared.database import Departure, SharedDatabase
from genledger.shared.database_errors import Damaged, Locked, StartedOver, Unusable

from ..forks import run_together

NUMBERS = "CREATE TABLE IF NOT EXISTS numbers (number INTEGER, filler BLOB)"


class Numbers:
    """A database of numbers, as one process has it."""

    def __init__(self, path: Path, **options: Any) -> None:
        self.departures: list[Departure] = []
        self.database = SharedDatabase(
            path,
            **{
                "busy_timeout_s": 30.0,
                "prepare": lambda connection: connection.execute(NUMBERS),
                "replace_damaged": True,
                "departed": self.departures.append,
            }
            | options,
        )

    def write(self, *numbers: int) -> None:
        with self.database.writing() as connection:
            connection.executemany("INSERT INTO numbers VALUES (?, randomblob(2000))", [(each,) for each in numbers])

    def write_in_any_case(self, *numbers: int) -> None:
        """As a caller does who does not want to lose them."""
        while True:
            try:
                self.write(*numbers)
                return
            except StartedOver:
                continue

    def read(self) -> list[int]:
        with self.database.reading() as connection:
            return [row[0] for row in connection.execute("SELECT number FROM numbers ORDER BY number")]


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "state" / "numbers.db"


@pytest.fixture
def open_numbers(path: Path) -> Iterator[Callable[..., Numbers]]:
    made = []

    def make(**options: Any) -> Numbers:
        made.append(Numbers(path, **options))
        return made[-1]

    yield make
    for numbers in made:
        numbers.database.close()


OpenNumbers = Callable[..., Numbers]


def numbers_in(path: Path) -> list[int]:
    with closing(sqlite3.connect(path)) as connection:
        return [row[0] for row in connection.execute("SELECT number FROM numbers ORDER BY number")]


def modes(directory: Path) -> dict[str, int]:
    return {entry.name: entry.stat().st_mode & 0o777 for entry in directory.iterdir()}


@pytest.fixture(params=[0o000, 0o022, 0o077])
def umask(request: pytest.FixtureRequest) -> Iterator[None]:
    before = os.umask(request.param)
    yield
    os.umask(before)


def test_what_is_added_out_of_turn_is_there_for_all(path: Path, open_numbers: OpenNumbers) -> None:
    one, other = open_numbers(), open_numbers()
    one.database.add("INSERT INTO numbers VALUES (?, ?)", (1, b""))
    other.write(2)
    one.database.add("INSERT INTO numbers VALUES (?, ?)", (3, b""))
    assert one.read() == other.read() == [1, 2, 3]
    other.database.close()
    one.database.close()
    assert numbers_in(path) == [1, 2, 3]


@pytest.mark.usefixtures("umask")
def test_no_other_user_may_read_what_is_made(path: Path, open_numbers: OpenNumbers) -> None:
    open_numbers().write(1)
    made = modes(path.parent)
    assert made.keys() == {"numbers.db", "numbers.db-wal", "numbers.db-shm", "numbers.db-lock"}
    assert set(made.values()) == {0o600}
    assert path.parent.stat().st_mode & 0o777 == 0o700


def test_a_file_that_everyone_could_read_is_closed_to_them_with_its_log(path: Path, open_numbers: OpenNumbers) -> None:
    path.parent.mkdir()
    before = os.umask(0o022)
    with closing(sqlite3.connect(path)) as connection:
        connection.execute("PRAGMA journal_mode = WAL")
        connection.execute(NUMBERS)
        assert set(modes(path.parent).values()) == {0o644}
        open_numbers().write(1)
        assert set(modes(path.parent).values()) == {0o600}
    os.umask(before)


def test_a_group_that_an_operator_lets_in_may_use_every_file(path: Path, open_numbers: OpenNumbers) -> None:
    numbers = open_numbers()
    numbers.write(1)
    numbers.database.close()
    path.chmod(0o660)
    numbers.write(2)
    assert set(modes(path.parent).values()) == {0o660}


def test_a_file_that_is_refused_is_left_as_it_is(path: Path, open_numbers: OpenNumbers) -> None:
    path.parent.mkdir()
    path.write_bytes(b"")
    path.chmod(0o644)

    def refuse(connection: sqlite3.Connection) -> None:
        raise LookupError("another application's")

    with pytest.raises(LookupError):
        open_numbers(examine=refuse).write(1)
    assert (path.read_bytes(), path.stat().st_mode & 0o777) == (b"", 0o644)


@pytest.mark.parametrize("begin", ["BEGIN IMMEDIATE", "BEGIN EXCLUSIVE"])
def test_opening_waits_for_a_transaction_of_another_program(path: Path, open_numbers: OpenNumbers, begin: str) -> None:
    path.parent.mkdir()
    with closing(sqlite3.connect(path, isolation_level=None, check_same_thread=False)) as other:
        other.execute(begin)
        release = threading.Timer(0.1, other.rollback)
        release.start()
        numbers = open_numbers()
        numbers.write(1)
        release.join()
        assert numbers.read() == [1]


def test_opening_gives_up_when_it_has_waited_long_enough(path: Path, open_numbers: OpenNumbers) -> None:
    path.parent.mkdir()
    with closing(sqlite3.connect(path, isolation_level=None)) as other:
        other.execute("BEGIN EXCLUSIVE")
        with pytest.raises(sqlite3.OperationalError, match="locked"):
            open_numbers(busy_timeout_s=0.01).write(1)


@pytest.mark.skipif(not hasattr(os, "fork"), reason="this platform has no fork")
def test_processes_that_start_together_make_one_file(tmp_path: Path) -> None:
    for start in range(10):
        path = tmp_path / str(start) / "numbers.db"
        works = [partial(Numbers(path).write, number) for number in range(6)]
        assert run_together(works) == [0] * 6
        assert numbers_in(path) == list(range(6))


@pytest.mark.skipif(not hasattr(os, "fork"), reason="this platform has no fork")
def test_the_end_of_a_forked_child_takes_nothing_from_its_parent(path: Path, open_numbers: OpenNumbers) -> None:
    numbers = open_numbers()
    numbers.write(1)
    child = os.fork()
    if child == 0:
        status = 1
        try:
            numbers.write(2)
            numbers.database.close()
            status = 0
        finally:
            os._exit(status)
    numbers.write(3)
    assert os.waitpid(child, 0)[1] == 0
    numbers.write(4)
    assert numbers_in(path) == [1, 2, 3, 4]


def test_a_writer_that_waits_too_long_for_its_turn_says_so(path: Path, open_numbers: OpenNumbers) -> None:
    impatient = open_numbers(busy_timeout_s=0.01)
    impatient.write(1)
    with open_numbers().database.writing(), pytest.raises(Locked, match="locked"):
        impatient.write(2)
    impatient.write(3)
    assert impatient.read() == [1, 3]


def test_a_file_that_was_replaced_is_noticed_at_the_end_though_others_have_the_turn(
    path: Path, open_numbers: OpenNumbers
) -> None:
    leaving, busy = open_numbers(busy_timeout_s=0.01), open_numbers()
    leaving.write(1)
    shutil.copy(path, older := path.with_name("older"))
    leaving.write(2)
    with suppress(StartedOver), busy.database.writing():
        os.replace(older, path)
        leaving.database.close()
        assert leaving.departures == [Departure("removed", None)]


def test_a_directory_that_cannot_be_made_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(Unusable, match="file"):
        Numbers(tmp_path / "file" / "numbers.db").write(1)


MANY = 3_000
"""Numbers of which at least a part is in the file, and not in its log."""


def shorter_by_a_page(size: int) -> int:
    return size - 4096


@pytest.mark.parametrize("close_first", [True, False])
@pytest.mark.parametrize("cut", [0, 100, 4096, 500_000, shorter_by_a_page])
def test_a_file_that_is_cut_is_put_aside_and_a_new_one_begun(
    path: Path, open_numbers: OpenNumbers, cut: Any, close_first: bool
) -> None:
    numbers, other = open_numbers(), open_numbers()
    for first in range(0, MANY, 100):
        numbers.write(*range(first, first + 100))
    if close_first:
        numbers.database.close()
    size = path.stat().st_size
    assert size > 1_000_000
    os.truncate(path, cut(size) if callable(cut) else cut)
    numbers.write_in_any_case(-1)
    other.write_in_any_case(-2)
    assert numbers_in(path) == [-2, -1]
    (departure,) = [each for each in numbers.departures if each.reason == "damaged"]
    assert departure.where is not None
    assert departure.where.name.startswith("numbers.db.damaged-")
    assert departure.where.exists()
    assert set(modes(path.parent).values()) == {0o600}


def test_a_file_that_was_cut_while_nobody_had_it_open_is_not_taken_for_a_new_one(
    path: Path, open_numbers: OpenNumbers
) -> None:
    former = open_numbers()
    former.write(1)
    former.database.close()
    os.truncate(path, 0)
    successor = open_numbers()
    with pytest.raises(StartedOver, match="cut to 0 bytes"):
        successor.write(2)
    assert [departure.reason for departure in successor.departures] == ["damaged"]


def test_a_file_that_somebody_makes_smaller_is_no_damage(path: Path, open_numbers: OpenNumbers) -> None:
    numbers = open_numbers()
    numbers.write(*range(MANY))
    with closing(sqlite3.connect(path, isolation_level=None)) as connection:
        connection.execute("DELETE FROM numbers WHERE number > 3")
        connection.execute("VACUUM")
        connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    numbers.write(4)
    assert numbers.departures == []
    assert numbers.read() == [0, 1, 2, 3, 4]


def test_a_file_whose_pages_are_overwritten_is_put_aside_when_they_are_used(
    path: Path, open_numbers: OpenNumbers
) -> None:
    numbers = open_numbers()
    numbers.write(*range(MANY))
    numbers.database.close()
    whole = path.read_bytes()
    path.write_bytes(whole[:4096] + b"\xff" * (len(whole) - 4096))
    numbers.write_in_any_case(1)
    assert numbers_in(path) == [1]
    assert [departure.reason for departure in numbers.departures] == ["damaged"]


def test_a_file_that_is_no_database_is_left_where_it_is(path: Path, open_numbers: OpenNumbers) -> None:
    path.parent.mkdir()
    path.write_bytes(b"these are not the bytes of a database\n" * 100)
    numbers = open_numbers()
    for _ in range(2):
        with pytest.raises(sqlite3.DatabaseError, match="not a database"):
            numbers.write(1)
    assert path.read_bytes().startswith(b"these are not")
    assert numbers.departures == []


def test_a_damaged_file_that_is_not_to_be_replaced_is_refused(path: Path, open_numbers: OpenNumbers) -> None:
    numbers = open_numbers(replace_damaged=False)
    numbers.write(*range(MANY))
    numbers.database.close()
    os.truncate(path, 8192)
    for _ in range(2):
        with pytest.raises(Damaged):
            numbers.write(1)
    assert path.stat().st_size == 8192


def test_reading_puts_nothing_aside(path: Path, open_numbers: OpenNumbers) -> None:
    numbers = open_numbers()
    numbers.write(*range(MANY))
    numbers.database.close()
    os.truncate(path, 8192)
    with pytest.raises(Damaged):
        open_numbers().read()
    assert path.exists()


def test_a_damage_that_a_reader_meets_is_seen_to_by_the_next_writer(path: Path, open_numbers: OpenNumbers) -> None:
    numbers = open_numbers()
    numbers.write(*range(MANY))
    numbers.database.close()
    whole = path.read_bytes()
    middle = len(whole) // 8192 * 4096
    path.write_bytes(whole[:middle] + b"\xff" * 8192 + whole[middle + 8192 :])
    with pytest.raises(sqlite3.DatabaseError, match="malformed"):
        numbers.read()
    numbers.write_in_any_case(1)
    assert numbers_in(path) == [1]


def test_a_file_that_is_moved_takes_its_log_along_and_a_new_one_is_made(path: Path, open_numbers: OpenNumbers) -> None:
    numbers, other = open_numbers(), open_numbers()
    numbers.write(1)
    other.write(2)
    moved = path.with_name("former.db")
    path.rename(moved)
    numbers.write(3)
    other.write(4)
    assert numbers.departures == other.departures == [Departure("moved", moved)]
    assert numbers_in(path) == [3, 4]
    assert numbers_in(moved) == [1, 2]


@pytest.mark.parametrize("with_log", [True, False])
def test_a_file_that_is_removed_is_made_anew_and_every_process_knows(
    path: Path, open_numbers: OpenNumbers, with_log: bool
) -> None:
    numbers, other = open_numbers(), open_numbers()
    numbers.write(1)
    other.write(2)
    for each in path.parent.iterdir():
        if each == path or with_log:
            each.unlink()
    numbers.write(3)
    other.write(4)
    assert numbers.departures == other.departures == [Departure("removed", None)]
    assert numbers_in(path) == [3, 4]


def test_a_file_that_was_removed_is_not_taken_for_another_one_that_got_its_inode(
    path: Path, open_numbers: OpenNumbers
) -> None:
    away, here = open_numbers(), open_numbers()
    away.write(1)
    inode = path.stat().st_ino
    with suppress(sqlite3.OperationalError), away.database.writing() as connection:
        connection.execute("SELECT * FROM missing")  # closes the file: the inode is free when the file is removed
    for number in range(100):
        here.database.close()
        path.unlink()
        here.write(number)
        if path.stat().st_ino == inode:
            break
    away.write(3)
    assert away.departures == [Departure("removed", None)]


def test_a_file_that_moves_while_its_writer_waits_is_found_with_all_that_was_written(
    path: Path, open_numbers: OpenNumbers
) -> None:
    waiting, busy = open_numbers(busy_timeout_s=0.01), open_numbers()
    waiting.write(1)
    with busy.database.writing(), pytest.raises(Locked):
        waiting.write(2)
    busy.database.close()
    path.rename(moved := path.with_name("moved.db"))
    busy.write(3)
    waiting.write(4)
    assert waiting.departures == [Departure("moved", moved)]
    assert numbers_in(moved) == [1]
    assert numbers_in(path) == [3, 4]


def test_a_file_that_another_takes_the_place_of_leaves_it_no_log(path: Path, open_numbers: OpenNumbers) -> None:
    numbers, other = open_numbers(), open_numbers()
    numbers.write(1)
    numbers.database.close()
    backup = path.with_name("backup.db")
    shutil.copy(path, backup)
    numbers.write(2)
    other.write(3)
    os.replace(backup, path)
    numbers.write(4)
    other.write(5)
    assert numbers_in(path) == [1, 4, 5]
    assert numbers.read() == other.read() == [1, 4, 5]


def test_a_file_that_is_removed_during_a_write_is_an_error(path: Path, open_numbers: OpenNumbers) -> None:
    numbers = open_numbers()
    numbers.write(1)
    removing = numbers.database.writing()
    removing.__enter__()
    path.unlink()
    with pytest.raises(StartedOver, match="taken away"):
        removing.__exit__(None, None, None)
    numbers.write(2)
    assert numbers_in(path) == [2]


def test_what_is_left_of_a_log_is_not_read_into_a_new_file(path: Path, open_numbers: OpenNumbers) -> None:
    numbers = open_numbers()
    numbers.write(1)
    log = path.with_name("numbers.db-wal").read_bytes()
    numbers.database.close()
    path.unlink()
    path.with_name("numbers.db-wal").write_bytes(log)  # as a process leaves it that was killed
    open_numbers().write(2)
    assert numbers_in(path) == [2]
    assert [each for each in path.parent.iterdir() if ".damaged-" in each.name and each.name.endswith("-wal")]


@pytest.mark.skipif(os.name == "nt" or os.geteuid() == 0, reason="the superuser may write everywhere")
def test_a_file_in_a_directory_that_cannot_be_written_can_be_read(path: Path, open_numbers: OpenNumbers) -> None:
    numbers = open_numbers()
    numbers.write(1)
    path.parent.chmod(0o500)
    try:
        assert open_numbers().read() == [1]
    finally:
        path.parent.chmod(0o700)


def test_a_link_is_followed_and_the_files_are_beside_what_it_leads_to(
    path: Path, tmp_path: Path, open_numbers: OpenNumbers
) -> None:
    path.parent.mkdir()
    path.symlink_to(tmp_path / "elsewhere.db")
    open_numbers().write(1)
    assert numbers_in(tmp_path / "elsewhere.db") == [1]
    with suppress(FileNotFoundError):
        assert modes(tmp_path)["elsewhere.db"] == 0o600
    assert [each.name for each in path.parent.iterdir()] == ["numbers.db"]
