from __future__ import annotations

import grpc
import pytest
from opentelemetry.sdk.trace import TracerProvider

from genledger.destinations import ConfigurationError
from genledger.destinations.otlp import (
    OtlpDestination,
    OtlpEndpoint,
    is_configured,
    otlp_log_processor,
    otlp_metrics_reader,
)
from standins.grpc_collector import GrpcCollector

E = "OTEL_EXPORTER_OTLP_"


@pytest.mark.parametrize(
    ("variables", "url", "protocol"),
    [
        ({}, "http://localhost:4318/v1/traces", "http/protobuf"),
        ({"ENDPOINT": "http://c:4318"}, "http://c:4318/v1/traces", "http/protobuf"),
        ({"ENDPOINT": "https://c/base/"}, "https://c/base/v1/traces", "http/protobuf"),
        ({"TRACES_ENDPOINT": "https://c/as/it/is"}, "https://c/as/it/is", "http/protobuf"),
        ({"ENDPOINT": "http://a:1", "TRACES_ENDPOINT": "http://b:2/x"}, "http://b:2/x", "http/protobuf"),
        ({"PROTOCOL": "grpc"}, "http://localhost:4317", "grpc"),
        ({"PROTOCOL": "grpc", "ENDPOINT": "http://c:9"}, "http://c:9", "grpc"),
        ({"PROTOCOL": "grpc", "ENDPOINT": "c:9", "INSECURE": "true"}, "http://c:9", "grpc"),
        ({"PROTOCOL": "grpc", "ENDPOINT": "c:9"}, "https://c:9", "grpc"),
        ({"ENDPOINT": "http://c:4317"}, "http://c:4317", "grpc"),
        ({"PROTOCOL": "grpc", "TRACES_PROTOCOL": "http/protobuf"}, "http://localhost:4318/v1/traces", "http/protobuf"),
    ],
)
def test_the_endpoint_is_what_the_specification_says(variables, url, protocol) -> None:
    endpoint = OtlpEndpoint.from_environment({E + name: value for name, value in variables.items()})
    assert (endpoint.url, endpoint.protocol) == (url, protocol)


def test_variables_for_traces_come_before_those_for_all(tmp_path) -> None:
    authority = tmp_path / "ca.pem"
    authority.write_text("x")
    endpoint = OtlpEndpoint.from_environment(
        {
            E + "HEADERS": "a=1",
            E + "TRACES_HEADERS": "Api-Key=s%3Dcret, b = 2 ,",
            E + "COMPRESSION": "deflate",
            E + "TRACES_COMPRESSION": "gzip",
            E + "TIMEOUT": "3",
            E + "CERTIFICATE": str(authority),
        }
    )
    assert endpoint.headers == {"api-key": "s=cret", "b": "2"}
    assert endpoint.compression == "gzip"
    assert endpoint.timeout_s == 3
    assert endpoint.certificate == str(authority)


@pytest.mark.parametrize(("value", "seconds"), [("10", 10), ("10000", 10), ("500", 0.5), ("99", 99), ("2.5", 2.5)])
def test_timeouts_are_understood_in_seconds_and_in_milliseconds(value, seconds) -> None:
    assert OtlpEndpoint.from_environment({E + "TIMEOUT": value}).timeout_s == seconds


@pytest.mark.parametrize(
    ("variables", "said"),
    [
        ({"PROTOCOL": "http/json"}, "'http/json' is not supported"),
        ({"PROTOCOL": "grpc", "ENDPOINT": "http://c:4318/v1/traces"}, "has a path, which gRPC does not support"),
        ({"PROTOCOL": "grpc", "COMPRESSION": "deflate"}, "gRPC does not support compression 'deflate'"),
        ({"ENDPOINT": "c:4318"}, "is not a valid address"),
        ({"ENDPOINT": "https://user:topsecret@c"}, "contains credentials"),
        ({"HEADERS": "authorization=Basic x,topsecret"}, "entry 2 of OTEL_EXPORTER_OTLP_HEADERS"),
        ({"COMPRESSION": "brotli"}, "'brotli' is not supported"),
        ({"TIMEOUT": "-1"}, "is not a positive number"),
        ({"CERTIFICATE": "/nowhere.pem"}, "'/nowhere.pem' does not exist"),
    ],
)
def test_a_mistake_in_the_settings_is_one_clear_line_without_secrets(variables, said) -> None:
    with pytest.raises(ConfigurationError) as caught:
        OtlpEndpoint.from_environment({E + name: value for name, value in variables.items()})
    assert said in str(caught.value)
    assert "\n" not in str(caught.value)
    assert "topsecret" not in str(caught.value)


def test_it_says_whether_an_endpoint_is_named() -> None:
    assert not is_configured({})
    assert is_configured({E + "ENDPOINT": "http://c"})
    assert is_configured({E + "TRACES_ENDPOINT": "http://c"})


def test_headers_show_in_no_representation() -> None:
    endpoint = OtlpEndpoint("http://c:1", headers={"api-key": "topsecret"})
    assert "topsecret" not in repr(endpoint) + OtlpDestination(endpoint, spool=None).describe()
    assert "topsecret" not in repr(OtlpEndpoint("https://host/v1/traces?api_key=topsecret"))


def record(destination: OtlpDestination, *names: str) -> None:
    provider = TracerProvider(shutdown_on_exit=False)
    provider.add_span_processor(destination.processor)
    for name in names:
        with provider.get_tracer("app", "1").start_as_current_span(name, attributes={"a": 1}):
            provider.get_tracer("app").start_span(f"below {name}").end()


def test_every_span_arrives_over_http_as_it_is(collector) -> None:
    destination = OtlpDestination(spool=None, threaded=False)
    record(destination, "x")
    destination.deliveries()[0].step()
    sent = collector.by_name()
    assert set(sent) == {"x", "below x"}
    assert sent["x"].attributes == {"a": 1}
    assert sent["below x"].parent == sent["x"].key[1]


@pytest.mark.parametrize("compression", ["gzip", "none"])
def test_every_span_arrives_over_grpc_as_it_is(compression) -> None:
    with GrpcCollector() as collector:
        endpoint = OtlpEndpoint(collector.url, "grpc", {"Api-Key": "k"}, compression=compression)
        destination = OtlpDestination(endpoint, spool=None, threaded=False)
        record(destination, "x")
        destination.deliveries()[0].step()
        assert {span.name for span in collector.spans} == {"x", "below x"}
        assert collector.metadata[0]["api-key"] == "k"
        assert destination.probe() is None
        destination.shutdown(1)


TOO_LARGE = "Received message larger than max (9 vs. 4)"


@pytest.mark.parametrize(
    ("code", "details", "verdict", "reason"),
    [
        (grpc.StatusCode.UNAVAILABLE, "", "retry", "grpc_unavailable"),
        (grpc.StatusCode.INTERNAL, "", "retry", "grpc_internal"),
        (grpc.StatusCode.DEADLINE_EXCEEDED, "", "retry", "timeout"),
        (grpc.StatusCode.RESOURCE_EXHAUSTED, "slow down", "retry", "grpc_resource_exhausted"),
        (grpc.StatusCode.RESOURCE_EXHAUSTED, TOO_LARGE, "too_large", "grpc_resource_exhausted"),
        (grpc.StatusCode.UNAUTHENTICATED, "bad topsecret", "refused", "grpc_unauthenticated"),
        (grpc.StatusCode.INVALID_ARGUMENT, "no", "refused", "grpc_invalid_argument"),
        (grpc.StatusCode.UNIMPLEMENTED, "", "refused", "grpc_unimplemented"),
    ],
)  # fmt: skip
def test_what_a_grpc_status_means(code, details, verdict, reason) -> None:
    with GrpcCollector() as collector:
        sender = OtlpEndpoint(collector.url, "grpc", {"api-key": "topsecret"}).sender()
        collector.next(code, details)
        answer = sender.send(b"", 5)
        assert (answer.verdict, answer.reason) == (verdict, reason)
        assert "topsecret" not in answer.detail
        assert sender.send(b"", 5).verdict == "delivered"
        sender.close()


def test_nobody_listening_over_grpc_is_tried_again() -> None:
    with GrpcCollector() as collector:
        url = collector.url
    sender = OtlpEndpoint(url, "grpc").sender()
    answer = sender.send(b"", 2)
    assert answer.verdict == "retry"
    sender.close()


def test_a_grpc_request_too_large_for_the_receiver_is_split(clock) -> None:
    with GrpcCollector() as collector:
        destination = OtlpDestination(OtlpEndpoint(collector.url, "grpc"), spool=None, threaded=False, clock=clock)
        collector.next(grpc.StatusCode.RESOURCE_EXHAUSTED, TOO_LARGE)
        record(destination, *"abcdef")
        destination.deliveries()[0].step()
        assert len(collector.metadata) == 3
        assert len({span.key for span in collector.spans}) == len(collector.spans) == 12
        destination.shutdown(1)


@pytest.mark.parametrize(("protocol", "module"), [("grpc", "proto.grpc"), ("http/protobuf", "proto.http")])
def test_metrics_and_logs_go_through_opentelemetrys_own_exporters(monkeypatch, protocol, module) -> None:
    monkeypatch.setenv(E + "PROTOCOL", protocol)
    reader, processor = otlp_metrics_reader(), otlp_log_processor()
    try:
        assert module in type(reader._exporter).__module__
        assert module in type(processor._batch_processor._exporter).__module__
    finally:
        processor.shutdown()
        # Its thread would go on, and complain into other tests, as it never gets a provider.
        reader._shutdown_event.set()
        reader._daemon_thread.join()
