"""Protobuf messages read like their JSON form, https://protobuf.dev/programming-guides/json/.

Nothing is converted before it is asked for: an answer may have a hundred vectors in it, and a request a film.
"""

from __future__ import annotations

import base64
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any


def as_json(value: Any) -> Any:
    """Return a view of a message, of protobuf or of proto-plus; anything else as it is."""
    message = message_of(value)
    return JsonMessage(message) if hasattr(message, "ListFields") else value


def message_of(value: Any) -> Any:
    """Return protobuf's own message in one of proto-plus; anything else as it is."""
    unwrap = getattr(type(value), "pb", None)
    return unwrap(value) if callable(unwrap) else value


def copied(value: Any) -> Any:
    """As `as_json`, of a copy: the application may change the message."""
    message = message_of(value)
    if not hasattr(message, "ListFields"):
        return value
    copy = type(message)()
    copy.CopyFrom(message)
    return JsonMessage(copy)


class JsonMessage(Mapping[str, Any]):
    """The fields of a message that are set, by their names in JSON; those inside are views, too.

    Enums have their names, unless they are newer than the client; integers of 64 bits stay integers, which they do
    not in JSON.
    """

    __slots__ = ("_message",)

    def __init__(self, message: Any) -> None:
        self._message = message

    def __getitem__(self, name: str) -> Any:
        for field, value in self._message.ListFields():
            if field.json_name == name:
                return _value(field, value)
        raise KeyError(name)

    def __iter__(self) -> Iterator[str]:
        return (field.json_name for field, _ in self._message.ListFields())

    def __len__(self) -> int:
        return len(self._message.ListFields())


class _Struct(Mapping[str, Any]):
    """JSON data that is a message, by the application's own names."""

    __slots__ = ("_fields",)

    def __init__(self, struct: Any) -> None:
        self._fields = struct.fields

    def __getitem__(self, name: str) -> Any:
        if name not in self._fields:  # reading a field that is not there would make it
            raise KeyError(name)
        return _data(self._fields[name])

    def __iter__(self) -> Iterator[str]:
        return iter(self._fields)

    def __len__(self) -> int:
        return len(self._fields)


def _data(value: Any) -> Any:
    kind = value.WhichOneof("kind")
    if kind == "struct_value":
        return _Struct(value.struct_value)
    if kind == "list_value":
        return [_data(one) for one in value.list_value.values]
    if kind == "number_value":
        number = value.number_value
        return int(number) if number.is_integer() else number
    return None if kind in (None, "null_value") else getattr(value, kind)


_KNOWN: Mapping[str, Callable[[Any], Any]] = {
    "google.protobuf.Struct": _Struct,
    "google.protobuf.Value": _data,
    "google.protobuf.ListValue": lambda found: [_data(one) for one in found.values],
}
"""Messages that are JSON data themselves."""


def _value(field: Any, value: Any) -> Any:
    kind = field.message_type
    if kind is not None and isinstance(value, Mapping) and kind.full_name not in _KNOWN:
        inner = kind.fields_by_name["value"]
        return {str(key): _value(inner, one) for key, one in value.items()}
    if isinstance(value, Sequence) and not isinstance(value, (str, bytes)):
        return [_one(field, one) for one in value]
    return _one(field, value)


def _one(field: Any, value: Any) -> Any:
    if field.message_type is not None:
        return _KNOWN.get(field.message_type.full_name, JsonMessage)(value)
    if field.enum_type is not None:
        named = field.enum_type.values_by_number.get(value)
        return value if named is None else named.name
    if isinstance(value, bytes):
        return base64.b64encode(value).decode()
    if isinstance(value, float) and field.cpp_type == field.CPPTYPE_FLOAT:
        return float(f"{value:.7g}")  # as it was written, before it had only 32 bits
    return value
