"""Content is valid JSON of bounded size, with its beginning and its end; media is named, not copied."""

from __future__ import annotations

import base64
import hashlib
import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from genledger.engine.content.capture import (
    Capture,
    file_part,
    generic_part,
    media_part,
    shorten,
    text_part,
    tool_call_part,
    tool_response_part,
)
from genledger.engine.content.redaction import Redactor

PNG = base64.b64encode(b"\x89PNG not really").decode()
DIGEST = hashlib.sha256(b"\x89PNG not really").hexdigest()


def message(*parts: Any) -> list[dict[str, Any]]:
    return [{"role": "user", "parts": list(parts)}]


def encoded(value: Any, **options: Any) -> Any:
    return json.loads(Capture(redactor=Redactor([]), **options).encode(value))


def test_media_is_replaced_by_type_size_and_digest() -> None:
    (said,) = encoded(message(media_part("image", f"data:image/png;base64,{PNG}")))
    assert said["parts"] == [
        {"type": "uri", "modality": "image", "mime_type": "image/png", "uri": f"sha256:{DIGEST}", "size": 15}
    ]


def test_media_is_kept_when_asked_for() -> None:
    (said,) = encoded(message(media_part("image", f"data:image/png;base64,{PNG}")), keep_media=True)
    assert said["parts"] == [{"type": "blob", "modality": "image", "mime_type": "image/png", "content": PNG}]


def test_media_elsewhere_keeps_its_address() -> None:
    parts = [media_part("image", "https://example.com/a.png", "image/png"), file_part("audio", "file-1")]
    (said,) = encoded(message(*parts))
    assert said["parts"] == [
        {"type": "uri", "modality": "image", "uri": "https://example.com/a.png", "mime_type": "image/png"},
        {"type": "file", "modality": "audio", "file_id": "file-1"},
    ]


def test_media_that_is_not_what_it_says_is_still_not_copied() -> None:
    (said,) = encoded(message(media_part("image", "data:image/png;base64,not base64 at all!")))
    assert "not base64" not in json.dumps(said)
    assert said["parts"][0]["uri"].startswith("sha256:")


def test_arguments_of_tools_become_the_object_they_describe_and_stay_when_they_are_none() -> None:
    assert tool_call_part("f", '{"a": 1}', "id1") == {
        "type": "tool_call",
        "name": "f",
        "arguments": {"a": 1},
        "id": "id1",
    }
    assert tool_call_part("f", '{"a": ')["arguments"] == '{"a": '
    assert tool_response_part({"b": 2}) == {"type": "tool_call_response", "response": {"b": 2}}


def test_what_the_conventions_have_no_part_for_stays_readable() -> None:
    assert generic_part({"type": "novel", "x": 1}) == {"type": "novel", "x": 1}
    assert generic_part(5) == {"type": "generic", "content": 5}


def test_values_that_are_no_json_are_written_as_text_or_digest() -> None:
    class Odd:
        def __str__(self) -> str:
            return "odd"

    assert encoded([Odd(), b"bytes", {1: 2}]) == [
        "odd",
        {"size": 5, "sha256": hashlib.sha256(b"bytes").hexdigest()},
        {"1": 2},
    ]


def test_all_values_of_one_span_share_its_room() -> None:
    capture = Capture(redactor=Redactor([]), max_value=10_000, max_span=10_000)
    attributes: dict[str, Any] = {}
    capture.write({f"a{n}": message(text_part("x" * 9_000)) for n in range(4)}, attributes)
    assert sum(map(len, attributes.values())) <= 10_000
    assert all(json.loads(value) for value in attributes.values())


def test_empty_content_is_not_written() -> None:
    attributes: dict[str, Any] = {}
    Capture().write({"a": [], "b": None, "c": ""}, attributes)
    assert attributes == {}


def test_a_long_text_keeps_head_and_tail() -> None:
    text = "head " + "x" * 10_000 + " tail"
    (said,) = encoded(message(text_part(text)), max_value=1_000)
    content = said["parts"][0]["content"]
    assert content.startswith("head ")
    assert content.endswith(" tail")
    assert "characters left out" in content
    assert len(json.dumps(said)) <= 1_000


def test_a_long_conversation_keeps_its_first_and_last_message() -> None:
    conversation = [{"role": "user", "parts": [text_part(f"message {n}")]} for n in range(1_000)]
    said = encoded(conversation, max_value=2_000)
    assert said[0] == conversation[0]
    assert said[-1] == conversation[-1]


def test_secrets_do_not_survive_the_cut_and_the_cut_is_no_secret() -> None:
    capture = Capture(max_value=2_000)
    written = capture.encode(message(text_part("a@example.com " + "x" * 5_000 + " b@example.com")))
    assert "@" not in written
    assert written.count("[email]") == 2


SCALARS = st.one_of(st.none(), st.booleans(), st.integers(-(2**53), 2**53), st.floats(allow_nan=False), st.text())
VALUES = st.recursive(
    SCALARS, lambda inner: st.lists(inner) | st.dictionaries(st.text(max_size=30), inner), max_leaves=30
)


@given(st.lists(VALUES) | st.dictionaries(st.text(), VALUES), st.integers(256, 4_000))
def test_any_value_becomes_valid_json_of_at_most_the_size(value: Any, limit: int) -> None:
    written = shorten(value, limit)
    assert len(written.encode()) <= limit
    assert type(json.loads(written)) is type(value)


@given(st.text(min_size=1), st.integers(300, 3_000), st.integers(1, 300))
def test_head_and_tail_of_any_text_survive(text: str, limit: int, times: int) -> None:
    long = text * times
    content = json.loads(shorten([{"content": long}], limit))
    if content and content[0]:
        kept = content[0]["content"]
        assert kept == long or (kept[:8] == long[:8] and kept[-8:] == long[-8:])
    else:
        pytest.fail("nothing was kept")


@given(st.lists(st.text(max_size=2_000), min_size=1, max_size=10), st.integers(600, 20_000))
def test_what_is_written_on_a_span_is_bounded_and_valid(texts: list[str], room: int) -> None:
    attributes: dict[str, Any] = {}
    capture = Capture(max_span=room)
    capture.write({"in": message(*map(text_part, texts)), "out": message(*map(text_part, texts))}, attributes)
    for value in attributes.values():
        json.loads(value)
    assert sum(len(value.encode()) for value in attributes.values()) <= max(room, 2 * 256) * 1.1


SECRET = "-----BEGIN PRIVATE KEY-----\n" + "MIIEvQIBADANBgkqhkiG9w0BAQEF" * 40 + "\n-----END PRIVATE KEY-----"


@given(st.integers(0, 3_000), st.integers(0, 3_000))
def test_no_part_of_a_secret_is_left_where_a_text_was_cut(before: int, after: int) -> None:
    text = "x" * before + SECRET + "y" * after
    attributes: dict[str, Any] = {}
    Capture(max_value=1_000).write({"messages": message(text_part(text)), "query": text}, attributes)
    assert "MIIEvQ" not in str(attributes)
    assert len(attributes["messages"].encode()) <= 1_000


@pytest.mark.parametrize("letter", ["a", "é", "中", "😀"])
def test_the_bounds_are_bytes(letter: str) -> None:
    attributes: dict[str, Any] = {}
    text = f"{letter} " * 20_000
    Capture(max_value=5_000).write({"query": text, "messages": message(text_part(text))}, attributes)
    for value in attributes.values():
        assert 1_000 < len(value.encode()) <= 5_000


def test_no_more_is_searched_than_is_kept() -> None:
    searched: list[int] = []

    def own(text: str) -> str:
        searched.append(len(text))
        return text

    capture = Capture(redactor=Redactor(function=own), max_value=5_000)
    capture.write({"query": "word " * 100_000, "messages": message(text_part("word " * 100_000))}, {})
    assert 2_000 < sum(searched) <= 12_000


@pytest.mark.parametrize("times", [1, 1_000])
def test_secrets_that_become_longer_by_their_labels_still_fit(times: int) -> None:
    attributes: dict[str, Any] = {}
    text = "a@b.co " * times
    Capture(max_value=3_000).write({"query": text, "messages": message(text_part(text))}, attributes)
    assert all("[email]" in value and "@" not in value for value in attributes.values())
    assert all(len(value.encode()) <= 3_000 for value in attributes.values())
