"""Jobs that one request creates and others ask about: what differs is how an answer tells of one."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

from genledger.engine.operation import Attributes, Body, Finished, Operation, text
from genledger.pricing.getters import field, label
from genledger_semconv import attributes as A
from genledger_semconv import spans as S

_STATUSES = {
    **dict.fromkeys(("created", "pending", "queued", "submitted"), "queued"),
    **dict.fromkeys(("in_progress", "processing", "running", "started"), "in_progress"),
    **dict.fromkeys(("completed", "complete", "succeeded", "success", "finished"), "completed"),
    **dict.fromkeys(("failed", "fail", "error", "expired", "incomplete"), "failed"),
    **dict.fromkeys(("cancelled", "canceled"), "cancelled"),
}
"""The conventions' `gen_ai.response.status`, by what providers call it, in lower case."""


class JobState(NamedTuple):
    """A job in an answer.

    Args:
        id: Its identifier.
        status: Its state, in the conventions' words; `None` for one that they do not have.
        result: What it resulted in, as its operation reads it.
        error: Why it failed, where the provider has a code for that.
    """

    id: str
    status: str | None
    result: Any
    error: str | None = None


ReadJob = Callable[[Body, Any], JobState | None]
"""`read(body, answer)`: return the job that an answer tells of, given the request as well."""


def job_in(body: Body, answer: Any, result: Any, *, name: str = "id", status: str = "status") -> JobState | None:
    """Return the job whose id and state are fields of an answer; the address that is asked ends in the id, too."""
    found = text(field(answer, name)) or asked_about(body)
    said = _STATUSES.get((label(answer, status) or "").lower())
    return JobState(found, said, result) if found is not None else None


def asked_about(body: Body) -> str | None:
    """Return what the address of a request ends in."""
    return text(str(body.get("path") or "").partition("?")[0].rstrip("/").rpartition("/")[2])


def creating(operation: Operation, read: ReadJob) -> Operation:
    """Return the operation of a request that creates a job, from that of the same request answered at once."""

    def created(body: Body, answer: Any) -> str | None:
        job = read(body, answer)
        return job.id if job is not None else None

    return operation._replace(unfinished=created, finishes=_finishing(read))


def fetching(api: str, read: ReadJob) -> Operation:
    """Return the operation of a request that asks how a job is doing."""

    def read_request(body: Body, attributes: Attributes) -> None:
        name = asked_about(body)
        if name is not None:
            attributes[A.GEN_AI_RESPONSE_ID] = name

    def read_fetched(answer: Any, attributes: Attributes) -> None:
        job = read({}, answer)
        if job is not None:
            attributes[A.GEN_AI_RESPONSE_ID] = job.id
            if job.status is not None:
                attributes[A.GEN_AI_RESPONSE_STATUS] = job.status

    return Operation(
        name=S.FETCH_RESPONSE,
        api=api,
        request=read_request,
        response=read_fetched,
        priced=False,
        target=lambda attributes: None,
        finishes=_finishing(read),
    )


def _finishing(read: ReadJob) -> Callable[[Body, Any], Finished | None]:
    def finished(body: Body, answer: Any) -> Finished | None:
        job = read(body, answer)
        if job is None or job.status not in ("completed", "failed", "cancelled"):
            return None
        failed = job.status == "failed"
        result = {"id": job.id} if failed or job.result is None else job.result
        error = job.error or job.status if failed else None
        return Finished(job.id, error, cancelled=job.status == "cancelled", result=result)

    return finished
