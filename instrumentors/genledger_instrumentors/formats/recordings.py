"""How long a recording can be, from the file that an application sends."""

from __future__ import annotations

import os
from typing import Any

SPEECH_RATE = 2000
"""Bytes of a second of compressed speech at least: 16 kbit/s, about the lowest rate at which speech is encoded."""

UNKNOWN = 600.0
"""Seconds of a recording whose size is not known."""


def seconds_of(file: Any) -> float:
    """Return the seconds that a recording has at most: exactly for WAV, by its size for other formats.

    Args:
        file: What an application gives a client: bytes, an open file, a path, or a tuple of a name and one of them.
            It is not moved or changed.
    """
    try:
        given = file[1] if isinstance(file, tuple) else file
        size, head = _looked_at(given)
    except Exception:
        return UNKNOWN
    rate = int.from_bytes(head[28:32], "little") if head[:4] == b"RIFF" and head[8:12] == b"WAVE" else 0
    return size / (rate or SPEECH_RATE)


def _looked_at(file: Any) -> tuple[int, bytes]:
    if isinstance(file, (bytes, bytearray)):
        return len(file), bytes(file[:32])
    if isinstance(file, os.PathLike):
        with open(file, "rb") as opened:
            return os.path.getsize(file), opened.read(32)
    if hasattr(file, "getbuffer"):
        buffer = file.getbuffer()
        return buffer.nbytes, bytes(buffer[:32])
    number = file.fileno()
    return os.fstat(number).st_size, os.pread(number, 32, 0) if hasattr(os, "pread") else b""
