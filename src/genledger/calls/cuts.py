"""Texts cut to a size before they are searched, so that no cut leaves a part of a secret that nothing recognizes.

A secret is told by its beginning, by a name in front of it, or by its whole form. What is left in front of a cut is
recognized by its beginning, unless there is too little of it; what is left behind a cut is not. So both lose what may
belong to a word that the cut went through: a little in front of it, as long as any secret is behind it.
"""

from __future__ import annotations

import re
from functools import cache

LEFT_OUT = "…"
"""Stands where a text was cut."""

_LONGEST = 4096
"""Characters of the longest secret in one piece: web tokens that carry groups and claims have thousands."""

# In addresses a password may have nearly any character; what quotes or encloses ends it.
_WORD = r"[!#-&(-;=?-Z^_a-z|~]"
_NUMBER = r"(?:[ ().+\-]{0,2}[0-9]){0,20}+"  # of a card or a phone, in groups
_IN_FRONT = rf"(?:[0-9][ ().+\-]{{0,2}}){{0,20}}+{_WORD}{{0,256}}+"  # read backwards
_BEHIND = rf"{_WORD}{{0,{_LONGEST}}}+{_NUMBER}"
_BEHIND_A_NAME = rf"(?:[^!#-&(-;=?-Z^_a-z|~]{{0,8}}+{_WORD}{{1,{_LONGEST}}}+){{0,4}}+{_NUMBER}"
_LINES_OF_A_KEY = r"(?:(?:\s|\\[nr]|[\"',+>])*+[A-Za-z0-9+/=]{16,}+)*+"
_NAMES = ("key", "token", "secret", "passw", "thoriz", "earer", "asic")
_NEAR = 48


_compiled = cache(re.compile)


def _length(pattern: str, text: str, start: int = 0) -> int:
    """How far a pattern that may be empty goes."""
    match = _compiled(pattern).match(text, start)
    assert match is not None
    return match.end() - start


def head(text: str, length: int) -> str:
    """Return at most so many characters of the beginning of a text."""
    if len(text) <= length:
        return text
    return text[: length - _length(_IN_FRONT, text[max(0, length - 288) : length][::-1])]


def tail(text: str, length: int) -> str:
    """Return at most so many characters of the end of a text."""
    start = len(text) - length
    if start <= 0:
        return text
    around = text[max(0, start - _NEAR) : start + _NEAR].lower()
    start += _length(_BEHIND_A_NAME if any(name in around for name in _NAMES) else _BEHIND, text, start)
    before = max(0, start - 4 * _LONGEST)
    if text.rfind("-----BEGIN", before, start) > text.rfind("-----END", before, start):
        start += _length(_LINES_OF_A_KEY, text, start)
    return text[start:]


def size(text: str) -> int:
    """Return the bytes of a text; half a character counts as the one that replaces it."""
    return len(text) if text.isascii() else len(text.encode(errors="replace"))


def clip(text: str, limit: int) -> str:
    """Return at most so many bytes of the beginning of a text."""
    # No more characters than bytes: the rest of a text, which may be long, is not looked at.
    encoded = text[: limit + 1].encode(errors="replace")
    if len(encoded) <= limit:
        return text
    return head(text, len(encoded[: limit - size(LEFT_OUT)].decode(errors="ignore"))) + LEFT_OUT
