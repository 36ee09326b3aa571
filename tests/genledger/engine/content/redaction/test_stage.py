"""What is taken out of content, what stays, and that a failure takes out everything."""

from __future__ import annotations

import json
from typing import Any
from uuid import UUID

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from genledger.engine.content.redaction import FAILED, MAX_MESSAGE, MAX_NAME, Redactor, stage, use

KEYS = [
    "sk-proj-abcdefghijklmnop1234",
    "sk-ant-api03-abcdefghijklmnop_qrst-uvwx",
    "pk-lf-12345678-1234-1234-1234-123456789abc",
    "AKIAIOSFODNN7EXAMPLE",
    "ghp_abcdefghijklmnopqrstuvwxyz0123456789",
    "github_pat_11ABCDEFG0abcdefghijkl_mnopqrstuv",
    "xoxb-123456789012-abcdefghij",
    "AIzaSyA-1234567890abcdefghijklmnopqrstu",
    "hf_abcdefghijklmnopqrstuvwxyz",
    "eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiIxMjM0NTY3ODkwIn0.dozjgNryP4J3jVmNHl0w5N_XgL0n3I9P",
    "-----BEGIN RSA PRIVATE KEY-----\nMIIEowIBAAKCAQEA\n-----END RSA PRIVATE KEY-----",
]


@pytest.mark.parametrize("key", KEYS)
def test_keys_and_tokens_are_taken_out(key: str) -> None:
    assert Redactor().text(f"use {key} please") == "use [key] please"


def test_a_bearer_token_is_taken_out() -> None:
    assert Redactor().text("Authorization: Bearer abcdefghijklmnop.qrst") == "Authorization: Bearer [key]"


@pytest.mark.parametrize("mail", ["a@example.com", "first.last+tag@mail.example.co.uk", "o'neil_1%x@ex-ample.org"])
def test_mail_addresses_are_taken_out(mail: str) -> None:
    redacted = Redactor().text(f"write to {mail} now")
    assert "[email]" in redacted
    assert "@" not in redacted


@pytest.mark.parametrize(
    "card", ["4111111111111111", "4111 1111 1111 1111", "5555-5555-5555-4444", "378282246310005", "6011111111111117"]
)
def test_payment_cards_are_taken_out(card: str) -> None:
    assert Redactor().text(f"pay with {card}, please") == "pay with [card], please"


def test_a_number_that_fails_the_check_digit_is_no_card() -> None:
    assert Redactor(["card"]).text("order 4111111111111112") == "order 4111111111111112"


@pytest.mark.parametrize("phone", ["+49 30 901820", "+1 (415) 555-2671", "+44 20 7946 0958", "(415) 555-2671"])
def test_phone_numbers_are_taken_out(phone: str) -> None:
    assert Redactor().text(f"call {phone} today") == "call [phone] today"


@pytest.mark.parametrize(
    "text",
    [
        "The answer is 42.",
        "2026-11-21T20:16:45.077233Z",
        "version 1.2.3.4 at 10.0.0.1:8080",
        "pi is 3.14159265358979",
        "id 7f000001-aaaa-bbbb-cccc-0123456789ab",
        "Collection [ebd42807-9192-4329-85b5-7230fd6ff2c4] does not exist.",
        "digest 5f4242424242424242a1",
        "at 1763760000000000002 ns",
        "sk-short",
        "a@b and user@localhost",
        "1234567890",
    ],
)
def test_what_only_looks_a_little_like_it_stays(text: str) -> None:
    assert Redactor().text(text) == text


@given(st.uuids())
def test_no_identifier_is_taken_for_a_number(identifier: UUID) -> None:
    assert Redactor().text(f"id {identifier} gone") == f"id {identifier} gone"


@pytest.mark.parametrize("secret", [*KEYS[:-1], "a@example.com", "4111 1111 1111 1111", "+49 30 901820"])
def test_a_secret_is_found_wherever_a_line_or_a_sentence_begins_or_ends(secret: str) -> None:
    redactor = Redactor()
    for text in (f"{secret}.", f"it is:\n{secret}\nand", f"\t{secret}", f'"{secret}"', f"({secret})", f"it={secret}"):
        assert secret not in redactor.text(text)
        assert secret not in json.loads(redactor.json(json.dumps([text])))[0]


def test_only_the_patterns_that_were_chosen_are_looked_for() -> None:
    text = "a@example.com 4111111111111111 sk-proj-abcdefghijklmnop1234"
    assert Redactor(["card"]).text(text) == "a@example.com [card] sk-proj-abcdefghijklmnop1234"
    assert Redactor([]).text(text) == text


def test_the_applications_own_function_comes_last() -> None:
    seen: list[str] = []

    def own(text: str) -> str:
        seen.append(text)
        return text.replace("acme", "***")

    assert Redactor(function=own).text("acme: a@example.com") == "***: [email]"
    assert seen == ["acme: [email]"]


def test_a_function_that_fails_takes_the_whole_value_with_it() -> None:
    def failing(text: str) -> str:
        if "bad" in text:
            raise RuntimeError("no")
        return text

    redactor = Redactor(function=failing)
    assert redactor.text("a bad secret") == FAILED
    assert json.loads(redactor.json('{"a": "a bad secret", "b": "fine"}')) == {"a": FAILED, "b": "fine"}


@pytest.mark.parametrize("returned", [None, 5, b"x"])
def test_a_function_that_does_not_return_a_text_takes_the_whole_value_with_it(returned: Any) -> None:
    redactor = Redactor(function=lambda text: returned)
    assert redactor.text("secret") == FAILED
    assert json.loads(redactor.json('["secret"]')) == [FAILED]


def test_what_cannot_be_read_is_replaced_by_a_valid_document() -> None:
    assert json.loads(Redactor(function=str.upper).json("{not json")) == FAILED


def test_a_card_that_is_a_bare_number_is_taken_out_too() -> None:
    redacted = Redactor().json('{"card":4111111111111111,"n":5}')
    assert json.loads(redacted) == {"card": "[card]", "n": 5}


SECRETS = st.sampled_from([*KEYS[:-1], "a@example.com", "4111 1111 1111 1111", "+49 30 901820"])
TEXTS = st.one_of(st.text(), SECRETS, st.tuples(st.text(max_size=5), SECRETS).map(" ".join))
SCALARS = st.one_of(
    st.none(), st.booleans(), st.integers(-(2**53), 2**53), st.floats(allow_nan=False, allow_infinity=False), TEXTS
)
DOCUMENTS = st.recursive(SCALARS, lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner), max_leaves=12)


@given(DOCUMENTS)
def test_a_document_stays_a_document_of_the_same_shape(document: Any) -> None:
    def shape(value: Any) -> Any:
        if isinstance(value, list):
            return [shape(item) for item in value]
        if isinstance(value, dict):
            return len(value)
        return isinstance(value, (str, int, float))

    for redactor in (Redactor(), Redactor(function=lambda text: text)):
        redacted = json.loads(redactor.json(json.dumps(document, ensure_ascii=False)))
        assert shape(redacted) == shape(document)


@given(st.lists(TEXTS), st.sampled_from(["a@example.com", "sk-proj-abcdefghijklmnop1234"]))
def test_no_secret_is_left_in_a_document_whatever_is_around_it(texts: list[str], secret: str) -> None:
    document = json.dumps([{"content": f"x {secret} y"}, *texts], ensure_ascii=False)
    assert secret not in Redactor().json(document)


def test_a_bare_number_does_not_keep_the_rest_of_a_document_from_being_redacted() -> None:
    document = {"n": 4111111111111111, "aws_secret_access_key": "wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY", "m": 5}
    redacted = json.loads(Redactor().json(json.dumps(document)))
    assert redacted == {"n": "[card]", "aws_secret_access_key": "[key]", "m": 5}


def test_the_applications_own_function_gets_what_the_patterns_left_of_each_value() -> None:
    seen: list[str] = []

    def own(text: str) -> str:
        seen.append(text)
        return text

    document = {"password": "hunter2", "mail": ["a@example.com", 4111111111111111], "n": 5}
    redacted = json.loads(Redactor(function=own).json(json.dumps(document)))
    assert redacted == {"password": "[key]", "mail": ["[email]", "[card]"], "n": 5}
    assert seen == ["[key]", "[email]", "[card]"]


def test_a_secret_is_found_in_the_name_of_a_member_too() -> None:
    document = {KEYS[0]: 1, "n": 4111111111111111}
    assert json.loads(Redactor().json(json.dumps(document))) == {"[key]": 1, "n": "[card]"}


@given(st.text() | st.lists(TEXTS).map(" ".join), st.integers(64, 600))
@settings(deadline=None)
def test_a_message_has_at_most_its_bytes(text: str, limit: int) -> None:
    assert len(Redactor().message(text, limit).encode(errors="replace")) <= limit


@given(st.text(max_size=60))
@settings(deadline=None)
def test_a_short_message_without_secrets_is_what_it_was(text: str) -> None:
    if Redactor().text(text) == text:
        assert Redactor().message(text) == text


def test_a_message_that_is_cut_says_so() -> None:
    bounded = Redactor().message("word " * 2_000)
    assert bounded.startswith("word word ")
    assert bounded.endswith("word …")
    assert MAX_MESSAGE - 20 < len(bounded.encode()) <= MAX_MESSAGE


def test_half_a_character_costs_a_message_one_character() -> None:
    assert Redactor().message("so \ud83d a@example.com") == "so \ufffd [email]"
    assert Redactor().message("\ud83d" + "\ude00 fine") == "\U0001f600 fine"
    assert len(Redactor().message("\ud83d" * 10_000).encode()) <= MAX_MESSAGE


def test_what_an_exception_says_is_redacted_and_bounded() -> None:
    assert Redactor().error(ValueError("no a@example.com")) == "no [email]"
    assert len(Redactor().error(ValueError("x " * 100_000))) <= MAX_MESSAGE
    assert len(Redactor().name("x" * 100_000).encode()) <= MAX_NAME


def test_an_exception_that_raises_when_it_is_asked_says_nothing() -> None:
    class Mute(Exception):
        def __str__(self) -> str:
            raise RuntimeError

    assert Redactor().error(Mute()) == ""


def test_a_stage_with_every_pattern_is_in_force_until_there_is_another() -> None:
    before = stage()
    try:
        use(Redactor([]))
        assert stage().text("a@example.com") == "a@example.com"
    finally:
        use(before)
    assert before.text("a@example.com") == "[email]"
