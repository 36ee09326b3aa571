"""Personal data in texts: addresses, payment cards, phone numbers."""

from __future__ import annotations

import re
from collections.abc import Iterator
from functools import cache

from genledger.engine.content.redaction.finding import IN_NUMBERS, Find, Span, begins, compiled, finder, has_digit, put


def without_addresses(value: str) -> str:
    """Return the text with `[email]` in place of every e-mail address."""
    return put(value, "[email]", _addresses(value)) if "@" in value else value


def without_numbers(value: str, *, cards: bool, phones: bool) -> str:
    """Return the text with `[card]` in place of every card number, and `[phone]` of every phone number."""
    digits = _digits_together(value)
    if cards and digits >= 13:
        value = compiled(_CARD).sub(_card, value)
    if phones and digits >= 8:
        for anchor, find in _phones().items():
            if anchor in value:
                value = put(value, "[phone]", find(value))
    return value


# Latin letters beyond ASCII are in names and in domains of today.
_ADDRESS = "A-Za-z0-9\u00c0-\u024f"
_DOMAIN = rf"@(?<=[{_ADDRESS}._%+\-]@)(?:[{_ADDRESS}\-]++\.)+[A-Za-z]{{2,}}"
_NAME_BACKWARDS = rf"[{_ADDRESS}._%+\-]*+"


def _addresses(value: str) -> Iterator[Span]:
    last = 0
    for match in compiled(_DOMAIN).finditer(value):
        name = compiled(_NAME_BACKWARDS).match(value[last : match.start()][::-1])
        assert name is not None
        start = match.start() - name.end()
        if value[start - 1 : start] == "\\":
            # The letter of an escape is no part of the name.
            start += 5 if value[start] == "u" else 1
        if start < match.start():
            yield start, match.end()
        last = match.end()


_END = r"(?![A-Za-z0-9_]|[.\-][A-Za-z0-9_])"
# In one piece or in the groups that are printed on cards; no issuer's numbers begin with 0, 1 or 7 to 9.
_CARD = (
    rf"[2-6]{begins(1, IN_NUMBERS)}(?:[0-9]{{12,18}}"
    r"|[0-9]{3}([ \-])(?:[0-9]{4}\1[0-9]{4}\1[0-9]{1,4}(?:\1[0-9]{1,3})?|[0-9]{6}\1[0-9]{4,5}))" + _END
)
# International; American, with the area code in brackets or not.
_PHONES = {
    "+": {0: {rf"([0-9]{{1,3}}[ .\-]?(?:\([0-9]{{1,4}}\)[ .\-]?)?[0-9](?:[ .\-]?[0-9]){{6,12}}){_END}": [""]}},
    "(": {0: {rf"([0-9]{{3}}\) ?[0-9]{{3}}[ .\-][0-9]{{4}}){_END}": [""]}},
    "-": {3: {rf"([0-9]{{3}}[.\-][0-9]{{4}}){_END}": ["[0-9]{3}"]}},
    ".": {3: {rf"([0-9]{{3}}[.\-][0-9]{{4}}){_END}": ["[0-9]{3}"]}},
}


@cache
def _phones() -> dict[str, Find]:
    return {anchor: finder(anchor, lengths, IN_NUMBERS) for anchor, lengths in _PHONES.items()}


_DIGITS_AS_ZEROS = bytes(48 if 48 <= code <= 57 else code for code in range(256))


def _digits_together(value: str) -> int:
    """How many digits stand together, with nothing between them but what is printed there: 13 or more, 8 or more, 0.

    Costs a tenth of a search for the numbers.
    """
    if not has_digit(value):
        return 0
    digits = value.encode("ascii", "replace").translate(_DIGITS_AS_ZEROS, b" -.()+")
    return next((least for least in (13, 8) if b"0" * least in digits), 0)


def _card(match: re.Match[str]) -> str:
    text = match.group()
    if _luhn(text):
        return "[card]"
    # The last group may be a number of its own.
    card, separator, rest = text.rpartition(match[1] or "|")
    return f"[card]{separator}{rest}" if len(card) > 13 and _luhn(card) else text


_DOUBLED = bytes.maketrans(b"0123456789", bytes((0, 2, 4, 6, 8, 1, 3, 5, 7, 9)))
_AS_IT_IS = bytes.maketrans(b"0123456789", bytes(range(10)))


def _luhn(number: str) -> bool:
    """Return whether the check digit is right (ISO/IEC 7812-1, annex B)."""
    digits = number.encode().translate(None, b" -")[::-1]
    return (sum(digits[::2].translate(_AS_IT_IS)) + sum(digits[1::2].translate(_DOUBLED))) % 10 == 0
