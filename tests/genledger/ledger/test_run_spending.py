from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable
from typing import Any

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from genledger.context.attribution import Attribution
from genledger.engine.record import CallRecord, StepRecord
from genledger.engine.steps import Kind
from genledger.ledger import Ledger
from genledger.ledger.fields import RUNS
from genledger.ledger.queries import spending
from genledger.ledger.run_spending import RunSpending, total
from genledger.ledger.spending import EVERYTHING, Selection

MakeEntry = Callable[..., CallRecord]


def by_key(ledger: Ledger, by: str, selection: Selection = EVERYTHING) -> dict[str | None, Any]:
    with ledger.reading() as connection:
        return {row.key: row for row in spending(connection, by, selection)}


KINDS: list[Kind | None] = ["agent", "workflow", "tool", "task", "retrieval", None]
spans = st.lists(
    st.tuples(
        st.sampled_from(["call", *KINDS]),
        st.integers(-3, 12),  # the parent: one of the spans, itself included; nothing; or a span that is not here
        st.sampled_from(["a", "b"]),
        st.booleans(),
    ),
    max_size=12,
)
"""The spans of a trace: what each is, which is around it, its name, whether it failed."""


@settings(
    max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow]
)
@given(traced=st.lists(spans, max_size=4), by=st.sampled_from(sorted(RUNS)), data=st.data())
def test_every_call_counts_once_in_the_nearest_run_around_it(
    ledger: Ledger, make_entry: MakeEntry, traced: list[list[Any]], by: str, data: st.DataObject
) -> None:
    records: list[CallRecord | StepRecord] = []
    calls: dict[str | None, list[CallRecord]] = defaultdict(list)
    runs: dict[str | None, list[StepRecord]] = defaultdict(list)
    for trace_id, members in enumerate(traced, 1):
        mine: dict[int, CallRecord | StepRecord] = {}
        for span_id, (what, above, name, failed) in enumerate(members, 1):
            place = {"trace_id": trace_id, "span_id": span_id, "parent_span_id": above if above > 0 else None}
            if what == "call":
                mine[span_id] = make_entry(data.draw(st.none() | st.sampled_from([0.5, 0.25])), **place)
            else:
                mine[span_id] = StepRecord(*place.values(), what, name, 1, 1.0, "KeyError" if failed else None)
        for span in mine.values():
            if isinstance(span, StepRecord):
                if span.kind == by:
                    runs[span.name].append(span)
                continue
            above, seen = span.parent_span_id, set[int]()
            while above in mine and above not in seen and getattr(mine[above], "kind", None) != by:
                seen.add(above)
                above = mine[above].parent_span_id
            run = mine.get(above) if above is not None and above not in seen else None
            calls[run.name if isinstance(run, StepRecord) else None].append(span)
        records += mine.values()
    ledger.path.unlink(missing_ok=True)
    ledger.open()
    for record in data.draw(st.permutations(records)):  # late and out of order
        ledger.write(**({"steps": [record]} if isinstance(record, StepRecord) else {"entries": [record]}))
    rows = by_key(ledger, by)
    assert rows.keys() == calls.keys() | runs.keys()
    for key, row in rows.items():
        assert (row.calls, row.runs) == (len(calls[key]), len(runs[key]))
        assert row.failed_runs == sum(step.error_type is not None for step in runs[key])
        cost = [entry.cost.amount for entry in calls[key] if entry.cost is not None]
        assert row.cost_usd == (sum(cost) if cost else None)
        assert row.calls_per_run == (row.calls / row.runs if row.runs else None)
        assert row.tokens_per_run == (135 * row.calls / row.runs if row.runs else None)
        assert row.cost_per_run == (sum(cost) / row.runs if row.runs and cost else None)
    whole, all_calls = total(rows.values()), total(by_key(ledger, "provider").values())
    shared = ("calls", "priced", "unpriced", "input_tokens", "output_tokens", "cost_usd", "unpriced_reasons")
    assert [getattr(whole, name) for name in shared] == [getattr(all_calls, name) for name in shared]


def test_the_total_of_runs_leaves_calls_in_no_run_out_of_its_means(ledger: Ledger, make_entry: MakeEntry) -> None:
    agents = [
        StepRecord(5, 1, None, "agent", "a", 1, 1.0, None),
        StepRecord(6, 1, None, "agent", "b", 1, 1.0, "KeyError"),
    ]
    calls = [make_entry(1.0, trace_id=5, parent_span_id=1), make_entry(3.0, trace_id=6, parent_span_id=1)]
    ledger.write([*calls, make_entry(100.0)], steps=agents)
    whole = total(by_key(ledger, "agent").values())
    assert isinstance(whole, RunSpending)
    assert (whole.calls, whole.cost_usd, whole.runs, whole.failed_runs) == (3, 104.0, 2, 1)
    assert (whole.calls_per_run, whole.cost_per_run, whole.tokens_per_run) == (1.0, 2.0, 135.0)


def test_a_run_counts_when_it_began_in_the_selection_or_one_of_its_calls_did(
    ledger: Ledger, make_entry: MakeEntry
) -> None:
    def tool(trace_id: int, at: int, tenant: str | None = None, error: str | None = None) -> StepRecord:
        return StepRecord(trace_id, 1, None, "tool", "look_up", at, 1.0, error, tenant, None)

    acme = Attribution(tenant="acme")
    ledger.write(
        [
            make_entry(trace_id=1, parent_span_id=1, started_ns=10, attribution=acme),
            make_entry(trace_id=1, parent_span_id=1, started_ns=11, attribution=acme),
            make_entry(trace_id=2, parent_span_id=1, started_ns=9, attribution=acme),
        ],
        steps=[
            tool(1, 5, error="KeyError"),  # written by an older release, which did not keep the tenant
            tool(2, 6, "acme"),  # too early, with all of its calls
            tool(3, 12, "acme"),  # without a call
            tool(4, 12, "globex"),
        ],
    )
    (row,) = by_key(ledger, "tool", Selection(since_ns=10, tenant="acme")).values()
    assert (row.key, row.calls, row.runs, row.failed_runs) == ("look_up", 2, 2, 1)


def test_an_agent_in_another_keeps_its_calls_for_itself(ledger: Ledger, make_entry: MakeEntry) -> None:
    steps = [
        StepRecord(5, 1, None, "workflow", "flow", 1, 9.0, None),
        StepRecord(5, 2, 1, "agent", "outer", 2, 8.0, None),
        StepRecord(5, 3, 2, "tool", "ask", 3, 7.0, None),
        StepRecord(5, 4, 3, "agent", "inner", 4, 6.0, None),
    ]
    calls = [make_entry(usd, trace_id=5, parent_span_id=parent) for usd, parent in ((1.0, 2), (2.0, 3), (4.0, 4))]
    ledger.write(calls, steps=steps)
    assert {key: row.cost_usd for key, row in by_key(ledger, "agent").items()} == {"inner": 4.0, "outer": 3.0}
    assert {key: row.cost_usd for key, row in by_key(ledger, "tool").items()} == {"ask": 6.0, None: 1.0}
    assert {key: row.cost_usd for key, row in by_key(ledger, "workflow").items()} == {"flow": 7.0}


def test_parents_that_go_in_a_circle_end_the_search_for_a_run(ledger: Ledger, make_entry: MakeEntry) -> None:
    circle = [StepRecord(5, 1, 2, None, "", 1, 1.0, None), StepRecord(5, 2, 1, None, "", 2, 1.0, None)]
    ledger.write([make_entry(trace_id=5, parent_span_id=1)], steps=circle)
    assert by_key(ledger, "agent")[None].calls == 1
