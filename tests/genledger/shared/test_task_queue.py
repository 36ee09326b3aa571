"""Tasks run one after the other, in a thread that is there only while there are any."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
import time

import pytest

from genledger.shared.task_queue import TaskQueue


def fail() -> None:
    raise ValueError("a fault of the work")


@pytest.fixture
def no_new_threads(monkeypatch: pytest.MonkeyPatch) -> None:
    """What Python 3.12 does once the process has begun to end."""

    def refuse(thread: threading.Thread) -> None:
        raise RuntimeError("can't create new thread at interpreter shutdown")

    monkeypatch.setattr(threading.Thread, "start", refuse)


def test_work_that_makes_work_where_there_is_no_thread_is_done_one_after_the_other(no_new_threads: None) -> None:
    tasks, done = TaskQueue("nested"), []

    def outer() -> None:
        tasks.do(lambda: done.append("inner"))
        done.append("outer")

    tasks.do(outer)
    assert done == ["outer", "inner"]


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
@pytest.mark.filterwarnings("ignore:This process.*multi-threaded:DeprecationWarning")
def test_a_forked_child_begins_anew_with_its_own_first_work() -> None:
    tasks, done, release = TaskQueue("forked"), list[str](), threading.Event()
    tasks.do(lambda: release.wait(30))
    tasks.do(lambda: done.append("parent's"))
    child = os.fork()
    if child == 0:
        status = 1
        try:
            tasks.do(lambda: done.append("child's"))
            status = 0 if tasks.flush(30) and done == ["child's"] else 2
        finally:
            os._exit(status)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
    release.set()
    assert tasks.flush(30)
    assert done == ["parent's"]


def test_tasks_are_done_in_their_order_whatever_fails() -> None:
    tasks, done = TaskQueue("tasks"), []
    for number in range(50):
        tasks.do(lambda number=number: done.append(number))  # type: ignore[misc]
        tasks.do(fail)
    assert tasks.flush(30)
    assert done == list(range(50))


def test_waiting_for_tasks_has_an_end() -> None:
    tasks, release, waited = TaskQueue("waiting"), threading.Event(), list[bool]()
    tasks.do(lambda: waited.append(release.wait(30)))
    assert not tasks.flush(0.01)
    release.set()
    assert tasks.flush(30)


def test_work_that_comes_while_the_process_ends_is_done() -> None:
    code = """
import atexit, threading
from genledger.shared.task_queue import TaskQueue
def refuse(thread): raise RuntimeError("can't create new thread at interpreter shutdown")
def at_the_end():
    threading.Thread.start = refuse
    TaskQueue("late").do(lambda: print("done"))
atexit.register(at_the_end)
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=600, check=True)
    assert (done.stdout, done.stderr) == ("done\n", "")


def test_the_thread_ends_when_nothing_is_left_to_do_and_comes_again() -> None:
    tasks, done = TaskQueue("seldom"), list[int]()
    for number in range(3):
        tasks.do(lambda number=number: done.append(number))  # type: ignore[misc]
        assert tasks.flush(30)
        deadline = time.monotonic() + 30
        while any(thread.name == "seldom" for thread in threading.enumerate()):
            assert time.monotonic() < deadline
            time.sleep(0.001)
    assert done == [0, 1, 2]
