"""Which run of an agent, workflow or tool a call is in."""

from __future__ import annotations

_MOST_AROUND = 1_000
"""Steps and calls that are looked at around one call: parents that go in a circle have no end."""


def in_runs(by: str, calls: str, runs: str) -> str:
    """Return, as a table in SQL, the calls that meet a condition, and the run of that kind which each is in.

    Rows come in any order, those of a step after those of the calls inside, perhaps from another process: what is
    inside of what is read from the parents when it is asked for.

    Args:
        by: Kind of step.
        calls: Condition on calls; its parameters come first.
        runs: Condition on steps, for `run_selected`.
    """
    # Without the limit of the inner table, SQLite would look for the run once for each use of it.
    return f"""
        (SELECT *, (
            WITH RECURSIVE around (parent, run) AS (
                SELECT calls.parent_span_id, NULL
                UNION ALL
                SELECT iif(steps.span_id IS NULL, outer_calls.parent_span_id, steps.parent_span_id),
                    iif(steps.kind = '{by}', steps.rowid, NULL)
                FROM around
                LEFT JOIN steps ON steps.trace_id = calls.trace_id AND steps.span_id = around.parent
                LEFT JOIN calls AS outer_calls ON steps.span_id IS NULL
                    AND outer_calls.trace_id = calls.trace_id AND outer_calls.span_id = around.parent
                WHERE around.run IS NULL AND around.parent IS NOT NULL
                LIMIT {_MOST_AROUND}
            )
            SELECT run FROM around WHERE run IS NOT NULL
        ) AS run FROM calls WHERE {calls} LIMIT -1)
        LEFT JOIN (
            SELECT rowid AS run, name AS run_name, error_type AS run_error, ({runs}) AS run_selected FROM steps
        ) USING (run)
    """
