"""Bedrock's asynchronous invocations: videos and embeddings of media, which are written to a bucket.

https://docs.aws.amazon.com/bedrock/latest/APIReference/API_runtime_StartAsyncInvoke.html
"""

from __future__ import annotations

from typing import Any

from genledger.engine.operation import Attributes, Body, Finished, Operation, text
from genledger.pricing.getters import field
from genledger_semconv import attributes as A
from genledger_semconv import spans as S


def _started(body: Body, answer: Any) -> str | None:
    return text(field(answer, "invocationArn"))


def _finished(body: Body, answer: Any) -> Finished | None:
    job, status = text(field(answer, "invocationArn")), field(answer, "status")
    if job is None or status not in ("Completed", "Failed"):
        return None
    return Finished(job, "Failed" if status == "Failed" else None)


def read_invocation(answer: Any, attributes: Attributes) -> None:
    """Read which invocation it is, and whether it failed."""
    job = text(field(answer, "invocationArn"))
    if job is not None:
        attributes[A.GEN_AI_RESPONSE_ID] = job
    if field(answer, "status") == "Failed":
        attributes[A.ERROR_TYPE] = "Failed"


def read_fetched(answer: Any, attributes: Attributes) -> None:
    """Read which invocation was asked about: that it failed is no failure of this call."""
    job = text(field(answer, "invocationArn"))
    if job is not None:
        attributes[A.GEN_AI_RESPONSE_ID] = job


START = Operation(
    name=S.GENERATE_CONTENT,
    api="async_invoke",
    fields={"model": (A.GEN_AI_REQUEST_MODEL, text)},
    response=read_invocation,
    family="inference",
    unfinished=_started,
    largest=lambda body: {"status": "Completed"},
)

GET = Operation(
    name=S.FETCH_RESPONSE,
    api="async_invoke",
    fields={"invocationArn": (A.GEN_AI_RESPONSE_ID, text)},
    response=read_fetched,
    priced=False,
    target=lambda attributes: None,
    finishes=_finished,
)
