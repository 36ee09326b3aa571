"""The Batch API: a file of requests that OpenAI answers within a day, at the batch rate.

https://platform.openai.com/docs/api-reference/batch. The results are a file, read with the Files API.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Any

from genledger.engine.later_usage.batch_jobs import Batch, Job, Line
from genledger.engine.operation import Attributes, Body, Operation, integer, listed, text, write_texts
from genledger.engine.record import Outcome
from genledger.pricing.getters import field
from genledger_semconv import attributes as A
from genledger_semconv import spans as S

_OPERATIONS = {
    "chat.completion": S.CHAT,
    "response": S.CHAT,
    "text_completion": S.TEXT_COMPLETION,
    "list": S.EMBEDDINGS,
}
_ERRORS: dict[str, Outcome] = {"batch_expired": "timeout", "batch_cancelled": "cancelled"}
_STATUSES: dict[int, Outcome] = {408: "timeout", 429: "rate_limited"}


_PATH = re.compile(
    r"(?:/openai)?(?:/v1)?/(?:(?P<batches>batches)(?:/(?P<batch>[^/?]+)(?:/(?:cancel|(?P<results>results)))?)?|files/(?P<file>[^/?]+)/content)(?:\?.*)?$"
)
"""The paths of the API: the batch that is asked about, or a file that may have results."""


def _named(body: Body, kind: str) -> str:
    found = _PATH.match(str(body.get("path", "")))
    return found[kind] or "" if found is not None else ""


def read_request(body: Body, attributes: Attributes) -> None:
    """Which batch is asked for, from the path."""
    if batch := _named(body, "batch"):
        attributes[A.GENLEDGER_BATCH_ID] = batch


def read_response(answer: Any, attributes: Attributes) -> None:
    """Which batch it is."""
    write_texts(answer, (("id", A.GENLEDGER_BATCH_ID),), attributes)


def read_jobs(answer: Any) -> Iterable[Job]:
    """Return the batches of an answer, with the files that have their results; Together has a new one in a `job`."""
    for batch in listed(field(answer, "data")) or (field(answer, "job") or answer,):
        files = (field(batch, "output_file_id"), field(batch, "error_file_id"))
        if isinstance(name := field(batch, "id"), str):
            yield Job(name, tuple(file for file in files if isinstance(file, str)))


def read_line(line: Any) -> Line | None:
    """One line of an output or error file."""
    if not isinstance(field(line, "custom_id"), str):
        return None
    body = field(field(line, "response"), "body")
    status = field(field(line, "response"), "status_code")
    if field(line, "error") is None and status in (None, 200) and body is not None:
        name = _OPERATIONS.get(
            str(field(body, "object")), S.MODERATION if field(body, "results") is not None else S.CHAT
        )
        return Line(field(line, "custom_id"), name, body, created_s=field(body, "created") or field(body, "created_at"))
    code = text(field(field(line, "error") or field(body, "error"), "code"))
    status = integer(status)
    outcome = _ERRORS.get(code or "") or _STATUSES.get(status or 0, "error")
    return Line(field(line, "custom_id"), S.CHAT, None, outcome, error=code or str(status or "failed"))


BATCH = Operation(
    name=S.BATCH,
    api="batches",
    request=read_request,
    response=read_response,
    priced=False,
    batch=Batch(jobs=read_jobs),
)
"""A batch that is polled, cancelled or listed."""

NEW_BATCH = BATCH._replace(batch=Batch(jobs=read_jobs, creates=True))
"""A batch that is created."""

RESULTS = Operation(
    name=S.BATCH,
    api="batches",
    priced=False,
    batch=Batch(results=lambda body: _named(body, "file"), line=read_line, shared=True),
)
"""A file that has the results of a batch."""

OWN_RESULTS = BATCH._replace(response=None, batch=Batch(results=lambda body: _named(body, "batch"), line=read_line))
"""The results of a batch, where they are no file: AI21's."""


def operation_of(method: str, path: str) -> Operation | None:
    """Return the operation of an endpoint of the API."""
    found = _PATH.match(path) if method in ("get", "post") else None
    if found is None:
        return None
    if found["results"] is not None:
        return OWN_RESULTS if method == "get" else None
    if found["batches"] is None:
        return RESULTS if method == "get" else None
    return NEW_BATCH if method == "post" and found["batch"] is None else BATCH
