"""How things are found in a text: in time that grows with the text and no faster, whatever is in it.

Texts come from models, users and servers, and are searched on the application's own threads, while the interpreter
stands still for all others. Python's regular expressions try every start and every way to go on from it; so each of
these patterns keeps to three rules:

1. It begins with a character or word that is rare, which is found at a nanosecond a character. What stands left of
   it (the prefix of a key, the name in an address) is looked at only once that is found.
2. What it reads on from there is bounded, or it cannot be read again from another start: the run of characters that
   it reads ends at what a further start would need, or belongs to the match even where the match means nothing.
3. It does not go back into what it has read (possessive quantifiers), or only within such a run.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator
from functools import cache

Span = tuple[int, int]
"""Where something was found, from the first character to the one behind the last."""

Find = Callable[[str], Iterator[Span]]

# Most processes never need most of them, and `re` itself forgets what it compiled when others compile more.
compiled = cache(re.compile)


def put(value: str, label: str, spans: Iterable[Span]) -> str:
    """Return the text with a label in place of each span; spans come in order, and may overlap."""
    pieces: list[str] = []
    kept = 0
    for start, end in spans:
        if end > kept:
            pieces += value[kept:start], label
            kept = end
    return "".join((*pieces, value[kept:])) if pieces else value


IN_WORDS = "A-Za-z0-9"
IN_NUMBERS = r"A-Za-z0-9_.\-"


def begins(length: int, going_on: str = IN_WORDS) -> str:
    """Return a pattern that holds where something may begin so many characters to the left.

    That is where nothing goes on, or behind an escape: in JSON a line break is written with a letter, in a URL most
    signs with digits, and so they are in texts that quote.
    """
    back, digit = f".{{{length}}}", "[0-9A-Fa-f]"
    escapes = (r"\\[bfnrt]", f"%{digit}{{2}}", rf"\\u{digit}{{4}}")
    return f"(?:(?<![{going_on}]{back})|{'|'.join(f'(?<={escape}{back})' for escape in escapes)})"


def finder(anchor: str, lengths: dict[int, dict[str, list[str]]], going_on: str = IN_WORDS) -> Find:
    """Return what finds an anchor with something known left of it.

    Args:
        anchor: A literal.
        lengths: By how many characters the left side has: for each way to go on, with its one group, the patterns
            of the left sides that it belongs to.
        going_on: The characters that must not stand before the left side.
    """
    sign = re.escape(anchor)
    alternatives: list[str] = []
    groups: list[int] = []
    for length, ways in lengths.items():
        every = "|".join(left for lefts in ways.values() for left in lefts)
        on = "|".join(f"(?<=(?:{'|'.join(lefts)}){sign}){way}" for way, lefts in ways.items())
        alternatives.append(f"(?<=(?:{every}){sign}){begins(length + len(anchor), going_on)}(?:{on})")
        groups += [length] * len(ways)
    # One look settles it for lines and boxes that are drawn with the anchor.
    first = "" if 0 in lengths else f"(?<=[A-Za-z0-9]{sign})"
    pattern = f"{sign}{first}(?:{'|'.join(alternatives)})"

    def find(value: str) -> Iterator[Span]:
        for match in compiled(pattern).finditer(value):
            assert match.lastindex is not None
            yield match.start() - groups[match.lastindex - 1], match.end()

    return find


def has_digit(text: str) -> bool:
    """Return whether there is one of the ten digits."""
    return any(map(text.__contains__, "0123456789"))
