"""What waits for a receiver is on disk, not in memory, while the receiver does not take it."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from opentelemetry.sdk.trace import TracerProvider

from genledger.destinations.delivery.delivery_stats import Limits
from genledger.destinations.delivery.spool import Spool
from genledger.destinations.otlp import OtlpDestination, OtlpEndpoint
from standins.faults import Hang, Late, Status
from standins.receivers import Collector
from standins.spools import on_disk

LONG_S = 300.0
"""Longer than any of these tests: what waits for this has hung."""


class Application:
    """Records spans for one collector, and can say what a kill at this moment would leave."""

    def __init__(self, collector: Collector, spool: Path | None, **limits) -> None:
        options = {"delay_s": 0.01, "exit_s": 20.0, **limits}
        self.destination = OtlpDestination(
            OtlpEndpoint(collector.url, timeout_s=options.pop("timeout_s", LONG_S)),
            spool=spool,
            limits=Limits(**options),
        )
        self.provider = TracerProvider(shutdown_on_exit=False)
        self.provider.add_span_processor(self.destination.processor)
        self.tracer = self.provider.get_tracer("app")
        self.made = 0

    def record(self, spans: int) -> None:
        for _ in range(spans):
            self.tracer.start_span(f"call {self.made}").end()
            self.made += 1


def soon(condition: Callable[[], bool]) -> bool:
    """Whether something comes true before it is clear that it never will."""
    end = time.monotonic() + 60
    while not condition():
        if time.monotonic() > end:
            return False
        time.sleep(0.02)
    return True


@pytest.fixture
def hanging(collector) -> Iterator[Collector]:
    collector.always(Hang())
    yield collector
    collector.stop()


def test_while_a_request_hangs_it_is_on_disk_with_all_that_waits_behind_it(hanging, tmp_path) -> None:
    application = Application(hanging, tmp_path)
    for _ in range(3):
        application.record(10)
        assert hanging.wait_for(lambda: len(hanging.requests) == 1)
        assert soon(lambda: on_disk(tmp_path) == application.made)
    # All of that while the first request was waiting for its answer.
    assert len(hanging.requests) == 1
    assert application.destination.stats().dropped == {}
    application.destination.shutdown(1)


def test_what_was_on_disk_while_its_receiver_took_its_time_is_sent_once_and_not_kept(collector, tmp_path) -> None:
    late = Late()
    collector.next(late)
    application = Application(collector, tmp_path)
    application.record(5)
    assert soon(lambda: on_disk(tmp_path) == 5)
    application.record(5)
    assert soon(lambda: on_disk(tmp_path) == 10)
    # Another process of the destination leaves both alone.
    (directory,) = tmp_path.iterdir()
    (delivery,) = application.destination.deliveries()
    assert delivery.spool is not None
    assert Spool(directory, delivery.spool.destination).claim(100, 10**6) is None
    late.go.set()
    assert application.destination.flush(60)
    assert on_disk(tmp_path) == 0
    assert list(collector.counts().values()) == [1] * 10
    stats = application.destination.stats()
    assert (stats.accepted, stats.sent, stats.retried, stats.dropped) == (10, 10, 0, {})
    application.destination.shutdown(20)


def test_during_a_pause_what_is_recorded_is_on_disk_within_a_second(clock, collector, tmp_path) -> None:
    destination = OtlpDestination(OtlpEndpoint(collector.url), spool=tmp_path, clock=clock, threaded=False)
    provider = TracerProvider(shutdown_on_exit=False)
    provider.add_span_processor(destination.processor)
    collector.always(Status(status=503, headers={"retry-after": "3600"}))
    (delivery,) = destination.deliveries()
    for number in range(1, 20):
        provider.get_tracer("app").start_span("call").end()
        due_in = delivery.step()
        assert on_disk(tmp_path) == number
        assert 0 < due_in <= 1
        clock.seconds += due_in
    assert len(collector.requests) == 1


def test_trouble_that_lasts_costs_few_requests_and_each_span_arrives_once(clock, collector, tmp_path) -> None:
    destination = OtlpDestination(OtlpEndpoint(collector.url), spool=tmp_path, clock=clock, threaded=False)
    provider = TracerProvider(shutdown_on_exit=False)
    provider.add_span_processor(destination.processor)
    collector.stop()
    for _ in range(1_200):
        provider.get_tracer("app").start_span("call").end()
        clock.run(0.5, destination)
    assert on_disk(tmp_path) == 1_200
    collector.start()
    clock.run(120, destination)
    assert len(collector.requests) <= 5
    assert len(collector.counts()) == 1_200
    assert set(collector.counts().values()) == {1}


def test_at_the_end_what_this_process_has_on_disk_is_sent(collector, tmp_path) -> None:
    late = Late()
    collector.next(late)
    application = Application(collector, tmp_path)
    application.record(3)
    assert collector.wait_for(lambda: len(collector.requests) == 1)
    application.record(5)
    assert soon(lambda: on_disk(tmp_path) == 8)
    closing = threading.Thread(target=application.destination.shutdown, args=(60,))
    closing.start()
    late.go.set()
    closing.join(LONG_S)
    assert len(collector.counts()) == 8
    assert on_disk(tmp_path) == 0


def test_the_end_is_not_held_up_by_what_former_processes_left(clock, collector, tmp_path) -> None:
    def destination() -> OtlpDestination:
        return OtlpDestination(OtlpEndpoint(collector.url), spool=tmp_path, clock=clock, threaded=False)

    for name in ("former", "ours"):
        current = destination()
        provider = TracerProvider(shutdown_on_exit=False)
        provider.add_span_processor(current.processor)
        provider.get_tracer("app").start_span(name).end()
        collector.next(*([Status(status=503)] if name == "former" else []))
        current.shutdown(20)
    assert [span.name for span in collector.spans()] == ["ours"]
    assert on_disk(tmp_path) == 1


def test_what_was_under_way_at_the_end_is_sent_by_the_next_of_the_same_process(hanging, tmp_path) -> None:
    first = Application(hanging, tmp_path)
    first.record(3)
    first.destination.shutdown(1)
    second = Application(hanging, tmp_path)
    assert hanging.wait_for(lambda: len(hanging.requests) >= 2)  # what it hangs with was on disk before
    second.destination.shutdown(1)
    hanging.always(None)
    third = Application(hanging, tmp_path)
    assert third.destination.flush(60)
    assert len(hanging.counts()) == 3
    third.destination.shutdown(20)


def test_a_request_that_is_sent_again_from_disk_has_the_same_bytes(collector, tmp_path) -> None:
    collector.next(Status(status=503), Hang())
    application = Application(collector, tmp_path, timeout_s=1.0)
    application.record(1)
    assert collector.wait_for(lambda: len(collector.requests) >= 1)
    application.record(1)
    assert application.destination.flush(60) or application.destination.flush(60)
    first, *_ = collector.requests
    assert [request.body for request in collector.requests].count(first.body) >= 2
    assert len(collector.counts()) == 2
    application.destination.shutdown(20)


def test_without_a_spool_a_hanging_receiver_costs_memory_up_to_its_bound_and_no_more(hanging) -> None:
    application = Application(hanging, None, memory_bytes=20_000)
    application.record(1)
    assert hanging.wait_for(lambda: len(hanging.requests) == 1)
    application.record(1_000)
    assert soon(lambda: application.destination.stats().dropped.get("memory_full", 0) > 0)
    application.destination.shutdown(1)
    stats = application.destination.stats()
    assert stats.sent == 0
    assert sum(stats.dropped.values()) == 1_001


def test_with_a_disk_that_takes_nothing_long_trouble_costs_no_record(clock, collector, tmp_path) -> None:
    (tmp_path / "no directory").write_text("")
    destination = OtlpDestination(
        OtlpEndpoint(collector.url), spool=tmp_path / "no directory", clock=clock, threaded=False
    )
    provider = TracerProvider(shutdown_on_exit=False)
    provider.add_span_processor(destination.processor)
    collector.stop()
    for _ in range(2_000):
        provider.get_tracer("app").start_span("call").end()
        clock.run(0.5, destination)
    collector.start()
    clock.run(120, destination)
    assert len(collector.counts()) == 2_000
    assert set(collector.counts().values()) == {1}
    assert destination.stats().dropped == {}
