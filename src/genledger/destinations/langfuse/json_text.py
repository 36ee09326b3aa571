"""Attribute values as JSON text, and back."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import orjson


def from_json(value: Any) -> Any:
    """Return what a JSON text describes, `None` for another text, and anything but a text as plain JSON data."""
    if not isinstance(value, str):
        return plain(value)
    try:
        return orjson.loads(value)
    except ValueError:
        return None


def as_json(value: Any) -> str:
    """Return a JSON text: `value` itself if it is one (an array or object), else `value` encoded."""
    if isinstance(value, str) and value[:1] in ("[", "{"):
        try:
            orjson.loads(value)
        except ValueError:
            return to_json(value)
        return value
    return to_json(plain(value))


def plain(value: Any) -> Any:
    """Return mappings and sequences as dictionaries and lists."""
    if isinstance(value, Mapping):
        return {str(key): plain(inner) for key, inner in value.items()}
    if isinstance(value, Iterable) and not isinstance(value, (str, bytes)):
        return [plain(inner) for inner in value]
    return value


def to_json(value: Any) -> str:
    """Return `value` as JSON text; what JSON has no form for becomes its text."""
    return orjson.dumps(value, default=str).decode()
