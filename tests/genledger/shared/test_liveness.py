from __future__ import annotations

import os
import signal
from pathlib import Path

import pytest

from genledger.shared.liveness import Liveness


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "living"


def test_one_lives_from_its_beginning_to_its_end(path: Path) -> None:
    one, other = Liveness(path), Liveness(path)
    assert not other.lives(one.token)
    one.begin()
    one.begin()
    assert other.lives(one.token)
    assert not one.lives(other.token)
    one.end()
    one.end()
    assert not other.lives(one.token)


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
def test_another_process_lives_until_it_is_killed_and_does_not_live_on_in_its_children(path: Path) -> None:
    reading, writing = os.pipe()
    child = os.fork()
    if child == 0:
        mine = Liveness(path)
        mine.begin()
        grandchild = os.fork()
        if grandchild == 0:
            os.write(writing, b"%d %d\n" % (mine.token, os.getpid()))
        signal.pause()
    with os.fdopen(reading) as pipe:
        token, grandchild = map(int, pipe.readline().split())
    assert Liveness(path).lives(token)
    os.kill(child, signal.SIGKILL)
    os.waitpid(child, 0)
    assert not Liveness(path).lives(token)
    os.kill(grandchild, signal.SIGKILL)
    os.close(writing)


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
def test_a_child_sees_that_its_parent_lives(path: Path) -> None:
    one = Liveness(path)
    one.begin()
    child = os.fork()
    if child == 0:
        os._exit(not Liveness(path).lives(one.token))
    assert os.waitpid(child, 0)[1] == 0


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
def test_one_lives_on_when_the_file_is_removed_and_it_begins_again(path: Path) -> None:
    one, other = Liveness(path), Liveness(path)
    one.begin()
    other.begin()
    path.unlink()
    other.begin()
    child = os.fork()
    if child == 0:
        os._exit(not (Liveness(path).lives(one.token) and Liveness(path).lives(other.token)))
    assert os.waitpid(child, 0)[1] == 0


def test_where_the_file_cannot_be_made_nobody_is_taken_for_dead() -> None:
    one = Liveness(Path("/proc/genledger-cannot-be-made"))
    with pytest.raises(OSError, match="genledger-cannot-be-made"):
        one.begin()
    assert one.lives(1)
