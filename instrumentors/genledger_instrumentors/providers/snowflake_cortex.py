"""Snowflake's functions of Cortex in `snowflake.cortex`, of snowflake-ml-python 1.8 to 2.x.

https://docs.snowflake.com/en/user-guide/snowflake-cortex/aisql. A completion goes to a REST API that says what it
consumed. Everything else is SQL in a warehouse, which does not: those calls have no price. With columns instead of
values, a function makes an expression and is no call.
"""

from __future__ import annotations

import sys
from collections.abc import Mapping
from typing import Any

from genledger.engine.operation import Body, Endpoint, Operation, with_changes
from genledger.instrumentation.adapters.http_response import event_stream
from genledger.instrumentation.adapters.methods import Methods
from genledger.instrumentation.adapters.retries import answers
from genledger.instrumentation.adapters.wire import endpoint_at
from genledger.instrumentation.instrumentor import Instrumentor
from genledger.instrumentation.patching import Patches

from ..formats.cortex import COMPLETE, EMBED, FUNCTION, TRANSLATE, read_request

_FUNCTIONS: Mapping[str, Operation] = {
    **dict.fromkeys(("summarize", "Summarize", "sentiment", "Sentiment"), FUNCTION),
    **dict.fromkeys(("extract_answer", "ExtractAnswer", "classify_text", "ClassifyText"), FUNCTION),
    **dict.fromkeys(("translate", "Translate"), TRANSLATE),
    **dict.fromkeys(("embed_text_768", "EmbedText768", "embed_text_1024", "EmbedText1024"), EMBED),
}


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
            events=event_stream,
            answer=lambda result: None,
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
