"""Batches of the Gemini API: results come with the batch itself, or in a file. Those of Vertex AI are in a bucket.

https://ai.google.dev/gemini-api/docs/batch-api,
https://cloud.google.com/vertex-ai/generative-ai/docs/multimodal/batch-prediction-from-cloud-storage. Results in
BigQuery are not seen: only their jobs are.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from genledger.engine.later_usage.batch_jobs import Batch, Job, Line
from genledger.engine.operation import Attributes, Body, Operation, at_path, listed, text, write_texts
from genledger.engine.record import Outcome
from genledger.pricing.getters import field, first
from genledger_semconv import attributes as A
from genledger_semconv import spans as S

from .gemini_content import GENERATE_CONTENT

_JOB = re.compile(r"(?P<name>batches/[^/:?]+|batchPredictionJobs/[^/:?]+)(?P<cancel>:cancel)?(\?.*)?$")
_FILE = re.compile(r"(?P<name>files/[^/:?]+):download(\?.*)?$")
_STORED = re.compile(r"(?P<folder>gs://.+/prediction-[^/]+)/[^/]+\.jsonl$")
_PLACES = ("inlinedResponses.inlinedResponses", "inlinedEmbedContentResponses.inlinedResponses")
_CODES: dict[int, Outcome] = {1: "cancelled", 4: "timeout", 8: "rate_limited"}
"""Outcomes of google.rpc.Code's numbers."""


def read_request(body: Body, attributes: Attributes) -> None:
    """Read which batch is asked for, from the path."""
    if (name := text(body.get("batch_name"))) is not None:
        attributes[A.GENLEDGER_BATCH_ID] = name


def read_response(answer: Any, attributes: Attributes) -> None:
    """Read which batch it is."""
    write_texts(answer, (("name", A.GENLEDGER_BATCH_ID),), attributes)


def read_jobs(answer: Any) -> Iterable[Job]:
    """Return the batch of an answer, with the file that has its results."""
    name = text(field(answer, "name"))
    if name is not None:
        file = text(at_path(_output(answer), "responsesFile"))
        folder = text(at_path(answer, "outputInfo.gcsOutputDirectory"))
        yield Job(name, tuple(one.rstrip("/") for one in (file, folder) if one is not None))


def _output(answer: Any) -> Any:
    found = at_path(answer, "metadata.output") or field(answer, "response")
    return found if isinstance(found, Mapping) else {}


def read_requests(body: Body) -> Iterable[Mapping[str, Any]]:
    """Return the requests of a new batch, where they are not in a file."""
    for one in listed(at_path(body, "batch.inputConfig.requests.requests")):
        if isinstance(request := field(one, "request"), Mapping):
            yield {**request, "model": body.get("model")}


def read_results(answer: Any) -> Iterator[Mapping[str, Any]]:
    """Return the results in a batch that has ended, as lines of a file: named by their keys, or by their places."""
    output, model = _output(answer), text(at_path(answer, "metadata.model"))
    for place, one in enumerate(one for name in _PLACES for one in listed(at_path(output, name))):
        key = text(at_path(one, "metadata.key")) or str(place)
        response = field(one, "response")
        if not isinstance(response, Mapping):
            yield {"key": key, "error": field(one, "error")}
            continue
        tokens = field(response, "tokenCount")  # of an embedding
        counted = {} if tokens is None else {"usageMetadata": {"promptTokenCount": tokens}}
        yield {"key": key, "response": {"modelVersion": model, **counted, **response}}


def read_line(line: Any) -> Line | None:
    """Read one result. Only those that succeeded are billed."""
    key, response = text(field(line, "key")), field(line, "response")
    if key is None:
        return None
    if isinstance(response, Mapping):
        embedding = field(response, "embedding") is not None
        said = {**response, "model": response.get("modelVersion"), "id": response.get("responseId")}
        return Line(key, S.EMBEDDINGS if embedding else S.GENERATE_CONTENT, said)
    error = first(line, "error", "status")
    code = field(error, "code")
    outcome = _CODES.get(code, "error") if isinstance(code, int) else "error"
    return Line(key, S.GENERATE_CONTENT, None, outcome, error=str(code if code is not None else "failed"))


def read_stored_line(line: Any) -> Line | None:
    """Read one result in a bucket: beside its request, and without a name of its own."""
    response = field(line, "response")
    key = (
        text(field(response, "responseId"))
        or hashlib.blake2b(repr(line).encode(errors="replace"), digest_size=16).hexdigest()
    )
    if not isinstance(response, Mapping) or not response:
        return Line(key, S.GENERATE_CONTENT, None, "error", error="failed")
    return read_line({"key": key, "response": response})


def read_object(blob: Any, given: Mapping[str, Any]) -> Body | None:
    """Return where an object of a bucket is; `None` for one that cannot have the results of a batch."""
    found = _STORED.match(f"gs://{blob.bucket.name}/{blob.name}")
    return {"batch_name": found["folder"]} if found is not None else None


def _name(body: Body) -> str:
    return str(body.get("batch_name") or "")


_BATCH = Operation(name=S.BATCH, api="batches", request=read_request, response=read_response, priced=False)

BATCH = _BATCH._replace(batch=Batch(jobs=read_jobs, results=_name, line=read_line, carried=read_results))
"""A batch that is polled or cancelled: once it has ended, it may have its results."""

NEW_BATCH = _BATCH._replace(
    fields={"model": (A.GEN_AI_REQUEST_MODEL, text)},
    limit=GENERATE_CONTENT.limit,
    choices=GENERATE_CONTENT.choices,
    batch=Batch(jobs=read_jobs, creates=True, requests=read_requests),
)
"""A batch that is created."""

RESULTS = Operation(name=S.BATCH, api="batches", priced=False, batch=Batch(results=_name, line=read_line, shared=True))
"""A file that may have the results of a batch."""

STORED_RESULTS = RESULTS._replace(batch=Batch(results=_name, line=read_stored_line, shared=True))
"""An object of a bucket that may have the results of a batch."""


def name_of(path: str) -> str | None:
    """Return the batch, or the file of results, that a path is about."""
    found = _JOB.search(path) or _FILE.search(path)
    return found["name"] if found is not None else None


def is_about_a_batch(http_method: str, path: str) -> bool:
    """Return whether a request polls or cancels a batch."""
    found = _JOB.search(path)
    return found is not None and (http_method == "get" or (http_method == "post" and found["cancel"] is not None))
