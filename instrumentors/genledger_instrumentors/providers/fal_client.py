"""fal's client, 0.9 to 1.x: requests that are answered at once, those of a queue, which are jobs, and streams.

Client: https://github.com/fal-ai/fal/tree/main/projects/fal_client. API: https://docs.fal.ai. Sockets are left out.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any
from urllib.parse import urlsplit, urlunsplit

from genledger.engine.operation import Body, Endpoint, Operation, with_changes
from genledger.instrumentation.adapters.event_sources import EventSources
from genledger.instrumentation.adapters.jobs import Job, JobClient
from genledger.instrumentation.adapters.retries import retrying
from genledger.instrumentation.instrumentor import Instrumentor
from genledger.instrumentation.patching import Patch, Patches
from genledger.pricing.getters import field

from ..formats.fal_requests import REQUEST, STREAM, read_result

_MODULE = "fal_client.client"
_FILES = (".fal.ai", ".fal.media")
"""Where files are, and tokens come from."""

_STREAM = "/stream"
"""What the address of a model's stream has behind its name."""

_NO_RESULT = frozenset({401, 403, 404, 408, 409, 429})
"""What says nothing of the request that a result is asked of."""

_TELLS = re.compile(r"/requests/(?P<id>[^/]+)(?:/(?:response|(?P<about>status|cancel)))?$")


def operation(given: dict[str, Any]) -> Operation | None:
    """Return the operation of a request: one that posts arguments to a model."""
    posts = given["method"] == "POST" and not (urlsplit(given["url"]).hostname or "").endswith(_FILES)
    return REQUEST if posts else None


def body(given: dict[str, Any]) -> Body:
    """Return the arguments with the model in the address."""
    arguments = given.get("json")
    model = urlsplit(given["url"]).path.strip("/").removesuffix(_STREAM)
    return {**(arguments if isinstance(arguments, Mapping) else {}), "model": model}


def write(given: dict[str, Any], changes: Mapping[str, Any]) -> None:
    """Post changed arguments, and to another model's address when that changed."""
    rest = dict(changes)
    model = rest.pop("model", None)
    if model is not None:
        parts = urlsplit(given["url"])
        end = _STREAM if parts.path.endswith(_STREAM) else ""
        given["url"] = urlunsplit(parts._replace(path=f"/{model}{end}"))
    given["json"] = with_changes(given.get("json") or {}, rest)


def job(response: Any, given: dict[str, Any]) -> Job | None:
    """Return the request in an answer: that of a queue has its result at an address of its own."""
    try:
        data = response.json()
    except ValueError:
        return None
    tells = _TELLS.search(urlsplit(given["url"]).path)
    if tells is None:
        queued = field(data, "request_id") if field(data, "status_url") is not None else None
        if isinstance(queued, str):
            return Job(queued, None, {})
        name = response.headers.get("x-fal-request-id", "")
        return Job(name, "finished", read_result(name, data, response.headers))
    if tells["about"] == "cancel":
        return Job(tells["id"], "cancelled", {})
    if tells["about"] == "status":
        failure = field(data, "error") and (field(data, "error_type") or "failed")
        ended = field(data, "status") == "COMPLETED" and bool(failure)
        return Job(tells["id"], "finished", read_result(tells["id"], None, {}, failure)) if ended else None
    return Job(tells["id"], "finished", read_result(tells["id"], data, response.headers))


def failed(error: BaseException, given: dict[str, Any]) -> Job | None:
    """Return the request whose result is a failure: asking for it raises."""
    tells = _TELLS.search(urlsplit(given["url"]).path)
    response: Any = getattr(error, "response", None)
    status = getattr(response, "status_code", None)
    if tells is None or tells["about"] is not None or not isinstance(status, int) or status in _NO_RESULT:
        return None
    return Job(tells["id"], "finished", read_result(tells["id"], None, response.headers, str(status)))


def endpoint(instance: object, given: dict[str, Any]) -> Endpoint:
    """Return the server that a request goes to."""
    parts = urlsplit(given["url"])
    return Endpoint.at("fal", f"{parts.scheme}://{parts.netloc}")


class FalInstrumentor(Instrumentor):
    """Records the calls of the `fal-client` package."""

    library = "fal-client"
    distribution = "fal-client"
    supports = "fal-client >= 0.9, < 2"

    def patches(self) -> Patches:
        """Return the functions that requests and streams pass through, and where they wait before another attempt."""
        client = JobClient(
            self.library,
            {_MODULE: ("_maybe_retry_request", "_async_maybe_retry_request")},
            operation,
            endpoint,
            body,
            write,
            job,
            failed,
        )
        streams = EventSources(
            self.library, _MODULE, ("SyncClient.stream", "AsyncClient.stream"), STREAM, endpoint, body, write
        )
        return [*client.patches(), *streams.patches(), Patch(_MODULE, "_get_retry_delay", retrying, optional=True)]
