"""The tree of a trace, as people see it: every call with its cost, every step with the cost of its calls."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from math import fsum
from typing import Literal, NamedTuple

from genledger.engine.record import CallRecord, StepRecord
from genledger.ledger.rows import trace_hex
from genledger.shared.figures import count, digits_for, money, number_of, seconds, time_text
from genledger.shared.text import visible

Style = Literal["plain", "strong", "quiet", "total", "cost", "unpriced", "retries", "failure"]
"""What a text is, for whoever colors it."""

_DEEPEST = 60
"""Levels that are shown: a chain of thousands, such as of a function that observes itself, is nothing to read."""


class Words(NamedTuple):
    """A text and what it is."""

    text: str
    style: Style = "plain"


Part = tuple[Words, ...]
"""What stands together: a line may be broken between parts, not in one."""


@dataclass(slots=True)
class Branch:
    """A call or step, or the whole trace.

    Attributes:
        parts: What is said of it.
        branches: What is inside of it, oldest first.
        deeper: Levels inside of it that are left out.
    """

    parts: list[Part]
    branches: list[Branch] = field(default_factory=list)
    deeper: int = 0


def trace_tree(spans: Sequence[CallRecord | StepRecord]) -> Branch:
    """Return one trace as a tree.

    Args:
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
        _part(f"trace {trace_hex(spans[0].trace_id)}", "strong"),
        _part(f"{time_text(spans[0].started_ns)} UTC"),
        _part(number_of(len(calls), "call")),
        *_total(calls, digits),
    ]
    if len(parties) == 1:
        heading.append(_part(parties.pop(), "quiet"))
    root = Branch(heading)

    def grow(branch: Branch, parent: int | None, level: int = 1) -> list[CallRecord]:
        below: list[CallRecord] = []
        if level > _DEEPEST:
            branch.deeper, deeper = _take(children, parent)
            return [span for span in deeper if isinstance(span, CallRecord)]
        for span in children.pop(parent, ()):
            twig = Branch([])
            branch.branches.append(twig)
            inside = grow(twig, span.span_id, level + 1)
            if isinstance(span, CallRecord):
                twig.parts = _call(span, digits)
                if parties:
                    twig.parts.append(_part(_who(span), "quiet"))
                inside.insert(0, span)
            else:
                twig.parts = _step(span, inside, digits)
            below += inside
        return below

    grow(root, None)
    while children:  # parents that go in a circle, which is cut at its oldest span
        parent, circle = next(iter(children.items()))
        children[None] = [circle.pop(0)]
        if not circle:
            del children[parent]
        grow(root, None)
    return root


def left_out(levels: int) -> str:
    """Return what stands for levels that are left out."""
    return f"… {number_of(levels, 'deeper level')} left out"


def _part(text: str, style: Style = "plain") -> Part:
    return (Words(text, style),) if text else ()


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


def _cost(calls: Iterable[CallRecord]) -> float | None:
    priced = [call.cost.amount for call in calls if call.cost is not None]
    return fsum(priced) if priced else None


def _total(calls: Sequence[CallRecord], digits: int) -> Iterator[Part]:
    cost = _cost(calls)
    if cost is not None:
        yield _part(money(cost, digits), "total")
    unpriced = sum(call.unpriced is not None for call in calls)
    if unpriced:
        yield _part(f"{unpriced} unpriced", "unpriced")


def _step(step: StepRecord, inside: Sequence[CallRecord], digits: int) -> list[Part]:
    name = _part(step.name, "strong")
    return [
        name if step.kind == "task" else (Words(f"{step.kind} ", "quiet"), *name),
        *_total(inside, digits),
        _part(seconds(step.duration_s), "quiet"),
        _part(step.error_type or "", "failure"),
    ]


def _call(call: CallRecord, digits: int) -> list[Part]:
    parts = [_part(f"{call.operation} {call.response_model or call.request_model or call.provider}")]
    if call.cost is not None:
        parts.append(_part(money(call.cost.amount, digits), "cost"))
    elif call.unpriced is not None:
        parts.append(_part(f"unpriced: {call.unpriced}", "unpriced"))
    usage = call.usage
    if usage is not None:
        cached = f" ({count(usage.cache_read_tokens)} cached)" if usage.cache_read_tokens else ""
        parts.append(_part(f"{count(usage.input_tokens)} in{cached}, {count(usage.output_tokens)} out"))
    parts.append(_part(seconds(call.duration_s), "quiet"))
    if call.attempts > 1:
        causes = ", ".join(call.retry_causes)
        parts.append(_part(f"{number_of(call.attempts, 'attempt')} ({causes})", "retries"))
    if call.outcome != "success":
        parts.append(_part(f"{call.outcome}{f': {call.error_type}' if call.error_type else ''}", "failure"))
    return parts


def _who(call: CallRecord) -> str:
    return " / ".join(value for value in (call.attribution.tenant, call.attribution.feature) if value)
