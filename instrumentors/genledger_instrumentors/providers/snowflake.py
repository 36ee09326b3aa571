"""Snowflake's clients of Cortex: `snowflake.cortex` in snowflake-ml-python, 1.8 to 2.x, and snowflake.core, 1.5 to 1.x.

https://docs.snowflake.com/en/user-guide/snowflake-cortex/aisql. Completions, and the embeddings of snowflake.core, go
to a REST API that says what they consumed. Everything else is SQL in a warehouse, which does not: those calls have no
price. With columns instead of values, a function makes an expression and is no call.
"""

from __future__ import annotations

import sys
from collections.abc import Mapping
from typing import Any
from urllib.parse import urlsplit

from genledger.engine.operation import Body, Endpoint, Operation, with_changes
from genledger.instrumentation.adapters.http_response import parse
from genledger.instrumentation.adapters.methods import Methods
from genledger.instrumentation.adapters.retries import answers
from genledger.instrumentation.adapters.wire import endpoint_at
from genledger.instrumentation.instrumentor import Instrumentor
from genledger.instrumentation.patching import Patches

from ..formats.cortex import COMPLETE, EMBED, FUNCTION, TRANSLATE, read_request, read_result

_FUNCTIONS: Mapping[str, Operation] = {
    **dict.fromkeys(("summarize", "Summarize", "sentiment", "Sentiment"), FUNCTION),
    **dict.fromkeys(("extract_answer", "ExtractAnswer", "classify_text", "ClassifyText"), FUNCTION),
    **dict.fromkeys(("translate", "Translate"), TRANSLATE),
    **dict.fromkeys(("embed_text_768", "EmbedText768", "embed_text_1024", "EmbedText1024"), EMBED),
}
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


def session_endpoint(function: None, given: dict[str, Any]) -> Endpoint:
    """Return the server of a session, that which is given or the active one; without an address if there is none."""
    try:
        session = given.get("session") or sys.modules["snowflake.snowpark.context"].get_active_session()
        connection = session.connection
    except Exception:  # the function itself is about to raise it
        return Endpoint("snowflake")
    return endpoint_at("snowflake", f"{getattr(connection, 'scheme', 'https')}://{connection.host}")


def completion(function: None, given: dict[str, Any]) -> Body:
    """Return the request that is made for a prompt: its answer is streamed in any case."""
    prompt = given.get("prompt")
    messages = prompt if isinstance(prompt, list) else [{"content": prompt}]
    return read_request(
        {**(given.get("options") or {}), "model": given.get("model"), "messages": messages, "stream": True}
    )


def write_completion(arguments: dict[str, Any], changes: Mapping[str, Any]) -> None:
    """Write the model, and changed options."""
    rest = dict(changes)
    arguments["model"] = rest.pop("model", arguments.get("model"))
    arguments["options"] = with_changes(arguments.get("options") or {}, rest)


def values(function: None, given: dict[str, Any]) -> Body | None:
    """Return what a function is given; `None` for columns."""
    if any(type(one).__module__.startswith("snowflake.snowpark.column") for one in given.values()):
        return None
    said = next((given[name] for name in ("text", "str_input", "from_text") if name in given), None)
    return {"model": given.get("model"), "prompt": said}


def posted(given: dict[str, Any]) -> Operation | None:
    """Return the operation of a request, by its path."""
    return _POSTED.get(urlsplit(given.get("url") or "").path) if given.get("method") == "POST" else None


def write_posted(arguments: dict[str, Any], changes: Mapping[str, Any]) -> None:
    """Write changes into the body of a request."""
    arguments["body"] = with_changes(arguments["body"], changes)


def events(result: Any) -> Any:
    """Return the HTTP response of a stream; `None` for a whole answer."""
    kind = getattr(result, "headers", {}).get("content-type", "")
    return result if "json" not in kind and hasattr(type(result), "__iter__") else None


def answer(result: Any) -> Mapping[str, Any] | None:
    """Return a whole answer; `None` for an error, and for what is no answer."""
    data = getattr(result, "data", None)
    found = parse(data) if isinstance(data, bytes) and result.status < 400 else None
    return read_result(found) if found is not None else None


def function_answer(result: Any) -> Mapping[str, Any]:
    """Return what a function has generated."""
    return {"choices": [{"text": result if isinstance(result, str) else None, "finish_reason": "stop"}]}


class SnowflakeCortexInstrumentor(Instrumentor):
    """Records the calls of `snowflake.cortex` in the `snowflake-ml-python` package."""

    library = "snowflake-ml-python"
    distribution = "snowflake-ml-python"
    supports = "snowflake-ml-python >= 1.8, < 3"

    def patches(self) -> Patches:
        """Return the functions that ask for a completion, the one that sends each attempt, and those that are SQL."""
        requests = Methods(
            self.library,
            {"snowflake.cortex._complete": ""},
            {"_call_complete_rest": COMPLETE, "_call_complete_xp": COMPLETE},
            session_endpoint,
            completion,
            write_completion,
            events=events,
            answer=answer,
        )
        functions = Methods(
            self.library,
            {"snowflake.cortex": ""},
            _FUNCTIONS,
            session_endpoint,
            values,
            answer=function_answer,
        )
        return [*requests.patches(), *functions.patches(), answers(self.library, "requests.api", "request")]


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
            events=events,
            answer=answer,
        )
        attempts = (answers(self.library, module, "ApiClient.request", optional=True) for module in _API_CLIENTS)
        return [*requests.patches(), *attempts]
