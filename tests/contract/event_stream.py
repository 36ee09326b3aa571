"""Amazon's event stream encoding, written from its specification.

https://smithy.io/2.0/aws/amazon-eventstream.html
"""

from __future__ import annotations

import json
import struct
from collections.abc import Iterator
from typing import Any
from zlib import crc32

STRING = 7
"""The type of a header's value."""


def frame(headers: dict[str, str], payload: bytes) -> bytes:
    """One message: its prelude with a checksum, its headers, its payload, and the checksum of it all."""
    coded = b"".join(
        struct.pack("!B", len(name)) + name.encode() + struct.pack("!BH", STRING, len(value.encode())) + value.encode()
        for name, value in headers.items()
    )
    prelude = struct.pack("!II", 16 + len(coded) + len(payload), len(coded))
    message = prelude + struct.pack("!I", crc32(prelude)) + coded + payload
    return message + struct.pack("!I", crc32(message))


def frames(encoded: bytes) -> Iterator[tuple[dict[str, str], bytes]]:
    """The headers and the payload of each message."""
    while encoded:
        total, coded = struct.unpack_from("!II", encoded)
        assert crc32(encoded[: total - 4]) == int.from_bytes(encoded[total - 4 : total], "big")
        yield _headers(encoded[12 : 12 + coded]), encoded[12 + coded : total - 4]
        encoded = encoded[total:]


def _headers(coded: bytes) -> dict[str, str]:
    headers = {}
    while coded:
        name = coded[1 : 1 + coded[0]]
        kind, length = struct.unpack_from("!BH", coded, 1 + len(name))
        assert kind == STRING
        start = 4 + len(name)
        headers[name.decode()] = coded[start : start + length].decode()
        coded = coded[start + length :]
    return headers


def event(kind: str, payload: Any) -> bytes:
    """An event with a JSON payload."""
    headers = {":event-type": kind, ":content-type": "application/json", ":message-type": "event"}
    return frame(headers, json.dumps(payload).encode())


def exception(kind: str, message: str) -> bytes:
    """A modeled error inside of a stream."""
    headers = {":exception-type": kind, ":content-type": "application/json", ":message-type": "exception"}
    return frame(headers, json.dumps({"message": message}).encode())
