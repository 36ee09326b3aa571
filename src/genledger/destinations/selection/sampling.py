"""Which traces go to a destination: a share of the ordinary ones, and all that are worth keeping."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

from opentelemetry.trace import StatusCode

from genledger.destinations.selection.allowance import Allowance
from genledger.destinations.selection.span_processor import FinishedSpan
from genledger_semconv import attributes as A

HELD_S = 30.0
"""Seconds that the spans of a trace wait for its topmost span; then it is decided without."""

HELD_SPANS = 20_000
"""Spans that wait at most, all traces together; beyond, the oldest trace is decided first."""

_REMEMBERED = 20_000
_TRACE_ID_PART = 2**64 - 1


class Keep(NamedTuple):
    """Traces that sampling does not drop.

    Attributes:
        errors: Those with a span in error.
        slower_than_s: Those with a span that took longer, in seconds; `None`: slowness is no reason.
        dearer_than_usd: Traces that cost more, in USD; `None` ignores the cost.
        scored_below: Those with an evaluation score below; `None`: a score is no reason.
    """

    errors: bool = True
    slower_than_s: float | None = 30.0
    dearer_than_usd: float | None = 0.10
    scored_below: float | None = 0.5


class SamplingOptions(NamedTuple):
    """Which traces a receiver gets; its units are counted in any case.

    Attributes:
        rate: The share of ordinary traces, 0 to 1.
        keep: Traces that are sent anyway.
        units_per_month: Units that may be used in a month; `None`: any number.
    """

    rate: float = 1.0
    keep: Keep = Keep()
    units_per_month: int | None = None

    @property
    def holds(self) -> bool:
        """Return whether spans may have to wait for the end of their trace."""
        return self.rate < 1.0 or self.units_per_month is not None


@dataclass(slots=True)
class _Held:
    since: float
    items: list[FinishedSpan] = field(default_factory=list)
    cost: float = 0.0
    worthy: bool = False


class TraceSampling:
    """Decides trace by trace, when the topmost span of the trace in this process has ended.

    The decision for an ordinary trace depends on its id only, like `TraceIdRatioBased`, so that every
    service comes to the same one. With a rate of 1 and allowance left, nothing waits.

    Args:
        allowance: Counts the units that go out, and says how many may.
        rate: The share of ordinary traces that is sent, 0 to 1.
        keep: Which traces are sent anyway, as long as there is any allowance.
    """

    def __init__(self, allowance: Allowance, *, rate: float = 1.0, keep: Keep | None = None) -> None:
        self._allowance = allowance
        self._rate = rate
        self._keep = keep or Keep()
        self._held: OrderedDict[int, _Held] = OrderedDict()
        self._held_spans = 0
        self._decided: OrderedDict[int, bool] = OrderedDict()
        self._discarded: list[FinishedSpan] = []

    @property
    def units(self) -> int:
        """Return units used this month."""
        return self._allowance.used

    @property
    def holds(self) -> bool:
        """Return whether spans may have to wait for the end of their trace."""
        return self._rate < 1.0 or self._allowance.per_month is not None

    def take(self, items: Sequence[FinishedSpan], now: float) -> list[FinishedSpan]:
        """Return the spans that may go on now."""
        out: list[FinishedSpan] = []
        share = self._share()
        for item in items:
            trace_id = item.span.context.trace_id
            decided = self._decided.get(trace_id)
            if decided is None and share >= 1.0 and trace_id not in self._held:
                decided = self._remember(trace_id, True)
            if decided is not None:
                self._pass([item], decided, out)
                continue
            held = self._held.get(trace_id)
            if held is None:
                held = self._held[trace_id] = _Held(now)
            held.items.append(item)
            self._held_spans += 1
            self._weigh(held, item)
            if item.ends_trace:
                self._decide(trace_id, out)
        while self._held:
            oldest = next(iter(self._held))
            if now - self._held[oldest].since <= HELD_S and self._held_spans <= HELD_SPANS:
                break
            self._decide(oldest, out)
        return out

    def release(self) -> list[FinishedSpan]:
        """Decide now about everything held back."""
        out: list[FinishedSpan] = []
        while self._held:
            self._decide(next(iter(self._held)), out)
        self._allowance.save()
        return out

    def held(self) -> int:
        """Spans held back."""
        return self._held_spans

    def discarded(self) -> list[FinishedSpan]:
        """Return the spans decided against since the last call."""
        discarded, self._discarded = self._discarded, []
        return discarded

    def clear(self) -> None:
        """Forget everything held back: it belongs to the parent of this process."""
        self._held.clear()
        self._held_spans = 0
        self._discarded.clear()
        self._allowance.forget()

    def _share(self) -> float:
        return self._rate * self._allowance.share

    def _weigh(self, held: _Held, item: FinishedSpan) -> None:
        keep, span = self._keep, item.span
        given = span.attributes or {}
        cost = given.get(A.GENLEDGER_COST_AMOUNT)
        if isinstance(cost, (int, float)):
            held.cost += cost
        score = given.get(A.GEN_AI_EVALUATION_SCORE_VALUE)
        if keep.scored_below is not None and isinstance(score, (int, float)) and score < keep.scored_below:
            held.worthy = True
        if keep.errors and span.status.status_code is StatusCode.ERROR:
            held.worthy = True
        if keep.dearer_than_usd is not None and held.cost > keep.dearer_than_usd:
            held.worthy = True
        if keep.slower_than_s is not None and span.end_time is not None and span.start_time is not None:
            held.worthy = held.worthy or span.end_time - span.start_time > keep.slower_than_s * 1e9

    def _decide(self, trace_id: int, out: list[FinishedSpan]) -> None:
        held = self._held.pop(trace_id)
        self._held_spans -= len(held.items)
        if held.worthy:
            goes = self._allowance.fraction < 1.0
        else:
            goes = (trace_id & _TRACE_ID_PART) < self._share() * (_TRACE_ID_PART + 1)
        self._pass(held.items, self._remember(trace_id, goes), out)

    def _remember(self, trace_id: int, goes: bool) -> bool:
        self._decided[trace_id] = goes
        if len(self._decided) > _REMEMBERED:
            self._decided.popitem(last=False)
        if goes:
            self._allowance.add(1)
        return goes

    def _pass(self, items: list[FinishedSpan], goes: bool, out: list[FinishedSpan]) -> None:
        spans = [item for item in items if item.goes]
        if goes:
            self._allowance.add(len(spans))
            out.extend(spans)
        else:
            self._discarded.extend(spans)
