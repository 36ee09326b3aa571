"""Recorded provider traffic: one HTTP interaction per file, beside the repository.

The files are test data at hand and never part of the repository; `available()` says whether they are here.
"""

from __future__ import annotations

import base64
import email
import email.policy
import json
from dataclasses import dataclass
from email.message import EmailMessage
from functools import cache
from pathlib import Path
from typing import Any
from urllib.parse import SplitResult, urlsplit

_PLACES = [folder / "shared" / "data" / "recordings" for folder in Path(__file__).resolve().parents[3:]]
FOLDER = next((place for place in _PLACES if place.is_dir()), _PLACES[0])
ABSENT = "the recorded provider traffic (shared/data/recordings beside the repository or above it) is not here"

_TRANSFER_HEADERS = {"content-encoding", "content-length", "transfer-encoding"}


@dataclass(frozen=True)
class Recording:
    """One request and its response, with the response body as the bytes that went over the wire."""

    file: str
    provider: str
    operation: str
    stream: bool
    method: str
    url: SplitResult
    request_headers: dict[str, str]
    request_body: Any
    status: int
    headers: dict[str, str]
    payload: bytes

    def __str__(self) -> str:
        return self.file

    @property
    def origin(self) -> str:
        """The address without its path."""
        return f"{self.url.scheme}://{self.url.netloc}"

    def fields(self) -> dict[str, Any]:
        """The fields of the request's JSON or form; none when the body was lost, or is neither."""
        if isinstance(self.request_body, dict):
            return dict(self.request_body)
        raw = self.request_body if isinstance(self.request_body, bytes) else str(self.request_body or "").encode()
        return _form(self.request_headers.get("content-type", ""), raw)


def available() -> bool:
    """Whether the recordings are beside this repository."""
    return (FOLDER / "INDEX.json").is_file()


@cache
def index() -> tuple[dict[str, Any], ...]:
    """The rows of INDEX.json; none when the recordings are absent."""
    if not available():
        return ()
    return tuple(json.loads((FOLDER / "INDEX.json").read_text(encoding="utf-8")))


def load(row: dict[str, Any]) -> Recording:
    """The recording that one row of the index describes."""
    record = json.loads((FOLDER / row["file"]).read_text(encoding="utf-8"))
    request, response = record["request"], record["response"]
    headers = {k: v for k, v in _flat(response["headers"]).items() if k not in _TRANSFER_HEADERS}
    if "/" not in headers.get("content-type", ""):  # some recordings have lost their headers
        streamed = "application/vnd.amazon.eventstream" if "body_base64" in response else "text/event-stream"
        headers["content-type"] = streamed if row["stream"] else "application/json"
    return Recording(
        file=row["file"],
        provider=row["provider"],
        operation=row["operation"],
        stream=row["stream"],
        method=request["method"],
        url=urlsplit(request["url"]),
        request_headers=_flat(request["headers"]),
        request_body=_body(request),
        status=response["status"],
        headers=headers,
        payload=_bytes(_body(response)),
    )


def _flat(headers: dict[str, Any]) -> dict[str, str]:
    return {
        name.lower(): ", ".join(map(str, value)) if isinstance(value, list) else str(value)
        for name, value in headers.items()
    }


def _body(message: dict[str, Any]) -> Any:
    encoded = message.get("body_base64")
    return base64.b64decode(encoded) if encoded is not None else message.get("body")


def _bytes(body: Any) -> bytes:
    if isinstance(body, bytes):
        return body
    if isinstance(body, str):
        return body.encode()
    return b"" if body is None else json.dumps(body).encode()


def _form(content_type: str, raw: bytes) -> dict[str, Any]:
    head = f"Content-Type: {content_type}\r\n\r\n".encode()
    message = email.message_from_bytes(head + raw, policy=email.policy.HTTP)
    fields: dict[str, Any] = {}
    for part in message.iter_parts() if message.is_multipart() else ():
        assert isinstance(part, EmailMessage)
        name = str(part.get_param("name", header="content-disposition"))
        content = part.get_payload(decode=True)
        assert isinstance(content, bytes)
        filename = part.get_filename()
        if filename is not None:
            fields[name] = (filename, content)
        elif name.endswith("[]"):
            fields.setdefault(name.removesuffix("[]"), []).append(content.decode())
        else:
            fields[name] = {"true": True, "false": False}.get(content.decode(), content.decode())
    return fields
