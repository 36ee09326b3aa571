from __future__ import annotations

import os
import random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

from genledger.destinations.delivery import write_ahead_log as journal_module
from genledger.destinations.delivery.otlp_request import spans_in
from genledger.destinations.delivery.write_ahead_log import Journal


def record(number: int) -> bytes:
    request = ExportTraceServiceRequest()
    request.resource_spans.add().scope_spans.add().spans.add(name=str(number))
    return request.SerializeToString()


def rescue(directory, clock, limit: int = 100_000) -> list[int]:
    clock.seconds += 60
    found = []
    for data, count, done in Journal(directory, clock=clock).rescued(limit):
        names = [int(span.name) for span in spans_in(ExportTraceServiceRequest.FromString(data))]
        assert len(names) == count
        found += names
        done()
    return found


def die(journal: Journal) -> None:
    """What the system does to the files of a process that is killed."""
    for segment in journal._segments:
        os.close(segment.descriptor)
    journal._segments.clear()


def test_what_a_dead_process_had_not_settled_is_found(tmp_path, clock) -> None:
    journal = Journal(tmp_path, clock=clock)
    tickets = [journal.append(record(number)) for number in range(10)]
    journal.settle(tickets[2:5])
    journal.settle([tickets[8]])
    assert rescue(tmp_path, clock) == []
    die(journal)
    assert sorted(rescue(tmp_path, clock)) == [0, 1, 5, 6, 7, 9]
    assert list(tmp_path.iterdir()) == []


@settings(max_examples=60, deadline=None)
@given(st.lists(st.integers(0, 30), unique=True), st.integers(100, 5_000))
def test_any_settled_records_are_not_found_and_all_others_are(settled, limit) -> None:
    import tempfile
    from pathlib import Path

    from genledger.destinations.delivery.time_source import Clock

    class Later(Clock):
        seconds = 0.0

        def now(self) -> float:
            return self.seconds

    with tempfile.TemporaryDirectory() as directory:
        clock = Later()
        journal = Journal(Path(directory), clock=clock)
        tickets = [journal.append(record(number)) for number in range(31)]
        order = list(settled)
        random.Random(len(order)).shuffle(order)
        while order:
            journal.settle([tickets[number] for number in order[:4]])
            del order[:4]
        die(journal)
        assert sorted(rescue(Path(directory), clock, limit)) == sorted(set(range(31)) - set(settled))


def test_the_file_does_not_grow_while_everything_is_delivered(tmp_path, clock) -> None:
    journal = Journal(tmp_path, clock=clock)
    for number in range(1_000):
        journal.settle([journal.append(record(number))])
    (file,) = tmp_path.iterdir()
    assert file.stat().st_size == 0
    journal.close()
    assert list(tmp_path.iterdir()) == []


def test_segments_follow_each_other_and_go_when_settled(tmp_path, clock, monkeypatch) -> None:
    monkeypatch.setattr(journal_module, "SEGMENT_BYTES", 200)
    journal = Journal(tmp_path, clock=clock)
    tickets = []
    for number in range(50):
        tickets.append(journal.append(record(number)))
        clock.seconds += 1
    assert len(list(tmp_path.iterdir())) > 3
    journal.settle(tickets[:-1])
    assert len(list(tmp_path.iterdir())) == 1
    die(journal)
    assert rescue(tmp_path, clock) == [49]


@pytest.mark.parametrize("cut", [1, 5, 14, 20])
def test_a_record_half_written_when_the_process_died_hides_nothing_before_it(tmp_path, clock, cut) -> None:
    journal = Journal(tmp_path, clock=clock)
    for number in range(5):
        journal.append(record(number))
    die(journal)
    (file,) = tmp_path.iterdir()
    with file.open("r+b") as opened:
        opened.truncate(file.stat().st_size - cut)
    assert rescue(tmp_path, clock) == ([0, 1, 2, 3] if cut < 25 else [0, 1, 2])


def test_a_damaged_record_is_counted_and_hides_no_other(tmp_path, clock) -> None:
    journal = Journal(tmp_path, clock=clock)
    for number in range(5):
        journal.append(record(number) * 20)
    die(journal)
    (file,) = tmp_path.iterdir()
    content = bytearray(file.read_bytes())
    content[len(content) // 2] ^= 0xFF
    file.write_bytes(bytes(content))
    clock.seconds += 60
    rescuer = Journal(tmp_path, clock=clock)
    assert sum(count for _, count, done in rescuer.rescued(10**6)) == 4
    assert rescuer.lost == {"journal_corrupt": 1}


def test_a_segment_stays_until_what_was_in_it_is_safe(tmp_path, clock) -> None:
    journal = Journal(tmp_path, clock=clock)
    for number in range(10):
        journal.append(record(number))
    die(journal)
    clock.seconds += 60
    for number, (_, _, done) in enumerate(Journal(tmp_path, clock=clock).rescued(60)):
        if number == 0:
            done()
        else:
            break
    assert sorted(rescue(tmp_path, clock)) == list(range(10))
