"""A report as a document: sections with tables and lines of text, for whatever shows it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from html import escape
from typing import Literal, NamedTuple

Tone = Literal["", "strong", "dim", "alarm"]


class TableCell(NamedTuple):
    """Text in a table, and how it is meant."""

    text: str
    tone: Tone = ""


class Column(NamedTuple):
    """A column: of names, which may be folded, or of numbers.

    Attributes:
        heading: Above it.
        names: Whether it has names.
        spare: Where there is no room, columns are left out, the largest `spare` first; one with 0 never is.
    """

    heading: str
    names: bool = False
    spare: int = 0


@dataclass(frozen=True, slots=True)
class Grid:
    """A table; `footer` is its last row, the sum."""

    columns: Sequence[Column]
    rows: Sequence[Sequence[TableCell]]
    footer: Sequence[TableCell] = ()

    def without(self, spares: int) -> Grid:
        """Return the table without this many kinds of spare column."""
        left_out = sorted({column.spare for column in self.columns if column.spare}, reverse=True)[:spares]
        kept = [place for place, column in enumerate(self.columns) if column.spare not in left_out]

        def fewer(row: Sequence[TableCell]) -> list[TableCell]:
            return [row[place] for place in kept] if row else []

        return Grid([self.columns[place] for place in kept], [fewer(row) for row in self.rows], fewer(self.footer))

    @property
    def spares(self) -> int:
        """Return how many kinds of column may be left out."""
        return len({column.spare for column in self.columns if column.spare})


@dataclass(frozen=True, slots=True)
class Section:
    """A part of a document. All texts are for people, and have no markup."""

    heading: str
    grid: Grid | None = None
    lines: Sequence[str] = field(default_factory=tuple)


@dataclass(frozen=True, slots=True)
class Document:
    """A report."""

    title: str
    sections: Sequence[Section]


_STYLE = """
:root { color-scheme: light dark; --text: #1c2024; --dim: #60646c; --line: #d9dce1; --alarm: #b42318; --page: #fff }
@media (prefers-color-scheme: dark) {
  :root { --text: #edeef0; --dim: #a5abb3; --line: #363a3f; --alarm: #ff9a8f; --page: #111315 }
}
body { font: 15px/1.5 system-ui, sans-serif; color: var(--text); background: var(--page);
  max-width: 64rem; margin: 0 auto; padding: 1rem }
h1 { font-size: 1.4rem } h2 { font-size: 1.1rem; margin: 2rem 0 .5rem }
.wide { overflow-x: auto }
table { border-collapse: collapse; font-variant-numeric: tabular-nums }
th, td { padding: .25rem .75rem; border-bottom: 1px solid var(--line); text-align: right; white-space: nowrap }
th { color: var(--dim); font-weight: 600 }
th.names, td.names { text-align: left; white-space: normal; overflow-wrap: anywhere; padding-left: 0 }
tfoot td, .strong { font-weight: 600 } .dim { color: var(--dim) } .alarm { color: var(--alarm); font-weight: 600 }
p { margin: .4rem 0; overflow-wrap: anywhere; white-space: pre-line }
"""


def as_html(document: Document) -> str:
    """Return a document as one page in HTML. It loads nothing, runs nothing, and every name in it is text."""
    parts = [
        '<!doctype html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n',
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n',
        "<meta http-equiv=\"Content-Security-Policy\" content=\"default-src 'none'; style-src 'unsafe-inline'\">\n",
        f"<title>{escape(document.title)}</title>\n<style>{_STYLE}</style>\n</head>\n<body>\n",
        f"<h1>{escape(document.title)}</h1>\n",
    ]
    for section in document.sections:
        parts.append(f"<h2>{escape(section.heading)}</h2>\n")
        if section.grid is not None:
            parts.append(_table(section.grid))
        parts += [f"<p>{escape(line)}</p>\n" for line in section.lines]
    return "".join((*parts, "</body>\n</html>\n"))


def _table(grid: Grid) -> str:
    names = [' class="names"' if column.names else "" for column in grid.columns]
    headings = "".join(
        f'<th scope="col"{name}>{escape(column.heading)}</th>' for column, name in zip(grid.columns, names, strict=True)
    )
    body = "".join(_row(grid.columns, row) for row in grid.rows)
    footer = f"<tfoot>{_row(grid.columns, grid.footer)}</tfoot>" if grid.footer else ""
    return f'<div class="wide"><table><thead><tr>{headings}</tr></thead><tbody>{body}</tbody>{footer}</table></div>\n'


def _row(columns: Sequence[Column], row: Sequence[TableCell]) -> str:
    cells = []
    for column, cell in zip(columns, row, strict=True):
        classes = " ".join(filter(None, ("names" if column.names else "", cell.tone)))
        marked = f' class="{classes}"' if classes else ""
        cells.append(f"<td{marked}>{escape(cell.text)}</td>")
    return f"<tr>{''.join(cells)}</tr>"
