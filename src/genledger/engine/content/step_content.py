"""Arguments and result of an observed function, in the attributes that the conventions have for its kind.

https://github.com/open-telemetry/semantic-conventions-genai: a tool's are objects, an agent's and a workflow's are
messages, a retrieval's are a query and documents. A task's are objects, too, in attributes of our own.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from functools import lru_cache
from typing import Any

import orjson

from genledger.engine.content.capture import text_part
from genledger.engine.operation import Content
from genledger.engine.to_json import plain
from genledger_semconv import attributes as A

_signature = lru_cache(maxsize=1024)(inspect.signature)


def arguments_of(kind: str, function: Callable[..., Any], args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> Content:
    """Return the content of a step that begins.

    Args:
        kind: Of the step.
        function: The observed function.
        args: What it is called with.
        kwargs: Likewise, by name.
    """
    given = _bound(function, args, kwargs)
    if kind == "tool":
        return {A.GEN_AI_TOOL_CALL_ARGUMENTS: given}
    if kind == "retrieval":
        return {A.GEN_AI_RETRIEVAL_QUERY_TEXT: _asked(given)}
    if kind == "task":
        return {A.GENLEDGER_TASK_ARGUMENTS: given}
    return {A.GEN_AI_INPUT_MESSAGES: given and [{"role": "user", "parts": [text_part(_asked(given))]}]}


def result_of(kind: str, result: Any) -> Content:
    """Return the content of a step that has ended; none for a result of `None`.

    Args:
        kind: Of the step.
        result: What the observed function returned.
    """
    if result is None:
        return {}
    data = plain(result)
    if kind in ("tool", "task"):
        name = A.GEN_AI_TOOL_CALL_RESULT if kind == "tool" else A.GENLEDGER_TASK_RESULT
        return {name: data if isinstance(data, Mapping) else {"result": data}}
    if kind == "retrieval":
        found = data if isinstance(data, (list, tuple)) else [data]
        return {A.GEN_AI_RETRIEVAL_DOCUMENTS: [_document(one) for one in found]}
    message = {"role": "assistant", "parts": [text_part(_text(data))], "finish_reason": "stop"}
    return {A.GEN_AI_OUTPUT_MESSAGES: [message]}


def _bound(function: Callable[..., Any], args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> dict[str, Any]:
    """Return the arguments by their names, without the object of a method."""
    try:
        given = _signature(function).bind(*args, **kwargs).arguments
    except (TypeError, ValueError):
        return {"args": args, **kwargs} if args else dict(kwargs)
    return {name: value for index, (name, value) in enumerate(given.items()) if index or name not in ("self", "cls")}


def _asked(given: Mapping[str, Any]) -> str:
    """Return the only text among the arguments, else all of them as JSON."""
    texts = [value for value in given.values() if isinstance(value, str)]
    return texts[0] if len(texts) == 1 else _text(given)


def _text(value: Any) -> str:
    if isinstance(value, str):
        return value
    try:
        return orjson.dumps(value, default=_fallback, option=orjson.OPT_NON_STR_KEYS).decode()
    except TypeError:  # half a character, a number of more than 64 bits
        return repr(value)


def _fallback(value: Any) -> Any:
    data = plain(value)
    return data if data is not value else str(value)


def _document(found: Any) -> Mapping[str, Any]:
    data = plain(found)
    if isinstance(data, Mapping) and "content" in data:
        return data
    content = getattr(found, "page_content", None)
    return {"content": data if content is None else content}
