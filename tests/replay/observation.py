"""What an application can see of a result, reduced to plain values that compare with `==`."""

from __future__ import annotations

import dataclasses
from collections.abc import AsyncIterator, Callable, Iterator
from enum import Enum
from typing import Any

import anthropic
import openai
import pydantic

_STREAMS = (openai.Stream, openai.AsyncStream, anthropic.Stream, anthropic.AsyncStream)
_CLIENTS = (openai.OpenAI, openai.AsyncOpenAI, anthropic.Anthropic, anthropic.AsyncAnthropic)


def seen(value: Any) -> Any:
    """`value` as plain data: types by name, models with every attribute, errors with what they carry."""
    if value is None or isinstance(value, (bool, int, float, str, bytes)):
        if type(value).__module__ != "builtins":
            return (_name(value), repr(value))
        return value if value == value else "not a number"
    if isinstance(value, type):
        return f"{value.__module__}.{value.__qualname__}"
    if isinstance(value, dict):
        return (_name(value), [(seen(key), seen(item)) for key, item in value.items()])
    if isinstance(value, (list, tuple, set, frozenset)):
        return (_name(value), [seen(item) for item in value])
    if isinstance(value, pydantic.BaseModel):
        return _model(value)
    if isinstance(value, BaseException):
        return _error(value)
    if isinstance(value, Enum):
        return (_name(value), value.value)
    if _is_http_response(value):
        return _http_response(value)
    if isinstance(value, (*_CLIENTS, *_STREAMS)):
        return _name(value)
    if dataclasses.is_dataclass(value):
        return (_name(value), [(f.name, seen(getattr(value, f.name))) for f in dataclasses.fields(value)])
    if (
        hasattr(value, "http_response")
        or isinstance(getattr(value, "response", None), object)
        and _is_http_response(getattr(value, "response", None))
    ):
        return (_name(value), seen(getattr(value, "http_response", None) or value.response))
    return (_name(value), [(key, seen(item)) for key, item in sorted(_attributes(value).items())])


def _name(value: Any) -> str:
    return f"{type(value).__module__}.{type(value).__qualname__}"


def _attributes(value: Any) -> dict[str, Any]:
    return {
        key: item
        for key, item in getattr(value, "__dict__", {}).items()
        if not key.startswith("_") and not callable(item)
    }


def _model(model: pydantic.BaseModel) -> Any:
    return (
        _name(model),
        [(key, seen(item)) for key, item in model.__dict__.items()],
        seen(model.__pydantic_extra__),
        sorted(model.__pydantic_fields_set__),
        getattr(model, "_request_id", None),
    )


def _error(error: BaseException) -> Any:
    response = getattr(error, "response", None)
    return (
        _name(error),
        str(error),
        seen(error.args),
        [
            (key, seen(item))
            for key, item in sorted(error.__dict__.items())
            if key not in ("request", "response")
        ],
        _http_response(response) if _is_http_response(response) else response,
        error.__suppress_context__,
        _error(error.__cause__) if error.__cause__ is not None else None,
        _error(error.__context__) if error.__context__ is not None else None,
    )


def _is_http_response(value: Any) -> bool:
    return type(value).__name__ == "Response" and hasattr(value, "is_stream_consumed")


def _http_response(response: Any) -> Any:
    return (
        _name(response),
        response.status_code,
        response.headers.multi_items(),
        response.is_closed,
        response.is_stream_consumed,
        response.num_bytes_downloaded,
        response.content if response.is_closed and hasattr(response, "_content") else None,
    )


def drain(result: Any) -> Any:
    """`result` and all that comes out of it, when it is something to iterate or to read."""
    if isinstance(result, Iterator) or isinstance(result, (openai.Stream, anthropic.Stream)):
        return (_name(result), *_collect(lambda: iter(result)), _end(result))
    if hasattr(result, "iter_bytes") and hasattr(result, "read"):
        return (_name(result), result.read(), seen(result))
    return seen(result)


async def adrain(result: Any) -> Any:
    """As `drain`, for what an asynchronous client returns."""
    if isinstance(result, AsyncIterator) or isinstance(result, (openai.AsyncStream, anthropic.AsyncStream)):
        items: list[Any] = []
        error: Any = None
        try:
            async for item in result:
                items.append(seen(item))
        except Exception as raised:
            error = seen(raised)
        return (_name(result), items, error, _end(result))
    if hasattr(result, "aiter_bytes") and hasattr(result, "aread"):
        return (_name(result), await result.aread(), seen(result))
    return drain(result)


def _collect(start: Callable[[], Iterator[Any]]) -> tuple[list[Any], Any]:
    items: list[Any] = []
    try:
        for item in start():
            items.append(seen(item))
    except Exception as raised:
        return items, seen(raised)
    return items, None


def _end(stream: Any) -> Any:
    response = getattr(stream, "response", None)
    return seen(response) if _is_http_response(response) else None
