"""What a provider's error echoes of a request is content, and does not leave while content is off.

Servers echo what they refuse: `Invalid value: 'My name is …'`. Words of the request are found by comparing words, so
that it does not matter how a server writes quotes, line breaks and escapes.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Any

from genledger.pricing.getters import declared

ECHO = "[content]"
"""What stands in place of words of a request."""

MOST = 2_000_000
"""Words of the text times letters of the request that are compared, which takes a few milliseconds."""

_WORD = re.compile(r"\w+")
_QUOTED = re.compile(r"""(['"`])(.{1,500}?)\1""")
_LONG = 10
_SETTINGS = frozenset(
    {"model", "modelId", "model_id", "path", "tools", "tool_choice", "response_format", "user", "metadata", "stop"}
)
"""Fields of a request that errors are about, and that prompts are not in."""
_KINDS = frozenset({"type", "role"})


def without_echoes(said: str, request: Any) -> str | None:
    """Return an error's text without words of the request; `None` where comparing them would take too long.

    Words are the request's if three in a row are, or two of four letters and more, or what stands in quotes, or one
    long word or number. Shorter ones are the language's.
    """
    words = list(_WORD.finditer(said))
    texts = list(_texts(request))
    if len(words) * sum(map(len, texts)) > MOST:
        return None
    content = f" {' '.join(word for text in texts for word in _WORD.findall(text))} "

    def has(first: int, end: int) -> bool:
        return f" {' '.join(word[0] for word in words[first:end])} " in content

    found: set[int] = set()
    for at, word in enumerate(words):
        following = words[at + 1 : at + 2]
        pair = bool(following) and len(word[0]) >= 4 and len(following[0][0]) >= 4
        for count in (3, 2 if pair else 0, 1 if len(word[0]) >= _LONG or len(words) == 1 else 0):
            if count and at + count <= len(words) and has(at, at + count):
                found.update(range(at, at + count))
                break
    for quoted in _QUOTED.finditer(said):
        inside = [
            at for at, word in enumerate(words) if quoted.start(2) <= word.start() and word.end() <= quoted.end(2)
        ]
        if inside and has(inside[0], inside[-1] + 1):
            found.update(inside)
    return _without(said, [words[at].span() for at in sorted(found)])


def _without(said: str, spans: list[tuple[int, int]]) -> str:
    kept: list[str] = []
    end = 0
    for start, stop in spans:
        between = said[end:start]
        if not kept or _WORD.search(between):
            kept += [between, ECHO]
        end = stop
    return "".join(kept) + said[end:]


def _texts(value: Any, depth: int = 0) -> Iterator[str]:
    if isinstance(value, str):
        yield value
    elif depth > 12:
        return
    elif isinstance(value, Mapping):
        left_out = _KINDS if depth else _SETTINGS
        for name, item in value.items():
            if name not in left_out:
                yield from _texts(item, depth + 1)
    elif isinstance(value, (list, tuple)):
        for item in value:
            yield from _texts(item, depth + 1)
    elif (fields := declared(value)) is not None:
        yield from _texts(fields, depth + 1)
