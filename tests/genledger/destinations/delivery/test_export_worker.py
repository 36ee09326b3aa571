"""What a delivery does and says while its thread is at work, and when there is no time left."""

from __future__ import annotations

import socket
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider

from genledger.destinations.delivery.export_worker import ExportWorker
from genledger.destinations.delivery.http_exporter import HttpExporter
from genledger.destinations.delivery.spool import Spool
from genledger.destinations.selection.allowance import Allowance
from genledger.destinations.selection.sampling import TraceSampling
from genledger.destinations.selection.span_processor import FinishedSpan
from standins.receivers import Collector
from standins.spools import on_disk


class Meanwhile(TraceSampling):
    """Lets the delivery's thread begin a round in the middle of somebody's asking whether all is delivered."""

    def __init__(self, begin: threading.Event, reached: threading.Event) -> None:
        super().__init__(Allowance())
        self._begin, self._reached = begin, reached

    def held(self) -> int:
        self._begin.set()
        assert self._reached.wait(10)
        return super().held()


def test_a_span_that_has_left_the_queue_but_is_not_yet_sent_counts_as_waiting(
    collector: Collector, provider: TracerProvider
) -> None:
    begin, reached, go_on = threading.Event(), threading.Event(), threading.Event()

    def translate(ended: FinishedSpan) -> ReadableSpan:
        reached.set()
        assert go_on.wait(10)
        return ended.span

    delivery = ExportWorker(
        "otlp",
        HttpExporter(f"{collector.base_url}/v1/traces", {}),
        translate,
        sampling=Meanwhile(begin, reached),
        threaded=False,
    )
    span = provider.get_tracer("app").start_span("chat")
    span.end()
    assert isinstance(span, ReadableSpan)
    delivery.offer(FinishedSpan(span, None))

    def work() -> None:
        assert begin.wait(10)
        delivery.step()

    thread = threading.Thread(target=work)
    thread.start()
    assert not delivery.is_idle()
    go_on.set()
    thread.join(10)
    assert delivery.is_idle()
    assert [sent.name for sent in collector.spans()] == ["chat"]
    delivery.shutdown()


@pytest.fixture
def silent() -> Iterator[str]:
    """The address of a receiver that takes connections and does nothing with them."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        yield f"http://127.0.0.1:{server.getsockname()[1]}/v1/traces"


@pytest.fixture
def span(provider: TracerProvider) -> ReadableSpan:
    span = provider.get_tracer("app").start_span("chat")
    span.end()
    assert isinstance(span, ReadableSpan)
    return span


def slowly(ended: FinishedSpan) -> ReadableSpan:
    """What translating comes to when thirty threads of the application want the processor, too."""
    time.sleep(0.002)
    return ended.span


@pytest.mark.parametrize("translate", [slowly, lambda ended: ended.span], ids=["too slow", "in time"])
def test_the_end_has_time_to_write_what_it_has_packed_and_counts_the_rest(
    silent: str, span: ReadableSpan, tmp_path: Path, caplog: pytest.LogCaptureFixture, translate: Callable
) -> None:
    delivery = ExportWorker("otlp", HttpExporter(silent, {}), translate, spool=Spool(tmp_path))
    for _ in range(5_000):
        delivery.offer(FinishedSpan(span, None))
    assert delivery.shutdown(4.0) is False
    stats = delivery.stats()
    assert stats.accepted == 5_000
    assert on_disk(tmp_path) > 0
    assert on_disk(tmp_path) + stats.dropped.get("exit", 0) == 5_000
    if translate is not slowly:
        assert stats.dropped == {}
        assert "5000 records are on disk" in caplog.text
    else:
        assert f"{stats.dropped['exit']} records were lost at exit: neither delivered nor" in caplog.text


def test_what_the_receiver_has_no_time_for_is_on_disk(silent: str, span: ReadableSpan, tmp_path: Path) -> None:
    delivery = ExportWorker("otlp", HttpExporter(silent, {}), lambda ended: ended.span, spool=Spool(tmp_path))
    for _ in range(100):
        delivery.offer(FinishedSpan(span, None))
    assert delivery.shutdown(0.0) is False
    assert delivery.stats().dropped == {}
    assert on_disk(tmp_path) == 100


class BusyDisk(Spool):
    """Takes its first request only when the time for the receiver is over."""

    def __init__(self, directory: Path) -> None:
        super().__init__(directory)
        self.asked, self.over = threading.Event(), threading.Event()

    def put(self, *args: Any, **options: Any) -> int:
        self.asked.set()
        assert self.over.wait(30)
        return super().put(*args, **options)


def test_what_waits_for_a_busy_disk_when_the_time_is_over_is_on_disk(
    silent: str, span: ReadableSpan, tmp_path: Path
) -> None:
    disk = BusyDisk(tmp_path)
    delivery = ExportWorker("otlp", HttpExporter(silent, {}), lambda ended: ended.span, spool=disk)
    delivery.offer(FinishedSpan(span, None))
    assert disk.asked.wait(30)  # the receiver does not answer
    for _ in range(1_000):
        delivery.offer(FinishedSpan(span, None))
    ending = threading.Thread(target=delivery.shutdown, args=(0.1,))
    ending.start()
    ending.join(0.3)
    disk.over.set()
    ending.join(30)
    assert delivery.stats().dropped == {}
    assert on_disk(tmp_path) == 1_001


def test_where_no_thread_can_be_started_a_flush_does_not_wait_and_the_shutdown_delivers(
    collector: Collector, span: ReadableSpan, monkeypatch: pytest.MonkeyPatch
) -> None:
    start = threading.Thread.start

    def refuse(thread: threading.Thread) -> None:
        if thread.name.startswith("genledger"):  # the receiver is another process's
            raise RuntimeError("can't create new thread at interpreter shutdown")
        start(thread)

    delivery = ExportWorker("otlp", HttpExporter(collector.url, {}), lambda ended: ended.span)
    with monkeypatch.context() as ending:
        ending.setattr(threading.Thread, "start", refuse)
        delivery.offer(FinishedSpan(span, None))
        assert not delivery.begin_flush()
        assert not delivery.finish_flush(float("inf"))
        assert collector.requests == []
        assert delivery.shutdown(60)
    assert len(collector.spans()) == 1


def test_without_a_disk_what_is_lost_is_counted_and_said(
    silent: str, span: ReadableSpan, caplog: pytest.LogCaptureFixture
) -> None:
    delivery = ExportWorker("otlp", HttpExporter(silent, {}), lambda ended: ended.span)
    for _ in range(100):
        delivery.offer(FinishedSpan(span, None))
    assert delivery.shutdown(0.0) is False
    assert delivery.stats().dropped == {"exit": 100}
    assert "100 records were lost at exit: neither delivered nor stored" in caplog.text


def test_spans_that_come_faster_than_they_can_be_packed_do_not_keep_it_from_sending(
    collector: Collector, span: ReadableSpan
) -> None:
    def translate(ended: FinishedSpan) -> ReadableSpan:
        if not collector.requests:
            delivery.offer(ended)
        return ended.span

    delivery = ExportWorker("otlp", HttpExporter(collector.url, {}), translate, threaded=False)
    delivery.offer(FinishedSpan(span, None))
    delivery.step()  # which would not come back
    assert collector.requests
    delivery.shutdown()


def test_the_end_is_over_only_when_whoever_ends_it_is_done(silent: str, span: ReadableSpan, tmp_path: Path) -> None:
    delivery = ExportWorker("otlp", HttpExporter(silent, {}), slowly, spool=Spool(tmp_path))
    for _ in range(500):
        delivery.offer(FinishedSpan(span, None))
    first = threading.Thread(target=delivery.shutdown, args=(0.3,))
    first.start()
    delivery.shutdown(0.3)
    stats = delivery.stats()
    assert on_disk(tmp_path) + stats.dropped.get("exit", 0) == stats.accepted == 500
    first.join()
    assert not [thread for thread in threading.enumerate() if thread.name == "genledger-otlp"]
