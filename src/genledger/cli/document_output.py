"""Documents on a terminal, and as Markdown."""

from __future__ import annotations

import io
import re

from rich.console import Console
from rich.table import Table
from rich.text import Text

from genledger.cli.tables import add_names, add_numbers, fitting, new_table
from genledger.reports.document import Document, Grid, Section, TableCell

WIDTH = 80
"""Characters of a line in Markdown: what chats and mail show without folding."""

_ROOM = 16
"""Characters that names are folded to, before a table loses a column."""

_STYLES = {"": "", "strong": "bold", "dim": "dim", "alarm": "bold red"}
_UNMARKED = str.maketrans({"`": "'", "<": "\u2039", ">": "\u203a"})


def print_document(to: Console, document: Document) -> None:
    """Print a document; tables that do not fit lose columns."""
    to.print(Text(document.title, style="bold"))
    for section in document.sections:
        to.print()
        to.print(Text(section.heading, style="bold"))
        _print_section(to, section)


def as_markdown(document: Document) -> str:
    """Return a document as Markdown that reads alike in chats, in mail and as it is.

    Whatever has names in it is inside of code blocks, where no character is markup. Backquotes and angle brackets,
    which even there end a block or mention people, are replaced by others that look like them.
    """
    parts = [f"**{_plain(document.title)}**\n"]
    for section in document.sections:
        to = Console(file=io.StringIO(), width=WIDTH, highlight=False, markup=False, emoji=False, color_system=None)
        _print_section(to, section)
        written = to.file.getvalue()  # type: ignore[attr-defined]
        lines = "\n".join(line.rstrip() for line in written.translate(_UNMARKED).splitlines())
        parts.append(f"**{_plain(section.heading)}**\n```\n{lines.rstrip()}\n```\n")
    return "\n".join(parts)


def _plain(text: str) -> str:
    return re.sub(r"([\\`*_{}\[\]<>#|!~])", r"\\\1", text)


def _print_section(to: Console, section: Section) -> None:
    grid = section.grid
    if grid is not None:
        to.print(fitting(to, lambda spares: _table(to, grid.without(spares)), range(grid.spares + 1), _ROOM))
    for line in section.lines:
        to.print(_text(to, TableCell(line)))


def _table(to: Console, grid: Grid) -> Table:
    table = new_table()
    table.show_footer = bool(grid.footer)
    footer = [_text(to, cell) for cell in grid.footer] or [Text()] * len(grid.columns)
    for column, whole in zip(grid.columns, footer, strict=True):
        (add_names if column.names else add_numbers)(table, column.heading, whole)
    table.footer_style = "bold"
    for row in grid.rows:
        table.add_row(*(_text(to, cell) for cell in row))
    return table


def _text(to: Console, cell: TableCell) -> Text:
    text = cell.text.replace("▲", "^") if to.options.ascii_only else cell.text
    return Text(text, style=_STYLES[cell.tone])
