"""Replicate's client, 1.x. https://github.com/replicate/replicate-python"""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from typing import Any

from genledger.engine.operation import Body, Endpoint, Operation, with_changes
from genledger.instrumentation.adapters.jobs import Job, JobClient, streams
from genledger.instrumentation.instrumentor import Instrumentor
from genledger.instrumentation.patching import Patches

from ..formats.replicate_predictions import PREDICTION, read_prediction

_CREATES = re.compile(r"/v1/(?:models/(?P<model>[^/]+/[^/]+)/|deployments/[^/]+/[^/]+/)?predictions$")
_TELLS = re.compile(r"/v1/predictions/[^/]+(?:/cancel)?$")
_ENDS = {"succeeded": "finished", "failed": "finished", "canceled": "cancelled", "aborted": "cancelled"}


def operation(given: dict[str, Any]) -> Operation | None:
    """Return the operation of a request: one that posts a prediction creates it."""
    creates = given.get("method") == "POST" and _CREATES.fullmatch(str(given.get("path")))
    return PREDICTION if creates else None


def body(given: dict[str, Any]) -> Body:
    """Return the posted body with the model in its address or version: `owner/name`, `owner/name:version`."""
    posted = given.get("json") or {}
    found = _CREATES.fullmatch(given["path"])
    model = found["model"] if found is not None else None
    version = posted.get("version")
    if model is None and isinstance(version, str) and "/" in version:
        model = version.partition(":")[0]
    return {**posted, "model": model}


def write(given: dict[str, Any], changes: Mapping[str, Any]) -> None:
    """Post changed inputs, and to another model's address when that changed."""
    rest = dict(changes)
    posted = given.get("json") or {}
    model = rest.pop("model", None)
    if model is not None:
        given["path"] = f"/v1/models/{model}/predictions"
        posted = {name: value for name, value in posted.items() if name != "version"}
    given["json"] = with_changes(posted, rest)


def job(response: Any, given: dict[str, Any]) -> Job | None:
    """Return the prediction in an answer.

    An answer that was waited for (`Prefer: wait`) comes before the prediction's status says that it has ended, and
    the client does not ask again.
    """
    path = str(given.get("path"))
    if not (_CREATES.fullmatch(path) or _TELLS.fullmatch(path)):
        return None
    try:
        prediction = response.json()
    except ValueError:
        return None
    if not isinstance(prediction, dict) or not isinstance(prediction.get("id"), str):
        return None
    status = prediction.get("status")
    ended: Any = _ENDS.get(status) if isinstance(status, str) else None
    waited = "Prefer" in (given.get("headers") or {}) and status == "processing"
    if waited and prediction.get("output") is not None:
        ended = "finished"
    urls = prediction.get("urls")
    stream = urls.get("stream") if isinstance(urls, dict) else None
    return Job(prediction["id"], ended, read_prediction(prediction), stream if isinstance(stream, str) else None)


def endpoint(client: Any, given: dict[str, Any]) -> Endpoint:
    """Return the server that a client talks to."""
    url = client._base_url or os.environ.get("REPLICATE_BASE_URL") or "https://api.replicate.com"
    return Endpoint.at("replicate", url)


class ReplicateInstrumentor(Instrumentor):
    """Records the calls of the `replicate` package."""

    library = "replicate"
    distribution = "replicate"
    supports = "replicate >= 1.0, < 2"

    def patches(self) -> Patches:
        """Return the one method that every request but a stream's passes through, and what reads streams."""
        client = JobClient(
            self.library,
            {"replicate.client": ("Client._request", "Client._async_request")},
            operation,
            endpoint,
            body,
            write,
            job,
        )
        return [
            *client.patches(),
            *(
                streams(
                    "replicate.stream",
                    f"EventSource.{name}",
                    "replicate",
                    lambda source: str(source.response.request.url),
                )
                for name in ("__iter__", "__aiter__")
            ),
        ]
