"""Calls of tools, as budgets that count repeats know them."""

from __future__ import annotations

import zlib

from genledger.shared.text import bounded


def tool_signature(name: str, arguments: object) -> str:
    """Return what two calls of a tool have in common if they repeat each other; the arguments cannot be read in it."""
    return f"{bounded(name)}:{zlib.crc32(repr(arguments).encode()):08x}"
