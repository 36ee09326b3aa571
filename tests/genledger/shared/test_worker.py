from __future__ import annotations

import gc
import threading
from collections.abc import Callable

import pytest

from genledger.shared.worker import Worker


def fail() -> None:
    raise ValueError("a fault of the work")


def threads(name: str) -> list[threading.Thread]:
    return [thread for thread in threading.enumerate() if thread.name == name]


@pytest.fixture
def no_new_threads(monkeypatch: pytest.MonkeyPatch) -> None:
    """What Python 3.12 does once the process has begun to end."""

    def refuse(thread: threading.Thread) -> None:
        raise RuntimeError("can't create new thread at interpreter shutdown")

    monkeypatch.setattr(threading.Thread, "start", refuse)


def test_there_is_no_thread_before_there_is_work() -> None:
    worker = Worker("untouched", lambda: None)
    assert not worker.has_thread
    assert threads("untouched") == []
    assert worker.join(0.0)


def test_what_comes_within_the_delay_is_one_round() -> None:
    items: list[int] = []
    rounds: list[int] = []
    worker = Worker("joining", lambda: rounds.append(len(items)), delay_s=60.0)
    for number in range(100):
        items.append(number)
        worker.rouse()
    assert worker.flush(lambda: bool(rounds), 30)
    assert rounds == [100]
    worker.stop()
    assert worker.join(30)


def test_what_comes_during_a_round_has_another_one() -> None:
    begun, go_on, rounds = threading.Event(), threading.Event(), []

    def work() -> None:
        rounds.append(1)
        begun.set()
        assert go_on.wait(30)

    worker = Worker("busy", work)
    worker.rouse()
    assert begun.wait(30)
    worker.rouse()
    go_on.set()
    assert worker.flush(lambda: len(rounds) > 1, 30)


def test_a_round_that_asks_for_another_one_gets_it() -> None:
    rounds: list[int] = []
    third = threading.Event()

    def work() -> float:
        rounds.append(1)
        if len(rounds) == 3:
            third.set()
        return 0.001 if len(rounds) < 3 else 60.0

    worker = Worker("again", work)
    worker.rouse()
    assert third.wait(30)


def test_the_pause_that_a_round_asks_for_is_shortened_by_those_who_hurry_alone() -> None:
    rounds: list[int] = []

    def work() -> float:
        rounds.append(1)
        return 3_600.0

    worker = Worker("pausing", work)
    assert worker.flush(lambda: len(rounds) == 1, 30)
    for _ in range(100):
        worker.rouse()
    assert worker.flush(lambda: len(rounds) >= 2, 30)
    assert len(rounds) < 10


def test_a_flush_has_rounds_until_it_is_done_and_an_end() -> None:
    rounds: list[int] = []
    worker = Worker("flushed", lambda: rounds.append(1))
    assert worker.flush(lambda: len(rounds) >= 3, 30)
    assert not worker.flush(lambda: False, 0.01)


def test_the_last_round_is_the_one_after_the_stop() -> None:
    stopped, last = threading.Event(), []
    worker = Worker("stopping", lambda: last.append(stopped.is_set()))
    worker.rouse()
    stopped.set()
    worker.stop()
    assert worker.join(30)
    assert last[-1] is True
    assert threads("stopping") == []


def test_a_stop_without_a_thread_has_its_last_round_here() -> None:
    where: list[threading.Thread] = []
    worker = Worker("never", lambda: where.append(threading.current_thread()))
    worker.stop()
    assert where == [threading.current_thread()]
    assert worker.join(0.0)


def test_where_no_thread_can_be_started_the_caller_works(no_new_threads: None) -> None:
    where: list[threading.Thread] = []
    worker = Worker("refused", lambda: where.append(threading.current_thread()))
    worker.rouse()
    worker.rouse()
    assert worker.flush(lambda: len(where) == 3, 30)
    worker.stop()
    assert where == [threading.current_thread()] * 4


def test_work_that_may_take_long_is_left_for_the_stop_where_no_thread_can_be_started(no_new_threads: None) -> None:
    rounds: list[int] = []
    worker = Worker("slow", lambda: rounds.append(1), in_caller=False)
    worker.rouse()
    worker.hurry()
    assert rounds == []
    worker.stop()
    assert rounds == [1]


def test_a_garbage_collection_in_the_middle_of_waking_may_wake() -> None:
    rounds: list[int] = []
    worker = Worker("collected", lambda: rounds.append(1))

    class Waking:
        def __init__(self) -> None:
            self.itself = self

        def __del__(self) -> None:
            worker.rouse()
            worker.hurry()

    before = gc.get_threshold()
    gc.set_threshold(1)
    try:
        for _ in range(200):
            Waking()
            worker.rouse()
            worker.hurry()
            worker.flush(lambda: True, 1)
    finally:
        gc.set_threshold(*before)
    count = len(rounds)
    assert worker.flush(lambda: len(rounds) > count, 30)


def test_a_fault_of_the_work_does_not_end_it() -> None:
    rounds: list[Callable[[], None]] = [fail]
    done = threading.Event()

    def work() -> None:
        if rounds:
            rounds.pop()()
        done.set()

    worker = Worker("faulty", work)
    worker.rouse()
    assert worker.flush(done.is_set, 30)
