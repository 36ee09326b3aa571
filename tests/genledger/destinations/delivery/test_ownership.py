"""A spool where others can write: what is not this user's alone is neither sent, nor read, nor removed."""

from __future__ import annotations

import logging
import os
import sqlite3
import tracemalloc
import zlib
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import pytest
from opentelemetry.sdk.trace import TracerProvider

from genledger.destinations.delivery.otlp_request import encode
from genledger.destinations.delivery.spool import LARGEST_BATCH, Spool
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


def planted(directory: Path, clock: SimulatedClock) -> None:
    """A request and a span as another process of the destination would have left them."""
    spool = Spool(directory, clock=clock)
    spool.put(encode([]), 1)
    spool.append(encode([]))
    spool.close()


def tried(directory: Path, clock: SimulatedClock) -> bool:
    """Whether anything is found in the spool."""
    spool = Spool(directory, clock=clock)
    found = not spool.is_empty()
    kept = spool.claim(1, 1_000_000)
    assert (kept is not None) is found
    spool.close()
    return found


def refused(directory: Path, clock: SimulatedClock) -> None:
    with pytest.raises(OSError, match="receiver"):
        Spool(directory, clock=clock).put(b"data", 1)
    with pytest.raises(OSError, match="receiver"):
        Spool(directory, clock=clock).append(b"data")


@pytest.mark.parametrize("change", WAYS.values(), ids=WAYS.keys())
def test_a_directory_that_others_can_change_is_left_alone_and_named_once(tmp_path, clock, caplog, change) -> None:
    directory = tmp_path / "receiver"
    planted(directory, clock)
    assert tried(directory, clock)
    before = {file.name: file.read_bytes() for file in directory.iterdir()}
    change(directory)
    with caplog.at_level(logging.WARNING):
        for _ in range(3):
            assert not tried(directory, clock)
            refused(directory, clock)
    assert {file.name: file.read_bytes() for file in directory.iterdir()} == before
    (line,) = caplog.messages
    assert str(directory) in line
    assert "is not used" in line


@pytest.mark.parametrize("change", WAYS.values(), ids=WAYS.keys())
def test_a_file_that_others_can_change_is_left_alone_and_named_once(tmp_path, clock, caplog, change) -> None:
    directory = tmp_path / "receiver"
    planted(directory, clock)
    file = directory / "spool.db"
    change(file)
    before = {each.name: each.read_bytes() for each in directory.iterdir()}
    with caplog.at_level(logging.WARNING):
        for _ in range(3):
            assert not tried(directory, clock)
            refused(directory, clock)
    spool = Spool(directory, max_age_s=-1, clock=clock)
    spool.expire()
    assert spool.lost == {}
    assert {each.name: each.read_bytes() for each in directory.iterdir()} == before
    (line,) = caplog.messages
    assert str(file) in line


@pytest.mark.parametrize("suffix", ["-wal", "-shm", "-lock", "-owners"])
def test_a_planted_file_beside_the_spool_is_not_believed_or_written_to(tmp_path, clock, suffix) -> None:
    directory = tmp_path / "receiver"
    directory.mkdir(0o700)
    victim = tmp_path / "victim"
    victim.write_text("precious")
    (directory / f"spool.db{suffix}").symlink_to(victim)
    refused(directory, clock)
    assert not tried(directory, clock)
    assert victim.read_text() == "precious"


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
@pytest.mark.parametrize("claimed", [100, None])
def test_a_request_larger_than_we_write_costs_no_more_memory_than_one_of_ours(tmp_path, clock, size, claimed) -> None:
    directory = tmp_path / "spool"
    spool = Spool(directory, clock=clock)
    spool.put(b"a bomb" * 100, 3)
    clock.seconds += 1
    spool.put(b"whole", 1)
    deflate = zlib.compressobj(9)
    block = bytes(1_000_000)
    body = b"".join([deflate.compress(block[: size - done]) for done in range(0, size, len(block))])
    body += deflate.flush()
    with closing(sqlite3.connect(spool.path)) as connection, connection:
        connection.execute(
            "UPDATE waiting SET body = ?, bytes = ?, size = ?, checksum = ? WHERE spans = 3",
            (body, len(body), claimed or size, zlib.crc32(body)),
        )
    spool.close()
    del deflate, block, body

    tracemalloc.start()
    other = Spool(directory, clock=clock)
    kept = other.claim(1, 1_000)
    assert tracemalloc.get_traced_memory()[1] < 4 * LARGEST_BATCH
    tracemalloc.stop()
    assert kept is not None
    assert kept.data == b"whole"
    assert other.lost == {"spool_corrupt": 3}


def test_a_request_as_large_as_they_get_comes_back(tmp_path, clock) -> None:
    spool = Spool(tmp_path / "spool", clock=clock)
    data = os.urandom(LARGEST_BATCH)
    spool.put(data, 1)
    kept = spool.claim(1, 1_000)
    assert kept is not None
    assert kept.data == data
    with pytest.raises(OSError, match="larger than any receiver takes"):
        spool.put(data + b"x", 1)
