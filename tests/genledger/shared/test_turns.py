from __future__ import annotations

import os
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from genledger.shared.turns import CAN_LOCK, Turns

pytestmark = pytest.mark.skipif(not CAN_LOCK, reason="this platform cannot lock files")

LONG = 60.0


def until(condition: Callable[[], object]) -> None:
    deadline = time.monotonic() + LONG
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.001)


def test_one_at_a_time_has_its_turn(tmp_path: Path) -> None:
    inside, most = 0, 0

    def work() -> None:
        nonlocal inside, most
        turns = Turns(tmp_path / "lock")
        for _ in range(50):
            with turns.take(LONG):
                inside += 1
                most = max(most, inside)
                time.sleep(0)
                inside -= 1

    threads = [threading.Thread(target=work) for _ in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert most == 1


def test_who_came_first_is_served_first(tmp_path: Path) -> None:
    path = tmp_path / "lock"
    for _ in range(30):
        served: list[str] = []

        def ask(name: str, served: list[str] = served) -> None:
            with Turns(path).take(LONG):
                served.append(name)

        with Turns(path).take(LONG):
            nobody = path.read_bytes()
            first = threading.Thread(target=ask, args=("first",))
            first.start()
            until(lambda nobody=nobody: path.read_bytes() != nobody)  # the first has put its name down
            second = threading.Thread(target=ask, args=("second",))
            second.start()
        first.join()
        second.join()
        assert served == ["first", "second"]


def test_who_gave_up_keeps_its_place(tmp_path: Path) -> None:
    path = tmp_path / "lock"
    patient = Turns(path)
    served: list[str] = []
    with Turns(path).take(LONG):
        with pytest.raises(TimeoutError, match="locked"), patient.take(0.0):
            pass
        nobody = path.read_bytes()

        def ask(turns: Turns, name: str) -> None:
            with turns.take(LONG):
                served.append(name)

        second = threading.Thread(target=ask, args=(Turns(path), "second"))
        second.start()
        until(lambda: path.read_bytes() != nobody)
        came = path.read_bytes()[:8]
        first = threading.Thread(target=ask, args=(patient, "first"))
        first.start()
        # It takes the second one's place in the file.
        until(lambda: path.read_bytes()[:8] != came)
    first.join()
    second.join()
    assert served == ["first", "second"]


HOLDER = """
import sys, time
from pathlib import Path
from genledger.shared.turns import Turns
with Turns(Path(sys.argv[1])).take(60):
    print("mine", flush=True)
    sys.stdin.readline()
"""


def test_the_turn_of_a_process_that_dies_ends(tmp_path: Path) -> None:
    holder = subprocess.Popen(
        [sys.executable, "-c", HOLDER, str(tmp_path / "lock")], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    )
    assert holder.stdin is not None and holder.stdout is not None  # noqa: PT018
    holder.stdout.readline()
    turns = Turns(tmp_path / "lock")
    with pytest.raises(TimeoutError), turns.take(0.0):
        pass
    holder.kill()
    with turns.take(LONG):
        pass
    holder.communicate()


def test_one_who_dies_while_it_waits_holds_up_nobody(tmp_path: Path) -> None:
    path = tmp_path / "lock"
    with Turns(path).take(LONG):
        nobody = path.read_bytes()
        waiter = subprocess.Popen([sys.executable, "-c", HOLDER, str(path)], stdout=subprocess.PIPE)
        until(lambda: path.read_bytes() != nobody)
        waiter.kill()
        waiter.communicate()
    with Turns(path).take(LONG):
        pass


@pytest.mark.skipif(not hasattr(os, "fork"), reason="this platform has no fork")
def test_a_fork_within_a_turn_does_not_prolong_it(tmp_path: Path) -> None:
    ready, go_on = os.pipe()
    with Turns(tmp_path / "lock").take(LONG):
        child = os.fork()
        if child == 0:
            os.read(ready, 1)
            os._exit(0)
    with Turns(tmp_path / "lock").take(LONG):  # the child is alive, and has no part in the lock
        pass
    os.write(go_on, b".")
    os.waitpid(child, 0)
    os.close(ready)
    os.close(go_on)


def test_a_note_is_for_the_next_turn(tmp_path: Path) -> None:
    with Turns(tmp_path / "lock").take(LONG) as turn:
        assert turn.read_note(5) == b""
        turn.leave_note(b"hello")
    with Turns(tmp_path / "lock").take(LONG) as turn:
        assert turn.read_note(5) == b"hello"


def test_a_lock_file_that_is_removed_is_made_again(tmp_path: Path) -> None:
    path = tmp_path / "lock"
    taken = threading.Event()

    def ask() -> None:
        with Turns(path).take(LONG):
            taken.set()

    with Turns(path).take(LONG):
        nobody = path.read_bytes()
        waiter = threading.Thread(target=ask)
        waiter.start()
        until(lambda: path.read_bytes() != nobody)
        path.unlink()
    waiter.join()
    assert taken.is_set()
    assert path.exists()


def test_where_there_can_be_no_lock_everyone_has_a_turn(tmp_path: Path) -> None:
    with Turns(tmp_path / "missing" / "lock").take(0.0) as turn:
        turn.leave_note(b"hello")
        assert turn.read_note(5) == b""
