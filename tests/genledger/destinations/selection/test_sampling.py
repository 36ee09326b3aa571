from __future__ import annotations

import random
from typing import Any

import pytest
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.trace import SpanContext, SpanKind, Status, StatusCode, TraceFlags

from genledger.destinations.delivery.spool import Spool
from genledger.destinations.langfuse.destination import LangfuseDestination
from genledger.destinations.selection.allowance import Allowance
from genledger.destinations.selection.sampling import HELD_S, Keep, TraceSampling
from genledger.destinations.selection.span_processor import FinishedSpan

NO_RESOURCE = Resource({})


def trace(
    trace_id: int, spans: int = 3, *, seconds: float = 1.0, cost: float = 0.0, error: bool = False, score: Any = None
) -> list[FinishedSpan]:
    items = []
    for number in range(spans):
        attributes = {"genledger.cost.amount": cost / spans}
        if score is not None and number == 0:
            attributes["gen_ai.evaluation.score.value"] = score
        span = ReadableSpan(
            "s",
            SpanContext(trace_id, number + 1, False, TraceFlags(1)),
            resource=NO_RESOURCE,
            attributes=attributes,
            status=Status(StatusCode.ERROR if error and number == 0 else StatusCode.UNSET),
            start_time=0,
            end_time=int(seconds * 1e9),
        )
        items.append(FinishedSpan(span, None, ends_trace=number == spans - 1))
    return items


def ids(items: list[FinishedSpan]) -> list[int]:
    return [item.span.context.trace_id for item in items]


def random_ids(count: int) -> list[int]:
    return [random.Random(number).getrandbits(128) for number in range(count)]


def test_with_a_rate_of_one_nothing_waits(clock) -> None:
    sampling = TraceSampling(Allowance(clock=clock))
    items = trace(1)
    assert sampling.take(items[:1], 0) == items[:1]
    assert sampling.held() == 0


def test_a_rate_keeps_that_share_of_whole_traces_the_same_ones_everywhere(clock) -> None:
    traces = random_ids(2_000)
    kept = []
    for _ in range(2):
        sampling = TraceSampling(Allowance(clock=clock), rate=0.25)
        out = [item for trace_id in traces for item in sampling.take(trace(trace_id), 0)]
        kept.append(ids(out))
        assert len(out) + len(sampling.discarded()) == 6_000
    assert kept[0] == kept[1]
    assert 400 < len(set(kept[0])) < 600
    assert all(kept[0].count(trace_id) == 3 for trace_id in set(kept[0]))


@pytest.mark.parametrize(
    "reason", [{"error": True}, {"seconds": 31}, {"cost": 0.11}, {"score": 0.2}], ids=lambda reason: next(iter(reason))
)
def test_errors_and_slow_expensive_and_low_scored_traces_are_kept_whole(clock, reason) -> None:
    sampling = TraceSampling(Allowance(clock=clock), rate=0.0)
    assert sampling.take(trace(7), 0) == []
    assert ids(sampling.take(trace(8, **reason), 0)) == [8, 8, 8]


def test_each_reason_can_be_switched_off(clock) -> None:
    nothing = Keep(errors=False, slower_than_s=None, dearer_than_usd=None, scored_below=None)
    sampling = TraceSampling(Allowance(clock=clock), rate=0.0, keep=nothing)
    assert sampling.take(trace(8, error=True, seconds=1e6, cost=1e6, score=0.0), 0) == []


def test_spans_after_the_end_of_their_trace_share_its_fate(clock) -> None:
    sampling = TraceSampling(Allowance(clock=clock), rate=0.0)
    sampling.take(trace(1, error=True), 0)
    sampling.take(trace(2), 0)
    assert ids(sampling.take(trace(1, 1), 0)) == [1]
    assert sampling.take(trace(2, 1, error=True), 0) == []


def test_a_trace_that_does_not_end_is_decided_after_a_while(clock) -> None:
    sampling = TraceSampling(Allowance(clock=clock), rate=0.0)
    assert sampling.take(trace(1, error=True)[:2], 0) == []
    assert sampling.held() == 2
    assert sampling.take([], HELD_S) == []
    assert ids(sampling.take([], HELD_S + 1)) == [1, 1]
    assert sampling.held() == 0


def test_flushing_decides_at_once(clock) -> None:
    sampling = TraceSampling(Allowance(clock=clock), rate=0.0)
    sampling.take(trace(1, error=True)[:2], 0)
    assert ids(sampling.release()) == [1, 1]


def test_units_are_traces_and_observations(clock) -> None:
    sampling = TraceSampling(Allowance(clock=clock))
    for trace_id in range(1, 11):
        sampling.take(trace(trace_id, 4), 0)
    assert sampling.units == 10 * (1 + 4)


def use(sampling: TraceSampling, count: int, start: int, **kind: Any) -> int:
    kept = 0
    for trace_id in random_ids(start + count)[start:]:
        kept += bool(sampling.take(trace(trace_id, 4, **kind), 0))
    return kept


def test_as_an_allowance_is_used_up_ordinary_traces_go_first_and_errors_and_expensive_ones_last(clock) -> None:
    allowance = Allowance(10_000, clock=clock)
    sampling = TraceSampling(allowance)
    assert use(sampling, 999, 0) == 999
    allowance.add(7_000 - allowance.used)
    assert 20 < use(sampling, 80, 1_000) < 60
    allowance.add(9_200 - allowance.used)
    assert use(sampling, 50, 2_000) == 0
    assert use(sampling, 20, 3_000, error=True) == 20
    assert use(sampling, 20, 4_000, cost=1.0) == 20
    allowance.add(10_000 - allowance.used)
    assert use(sampling, 20, 5_000, error=True) == 0
    assert allowance.used <= 10_000


def test_a_new_month_begins_with_the_whole_allowance(clock, tmp_path) -> None:
    allowance = Allowance(100, Spool(tmp_path / "spool"), clock)
    allowance.add(100)
    allowance.save()
    assert allowance.share == 0.0
    clock.seconds += 32 * 86_400
    allowance.save()
    assert (allowance.used, allowance.share) == (0, 1.0)


def test_the_processes_of_a_machine_count_together(clock, tmp_path) -> None:
    one, other, third = (Allowance(1_000, Spool(tmp_path / "spool"), clock) for _ in range(3))
    one.add(300)
    one.save()
    other.add(200)
    other.save()
    one.save()
    assert (one.used, other.used, third.used) == (500, 500, 500)


def test_where_nothing_can_be_written_units_are_counted_in_this_process(clock, tmp_path, caplog) -> None:
    (tmp_path / "no directory").write_text("")
    allowance = Allowance(None, Spool(tmp_path / "no directory" / "spool"), clock)
    for _ in range(3):
        allowance.add(5)
        allowance.save()
    assert allowance.used == 15
    assert len(caplog.messages) == 1


def test_a_destination_samples_its_spans_and_says_how_many(langfuse_server, clock, tmp_path) -> None:
    destination = LangfuseDestination(sample_rate=0.0, spool=tmp_path, threaded=False, clock=clock)
    provider = TracerProvider(shutdown_on_exit=False)
    provider.add_span_processor(destination.processor)
    tracer = provider.get_tracer("app")
    for number in range(5):
        with tracer.start_as_current_span("POST /", kind=SpanKind.SERVER) as request:
            tracer.start_span(f"chat {number}", attributes={"gen_ai.operation.name": "chat"}).end()
            if number == 3:
                request.set_status(StatusCode.ERROR)
    clock.run(5, destination)
    # The request itself stays out of Langfuse, but its failure keeps what belongs to it.
    assert [span.name for span in langfuse_server.spans()] == ["chat 3"]
    stats = destination.stats()
    assert (stats.accepted, stats.sent, stats.dropped, stats.units) == (5, 1, {"sampled": 4}, 2)
