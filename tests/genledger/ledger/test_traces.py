from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

from genledger.engine.record import CallRecord, StepRecord
from genledger.ledger import Ledger
from genledger.ledger.traces import last_trace, trace, traces
from genledger.pricing.cost import Cost

MakeEntry = Callable[..., CallRecord]


def test_a_trace_has_its_calls_and_steps_in_order(ledger: Ledger, make_entry: MakeEntry) -> None:
    first = make_entry(trace_id=5, started_ns=20, cost=Cost(0.1, "table"))
    second = make_entry(trace_id=5, started_ns=30, parent_span_id=first.span_id)
    step = StepRecord(5, 999, None, "agent", "helper", 10, 1.5, "ValueError")
    ledger.write(
        [second, make_entry(trace_id=6), first], steps=[step, StepRecord(6, 1, None, "task", "other", 1, 1.0, None)]
    )
    with ledger.reading() as connection:
        assert trace(connection, f"{5:032x}") == [step, first, second]
        assert trace(connection, f"{7:032x}") == []


def test_a_span_that_is_a_call_and_a_step_is_the_call(ledger: Ledger, make_entry: MakeEntry) -> None:
    call = make_entry()
    ledger.write([call], steps=[StepRecord(call.trace_id, call.span_id, None, "retrieval", "faq", 1, 1.0, None)])
    with ledger.reading() as connection:
        assert trace(connection, f"{call.trace_id:032x}") == [call]


def test_traces_are_found_by_how_they_begin(ledger: Ledger, make_entry: MakeEntry) -> None:
    ids = [0xAB << 120, 0xAC << 120, 0xFF << 120]
    ledger.write([make_entry(trace_id=one, started_ns=2_000_000 - at) for at, one in enumerate(ids)])
    with ledger.reading() as connection:
        assert traces(connection, "a") == [f"{one:032x}" for one in ids[:2]]
        assert traces(connection, "ff") == [f"{ids[2]:032x}"]
        assert traces(connection, "b") == []
        assert last_trace(connection) == f"{ids[0]:032x}"


def test_a_trace_leaves_out_the_spans_between_its_calls_and_steps(ledger: Ledger, make_entry: MakeEntry) -> None:
    agent = StepRecord(5, 1, None, "agent", "helper", 10, 1.5, None)
    between = [StepRecord(5, 2, 1, None, "", 11, 1.0, None), StepRecord(5, 3, 2, None, "", 12, 1.0, None)]
    call = make_entry(trace_id=5, parent_span_id=3, started_ns=13)
    ledger.write([call], steps=[*between, agent])
    with ledger.reading() as connection:
        assert trace(connection, f"{5:032x}") == [agent, replace(call, parent_span_id=1)]


def test_spans_that_go_in_a_circle_end_the_search_for_a_parent(ledger: Ledger, make_entry: MakeEntry) -> None:
    circle = [StepRecord(5, 1, 2, None, "", 1, 1.0, None), StepRecord(5, 2, 1, None, "", 2, 1.0, None)]
    call = make_entry(trace_id=5, parent_span_id=1)
    ledger.write([call], steps=circle)
    with ledger.reading() as connection:
        (found,) = trace(connection, f"{5:032x}")
    assert found.span_id == call.span_id
