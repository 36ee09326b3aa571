from __future__ import annotations

import os
import random
import signal
import sqlite3
import subprocess
import sys
import textwrap
import threading
from contextlib import closing
from pathlib import Path

import pytest

from genledger.destinations.delivery.spool import Pending, Spool

MANY = 10**6


@pytest.fixture
def spool(tmp_path, clock) -> Spool:
    return Spool(tmp_path / "spool", clock=clock)


def drain(spool: Spool, spans: int = 1) -> list[bytes]:
    found = []
    while (kept := spool.claim(spans, MANY)) is not None:
        found.append(kept.data)
        spool.done([kept.row])
    return found


def test_requests_come_back_oldest_first_and_go_when_done(spool, clock) -> None:
    for number in range(5):
        spool.put(b"%d" % number, 3)
        clock.seconds += 1
    assert spool.pending() == Pending(5, 15, 5)
    assert drain(spool) == [b"%d" % number for number in range(5)]
    assert spool.pending() == Pending(0, 0, 0)


def test_a_destination_of_any_checksum_has_room_in_the_file(tmp_path, clock) -> None:
    # This one has the highest upper bits, the other the lowest.
    for destination in ("http://127.0.0.1:2070/v1/traces", ""):
        spool = Spool(tmp_path / "spool", destination, clock=clock)
        spool.put(b"1", 1)
        assert spool.pending() == Pending(1, 1, 1)
        assert drain(spool) == [b"1"]


def test_requests_that_were_never_sent_are_joined_up_to_what_is_sent_at_once(spool) -> None:
    for number in range(10):
        spool.put(b"%d" % number, 3)
    assert drain(spool, spans=9) == [b"012", b"345", b"678", b"9"]
    for number in range(4):
        spool.put(bytes([number]) * 400_000, 1)
    sizes = [len(data) for data in drain(spool, spans=100)]
    assert sizes == [800_000, 800_000]


def test_a_request_that_was_sent_comes_back_as_it_was(spool) -> None:
    for data in (b"1", b"2"):
        spool.put(data, 1)
    kept = spool.claim(2, MANY)
    assert kept is not None
    spool.put(b"3", 1)
    assert spool.claim(1, MANY).data == b"3"
    spool.release(kept.row, kept.spans)
    assert spool.claim(100, MANY) == kept
    spool.put(b"4", 1, alone=True)
    spool.put(b"5", 1)
    assert drain(spool, spans=100) == [b"4", b"5"]


def test_what_a_request_replaces_goes_with_it(spool) -> None:
    rows = [spool.append(b"a"), spool.append(b"b")]
    spool.append(b"c")
    spool.put(b"ab", 2, replacing=rows)
    assert drain(spool) == [b"ab"]
    spool.close()
    assert drain(Spool(spool.path.parent)) == [b"c"]


def test_a_receiver_gets_what_was_kept_for_it_only(tmp_path, clock) -> None:
    one, other = (Spool(tmp_path / "spool", name, clock=clock) for name in ("one", "other"))
    one.put(b"for one", 1)
    other.put(b"for the other", 2)
    assert one.all_pending() == Pending(2, 3, 20)
    assert (drain(one), drain(other)) == ([b"for one"], [b"for the other"])


def test_what_somebody_who_lives_has_is_left_to_it_and_what_it_left_is_taken_over(spool, clock) -> None:
    spool.put(b"waits", 1)
    spool.put(b"under way", 1, held=True)
    spool.append(b"in memory")
    other = Spool(spool.path.parent, clock=clock)
    assert drain(other) == []
    assert other.is_empty()
    assert spool.pending() == Pending(1, 1, 5)
    spool.close()
    assert other.claim(1, MANY, own=True) is None
    assert drain(other) == [b"waits", b"under way", b"in memory"]


def test_only_the_owner_can_read_what_is_kept(spool) -> None:
    spool.put(b"data", 1)
    for path in (spool.path.parent, *spool.path.parent.iterdir()):
        assert path.stat().st_mode & 0o077 == 0


def change(path: Path, statement: str) -> None:
    with closing(sqlite3.connect(path)) as connection, connection:
        connection.execute(statement)


@pytest.mark.parametrize(
    "damage",
    [
        "body = zeroblob(length(body))",
        "body = substr(body, 1, length(body) - 1)",
        "body = x''",
        "size = 1",
        "bytes = bytes - 1",
        "checksum = 0",
    ],
)
def test_a_damaged_request_is_counted_and_never_sent(spool, clock, damage) -> None:
    spool.put(b"damaged" * 100, 7)
    clock.seconds += 1
    spool.put(b"whole", 1)
    change(spool.path, f"UPDATE waiting SET {damage} WHERE spans = 7")
    assert drain(spool, spans=100) == [b"whole"]
    assert spool.lost == {"spool_corrupt": 7}


def test_a_damaged_file_is_put_aside_and_what_was_in_it_is_counted(spool, caplog) -> None:
    spool.put(b"lost", 3)
    spool.append(b"in memory, too")
    content = bytearray(spool.path.with_name("spool.db-wal").read_bytes())
    spool.close()
    again = Spool(spool.path.parent)
    again.put(b"lost, too", 2)
    again.close()
    content = bytearray(spool.path.read_bytes())
    content[1_000:] = random.Random(1).randbytes(len(content) - 1_000)
    spool.path.write_bytes(content)
    assert again.claim(100, MANY) is None
    again.put(b"after", 1)
    assert drain(again, spans=100) == [b"after"]
    assert again.lost == {"spool_corrupt": 2}
    assert len(list(spool.path.parent.glob("*.damaged-*"))) >= 1
    assert sum("damaged" in message for message in caplog.messages) == 1


def test_a_file_that_is_removed_is_made_again_and_what_was_in_it_is_counted(spool, clock) -> None:
    spool.put(b"lost", 3)
    row = spool.append(b"in memory, too")
    for path in list(spool.path.parent.iterdir()):
        path.unlink()
    clock.seconds += 2
    kept = spool.put(b"after", 1)
    assert kept != row
    spool.done([row])  # which is a row of the former file
    assert spool.append(b"in memory again") is not None
    assert drain(spool) == [b"after"]
    assert spool.lost == {"spool_removed": 3}
    spool.close()
    assert drain(Spool(spool.path.parent)) == [b"in memory again"]


def test_the_bound_in_bytes_holds_and_costs_the_oldest(tmp_path, clock) -> None:
    spool = Spool(tmp_path / "spool", max_bytes=100, clock=clock)
    for number in range(100):
        spool.put(number.to_bytes(2, "big") * 3, 2)
        clock.seconds += 1
        assert spool.pending().bytes <= 100
    left = drain(spool)
    assert 10 <= len(left) <= 16
    assert left == [number.to_bytes(2, "big") * 3 for number in range(100 - len(left), 100)]
    assert spool.lost == {"spool_full": 2 * (100 - len(left))}


def test_the_bound_in_bytes_holds_for_durable_calls_and_costs_nothing_that_is_in_memory(tmp_path, clock) -> None:
    spool = Spool(tmp_path / "spool", max_bytes=100, clock=clock)
    spool.put(b"0123456789", 1)
    for _ in range(10):
        spool.append(b"0123456789")
    assert spool.lost == {"spool_full": 1}
    with pytest.raises(OSError, match="no room"):
        spool.append(b"x")
    with pytest.raises(OSError, match="a moment ago"):
        spool.append(b"x")


def test_a_request_larger_than_the_bound_is_refused(tmp_path, clock) -> None:
    with pytest.raises(OSError, match="does not fit"):
        Spool(tmp_path / "spool", max_bytes=1_000, clock=clock).put(random.randbytes(5_000), 1)


def test_the_bound_in_age_holds_when_it_is_asked_for(tmp_path, clock) -> None:
    spool = Spool(tmp_path / "spool", max_age_s=60, clock=clock)
    spool.put(b"old", 3)
    clock.seconds += 40
    spool.put(b"young", 1)
    clock.seconds += 40
    spool.expire()
    assert spool.lost == {"spool_expired": 3}
    assert drain(spool) == [b"young"]


def test_the_file_gives_back_what_it_no_longer_needs(spool) -> None:
    data = [random.randbytes(500_000) for _ in range(40)]
    for each in data:
        spool.put(each, 1)
    assert drain(spool) == data
    assert spool.path.stat().st_size + spool.path.with_name("spool.db-wal").stat().st_size > 20_000_000
    spool.tidy()
    spool.close()
    assert spool.path.stat().st_size < 100_000


def test_a_directory_that_cannot_be_made_is_an_error_only_when_writing(clock) -> None:
    spool = Spool(Path("/proc/genledger-cannot-be-made"), clock=clock)
    assert spool.claim(1, MANY) is None
    assert spool.pending() == Pending(0, 0, 0)
    assert spool.is_empty()
    for write in (lambda: spool.put(b"data", 1), lambda: spool.append(b"data")):
        with pytest.raises(OSError, match="genledger-cannot-be-made"):
            write()


def test_looking_at_an_empty_spool_makes_no_file(spool) -> None:
    assert spool.is_empty()
    assert spool.all_pending() == Pending(0, 0, 0)
    assert not spool.exists()
    assert not spool.path.parent.exists()


@pytest.mark.parametrize("fsync", [False, True])
def test_spans_of_many_threads_are_each_on_disk_once(tmp_path, fsync) -> None:
    spool = Spool(tmp_path / "spool", fsync=fsync)

    def work(number: int) -> None:
        for each in range(50):
            assert spool.append(b"%d %d" % (number, each)) is not None

    threads = [threading.Thread(target=work, args=(number,)) for number in range(8)]
    for thread in threads:
        thread.start()
    while any(thread.is_alive() for thread in threads):
        spool.put(b"another", 1)
        drain(spool)
    spool.close()
    assert sorted(drain(Spool(tmp_path / "spool"))) == sorted(
        b"%d %d" % (number, each) for number in range(8) for each in range(50)
    )


def test_a_span_that_ends_in_the_middle_of_the_spools_work_waits_for_nobody(spool, clock, monkeypatch) -> None:
    spool.append(b"1")
    found = []

    def collect_garbage() -> float:
        found.append(spool.append(b"2"))
        return 1_000.0

    monkeypatch.setattr(clock, "now", collect_garbage)
    spool.put(b"3", 1)
    assert found == [None]


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
def test_a_forked_child_takes_nothing_of_its_parents_and_leaves_what_it_kept_itself(spool) -> None:
    spool.put(b"the parent's", 1)
    spool.append(b"the parent's, in memory")
    child = os.fork()
    if child == 0:
        spool.forget()
        nothing = spool.claim(1, MANY) is None
        spool.append(b"the child's")
        os._exit(not nothing)
    assert os.waitpid(child, 0)[1] == 0
    assert sorted(drain(spool)) == [b"the child's", b"the parent's"]


SHARER = """
import os, sys
from pathlib import Path
from genledger.destinations.delivery.spool import Spool
spool = Spool(Path(sys.argv[1]))
print("ready", flush=True)
sys.stdin.readline()
for number in range(100):
    spool.append(b"%s %d" % (sys.argv[2].encode(), number))
    spool.put(b"%s %d" % (sys.argv[2].encode(), 100 + number), 1)
    kept = spool.claim(1, 1000)
    if kept is not None:
        print(kept.data.decode(), flush=True)
        spool.done([kept.row])
print("end", flush=True)
sys.stdin.readline()
"""


def test_two_processes_sharing_a_spool_send_each_request_once_and_what_the_dead_left(tmp_path) -> None:
    processes = [
        subprocess.Popen(
            [sys.executable, "-c", textwrap.dedent(SHARER), str(tmp_path / "shared"), name],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        for name in ("a", "b")
    ]
    taken = []
    for process in processes:
        assert process.stdout is not None
        assert process.stdin is not None
        assert process.stdout.readline() == "ready\n"
        process.stdin.write("go\n")
        process.stdin.flush()
    for process in processes:
        assert process.stdout is not None
        taken += iter(process.stdout.readline, "end\n")
    assert drain(Spool(tmp_path / "shared")) == []
    for process in processes:
        process.send_signal(signal.SIGKILL)
        process.communicate(timeout=600)
    left = [data.decode() + "\n" for data in drain(Spool(tmp_path / "shared"))]
    assert sorted(taken + left) == sorted(f"{name} {number}\n" for name in "ab" for number in range(200))
