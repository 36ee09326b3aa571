"""What is looked for in a text, found in time that grows with the text and no faster, whatever is in it.

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

import base64
import re
from collections.abc import Callable, Iterable, Iterator
from functools import cache
from typing import Literal

from .credentials import CREDENTIALS

Pattern = Literal["keys", "email", "card", "phone"]
"""What is looked for: API keys and other credentials, e-mail addresses, payment cards, phone numbers."""

PATTERNS: tuple[Pattern, ...] = ("keys", "email", "card", "phone")

Span = tuple[int, int]
"""Where something was found, from the first character to the one behind the last."""

# Most processes never need most of them, and `re` itself forgets what it compiled when others compile more.
_compiled = cache(re.compile)


def replace(value: str, wanted: Iterable[str] = PATTERNS) -> str:
    """The text with what is wanted replaced: `[key]`, `[email]`, `[card]`, `[phone]`."""
    # Numbers first: the first group of one may be what a name tells to be secret.
    if "card" in wanted or "phone" in wanted:
        digits = _digits_together(value)
        if digits >= 13 and "card" in wanted:
            value = _compiled(_CARD).sub(_card, value)
        if digits >= 8 and "phone" in wanted:
            for anchor, find in _phones().items():
                if anchor in value:
                    value = _put(value, "[phone]", find(value))
    if "keys" in wanted:
        value = _without_keys(value)
    if "email" in wanted and "@" in value:
        value = _put(value, "[email]", _addresses(value))
    return value


def _put(value: str, label: str, spans: Iterable[Span]) -> str:
    """The text with a label in place of each span; spans come in order, and may overlap."""
    pieces: list[str] = []
    kept = 0
    for start, end in spans:
        if end > kept:
            pieces += value[kept:start], label
            kept = end
    return "".join((*pieces, value[kept:])) if pieces else value


# Credentials


def _without_keys(value: str) -> str:
    if "-----" in value and "PRIVATE KEY" in value:
        value = _compiled(_PRIVATE_KEY).sub("[key]", value)
        value = _put(value, "[key]", _ends_of_private_keys(value))
    if "J" in value:
        value = _put(value, "[key]", _web_tokens(value))
    if "earer" in value:
        value = _compiled(_BEARER).sub(r"\1[key]", value)
    if "asic" in value:
        value = _put(value, "[key]", _basic(value))
    if ":" in value:
        value = _put(value, "[key]", (match.span(1) for match in _compiled(_URL_PASSWORD).finditer(value)))
    for sign in "=:":
        if sign in value:
            value = _put(value, "[key]", _named(value, sign))
    for anchor, find in _prefixed().items():
        if anchor in value:
            value = _put(value, "[key]", find(value))
    return value


_IN_WORDS = "A-Za-z0-9"
_IN_NUMBERS = r"A-Za-z0-9_.\-"


def _begins(length: int, going_on: str = _IN_WORDS) -> str:
    """Whether something may begin so many characters to the left: where nothing goes on, or behind an escape.

    In JSON a line break is written with a letter, in a URL most signs with digits; so they are in texts that quote.
    """
    back = f".{{{length}}}"
    return rf"(?:(?<![{going_on}]{back})|(?<=\\[bfnrt]{back})|(?<=%[0-9A-F]{{2}}{back})|(?<=\\u[0-9a-f]{{4}}{back}))"


_ANCHORS = "-_.IK"


def _anchored(prefix: str) -> tuple[str, str, str]:
    """A prefix as what stands left of its anchor, the anchor, and what stands right of it.

    The anchor is what is searched for: a character of the prefix that is rare in prose, or else all of it.
    """
    for anchor in _ANCHORS:
        left, found, right = prefix.rpartition(anchor)
        if found:
            return left, anchor, right
    return "", prefix, ""


Find = Callable[[str], Iterator[Span]]


@cache
def _prefixed() -> dict[str, Find]:
    """For each anchor what finds the credentials of the table that have it in their prefix."""
    families: dict[str, dict[int, dict[str, list[str]]]] = {}
    for row in CREDENTIALS:
        for left, anchor, right in map(_anchored, row.prefixes):
            ways = families.setdefault(anchor, {}).setdefault(len(left), {})
            ways.setdefault(f"{re.escape(right)}({row.body})", []).append(re.escape(left))
    return {anchor: _finder(anchor, lengths) for anchor, lengths in families.items()}


def _finder(anchor: str, lengths: dict[int, dict[str, list[str]]], going_on: str = _IN_WORDS) -> Find:
    """What finds an anchor with something known left of it.

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
        alternatives.append(f"(?<=(?:{every}){sign}){_begins(length + len(anchor), going_on)}(?:{on})")
        groups += [length] * len(ways)
    # One look settles it for lines and boxes that are drawn with the anchor.
    first = "" if 0 in lengths else f"(?<=[A-Za-z0-9]{sign})"
    pattern = f"{sign}{first}(?:{'|'.join(alternatives)})"

    def find(value: str) -> Iterator[Span]:
        for match in _compiled(pattern).finditer(value):
            assert match.lastindex is not None
            yield match.start() - groups[match.lastindex - 1], match.end()

    return find


_MATERIAL = r"[A-Za-z0-9+/=]"
_GAP = r"(?:\s|\\{1,4}[nrt]?|[\"',+>])"
# With its end, everything between; without, lines that look like a key's. What lies between two marks is read at most
# twice: once to find the end, once without it.
_PRIVATE_KEY = rf"""(?xs)
    -----BEGIN[\ A-Z0-9]{{0,40}}PRIVATE\ KEY(?:\ BLOCK)?-----
    (?:
        (?:[^\-{{}}]++|-(?!----(?:BEGIN|END)))*+
        -----END[\ A-Z0-9]{{0,40}}PRIVATE\ KEY(?:\ BLOCK)?-----
    |
        (?:{_GAP}*+[A-Za-z\-]{{1,20}}+:\ [^\n\\\"{{}}]{{0,100}}+){{0,6}}+
        (?:{_GAP}*+{_MATERIAL}{{16,}}+)*+
        (?:{_GAP}*+{_MATERIAL}++)?+
    )
"""
_END_OF_PRIVATE_KEY = r"-----END[ A-Z0-9]{0,40}PRIVATE KEY(?: BLOCK)?-----"
# The same lines, read from the last to the first.
_GAP_BACKWARDS = r"(?:[nrt]?\\{1,4}|[\s\"',+>])"
_BACKWARDS = rf"""(?xs)
    {_GAP_BACKWARDS}*+ {_MATERIAL}++ (?:{_GAP_BACKWARDS}++ {_MATERIAL}{{16,}}+)++
    | {_GAP_BACKWARDS}*+ {_MATERIAL}{{16,}}+
"""


def _ends_of_private_keys(value: str) -> Iterator[Span]:
    """What is left of keys whose beginning was cut off."""
    last = 0
    for match in _compiled(_END_OF_PRIVATE_KEY).finditer(value):
        lines = _compiled(_BACKWARDS).match(value[last : match.start()][::-1])
        if lines is not None:
            yield match.start() - lines.end(), match.end()
        last = match.end()


# Where the parts do not follow, the first was read for nothing: it belongs to the match, so as not to be read again.
_WEB_TOKEN = rf"""(?x)
    J(?<=eyJ){_begins(3)}[A-Za-z0-9_\-]{{5,}}+
    (
        \.eyJ[A-Za-z0-9_\-]{{5,}}+(?:\.[A-Za-z0-9_\-]++)*+
        | (?:\.[A-Za-z0-9_\-]{{8,}}+|\.(?=\.)){{2,4}}+
    )?+
"""


def _web_tokens(value: str) -> Iterator[Span]:
    """JSON web tokens (RFC 7519), which need not be whole: what follows the header is what they carry."""
    for match in _compiled(_WEB_TOKEN).finditer(value):
        if match[1] is not None:
            yield match.start() - len("ey"), match.end()


_BEARER = r"(earer(?: |%20|\+|: ?))[A-Za-z0-9._~+/\-]{16,}+=*+"

_BASIC = r"asic(?: |%20|\+)([A-Za-z0-9+/_\-]{8,}+={0,2})"


def _basic(value: str) -> Iterator[Span]:
    """User and password of HTTP's basic authentication (RFC 7617): base64 with a colon in it, or so named."""
    for match in _compiled(_BASIC).finditer(value):
        if _is_user_and_password(match[1]) or "uthorization" in value[max(0, match.start() - 32) : match.start()]:
            yield match.span(1)


def _is_user_and_password(encoded: str) -> bool:
    try:
        decoded = base64.urlsafe_b64decode(encoded[:64].replace("+", "-").replace("/", "_"))
    except ValueError:
        return False
    return b":" in decoded and decoded.isascii() and decoded.decode().isprintable()


# Up to the last @ before the path: a password may have one in it. No slash is in it, so no two starts read the same.
_URL_PASSWORD = r":(?:\\{0,2}/){2}[^\s/?#\"'<>\\:]*+:([^\s/?#\"'<>\\]+)@"

# Names, without what separates their words, and what their values look like: what one may make up, or long and random.
_PASSWORDS = ("password", "passwd", "secret")
_RANDOM = (
    "apikey", "accesskey", "secretkey", "accountkey", "authkey", "subscriptionkey", "signingkey", "encryptionkey",
    "masterkey", "accesstoken", "refreshtoken", "authtoken", "sessiontoken", "securitytoken", "idtoken", "apitoken",
    "authorization",
)  # fmt: skip
_IN_QUERIES = frozenset({"key", "token", "sig", "signature", "access_token", "api_key", "apikey", "api-key"})
_WORD_ENDS = "ey|en|et|rd|wd|ig|re|on"  # of these names
_LONGEST_NAME = 40
_VALUE = r"[^\s\"'`&;,<>\\{}()\[\]|]"


def _assignment(sign: str) -> str:
    ends = f"(?:{_WORD_ENDS}|{_WORD_ENDS.upper()})"
    quotes = ("", r"[\"'` ]", r"[\"'] ", r"\\[\"']", r"\\{3}[\"']")
    named = "|".join(rf"(?<={ends}{quote}{sign})" for quote in quotes)
    opening = r">?[ \t]{0,4}(?:b?\\{0,3}[\"'`])?+(?:(?i:token|api-?key|key|bot) )?+"
    return rf"{sign}(?<=[a-zA-Z\"'` ]{sign})(?:{named}){opening}((?:(?![=:]){_VALUE}){{4,}}+)"


def _named(value: str, sign: str) -> Iterator[Span]:
    """The values of names that say that they are secret, in headers, queries, settings and JSON."""
    pattern, whole = _compiled(_assignment(sign)), _compiled(f"{_VALUE}++")
    last = 0
    while (match := pattern.search(value, last)) is not None:
        start, last = match.span(1)
        if _is_secret(value[max(0, match.start() - _LONGEST_NAME) : match.start()], match[1], value[start - 1]):
            found = whole.match(value, start)
            assert found is not None
            last = found.end()
            yield start, last


def _is_secret(before: str, said: str, opening: str) -> bool:
    name = before.rstrip(" \t\"'`\\").lower()
    query = max(map(name.rfind, "?&;#"))
    if query >= 0 and name[query + 1 :] in _IN_QUERIES:
        return True
    name = name.replace("_", "").replace("-", "").replace(" ", "")
    has_digit = any(map(str.isdigit, said))
    if name.endswith(_PASSWORDS):
        return has_digit or opening in "\"'`"
    return name.endswith(_RANDOM) and ((len(said) >= 16 and has_digit) or len(said) == 40)


# Personal data

# Latin letters beyond ASCII are in names and in domains of today.
_ADDRESS = "A-Za-z0-9\u00c0-\u024f"
_DOMAIN = rf"@(?<=[{_ADDRESS}._%+\-]@)(?:[{_ADDRESS}\-]++\.)+[A-Za-z]{{2,}}"
_NAME_BACKWARDS = rf"[{_ADDRESS}._%+\-]*+"


def _addresses(value: str) -> Iterator[Span]:
    last = 0
    for match in _compiled(_DOMAIN).finditer(value):
        name = _compiled(_NAME_BACKWARDS).match(value[last : match.start()][::-1])
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
    rf"[2-6]{_begins(1, _IN_NUMBERS)}(?:[0-9]{{12,18}}"
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
    return {anchor: _finder(anchor, lengths, _IN_NUMBERS) for anchor, lengths in _PHONES.items()}


_DIGITS_AS_ZEROS = bytes(48 if 48 <= code <= 57 else code for code in range(256))


def _digits_together(value: str) -> int:
    """How many digits stand together, with nothing between them but what is printed there: 13 or more, 8 or more, 0.

    Costs a tenth of a search for the numbers.
    """
    if not any(map(value.__contains__, "0123456789")):
        return 0
    digits = value.encode("ascii", "replace").translate(_DIGITS_AS_ZEROS, b" -.()+")
    return next((least for least in (13, 8) if b"0" * least in digits), 0)


def _card(match: re.Match[str]) -> str:
    text = match.group()
    return "[card]" if _luhn(text.replace(" ", "").replace("-", "")) else text


_DOUBLED = bytes.maketrans(b"0123456789", bytes((0, 2, 4, 6, 8, 1, 3, 5, 7, 9)))
_AS_IT_IS = bytes.maketrans(b"0123456789", bytes(range(10)))


def _luhn(number: str) -> bool:
    """Whether the check digit is right (ISO/IEC 7812-1, annex B)."""
    digits = number.encode()[::-1]
    return (sum(digits[::2].translate(_AS_IT_IS)) + sum(digits[1::2].translate(_DOUBLED))) % 10 == 0
