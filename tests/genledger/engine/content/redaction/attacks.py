"""Texts made to keep a search busy, for every pattern there is."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator

from genledger.engine.content.redaction.credentials import CREDENTIALS

Attack = Callable[[int], str]
"""Makes a text of about so many characters."""

LITERALS = [
    *(prefix for row in CREDENTIALS for prefix in row.prefixes),
    *("-----BEGIN PRIVATE KEY-----", "-----END PRIVATE KEY-----", "-----BEGIN ", "eyJ", "-eyJ", "eyJaaaaa.", "bearer "),
    *("basic ", "://", "://a:", "://a:b@", "key=", "?key=", '"api_key":"', "password:", "authorization: token "),
    *("-password:0", "@", "a@", "@a.", "a@b.cc", "4", "4111 ", "+1", "(415) ", "555-", "%", "\\n", "\\u000a"),
]
"""What the patterns begin with, or have in them."""

FILLERS = [
    "",
    "a",
    "A",
    "0",
    "a1",
    "-",
    "_",
    ".",
    "=",
    "%",
    "+",
    " ",
    "\n",
    "\\n",
    "/",
    ":",
    '"',
    "a.",
    "a-",
    "a@",
    "é",
]

ENDS = ["", "@", "@b.cc", "=", "://x:y@z", " -----END PRIVATE KEY-----"]


def attacks(literal: str, filler: str) -> Iterator[Attack]:
    """Ways to make a text of any length of a literal and a filler."""
    yield lambda length: (literal + filler * 15) * (length // max(1, len(literal + filler * 15)) + 1)
    yield lambda length: ("x" + literal + filler) * (length // len("x" + literal + filler) + 1)
    yield lambda length: literal + filler * (length // max(1, len(filler)))
    yield lambda length: filler * (length // max(1, len(filler))) + literal


def growth(work: Callable[[str], object], attack: Attack, length: int) -> float:
    """How many times the time it takes when the text is four times as long: 4 when it is linear, 16 when quadratic.

    The best of several runs in the time of this thread, and looked at again, with longer texts too, when it seems
    bad: the machine may have been busy with something else, while what is quadratic is so at every length.
    """
    found = float("inf")
    for times, longer in ((2, 1), (5, 1), (9, 4), (5, 16)):
        short, long = attack(length * longer), attack(4 * length * longer)
        found = min(found, _best(work, long, times) / max(1, _best(work, short, times)))
        if found < LINEAR:
            break
    return found


LINEAR = 9.0
"""More than linear growth with all noise, and less than quadratic growth with the cost of a call."""


def _best(work: Callable[[str], object], text: str, times: int) -> int:
    best = 1 << 62
    for _ in range(times):
        began = time.thread_time_ns()
        work(text)
        best = min(best, time.thread_time_ns() - began)
    return best
