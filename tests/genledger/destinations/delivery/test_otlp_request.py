from __future__ import annotations

from hypothesis import given, settings
from hypothesis import strategies as st
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import ReadableSpan
from opentelemetry.sdk.util.instrumentation import InstrumentationScope
from opentelemetry.trace import SpanContext, TraceFlags

from genledger.destinations.delivery.otlp_request import encode, halve, pack, spans_in, trim


def make_span(number: int, size: int = 10, scope: str = "a", service: str = "s") -> ReadableSpan:
    return ReadableSpan(
        f"span {number}",
        SpanContext(number + 1, number + 1, False, TraceFlags(1)),
        resource=Resource({"service.name": service}),
        attributes={"text": "x" * size, "n": number},
        instrumentation_scope=InstrumentationScope(scope, "1"),
        start_time=1,
        end_time=2,
    )


def contents(data: bytes) -> dict[str, tuple[str, str]]:
    request = ExportTraceServiceRequest.FromString(data)
    return {
        span.name: (scope.scope.name, resource.resource.attributes[0].value.string_value)
        for resource in request.resource_spans
        for scope in resource.scope_spans
        for span in scope.spans
    }


spans = st.lists(
    st.tuples(st.integers(0, 3000), st.sampled_from("ab"), st.sampled_from("st")), min_size=1, max_size=25
).map(lambda drawn: [make_span(n, size, scope, service) for n, (size, scope, service) in enumerate(drawn)])


@settings(max_examples=50, deadline=None)
@given(spans, st.integers(4_000, 20_000))
def test_packing_keeps_every_span_with_its_scope_and_resource_below_the_limit(spans, limit) -> None:
    packed = list(pack(spans, limit))
    assert all(len(data) <= limit for data, _ in packed)
    assert sum(count for _, count in packed) == len(spans)
    together: dict[str, tuple[str, str]] = {}
    for data, count in packed:
        assert len(contents(data)) == count
        together |= contents(data)
    assert together == contents(encode(spans))


@settings(max_examples=50, deadline=None)
@given(spans)
def test_halves_hold_what_the_whole_held(spans) -> None:
    data = encode(spans)
    halves = halve(data)
    if len(spans) == 1:
        assert halves is None
        return
    assert halves is not None
    (first, first_count), (second, second_count) = halves
    assert abs(first_count - second_count) <= 1
    assert contents(first) | contents(second) == contents(data)
    assert len(contents(first)) + len(contents(second)) == len(spans)


def test_trimming_keeps_head_and_tail_of_the_longest_value_only() -> None:
    span = make_span(1)
    span._attributes = {"long": "a" * 50_000 + "z" * 50_000, "short": "kept as it is", "tokens": 7}
    trimmed = trim(encode([span]), 10_000)
    assert trimmed is not None
    assert len(trimmed) <= 10_000
    (sent,) = spans_in(ExportTraceServiceRequest.FromString(trimmed))
    values = {attribute.key: attribute.value for attribute in sent.attributes}
    assert values["long"].string_value.startswith("aaaa")
    assert values["long"].string_value.endswith("zzzz")
    assert "97952 characters left out" in values["long"].string_value
    assert values["short"].string_value == "kept as it is"
    assert values["tokens"].int_value == 7


def test_a_request_with_nothing_to_shorten_cannot_be_trimmed() -> None:
    assert trim(encode([make_span(1)]), 10) is None


def test_encoding_the_same_spans_gives_the_same_bytes() -> None:
    made = [make_span(number) for number in range(5)]
    assert encode(made) == encode(made)
