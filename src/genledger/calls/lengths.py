"""How much text a request has, for estimates of its tokens."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

_NOT_TEXT = frozenset({"data", "image_url", "file_data", "b64_json", "type", "role", "id", "cache_control"})


def text_length(value: Any, depth: int = 0) -> int:
    """Characters of text anywhere inside a request, leaving out encoded media."""
    if isinstance(value, str):
        return 0 if value.startswith("data:") else len(value)
    if depth > 12:
        return 0
    if isinstance(value, Mapping):
        return sum(text_length(item, depth + 1) for key, item in value.items() if key not in _NOT_TEXT)
    if isinstance(value, (list, tuple)):
        return sum(text_length(item, depth + 1) for item in value)
    return 0
