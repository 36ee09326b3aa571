"""`genledger trace`: the calls of one trace as a tree, with the cost of each."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import asdict
from typing import Annotated

import typer
from rich.console import Console
from rich.text import Text
from rich.tree import Tree

from genledger.cli.apps import new_app
from genledger.cli.ledgers import LedgerOption, existing_ledger, no_calls_in
from genledger.cli.output import JsonOption, console, fail, print_json
from genledger.engine.record import CallRecord, StepRecord
from genledger.ledger import Ledger, LedgerError, traces
from genledger.ledger.rows import span_hex, trace_hex
from genledger.ledger.trace_tree import Branch, Part, Style, left_out, trace_tree

_GUIDE = 4
"""Columns that the lines of the tree take for each level."""

_NARROWEST = 36
"""Columns that a label has at least: levels that would leave it less are not indented."""

app = new_app()


@app.command()
def trace(
    trace_id: Annotated[str, typer.Argument(metavar="TRACE_ID|last", help="Trace id, or its first digits.")],
    ledger: LedgerOption = None,
    json: JsonOption = False,
) -> None:
    """Show the calls of one trace as a tree, with the cost of each."""
    path = existing_ledger(ledger)
    try:
        with Ledger(path).reading() as connection:
            if trace_id == "last":
                last = traces.last_trace(connection)
                found = [last] if last else []
            else:
                found = traces.traces(connection, trace_id.lower().removeprefix("0x"))
            spans = traces.trace(connection, found[0]) if len(found) == 1 else []
    except LedgerError as error:
        fail(error)
    if len(found) > 1:
        fail(f"{trace_id!r} matches several traces: {', '.join(found)}; give more digits")
    if not spans and trace_id == "last":
        fail(no_calls_in(path))
    if not spans:
        fail(f"no call of trace {trace_id!r} in {path}")
    if json:
        print_json([_plain(span) for span in spans])
    else:
        print_trace(console(), spans)


def _plain(span: CallRecord | StepRecord) -> dict[str, object]:
    parent = span.parent_span_id
    return asdict(span) | {
        "trace_id": trace_hex(span.trace_id),
        "span_id": span_hex(span.span_id),
        "parent_span_id": None if parent is None else span_hex(parent),
    }


_STYLES: dict[Style, str] = {
    "plain": "",
    "strong": "bold",
    "quiet": "dim",
    "total": "bold green",
    "cost": "green",
    "unpriced": "yellow",
    "retries": "magenta",
    "failure": "red",
}


def print_trace(to: Console, spans: Sequence[CallRecord | StepRecord]) -> None:
    """Print one trace as a tree: every call with its cost, every step with the cost of its calls.

    Args:
        to: Console to print to.
        spans: At least one, oldest first: from `genledger.ledger.traces.trace`.
    """
    root = trace_tree(spans)
    tree = Tree(_lines(root.parts, to.width))

    def grow(inside: Branch, branch: Tree, width: int) -> None:
        if inside.deeper:
            branch.add(Text(left_out(inside.deeper), "dim"))
        for one in inside.branches:
            twig = branch.add(_lines(one.parts, width))
            fits = width - _GUIDE >= _NARROWEST
            grow(one, twig if fits else branch, width - _GUIDE if fits else width)

    grow(root, tree, to.width - _GUIDE)
    to.print(tree)


def _lines(parts: Iterable[Part], width: int) -> Text:
    """Return a label of several parts, on one line if they fit: a line breaks between parts, not in one."""
    label, used = Text(), 0
    for words in filter(None, parts):
        part = Text.assemble(*((text, _STYLES[style]) for text, style in words))
        if used and used + 2 + part.cell_len > width:
            label.append("\n")
            used = 0
        if label:
            label.append("  ")
            used += 2
        label.append_text(part)
        used += part.cell_len
    return label
