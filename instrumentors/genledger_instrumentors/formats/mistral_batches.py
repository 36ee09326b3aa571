"""Mistral's batches: results are a file, or are in the job itself. https://docs.mistral.ai/capabilities/batch

A line of a file is as in OpenAI's.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from genledger.engine.later_usage.batch_jobs import Batch, Job
from genledger.engine.operation import Body, listed
from genledger.pricing.getters import field

from .openai_batches import BATCH as OPENAI_BATCH
from .openai_batches import RESULTS, read_line
from .polled_jobs import asked_about

__all__ = ["BATCH", "NEW_BATCH", "RESULTS"]


def read_jobs(answer: Any) -> Iterable[Job]:
    """Return the batches of an answer, with the files that have their results."""
    for batch in listed(field(answer, "data")) or (answer,):
        files = (field(batch, "output_file"), field(batch, "error_file"))
        if isinstance(name := field(batch, "id"), str):
            yield Job(name, tuple(file for file in files if isinstance(file, str)))


def read_requests(body: Body) -> Iterable[Mapping[str, Any]]:
    """Return the requests of a new batch, where they are no file."""
    for request in listed(body.get("requests")):
        if isinstance(asked := field(request, "body"), Mapping):
            yield {"model": body.get("model"), **asked}


BATCH = OPENAI_BATCH._replace(
    request=None,
    batch=Batch(
        jobs=read_jobs,
        results=lambda body: asked_about(body) or "",
        line=read_line,
        carried=lambda answer: listed(field(answer, "outputs")),
    ),
)
"""A batch that is polled, cancelled or listed."""

NEW_BATCH = BATCH._replace(limit=("max_tokens",), batch=Batch(jobs=read_jobs, creates=True, requests=read_requests))
"""A batch that is created."""
