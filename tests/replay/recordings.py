"""Recorded provider traffic: one HTTP interaction per file, beside the repository.

The files are test data at hand and never part of the repository; `available()` says whether they are here.
"""

from __future__ import annotations

import base64
import json
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any
from urllib.parse import SplitResult, urlsplit

FOLDER = Path(__file__).resolve().parents[3] / "shared" / "data" / "recordings"
ABSENT = "the recorded provider traffic (shared/data/recordings beside the repository) is not here"

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
    if "content-type" not in headers:  # some recordings have lost their headers
        headers["content-type"] = "text/event-stream" if row["stream"] else "application/json"
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


def all_recordings() -> Iterator[Recording]:
    """Every recording, in the order of the index."""
    return map(load, index())


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
