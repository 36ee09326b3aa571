"""A spool where others can write: what is not this user's alone is neither sent, nor read, nor removed."""

from __future__ import annotations

import logging
import os
import struct
import tracemalloc
import zlib
from collections.abc import Callable
from pathlib import Path

import pytest
from opentelemetry.sdk.trace import TracerProvider

from genledger.destinations.delivery.otlp_request import encode
from genledger.destinations.delivery.spool import LARGEST_BATCH, Spool
from genledger.destinations.delivery.write_ahead_log import Journal
from genledger.destinations.otlp import OtlpDestination, OtlpEndpoint
from standins.receivers import Collector

from ..conftest import SimulatedClock

NOBODY = 65_534


def to_another_user(path: Path) -> None:
    if os.geteuid() != 0:
        pytest.skip("only the administrator can give files away")
    os.chown(path, NOBODY, NOBODY)


def to_a_link(path: Path) -> None:
    elsewhere = (path.parent if path.is_dir() else path.parent.parent) / f"elsewhere-{path.name}"
    path.rename(elsewhere)
    path.symlink_to(elsewhere)


WAYS: dict[str, Callable[[Path], None]] = {
    "another user's": to_another_user,
    "a symbolic link": to_a_link,
    "writable by its group": lambda path: path.chmod(0o770 if path.is_dir() else 0o660),
    "readable by all": lambda path: path.chmod(0o755 if path.is_dir() else 0o644),
}


def planted(directory: Path, clock: SimulatedClock) -> Path:
    """A batch and a journal as another process of the destination would have left them."""
    spool, journal = Spool(directory, clock=clock), Journal(directory, clock=clock)
    spool.put(encode([]), 1)
    journal.append(encode([]))
    journal.close()
    (batch,) = directory.glob("*.batch")
    return batch


def tried(directory: Path, clock: SimulatedClock) -> tuple[bool, bool]:
    """Whether anything is found in the spool, and in the journal."""
    spool, journal = Spool(directory, clock=clock), Journal(directory, clock=clock)
    kept = spool.claim()
    return kept is not None or spool.pending() != (0, 0), bool(list(journal.rescued(1_000)))


@pytest.mark.parametrize("change", WAYS.values(), ids=WAYS.keys())
def test_a_directory_that_others_can_change_is_left_alone_and_named_once(tmp_path, clock, caplog, change) -> None:
    directory = tmp_path / "receiver"
    planted(directory, clock)
    assert tried(directory, clock) == (True, True)
    before = sorted(file.name for file in directory.iterdir())
    change(directory)
    with caplog.at_level(logging.WARNING):
        for _ in range(3):
            assert tried(directory, clock) == (False, False)
            with pytest.raises(OSError, match="receiver"):
                Spool(directory, clock=clock).put(b"data", 1)
            with pytest.raises(OSError, match="receiver"):
                Journal(directory, clock=clock).append(b"data")
    assert sorted(file.name for file in directory.iterdir()) == before
    (line,) = caplog.messages
    assert str(directory) in line
    assert "is not used" in line


@pytest.mark.parametrize("change", WAYS.values(), ids=WAYS.keys())
def test_a_file_that_others_can_change_is_left_alone_and_named_once(tmp_path, clock, caplog, change) -> None:
    directory = tmp_path / "receiver"
    batch = planted(directory, clock)
    (segment,) = directory.glob("*.journal")
    change(batch)
    change(segment)
    before = sorted(file.name for file in directory.iterdir())
    with caplog.at_level(logging.WARNING):
        for _ in range(3):
            clock.seconds += 60
            assert tried(directory, clock) == (False, False)
    spool = Spool(directory, max_age_s=1, clock=clock)
    spool.expire()
    assert spool.lost == {}
    assert sorted(file.name for file in directory.iterdir()) == before
    assert len(caplog.messages) == 2
    assert {path.name in caplog.text for path in (batch, segment)} == {True}


def test_nothing_planted_is_sent_with_our_credentials(collector: Collector, clock, tmp_path) -> None:
    def destination() -> OtlpDestination:
        return OtlpDestination(
            OtlpEndpoint(collector.url, headers={"api-key": "victim"}), spool=tmp_path, clock=clock, threaded=False
        )

    def record(destination: OtlpDestination, name: str) -> None:
        provider = TracerProvider(shutdown_on_exit=False)
        provider.add_span_processor(destination.processor)
        provider.get_tracer("app").start_span(name).end()

    collector.stop()
    before = destination()
    record(before, "planted")
    before.shutdown(1)
    collector.start()

    (directory,) = tmp_path.iterdir()
    directory.chmod(0o777)
    victim = destination()
    record(victim, "ours")
    clock.run(60, victim)
    assert [span.name for span in collector.spans()] == ["ours"]
    assert victim.flush(1)

    directory.chmod(0o700)
    clock.run(60, victim)
    assert sorted(span.name for span in collector.spans()) == ["ours", "planted"]


@pytest.mark.parametrize("size", [LARGEST_BATCH + 1, 1_000_000_000])
def test_a_batch_larger_than_we_write_costs_no_more_memory_than_one_of_ours(tmp_path, clock, size) -> None:
    spool = Spool(tmp_path, clock=clock)
    spool.put(b"whole", 1)
    (whole,) = tmp_path.iterdir()
    deflate = zlib.compressobj(9)
    block = bytes(1_000_000)
    payload = b"".join([deflate.compress(block[: size - done]) for done in range(0, size, len(block))])
    payload += deflate.flush()
    bomb = whole.with_name(whole.name.replace(whole.name[:20], "0" * 19 + "1"))
    bomb.write_bytes(struct.pack("<4sII", b"GLS1", zlib.crc32(payload), 3) + payload)
    bomb.chmod(0o600)
    del deflate, block, payload

    tracemalloc.start()
    other = Spool(tmp_path, clock=clock)
    kept = other.claim()
    assert tracemalloc.get_traced_memory()[1] < 4 * LARGEST_BATCH
    tracemalloc.stop()
    assert kept is not None
    assert kept.data == b"whole"
    assert other.lost == {"spool_corrupt": 1}
    assert sorted(path.suffix for path in tmp_path.iterdir()) == [".batch", ".corrupt"]


def test_a_batch_as_large_as_they_get_comes_back(tmp_path, clock) -> None:
    spool = Spool(tmp_path, clock=clock)
    data = os.urandom(LARGEST_BATCH)
    spool.put(data, 1)
    kept = spool.claim()
    assert kept is not None
    assert kept.data == data
    with pytest.raises(OSError, match="larger than any receiver takes"):
        spool.put(data + b"x", 1)
