"""Message Batches: up to a hundred thousand messages, answered within a day at the batch rate.

https://docs.anthropic.com/en/api/creating-message-batches
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from typing import Any

from genledger.engine.later_usage.batch_jobs import Batch, Job, Line
from genledger.engine.operation import Attributes, Body, Operation, write_texts
from genledger.engine.record import Outcome
from genledger.pricing.getters import field
from genledger_semconv import attributes as A
from genledger_semconv import spans as S

PATH = re.compile(r"/v1/messages/batches(?:/([^/?]+))?(?:/(cancel|results))?(?:\?.*)?$")
"""The paths of the API: the batch, and what is asked of it. Results are at an address that the provider gives."""

_OUTCOMES: dict[str, Outcome] = {"errored": "error", "canceled": "cancelled", "expired": "timeout"}


def _batch(body: Body) -> str:
    found = PATH.search(str(body.get("path", "")))
    return found[1] or "" if found is not None else ""


def read_request(body: Body, attributes: Attributes) -> None:
    """Which batch is asked for, from the path."""
    if batch := _batch(body):
        attributes[A.GENLEDGER_BATCH_ID] = batch


def read_response(answer: Any, attributes: Attributes) -> None:
    """Which batch it is."""
    write_texts(answer, (("id", A.GENLEDGER_BATCH_ID),), attributes)


def read_jobs(answer: Any) -> Iterable[Job]:
    """Return the batch of an answer."""
    if isinstance(name := field(answer, "id"), str):
        yield Job(name)


def read_requests(body: Body) -> Iterable[Mapping[str, Any]]:
    """Return the requests of a new batch."""
    given = body.get("requests")
    for request in given if isinstance(given, list) else ():
        if isinstance(params := field(request, "params"), Mapping):
            yield params


def read_line(line: Any) -> Line | None:
    """One line of the results. Only those that succeeded are billed."""
    kind = field(field(line, "result"), "type")
    if not isinstance(field(line, "custom_id"), str) or not isinstance(kind, str):
        return None
    if kind == "succeeded":
        return Line(field(line, "custom_id"), S.CHAT, field(field(line, "result"), "message"))
    error = field(field(line, "result"), "error")
    said = field(field(error, "error"), "type")
    return Line(
        field(line, "custom_id"),
        S.CHAT,
        None,
        _OUTCOMES.get(kind, "error"),
        error=said if isinstance(said, str) else kind,
    )


BATCH = Operation(
    name=S.BATCH, api="batches", request=read_request, response=read_response, priced=False, batch=Batch()
)
"""A batch that is polled, cancelled, deleted or listed."""

NEW_BATCH = BATCH._replace(limit=("max_tokens",), batch=Batch(jobs=read_jobs, creates=True, requests=read_requests))
"""A batch that is created."""

RESULTS = BATCH._replace(response=None, batch=Batch(results=_batch, line=read_line))
"""The results of a batch."""


def operation_of(method: str, path: str) -> Operation | None:
    """Return the operation of an endpoint of batches."""
    found = PATH.search(path)
    if found is None:
        return None
    batch, act = found.groups()
    if method == "post":
        return BATCH if act == "cancel" else NEW_BATCH if batch is None else None
    if method == "get":
        return RESULTS if act == "results" else BATCH
    return None
