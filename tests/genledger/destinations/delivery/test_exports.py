"""OpenTelemetry's own exporters, which we switch on and off: they hold nobody up, and leave nothing running."""

from __future__ import annotations

import socket
import threading
import time
from collections.abc import Iterator

import pytest
from opentelemetry.sdk._logs import LoggerProvider
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.resources import Resource

from genledger.destinations.delivery.exports import Exports
from genledger.destinations.delivery.validate_url import nobody_listens
from genledger.destinations.otlp_logs import export_logs
from genledger.destinations.otlp_metrics import export_metrics
from standins.faults import DRIPS, Fault, Hang, Status
from standins.receivers import Collector

E = "OTEL_EXPORTER_OTLP_"
LONG_S = 300.0


class Metrics:
    """A provider of metrics, as `instrument()` makes it."""

    path = "/v1/metrics"

    def __init__(self) -> None:
        self.provider = MeterProvider(shutdown_on_exit=False, resource=Resource.get_empty())
        self.counter = self.provider.get_meter("app").create_counter("calls")

    def export(self) -> Exports:
        return export_metrics(self.provider)

    def record(self) -> None:
        self.counter.add(1)


class Logs:
    """A provider of log records, as `instrument()` makes it."""

    path = "/v1/logs"

    def __init__(self) -> None:
        self.provider = LoggerProvider(shutdown_on_exit=False, resource=Resource.get_empty())

    def export(self) -> Exports:
        return export_logs(self.provider)

    def record(self) -> None:
        self.provider.get_logger("app").emit(body="call")


@pytest.fixture(params=[Metrics, Logs])
def signal(request) -> Metrics | Logs:
    return request.param()


@pytest.fixture(autouse=True)
def nothing_is_left_running() -> Iterator[None]:
    before = set(threading.enumerate())
    yield
    end = time.monotonic() + 20
    while left := set(threading.enumerate()) - before:
        assert time.monotonic() < end, left
        time.sleep(0.01)


@pytest.fixture(params=["http/protobuf", "grpc"])
def refusing(request, monkeypatch) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
    monkeypatch.setenv(E + "ENDPOINT", f"http://127.0.0.1:{port}")
    monkeypatch.setenv(E + "PROTOCOL", request.param)
    monkeypatch.setenv(E + "TIMEOUT", str(LONG_S * 1000))


def paths(collector: Collector) -> list[str]:
    return [request.path for request in collector.requests if request.status == 200]


def test_a_signal_is_exported_while_it_is_switched_on_and_each_time_anew(signal, collector) -> None:
    for times in range(1, 4):
        exports = signal.export()
        signal.record()
        assert exports.shutdown(60) is True
        assert paths(collector) == [signal.path] * times
        signal.record()
        signal.provider.force_flush()
        assert paths(collector) == [signal.path] * times


def test_a_flush_exports_what_there_is(signal, collector) -> None:
    exports = signal.export()
    signal.record()
    assert exports.flush(60) is True
    assert paths(collector) == [signal.path]
    exports.shutdown(60)


def test_where_nobody_listens_nobody_waits_and_it_is_said(signal, refusing, caplog) -> None:
    exports = signal.export()
    signal.record()
    started = time.monotonic()
    assert exports.flush(LONG_S) is False
    assert exports.shutdown(LONG_S) is False
    # The exporters by themselves go on for as long as they may, with pauses of up to half a minute.
    assert time.monotonic() - started < 60
    assert "nobody listens at http://127.0.0.1" in caplog.text


def test_an_export_that_waits_to_be_tried_again_is_ended_where_nobody_listens(signal, refusing, monkeypatch) -> None:
    monkeypatch.setenv("OTEL_METRIC_EXPORT_INTERVAL", "50")
    monkeypatch.setenv("OTEL_BLRP_SCHEDULE_DELAY", "50")
    exports = signal.export()
    signal.record()
    time.sleep(0.5)
    started = time.monotonic()
    assert exports.shutdown(LONG_S) is False
    assert time.monotonic() - started < 60


@pytest.mark.parametrize("fault", [Hang(), DRIPS["headers"], Status(status=503)], ids=["hangs", "drips", "503"])
def test_a_receiver_in_trouble_takes_no_more_than_the_time_given(
    signal, collector, fault: Fault, caplog, monkeypatch
) -> None:
    monkeypatch.setenv(E + "TIMEOUT", str(LONG_S * 1000))
    collector.always(fault)
    exports = signal.export()
    signal.record()
    started = time.monotonic()
    assert exports.flush(0.2) is False
    assert exports.shutdown(2) is False
    assert time.monotonic() - started < 60
    assert "took longer than 2 s" in caplog.text


def test_a_receiver_that_is_silent_over_grpc_takes_no_more_than_the_time_given(signal, monkeypatch) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        monkeypatch.setenv(E + "ENDPOINT", f"http://127.0.0.1:{server.getsockname()[1]}")
        monkeypatch.setenv(E + "PROTOCOL", "grpc")
        monkeypatch.setenv(E + "TIMEOUT", str(LONG_S * 1000))
        exports = signal.export()
        signal.record()
        started = time.monotonic()
        assert exports.shutdown(2) is False
        assert time.monotonic() - started < 60


def test_flushing_again_and_again_leaves_no_thread_for_each_time(signal, collector) -> None:
    collector.always(Hang())
    exports = signal.export()
    signal.record()
    before = threading.active_count()
    for _ in range(20):
        assert exports.flush(0.02) is False
    assert threading.active_count() <= before + 4
    exports.shutdown(1)


def test_it_is_known_whether_anybody_listens(collector) -> None:
    url = collector.base_url
    assert not nobody_listens(url, 60)
    assert not nobody_listens(url.removeprefix("http://"), 60)
    collector.stop()
    assert nobody_listens(url, 60)
    assert nobody_listens(url.removeprefix("http://"), 60)
    assert nobody_listens("http://collector.invalid:4318", 60)


def test_behind_a_proxy_there_is_somebody(collector, monkeypatch) -> None:
    collector.stop()
    monkeypatch.setenv("HTTP_PROXY", "http://proxy.invalid:3128")
    monkeypatch.delenv("NO_PROXY", raising=False)
    assert not nobody_listens(collector.base_url, 60)


def test_the_way_out_of_any_other_exporter_is_bounded_too(caplog) -> None:
    released = threading.Event()

    class Exporter:
        def shutdown(self) -> None:
            released.set()

    exports = Exports("spans for other", Exporter(), released.wait, released.wait)
    assert exports.flush(0.05) is False
    assert exports.shutdown(1) is False
    assert "the last spans for other were not exported" in caplog.text
