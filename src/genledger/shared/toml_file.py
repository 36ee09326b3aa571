"""Files that people write, in TOML: read as a whole or not at all, whatever is there instead of one."""

from __future__ import annotations

import os
import re
import stat
from collections.abc import Callable
from typing import Any

MAX_BYTES = 4 * 1024 * 1024
"""Bytes that such a file may have; one with ten thousand prices has two million."""


class TomlFileError(ValueError):
    """A file cannot be read. The message says why; `line` is where it is not TOML."""

    def __init__(self, reason: str, line: int | None = None) -> None:
        super().__init__(reason)
        self.line = line


def read_toml(path: str | os.PathLike[str], parse_float: Callable[[str], Any] = float) -> tuple[str, dict[str, Any]]:
    """Return the text of a TOML file, and what it says.

    Raises:
        TomlFileError: It is not there, not a regular file, too large, not UTF-8 or not TOML, or nested too deeply.
    """
    try:
        text = _read(path).decode("utf-8")
    except (OSError, ValueError) as error:
        raise TomlFileError(f"cannot be read: {error}") from error
    return text, parse_toml(text, parse_float)


def parse_toml(text: str, parse_float: Callable[[str], Any] = float) -> dict[str, Any]:
    """Return what a TOML document says.

    Raises:
        TomlFileError: It is not TOML, or nested too deeply.
    """
    import tomllib

    try:
        return tomllib.loads(text, parse_float=parse_float)
    except tomllib.TOMLDecodeError as error:
        at = re.search(r"at line (\d+)", str(error))
        raise TomlFileError(f"not valid TOML: {error}", int(at[1]) if at else len(text.splitlines())) from error
    except RecursionError as error:
        raise TomlFileError("not usable: it is nested too deeply") from error
    except Exception as error:  # numbers too long to be read, or too little memory
        raise TomlFileError(f"not usable: {type(error).__name__}: {error}") from error


def _read(path: str | os.PathLike[str]) -> bytes:
    # Without waiting: a named pipe that nobody writes to would hold up the start of the application.
    descriptor = os.open(path, os.O_RDONLY | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_BINARY", 0))
    try:
        if not stat.S_ISREG(os.fstat(descriptor).st_mode):
            raise ValueError("it is not a regular file")
        with open(descriptor, "rb", closefd=False) as file:
            content = file.read(MAX_BYTES + 1)
    finally:
        os.close(descriptor)
    if len(content) > MAX_BYTES:
        raise ValueError(f"it has more than {MAX_BYTES:,} bytes")
    return content
