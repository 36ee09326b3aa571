"""Forks, kills, exits: what happens to records when the process does not simply go on."""

from __future__ import annotations

import json
import subprocess
import sys
import textwrap
import time
from pathlib import Path

import pytest
from opentelemetry.sdk.trace import TracerProvider

from genledger.destinations.delivery.delivery_stats import Limits
from genledger.destinations.langfuse.destination import LangfuseDestination
from genledger.destinations.otlp import OtlpDestination, OtlpEndpoint
from standins.faults import Hang
from standins.grpc_collector import GrpcCollector
from standins.receivers import Collector
from standins.spools import on_disk

APPLICATION = Path(__file__).with_name("application.py")


def run(code: str, *arguments: str, **options) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-c", textwrap.dedent(code), *arguments],
        capture_output=True,
        text=True,
        timeout=600,
        check=False,
        **options,
    )


def deliver_what_is_left(collector: Collector, spool: Path) -> None:
    destination = OtlpDestination(OtlpEndpoint(collector.url), spool=spool, durable=True, limits=Limits(delay_s=0.01))
    assert destination.flush(60)
    destination.shutdown(5)


def kill_fifty(collector: Collector, spool: Path, mode: str, up: bool) -> list[list[str]]:
    """Kill fifty applications at random moments, deliver what they left, and say which calls had returned."""
    if not up:
        collector.stop()
    killed = subprocess.run(
        [sys.executable, APPLICATION, collector.url, str(spool), mode, "50", str(up + 1)],
        capture_output=True,
        text=True,
        timeout=600,
        check=True,
    )
    if not up:
        collector.start()
    deliver_what_is_left(collector, spool)
    children = json.loads(killed.stdout)
    assert len(children) == 50
    delivered = {"".join(key) for key in collector.counts()}
    # At most the one call that had not returned when the process was killed is there beside those that had.
    assert len(delivered - {call for child in children for call in child}) <= 50
    return [[call if call in delivered else "" for call in child] for child in children]


@pytest.mark.parametrize("up", [True, False], ids=["backend up", "backend down"])
def test_with_durable_mode_a_kill_at_any_moment_loses_nothing(collector, tmp_path, up) -> None:
    delivered = kill_fifty(collector, tmp_path, "durable", up)
    assert all(call for child in delivered for call in child)
    assert sum(len(child) for child in delivered) >= 50
    assert on_disk(tmp_path) == 0
    assert list(tmp_path.rglob("*.damaged-*")) == []


@pytest.mark.parametrize("up", [True, False], ids=["backend up", "backend down"])
def test_without_durable_mode_a_kill_loses_at_most_the_end(collector, tmp_path, up) -> None:
    for child in kill_fifty(collector, tmp_path, "fast", up):
        arrived = [bool(call) for call in child]
        assert arrived == sorted(arrived, reverse=True)


FORKING = """
import os, sys
from opentelemetry.sdk.trace import TracerProvider
from genledger.destinations.langfuse.destination import LangfuseDestination
from genledger.destinations.delivery.delivery_stats import Limits
from genledger.destinations.otlp import OtlpDestination
options = dict(spool=sys.argv[1], limits=Limits(delay_s=60), durable=len(sys.argv) > 2)
provider = TracerProvider(shutdown_on_exit=False)
destinations = [LangfuseDestination(**options), OtlpDestination(**options)]
for destination in destinations:
    provider.add_span_processor(destination.processor)
tracer = provider.get_tracer("app")  # here: OpenTelemetry holds a lock of its own inside
def call(name):
    tracer.start_span(name, attributes={"gen_ai.operation.name": "chat"}).end()
call("before")                      # queued in the parent, whose thread runs, when it forks
def child(number):
    call(f"child {number}")
    assert all(destination.flush(60) for destination in destinations)
"""


@pytest.mark.parametrize("durable", [(), ("durable",)], ids=["", "durable"])
def test_a_forked_child_sends_its_own_records_and_not_its_parents(
    collector, langfuse_server, tmp_path, durable
) -> None:
    code = FORKING + textwrap.dedent("""
        children = []
        for number in range(4):
            pid = os.fork()
            if pid == 0:
                child(number)
                os._exit(0)
            children.append(pid)
        assert [os.waitpid(pid, 0)[1] for pid in children] == [0] * 4
        call("after")
    """)
    finished = run(code, str(tmp_path), *durable)
    assert (finished.returncode, finished.stderr) == (0, "")
    expected = sorted(["before", "after", *(f"child {number}" for number in range(4))])
    for server in (collector, langfuse_server):
        assert sorted(span.name for span in server.spans()) == expected


def test_a_forked_child_sends_over_grpc(tmp_path) -> None:
    code = """
        import os, sys
        from opentelemetry.sdk.trace import TracerProvider
        from genledger.destinations.otlp import OtlpDestination, OtlpEndpoint
        destination = OtlpDestination(OtlpEndpoint(sys.argv[1], "grpc"), spool=sys.argv[2])
        provider = TracerProvider(shutdown_on_exit=False)
        provider.add_span_processor(destination.processor)
        tracer = provider.get_tracer("app")
        tracer.start_span("parent").end()
        assert destination.flush(60)
        if os.fork() == 0:
            tracer.start_span("child").end()
            os._exit(not destination.flush(60))
        assert os.wait()[1] == 0
        tracer.start_span("after").end()
        assert destination.flush(60)
    """
    with GrpcCollector() as collector:
        finished = run(code, collector.url, str(tmp_path))
        assert (finished.returncode, finished.stderr) == (0, "")
        assert sorted(span.name for span in collector.spans) == ["after", "child", "parent"]


def test_the_children_of_multiprocessing_deliver_when_they_end(collector, langfuse_server, tmp_path) -> None:
    code = FORKING + textwrap.dedent("""
        import multiprocessing
        context = multiprocessing.get_context("fork")
        children = [context.Process(target=call, args=(f"child {number}",)) for number in range(3)]
        for process in children: process.start()
        for process in children: process.join()
    """)
    finished = run(code, str(tmp_path))
    assert (finished.returncode, finished.stderr) == (0, "")
    expected = sorted(["before", *(f"child {number}" for number in range(3))])
    for server in (collector, langfuse_server):
        assert sorted(span.name for span in server.spans()) == expected


def test_forking_while_other_threads_record_never_blocks_a_child(collector, langfuse_server, tmp_path) -> None:
    code = FORKING + textwrap.dedent("""
        import faulthandler, threading, time, warnings
        warnings.filterwarnings("ignore", "This process")  # which has threads of its own, indeed
        stop = False
        def busy():
            while not stop: call("busy"); time.sleep(0.001)
        threads = [threading.Thread(target=busy, daemon=True) for _ in range(3)]
        for thread in threads: thread.start()
        for number in range(10):
            pid = os.fork()
            if pid == 0:
                faulthandler.dump_traceback_later(60, exit=True)
                child(number)
                os._exit(0)
            assert os.waitpid(pid, 0)[1] == 0, number
        stop = True
        for thread in threads: thread.join()
    """)
    finished = run(code, str(tmp_path))
    assert (finished.returncode, finished.stderr) == (0, "")
    names = {span.name for span in collector.spans()}
    assert {f"child {number}" for number in range(10)} <= names


ENDING = """
import sys
from opentelemetry.sdk.trace import TracerProvider
from genledger.destinations.langfuse.destination import LangfuseDestination
from genledger.destinations.delivery.delivery_stats import Limits
from genledger.destinations.otlp import OtlpDestination
provider = TracerProvider()
for kind in (LangfuseDestination, OtlpDestination):
    provider.add_span_processor(kind(spool=sys.argv[1], limits=Limits(exit_s=float(sys.argv[2]))).processor)
for number in range(50):
    provider.get_tracer("app").start_span(f"call {number}", attributes={"gen_ai.operation.name": "chat"}).end()
"""


def test_a_script_that_ends_at_once_delivers_everything(collector, langfuse_server, tmp_path) -> None:
    finished = run(ENDING, str(tmp_path), "60")
    assert (finished.returncode, finished.stderr) == (0, "")
    for server in (collector, langfuse_server):
        assert len(server.spans()) == 50


def test_a_script_that_fails_delivers_everything(collector, langfuse_server, tmp_path) -> None:
    finished = run(ENDING + "\nraise SystemExit(3)", str(tmp_path), "60")
    assert finished.returncode == 3
    assert len(langfuse_server.spans()) == 50


def test_what_a_batch_processor_hands_over_at_the_very_end_is_delivered(langfuse_server, tmp_path, monkeypatch) -> None:
    code = """
        import threading, time
        from opentelemetry.sdk.trace import TracerProvider
        from opentelemetry.sdk.trace.export import BatchSpanProcessor
        from genledger.destinations.langfuse.exporter import LangfuseSpanExporter
        provider = TracerProvider()
        provider.add_span_processor(BatchSpanProcessor(LangfuseSpanExporter(), schedule_delay_millis=500))
        def call(name):
            provider.get_tracer("app").start_span(name, attributes={"gen_ai.operation.name": "chat"}).end()
        call("first")
        while not [thread for thread in threading.enumerate() if thread.name == "genledger-langfuse"]:
            time.sleep(0.01)
        time.sleep(0.2)
        for number in range(100):
            call(f"last {number}")
    """
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path))
    finished = run(code)
    assert (finished.returncode, finished.stderr) == (0, "")
    assert len(langfuse_server.counts()) == 101


def test_what_is_first_exported_while_the_process_ends_is_delivered(langfuse_server, tmp_path, monkeypatch) -> None:
    code = """
        import atexit, threading
        from opentelemetry.sdk.trace import TracerProvider
        from opentelemetry.sdk.trace.export import BatchSpanProcessor
        from genledger.destinations.langfuse.exporter import LangfuseSpanExporter
        provider = TracerProvider()
        provider.add_span_processor(BatchSpanProcessor(LangfuseSpanExporter(), schedule_delay_millis=60_000))
        for number in range(20):
            attributes = {"gen_ai.operation.name": "chat"}
            provider.get_tracer("app").start_span(f"call {number}", attributes=attributes).end()
        def refuse(thread):
            raise RuntimeError("can't create new thread at interpreter shutdown")
        # As Python 3.12 does once the process has begun to end.
        atexit.register(lambda: setattr(threading.Thread, "start", refuse))
    """
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path))
    finished = run(code)
    assert (finished.returncode, finished.stderr) == (0, "")
    assert len(langfuse_server.counts()) == 20


def test_exit_keeps_its_deadline_when_nobody_answers_and_the_next_process_delivers(
    collector, langfuse_server, tmp_path
) -> None:
    collector.always(Hang())
    langfuse_server.always(Hang())
    process = subprocess.Popen(
        [sys.executable, "-c", ENDING + "\nprint('recorded', flush=True)", str(tmp_path), "1"],
        stdout=subprocess.PIPE,
        text=True,
    )
    assert process.stdout is not None
    assert process.stdout.readline() == "recorded\n"
    # Both destinations hang, and would for as long as their receivers do.
    assert process.wait(60) == 0
    assert collector.spans() == langfuse_server.spans() == []

    collector.always(None)
    langfuse_server.always(None)
    for server in (collector, langfuse_server):
        server.stop()
        server.start()
    finished = run(ENDING, str(tmp_path), "60")
    assert finished.returncode == 0
    deliver_what_is_left(collector, tmp_path)
    assert len({span.key for span in collector.spans()}) == 100


def test_exit_is_at_once_when_nobody_listens(collector, tmp_path) -> None:
    destination = OtlpDestination(OtlpEndpoint(collector.url), spool=tmp_path, limits=Limits(exit_s=120))
    provider = TracerProvider(shutdown_on_exit=False)
    provider.add_span_processor(destination.processor)
    collector.stop()
    provider.get_tracer("app").start_span("call").end()
    started = time.monotonic()
    provider.shutdown()
    assert time.monotonic() - started < 60
    assert destination.stats().spooled == 1


def test_the_application_goes_on_while_a_receiver_hangs(collector, langfuse_server, tmp_path) -> None:
    hanging = OtlpDestination(OtlpEndpoint(collector.url, timeout_s=120), spool=tmp_path, limits=Limits(delay_s=0.001))
    healthy = LangfuseDestination(spool=tmp_path, limits=Limits(delay_s=0.001))
    provider = TracerProvider(shutdown_on_exit=False)
    for destination in (hanging, healthy):
        provider.add_span_processor(destination.processor)
    collector.always(Hang())
    tracer = provider.get_tracer("app")
    tracer.start_span("first", attributes={"gen_ai.operation.name": "chat"}).end()
    assert collector.wait_for(lambda: len(collector.requests) == 1)
    for _ in range(2_000):
        tracer.start_span("chat", attributes={"gen_ai.operation.name": "chat"}).end()
    assert healthy.flush(60)
    # All of that while the other destination's first request was still waiting for its answer.
    assert len(collector.requests) == 1
    assert len(langfuse_server.counts()) == 2_001
    assert hanging.stats().accepted == 2_001
    healthy.shutdown(5)
    hanging.shutdown(5)
    assert hanging.stats().spooled == 2_001


def test_flushing_never_takes_longer_than_it_may(collector, tmp_path) -> None:
    destination = OtlpDestination(OtlpEndpoint(collector.url, timeout_s=120), spool=tmp_path)
    provider = TracerProvider(shutdown_on_exit=False)
    provider.add_span_processor(destination.processor)
    collector.always(Hang())
    provider.get_tracer("app").start_span("call").end()
    started = time.monotonic()
    assert destination.flush(0.2) is False
    assert destination.shutdown(0.2) is False
    assert time.monotonic() - started < 60
    assert destination.stats().spooled == 1


def test_records_after_the_shutdown_are_counted_not_kept(collector, tmp_path) -> None:
    destination = OtlpDestination(OtlpEndpoint(collector.url), spool=tmp_path)
    provider = TracerProvider(shutdown_on_exit=False)
    provider.add_span_processor(destination.processor)
    provider.shutdown()
    provider.get_tracer("app").start_span("late").end()
    assert destination.stats().dropped == {"shutdown": 1}
    assert collector.requests == []


DISK = """
import json, os, resource, signal, sys
from opentelemetry.sdk.trace import TracerProvider
from genledger.destinations.delivery.delivery_stats import Limits
from genledger.destinations.otlp import OtlpDestination, OtlpEndpoint
broken, healthy = (
    OtlpDestination(OtlpEndpoint(url), name=name, spool=sys.argv[1], durable=True, threaded=False,
                    limits=Limits(delay_s=0.01))
    for name, url in (("broken", sys.argv[2]), ("healthy", sys.argv[3]))
)
provider = TracerProvider(shutdown_on_exit=False)
for destination in (broken, healthy):
    provider.add_span_processor(destination.processor)
if sys.argv[4] == "full":
    signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (300, 300))
for number in range(40):
    provider.get_tracer("app").start_span(f"call {number}").end()
    for destination in (broken, healthy):
        destination.deliveries()[0].step()
print("recorded", flush=True)
sys.stdin.readline()
for destination in (broken, healthy):
    destination.deliveries()[0]._outbox.hurry()
    destination.deliveries()[0].step()
print(json.dumps([broken.stats().dropped, broken.stats().sent]))
"""


@pytest.mark.parametrize("disk", ["full", "read-only"])
def test_a_disk_that_takes_nothing_costs_one_line_and_no_record_as_long_as_the_process_lives(
    collector, tmp_path, disk
) -> None:
    with Collector() as broken:
        broken.stop()
        spool = "/proc/genledger-read-only" if disk == "read-only" else str(tmp_path)
        process = subprocess.Popen(
            [sys.executable, "-c", DISK, spool, broken.url, collector.url, disk],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        assert process.stdout is not None
        assert process.stdout.readline() == "recorded\n"
        broken.start()
        out, errors = process.communicate("go\n", timeout=600)
        assert process.returncode == 0, errors
        assert json.loads(out) == [{}, 40]
        assert len(broken.spans()) == len(broken.counts()) == 40
        assert len(collector.spans()) == len(collector.counts()) == 40
        assert sum("cannot keep records on disk" in line for line in errors.splitlines()) <= 2


def test_under_gevent_records_are_delivered(collector, langfuse_server, tmp_path) -> None:
    pytest.importorskip("gevent")
    code = "from gevent import monkey; monkey.patch_all()\n" + ENDING + "\nprovider.force_flush()"
    finished = run(code, str(tmp_path), "60")
    assert (finished.returncode, finished.stderr) == (0, "")
    assert len(langfuse_server.spans()) == 50
