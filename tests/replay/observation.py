"""What an application can see of a result, reduced to plain values that compare with `==`."""

from __future__ import annotations

import dataclasses
from enum import Enum
from typing import Any, NamedTuple

import pydantic

from ..instrumentors.provider import now


class Failure(NamedTuple):
    """An exception, and everything that it carries."""

    kind: str
    message: str
    details: Any


class Drained(NamedTuple):
    """What came out of a stream, what broke it, and what its HTTP response looked like afterwards."""

    kind: str
    items: list[Any]
    error: Failure | None
    response: Any


_PLAIN = {"datetime", "decimal", "uuid"}
"""Modules whose values show themselves."""


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
    if hasattr(value, "__next__") or hasattr(value, "__anext__") or hasattr(value, "with_options"):
        return _name(value)  # a stream, or a client
    if type(value).__module__ in _PLAIN:
        return (_name(value), repr(value))
    if dataclasses.is_dataclass(value):
        return (_name(value), [(f.name, seen(getattr(value, f.name))) for f in dataclasses.fields(value)])
    response = getattr(value, "http_response", None) or getattr(value, "response", None)
    if _is_http_response(response):
        return (_name(value), _http_response(response))
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


def _error(error: BaseException) -> Failure:
    response = getattr(error, "response", None)
    details = (
        seen(error.args),
        [(key, seen(item)) for key, item in sorted(error.__dict__.items()) if key not in ("request", "response")],
        _http_response(response) if _is_http_response(response) else seen(response),
        error.__suppress_context__,
        _error(error.__cause__) if error.__cause__ is not None else None,
        _error(error.__context__) if error.__context__ is not None else None,
    )
    return Failure(_name(error), str(error), details)


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


async def drained(result: Any) -> Any:
    """`result` and all that comes out of it, when it is something to iterate or to read."""
    if hasattr(result, "__anext__") or hasattr(result, "__next__"):
        items: list[Any] = []
        error: Failure | None = None
        try:
            if hasattr(result, "__anext__"):
                async for item in result:
                    items.append(seen(item))
            else:
                for item in result:
                    items.append(seen(item))
        except Exception as raised:
            error = _error(raised)
        response = getattr(result, "response", None)
        return Drained(_name(result), items, error, _http_response(response) if _is_http_response(response) else None)
    if hasattr(result, "iter_bytes") and hasattr(result, "read"):
        return (_name(result), await now(result.read()), seen(result))
    return seen(result)


def failed(observation: Any) -> bool:
    """Whether the application got an exception, at once or out of a stream."""
    if isinstance(observation, Failure):
        return True
    if isinstance(observation, Drained):
        return observation.error is not None
    return type(observation) is tuple and any(map(failed, observation))


def difference(one: Any, other: Any, path: str = "result") -> str | None:
    """Where two observations differ first, or `None` when they are equal."""
    if type(one) is type(other) and one == other:
        return None
    if type(one) is not type(other):
        return f"{path}: {one!r:.200} is not {other!r:.200}"
    if isinstance(one, (list, tuple)):
        if len(one) != len(other):
            return f"{path}: {len(one)} items, not {len(other)}"
        pairs = enumerate(zip(one, other, strict=True))
        return next((found for i, (a, b) in pairs if (found := difference(a, b, f"{path}[{i}]"))), None)
    return None if one == other else f"{path}: {one!r:.200} is not {other!r:.200}"
