"""Patterns to redact in texts, and their replacements."""

from __future__ import annotations

from collections.abc import Collection
from typing import Literal

from genledger.engine.content.redaction.keys import without_keys
from genledger.engine.content.redaction.personal import without_addresses, without_numbers

Pattern = Literal["keys", "email", "card", "phone"]
"""What is looked for: API keys and other credentials, e-mail addresses, payment cards, phone numbers."""

PATTERNS: tuple[Pattern, ...] = ("keys", "email", "card", "phone")


def replace(value: str, wanted: Collection[str] = PATTERNS) -> str:
    """Return the text with what is wanted replaced: `[key]`, `[email]`, `[card]`, `[phone]`."""
    # Numbers first: the first group of one may be what a name tells to be secret.
    if "card" in wanted or "phone" in wanted:
        value = without_numbers(value, cards="card" in wanted, phones="phone" in wanted)
    if "keys" in wanted:
        value = without_keys(value)
    return without_addresses(value) if "email" in wanted else value
