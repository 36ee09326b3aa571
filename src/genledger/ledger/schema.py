"""The ledger's tables, how older files become newer ones, and how a file is opened."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable
from pathlib import Path

from genledger.shared.database import Departure, SharedDatabase
from genledger.shared.database_errors import Damaged, Locked, StartedOver

APPLICATION_ID = 0x474C6467
"""Marks a SQLite file as a ledger (`PRAGMA application_id`, the letters `GLdg`)."""

_ATTRIBUTION = """
    tenant TEXT, feature TEXT, user TEXT, session TEXT, prompt_name TEXT, prompt_version TEXT,
    tags TEXT, metadata TEXT
"""

MIGRATIONS: tuple[tuple[str, ...], ...] = (
    # 1: calls and what came of them.
    (
        f"""
        CREATE TABLE calls (
            trace_id TEXT NOT NULL, span_id TEXT NOT NULL, parent_span_id TEXT,
            started_ns INTEGER NOT NULL, duration_s REAL NOT NULL, time_to_first_chunk_s REAL,
            library TEXT NOT NULL, provider TEXT NOT NULL, operation TEXT NOT NULL,
            request_model TEXT, response_model TEXT, response_id TEXT,
            server_address TEXT, server_port INTEGER,
            stream INTEGER NOT NULL, outcome TEXT NOT NULL, error_type TEXT,
            attempts INTEGER NOT NULL, retry_causes TEXT,
            {_ATTRIBUTION},
            input INTEGER, input_audio INTEGER, input_image INTEGER,
            cache_read INTEGER, cache_read_audio INTEGER, cache_read_image INTEGER,
            cache_write INTEGER, cache_write_1h INTEGER,
            output INTEGER, reasoning INTEGER, output_audio INTEGER, output_image INTEGER,
            units TEXT, usage_estimated INTEGER NOT NULL, tier TEXT, region TEXT,
            cost_usd REAL, cost_source TEXT, cost_table_date TEXT, unpriced TEXT,
            cost_parts TEXT, cost_notes TEXT,
            PRIMARY KEY (trace_id, span_id)
        )
        """,
        "CREATE INDEX calls_started ON calls (started_ns)",
        "CREATE INDEX calls_unpriced ON calls (started_ns) WHERE unpriced IS NOT NULL",
        "CREATE INDEX calls_retried ON calls (started_ns) WHERE attempts > 1",
        f"""
        CREATE TABLE outcomes (
            name TEXT NOT NULL, at_ns INTEGER NOT NULL, value REAL NOT NULL, trace_id TEXT, span_id TEXT,
            {_ATTRIBUTION}
        )
        """,
        "CREATE INDEX outcomes_at ON outcomes (at_ns)",
    ),
    # 2: the steps that calls were made in.
    (
        """
        CREATE TABLE steps (
            trace_id TEXT NOT NULL, span_id TEXT NOT NULL, parent_span_id TEXT,
            name TEXT NOT NULL, started_ns INTEGER NOT NULL, duration_s REAL NOT NULL, error_type TEXT,
            PRIMARY KEY (trace_id, span_id)
        )
        """,
        "CREATE INDEX steps_started ON steps (started_ns)",
    ),
    # 3: batches: their attribution, and which of their results are already counted.
    (
        f"""
        CREATE TABLE batches (
            provider TEXT NOT NULL, batch_id TEXT NOT NULL, created_ns INTEGER NOT NULL,
            {_ATTRIBUTION},
            PRIMARY KEY (provider, batch_id)
        ) WITHOUT ROWID
        """,
        """
        CREATE TABLE batch_results (
            provider TEXT NOT NULL, batch_id TEXT NOT NULL, custom_id TEXT NOT NULL,
            claimed_ns INTEGER NOT NULL,
            PRIMARY KEY (provider, batch_id, custom_id)
        ) WITHOUT ROWID
        """,
        "CREATE INDEX batches_created ON batches (created_ns)",
        "CREATE INDEX batch_results_claimed ON batch_results (claimed_ns)",
    ),
    # 4: jobs other than batches: the call that created one is the one that is paid for.
    ("ALTER TABLE batches ADD COLUMN call TEXT",),
    # 5: what a step is, apart from its name, and who it was for; NULL: a span between steps.
    (
        "ALTER TABLE steps ADD COLUMN kind TEXT",
        "ALTER TABLE steps ADD COLUMN tenant TEXT",
        "ALTER TABLE steps ADD COLUMN feature TEXT",
        *(
            f"""
            UPDATE steps SET kind = '{kind}', name = ifnull(nullif(substr(name, {len(operation) + 2}), ''), '{kind}')
            WHERE name = '{operation}' OR name GLOB '{operation} *'
            """
            for operation, kind in (
                ("invoke_agent", "agent"),
                ("execute_tool", "tool"),
                ("retrieval", "retrieval"),
                ("invoke_workflow", "workflow"),
            )
        ),
        "UPDATE steps SET kind = 'task' WHERE kind IS NULL",
    ),
    # 6: the release that made a call; what else is known of an outcome; answers of the application's caches.
    (
        "ALTER TABLE calls ADD COLUMN release TEXT",
        "ALTER TABLE outcomes ADD COLUMN currency TEXT",
        "ALTER TABLE outcomes ADD COLUMN key TEXT",
        "ALTER TABLE outcomes ADD COLUMN release TEXT",
        "CREATE UNIQUE INDEX outcomes_key ON outcomes (name, key) WHERE key IS NOT NULL",
        f"""
        CREATE TABLE cache_hits (
            cache TEXT NOT NULL, at_ns INTEGER NOT NULL, trace_id TEXT, span_id TEXT,
            provider TEXT, model TEXT,
            input INTEGER, input_audio INTEGER, input_image INTEGER,
            cache_read INTEGER, cache_read_audio INTEGER, cache_read_image INTEGER,
            cache_write INTEGER, cache_write_1h INTEGER,
            output INTEGER, reasoning INTEGER, output_audio INTEGER, output_image INTEGER,
            units TEXT, saved_usd REAL, release TEXT,
            {_ATTRIBUTION}
        )
        """,
        "CREATE INDEX cache_hits_at ON cache_hits (at_ns)",
    ),
    # 7: hourly sums of calls, and the hours that have none yet.
    (
        """
        CREATE TABLE rollups (
            hour INTEGER NOT NULL,
            tenant TEXT, feature TEXT, prompt_name TEXT, prompt_version TEXT, model TEXT, request_model TEXT,
            provider TEXT, operation TEXT, outcome TEXT, tier TEXT, release TEXT,
            calls INTEGER, priced INTEGER, unpriced INTEGER, errors INTEGER, succeeded INTEGER, attempts INTEGER,
            seconds REAL, chunk_seconds REAL, chunked INTEGER,
            input_tokens INTEGER, output_tokens INTEGER, cached_tokens INTEGER, cache_write_tokens INTEGER,
            reasoning_tokens INTEGER, cost REAL
        )
        """,
        "CREATE INDEX rollups_hour ON rollups (hour)",
        "CREATE TABLE unrolled (hour INTEGER PRIMARY KEY)",
        "INSERT INTO unrolled SELECT DISTINCT started_ns / 3600000000000 FROM calls",
    ),
)
"""What turns a file of version *n* into one of version *n + 1*. Released migrations never change."""

VERSION = len(MIGRATIONS)
"""The schema version that this release reads and writes (`PRAGMA user_version`)."""


class LedgerError(Exception):
    """The ledger file cannot be used. The message names the file, the reason and what to do."""


class LedgerLocked(LedgerError):
    """Another process keeps the ledger for itself; it may be tried again at once."""


class LedgerStartedOver(LedgerError):
    """The file was damaged or taken away. Nothing of what was to be written is in the new one; write it again."""


def explain(error: sqlite3.Error, path: Path) -> LedgerError:
    """Explain an SQLite error for the ledger at `path`."""
    if isinstance(error, StartedOver):
        return LedgerStartedOver(f"ledger {path}: {error}. The next use makes a new one.")
    name = getattr(error, "sqlite_errorname", "") or ""
    if isinstance(error, Locked) or name.startswith(("SQLITE_BUSY", "SQLITE_LOCKED")):
        return LedgerLocked(f"ledger {path}: {error}. Another process keeps it locked; find it with `fuser` or `lsof`.")
    if isinstance(error, Damaged) or name.startswith(("SQLITE_NOTADB", "SQLITE_CORRUPT", "SQLITE_ERROR")):
        advice = (
            f"The file is damaged or not a ledger. Move it away, with its -wal and -shm files if there "
            f"are any, and a new one is made; `sqlite3 {path.name} .recover` may save its rows"
        )
    elif name.startswith("SQLITE_FULL"):
        advice = "Free some space, or set GENLEDGER_LEDGER to a path on another disk"
    else:
        advice = (
            "Check that the directory exists and is writable and that the disk has room, or set GENLEDGER_LEDGER to "
            "another path"
        )
    return LedgerError(f"ledger {path}: {error}. {advice}.")


def open_ledger(path: Path, *, busy_timeout_s: float, departed: Callable[[Departure], None]) -> SharedDatabase:
    """Return the database at `path`, which is made or migrated when it is first used.

    Several processes may do so at the same time: whoever comes first migrates, the others wait. A file of a newer
    version, or a database of something else, is refused with a `LedgerError`, and left as it is.

    Args:
        path: The file; its directory is made when missing.
        busy_timeout_s: How long to wait for other processes.
        departed: Called when a damaged file was set aside, or the file was deleted.
    """

    def examine(connection: sqlite3.Connection) -> None:
        if _version(connection, path) == 0:
            connection.execute("PRAGMA auto_vacuum = INCREMENTAL")  # only before the first table is made

    def prepare(connection: sqlite3.Connection) -> None:
        if _version(connection, path) < VERSION:
            _migrate(connection, path)
        connection.row_factory = sqlite3.Row

    return SharedDatabase(
        path,
        busy_timeout_s=busy_timeout_s,
        examine=examine,
        prepare=prepare,
        replace_damaged=True,
        departed=departed,
    )


def _pragma(connection: sqlite3.Connection, name: str) -> int:
    return int(connection.execute(f"PRAGMA {name}").fetchone()[0])


def _version(connection: sqlite3.Connection, path: Path) -> int:
    # In this order, what another process makes in between, all at once, is never taken for something else.
    empty = connection.execute("SELECT count(*) FROM sqlite_master").fetchone()[0] == 0
    version = _pragma(connection, "user_version")
    application = _pragma(connection, "application_id")
    if application != APPLICATION_ID and (application or version or not empty):
        raise LedgerError(
            f"ledger {path}: this is another application's SQLite database; Genledger does not change it. "
            "Set GENLEDGER_LEDGER to another path."
        )
    if version > VERSION:
        raise LedgerError(
            f"ledger {path}: its schema has version {version}, and this Genledger knows {VERSION}. "
            "Upgrade Genledger, or set GENLEDGER_LEDGER to another path."
        )
    return version


def _migrate(connection: sqlite3.Connection, path: Path) -> None:
    connection.execute("BEGIN IMMEDIATE")
    try:
        # Another process may have migrated the file while this one waited for the lock.
        for statements in MIGRATIONS[_version(connection, path) :]:
            for statement in statements:
                connection.execute(statement)
        connection.execute(f"PRAGMA application_id = {APPLICATION_ID}")
        connection.execute(f"PRAGMA user_version = {VERSION}")
        connection.execute("COMMIT")
    except BaseException:
        connection.rollback()
        raise
