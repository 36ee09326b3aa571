"""Databricks' client, 0.55 to 0.x: queries of serving endpoints that generate or embed, by both of its planes.

https://github.com/databricks/databricks-sdk-py, https://docs.databricks.com/api/workspace/servingendpoints/query. An
endpoint stands for a model. Its OpenAI client is recorded as OpenAI's. What models of other kinds answer is no call.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from genledger.engine.operation import Body, Endpoint, Operation, with_changes
from genledger.instrumentation.adapters.methods import Methods, receives
from genledger.instrumentation.adapters.retries import attempts
from genledger.instrumentation.adapters.wire import endpoint_at, reaches
from genledger.instrumentation.instrumentor import Instrumentor
from genledger.instrumentation.patching import Patches

from ..formats.openai_chat import CHAT as OPENAI_CHAT
from ..formats.openai_chat import COMPLETIONS as OPENAI_COMPLETIONS
from ..formats.openai_embeddings import EMBEDDINGS

_LIBRARY, _PROVIDER = "databricks-sdk", "databricks"
_SERVING = "databricks.sdk.service.serving"
_BY_FIELD = {
    # It reads no streams.
    "messages": OPENAI_CHAT._replace(accumulate=None, limit=("max_tokens",)),
    "prompt": OPENAI_COMPLETIONS._replace(accumulate=None),
    "input": EMBEDDINGS,
}


def operation_of(given: dict[str, Any]) -> Operation | None:
    """Return the operation of a query by the field that it gives."""
    return next((operation for name, operation in _BY_FIELD.items() if given.get(name) is not None), None)


def body(api: Any, given: dict[str, Any]) -> Body:
    """Return the fields of a query, with the endpoint's name as the model."""
    messages = given.get("messages")
    plain = None if messages is None else [one.as_dict() for one in messages]
    named = {**given, "model": given.get("name"), "messages": plain}
    return {name: value for name, value in named.items() if value is not None and name != "name"}


def write(given: dict[str, Any], changes: Mapping[str, Any]) -> None:
    """Write changes into a query: another model is another endpoint."""
    given.update(with_changes(given, {"name" if field == "model" else field: changes[field] for field in changes}))


def endpoint(api: Any, given: dict[str, Any]) -> Endpoint:
    """Return the workspace that a client is made for."""
    settings = api._api._cfg
    return endpoint_at(_PROVIDER, settings.host or "", settings.token)


def cause(error: BaseException) -> BaseException:
    """Return what the last attempt failed with, where the client stopped trying."""
    return error.__cause__ if isinstance(error, TimeoutError) and error.__cause__ is not None else error


def reached(asked: Endpoint, api: Any, given: Mapping[str, Any]) -> Endpoint | None:
    """Return the address that a query of the data plane goes to: the client asks the workspace for it."""
    url = given.get("url")
    return endpoint_at(_PROVIDER, url)._replace(api_key=asked.api_key) if url else None


class DatabricksInstrumentor(Instrumentor):
    """Records the calls of the `databricks-sdk` package."""

    library = _LIBRARY
    distribution = "databricks-sdk"
    supports = "databricks-sdk >= 0.55, < 1"

    def patches(self) -> Patches:
        """Return the queries of both planes, and what each attempt passes through."""
        patches: Patches = [
            attempts(self.library, "databricks.sdk._base_client", "_BaseClient._perform"),
            reaches(self.library, "databricks.sdk.core", "ApiClient.do", reached),
            receives(self.library, _SERVING, "QueryEndpointResponse.from_dict"),
        ]
        for cls in ("ServingEndpointsAPI", "ServingEndpointsDataPlaneAPI"):
            patches += Methods(
                self.library,
                {_SERVING: cls},
                {"query": operation_of},
                endpoint,
                body,
                write,
                streamed=lambda asked: False,
                received=True,
                cause=cause,
            ).patches()
        return patches
