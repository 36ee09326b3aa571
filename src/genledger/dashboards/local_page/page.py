"""The page as a stream of HTML: each panel is written as soon as it is answered."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import datetime
from typing import NamedTuple

from genledger.budgets.budget_status import BudgetStatus
from genledger.budgets.stores import StoreDown
from genledger.dashboards.local_page.answers import Ask, Shown, answer, standing
from genledger.dashboards.local_page.boards import EXPLORE, boards, explored, is_of_budgets
from genledger.dashboards.local_page.markup import (
    CLOSING,
    banner,
    controls,
    footer,
    opening,
    panel_markup,
    period,
    problem,
    proposals,
    tree_markup,
)
from genledger.dashboards.local_page.view import FILTERS, Span, View, condition_text, conditions
from genledger.dashboards.panels import Dashboard, Panel, words
from genledger.engine.record import CallRecord, StepRecord
from genledger.ledger import LedgerError
from genledger.ledger.fields import METRICS
from genledger.ledger.query import Query, QueryError
from genledger.ledger.trace_tree import trace_tree
from genledger.reports.periods import PeriodError
from genledger.shared.loggers import logger_of

_log = logger_of(__name__)

_PROPOSED = 50
_TRACES = 100
_AT_ONCE = 3


class TraceSpans(NamedTuple):
    """What there is of a trace: the ids that begin alike, and the spans if it is one."""

    traces: Sequence[str]
    spans: Sequence[CallRecord | StepRecord]


@dataclass(frozen=True, slots=True)
class Source:
    """Where the page has its numbers from.

    Attributes:
        name: Of the ledger, as people know it.
        ask: Answers a question, as `genledger.ledger.query.ask` does.
        find: Finds the traces that begin with some digits.
        budgets: Tells how budgets stand; `None` where there are none.
    """

    name: str
    ask: Ask
    find: Callable[[str], TraceSpans]
    budgets: Callable[[], Sequence[BudgetStatus]] | None = None


def title_of(view: View) -> str:
    """Return the title of a view's window."""
    if view.trace:
        return f"Trace {view.trace[:8]} · Genledger"
    return f"{('Traces' if view.traces else view.board).capitalize()} · Genledger"


def body(view: View, source: Source, now: datetime) -> Iterator[str]:
    """Write the page of a view, with links to others."""
    found = boards(budgets=source.budgets is not None)
    every = (*found, _explore(view))
    board = next((one for one in every if one.name == view.board), None)
    yield banner(every, view, linked=True)
    if view.trace:
        yield '<main id="main" tabindex="-1">\n'
        yield _trace(view, source)
    elif board is None:
        yield '<main id="main" tabindex="-1">\n'
        yield problem("No such dashboard", f"There is no {view.board!r}. There are those at the top of the page.")
    else:
        yield controls(view, board.period, asks=board.name == EXPLORE and not view.traces)
        yield '<main id="main" tabindex="-1">\n'
        if view.traces:
            board = _traces(view)
        yield from _board(board, view, source, now, linked=True)
    yield "</main>\n"
    yield footer(source.name, now)
    if board is not None and not view.trace:
        yield proposals(_proposed(view, board, source, now))


def whole(view: View, source: Source, now: datetime) -> Iterator[str]:
    """Write all dashboards on one page without links to others."""
    found = boards(budgets=source.budgets is not None)
    yield banner(found, view, linked=False)
    yield '<main id="main" tabindex="-1">\n'
    for board in found:
        yield from _board(board, view, source, now, linked=False)
    yield "</main>\n"
    yield footer(source.name, now)


def _board(board: Dashboard, view: View, source: Source, now: datetime, *, linked: bool) -> Iterator[str]:
    try:
        span = view.span(board.period, now)
        since_ns = span.since_ns
        if since_ns is None:
            since_ns = source.ask(Query(metrics=("calls",), until_ns=span.until_ns)).since_ns
    except (PeriodError, QueryError, LedgerError) as error:
        yield problem("This cannot be shown", error)
        return
    yield opening(board, f"{period(since_ns, span.until_ns, view.zone)}{_conditions(view, linked)}")
    span = Span(since_ns, span.until_ns)
    with ThreadPoolExecutor(_AT_ONCE) as threads:
        # Each is written as soon as it and those before it are there.
        for number, (panel, found) in enumerate(
            threads.map(lambda one: _answer(one, view, span, source), board.panels)
        ):
            name = f"{board.name}-{number}"
            if isinstance(found, Shown):
                yield panel_markup(panel, found, view, name, linked=linked)
            else:
                yield problem(panel.title, found, name)
    yield CLOSING


def _answer(panel: Panel, view: View, span: Span, source: Source) -> tuple[Panel, Shown | Exception]:
    try:
        if is_of_budgets(panel):
            return panel, standing(panel, source.budgets() if source.budgets is not None else ())
        return panel, answer(panel, view.where, span, view.zone, source.ask)
    except (QueryError, LedgerError, StoreDown) as error:
        return panel, error
    except Exception as error:
        # The other panels are of use without this one.
        _log.warning("the panel %s could not be answered", panel.title, exc_info=True)
        return panel, error


def _conditions(view: View, linked: bool) -> str:
    # With links, they stand above, each with one that removes it.
    return "" if linked else "".join(f"; {condition_text(one)}" for one in conditions(view))


def _explore(view: View) -> Dashboard:
    return Dashboard(
        name=EXPLORE,
        title="Genledger: explore",
        help="Ask a question of your own: what is measured, by what, and over time.",
        panels=(explored(view),),
    )


def _traces(view: View) -> Dashboard:
    first = view.traces
    if first in METRICS and METRICS[first].of == "outcomes":
        first = "outcomes"
    metrics = tuple(dict.fromkeys((first, "cost", "calls", "tokens", "errors")))
    panel = Panel(
        title=f"Traces by {words(first)}",
        help=f"At most {_TRACES}, those with the most first. Open one to see its calls.",
        chart="table",
        metrics=metrics,
        by=("trace",),
        top=_TRACES,
        width=24,
    )
    return Dashboard(
        name=view.board,
        title="Genledger: traces",
        help="The traces that a bar or a number is made of.",
        panels=(panel,),
    )


def _trace(view: View, source: Source) -> str:
    digits = view.trace.lower().removeprefix("0x")
    try:
        found = source.find(digits)
    except LedgerError as error:
        return problem("This cannot be shown", error)
    if len(found.traces) > 1:
        named = ", ".join(found.traces)
        return problem("Several traces", f"{view.trace!r} matches several traces: {named}; give more digits")
    if not found.spans:
        return problem("No such trace", f"There is no call of trace {view.trace!r} in {source.name}.")
    return tree_markup(trace_tree(found.spans))


def _proposed(view: View, board: Dashboard, source: Source, now: datetime) -> dict[str, list[str]]:
    proposed: dict[str, list[str]] = {}
    for name in FILTERS:
        try:
            span = view.span(board.period, now)
            question = Query(metrics=("calls",), by=(name,), limit=_PROPOSED, **span._asdict())
            proposed[name] = [row[name] for row in source.ask(question).rows if row[name] is not None]
        except (PeriodError, QueryError, LedgerError):
            proposed[name] = []
    return proposed
