from __future__ import annotations

import logging
import os
import sqlite3
import subprocess
import sys
import textwrap
import threading
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor

from genledger.context.attribution import NOBODY
from genledger.destinations.ledger import LedgerDestination, LedgerSpanExporter
from genledger.engine.record import CallRecord, ProductEvent

MakeEntry = Callable[..., CallRecord]
LOGGER = "genledger.destinations.ledger"


class Log(logging.Handler):
    """Keeps the messages of the destination, and can be waited for."""

    def __init__(self) -> None:
        super().__init__()
        self.messages: list[str] = []
        self._came = threading.Condition()

    def emit(self, record: logging.LogRecord) -> None:
        with self._came:
            self.messages.append(record.getMessage())
            self._came.notify_all()

    def wait_for(self, count: int) -> None:
        with self._came:
            assert self._came.wait_for(lambda: len(self.messages) >= count, timeout=600), self.messages


@pytest.fixture
def log() -> Iterator[Log]:
    handler = Log()
    logger = logging.getLogger(LOGGER)
    logger.addHandler(handler)
    yield handler
    logger.removeHandler(handler)


@pytest.fixture
def open_destination(tmp_path: Path) -> Iterator[Callable[..., LedgerDestination]]:
    """Makes destinations that are shut down after the test."""
    made: list[LedgerDestination] = []

    def make(path: Path = tmp_path / "ledger.db", **options: Any) -> LedgerDestination:
        made.append(LedgerDestination(path, max_age_days=None, **options))
        return made[-1]

    yield make
    for destination in made:
        destination.shutdown(timeout=0.1)


class Blocked:
    """A path that cannot be written because a file stands where its directory should be, until it heals."""

    def __init__(self, directory: Path) -> None:
        self._obstacle = directory / "state"
        self._obstacle.write_text("in the way")
        self.path = self._obstacle / "ledger.db"

    def heal(self) -> None:
        self._obstacle.unlink()


@pytest.fixture
def blocked(tmp_path: Path) -> Blocked:
    return Blocked(tmp_path)


def written(path: Path, table: str = "calls", column: str = "started_ns") -> list[Any]:
    with closing(sqlite3.connect(path)) as connection:
        return [row[0] for row in connection.execute(f"SELECT {column} FROM {table} ORDER BY {column}")]


def event(number: int) -> ProductEvent:
    return ProductEvent("draft_accepted", number, NOBODY, None, None, 1.0)


def test_what_was_accepted_is_in_the_file_after_a_flush(
    open_destination: Callable[..., LedgerDestination], make_entry: MakeEntry
) -> None:
    destination = open_destination()
    entries = [make_entry() for _ in range(2_500)]
    for entry in entries:
        destination.accept(entry)
    destination.accept(event(7))
    assert destination.flush(30)
    assert written(destination.ledger.path) == [entry.started_ns for entry in entries]
    assert written(destination.ledger.path, "outcomes", "at_ns") == [7]
    assert destination.stats() == {"accepted": 2_501, "written": 2_501, "waiting": 0, "dropped": {}}


def test_nothing_is_opened_or_started_before_the_first_record(
    open_destination: Callable[..., LedgerDestination],
) -> None:
    before = threading.active_count()
    destination = open_destination()
    assert destination.flush(0.0)
    assert not destination.ledger.path.exists()
    assert threading.active_count() == before


def test_many_threads_may_hand_in_records(
    open_destination: Callable[..., LedgerDestination], make_entry: MakeEntry
) -> None:
    destination = open_destination()
    entries = [[make_entry() for _ in range(500)] for _ in range(8)]

    def hand_in(mine: list[CallRecord]) -> None:
        for entry in mine:
            destination.accept(entry)

    threads = [threading.Thread(target=hand_in, args=(mine,)) for mine in entries]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert destination.flush(30)
    assert written(destination.ledger.path) == sorted(entry.started_ns for mine in entries for entry in mine)


def test_a_file_that_cannot_be_written_loses_nothing_within_the_bound_and_says_so_once(
    open_destination: Callable[..., LedgerDestination], make_entry: MakeEntry, blocked: Blocked, log: Log
) -> None:
    destination = open_destination(blocked.path, max_queue=10)
    first = make_entry()
    destination.accept(first)
    log.wait_for(1)  # the first is in the writer's hands: from here on the queue holds ten
    queued, beyond = [make_entry() for _ in range(10)], [make_entry() for _ in range(5)]
    for entry in (*queued, *beyond):
        destination.accept(entry)
    for _ in range(3):
        assert not destination.flush(0.05)  # each makes the writer try again
    assert destination.stats() == {"accepted": 11, "written": 0, "waiting": 11, "dropped": {"queue_full": 5}}
    blocked.heal()
    assert destination.flush(30)
    assert destination.stats() == {"accepted": 11, "written": 11, "waiting": 0, "dropped": {"queue_full": 5}}
    assert written(blocked.path) == [entry.started_ns for entry in (first, *queued)]
    failed, recovered = log.messages
    assert str(blocked.path) in failed
    assert "up to 10 records" in failed
    assert "works again" in recovered


def test_a_locked_file_is_written_when_the_lock_is_gone(
    open_destination: Callable[..., LedgerDestination], make_entry: MakeEntry, log: Log
) -> None:
    destination = open_destination()
    destination.ledger.open()
    with closing(sqlite3.connect(destination.ledger.path, isolation_level=None)) as other:
        other.execute("BEGIN IMMEDIATE")
        destination.accept(make_entry())
        log.wait_for(1)
        other.execute("COMMIT")
    assert destination.flush(30)
    assert "locked" in log.messages[0]
    assert len(written(destination.ledger.path)) == 1


def test_a_full_disk_is_written_to_when_there_is_room_again(tmp_path: Path) -> None:
    if sys.platform == "win32":
        pytest.skip("file size limits are a matter of Unix")
    done = run(
        """
        import logging, resource, threading
        failed = threading.Event()
        handler = logging.StreamHandler()
        handler.addFilter(lambda record: failed.set() or True)
        logging.getLogger("genledger").addHandler(handler)
        destination.ledger.open()
        unlimited = resource.getrlimit(resource.RLIMIT_FSIZE)
        size = destination.ledger.size_bytes()
        resource.setrlimit(resource.RLIMIT_FSIZE, (size, unlimited[1]))
        for number in range(1, 2001):
            destination.accept(call(number))
        assert failed.wait(60)
        assert destination.stats()["written"] < 2000
        resource.setrlimit(resource.RLIMIT_FSIZE, unlimited)
        assert destination.flush(30)
        assert destination.stats()["written"] == 2000
        """,
        tmp_path / "ledger.db",
    )
    assert done.returncode == 0, done.stderr
    assert written(tmp_path / "ledger.db") == list(range(1, 2_001))
    assert "works again" in done.stderr


def test_a_record_that_does_not_fit_is_dropped_alone_and_nothing_is_written_twice(
    open_destination: Callable[..., LedgerDestination], make_entry: MakeEntry, log: Log
) -> None:
    destination = open_destination()
    good = [make_entry() for _ in range(3)]
    for record in (
        good[0],
        event(1),
        make_entry(attempts=2**70),
        event(2),
        good[1],
        make_entry(stream=object()),
        good[2],
    ):
        destination.accept(record)
    assert destination.flush(30)
    assert written(destination.ledger.path) == [entry.started_ns for entry in good]
    assert written(destination.ledger.path, "outcomes", "at_ns") == [1, 2]
    assert destination.stats() == {"accepted": 7, "written": 5, "waiting": 0, "dropped": {"invalid": 2}}
    assert len(log.messages) == 1


def test_a_shutdown_writes_what_is_left(
    open_destination: Callable[..., LedgerDestination], make_entry: MakeEntry
) -> None:
    destination = open_destination()
    destination.accept(make_entry())
    assert destination.shutdown(30)
    assert len(written(destination.ledger.path)) == 1
    destination.accept(make_entry())
    assert destination.stats() == {"accepted": 1, "written": 1, "waiting": 0, "dropped": {"closed": 1}}
    assert destination.shutdown(0.0)
    assert destination.flush(0.0)


def writer() -> threading.Thread:
    """The thread that was started last to write a ledger."""
    return [thread for thread in threading.enumerate() if thread.name == "genledger-ledger"][-1]


def test_a_shutdown_that_cannot_write_gives_up_at_once_and_says_how_many_are_lost(
    open_destination: Callable[..., LedgerDestination], make_entry: MakeEntry, blocked: Blocked, log: Log
) -> None:
    destination = open_destination(blocked.path)
    for _ in range(1_200):
        destination.accept(make_entry())
    log.wait_for(1)
    thread = writer()
    # No seconds make the path writable: a minute is not waited for.
    ending = threading.Thread(target=destination.shutdown, args=(60.0,))
    ending.start()
    ending.join(30)
    assert not ending.is_alive()
    assert not thread.is_alive()
    assert destination.stats() == {"accepted": 1_200, "written": 0, "waiting": 0, "dropped": {"shutdown": 1_200}}
    assert len(log.messages) == 2
    assert str(blocked.path) in log.messages[1]
    assert "1200 records were lost at exit" in log.messages[1]


def test_a_shutdown_does_not_wait_for_a_lock_beyond_its_deadline(
    open_destination: Callable[..., LedgerDestination], make_entry: MakeEntry, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("genledger.destinations.ledger.BUSY_TIMEOUT_S", 60.0)
    destination = open_destination()
    destination.ledger.open()
    with closing(sqlite3.connect(destination.ledger.path, isolation_level=None)) as other:
        other.execute("BEGIN IMMEDIATE")
        destination.accept(make_entry())
        thread = writer()
        assert not destination.shutdown(0.1)
        assert thread.is_alive()  # SQLite goes on waiting for a minute; the caller does not
        other.execute("COMMIT")
    thread.join(30)
    assert destination.stats()["written"] == 1


def test_check_says_what_is_wrong_and_the_records_are_written_when_it_is_right(
    open_destination: Callable[..., LedgerDestination], make_entry: MakeEntry, blocked: Blocked, log: Log
) -> None:
    assert open_destination().check() is None
    destination = open_destination(blocked.path)
    problem = destination.check()
    assert problem is not None
    assert str(blocked.path) in problem
    destination.accept(make_entry())
    assert not destination.flush(0.05)
    blocked.heal()
    assert destination.flush(30)
    (recovered,) = log.messages  # that it failed was the caller's to say
    assert "works again" in recovered


def fill(destination: LedgerDestination, make_entry: MakeEntry, count: int) -> list[int]:
    entries = [make_entry() for _ in range(count)]
    for entry in entries:
        destination.accept(entry)
    assert destination.flush(30)
    return [entry.started_ns for entry in entries]


def cut(path: Path) -> None:
    os.truncate(path, 100)


def test_a_file_that_is_cut_is_kept_and_what_may_be_lost_with_it_is_counted_and_said_once(
    open_destination: Callable[..., LedgerDestination], make_entry: MakeEntry, log: Log
) -> None:
    destination = open_destination()
    path = destination.ledger.path
    fill(destination, make_entry, 300)
    cut(path)
    after = fill(destination, make_entry, 50) + fill(destination, make_entry, 5)
    assert written(path) == after
    assert destination.stats() == {"accepted": 355, "written": 55, "waiting": 0, "dropped": {"damaged": 300}}
    (kept,) = path.parent.glob(f"{path.name}.damaged-*Z")
    (message,) = log.messages
    assert f"kept as {kept}" in message
    assert "300 records" in message


def test_every_process_counts_what_it_had_in_a_file_that_another_puts_aside(
    open_destination: Callable[..., LedgerDestination], make_entry: MakeEntry, log: Log
) -> None:
    one, other = open_destination(), open_destination()
    fill(one, make_entry, 30)
    fill(other, make_entry, 20)
    cut(one.ledger.path)
    after = fill(one, make_entry, 3) + fill(other, make_entry, 2)
    assert written(one.ledger.path) == after
    assert one.stats()["dropped"] == {"damaged": 30}
    assert other.stats()["dropped"] == {"damaged": 20}
    assert ["30 records" in log.messages[0], "20 records" in log.messages[1]] == [True, True]


def test_a_file_that_is_removed_is_made_anew_and_what_was_in_it_is_counted(
    open_destination: Callable[..., LedgerDestination], make_entry: MakeEntry, log: Log
) -> None:
    destination = open_destination()
    fill(destination, make_entry, 30)
    destination.ledger.path.unlink()
    after = fill(destination, make_entry, 5)
    assert written(destination.ledger.path) == after
    assert destination.stats() == {"accepted": 35, "written": 5, "waiting": 0, "dropped": {"removed": 30}}
    (message,) = log.messages
    assert "30 records" in message


def test_a_file_that_is_moved_loses_nothing(
    open_destination: Callable[..., LedgerDestination], make_entry: MakeEntry, log: Log
) -> None:
    destination = open_destination()
    path = destination.ledger.path
    before = fill(destination, make_entry, 30)
    path.rename(path.with_name("november.db"))
    after = fill(destination, make_entry, 5)
    assert (written(path.with_name("november.db")), written(path)) == (before, after)
    assert destination.stats() == {"accepted": 35, "written": 35, "waiting": 0, "dropped": {}}
    assert log.messages == []


def test_a_cut_after_the_last_write_is_noticed_at_the_shutdown(
    open_destination: Callable[..., LedgerDestination], make_entry: MakeEntry, log: Log
) -> None:
    destination = open_destination()
    fill(destination, make_entry, 30)
    cut(destination.ledger.path)
    destination.shutdown(30)
    assert destination.stats() == {"accepted": 30, "written": 0, "waiting": 0, "dropped": {"damaged": 30}}
    assert len(log.messages) == 1


@pytest.mark.skipif(not hasattr(os, "fork"), reason="this platform has no fork")
def test_after_a_fork_each_process_writes_its_own_records_once(
    open_destination: Callable[..., LedgerDestination], make_entry: MakeEntry
) -> None:
    destination = open_destination()
    before, inside, after = make_entry(), make_entry(), make_entry()
    destination.accept(before)
    child = os.fork()
    if child == 0:
        status = 1
        try:
            clean = destination.stats() == {"accepted": 0, "written": 0, "waiting": 0, "dropped": {}}
            destination.accept(inside)
            done = destination.flush(30)
            status = 0 if clean and done and destination.stats()["written"] == 1 else 2
        finally:
            os._exit(status)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
    destination.accept(after)
    assert destination.flush(30)
    assert destination.stats()["written"] == 2
    assert written(destination.ledger.path) == [entry.started_ns for entry in (before, inside, after)]


PRELUDE = """
import sys
sys.path[:0] = {path!r}
from genledger.context.attribution import NOBODY
from genledger.engine.record import CallRecord
from genledger.destinations.ledger import LedgerDestination
from genledger.pricing.cost import Cost

def call(number):
    return CallRecord(
        number, number, None, "openai", "openai", "chat", None, None, None, number, 0.0, None, False, "success", None,
        1, (), NOBODY, None, False, Cost(0.01, "table"), None, None, None,
    )

destination = LedgerDestination({ledger!r}, max_age_days=None)
"""


def run(script: str, ledger: Path) -> subprocess.CompletedProcess[str]:
    program = PRELUDE.format(path=sys.path, ledger=str(ledger)) + textwrap.dedent(script)
    return subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=600, check=False)


def test_a_script_that_ends_at_once_loses_nothing(tmp_path: Path) -> None:
    done = run("destination.accept(call(1))", tmp_path / "ledger.db")
    assert (done.returncode, done.stderr) == (0, "")
    assert written(tmp_path / "ledger.db") == [1]


@pytest.mark.skipif(not hasattr(os, "fork"), reason="this platform has no fork")
def test_children_of_multiprocessing_lose_nothing_at_their_end(tmp_path: Path) -> None:
    done = run(
        """
        import multiprocessing
        destination.accept(call(1))
        context = multiprocessing.get_context("fork")
        children = [context.Process(target=lambda n=n: destination.accept(call(n))) for n in (2, 3)]
        for child in children:
            child.start()
        for child in children:
            child.join()
        """,
        tmp_path / "ledger.db",
    )
    assert (done.returncode, done.stderr) == (0, "")
    assert written(tmp_path / "ledger.db") == [1, 2, 3]


def test_gevent_may_replace_threads_after_the_destination_was_made(tmp_path: Path) -> None:
    pytest.importorskip("gevent")
    done = run(
        """
        from gevent import monkey, sleep, spawn
        monkey.patch_all()
        others = [spawn(lambda: [sleep(0) for _ in range(50)]) for _ in range(3)]
        for number in range(1, 101):
            destination.accept(call(number))
            sleep(0)
        assert destination.flush(30)
        assert all(other.ready() for other in others)
        """,
        tmp_path / "ledger.db",
    )
    assert (done.returncode, done.stderr) == (0, "")
    assert written(tmp_path / "ledger.db") == list(range(1, 101))


def test_the_exporter_writes_calls_and_steps_of_any_distribution(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("GENLEDGER_LEDGER", str(tmp_path / "ledger.db"))
    exporter = LedgerSpanExporter()
    provider = TracerProvider()
    provider.add_span_processor(SimpleSpanProcessor(exporter))
    tracer = provider.get_tracer("test")
    with (
        tracer.start_as_current_span("GET /", attributes={"http.request.method": "GET"}),
        tracer.start_as_current_span("invoke_agent helper", attributes={"gen_ai.operation.name": "invoke_agent"}),
        tracer.start_as_current_span("of the application"),
    ):
        attributes: dict[str, str | int] = {
            "gen_ai.operation.name": "chat",
            "gen_ai.provider.name": "openai",
            "gen_ai.request.model": "gpt-4o-mini",
            "gen_ai.response.model": "gpt-4o-mini-2024-07-18",
            "gen_ai.usage.input_tokens": 10,
            "gen_ai.usage.output_tokens": 5,
        }
        tracer.start_span("chat gpt-4o-mini", attributes=attributes).end()
        cached = {**attributes, "gen_ai.response.model": "of a cache", "genledger.cache.name": "litellm"}
        tracer.start_span("chat gpt-4o-mini", attributes=cached).end()
    assert exporter.force_flush()
    assert written(tmp_path / "ledger.db", column="response_model") == ["gpt-4o-mini-2024-07-18"]
    assert written(tmp_path / "ledger.db", "steps", "name") == ["", "helper"]
    provider.shutdown()


def test_what_a_batch_processor_hands_over_at_the_very_end_is_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    ledger = tmp_path / "ledger.db"
    monkeypatch.setenv("GENLEDGER_LEDGER", str(ledger))
    done = run(
        """
        import threading, time
        from opentelemetry.sdk.trace import TracerProvider
        from opentelemetry.sdk.trace.export import BatchSpanProcessor
        from genledger.destinations.ledger import LedgerSpanExporter
        provider = TracerProvider()
        provider.add_span_processor(BatchSpanProcessor(LedgerSpanExporter(), schedule_delay_millis=500))
        def step(name):
            attributes = {"gen_ai.operation.name": "invoke_agent"}
            provider.get_tracer("app").start_span(name, attributes=attributes).end()
        step("first")
        while not [thread for thread in threading.enumerate() if thread.name == "genledger-ledger"]:
            time.sleep(0.01)
        time.sleep(0.2)
        for number in range(100):
            step(f"last {number}")
        """,
        ledger,
    )
    assert (done.returncode, done.stderr) == (0, "")
    assert len(written(ledger, "steps", "name")) == 101


NO_NEW_THREADS = """
import atexit, threading
def refuse(thread):
    raise RuntimeError("can't create new thread at interpreter shutdown")
def at_the_end(work):
    def run():
        threading.Thread.start = refuse  # as Python 3.12 does once the process has begun to end
        work()
    atexit.register(run)
"""


def test_a_first_record_that_comes_while_the_process_ends_is_written(tmp_path: Path) -> None:
    done = run(NO_NEW_THREADS + "at_the_end(lambda: destination.accept(call(1)))", tmp_path / "ledger.db")
    assert (done.returncode, done.stderr) == (0, "")
    assert written(tmp_path / "ledger.db") == [1]


def test_a_first_export_that_comes_while_the_process_ends_is_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    ledger = tmp_path / "ledger.db"
    monkeypatch.setenv("GENLEDGER_LEDGER", str(ledger))
    done = run(
        NO_NEW_THREADS
        + """
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor
from genledger.destinations.ledger import LedgerSpanExporter
provider = TracerProvider()
provider.add_span_processor(BatchSpanProcessor(LedgerSpanExporter(), schedule_delay_millis=60_000))
for number in range(20):
    attributes = {"gen_ai.operation.name": "invoke_agent"}
    provider.get_tracer("app").start_span(f"step {number}", attributes=attributes).end()
at_the_end(lambda: None)
""",
        ledger,
    )
    assert (done.returncode, done.stderr) == (0, "")
    assert len(written(ledger, "steps", "name")) == 20


def test_where_no_thread_can_be_started_a_file_that_fails_holds_up_nobody(blocked: Blocked) -> None:
    done = run(
        NO_NEW_THREADS
        + """
def work():
    for number in range(5):
        destination.accept(call(number))
    print(destination.shutdown(600.0), destination.stats())
at_the_end(work)
""",
        blocked.path,
    )
    assert done.returncode == 0
    assert done.stdout == "False {'accepted': 5, 'written': 0, 'waiting': 0, 'dropped': {'shutdown': 5}}\n"
    assert "5 records were lost at exit" in done.stderr
