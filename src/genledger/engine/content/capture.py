"""Content of calls in the shape of the conventions' JSON schemas: off by default, bounded, redacted.

The functions that make parts are what instrumentors build messages from.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import json
from collections.abc import Mapping
from typing import Any

import orjson

from genledger.engine.content.redaction import Redactor
from genledger.engine.content.redaction.cuts import Redact, head, size, tail
from genledger.engine.operation import Attributes, Content
from genledger.engine.to_json import plain
from genledger.shared.text import each_text, well_formed

MAX_VALUE = 64 * 1024
"""Bytes that one content attribute may have, unless set otherwise."""

MAX_SPAN = 256 * 1024
"""Bytes that all content of one span may have, unless set otherwise."""


class Blob:
    """Encoded media on its way into a message."""

    __slots__ = ("data", "mime", "modality")

    def __init__(self, modality: str, mime: str | None, data: str) -> None:
        self.modality = modality
        self.mime = mime
        self.data = data


def text_part(content: Any) -> dict[str, Any]:
    """A piece of text."""
    return {"type": "text", "content": content}


def reasoning_part(content: Any) -> dict[str, Any]:
    """Return the part for the model's reasoning, as far as the provider shows it."""
    return {"type": "reasoning", "content": content}


def tool_call_part(name: Any, arguments: Any, call_id: Any = None) -> dict[str, Any]:
    """The model asks for a tool. Arguments that are JSON text become the object they describe."""
    if isinstance(arguments, (str, bytes)):
        try:
            arguments = orjson.loads(arguments)
        except orjson.JSONDecodeError:
            pass
    part = {"type": "tool_call", "name": name or "", "arguments": plain(arguments)}
    if call_id is not None:
        part["id"] = call_id
    return part


def tool_response_part(response: Any, call_id: Any = None) -> dict[str, Any]:
    """The application answers with what the tool gave."""
    part = {"type": "tool_call_response", "response": plain(response)}
    if call_id is not None:
        part["id"] = call_id
    return part


def media_part(modality: str, url: Any, mime: str | None = None) -> Any:
    """Media given as a URL or a `data:` URL."""
    if isinstance(url, str) and url.startswith("data:"):
        head, _, data = url.partition(",")
        return Blob(modality, head[5:].split(";")[0] or mime, data)
    part = {"type": "uri", "modality": modality, "uri": url if isinstance(url, str) else ""}
    if mime:
        part["mime_type"] = mime
    return part


def file_part(modality: str, file_id: Any) -> dict[str, Any]:
    """Media that the provider already has."""
    return {"type": "file", "modality": modality, "file_id": file_id}


_DEFINED = frozenset(
    {
        "text",
        "tool_call",
        "tool_call_response",
        "server_tool_call",
        "server_tool_call_response",
        "blob",
        "file",
        "uri",
        "reasoning",
        "compaction",
    }
)
"""The types of parts that the conventions define; a part of another shape cannot have their names."""


def generic_part(value: Any) -> dict[str, Any]:
    """Anything that the conventions have no part for."""
    data = plain(value)
    if isinstance(data, dict):
        kind = data.get("type")
        return {**data, "type": kind if isinstance(kind, str) and kind not in _DEFINED else "generic"}
    return {"type": "generic", "content": data}


class Capture:
    """Write content to spans and events.

    Args:
        spans: Content goes on spans, as JSON strings.
        events: Content goes on the details event.
        redactor: Runs over every value before it is written.
        max_value: Maximum bytes of one value.
        max_span: Maximum bytes of all content of one span.
        keep_media: Keep media; otherwise replace it with type, size and digest.
    """

    def __init__(
        self,
        *,
        spans: bool = True,
        events: bool = False,
        redactor: Redactor | None = None,
        max_value: int = MAX_VALUE,
        max_span: int = MAX_SPAN,
        keep_media: bool = False,
    ) -> None:
        self.spans = spans
        self.events = events
        self._redactor = redactor or Redactor()
        self._max_value = max_value
        self._max_span = max_span
        self._keep_media = keep_media

    def write(self, content: Content, attributes: Attributes) -> None:
        """Put content into attributes: texts as they are, everything else as JSON."""
        room = self._max_span // 2
        for name, value in content.items():
            if not value:
                continue
            if isinstance(value, str):
                limit = min(self._max_value, room)
                written = _fit(self._redactor.text(_fit(value, limit, self._redactor.built_in)), limit)
            else:
                written = self.encode(value, room)
            attributes[name] = written
            room = max(0, room - size(written))

    def encode(self, value: Any, room: int | None = None) -> str:
        """A JSON document of at most the allowed size, redacted."""
        limit = self._max_value if room is None else min(self._max_value, max(256, room))
        text = self._dumped(value)
        # What is searched is bounded, so it is cut before, and again if the labels have made it longer.
        if size(text) > limit:
            text = shorten(orjson.loads(text), limit, self._redactor.built_in)
        text = self._redactor.json(text)
        return text if size(text) <= limit else shorten(orjson.loads(text), limit)

    def _dumped(self, value: Any) -> str:
        try:
            return orjson.dumps(value, default=self._default, option=_OPTIONS).decode()
        except TypeError:  # half a character, which costs one character; a long number, which becomes a text
            written = json.loads(json.dumps(value, default=self._default, skipkeys=True), parse_int=_whole)
            return orjson.dumps(each_text(written, well_formed)).decode()

    def _default(self, value: Any) -> Any:
        if isinstance(value, Blob):
            return self._blob(value)
        data = plain(value)
        if data is not value:
            return data
        if isinstance(value, Mapping):
            return dict(value)
        if isinstance(value, (bytes, bytearray)):
            return {"size": len(value), "sha256": hashlib.sha256(value).hexdigest()}
        return str(value)

    def _blob(self, blob: Blob) -> dict[str, Any]:
        part: dict[str, Any] = {"modality": blob.modality}
        if blob.mime:
            part["mime_type"] = blob.mime
        if self._keep_media:
            return {"type": "blob", "content": blob.data, **part}
        try:
            data = base64.b64decode(blob.data, validate=False)
        except (binascii.Error, ValueError):
            data = blob.data.encode(errors="replace")
        digest = hashlib.sha256(data).hexdigest()
        return {"type": "uri", "uri": f"sha256:{digest}", "size": len(data), **part}


def _whole(digits: str) -> int | str:
    number = int(digits)
    return number if -(2**63) <= number < 2**64 else digits


_OPTIONS = orjson.OPT_NON_STR_KEYS | orjson.OPT_SERIALIZE_NUMPY


def shorten(value: Any, limit: int, redact: Redact | None = None) -> str:
    """Return valid JSON of at most `limit` bytes that keeps the beginning and the end of what is too long.

    Args:
        value: A JSON value.
        limit: Bytes.
        redact: For a value that is still to be redacted: a cut then leaves no part of a secret.
    """
    for longest in (limit // 4, 2048, 512, 128, 32):
        value = _cut_texts(value, longest, redact)
        data = orjson.dumps(value)
        if len(data) <= limit:
            return data.decode()
    while isinstance(value, list) and len(value) > 2:
        middle = len(value) // 2
        value = [*value[: middle // 2 + 1], *value[-(middle // 2 + 1) :]] if len(value) > 4 else [value[0], value[-1]]
        data = orjson.dumps(value)
        if len(data) <= limit:
            return data.decode()
    return "[]" if isinstance(value, list) else "{}"


def _cut_texts(value: Any, longest: int, redact: Redact | None) -> Any:
    if isinstance(value, str):
        return _cut(value, longest, redact)
    if isinstance(value, dict):
        return {key: _cut_texts(item, longest, redact) for key, item in value.items()}
    if isinstance(value, list):
        return [_cut_texts(item, longest, redact) for item in value]
    return value


def _cut(text: str, longest: int, redact: Redact | None) -> str:
    if len(text) <= longest:
        return text
    keep = max(8, longest // 2 - 20)
    if redact is None:
        first, last = text[:keep], text[-keep:]
    else:
        first, last = head(text, keep, redact), tail(text, keep, redact)
    return f"{first}…[{len(text) - len(first) - len(last)} characters left out]…{last}"


def _fit(text: str, limit: int, redact: Redact | None = None) -> str:
    """A text of at most `limit` bytes, or, where that is nothing, its shortest."""
    longest = limit
    kept = _cut(text, longest, redact)
    while size(kept) > limit and longest > 0:
        longest = longest * limit // size(kept)
        kept = _cut(text, longest, redact)
    return kept
