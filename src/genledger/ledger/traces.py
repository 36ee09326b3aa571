"""Traces in the ledger: the calls and steps of one, and which there are."""

from __future__ import annotations

import sqlite3
from dataclasses import replace

from genledger.engine.record import CallRecord, StepRecord
from genledger.ledger.rows import record_of, step_of
from genledger.shared.text import bounded


def trace(connection: sqlite3.Connection, trace_id: str) -> list[CallRecord | StepRecord]:
    """Return the calls of one trace and the steps they were made in, oldest first; empty when there are none.

    The parent of each is the next one around it: spans between them are left out.

    Args:
        connection: From `Ledger.reading()`.
        trace_id: 32 hexadecimal digits.
    """
    steps = connection.execute("SELECT * FROM steps WHERE trace_id = ?", (trace_id,)).fetchall()
    calls = connection.execute("SELECT * FROM calls WHERE trace_id = ?", (trace_id,)).fetchall()
    found: dict[int, CallRecord | StepRecord] = {step.span_id: step for step in map(step_of, steps)}
    # A span that is both is a call: it has a cost.
    found |= {entry.span_id: entry for entry in map(record_of, calls)}
    between = {span.span_id: span for span in found.values() if isinstance(span, StepRecord) and span.kind is None}

    def placed(span: CallRecord | StepRecord) -> CallRecord | StepRecord:
        parent = span.parent_span_id
        for _ in between:
            if parent not in between:
                break
            parent = between[parent].parent_span_id
        return span if parent == span.parent_span_id else replace(span, parent_span_id=parent)

    return sorted(
        (placed(span) for span in found.values() if span.span_id not in between), key=lambda span: span.started_ns
    )


def traces(connection: sqlite3.Connection, prefix: str, limit: int = 10) -> list[str]:
    """Return the ids of traces that begin with `prefix`, at most `limit`."""
    rows = connection.execute(
        "SELECT DISTINCT trace_id FROM calls WHERE trace_id >= ? AND trace_id < ? LIMIT ?",
        (bounded(prefix), bounded(prefix) + "g", limit),  # "g" comes after every hexadecimal digit
    )
    return [row["trace_id"] for row in rows]


def last_trace(connection: sqlite3.Connection) -> str | None:
    """Return the id of the trace whose call started last."""
    row = connection.execute("SELECT trace_id FROM calls ORDER BY started_ns DESC LIMIT 1").fetchone()
    return None if row is None else row["trace_id"]


def last_call(connection: sqlite3.Connection) -> int | None:
    """When the last call started, in nanoseconds since the epoch; `None` when there is none."""
    latest: int | None = connection.execute("SELECT max(started_ns) FROM calls").fetchone()[0]
    return latest
