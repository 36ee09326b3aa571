"""Attacks on redaction: texts that keep it busy, and secrets put where they might be overlooked."""

from __future__ import annotations

import json
import random
import string
from collections.abc import Iterator
from typing import Any

import pytest

from genledger.engine.content.capture import Capture
from genledger.engine.content.redaction import Redactor
from genledger.engine.content.redaction.credentials import CREDENTIALS

from ..genledger.engine.content.redaction.attacks import ENDS, FILLERS, LINEAR, LITERALS, Attack, attacks, growth
from .conftest import Scale


@pytest.fixture(params=range(4))
def chance(request: pytest.FixtureRequest) -> random.Random:
    return random.Random(f"redaction {request.param}")


def repeated(literal: str, filler: str, end: str) -> Iterator[Attack]:
    for attack in attacks(literal, filler):
        yield lambda length, one=attack: one(length) + end  # type: ignore[misc]


def mixed(pieces: list[str], seed: float) -> Attack:
    def attack(length: int) -> str:
        return "".join(random.Random(seed).choices(pieces, k=length // 5))

    return attack


def test_no_text_of_any_composition_takes_more_than_linear_time(chance: random.Random, scale: Scale) -> None:
    redactor = Redactor()
    for _ in range(scale(40, 2_000)):
        literal = "".join(chance.choices([*LITERALS, *FILLERS], k=chance.randint(1, 3)))
        filler = "".join(chance.choices(FILLERS, k=chance.randint(1, 3)))
        for attack in repeated(literal, filler, chance.choice(ENDS)):
            found = growth(redactor.text, attack, 3_000)
            assert found < LINEAR, f"{attack(60)!r:.100}: {found:.0f} times as long"


def test_no_text_of_random_pieces_takes_more_than_linear_time(chance: random.Random, scale: Scale) -> None:
    redactor = Redactor()
    for _ in range(scale(20, 500)):
        pieces = chance.choices([*LITERALS, *FILLERS], k=40)
        attack = mixed(pieces, chance.random())
        for work in (redactor.text, lambda text: redactor.json(json.dumps([text]))):
            assert growth(work, attack, 3_000) < LINEAR, f"{pieces}"


def key_lines(chance: random.Random) -> str:
    letters = string.ascii_letters + string.digits + "+/"
    return "\n".join("".join(chance.choices(letters, k=64)) for _ in range(12))


def secrets(chance: random.Random) -> Iterator[tuple[str, str]]:
    """Secrets as they are written, each with the part of it that must not be left."""
    for row in CREDENTIALS:
        for prefix in row.prefixes:
            yield prefix + row.example, row.example.strip()
    claims, signature = "eyJzdWIiOiIxMjM0NTY3ODkwIn0", "SflKxwRJSMeKKF2QT4fwpMeJf36POk6yJV_adQssw5c"
    for times in (1, 40):
        token = f"eyJhbGciOiJIUzI1NiJ9.{claims * times}.{signature}"
        yield from ((token, claims), (token, signature))
    secret = "9f8e7d6c5b4a39281706f5e4d3c2b1a0"
    for name in ("Bearer ", "Authorization: Basic ", "Authorization: Token ", "x-api-key: ", "https://h/p?a=1&key="):
        yield name + secret, secret
    yield "https://h/p?access_token=" + secret + "&b=1", secret
    yield f"postgres://bob:{secret}@db.example.com:5432/x", secret
    key = "wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY"
    for name in (
        "aws_secret_access_key = ",
        "AWS_SECRET_ACCESS_KEY=",
        '"SecretAccessKey": "',
        "aws_secret_access_key: '",
    ):
        yield name + key, key
    lines = key_lines(chance)
    whole = f"-----BEGIN PRIVATE KEY-----\n{lines}\n-----END PRIVATE KEY-----"
    yield from ((whole, lines), (whole.replace("\n", "\\n"), lines), (whole[: len(whole) // 2], lines))
    yield "bob.the.builder@example.com", "bob.the.builder@"
    yield "4111 1111 1111 1111", "4111 1111 11"
    yield "+49 30 901820123", "30 901820"


WORDS = [
    *("the", "of", "and", "to", "in", "is", "that", "key", "token", "secret", "password", "user", "https", "request"),
    *("model", "answer", "error", "line", "file", "code"),
]


def surroundings(chance: random.Random) -> str:
    """Prose, data, another script, JSON, or anything."""
    length = chance.choice([0, 5, 50, 900, 5_000])
    kind = chance.randrange(5)
    if kind == 0:
        text = "".join(
            chance.choice(WORDS) + chance.choice([" ", " ", ". ", ", ", "\n", ": "]) for _ in range(length // 3)
        )
    elif kind == 1:
        text = "".join(chance.choices("ABCDEFabcdef0123456789+/xyzXYZ", k=length))
    elif kind == 2:
        text = "".join(chance.choices("日本語中文 é—“”\n", k=length))
    elif kind == 3:
        items = (
            {chance.choice(WORDS): chance.choice(WORDS), "id": chance.randrange(10**9)} for _ in range(length // 30)
        )
        text = "".join(map(json.dumps, items))
    else:
        text = "".join(chance.choices(string.printable, k=length))
    return text[:length]


BEFORE = [" ", "\n", "\t", "(", "=", '"', "'", "、", "密", "\\n", "\\r\\n", "\\u000a", "%3D", "> "]
AFTER = [" ", "\n", ")", ",", "。", "\\n", '"', "'"]


def ways_out(redactor: Redactor, text: str, limit: int) -> dict[str, str]:
    """Each way that a text takes to a destination; those with a bound are cut at `limit`."""
    attributes: dict[str, Any] = {}
    messages = [{"role": "user", "parts": [{"type": "text", "content": text}]}]
    arguments = [{"role": "assistant", "parts": [{"type": "tool_call", "name": "f", "arguments": json.dumps([text])}]}]
    capture = Capture(redactor=redactor, max_value=limit)
    capture.write({"messages": messages, "arguments": arguments, "query": text}, attributes)
    return {
        "text": redactor.text(text),
        "json": redactor.json(json.dumps([text], ensure_ascii=False)),
        "json in json": redactor.json(json.dumps({"a": json.dumps({"b": text})})),
        "message": redactor.message(text, limit),
        **attributes,
    }


def left(part: str, out: str) -> list[str]:
    """The pieces of a secret that are still there, ten characters long."""
    size = min(10, len(part))
    pieces = (part[start : start + size] for start in range(len(part) - size + 1))
    return [piece for piece in pieces if "\n" not in piece and piece in out]


def test_no_secret_survives_wherever_it_stands_and_wherever_it_is_cut(chance: random.Random, scale: Scale) -> None:
    redactor = Redactor()
    known = list(secrets(chance))
    for secret, part in known * scale(2, 100):
        before, after = surroundings(chance) + chance.choice(BEFORE), chance.choice(AFTER) + surroundings(chance)
        if left(part, before + after):
            continue
        for name, out in ways_out(redactor, before + secret + after, chance.choice([300, 800, 1_500, 4_000])).items():
            assert not left(part, out), f"{secret!r:.60} is left in {name}"
            if name not in ("text", "message", "query"):
                json.loads(out)


def test_no_secret_survives_a_cut_at_any_place(chance: random.Random, scale: Scale) -> None:
    redactor = Redactor()
    known = list(secrets(chance))
    for secret, part in chance.sample(known, min(len(known), scale(12, 140))):
        words = " ".join(chance.choices(WORDS, k=300))
        text = f"{words} {secret} {words}"
        if left(part, words):
            continue
        for limit in chance.sample(range(300, 300 + len(text)), scale(25, 1_000)):
            for name, out in ways_out(redactor, text, limit).items():
                assert not left(part, out), f"{secret!r:.60} is left in {name} of {limit} bytes"
