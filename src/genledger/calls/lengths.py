"""How much text there is, for estimates of its tokens.

Length is measured in bytes of UTF-8: tokenizers need about as many tokens for a byte of Chinese or Russian as for
one of English, and up to four times as many for a character.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

_NOT_TEXT = frozenset({"data", "image_url", "file_data", "b64_json", "type", "role", "id", "cache_control"})


def length_of(text: str) -> int:
    """Return the bytes of a text in UTF-8."""
    return len(text) if text.isascii() else len(text.encode(errors="replace"))


def text_length(value: Any, depth: int = 0) -> int:
    """Return the bytes of text anywhere inside a request, leaving out encoded media."""
    if isinstance(value, str):
        return 0 if value.startswith("data:") else length_of(value)
    if depth > 12:
        return 0
    if isinstance(value, Mapping):
        return sum(text_length(item, depth + 1) for key, item in value.items() if key not in _NOT_TEXT)
    if isinstance(value, (list, tuple)):
        return sum(text_length(item, depth + 1) for item in value)
    return 0
