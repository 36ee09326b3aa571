"""The books of batches: every result once, whoever reads it, in whatever pieces it comes."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from opentelemetry.trace import NoOpTracer

from genledger.context.attribution import Attribution
from genledger.engine.later_usage import batch_jobs
from genledger.engine.later_usage.batch_jobs import Batch, Line
from genledger.engine.later_usage.job_book import JobRegistry, Memory, Origin
from genledger.engine.operation import Endpoint, Operation
from genledger.engine.record import CallRecord
from genledger.engine.recorder import Recorder
from genledger.ledger import Ledger
from genledger.pricing.getters import field

USAGE = {"prompt_tokens": 10, "completion_tokens": 5, "total_tokens": 15}


def read(line: Any) -> Line | None:
    name = field(line, "custom_id")
    return Line(name, "chat", line["response"]["body"]) if isinstance(name, str) else None


RESULTS = Operation(name="batch", api="batches", priced=False, batch=Batch(results=lambda body: body["id"], line=read))


def result(custom_id: str) -> bytes:
    body = {"model": "gpt-4.1-mini", "usage": USAGE}
    return json.dumps({"custom_id": custom_id, "response": {"status_code": 200, "body": body}}).encode() + b"\n"


def recorder(registry: Callable[[bool], JobRegistry | None] | None = None) -> tuple[Recorder, list[CallRecord]]:
    made = Recorder(NoOpTracer(), registry=registry)
    entries: list[CallRecord] = []
    made.sinks.append(entries.append)
    return made, entries


def read_results(made: Recorder, pieces: list[bytes], batch: str = "batch_1") -> None:
    call = made.open(RESULTS, "openai", Endpoint("openai"), {"id": batch})
    assert call is not None
    results = made.batches.results(call)
    assert results is not None
    for piece in pieces:
        results.feed(piece)
    results.end()
    assert made.flush(30)


@settings(max_examples=50, deadline=None)
@given(
    names=st.lists(st.text(min_size=1, max_size=8), max_size=12),
    cuts=st.lists(st.integers(0, 2000), max_size=8),
    at_once=st.integers(1, 500),
)
def test_how_the_bytes_are_cut_changes_nothing(names: list[str], cuts: list[int], at_once: int) -> None:
    payload = b"".join(result(name) for name in names)
    places = sorted({0, len(payload), *(cut for cut in cuts if cut < len(payload))})
    pieces = [payload[a:b] for a, b in pairwise(places)]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(batch_jobs, "BYTES_AT_ONCE", at_once)
        made, entries = recorder()
        read_results(made, pieces)
    assert len(entries) == len(set(names))
    assert len({(entry.trace_id, entry.span_id) for entry in entries}) == len(set(names))
    assert all(entry.usage is not None and entry.usage.total_tokens == 15 for entry in entries)


def test_the_same_result_has_the_same_ids_wherever_it_is_read() -> None:
    found = []
    for _ in range(2):
        made, entries = recorder()
        read_results(made, [result("a"), result("b")])
        found.append([(entry.trace_id, entry.span_id) for entry in entries])
    assert found[0] == found[1]
    other, entries = recorder()
    read_results(other, [result("a")], "batch_2")
    assert (entries[0].trace_id, entries[0].span_id) not in found[0]


def test_readers_at_the_same_time_count_every_result_once(tmp_path: Path) -> None:
    names = [f"request-{number}" for number in range(300)]
    payload = [result(name) for name in names]
    readers = [recorder(lambda create: Ledger(tmp_path / "ledger.db")) for _ in range(3)]
    threads = [threading.Thread(target=read_results, args=(made, payload)) for made, _ in readers]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sum(len(entries) for _, entries in readers) == len(names)


def test_nothing_is_opened_to_look_up_what_nobody_created() -> None:
    asked: list[bool] = []

    def book(create: bool) -> JobRegistry | None:
        asked.append(create)
        return None

    made, _ = recorder(book)
    shared = Batch(results=lambda body: str(body["id"]), shared=True)
    assert not made.batches.expects(shared, "openai", {"id": "file-1"})
    assert asked == [False]


def test_memory_is_bounded() -> None:
    memory = Memory(3)
    for number in range(5):
        memory.remember_job("openai", str(number), Origin(Attribution(tenant=str(number))))
    assert [memory.job_origin("openai", str(number)) is not None for number in range(5)] == [
        False, False, True, True, True,
    ]  # fmt: skip
    assert memory.claim_results("openai", "b", [str(number) for number in range(40)]) == set(map(str, range(40)))
    assert memory.claim_results("openai", "b", ["39"]) == set()
    assert memory.claim_results("openai", "b", ["0"]) == {"0"}
