"""A cut leaves no part of a secret, and otherwise the beginning and the end."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from genledger.engine.content.redaction.cuts import LEFT_OUT, clip, head, tail
from genledger.engine.content.redaction.patterns import replace

LINE = "MIIEvQIBADANBgkqhkiG9w0BAQEFAASCBKcwggSjAgEAAoIBAQC7VJTUt9Us8cKj"
PRIVATE_KEY = "\n".join(["-----BEGIN PRIVATE KEY-----", *[LINE] * 20, "abc=", "-----END PRIVATE KEY-----"])
TOKEN = "eyJhbGciOiJIUzI1NiJ9." + "eyJzdWIiOiIxMjM0NTY3ODkwIn0" * 40 + ".dozjgNryP4J3jVmNHl0w5N_XgL0n3I9P"
SECRET_KEY = "wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY"

SECRETS = [
    ("sk-ant-api03-a1B2c3D4e5F6g7H8i9J0-a1B2c3D4e5F6g7H8i9J0AA", "e5F6g7H8"),
    (TOKEN, "OiIxMjM0NTY3"),
    (PRIVATE_KEY, "kqhkiG9w0BAQ"),
    (PRIVATE_KEY.replace("\n", "\\n"), "kqhkiG9w0BAQ"),
    (PRIVATE_KEY[:800], "kqhkiG9w0BAQ"),
    (f"aws_secret_access_key = {SECRET_KEY}", "K7MDENG"),
    (f'"SecretAccessKey" : "{SECRET_KEY}"', "K7MDENG"),
    ("Authorization: Token 0123456789abcdef0123", "89abcdef"),
    ("Authorization: Basic dXNlcjpwYXNzd29yZA==", "cjpwYXNz"),
    ("postgres://bob:hunter2-of-the-hill@db.example.com/x", "hunter2-of-the-hill"),
    ("bob.the.builder@example.com", "bob.the.builder@"),
    ("4111 1111 1111 1111", "1111 1111"),
    ("+49 30 901 820 123", "901 820"),
]


@pytest.mark.parametrize(("secret", "part"), SECRETS, ids=[secret[:24] for secret, _ in SECRETS])
@pytest.mark.parametrize("around", ["and so on, ", "密码，", "a=1&b=", '{"a": "b"}, ', "0a/B+" * 300 + " "])
def test_no_cut_through_a_secret_leaves_a_part_of_it(secret: str, part: str, around: str) -> None:
    before, after = (around * (400 // len(around) + 1), around * (400 // len(around) + 1))
    text = f"{before}({secret}, {after}"
    assert part not in before
    for length in range(1, len(text), 1 if len(text) < 2_000 else 7):
        assert part not in replace(head(text, length, replace))
        assert part not in replace(tail(text, length, replace))


@given(st.text(), st.integers(1, 50))
@settings(deadline=None)
def test_what_is_short_enough_is_not_cut(text: str, more: int) -> None:
    length = len(text) + more
    assert head(text, length, replace) == tail(text, length, replace) == text
    assert clip(text, len(text.encode(errors="replace")), replace) == text


@given(st.lists(st.text("abcdefghijklmnop", min_size=1, max_size=9), min_size=40), st.integers(60, 150))
@settings(deadline=None)
def test_of_ordinary_words_only_those_at_the_cut_are_lost(words: list[str], length: int) -> None:
    text = " ".join(words)
    if length < len(text):
        first, last = head(text, length, replace), tail(text, length, replace)
        assert text.startswith(first)
        assert len(first) >= length - 10
        assert text.endswith(last)
        assert len(last) >= length - 10


@given(st.text(), st.integers(8, 200))
@settings(deadline=None)
def test_a_clipped_text_has_at_most_its_bytes_and_says_that_it_was_cut(text: str, limit: int) -> None:
    clipped = clip(text, limit, replace)
    assert len(clipped.encode(errors="replace")) <= limit
    assert clipped == text or clipped.endswith(LEFT_OUT)
