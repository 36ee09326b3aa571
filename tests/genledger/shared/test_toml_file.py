"""Lines of what people write in TOML, whichever way they write it."""

from __future__ import annotations

import tomllib
from collections.abc import Iterator
from typing import Any

import pytest

from genledger.shared.toml_file import lines_of

DOCUMENT = '''\
# [not.a.table]
title = "a # b, [c] = {d}"  # [nor.this]
"quoted = key" = 1
a.b.c = 1
a.b.d = """
x = 1
[[y]]
\\""" """
literal = \'\'\'
'' ' \'\'\'
when = 2026-11-21T10:00:00Z
number = 1.5
nested = [ # one
  { x = 1, y.z = [1, 2] },
  [
    "in",
    { w = {} },
  ],
]

[table]
k = "v"

[table.sub."with.dot"]
k = 'v'

[[rows]]
n = 1
[rows.inner]
m = 1
[[rows.list]]
p = 1
[[rows.list]]
p = 2

[[rows]]
n = 2
  [[ rows . list ]]
  p = 3
'''


def places(value: Any, path: tuple[str | int, ...] = ()) -> Iterator[tuple[str | int, ...]]:
    """Every table, key and item of a document."""
    if path:
        yield path
    items = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, one in items:
        yield from places(one, (*path, key))


@pytest.mark.parametrize("line_end", ["\n", "\r\n"])
def test_everything_in_a_document_has_a_line(line_end: str) -> None:
    text = DOCUMENT.replace("\n", line_end)
    assert set(places(tomllib.loads(text))) <= set(lines_of(text))


@pytest.mark.parametrize(
    ("path", "line"),
    [
        (("title",), 2),
        (("quoted = key",), 3),
        (("a", "b", "d"), 5),
        (("literal",), 9),
        (("when",), 11),
        (("nested", 0, "y", "z", 1), 14),
        (("nested", 1, 0), 16),
        (("nested", 1, 1, "w"), 17),
        (("table", "sub", "with.dot"), 24),
        (("rows", 0), 27),
        (("rows", 0, "inner", "m"), 30),
        (("rows", 0, "list", 1, "p"), 34),
        (("rows", 1, "n"), 37),
        (("rows", 1, "list", 0, "p"), 39),
    ],
)
def test_the_line_is_the_one_where_it_stands(path: tuple[str | int, ...], line: int) -> None:
    assert lines_of(DOCUMENT)[path] == line
