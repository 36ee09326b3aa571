"""Tables: whole in a pipe, without their less important columns in a narrow terminal."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import TypeVar

from rich import box
from rich.console import Console, RenderableType
from rich.measure import Measurement
from rich.table import Table

from genledger.cli.output import UNLIMITED

V = TypeVar("V")

_ROOM = 40


def new_table(*names: str, title: str | None = None) -> Table:
    """Return a table with columns of names, which may be folded, but no narrower than their headings."""
    table = Table(
        title=title,
        title_justify="left",
        title_style="bold",
        box=box.SIMPLE_HEAD,
        show_edge=False,
        pad_edge=False,
        padding=(0, 1, 0, 0),
    )
    for name in names:
        add_names(table, name)
    return table


def add_names(table: Table, heading: str, footer: RenderableType = "") -> None:
    """Add a column of names."""
    table.add_column(heading, footer, overflow="fold", min_width=max(map(len, heading.split())))


def add_numbers(table: Table, heading: str, footer: RenderableType = "") -> None:
    """Add a column of numbers, which are never folded."""
    table.add_column(heading, footer, justify="right", no_wrap=True)


def fitting(to: Console, build: Callable[[V], Table], variants: Iterable[V], room: int = _ROOM) -> Table:
    """Return the first variant of a table that fits the console, else the last one.

    Names are folded to `room` characters, but no further, before a variant with less in it is taken.
    """
    for variant in variants:
        table = build(variant)
        if _least_width(to, table, room) <= to.width:
            break
    return table


def _least_width(to: Console, table: Table, room: int) -> int:
    names = [column for column in table.columns if column.overflow == "fold"]
    for column in names:
        column.max_width = room
    width = Measurement.get(to, to.options.update(max_width=UNLIMITED), table).maximum
    for column in names:
        column.max_width = None
    return width
