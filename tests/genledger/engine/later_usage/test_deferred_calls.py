"""Calls whose usage comes later: completed by whichever process learns it, with what became of the job."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from opentelemetry.trace import NoOpTracer

from genledger.engine.operation import Body, Endpoint, Finished, Operation
from genledger.engine.record import CallRecord
from genledger.engine.recorder import Recorder
from genledger.ledger import Ledger

HERE = Endpoint("openai")


def finished(body: Body, answer: Any) -> Finished | None:
    if answer["status"] == "running":
        return None
    error = "moderated" if answer["status"] == "failed" else None
    return Finished("job_1", error, result=answer.get("response", {}))


CREATE = Operation("chat", "chat", family="inference", unfinished=lambda body, answer: "job_1", finishes=finished)
FETCH = Operation("fetch_response", "chat", priced=False, finishes=finished)
USAGE = {"prompt_tokens": 10, "completion_tokens": 5, "total_tokens": 15}
DONE = {"status": "done", "response": {"id": "c1", "model": "gpt-4.1-mini", "usage": USAGE}}
FAILED = {"status": "failed"}


class Process:
    """A process that keeps its jobs in a ledger."""

    def __init__(self, path: Path) -> None:
        self._recorder = Recorder(NoOpTracer(), registry=lambda create: Ledger(path))
        self._records: list[CallRecord] = []
        self._recorder.sinks.append(self._records.append)

    def does(self, operation: Operation, answer: Any) -> None:
        """Make a call that is answered so."""
        call = self._recorder.open(operation, "openai", HERE, {})
        assert call is not None
        call.settle(answer)

    @property
    def chats(self) -> list[CallRecord]:
        """The records of what was created."""
        assert self._recorder.flush(30)
        return [record for record in self._records if record.operation == "chat"]


@pytest.mark.parametrize("elsewhere", [False, True])
def test_a_job_is_paid_for_by_the_result_inside_of_its_answer(tmp_path: Path, elsewhere: bool) -> None:
    creating = Process(tmp_path / "ledger.db")
    creating.does(CREATE, {"status": "running"})
    assert not creating.chats
    fetching = Process(tmp_path / "ledger.db") if elsewhere else creating
    fetching.does(FETCH, {"status": "running"})
    fetching.does(FETCH, DONE)
    fetching.does(FETCH, DONE)
    (record,) = fetching.chats
    assert record.response_id == "c1" or not elsewhere
    assert record.usage is not None
    assert record.usage.output_tokens == 5
    assert record.cost is not None


@pytest.mark.parametrize("elsewhere", [False, True])
def test_a_job_that_fails_is_a_failed_call(tmp_path: Path, elsewhere: bool) -> None:
    creating = Process(tmp_path / "ledger.db")
    creating.does(CREATE, {"status": "running"})
    assert not creating.chats
    fetching = Process(tmp_path / "ledger.db") if elsewhere else creating
    fetching.does(FETCH, FAILED)
    (record,) = fetching.chats
    assert (record.outcome, record.error_type) == ("error", "moderated")
    assert record.usage is None


def test_a_job_that_has_ended_when_it_is_created_is_settled_at_once(tmp_path: Path) -> None:
    process = Process(tmp_path / "ledger.db")
    process.does(CREATE, DONE)
    process.does(FETCH, DONE)
    (record,) = process.chats
    assert record.usage is not None
    assert record.usage.output_tokens == 5
