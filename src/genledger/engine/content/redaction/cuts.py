"""Texts cut to a size before they are searched, so that no cut leaves a part of a secret that nothing recognizes.

A secret is told by its beginning, by a name in front of it, or by its whole form. Of one that a cut went through,
the part in front of the cut is recognized unless it is short; the part behind the cut is not. So what stands in front
of a cut loses the word at its end, and what stands behind it the word at its beginning, however long, and the words
for which the names were cut off.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from functools import cache

Redact = Callable[[str], str]
"""Takes secrets out of a text."""

LEFT_OUT = "…"
"""Stands where a text was cut."""

_SHORT = 256
"""Characters that may have to be read until a secret is recognized by its beginning."""

_LONGEST = 4096
"""Characters of the longest secret in one piece: web tokens that carry groups and claims have thousands."""

# In addresses a password may have nearly any character; what quotes or encloses ends it.
_IN_WORDS = r"!#-&(-;=?-Z^_a-z|~"
# With the groups of a card's or a phone's number that stand beside it.
_GROUPS = rf"(?: {{1,2}}[0-9().+\-]{{1,20}}+(?![{_IN_WORDS}])){{0,6}}+"
_WORD = rf"[{_IN_WORDS}]{{0,{_LONGEST}}}+{_GROUPS}"
_NEXT_WORD = rf"(?:[^{_IN_WORDS}]{{0,8}}+[{_IN_WORDS}]{{1,{_LONGEST}}}+{_GROUPS})?+"
_LINES_OF_A_KEY = r"(?:[ A-Z0-9]{0,40}KEY(?: BLOCK)?-----)?(?:(?:\s|\\[nr]|[\"',+>])*+[A-Za-z0-9+/=]{16,}+)*+"
_NAMES = ("key", "token", "secret", "passw", "thoriz", "earer", "asic")
_NEAR = 48
"""Characters from the end of such a name to what it tells to be secret, at most."""

_compiled = cache(re.compile)


def _length(pattern: str, text: str, start: int = 0) -> int:
    """How far a pattern that may be empty goes."""
    match = _compiled(pattern).match(text, start)
    assert match is not None
    return match.end() - start


def head(text: str, length: int, redact: Redact) -> str:
    """Return at most so many characters of the beginning of a text."""
    if len(text) <= length:
        return text
    kept = text[:length]
    word = _length(_WORD, kept[-_LONGEST - _SHORT :][::-1])
    if word > _SHORT:
        # Cut shorter it would be cut through something else; so what is whole in it is taken out first.
        kept = redact(kept)
        word = _SHORT
    return kept[: max(0, len(kept) - word)]


def tail(text: str, length: int, redact: Redact) -> str:
    """Return at most so many characters of the end of a text."""
    start = len(text) - length
    if start <= 0:
        return text
    word = _length(_WORD, text, start)
    if word >= _LONGEST:
        return redact(text[start:])[_LONGEST:]
    end = start + _LONGEST
    start += word
    # What a name tells to be secret stands behind a sign, a quote, and perhaps the name of a scheme.
    while start < end and any(map(text[max(0, start - _NEAR) : start].lower().__contains__, _NAMES)):
        step = _length(_NEXT_WORD, text, start)
        if not step:
            break
        start += step
    before = max(0, start - 4 * _LONGEST)
    if text.rfind("-----BEGIN", before, start) > text.rfind("-----END", before, start):
        start += _length(_LINES_OF_A_KEY, text, start)
    return text[start:]


def size(text: str) -> int:
    """Return the bytes of a text; half a character counts as the one that replaces it."""
    return len(text) if text.isascii() else len(text.encode(errors="replace"))


def clip(text: str, limit: int, redact: Redact) -> str:
    """Return at most so many bytes of the beginning of a text."""
    # No more characters than bytes: the rest of a text, which may be long, is not looked at.
    encoded = text[: limit + 1].encode(errors="replace")
    if len(encoded) <= limit:
        return text
    return head(text, len(encoded[: limit - size(LEFT_OUT)].decode(errors="ignore")), redact) + LEFT_OUT
