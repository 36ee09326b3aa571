"""What the current work has cost and done so far.

Every attribution block and every observed function has a `RunningTotal`; a call adds to all of those it was
opened in, and to that of its trace. The loop caps of budgets count in an `AgentRun`.
"""

from __future__ import annotations

import threading
from collections import OrderedDict, deque
from dataclasses import dataclass, field
from typing import NamedTuple

from opentelemetry.context import Context, create_key

from genledger.pricing.cost import Cost
from genledger.pricing.usage import Usage

MAX_TRACES = 4096
"""Traces whose spend is remembered; the oldest are forgotten first."""

MAX_UNTOLD = 64
"""Tool calls of a run that are remembered until a request tells their arguments."""

RUN_KEY = create_key("genledger-run")

_UNCOUNTED = 64
"""Calls that wait in a spend before one of their threads adds them up."""


class Spend(NamedTuple):
    """Cost of calls so far. `usd` sums priced calls only; `unpriced` counts the calls missing from it."""

    usd: float
    calls: int
    unpriced: int
    tokens: int


class RunningTotal:
    """Running total that many threads add to without waiting for each other."""

    __slots__ = ("_calls", "_lock", "_tokens", "_uncounted", "_unpriced", "_usd", "outer")

    def __init__(self, outer: RunningTotal | None = None) -> None:
        self.outer = outer
        self._uncounted: list[tuple[float, bool, int]] = []
        self._lock = threading.Lock()
        self._usd = 0.0
        self._calls = 0
        self._unpriced = 0
        self._tokens = 0

    def add(self, cost: Cost | None, usage: Usage | None, *, unpriced: bool) -> None:
        """Count one call here and in every enclosing spend."""
        usd = cost.amount if cost is not None else 0.0
        tokens = usage.total_tokens if usage is not None else 0
        one = (usd, unpriced, tokens)
        spend: RunningTotal | None = self
        while spend is not None:
            spend._uncounted.append(one)
            if len(spend._uncounted) >= _UNCOUNTED and spend._lock.acquire(blocking=False):
                try:
                    spend._count()
                finally:
                    spend._lock.release()
            spend = spend.outer

    def is_in(self, other: RunningTotal) -> bool:
        """Return whether what is counted here counts in another total: this one, or one around it."""
        spend: RunningTotal | None = self
        while spend is not None and spend is not other:
            spend = spend.outer
        return spend is not None

    def _count(self) -> None:
        waiting = self._uncounted
        counted = len(waiting)
        for usd, unpriced, tokens in waiting[:counted]:
            self._usd += usd
            self._calls += 1
            self._unpriced += unpriced
            self._tokens += tokens
        del waiting[:counted]

    @property
    def is_empty(self) -> bool:
        """Whether nothing has been added."""
        return not self._uncounted and not self._calls

    def read(self) -> Spend:
        """Return the current totals."""
        with self._lock:
            self._count()
            return Spend(self._usd, self._calls, self._unpriced, self._tokens)


SPENDS: dict[int, RunningTotal] = {}
"""The totals of open spans that their libraries make current, by span id: what runs in such a span counts there."""


class TraceTotals:
    """The spend of the most recent traces, by trace id; bounded. Single operations on the dictionary are atomic."""

    def __init__(self, limit: int = MAX_TRACES) -> None:
        self._limit = limit
        self._by_trace: OrderedDict[int, RunningTotal] = OrderedDict()

    def of(self, trace_id: int) -> RunningTotal:
        """Return the spend of one trace, created on first use."""
        spend = self._by_trace.get(trace_id)
        if spend is None:
            spend = self._by_trace.setdefault(trace_id, RunningTotal())
            if len(self._by_trace) > self._limit:
                self._by_trace.popitem(last=False)
        return spend

    def read(self, trace_id: int) -> Spend:
        """Return the spend of a trace so far; zero for an unknown trace."""
        spend = self._by_trace.get(trace_id)
        return spend.read() if spend is not None else Spend(0.0, 0, 0, 0)


@dataclass(slots=True)
class AgentRun:
    """One run of an agent or workflow.

    Attributes:
        id: The span id of the block that began it, in hexadecimal.
        depth: In how many runs it is nested.
        tool_calls: A signature for each tool call since the last call to a provider.
        untold: The tools of the latest calls whose arguments nobody has told: the next request may.
        inferences: Inference calls so far, those of runs inside left out.
        tools: Tools run so far, those of runs inside left out.
        agent: Name of the agent, or of the nearest one around a workflow.
    """

    id: str
    depth: int
    tool_calls: list[str] = field(default_factory=list)
    untold: deque[str] = field(default_factory=lambda: deque(maxlen=MAX_UNTOLD))
    inferences: int = 0
    tools: int = 0
    agent: str | None = None


def run_in(context: Context) -> AgentRun | None:
    """The run that a context is in."""
    run = context.get(RUN_KEY)
    return run if isinstance(run, AgentRun) else None
