"""Credentials that no prefix tells: tokens and keys of known form, passwords in addresses, values of secret names."""

from __future__ import annotations

import base64
import json
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from genledger.engine.content.redaction import Redactor

HEADER, CLAIMS = "eyJhbGciOiJIUzI1NiJ9", "eyJzdWIiOiIxMjM0NTY3ODkwIn0"
SIGNATURE = "dozjgNryP4J3jVmNHl0w5N_XgL0n3I9P"
SECRET_KEY = "wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY"
"""The example of AWS's documentation."""
LINE = "MIIEvQIBADANBgkqhkiG9w0BAQEFAASCBKcwggSjAgEAAoIBAQC7VJTUt9Us8cKj"

FOUND = {
    f"{HEADER}.{CLAIMS}.{SIGNATURE}": "[key]",
    f"{HEADER}.{CLAIMS}.": "[key].",
    f"{HEADER}.{CLAIMS}": "[key]",
    f"{HEADER}..{SIGNATURE}.{SIGNATURE}.{SIGNATURE}": "[key]",
    f"token-{HEADER}.{CLAIMS}.{SIGNATURE}": "token-[key]",
    "Authorization: Bearer abcdefghijklmnop.qrst": "Authorization: Bearer [key]",
    "authorization=bearer%20abcdefghijklmnop": "authorization=bearer%20[key]",
    "Authorization: Basic dXNlcjpwYXNzd29yZA==": "Authorization: Basic [key]",
    "Authorization: Basic whatever-it-is": "Authorization: Basic [key]",
    "{'Authorization': 'Basic dXNlcjpwYXNzd29yZA=='}": "{'Authorization': 'Basic [key]'}",
    "(b'Authorization', b'Basic dXNlcjpwYXNz')": "(b'Authorization', b'Basic [key]')",
    "curl -H 'basic dXNlcjpwYXNzd29yZA'": "curl -H 'basic [key]'",
    "Authorization: Token 0123456789abcdef0123": "Authorization: Token [key]",
    "postgres://bob:hunter2@db.example.com:5432/x": "postgres://bob:[key]@db.example.com:5432/x",
    "redis://:p@ss@host/0": "redis://:[key]@host/0",
    "https:\\/\\/bob:hunter2@host\\/x": "https:\\/\\/bob:[key]@host\\/x",
    "https://h/x?key=abcd-efgh&b=1": "https://h/x?key=[key]&b=1",
    "https://h/x?b=1&api_key=foo-bar": "https://h/x?b=1&api_key=[key]",
    "https://h/x?b=1&amp;access_token=foo-bar": "https://h/x?b=1&amp;access_token=[key]",
    "https://h/cb#access_token=foo-bar": "https://h/cb#access_token=[key]",
    "https://h/x?se=2026&sig=abc%2Bdef%3D": "https://h/x?se=2026&sig=[key]",
    f"aws_secret_access_key = {SECRET_KEY}": "aws_secret_access_key = [key]",
    f"AWS_SECRET_ACCESS_KEY={SECRET_KEY}": "AWS_SECRET_ACCESS_KEY=[key]",
    f"x=AWS_SECRET_ACCESS_KEY={SECRET_KEY}": "x=AWS_SECRET_ACCESS_KEY=[key]",
    f'{{"SecretAccessKey": "{SECRET_KEY}"}}': '{"SecretAccessKey": "[key]"}',
    f"aws configure set aws_secret_access_key {SECRET_KEY}": "aws configure set aws_secret_access_key [key]",
    "api-key: 0123456789abcdef0123456789abcdef": "api-key: [key]",
    "AccountKey=Eby8vdM02xNOcqFlqUwJPLlm==;Endpoint=x": "AccountKey=[key];Endpoint=x",
    "client_secret=abc123": "client_secret=[key]",
    '"password": "correct horse"': '"password": "[key]"',
    '{"secret": "x-api-key: 0123456789abcdef0123"}': '{"secret": "[key]"}',
    "my first secret: x1-api-key: 0123456789abcdef0123": "my first secret: x1-api-key: [key]",
    '{"secret": "、x-api-key: 0123456789abcdef0123 is not closed': '{"secret": "、x-api-key: [key] is not closed',
    "Server=x;Password=hunter2;Port=1": "Server=x;Password=[key];Port=1",
    "my secret =4111 1111 1111 1111 is": "my secret =[card] is",
}


@pytest.mark.parametrize("text", FOUND)
def test_it_is_found_and_what_names_it_stays(text: str) -> None:
    assert Redactor().text(text) == FOUND[text]
    assert Redactor().text(f"say {text} again") == f"say {FOUND[text]} again"


@pytest.mark.parametrize("name", ["aws_secret_access_key", "SecretAccessKey", "api_key", "password", "refreshToken"])
@pytest.mark.parametrize("depth", [0, 1, 2, 3])
def test_a_member_of_json_is_found_by_its_name_however_often_it_is_quoted(name: str, depth: int) -> None:
    document: Any = {name: SECRET_KEY, "other": "kept"}
    for _ in range(depth):
        document = {"content": json.dumps(document)}
    redacted = json.loads(Redactor().json(json.dumps(document)))
    for _ in range(depth):
        redacted = json.loads(redacted["content"])
    assert redacted == {name: "[key]", "other": "kept"}


STAYS = [
    "Basic understanding of basic mathematics-and-statistics",
    "basic auth0rization",
    "the bearer of this letter",
    "api_key=get_api_key_from_the_environment()",
    "api_key: str | None = None",
    "max_tokens: 4096, next_page_token=CAUQAA12345678901234",
    "Password: must have eight characters",
    "the secret: nobody knows",
    "sort_key=created_at_2026_01_01_descending",
    "https://example.com:8080/a@b/c",
    "http://host:80, or mail@",
    "see https://example.com/?page=2&q=key",
    "eyJ is how they begin, eyJabcdefgh.txt is a file",
    "com.example.keyJson.parser.something",
    "-----BEGIN CERTIFICATE-----\nMIIEvQIBADANBgkqhkiG9w0BAQEF\n-----END CERTIFICATE-----",
    "-----BEGIN PUBLIC KEY-----\nMIIEvQIBADANBgkqhkiG9w0BAQEF\n-----END PUBLIC KEY-----",
    "a private key ends with -----END PRIVATE KEY-----",
    "| --- | ----- |",
    "__init__ ____ -_-_- .... ::::::: ====",
]


@pytest.mark.parametrize("text", STAYS)
def test_what_only_looks_a_little_like_it_stays(text: str) -> None:
    assert Redactor().text(text) == text


KIND = ["", "RSA ", "EC ", "OPENSSH ", "ENCRYPTED "]


def private_key(kind: str, lines: int = 12, gap: str = "\n") -> str:
    body = gap.join([LINE] * lines + ["abc="])
    return f"-----BEGIN {kind}PRIVATE KEY-----{gap}{body}{gap}-----END {kind}PRIVATE KEY-----"


@pytest.mark.parametrize("kind", KIND)
@pytest.mark.parametrize("gap", ["\n", "\r\n", "\n    ", " ", "\\n", "\\\\n", '\\n"\n    "', "\n> ", "\n+"])
def test_a_private_key_is_found_whole_and_in_part(kind: str, gap: str) -> None:
    key = private_key(kind, gap=gap)
    half = key[: len(key) // 2]
    rest = key[len(key) // 2 :].partition(gap)[2]
    assert Redactor().text(f"it is {key}, keep it") == "it is [key], keep it"
    assert Redactor().text(f"it is {half}") == "it is [key]"
    assert Redactor().text(f"… {rest} it was") == "… [key] it was"


def test_the_lines_above_a_private_key_belong_to_it_and_prose_below_does_not() -> None:
    head = "-----BEGIN RSA PRIVATE KEY-----\nProc-Type: 4,ENCRYPTED\nDEK-Info: AES-128-CBC,0A1B2C\n\n"
    assert Redactor().text(head + LINE) == "[key]"
    assert Redactor().text(f"{head}{LINE}\n{LINE}\nand there it broke off") == "[key] there it broke off"


def test_a_private_key_that_json_splits_into_lines_does_not_take_the_message_with_it() -> None:
    lines = private_key("").split("\n")
    document = [{"role": "user", "content": lines}, {"role": "user", "content": "the next message"}]
    redacted = Redactor().json(json.dumps(document))
    assert LINE not in redacted
    assert json.loads(redacted)[-1] == document[-1]


WORDS = st.lists(st.text("abcdefghijklmnopqrstuvwxyz", min_size=1, max_size=18), min_size=1, max_size=30)


@given(WORDS, st.sampled_from([" ", "-", "_", ". ", ", ", "\n", ": ", "=", "/"]))
@settings(deadline=None)
def test_ordinary_words_stay_however_they_are_joined(words: list[str], joint: str) -> None:
    text = joint.join(["so", *words])
    assert Redactor().text(text) == text


@given(st.binary(min_size=0, max_size=3_000))
@settings(deadline=None)
def test_data_stays(data: bytes) -> None:
    for encoded in (base64.b64encode(data).decode(), data.hex(), data.hex(" "), data.hex(":")):
        text = f"data:image/png;base64,{encoded}"
        assert Redactor(["keys", "email"]).text(text) == text
