"""`genledger trace`: the calls of one trace as a tree, with the cost of each."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Sequence
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
from genledger.engine.record import CallRecord
from genledger.ledger import Ledger, LedgerError, Step, queries
from genledger.ledger.rows import span_hex, trace_hex
from genledger.shared.text import visible

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
                last = queries.last_trace(connection)
                found = [last] if last else []
            else:
                found = queries.traces(connection, trace_id.lower().removeprefix("0x"))
            spans = queries.trace(connection, found[0]) if len(found) == 1 else []
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


def _plain(span: CallRecord | Step) -> dict[str, object]:
    parent = span.parent_span_id
    return asdict(span) | {
        "trace_id": trace_hex(span.trace_id),
        "span_id": span_hex(span.span_id),
        "parent_span_id": None if parent is None else span_hex(parent),
    }


def print_trace(to: Console, spans: Sequence[CallRecord | Step]) -> None:
    """Print one trace as a tree: every call with its cost, every step with the cost of its calls.

    Args:
        to: Console to print to.
        spans: At least one, oldest first: from `genledger.ledger.queries.trace`.
    """
    spans = visible(spans)
    calls = [span for span in spans if isinstance(span, CallRecord)]
    digits = digits_for(_cost(calls))
    known = {span.span_id for span in spans}
    children: dict[int | None, list[CallRecord | Step]] = defaultdict(list)
    for span in spans:
        # The parent may be a span that is neither a call nor a step, such as a web server's.
        children[span.parent_span_id if span.parent_span_id in known else None].append(span)
    heading = Text.assemble(
        (f"trace {trace_hex(spans[0].trace_id)}", "bold"), f"  {time_text(spans[0].started_ns)} UTC"
    )
    tree = Tree(_with_cost(heading.append(f"  {number_of(len(calls), 'call')}"), calls, digits))
    parties = {_who(call) for call in calls}
    if len(parties) == 1:
        heading.append(f"  {parties.pop()}".rstrip(), style="dim")

    def grow(branch: Tree, parent: int | None) -> list[CallRecord]:
        below: list[CallRecord] = []
        for span in children.pop(parent, ()):
            twig = branch.add("")
            inside = grow(twig, span.span_id)
            if isinstance(span, CallRecord):
                twig.label = _call(span, digits)
                if parties:
                    twig.label.append(f"  {_who(span)}".rstrip(), style="dim")
                inside.insert(0, span)
            else:
                twig.label = _step(span, inside, digits)
            below += inside
        return below

    grow(tree, None)
    to.print(tree)


def _cost(calls: Iterable[CallRecord]) -> float | None:
    priced = [call.cost.amount for call in calls if call.cost is not None]
    return fsum(priced) if priced else None


def _with_cost(label: Text, calls: Sequence[CallRecord], digits: int) -> Text:
    cost = _cost(calls)
    if cost is not None:
        label.append(f"  {money(cost, digits)}", style="bold green")
    unpriced = sum(call.unpriced is not None for call in calls)
    if unpriced:
        label.append(f"  {unpriced} unpriced", style="yellow")
    return label


def _step(step: Step, inside: Sequence[CallRecord], digits: int) -> Text:
    label = _with_cost(Text(step.name, style="bold"), inside, digits)
    label.append(f"  {seconds(step.duration_s)}", style="dim")
    if step.error_type:
        label.append(f"  {step.error_type}", style="red")
    return label


def _call(call: CallRecord, digits: int) -> Text:
    label = Text(f"{call.operation} {call.response_model or call.request_model or call.provider}")
    if call.cost is not None:
        label.append(f"  {money(call.cost.amount, digits)}", style="green")
    elif call.unpriced is not None:
        label.append(f"  unpriced: {call.unpriced}", style="yellow")
    usage = call.usage
    if usage is not None:
        cached = f" ({count(usage.cache_read_tokens)} cached)" if usage.cache_read_tokens else ""
        label.append(f"  {count(usage.input_tokens)} in{cached}, {count(usage.output_tokens)} out")
    label.append(f"  {seconds(call.duration_s)}", style="dim")
    if call.attempts > 1:
        label.append(f"  {number_of(call.attempts, 'attempt')} ({', '.join(call.retry_causes)})", style="magenta")
    if call.outcome != "success":
        label.append(f"  {call.outcome}{f': {call.error_type}' if call.error_type else ''}", style="red")
    return label


def _who(call: CallRecord) -> str:
    return " / ".join(value for value in (call.attribution.tenant, call.attribution.feature) if value)
