"""The time that redaction takes grows with the text, and no faster, for each of its patterns."""

from __future__ import annotations

import itertools

import pytest

from genledger.engine.content.redaction import Redactor

from .attacks import ENDS, LINEAR, LITERALS, attacks, growth

TELLING = ["", "a", "-", "a.", "\n"]
"""The fillers that have found something; the attack in `tests/adversary` has them all."""


@pytest.mark.parametrize("literal", LITERALS)
def test_it_is_linear_for_texts_made_of(literal: str) -> None:
    redactor = Redactor()
    for filler in TELLING:
        for attack in attacks(literal, filler):
            found = growth(redactor.text, attack, 2_000)
            assert found < LINEAR, f"{attack(60)!r:.80} takes {found:.0f} times as long when it is four times as long"


@pytest.mark.parametrize("end", ENDS)
def test_it_is_linear_for_a_long_word_with_something_behind_it(end: str) -> None:
    redactor = Redactor()
    for letter in ("a", "A", "0", "%", "a.", "a-", "-", "\\", "MIIE", "eyJ", "://"):
        found = growth(redactor.text, lambda length, one=letter: one * (length // len(one)) + end, 8_000)  # type: ignore[misc]
        assert found < LINEAR, f"{letter * 5}…{end}"


@pytest.mark.parametrize("message", ["a" * 10_000_000, "%" * 10_000_000 + "@", "4 " * 5_000_000, "é" * 10_000_000])
def test_of_a_message_only_the_beginning_is_looked_at(message: str) -> None:
    redactor = Redactor()
    bounded = redactor.message(message)
    assert 3_000 < len(bounded.encode()) <= 4_096 or message.startswith("4")
    assert bounded == redactor.message(message[:5_000])


def test_a_document_that_becomes_invalid_is_redacted_in_linear_time_too() -> None:
    redactor = Redactor()
    for item in (
        "4111111111111111,",
        '"-----BEGIN PRIVATE KEY-----",',
        '"\\na@b.cc",',
        '{"api_key":"a1a1a1a1a1a1a1a1"},',
    ):
        found = growth(redactor.json, lambda length, one=item: f"[{one * (length // len(one))}0]", 4_000)  # type: ignore[misc]
        assert found < LINEAR, item


def test_the_attacks_are_of_the_lengths_they_are_asked_for() -> None:
    for literal, filler in itertools.product(LITERALS, ["", "a"]):
        for attack in attacks(literal, filler):
            assert filler == "" or 1_000 <= len(attack(1_000)) <= 1_000 + 2 * len(literal) + 16
