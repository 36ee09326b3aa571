"""Documents as HTML: one file that loads and runs nothing, in which names are text."""

from __future__ import annotations

from html.parser import HTMLParser

from genledger.reports.document import Column, Document, Grid, Section, TableCell, as_html

HOSTILE = """<script>alert(1)</script>"'><img src=x onerror=alert(2)> & `|*_"""


class Page(HTMLParser):
    """The tags of a page, and its text."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.text = ""
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))

    def handle_data(self, data: str) -> None:
        self.text += data


def document() -> Document:
    columns = [Column(HOSTILE, names=True), Column("cost")]
    grid = Grid(
        columns, [[TableCell(HOSTILE, "dim"), TableCell("$1.00", "alarm")]], [TableCell("all"), TableCell("$1.00")]
    )
    return Document(HOSTILE, [Section(HOSTILE, grid, [HOSTILE])])


def test_names_are_text() -> None:
    page = Page(as_html(document()))
    tags = {tag for tag, _ in page.tags}
    assert not tags & {"script", "img", "link", "iframe", "a", "form"}
    assert page.text.count(HOSTILE) == 6


def test_the_page_loads_and_runs_nothing() -> None:
    page = Page(as_html(document()))
    assert not any({"src", "href", "style"} & set(attributes) or "onerror" in attributes for _, attributes in page.tags)
    assert any("default-src 'none'" in (attributes.get("content") or "") for _, attributes in page.tags)
    assert "url(" not in page.text
    assert "@import" not in page.text


def test_columns_are_left_out_from_the_most_spare() -> None:
    columns = [Column("a", names=True), Column("b", spare=1), Column("c", spare=2), Column("d")]
    grid = Grid(columns, [[TableCell(text) for text in "abcd"]], [TableCell(text) for text in "ABCD"])
    assert grid.spares == 2
    fewer = grid.without(1)
    assert ([column.heading for column in fewer.columns], [cell.text for cell in fewer.footer]) == (
        ["a", "b", "d"],
        ["A", "B", "D"],
    )
    assert [cell.text for cell in grid.without(2).rows[0]] == ["a", "d"]
