"""The most that a call can consume: what is reserved for it, and what is settled when its answer never came.

The input is estimated from the length of its text in bytes of UTF-8: tokenizers need about as many tokens for a byte
of Chinese or Russian as for one of English, and up to four times as many for a character.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from genledger import pricing
from genledger.engine.operation import Operation, at_path
from genledger.pricing.getters import declared
from genledger.pricing.usage import NO_UNITS, Usage
from genledger_semconv import spans as S

if TYPE_CHECKING:
    from genledger.engine.call import Call

DEFAULT_OUTPUT_TOKENS = 4096
"""Output tokens that are reserved for a call that sets no limit of its own."""

_NOT_TEXT = frozenset(
    {
        *("data", "bytes", "image_url", "inputImage", "file_data", "b64_json", "type", "role", "id", "cache_control"),
        *("thoughtSignature", "thought_signature"),
    }
)

_MEDIA = frozenset({"inlineData", "inline_data"})
"""Fields of Gemini's parts that are encoded media, most of it images."""

_IMAGES = frozenset({"image", "image_url", "input_image"})
"""The types of content parts that are images."""

INPUT_IMAGE_TOKENS = 2500
"""Input tokens that an image is taken for: as many as the largest for GPT-4.1 mini, 1536 patches × 1.62.
https://platform.openai.com/docs/guides/images-vision"""


def ceiling(call: Call, body: Any, *, carefully: bool = False) -> Usage:
    """Return the most that a request can consume: its input, estimated, and the largest answer it allows.

    Whatever the operation is billed by is in it: tokens, and the units that `Operation.largest` stands for.

    Args:
        call: The call.
        body: Its request, or one of a batch's.
        carefully: Look at the text, not only at its length, as `input_tokens` does.
    """
    provider, operation = call.endpoint.provider, call.operation
    if operation.name == S.RETRIEVAL:
        return largest(provider, operation, body)  # a search is billed by the request, and its span has no tokens
    size = input_tokens(body, provider, str(body.get("model") or call.model or ""), carefully=carefully)
    usage = largest(provider, operation, body)
    return replace(usage, input=max(size, usage.input))


def largest(provider: str, operation: Operation, body: Any) -> Usage:
    """Return what the largest answer is billed by that a request allows."""
    if operation.largest is not None:
        answers, usage = operation.largest(body), Usage()
        for answer in answers if isinstance(answers, tuple) else (answers,):
            reading = pricing.read_usage(provider, operation.api, answer, body)
            usage = usage if reading is None else usage + reading.usage
        return usage
    if operation.inference or operation.batch is not None:
        limit = DEFAULT_OUTPUT_TOKENS
        for name in operation.limit:
            asked = at_path(body, name)
            if type(asked) is int and asked >= 0:
                limit = asked
                break
        units = operation.tools(body) if operation.tools is not None and body.get("tools") else NO_UNITS
        return Usage(output=limit * choices(operation, body), units=units)
    return Usage()


def choices(operation: Operation, body: Any) -> int:
    """Return how many answers a request has generated."""
    most = prompts = 1
    for name in operation.choices:
        value = at_path(body, name)
        if type(value) is int:
            most = max(most, value)
        elif isinstance(value, (list, tuple)) and value and type(value[0]) is not int:
            prompts = len(value)
    return most * prompts


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
    return tokens + pricing.estimate_tokens(length_of("".join(texts)), provider, model)


def text_length(value: Any) -> int:
    """Return the bytes of text anywhere inside a value, leaving out encoded media."""
    texts: list[str] = []
    _walk(value, texts, 1)
    return length_of("".join(texts))


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
            if key in _MEDIA:
                tokens += INPUT_IMAGE_TOKENS
            elif key == "images" and isinstance(item, (list, tuple)):
                tokens += INPUT_IMAGE_TOKENS * len(item)  # encoded, as Ollama takes them
            elif key not in _NOT_TEXT:
                # Names below the top count as well: those of a tool's parameters are sent to the model.
                if depth:
                    texts.append(str(key))
                tokens += _walk(item, texts, depth + 1)
        return tokens
    if isinstance(value, (list, tuple)):
        if value and type(value[0]) is int:
            return len(value)  # a text that the application has cut into tokens itself
        tokens = 0
        for item in value:
            tokens += _walk(item, texts, depth + 1)
        return tokens
    fields = declared(value)
    return 0 if fields is None else _walk(fields, texts, depth + 1)
