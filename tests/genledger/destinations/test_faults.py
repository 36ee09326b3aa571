"""One destination has every kind of trouble for ten minutes, the other none, and no record is lost."""

from __future__ import annotations

import logging
from pathlib import Path

import pytest
from opentelemetry.sdk.trace import TracerProvider

from genledger.destinations.delivery.delivery_stats import Limits
from genledger.destinations.langfuse.destination import LangfuseDestination
from genledger.destinations.otlp import OtlpDestination, OtlpEndpoint
from standins.faults import Close, Echo, Fault, Garbage, HalfAnswer, Hang, Status
from standins.receivers import Collector, Langfuse

CALLS = 60


class Rig:
    """An application with both destinations, in simulated time."""

    def __init__(self, clock, langfuse_server: Langfuse, collector: Collector, spool: Path | None, limits=None) -> None:
        limits = limits or Limits(timeout_s=10)
        options = {"clock": clock, "threaded": False, "spool": spool, "limits": limits}
        self.clock = clock
        self.langfuse = LangfuseDestination(**options)
        self.otlp = OtlpDestination(OtlpEndpoint(collector.url, timeout_s=limits.timeout_s), **options)
        self.provider = TracerProvider(shutdown_on_exit=False)
        self.provider.add_span_processor(self.langfuse.processor)
        self.provider.add_span_processor(self.otlp.processor)
        self.calls: set[tuple[str, str]] = set()

    def call(self, content: str = "hello") -> None:
        attributes = {
            "gen_ai.operation.name": "chat",
            "gen_ai.request.model": "gpt-4o",
            "gen_ai.input.messages": content,
        }
        span = self.provider.get_tracer("app").start_span("chat gpt-4o", attributes=attributes)
        span.end()
        context = span.get_span_context()
        self.calls.add((f"{context.trace_id:032x}", f"{context.span_id:016x}"))

    def run(self, seconds: float) -> None:
        self.clock.run(seconds, self.langfuse, self.otlp)

    def work(self, seconds: float, calls: int) -> None:
        for _ in range(calls):
            self.call()
            self.run(seconds / calls)


@pytest.fixture
def rig(clock, langfuse_server, collector, tmp_path) -> Rig:
    return Rig(clock, langfuse_server, collector, tmp_path)


TROUBLE = {
    "hangs": Hang(),
    "429": Status(status=429),
    "429 with a pause": Status(status=429, headers={"Retry-After": "30"}),
    "429 with a date": Status(status=429, headers={"Retry-After": "Wed, 21 Oct 2015 07:28:00 GMT"}),
    "408": Status(status=408),
    "500": Status(status=500),
    "503": Status(status=503, body=b"<html>try later</html>"),
    "garbage": Garbage(),
    "half an answer": HalfAnswer(),
    "closes mid-body": Close(),
    "takes it, then half an answer": HalfAnswer(keeps=True),
    "takes it, then closes": Close(keeps=True),
}


@pytest.mark.parametrize("fault", TROUBLE.values(), ids=TROUBLE.keys())
def test_ten_minutes_of_trouble_lose_nothing_and_reach_nobody_else(
    fault: Fault, clock, langfuse_server, collector, tmp_path
) -> None:
    calls = 12 if isinstance(fault, Hang) else CALLS
    rig = Rig(clock, langfuse_server, collector, tmp_path, Limits(timeout_s=0.05 if isinstance(fault, Hang) else 2.0))
    langfuse_server.always(fault)
    rig.work(600, calls)
    healthy = collector.counts()
    assert set(healthy) == rig.calls
    assert set(healthy.values()) == {1}

    langfuse_server.always(None)
    rig.run(3600)
    faulty = langfuse_server.counts()
    assert set(faulty) == rig.calls
    if not fault.keeps:
        assert set(faulty.values()) == {1}
    stats = rig.langfuse.stats()
    assert (stats.accepted, stats.sent, stats.dropped) == (calls, calls, {})
    assert stats.retried > 0
    assert (stats.waiting, stats.spool_requests) == (0, 0)


def test_a_backend_that_is_down_for_ten_minutes_gets_everything_when_it_is_back(rig: Rig, langfuse_server, collector):
    rig.work(10, 5)
    langfuse_server.stop()
    rig.work(600, CALLS)
    assert collector.counts() == dict.fromkeys(rig.calls, 1)
    assert len(langfuse_server.counts()) == 5
    assert rig.langfuse.stats().spooled == CALLS
    langfuse_server.start()
    rig.run(120)
    assert langfuse_server.counts() == dict.fromkeys(rig.calls, 1)


def test_a_retried_request_has_the_same_bytes(rig: Rig, langfuse_server) -> None:
    langfuse_server.next(Status(status=503), Close(), Status(status=500))
    rig.call()
    rig.run(60)
    bodies = {request.body for request in langfuse_server.requests}
    assert len(langfuse_server.requests) >= 4
    assert len(bodies) == 1


def test_the_pause_that_a_receiver_asks_for_is_kept(rig: Rig, langfuse_server) -> None:
    langfuse_server.next(Status(status=429, headers={"Retry-After": "100"}))
    rig.call()
    rig.run(95)
    assert len(langfuse_server.requests) == 1
    rig.run(10)
    assert len(langfuse_server.requests) == 2
    assert set(langfuse_server.counts()) == rig.calls


def test_attempts_are_spread_out_while_a_receiver_is_down(rig: Rig, langfuse_server) -> None:
    langfuse_server.always(Status(status=503))
    rig.work(3600, 60)
    # At most one minute, on average half a minute, passes between two attempts: 3600 / 30 = 120.
    assert 60 <= len(langfuse_server.requests) <= 250


def test_one_line_says_that_a_destination_fails_and_one_that_it_is_back(rig: Rig, langfuse_server, caplog) -> None:
    with caplog.at_level(logging.INFO, "genledger"):
        rig.work(10, 2)
        assert caplog.messages == []
        langfuse_server.always(Status(status=503))
        rig.work(600, 30)
        langfuse_server.always(Close())
        rig.work(600, 30)
        langfuse_server.always(None)
        rig.work(600, 30)
    assert len(caplog.messages) == 2
    assert "503" in caplog.messages[0]
    assert "accepts records again" in caplog.messages[1]


@pytest.mark.parametrize("status", [400, 401, 403, 404])
def test_a_final_answer_is_said_loudly_once_and_not_tried_again(rig: Rig, langfuse_server, caplog, status) -> None:
    langfuse_server.always(Status(status=status, body=b'{"message":"no such thing"}'))
    with caplog.at_level(logging.INFO, "genledger"):
        rig.work(60, 10)
    assert len(langfuse_server.requests) == 10
    assert rig.langfuse.stats().dropped == {f"http_{status}": 10}
    (record,) = caplog.records
    assert record.levelno == logging.ERROR
    assert f"{status} " in record.getMessage()
    assert "no such thing" in record.getMessage()


def test_a_refusal_that_repeats_the_credentials_does_not_get_them_into_the_log(
    rig: Rig, langfuse_server, caplog
) -> None:
    langfuse_server.always(Echo())
    rig.work(10, 3)
    shown = caplog.text + repr(rig.langfuse) + rig.langfuse.describe() + str(rig.langfuse.stats())
    shown += str(rig.langfuse.probe())
    authorization = langfuse_server.requests[0].headers["authorization"]
    for secret in (langfuse_server.secret_key, authorization, authorization.split(" ")[1]):
        assert secret not in shown
    assert "401" in shown


def test_what_a_former_process_left_outlives_wrong_credentials(clock, langfuse_server, collector, tmp_path) -> None:
    before = Rig(clock, langfuse_server, collector, tmp_path)
    langfuse_server.stop()
    before.work(10, 5)
    before.langfuse.shutdown(1)
    langfuse_server.start()

    right, langfuse_server.secret_key = langfuse_server.secret_key, "sk-lf-rotated"
    rotated = Rig(clock, langfuse_server, collector, tmp_path)
    rotated.work(60, 3)
    assert langfuse_server.spans() == []

    langfuse_server.secret_key = right
    rotated.work(10, 1)
    assert set(langfuse_server.counts()) >= before.calls


def test_batches_stay_below_the_receivers_limit(clock, langfuse_server, collector, tmp_path) -> None:
    langfuse_server.max_bytes = 50_000
    rig = Rig(clock, langfuse_server, collector, tmp_path, Limits(batch_bytes=50_000, timeout_s=2))
    for _ in range(30):
        rig.call("x" * 10_000)
    rig.run(10)
    assert [request.status for request in langfuse_server.requests] == [200] * len(langfuse_server.requests)
    assert langfuse_server.counts() == dict.fromkeys(rig.calls, 1)


def test_a_batch_that_is_too_large_for_the_receiver_is_split(rig: Rig, langfuse_server) -> None:
    langfuse_server.max_bytes = 30_000
    for _ in range(20):
        rig.call("x" * 10_000)
    rig.run(10)
    assert 413 in [request.status for request in langfuse_server.requests]
    assert langfuse_server.counts() == dict.fromkeys(rig.calls, 1)
    assert rig.langfuse.stats().dropped == {}


def test_a_span_too_large_alone_loses_the_middle_of_its_text_but_not_its_usage(rig: Rig, langfuse_server) -> None:
    langfuse_server.max_bytes = 20_000
    tracer = rig.provider.get_tracer("app")
    attributes = {
        "gen_ai.operation.name": "chat",
        "gen_ai.input.messages": '[{"role":"user","content":"' + "x" * 100_000 + '"}]',
        "gen_ai.usage.input_tokens": 30_000,
        "gen_ai.usage.output_tokens": 5,
    }
    tracer.start_span("chat", attributes=attributes).end()
    rig.run(10)
    (span,) = langfuse_server.spans()
    assert span.attributes["langfuse.observation.usage_details"] == '{"input":30000,"output":5,"total":30005}'
    assert span.attributes["langfuse.observation.input"].startswith('[{"role":"user"')
    assert "characters left out" in span.attributes["langfuse.observation.input"]


def test_a_partial_success_is_counted_and_said_and_not_sent_again(rig: Rig, collector, caplog) -> None:
    collector.response = type(collector.response)()
    collector.response.partial_success.rejected_spans = 2
    collector.response.partial_success.error_message = "attribute too long"
    for _ in range(5):
        rig.call()
    rig.run(60)
    stats = rig.otlp.stats()
    assert (stats.sent, stats.dropped) == (3, {"rejected": 2})
    assert len(collector.requests) == 1
    assert "attribute too long" in caplog.text


def test_langfuses_answer_is_not_read_as_protobuf(rig: Rig, langfuse_server, caplog) -> None:
    # These bytes are valid protobuf and say that 7 spans were rejected.
    langfuse_server.next(Status(status=200, body=b"\n\x02\x08\x07", keeps=True))
    rig.call()
    rig.run(10)
    assert rig.langfuse.stats().dropped == {}
    assert rig.langfuse.stats().sent == 1
    assert caplog.messages == []


def test_without_a_spool_memory_is_the_limit_and_what_goes_is_counted(clock, langfuse_server, collector) -> None:
    limits = Limits(memory_bytes=200_000, batch_spans=5, timeout_s=2)
    rig = Rig(clock, langfuse_server, collector, None, limits)
    langfuse_server.always(Status(status=503))
    for _ in range(60):
        rig.call("x" * 10_000)
        rig.run(1)
    langfuse_server.always(None)
    rig.run(120)
    stats = rig.langfuse.stats()
    assert stats.dropped["memory_full"] > 0
    assert stats.sent + stats.dropped["memory_full"] == 60
    assert len(langfuse_server.counts()) == stats.sent
    assert collector.counts() == dict.fromkeys(rig.calls, 1)


def test_a_full_queue_drops_and_counts(clock, langfuse_server, collector, tmp_path) -> None:
    rig = Rig(clock, langfuse_server, collector, tmp_path, Limits(queue_spans=10, timeout_s=2))
    for _ in range(25):
        rig.call()
    rig.run(10)
    stats = rig.langfuse.stats()
    assert (stats.accepted, stats.sent, stats.dropped) == (10, 10, {"queue_full": 15})


def test_the_spool_is_bounded_and_the_oldest_goes_first(clock, langfuse_server, collector, tmp_path) -> None:
    options = {"clock": clock, "threaded": False, "spool": tmp_path, "limits": Limits(timeout_s=2)}
    destination = LangfuseDestination(spool_bytes=8_000, **options)
    provider = TracerProvider(shutdown_on_exit=False)
    provider.add_span_processor(destination.processor)
    langfuse_server.always(Status(status=503))
    for number in range(60):
        provider.get_tracer("app").start_span(f"chat {number}", attributes={"gen_ai.operation.name": "chat"}).end()
        clock.run(12, destination)
    stats = destination.stats()
    assert stats.spool_bytes <= 8_000
    lost = stats.dropped["spool_full"]
    assert 0 < lost < 60
    langfuse_server.always(None)
    clock.run(300, destination)
    assert {span.name for span in langfuse_server.spans()} == {f"chat {number}" for number in range(lost, 60)}


def test_the_age_of_a_record_counts_only_while_its_receiver_fails(clock, langfuse_server, collector, tmp_path) -> None:
    options = {"clock": clock, "threaded": False, "spool": tmp_path, "limits": Limits(timeout_s=2)}
    destination = LangfuseDestination(spool_age_s=3600, **options)
    provider = TracerProvider(shutdown_on_exit=False)
    provider.add_span_processor(destination.processor)
    langfuse_server.always(Status(status=503))
    provider.get_tracer("app").start_span("old", attributes={"gen_ai.operation.name": "chat"}).end()
    clock.run(30, destination)
    clock.run(7200, destination)
    assert destination.stats().dropped == {"spool_expired": 1}


@pytest.mark.parametrize("jump_days", [-3650, 3650])
def test_a_jump_of_the_clock_loses_nothing(clock, langfuse_server, collector, tmp_path, jump_days) -> None:
    rig = Rig(clock, langfuse_server, collector, tmp_path)
    langfuse_server.stop()
    rig.work(60, 5)
    rig.langfuse.shutdown(1)
    # The next process starts with a clock that is ten years off.
    clock.wall_offset_ns += jump_days * 86_400 * 10**9
    langfuse_server.start()
    after = Rig(clock, langfuse_server, collector, tmp_path)
    after.work(60, 3)
    assert langfuse_server.counts() == dict.fromkeys(rig.calls | after.calls, 1)
