"""Snowflake's client of its REST API, 1.5 to 1.x: completions and embeddings of Cortex, which say what they consumed.

https://docs.snowflake.com/en/developer-guide/snowflake-rest-api/reference/cortex-inference
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any
from urllib.parse import urlsplit

from genledger.engine.operation import Operation, with_changes
from genledger.instrumentation.adapters.http_response import event_stream, parse
from genledger.instrumentation.adapters.methods import Methods
from genledger.instrumentation.adapters.retries import answers
from genledger.instrumentation.adapters.wire import endpoint_at
from genledger.instrumentation.instrumentor import Instrumentor
from genledger.instrumentation.patching import Patches

from ..formats.cortex import COMPLETE, EMBED, read_request, read_result

_POSTED: Mapping[str, Operation] = {
    "/api/v2/cortex/inference:complete": COMPLETE,
    "/api/v2/cortex/inference:embed": EMBED,
}
_API_CLIENTS = (
    "snowflake.core._generated.api_client",
    "snowflake.core.cortex.inference_service._generated.api_client",
    "snowflake.core.cortex.embed_service._generated.api_client",
)
"""Where the class is that sends requests: in older versions, each service has its own."""


def posted(given: dict[str, Any]) -> Operation | None:
    """Return the operation of a request, by its path."""
    return _POSTED.get(urlsplit(given.get("url") or "").path) if given.get("method") == "POST" else None


def write_posted(arguments: dict[str, Any], changes: Mapping[str, Any]) -> None:
    """Write changes into the body of a request."""
    arguments["body"] = with_changes(arguments["body"], changes)


def answer(result: Any) -> Mapping[str, Any] | None:
    """Return a whole answer; `None` for an error, and for what is no answer."""
    data = getattr(result, "data", None)
    found = parse(data) if isinstance(data, bytes) and result.status < 400 else None
    return read_result(found) if found is not None else None


class SnowflakeCoreInstrumentor(Instrumentor):
    """Records the calls of the `snowflake.core` package to Cortex."""

    library = "snowflake-core"
    distribution = "snowflake.core"
    supports = "snowflake.core >= 1.5, < 2"

    def patches(self) -> Patches:
        """Return the method that every request passes through, and the one that sends each attempt."""
        requests = Methods(
            self.library,
            dict.fromkeys(_API_CLIENTS, "ApiClient"),
            {"request_with_retry": posted},
            lambda client, given: endpoint_at("snowflake", given["url"]),
            lambda client, given: read_request(given.get("body") or {}),
            write_posted,
            events=event_stream,
            answer=answer,
        )
        attempts = (answers(self.library, module, "ApiClient.request", optional=True) for module in _API_CLIENTS)
        return [*requests.patches(), *attempts]
