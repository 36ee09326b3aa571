"""`genledger trace`: the calls of one trace as a tree, with the cost of each."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import asdict
from math import fsum
from typing import Annotated

import typer
from rich.console import Console
from rich.text import Text
from rich.tree import Tree

from genledger.cli.apps import new_app
from genledger.cli.ledgers import LedgerOption, existing_ledger, no_calls_in
from genledger.cli.output import (
    JsonOption,
    console,
    count,
    digits_for,
    fail,
    money,
    number_of,
    print_json,
    seconds,
    time_text,
)
from genledger.engine.record import CallRecord, StepRecord
from genledger.ledger import Ledger, LedgerError, traces
from genledger.ledger.rows import span_hex, trace_hex
from genledger.shared.text import visible

_GUIDE = 4
"""Columns that the lines of the tree take for each level."""

_NARROWEST = 36
"""Columns that a label has at least: levels that would leave it less are not indented."""

_DEEPEST = 60
"""Levels that are shown: a chain of thousands, such as of a function that observes itself, is nothing to read."""

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


def print_trace(to: Console, spans: Sequence[CallRecord | StepRecord]) -> None:
    """Print one trace as a tree: every call with its cost, every step with the cost of its calls.

    Args:
        to: Console to print to.
        spans: At least one, oldest first: from `genledger.ledger.traces.trace`.
    """
    spans = visible(spans)
    calls = [span for span in spans if isinstance(span, CallRecord)]
    digits = digits_for(_cost(calls))
    known = {span.span_id for span in spans}
    children: dict[int | None, list[CallRecord | StepRecord]] = defaultdict(list)
    for span in spans:
        # The parent may be a span that is neither a call nor a step, such as a web server's.
        children[span.parent_span_id if span.parent_span_id in known else None].append(span)
    parties = {_who(call) for call in calls}
    heading = [
        Text(f"trace {trace_hex(spans[0].trace_id)}", "bold"),
        Text(f"{time_text(spans[0].started_ns)} UTC"),
        Text(number_of(len(calls), "call")),
        *_total(calls, digits),
    ]
    if len(parties) == 1:
        heading.append(Text(parties.pop(), "dim"))
    tree = Tree(_lines(heading, to.width))

    def grow(branch: Tree, parent: int | None, width: int, level: int = 1) -> list[CallRecord]:
        below: list[CallRecord] = []
        if level > _DEEPEST:
            levels, deeper = _take(children, parent)
            if levels:
                branch.add(Text(f"… {number_of(levels, 'deeper level')} left out", "dim"))
            return [span for span in deeper if isinstance(span, CallRecord)]
        for span in children.pop(parent, ()):
            twig = branch.add("")
            fits = width - _GUIDE >= _NARROWEST
            inside = grow(twig if fits else branch, span.span_id, width - _GUIDE if fits else width, level + 1)
            if isinstance(span, CallRecord):
                parts = _call(span, digits)
                if parties:
                    parts.append(Text(_who(span), "dim"))
                inside.insert(0, span)
            else:
                parts = _step(span, inside, digits)
            twig.label = _lines(parts, width)
            below += inside
        return below

    grow(tree, None, to.width - _GUIDE)
    while children:  # parents that go in a circle, which is cut at its oldest span
        parent, circle = next(iter(children.items()))
        children[None] = [circle.pop(0)]
        if not circle:
            del children[parent]
        grow(tree, None, to.width - _GUIDE)
    to.print(tree)


def _take(
    children: dict[int | None, list[CallRecord | StepRecord]], parent: int | None
) -> tuple[int, list[CallRecord | StepRecord]]:
    """Take what is inside of a span out of `children`; return how many levels that has, and all of it."""
    levels = 0
    taken: list[CallRecord | StepRecord] = []
    level = children.pop(parent, [])
    while level:
        levels += 1
        taken += level
        level = [span for one in level for span in children.pop(one.span_id, ())]
    return levels, taken


def _lines(parts: Iterable[Text], width: int) -> Text:
    """Return a label of several parts, on one line if they fit: a line breaks between parts, not in one."""
    label, used = Text(), 0
    for part in filter(None, parts):
        if used and used + 2 + part.cell_len > width:
            label.append("\n")
            used = 0
        if label:
            label.append("  ")
            used += 2
        label.append_text(part)
        used += part.cell_len
    return label


def _cost(calls: Iterable[CallRecord]) -> float | None:
    priced = [call.cost.amount for call in calls if call.cost is not None]
    return fsum(priced) if priced else None


def _total(calls: Sequence[CallRecord], digits: int) -> Iterator[Text]:
    cost = _cost(calls)
    if cost is not None:
        yield Text(money(cost, digits), "bold green")
    unpriced = sum(call.unpriced is not None for call in calls)
    if unpriced:
        yield Text(f"{unpriced} unpriced", "yellow")


def _step(step: StepRecord, inside: Sequence[CallRecord], digits: int) -> list[Text]:
    return [
        Text.assemble("" if step.kind == "task" else (f"{step.kind} ", "dim"), (step.name, "bold")),
        *_total(inside, digits),
        Text(seconds(step.duration_s), "dim"),
        Text(step.error_type or "", "red"),
    ]


def _call(call: CallRecord, digits: int) -> list[Text]:
    parts = [Text(f"{call.operation} {call.response_model or call.request_model or call.provider}")]
    if call.cost is not None:
        parts.append(Text(money(call.cost.amount, digits), "green"))
    elif call.unpriced is not None:
        parts.append(Text(f"unpriced: {call.unpriced}", "yellow"))
    usage = call.usage
    if usage is not None:
        cached = f" ({count(usage.cache_read_tokens)} cached)" if usage.cache_read_tokens else ""
        parts.append(Text(f"{count(usage.input_tokens)} in{cached}, {count(usage.output_tokens)} out"))
    parts.append(Text(seconds(call.duration_s), "dim"))
    if call.attempts > 1:
        causes = ", ".join(call.retry_causes)
        parts.append(Text(f"{number_of(call.attempts, 'attempt')} ({causes})", "magenta"))
    if call.outcome != "success":
        parts.append(Text(f"{call.outcome}{f': {call.error_type}' if call.error_type else ''}", "red"))
    return parts


def _who(call: CallRecord) -> str:
    return " / ".join(value for value in (call.attribution.tenant, call.attribution.feature) if value)
