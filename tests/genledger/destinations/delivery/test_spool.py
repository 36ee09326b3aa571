from __future__ import annotations

import os
import subprocess
import sys
import textwrap
import time
from pathlib import Path

import pytest

from genledger.destinations.delivery.spool import Spool


@pytest.fixture
def spool(tmp_path, clock) -> Spool:
    return Spool(tmp_path / "spool", clock=clock)


def drain(spool: Spool) -> list[bytes]:
    found = []
    while (kept := spool.claim()) is not None:
        found.append(kept.data)
        spool.done(kept)
    return found


def test_batches_come_back_oldest_first_and_go_when_done(spool, clock) -> None:
    for number in range(5):
        spool.put(b"batch %d" % number, 3)
        clock.seconds += 1
    assert spool.pending()[0] == 5
    assert drain(spool) == [b"batch %d" % number for number in range(5)]
    assert spool.pending() == (0, 0)
    assert list(spool.directory.iterdir()) == []


def test_a_released_batch_can_be_claimed_again(spool) -> None:
    spool.put(b"data", 1)
    kept = spool.claim()
    assert kept is not None
    assert spool.claim() is None
    spool.release(kept)
    assert drain(spool) == [b"data"]


def test_another_process_finds_what_is_left_but_not_what_is_being_sent(spool, clock) -> None:
    spool.put(b"first", 1)
    clock.seconds += 1
    spool.put(b"second", 1)
    kept = spool.claim()
    assert kept is not None
    other = Spool(spool.directory, clock=clock)
    assert drain(other) == [b"second"]
    spool.done(kept)


def test_files_are_for_the_owner_only(spool) -> None:
    spool.put(b"data", 1)
    (file,) = spool.directory.iterdir()
    assert file.stat().st_mode & 0o077 == 0
    assert spool.directory.stat().st_mode & 0o077 == 0


@pytest.mark.parametrize("damage", ["flip", "cut", "empty", "header", "junk"])
def test_a_damaged_file_is_set_aside_and_counted_and_stops_nothing(spool, clock, damage) -> None:
    spool.put(b"damaged" * 100, 7)
    clock.seconds += 1
    spool.put(b"whole", 1)
    file = min(spool.directory.iterdir())
    content = bytearray(file.read_bytes())
    if damage == "flip":
        content[-1] ^= 0xFF
    elif damage == "cut":
        content = content[: len(content) // 2]
    elif damage == "empty":
        content = bytearray()
    elif damage == "header":
        content[0] ^= 0xFF
    else:
        content = bytearray(b"\x00" * 10_000)
    file.write_bytes(bytes(content))
    assert drain(spool) == [b"whole"]
    assert spool.lost == {"spool_corrupt": 7}
    assert [path.suffix for path in spool.directory.iterdir()] == [".corrupt"]


def test_files_that_are_not_ours_are_left_alone(spool) -> None:
    spool.put(b"data", 1)
    for name in ("README", "x.batch", "1-2-3.batch", "a-b-c-d-e.batch"):
        (spool.directory / name).write_text("not ours")
    assert drain(spool) == [b"data"]
    assert len(list(spool.directory.iterdir())) == 4
    assert spool.lost == {}


def test_what_a_killed_process_did_not_finish_writing_goes_after_an_hour(spool) -> None:
    spool.put(b"data", 1)
    for name, age in (("old.tmp", 3700), ("old.new", 3700), ("young.tmp", 60)):
        file = spool.directory / name
        file.write_bytes(b"half")
        os.utime(file, (time.time() - age, time.time() - age))
    other = Spool(spool.directory)
    assert drain(other) == [b"data"]
    assert [file.name for file in spool.directory.iterdir()] == ["young.tmp"]


def test_the_bound_in_bytes_holds_and_costs_the_oldest(tmp_path, clock) -> None:
    spool = Spool(tmp_path, max_bytes=2_000, clock=clock)
    for number in range(100):
        spool.put(number.to_bytes(2, "big") * 3, 2)
        clock.seconds += 1
        assert sum(file.stat().st_size for file in tmp_path.iterdir()) <= 2_000
    left = drain(spool)
    assert left == [number.to_bytes(2, "big") * 3 for number in range(100 - len(left), 100)]
    assert spool.lost["spool_full"] == 2 * (100 - len(left))


def test_a_batch_larger_than_the_bound_is_refused(tmp_path, clock) -> None:
    import random

    with pytest.raises(OSError, match="does not fit"):
        Spool(tmp_path, max_bytes=1_000, clock=clock).put(random.randbytes(5_000), 1)


def test_a_directory_that_cannot_be_made_is_an_error_only_when_writing(clock) -> None:
    spool = Spool(Path("/proc/genledger-cannot-be-made"), clock=clock)
    assert spool.claim() is None
    assert spool.pending() == (0, 0)
    with pytest.raises(OSError, match="genledger-cannot-be-made"):
        spool.put(b"data", 1)


SHARER = """
import sys
from pathlib import Path
from genledger.destinations.delivery.spool import Spool
spool = Spool(Path(sys.argv[1]))
print("ready", flush=True)
sys.stdin.readline()
mine = []
for number in range(200):
    spool.put(b"%s %d" % (sys.argv[2].encode(), number), 1)
    kept = spool.claim()
    if kept is not None:
        mine.append(kept.data.decode())
        spool.done(kept)
while (kept := spool.claim()) is not None:
    mine.append(kept.data.decode())
    spool.done(kept)
print("\\n".join(mine))
"""


def test_two_processes_sharing_a_spool_take_each_batch_once(tmp_path) -> None:
    processes = [
        subprocess.Popen(
            [sys.executable, "-c", textwrap.dedent(SHARER), str(tmp_path / "shared"), name],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        for name in ("a", "b")
    ]
    for process in processes:
        assert process.stdout is not None
        assert process.stdout.readline() == "ready\n"
    for process in processes:
        assert process.stdin is not None
        process.stdin.write("go\n")
        process.stdin.flush()
    taken = [line for process in processes for line in process.communicate(timeout=30)[0].splitlines()]
    left = [data.decode() for data in drain(Spool(tmp_path / "shared"))]
    assert sorted(taken + left) == sorted(f"{name} {number}" for name in "ab" for number in range(200))
