from __future__ import annotations

import sqlite3
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import pytest

from genledger.engine.record import CallRecord, StepRecord
from genledger.ledger import Ledger, LedgerError
from genledger.ledger.rows import CALL_COLUMNS, call_values
from genledger.ledger.schema import APPLICATION_ID, MIGRATIONS, VERSION


def pragma(path: Path, name: str) -> object:
    with closing(sqlite3.connect(path)) as connection:
        return connection.execute(f"PRAGMA {name}").fetchone()[0]


def make_older(path: Path, version: int, entry: CallRecord) -> None:
    """A file as the release with that schema version left it: one call in it."""
    with closing(sqlite3.connect(path)) as connection:
        for statements in MIGRATIONS[:version]:
            for statement in statements:
                connection.execute(statement)
        connection.execute(f"PRAGMA application_id = {APPLICATION_ID}")
        connection.execute(f"PRAGMA user_version = {version}")
        then = {row[1] for row in connection.execute("PRAGMA table_info(calls)")}
        values = {name: value for name, value in zip(CALL_COLUMNS, call_values(entry), strict=True) if name in then}
        connection.execute(
            f"INSERT INTO calls ({', '.join(values)}) VALUES ({', '.join('?' * len(values))})", tuple(values.values())
        )
        connection.commit()


def test_a_new_file_is_current_in_wal_mode_and_can_shrink(tmp_path: Path) -> None:
    path = tmp_path / "deep" / "down" / "ledger.db"
    Ledger(path).open()
    assert pragma(path, "user_version") == VERSION
    assert pragma(path, "application_id") == APPLICATION_ID
    assert pragma(path, "journal_mode") == "wal"
    assert pragma(path, "auto_vacuum") == 2


@pytest.mark.parametrize("version", range(1, VERSION))
def test_an_older_file_is_migrated_and_keeps_its_calls(
    tmp_path: Path, make_entry: Callable[..., CallRecord], version: int
) -> None:
    path = tmp_path / "ledger.db"
    old, new = make_entry(usd=None), make_entry()
    make_older(path, version, old)
    ledger = Ledger(path)
    ledger.write([new], steps=[StepRecord(old.trace_id, 2, None, "task", "plan", 1, 0.5, None)])
    assert list(ledger.unpriced()) == [old]
    assert ledger.claim_results("openai", "b", ["1"]) == {"1"}
    assert pragma(path, "user_version") == VERSION
    with ledger.reading() as connection:
        assert connection.execute("SELECT count(*) FROM calls").fetchone()[0] == 2


def test_a_step_of_an_older_file_gets_its_kind_and_its_own_name(
    tmp_path: Path, make_entry: Callable[..., CallRecord]
) -> None:
    path = tmp_path / "ledger.db"
    make_older(path, 4, make_entry())
    names = {
        "invoke_agent helper": ("agent", "helper"),
        "invoke_agent": ("agent", "agent"),
        "execute_tool look_up": ("tool", "look_up"),
        "retrieval faq": ("retrieval", "faq"),
        "invoke_workflow draft reply": ("workflow", "draft reply"),
        "plan": ("task", "plan"),
        "invoke_agents": ("task", "invoke_agents"),
    }
    with closing(sqlite3.connect(path)) as connection, connection:
        connection.executemany(
            "INSERT INTO steps (trace_id, span_id, name, started_ns, duration_s) VALUES ('05', ?, ?, 1, 1.0)",
            [(f"{number:016x}", name) for number, name in enumerate(names)],
        )
    with Ledger(path).reading() as connection:
        found = {int(row["span_id"], 16): row for row in connection.execute("SELECT * FROM steps")}
    assert [(found[number]["kind"], found[number]["name"]) for number in range(len(names))] == list(names.values())
    assert {found[number]["tenant"] for number in found} == {None}


def test_a_newer_file_is_refused_and_left_as_it_is(tmp_path: Path, make_entry: Callable[..., CallRecord]) -> None:
    path = tmp_path / "ledger.db"
    make_older(path, VERSION, make_entry())
    with closing(sqlite3.connect(path)) as connection:
        connection.execute(f"PRAGMA user_version = {VERSION + 1}")
    before = path.read_bytes()
    with pytest.raises(LedgerError, match=rf"{path}.*version {VERSION + 1}.*knows {VERSION}.*Upgrade"):
        Ledger(path).write([make_entry()])
    assert path.read_bytes() == before


def test_another_applications_database_is_refused_and_left_as_it_is(tmp_path: Path) -> None:
    path = tmp_path / "app.db"
    with closing(sqlite3.connect(path)) as connection:
        connection.execute("CREATE TABLE customers (name TEXT)")
    before = path.read_bytes()
    with pytest.raises(LedgerError, match="another application's SQLite database"):
        Ledger(path).open()
    assert path.read_bytes() == before


@pytest.mark.parametrize("moment", ["sqlite_master", "user_version", "application_id"])
def test_a_ledger_that_another_process_makes_meanwhile_is_no_other_application(
    moment: str, tmp_path: Path, make_entry: Callable[..., CallRecord], monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "ledger.db"
    old, new = make_entry(), make_entry()

    class Interrupted(sqlite3.Connection):
        """Another process, of a release that takes no turns, comes in after a question."""

        def execute(self, sql: str, *parameters: object) -> sqlite3.Cursor:
            cursor = super().execute(sql, *parameters)  # type: ignore[arg-type]
            if moment in sql and not path.stat().st_size:
                cursor = Answered(cursor.fetchall())  # type: ignore[assignment]
                make_older(path, VERSION, old)
            return cursor

    class Answered(list[tuple[object, ...]]):
        def fetchone(self) -> tuple[object, ...]:
            return self[0]

    connect = sqlite3.connect
    monkeypatch.setattr(
        "genledger.shared.database.sqlite3.connect",
        lambda place, **options: connect(place, **options, **({"factory": Interrupted} if len(options) > 1 else {})),
    )
    Ledger(path).write([new])
    monkeypatch.undo()
    with closing(sqlite3.connect(path)) as connection:
        assert {row[0] for row in connection.execute("SELECT span_id FROM calls")} == {
            f"{entry.span_id:016x}" for entry in (old, new)
        }


def test_a_failed_migration_changes_nothing(
    tmp_path: Path, make_entry: Callable[..., CallRecord], monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "ledger.db"
    make_older(path, 1, make_entry())
    broken = (*MIGRATIONS[:-1], (*MIGRATIONS[-1], "CREATE TABLE calls (again TEXT)"))
    monkeypatch.setattr("genledger.ledger.schema.MIGRATIONS", broken)
    with pytest.raises(LedgerError, match="already exists"):
        Ledger(path).open()
    assert pragma(path, "user_version") == 1
    monkeypatch.undo()
    Ledger(path).open()
    assert pragma(path, "user_version") == VERSION


def test_a_file_that_is_no_database_is_refused_with_advice(tmp_path: Path) -> None:
    path = tmp_path / "ledger.db"
    path.write_bytes(b"these are not the bytes of a database\n" * 100)
    with pytest.raises(LedgerError, match=rf"{path}.*not a database.*Move it away"):
        Ledger(path).open()


def test_a_path_below_a_file_is_refused_with_advice(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(LedgerError, match=r"file/ledger.db.*GENLEDGER_LEDGER"):
        Ledger(tmp_path / "file" / "ledger.db").open()


def test_a_directory_in_place_of_the_file_is_refused_with_advice(tmp_path: Path) -> None:
    with pytest.raises(LedgerError, match=r"unable to open database file.*directory exists and is writable"):
        Ledger(tmp_path).open()
