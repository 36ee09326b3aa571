"""Files that people write, in TOML: read as a whole or not at all, and every mistake with its line."""

from __future__ import annotations

import os
import re
import stat
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

MAX_BYTES = 4 * 1024 * 1024
"""Bytes that such a file may have; one with ten thousand prices has two million."""

MAX_TABLES = 25_000
MAX_VALUES = 250_000
"""What such a file may hold, so that looking at it takes seconds and megabytes even when all of it is wrong."""

Path = tuple[str | int, ...]
"""Where something stands in a document: keys, and indexes of lists and of `[[tables]]`."""

MAX_DEPTH = 8
"""Steps of a path that lines are kept for; what is deeper has the line of what it is in."""

_LONG_KEY = re.compile(r"(?<![\"'\w-])(?:[\"'\w-]++[ \t]*+\.[ \t]*+){50}")
"""A key of so many parts that reading it takes time and memory by their square."""

_TOKEN = re.compile(
    r'(?P<text>"""(?:\\.|[^\\])*?"{3,5}|\'\'\'.*?\'{3,5}|"(?:\\.|[^"\\\n])*"|\'[^\'\n]*\'|[^\s\[\]{}=,.#"\']+)'
    r"|(?P<mark>[\[\]{}=,\n])|#[^\n]*",
    re.DOTALL,
)


class Mistake(NamedTuple):
    """Mistake in a file and its fix; `line` counts from 1, `None` means the whole file."""

    message: str
    line: int | None = None


class TomlFileError(ValueError):
    """A file cannot be used.

    Attributes:
        path: The file.
        mistakes: All that is wrong with it, in the order of the file.
        document: What it holds, as far as it is TOML; if it is none, what can be read of it before the first table.
        lines: One line of text for each mistake: `file:line: what is wrong; what to do`.
    """

    def __init__(
        self, path: str | os.PathLike[str], *mistakes: Mistake, document: Mapping[str, Any] | None = None
    ) -> None:
        self.path = os.fspath(path)
        self.mistakes = mistakes
        self.document = document or {}
        self.lines = tuple(
            f"{self.path}:{one.line}: {one.message}" if one.line else f"{self.path}: {one.message}" for one in mistakes
        )
        super().__init__("\n".join(self.lines))


def read_toml(
    path: str | os.PathLike[str],
    parse_float: Callable[[str], Any] = float,
    failure: type[TomlFileError] = TomlFileError,
) -> tuple[str, dict[str, Any]]:
    """Return the text of a TOML file, and what it says.

    Raises:
        failure: It is not there, not a regular file, too large, not UTF-8 or not TOML, or nested too deeply.
    """
    import tomllib

    try:
        text = _read(path).decode("utf-8")
    except (OSError, ValueError) as error:
        raise failure(path, Mistake(f"cannot be read: {error}")) from error
    if _LONG_KEY.search(text):
        raise failure(path, Mistake("not usable: it is nested too deeply"))
    try:
        document = tomllib.loads(text, parse_float=parse_float)
    except tomllib.TOMLDecodeError as error:
        at = re.search(r"at line (\d+)", str(error))
        line = int(at[1]) if at else len(text.splitlines())
        before = _before_tables(text, parse_float)
        raise failure(path, Mistake(f"not valid TOML: {error}", line), document=before) from error
    except RecursionError as error:
        raise failure(path, Mistake("not usable: it is nested too deeply")) from error
    except Exception as error:  # numbers too long to be read, or too little memory
        raise failure(path, Mistake(f"not usable: {type(error).__name__}: {error}")) from error
    if _is_too_much(document):
        raise failure(path, Mistake(f"not usable: more than {MAX_TABLES:,} tables or {MAX_VALUES:,} values"))
    return text, document


def _before_tables(text: str, parse_float: Callable[[str], Any]) -> dict[str, Any]:
    """Return what can be read of the lines before the first table, each by itself."""
    import tomllib

    document: dict[str, Any] = {}
    for line in text.splitlines():
        if line.lstrip().startswith("["):
            break
        try:
            document.update(tomllib.loads(line, parse_float=parse_float))
        except Exception:  # the mistake, or a part of a value that has several lines
            continue
    return document


def _is_too_much(document: dict[str, Any]) -> bool:
    tables = values = 0
    rest: list[Any] = [document]
    while rest and tables <= MAX_TABLES and values <= MAX_VALUES:
        one = rest.pop()
        if isinstance(one, dict):
            tables += 1
            rest.extend(one.values())
        elif isinstance(one, list):
            rest.extend(one)
        else:
            values += 1
    return bool(rest)


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


def lines_of(text: str) -> dict[Path, int]:
    """Return the line, counted from 1, of every table, key and item of a list in a valid TOML document."""
    lines: dict[Path, int] = {}
    counts: dict[Path, int] = {}  # the tables so far of each [[array of tables]]
    opened: list[Path] = [()]  # the table that the line belongs to, and the lists and inline tables around a value
    indexes: list[int | None] = [None]  # for each of them, which item of the list is being read
    key: list[str] = []
    value: Path | None = None  # whose value is being read; `None` while a key is
    brackets = 0
    line = 1
    for token in _TOKEN.finditer(text):
        mark = token["mark"]
        if value is not None and mark not in (",", "]", "}", "\n"):
            lines.setdefault(value, line)
        if mark == "\n":
            line += 1
            if len(opened) == 1:
                key, value, brackets = [], None, 0
        elif mark in ("[", "{") and value is not None:
            opened.append(value)
            indexes.append(0 if mark == "[" else None)
            key, value = [], _below(value, 0) if mark == "[" else None
        elif mark == "[":
            brackets += 1
        elif mark == "]" and brackets:
            if key:
                opened[0] = _header(key, counts, new=brackets == 2)
                for end in range(len(opened[0])):
                    lines.setdefault(opened[0][: end + 1], line)
            key = []
        elif mark in ("]", "}"):
            value = opened.pop()
            indexes.pop()
        elif mark == ",":
            index = indexes[-1]
            key, value = [], None
            if index is not None:
                indexes[-1] = index + 1
                value = _below(opened[-1], index + 1)
        elif mark == "=":
            value = opened[-1]
            for part in key:
                value = _below(value, part)
                lines.setdefault(value, line)
        elif mark is None and token["text"]:
            if value is None:
                key.append(_unquoted(token["text"]))
            line += token["text"].count("\n")
    return lines


def _header(key: list[str], counts: dict[Path, int], *, new: bool) -> Path:
    """Return the place of a `[table]`, or of the next one of `[[tables]]`."""
    path: Path = ()
    for position, part in enumerate(key):
        path = _below(path, part)
        if new and position == len(key) - 1:
            counts[path] = counts.get(path, -1) + 1
        if path in counts:
            path = _below(path, counts[path])
    return path


def _below(path: Path, part: str | int) -> Path:
    return (*path, part) if len(path) < MAX_DEPTH else path


def _unquoted(key: str) -> str:
    import tomllib

    return tomllib.loads(f"key = {key}")["key"] if key[0] in "\"'" else key
