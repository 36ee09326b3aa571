"""Every row of the table of credentials is found, wherever it may begin, and takes nothing else for one."""

from __future__ import annotations

import json

import pytest

from genledger.engine.content.redaction import Redactor
from genledger.engine.content.redaction.credentials import CREDENTIALS, Credential

BEFORE = ["", " ", "\n", "=", "(", '"', "'", "-", "_", ">", "、", "密钥是", "\\n", "%3D", "%3d", "\\u000a"]
AFTER = ["", " ", "\n", ".", ",", ")", '"', "'", "です", "\\n"]

each_row = pytest.mark.parametrize("row", CREDENTIALS, ids=lambda row: row.issuer)


@each_row
def test_its_example_is_found_with_every_prefix_whatever_stands_around_it(row: Credential) -> None:
    for prefix in row.prefixes:
        for before in BEFORE:
            for after in AFTER:
                text = f"{before}{prefix}{row.example}{after}"
                assert Redactor().text(text) == f"{before}[key]{after}", text


@each_row
def test_its_example_is_found_in_json_and_in_json_that_json_quotes(row: Credential) -> None:
    secret = row.prefixes[0] + row.example
    inner = json.dumps({"said": f"first\n{secret}\nlast"})
    outer = json.loads(Redactor().json(json.dumps([inner])))
    assert json.loads(outer[0]) == {"said": "first\n[key]\nlast"}


@each_row
def test_its_near_miss_stays(row: Credential) -> None:
    text = f"see {row.near_miss} there"
    assert Redactor().text(text) == text


@each_row
def test_it_is_no_part_of_a_longer_word(row: Credential) -> None:
    text = f"see a{row.prefixes[0]}{row.example} there"
    assert row.example in Redactor(["keys"]).text(text)


@each_row
def test_it_says_where_it_is_documented(row: Credential) -> None:
    assert row.source


def test_no_prefix_is_in_two_rows() -> None:
    prefixes = [prefix for row in CREDENTIALS for prefix in row.prefixes]
    assert len(prefixes) == len(set(prefixes))
