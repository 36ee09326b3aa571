"""`genledger trace`: the calls of one trace as a tree, with the cost of each."""

from __future__ import annotations

from collections import defaultdict
from dataclasses import asdict
from math import fsum
from typing import Annotated

import typer
from rich.console import Console
from rich.text import Text
from rich.tree import Tree

from genledger.calls.entry import Entry
from genledger.ledger import Ledger, LedgerError, default_path, queries
from genledger.ledger.rows import span_hex, trace_hex

from .output import JsonOption, LedgerOption, console, count, digits_for, fail, money, print_json, time_text

app = typer.Typer(add_completion=False)


@app.command()
def trace(
    trace_id: Annotated[str, typer.Argument(metavar="TRACE_ID|last", help="Its first digits are enough.")],
    ledger: LedgerOption = None,
    json: JsonOption = False,
) -> None:
    """Show the calls of one trace as a tree, with the cost of each."""
    path = ledger or default_path()
    if not path.exists():
        fail(f"there is no ledger at {path}.")
    wanted = trace_id.lower().removeprefix("0x")
    try:
        with Ledger(path).reading() as connection:
            found = [last] if wanted == "last" and (last := queries.last_trace(connection)) else []
            if wanted != "last":
                found = queries.traces(connection, wanted)
            entries = queries.trace(connection, found[0]) if len(found) == 1 else []
    except LedgerError as error:
        fail(error)
    if len(found) > 1:
        fail(f"{trace_id!r} begins the ids of several traces: {', '.join(found)}.")
    if not entries:
        fail(f"{path} has no call of trace {trace_id!r}.")
    if json:
        print_json([_plain(entry) for entry in entries])
    else:
        print_trace(console(), entries)


def _plain(entry: Entry) -> dict[str, object]:
    parent = entry.parent_span_id
    return asdict(entry) | {
        "trace_id": trace_hex(entry.trace_id),
        "span_id": span_hex(entry.span_id),
        "parent_span_id": None if parent is None else span_hex(parent),
    }


def print_trace(to: Console, entries: list[Entry]) -> None:
    """Print the calls of one trace, at least one, as a tree."""
    priced = [entry.cost.amount for entry in entries if entry.cost is not None]
    unpriced = sum(entry.unpriced is not None for entry in entries)
    whole = fsum(priced) if priced else None
    digits = digits_for(whole)
    began = min(entry.started_ns for entry in entries)
    title = Text.assemble(
        ("trace ", "bold"),
        (trace_hex(entries[0].trace_id), "bold"),
        f"  {time_text(began)} UTC  {len(entries)} calls  ",
        (money(whole, digits), "bold green"),
    )
    if unpriced:
        title.append(f"  {unpriced} unpriced", style="yellow")
    tree = Tree(title)
    children: dict[int | None, list[Entry]] = defaultdict(list)
    known = {entry.span_id for entry in entries}
    for entry in entries:
        # The parent is often a span that is no call, and so not in the ledger.
        children[entry.parent_span_id if entry.parent_span_id in known else None].append(entry)

    def grow(branch: Tree, parent: int | None) -> None:
        for entry in children.pop(parent, ()):
            grow(branch.add(_label(entry, began, digits)), entry.span_id)

    grow(tree, None)
    to.print(tree)


def _label(entry: Entry, began: int, digits: int) -> Text:
    label = Text.assemble(
        (entry.operation, "bold"), f" {entry.response_model or entry.request_model or entry.library}  "
    )
    if entry.cost is not None:
        label.append(money(entry.cost.amount, digits), style="green")
    elif entry.unpriced is not None:
        label.append(f"unpriced: {entry.unpriced}", style="yellow")
    if entry.usage is not None:
        label.append(f"  {count(entry.usage.input_tokens)} in, {count(entry.usage.output_tokens)} out")
        if entry.usage.cache_read_tokens:
            label.append(f", {count(entry.usage.cache_read_tokens)} cached")
    label.append(f"  {entry.duration_s:.2f} s", style="dim")
    if entry.attempts > 1:
        label.append(f"  {entry.attempts} attempts ({', '.join(entry.retry_causes)})", style="magenta")
    if entry.outcome != "success":
        label.append(f"  {entry.outcome} {entry.error_type or ''}".rstrip(), style="red")
    who = [value for value in (entry.attribution.tenant, entry.attribution.feature) if value]
    if who:
        label.append(f"  {' / '.join(who)}", style="dim")
    return label
