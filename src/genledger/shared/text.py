r"""Text from callers, providers and files on its way out: one line each, of bounded length, never a command.

Names of models, tenants, outcomes and errors may hold anything. Written as they are, a line break begins a line of
its own, and an escape sequence speaks to the terminal. What is written for people is therefore `shown`: characters
that do something instead of being seen (control characters, line and paragraph separators, marks that turn the
direction of writing, lone surrogates) are escaped as Python escapes them (`\n`, `\x1b`, `\u202e`). What is kept or
sent as data is `bounded`: as it is, but no longer than its kind may be, and always valid Unicode.
"""

from __future__ import annotations

import re
import reprlib
import zlib
from collections.abc import Callable, Mapping
from dataclasses import fields, is_dataclass, replace
from typing import Any, TypeVar

import orjson

from genledger.shared.addresses import redacted

T = TypeVar("T")

MAX_NAME = 512
"""Characters of a name: of a model, provider, error, step, unit, budget scope. No provider's model name is longer."""

MAX_MESSAGE = 2000
"""Characters of a message, and of each value that a log message quotes."""

_SURROGATES = "\ud800-\udfff"
_CONTROLS = f"\x7f-\x9f\u061c\u200b\u200e\u200f\u2028-\u202e\u2060-\u206f\ufeff\ufff9-\ufffb{_SURROGATES}"
_FORMULA = tuple("=+-@\uff1d\uff0b\uff0d\uff20")
_LONE = re.compile(f"[{_SURROGATES}]")
_UNSAFE = re.compile(f"[\x00-\x1f{_CONTROLS}]")
_UNSAFE_IN_JSON = re.compile(f"[{_CONTROLS}]")


class _Repr(reprlib.Repr):
    def repr_Decimal(self, value: object, level: int) -> str:
        return str(value)


_repr = _Repr()  # does not fail, whatever the value is
_repr.maxstring = _repr.maxother = 10_000  # not cut before credentials are taken out


def bounded(text: str, limit: int = MAX_NAME) -> str:
    """Return `text` as data: at most `limit` characters, lone surrogates escaped, everything else as it is.

    What is cut ends with a checksum of the whole, so that long names which differ stay different.
    """
    if text.isascii() and len(text) <= limit:
        return text
    return _cut(_LONE.sub(_escape, _cut(text, limit)), limit)


def well_formed(text: str) -> str:
    """Return `text` as Unicode can be sent: two halves of a character are put together, a single one is replaced."""
    if text.isascii() or _LONE.search(text) is None:
        return text
    return text.encode("utf-16-le", "surrogatepass").decode("utf-16-le", "replace")


def shown(text: str, limit: int = MAX_NAME) -> str:
    """Return `text` for people: one line of at most `limit` characters, all of which can be seen."""
    if len(text) <= limit and text.isprintable():
        return text
    return _cut(_UNSAFE.sub(_escape, _cut(text, limit)), limit)


def cell(text: str) -> str:
    """Return `text` for a cell of a spreadsheet: as `shown`, and never a formula.

    A spreadsheet that opens a CSV file takes what begins with one of a few characters for a formula, which may call
    other programs and addresses. An apostrophe before it makes it text. https://owasp.org/www-community/attacks/CSV_Injection
    """
    safe = shown(text)
    return f"'{safe}" if safe.lstrip()[:1] in _FORMULA else safe


def message(text: object) -> str:
    """Return a message for people: as `shown`, and addresses in it without their credentials."""
    return shown(redacted(str(text)), MAX_MESSAGE)


def visible(value: T, limit: int = MAX_NAME) -> T:
    """Return a record, or a list of them, with every text in it as `shown`."""
    return each_text(value, lambda text: shown(text, limit))


def quoted(value: object) -> str:
    """Return a value as a message quotes it: short, without credentials, and whatever it is made of."""
    return redacted(_repr.repr(value))[:80]


def each_text(value: Any, change: Callable[[str], str]) -> Any:
    """Return a record, or a list or mapping of them, with every text in it changed."""
    if isinstance(value, str):
        return change(value)
    if is_dataclass(value) and not isinstance(value, type):
        return replace(
            value, **{one.name: each_text(getattr(value, one.name), change) for one in fields(value) if one.init}
        )
    if isinstance(value, Mapping):
        return {each_text(key, change): each_text(item, change) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        items = [each_text(item, change) for item in value]
        return type(value)(*items) if hasattr(value, "_fields") else type(value)(items)
    return value


def as_json(value: object, *, indent: bool = False) -> str:
    """Return JSON that is valid, whatever texts it holds, and has no control character but its own line breaks."""
    option = orjson.OPT_INDENT_2 if indent else 0
    try:
        written = orjson.dumps(value, _fields, option)
    except TypeError:  # a lone surrogate
        written = orjson.dumps(each_text(value, lambda text: _LONE.sub(_escape, text)), _fields, option)
    return _UNSAFE_IN_JSON.sub(lambda found: f"\\u{ord(found[0]):04x}", written.decode())


def _fields(value: Any) -> Any:
    if hasattr(value, "_asdict"):
        return value._asdict()
    raise TypeError


def _cut(text: str, limit: int) -> str:
    if len(text) <= limit:
        return text
    checksum = zlib.crc32(text.encode("utf-8", "surrogatepass"))
    return f"{text[: limit - 9]}…{checksum:08x}"


def _escape(found: re.Match[str]) -> str:
    return found[0].encode("unicode_escape").decode("ascii")
