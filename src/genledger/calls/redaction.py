"""The one stage that takes secrets and personal data out of content, before any destination sees it."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable
from typing import Any, Literal

import orjson

from . import faults

Pattern = Literal["keys", "email", "card", "phone"]
"""What is looked for: API keys and tokens, e-mail addresses, payment cards, phone numbers."""

PATTERNS: tuple[Pattern, ...] = ("keys", "email", "card", "phone")

FAILED = "[redaction failed]"
"""What stands in place of a value whose redaction failed."""

# Compiled when first needed: most processes never find anything to redact.
# A pattern may begin where no name or number is going on, or right after a line break as JSON writes it.
_AFTER_BREAK = r"(?<=\\[bfnrt])"
_BEGIN = rf"(?:(?<![\w.\-])|{_AFTER_BREAK})"
_END = r"(?!\w|[.\-]\w)"
_KEYS = rf"""(?xs)
    (?:(?<!\w)|{_AFTER_BREAK})(?:
        (?:sk|pk|rk)-[A-Za-z0-9_\-]{{16,}}
        | AKIA[0-9A-Z]{{16}}\b
        | gh[pousr]_[A-Za-z0-9]{{20,}}
        | github_pat_[A-Za-z0-9_]{{20,}}
        | xox[abprs]-[A-Za-z0-9\-]{{10,}}
        | AIza[0-9A-Za-z_\-]{{30,}}
        | hf_[A-Za-z0-9]{{20,}}
        | eyJ[A-Za-z0-9_\-]{{8,}}\.[A-Za-z0-9_\-]{{8,}}\.[A-Za-z0-9_\-]{{8,}}
    )
    | (?<=earer\ )[A-Za-z0-9._~+/\-]{{16,}}=*
    | -----BEGIN[ A-Z]*PRIVATE\ KEY-----.*?-----END[ A-Z]*PRIVATE\ KEY-----
"""
_EMAIL = r"(?<!\\)[A-Za-z0-9._%+\-]+@[A-Za-z0-9\-]+(?:\.[A-Za-z0-9\-]+)*\.[A-Za-z]{2,}"
# In one piece or in the groups that are printed on cards; no issuer's numbers begin with 0, 1 or 7 to 9.
_CARD = (
    _BEGIN + r"(?:[2-6]\d{12,18}"
    r"|[2-6]\d{3}([ \-])(?:\d{4}\1\d{4}\1\d{1,4}(?:\1\d{1,3})?|\d{6}\1\d{4,5}))" + _END
)
_PHONE = (
    _BEGIN + r"(?:\+\d{1,3}[ .\-]?(?:\(\d{1,4}\)[ .\-]?)?\d(?:[ .\-]?\d){6,12}"
    r"|\(\d{3}\) ?\d{3}[ .\-]\d{4}|\d{3}[.\-]\d{3}[.\-]\d{4})" + _END
)
_NOT_DIGITS = bytes(code for code in range(256) if not 48 <= code <= 57)


def _may_have_key(value: str) -> bool:
    # A single character is found a hundred times as fast as a word, and most texts lack most of these.
    return (
        ("-" in value and ("k-" in value or "xox" in value or "PRIVATE KEY" in value))
        or ("_" in value and ("gh" in value or "hf_" in value))
        or ("K" in value and "AKIA" in value)
        or ("I" in value and "AIza" in value)
        or ("J" in value and "eyJ" in value)
        or "earer " in value
    )


def _luhn(digits: str) -> bool:
    total = 0
    for position, digit in enumerate(reversed(digits)):
        value = int(digit)
        if position % 2:
            value = value * 2 - 9 if value > 4 else value * 2
        total += value
    return total % 10 == 0


def _card(match: re.Match[str]) -> str:
    text = match.group()
    return "[card]" if _luhn(re.sub(r"\D", "", text)) else text


class Redactor:
    """Replaces what must not leave the process.

    Args:
        patterns: Which of the built-in patterns to look for.
        function: The application's own rule: takes a text, returns what may be kept of it.
    """

    def __init__(self, patterns: Iterable[Pattern] = PATTERNS, function: Callable[[str], str] | None = None) -> None:
        self._patterns = frozenset(patterns)
        self._function = function

    def text(self, value: str) -> str:
        """One text. A failure replaces it whole."""
        try:
            value = self._replace(value)
            if self._function is not None:
                value = self._function(value)
                if not isinstance(value, str):
                    raise TypeError(f"the redactor must return a string, not {type(value).__name__}")
            return value
        except Exception as error:
            faults.report("redaction", error)
            return FAILED

    def json(self, encoded: str) -> str:
        """A JSON document; what comes back is a JSON document too."""
        try:
            if self._function is None:
                replaced = self._replace(encoded)
                if replaced is encoded or replaced == encoded:
                    return encoded
                try:
                    orjson.loads(replaced)
                    return replaced
                except orjson.JSONDecodeError:
                    # A bare number was one of the findings; go value by value instead.
                    pass
            return orjson.dumps(self._walk(orjson.loads(encoded))).decode()
        except Exception as error:
            faults.report("redaction", error)
            return f'"{FAILED}"'

    def _walk(self, value: Any) -> Any:
        if isinstance(value, str):
            return self.text(value)
        if isinstance(value, dict):
            return {key: self._walk(item) for key, item in value.items()}
        if isinstance(value, list):
            return [self._walk(item) for item in value]
        if isinstance(value, int) and type(value) is not bool and value > 10**11:
            found = self.text(str(value))
            return value if found == str(value) else found
        return value

    def _replace(self, value: str) -> str:
        patterns = self._patterns
        if "keys" in patterns and _may_have_key(value):
            value = re.sub(_KEYS, "[key]", value)
        if "email" in patterns and "@" in value:
            value = re.sub(_EMAIL, "[email]", value)
        if "card" in patterns or "phone" in patterns:
            digits = len(value.encode(errors="replace").translate(None, _NOT_DIGITS))
            if digits >= 13 and "card" in patterns:
                value = re.sub(_CARD, _card, value)
            if digits >= 8 and "phone" in patterns:
                value = re.sub(_PHONE, "[phone]", value)
        return value
