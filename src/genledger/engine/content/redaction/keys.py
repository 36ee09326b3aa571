"""Credentials in texts: those of the table, tokens and private keys of known form, and values of secret names."""

from __future__ import annotations

import base64
import re
from collections.abc import Iterator
from functools import cache

from genledger.engine.content.redaction.credentials import CREDENTIALS
from genledger.engine.content.redaction.finding import Find, Span, begins, compiled, finder, has_digit, put


def without_keys(value: str) -> str:
    """Return the text with `[key]` in place of every credential."""
    if "K" in value and "PRIVATE KEY" in value:
        value = compiled(_PRIVATE_KEY).sub("[key]", value)
        value = put(value, "[key]", _ends_of_private_keys(value))
    if "J" in value:
        value = put(value, "[key]", _web_tokens(value))
    if "earer" in value:
        value = compiled(_BEARER).sub(r"\1[key]", value)
    if "asic" in value:
        value = put(value, "[key]", _basic(value))
    if ":" in value:
        value = put(value, "[key]", (match.span(1) for match in compiled(_URL_PASSWORD).finditer(value)))
    for sign in "=:":
        if sign in value:
            value = put(value, "[key]", _named(value, sign))
    if "_" in value and "_access_key" in value:
        value = compiled(_ON_COMMAND_LINES).sub(r"\1[key]", value)
    for anchor, gate, find in _prefixed():
        # Most texts have no long word behind it: for them the patterns of the table need not even be compiled.
        if anchor in value and compiled(gate).search(value) is not None:
            value = put(value, "[key]", find(value))
    return value


_GATE = r"[A-Za-z0-9+/=_\-]{16}"
_GATES = {"-": r"[A-Za-z0-9_\-]{10}", ".": r"[A-Za-z0-9_.\-]{16}"}
"""What every credential of the table has behind its anchor, at least."""

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


@cache
def _prefixed() -> list[tuple[str, str, Find]]:
    """Each anchor, what it needs behind it, and what finds the credentials that have it in their prefix."""
    families: dict[str, dict[int, dict[str, list[str]]]] = {}
    for row in CREDENTIALS:
        for left, anchor, right in map(_anchored, row.prefixes):
            ways = families.setdefault(anchor, {}).setdefault(len(left), {})
            ways.setdefault(f"{re.escape(right)}({row.body})", []).append(re.escape(left))
    return [
        (anchor, re.escape(anchor) + _GATES.get(anchor, _GATE), finder(anchor, lengths))
        for anchor, lengths in families.items()
    ]


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
    """Yield the rest of private keys whose beginning was cut off."""
    last = 0
    for match in compiled(_END_OF_PRIVATE_KEY).finditer(value):
        lines = compiled(_BACKWARDS).match(value[last : match.start()][::-1])
        if lines is not None:
            yield match.start() - lines.end(), match.end()
        last = match.end()


# Where the parts do not follow, the first was read for nothing: it belongs to the match, so as not to be read again.
_WEB_TOKEN = rf"""(?x)
    J(?<=eyJ){begins(3)}[A-Za-z0-9_\-]{{5,}}+
    (
        \.eyJ[A-Za-z0-9_\-]{{5,}}+(?:\.[A-Za-z0-9_\-]++)*+
        | (?:\.[A-Za-z0-9_\-]{{8,}}+|\.(?=\.)){{2,4}}+
    )?+
"""


def _web_tokens(value: str) -> Iterator[Span]:
    """JSON web tokens (RFC 7519), which need not be whole: what follows the header is what they carry."""
    for match in compiled(_WEB_TOKEN).finditer(value):
        if match[1] is not None:
            yield match.start() - len("ey"), match.end()


_BEARER = r"(earer(?: |%20|\+|: ?))[A-Za-z0-9._~+/\-]{16,}+=*+"

_BASIC = r"asic(?: |%20|\+)([A-Za-z0-9+/_\-]{8,}+={0,2})"


def _basic(value: str) -> Iterator[Span]:
    """User and password of HTTP's basic authentication (RFC 7617): base64 with a colon in it, or so named."""
    for match in compiled(_BASIC).finditer(value):
        if _is_user_and_password(match[1]) or "uthorization" in value[max(0, match.start() - 32) : match.start()]:
            yield match.span(1)


def _is_user_and_password(encoded: str) -> bool:
    try:
        decoded = base64.urlsafe_b64decode(encoded[:64].replace("+", "-").replace("/", "_").rstrip("=") + "==").decode()
    except ValueError:
        return False
    return ":" in decoded and decoded.isprintable()


# AWS's secret keys, which have no prefix, where their name is no assignment.
_ON_COMMAND_LINES = r"(_access_key(?<=aws_secret_access_key)[ \t]{1,4})[A-Za-z0-9/+]{40}(?![A-Za-z0-9/+])"

# Up to the last @ before the path: a password may have one in it. No slash is in it, so no two starts read the same.
_URL_PASSWORD = r":(?:\\{0,2}/){2}[^\s/?#\"'<>\\:]*+:([^\s/?#\"'<>\\]+)@"

# Names, without what separates their words, and what their values look like: what one may make up, or long and random.
_PASSWORDS = ("password", "passwd", "secret")
_RANDOM = (
    "apikey", "accesskey", "secretkey", "accountkey", "authkey", "subscriptionkey", "signingkey", "encryptionkey",
    "masterkey", "accesstoken", "refreshtoken", "authtoken", "sessiontoken", "securitytoken", "idtoken", "apitoken",
    "authorization",
)  # fmt: skip
_IN_QUERIES = tuple(
    f"{sign}{name}"
    for sign in "?&;#"
    for name in ("key", "token", "sig", "signature", "access_token", "api_key", "apikey", "api-key")
)
_WORD_ENDS = "ey|en|et|rd|wd|ig|re|on"  # of these names
_LONGEST_NAME = 40
_QUOTES = "\"'`"
_VALUE = r"[^\s\"'`&;,<>\\{}()\[\]|]"


def _assignment(sign: str) -> str:
    ends = f"(?:{_WORD_ENDS}|{_WORD_ENDS.upper()})"
    # In JSON that JSON quotes, there are 1, 3 or 7 backslashes before a quote.
    quotes = ("", r"[\"'` ]", r"[\"'] ", *(rf"\\{{{count}}}[\"']" for count in (1, 3, 7)))
    named = "|".join(rf"(?<={ends}{quote}{sign})" for quote in quotes)
    opening = r">?[ \t]{0,4}(?:b?\\{0,7}[\"'`])?+(?:(?i:token|api-?key|key|bot) )?+"
    return rf"{sign}(?<=[a-zA-Z\"'` ]{sign})(?:{named}){opening}((?:(?![=:]){_VALUE}){{4,}}+)"


_QUOTED = r"[^\"'`\\\n]{1,256}+(?=\\{0,7}[\"'`])"


def _named(value: str, sign: str) -> Iterator[Span]:
    """The values of names that say that they are secret, in headers, queries, settings and JSON."""
    pattern = compiled(_assignment(sign))
    last = 0
    while (match := pattern.search(value, last)) is not None:
        start, last = match.span(1)
        opening = value[start - 1]
        if _is_secret(value[max(0, match.start() - _LONGEST_NAME) : match.start()], match[1], opening):
            quoted = compiled(_QUOTED).match(value, start) if opening in _QUOTES else None
            # What is such a name itself has its own value behind it.
            if quoted is None and value[last : last + 1] in (":", "=") and _is_name(match[1]):
                continue
            # Read only where it is taken out, so that nothing of it is read again from a further name.
            found = quoted or compiled(f"{_VALUE}++").match(value, start)
            assert found is not None
            last = found.end()
            yield start, last


def _is_name(text: str) -> bool:
    return _bare(text[-_LONGEST_NAME:]).endswith(_PASSWORDS + _RANDOM)


def _bare(name: str) -> str:
    return name.lower().replace("_", "").replace("-", "").replace(" ", "")


def _is_secret(before: str, said: str, opening: str) -> bool:
    name = before.rstrip(" \t\"'`\\")
    if name.lower().endswith(_IN_QUERIES):
        return True
    name = _bare(name)
    if name.endswith(_PASSWORDS):
        return opening in _QUOTES or has_digit(said)
    # Keys of AWS are the only ones of which the length is known, and which may well have no digit.
    return name.endswith(_RANDOM) and ((len(said) >= 16 and has_digit(said)) or len(said) == 40)
