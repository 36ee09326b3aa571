"""How much there is in a request, for estimates of its tokens.

Length is measured in bytes of UTF-8: tokenizers need about as many tokens for a byte of Chinese or Russian as for
one of English, and up to four times as many for a character.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from genledger import pricing

_NOT_TEXT = frozenset(
    {"data", "bytes", "image_url", "inputImage", "file_data", "b64_json", "type", "role", "id", "cache_control"}
)

_IMAGES = frozenset({"image", "image_url", "input_image"})
"""The types of content parts that are images."""

INPUT_IMAGE_TOKENS = 2500
"""Input tokens that an image is taken for: as many as the largest for GPT-4.1 mini, 1536 patches × 1.62.
https://platform.openai.com/docs/guides/images-vision"""


def length_of(text: str) -> int:
    """Return the bytes of a text in UTF-8."""
    return len(text) if text.isascii() else len(text.encode(errors="replace"))


def input_tokens(body: Any, provider: str, model: str, *, carefully: bool = False) -> int:
    """Return about how many tokens a request is, leaving out encoded media other than images.

    Args:
        body: The request.
        provider: Whose vocabulary counts.
        model: Likewise.
        carefully: Look at the text, not only at its length: a few milliseconds, for calls whose usage is never
            told, where a wrong estimate is what stays.
    """
    texts: list[str] = []
    tokens = _walk(body, texts, 0)
    if carefully:
        return tokens + pricing.estimate_tokens("\n".join(texts), provider, model)
    return tokens + pricing.estimate_tokens(sum(map(length_of, texts)), provider, model)


def text_length(value: Any) -> int:
    """Return the bytes of text anywhere inside a value, leaving out encoded media."""
    texts: list[str] = []
    _walk(value, texts, 1)
    return sum(map(length_of, texts))


def _walk(value: Any, texts: list[str], depth: int) -> int:
    """Add the texts anywhere inside a value to `texts`; return the tokens of what is no text."""
    if isinstance(value, str):
        if not value.startswith("data:"):
            texts.append(value)
        return 0
    if depth > 12:
        return 0
    if isinstance(value, Mapping):
        kind = value.get("type")
        tokens = INPUT_IMAGE_TOKENS if isinstance(kind, str) and kind in _IMAGES else 0
        for key, item in value.items():
            if key not in _NOT_TEXT:
                # Names below the top count as well: those of a tool's parameters are sent to the model.
                if depth:
                    texts.append(str(key))
                tokens += _walk(item, texts, depth + 1)
        return tokens
    if isinstance(value, (list, tuple)):
        if value and type(value[0]) is int:
            return len(value)  # a text that the application has cut into tokens itself
        return sum(_walk(item, texts, depth + 1) for item in value)
    if hasattr(value, "__pydantic_extra__") or hasattr(value, "__dataclass_fields__"):
        return _walk(vars(value), texts, depth + 1)
    return 0
