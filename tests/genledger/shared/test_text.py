"""Text on its way out: seen, bounded, and valid."""

from __future__ import annotations

import json
import unicodedata
from dataclasses import dataclass
from typing import NamedTuple

import orjson
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from genledger.shared.text import MAX_MESSAGE, MAX_NAME, as_json, bounded, cell, message, shown, visible

ANY = st.text(st.characters(exclude_categories=()), max_size=2 * MAX_NAME)
CONTROLS = [
    *map(chr, range(0x20)), *map(chr, range(0x7F, 0xA0)), "\u2028", "\u2029",
    *"\u061c\u200e\u200f\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069", "\ud800", "\udbff", "\udc00", "\udfff",
]  # fmt: skip


@dataclass(slots=True, frozen=True)
class Inner:
    names: tuple[str, ...]
    counts: dict[str, int]


class Pair(NamedTuple):
    name: str
    number: int


@dataclass(slots=True)
class Outer:
    name: str
    inner: Inner
    pair: Pair
    missing: str | None = None


@pytest.mark.parametrize("control", CONTROLS, ids=ascii)
def test_a_control_character_is_escaped_as_python_escapes_it(control: str) -> None:
    assert shown(f"a{control}b") == f"a{control.encode('unicode_escape').decode()}b"


@given(ANY)
@settings(deadline=None)
def test_what_is_shown_is_one_bounded_line_and_showing_it_again_changes_nothing(text: str) -> None:
    seen = shown(text)
    assert not {unicodedata.category(one) for one in seen} & {"Cc", "Cs", "Zl", "Zp"}
    assert len(seen) <= MAX_NAME
    assert len(seen.splitlines()) <= 1
    assert shown(seen) == seen


@given(ANY)
@settings(deadline=None)
def test_data_is_bounded_valid_and_otherwise_as_it_was(text: str) -> None:
    kept = bounded(text)
    kept.encode()
    assert len(kept) <= MAX_NAME
    assert bounded(kept) == kept
    if len(text) <= MAX_NAME and not any("\ud800" <= one <= "\udfff" for one in text):
        assert kept == text


@pytest.mark.parametrize("text", ["gpt-4o", "株式会社 Müller", "👩‍👩‍👧", r"C:\new", "a b", "[red]", "=1+1", ""])
def test_ordinary_text_stays_as_it_is(text: str) -> None:
    assert shown(text) == bounded(text) == message(text) == visible(text) == text


def test_long_names_that_differ_stay_different() -> None:
    a, b = "x" * 10_000 + "a", "x" * 10_000 + "b"
    assert len({bounded(a), bounded(b), shown(a), shown(b)}) == 2
    assert bounded(a).startswith("xxx")


def test_a_million_control_characters_are_not_looked_at_one_by_one() -> None:
    assert shown("\x1b" * 1_000_000).startswith(r"\x1b\x1b")
    assert len(message("\n" * 1_000_000)) <= MAX_MESSAGE


def test_every_text_of_a_record_is_made_visible() -> None:
    record = Outer("a\n", Inner(("b\x1b", "c"), {"d\t": 1}), Pair("e\u202e", 2))
    assert visible([record]) == [Outer(r"a\n", Inner((r"b\x1b", "c"), {r"d\t": 1}), Pair(r"e\u202e", 2))]


@given(st.recursive(ANY | st.integers(0, 9) | st.none(), lambda one: st.lists(one) | st.dictionaries(ANY, one)))
@settings(deadline=None, max_examples=50)
def test_json_is_valid_for_every_reader_has_no_control_character_and_says_the_same(value: object) -> None:
    for written, breaks in ((as_json(value), ""), (as_json(value, indent=True), "\n")):
        assert not {unicodedata.category(one) for one in set(written) - set(breaks)} & {"Cc", "Cs", "Zl", "Zp"}
        assert orjson.loads(written) == json.loads(written)
        try:
            assert orjson.loads(written) == orjson.loads(orjson.dumps(value))
        except TypeError:
            assert "\\\\ud" in written  # half a character, which JSON cannot say


def test_records_become_objects() -> None:
    written = as_json(Outer("a\x7f", Inner((), {}), Pair("b", 1)))
    assert "\\u007f" in written
    assert json.loads(written) == {
        "name": "a\x7f", "inner": {"names": [], "counts": {}}, "pair": {"name": "b", "number": 1}, "missing": None,
    }  # fmt: skip


def test_what_json_cannot_hold_is_an_error() -> None:
    with pytest.raises(TypeError):
        as_json({"a": object()})


@given(st.sampled_from(["", " ", "\t", "\r", "\n", "\ufeff"]), st.sampled_from("=+-@\uff1d\uff0b\uff0d\uff20x"), ANY)
def test_a_cell_is_no_formula_and_has_no_control_character(space: str, first: str, rest: str) -> None:
    text = space + first + rest
    written = cell(text)
    assert written.lstrip()[0] not in "=+-@\uff1d\uff0b\uff0d\uff20"
    assert not {unicodedata.category(one) for one in written} & {"Cc", "Cs", "Zl", "Zp"}
    assert written in (shown(text), f"'{shown(text)}")
