"""A receiver for each tenant: whole traces, to exactly the tenant's own, never to another's."""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field, replace
from typing import Generic, Literal, TypeVar

from genledger.destinations.delivery.delivery_stats import Stats
from genledger.destinations.delivery.export_worker import ExportWorker
from genledger.destinations.delivery.time_source import SYSTEM_CLOCK, Clock
from genledger.destinations.selection.open_spans import SpanNode
from genledger.destinations.selection.span_processor import FinishedSpan
from genledger.destinations.selection.strip_content import without_content
from genledger.shared.after_fork import run_after_fork
from genledger.shared.loggers import logger_of

log = logger_of("genledger")

Route = TypeVar("Route")
Unknown = Literal["default", "drop"]

HELD_S = 60.0
"""Seconds that a span without a tenant waits for its trace to tell one; then it counts as unknown."""

HELD_SPANS = 10_000
"""Spans without a tenant that wait at most."""

_REMEMBERED = 10_000
_ANSWERS = 4_096
_ANSWER_S = 300.0


@dataclass(slots=True)
class _Trace:
    """State of a trace: its tenants, and its spans without a tenant."""

    since: float
    tenants: set[str] = field(default_factory=set)
    unclaimed: list[FinishedSpan] = field(default_factory=list)


class TenantReceivers(Generic[Route]):
    """The deliveries behind a destination that has a route per tenant.

    A span's tenant is the one it was started for, or its nearest ancestor's. A span that has none (the
    request around the tenant's block, a lookup before it) waits until the topmost span of its trace has
    ended: if the trace turned out to be of one tenant, it is that tenant's; if it was of several, or of none,
    it is nobody's, and goes the way of unknown tenants.

    Args:
        routes: The route of a tenant; `None` for one without. A function is asked where the span ends, and
            its answer is kept for five minutes.
        open: Makes the delivery of a route: for the tenant named, the route, and the name of its storage.
        default: Where unknown tenants go; `None` drops and counts them.
        operator_copy: Whether `default` also gets a copy, without content, of what goes to a tenant.
        pool: Deliveries that are open at most; the one unused for longest is closed for another.
    """

    def __init__(
        self,
        routes: Mapping[str, Route] | Callable[[str], Route | None],
        open: Callable[[str, Route], tuple[str, Callable[[], ExportWorker]]],
        *,
        default: ExportWorker | None,
        operator_copy: bool = False,
        pool: int = 32,
        clock: Clock = SYSTEM_CLOCK,
    ) -> None:
        self._routes: Callable[[str], Route | None] = routes.get if isinstance(routes, Mapping) else routes
        self._open = open
        self._default = default
        self._operator_copy = operator_copy and default is not None
        self._pool = pool
        self._clock = clock
        self._lock = threading.RLock()
        self._deliveries: OrderedDict[str, ExportWorker] = OrderedDict()
        self._closing: list[ExportWorker] = []
        self._past = Stats()
        self._answers: OrderedDict[str, tuple[float, str | None, Callable[[], ExportWorker] | None]] = OrderedDict()
        self._traces: OrderedDict[int, _Trace] = OrderedDict()
        self._resolved: OrderedDict[int, str | None] = OrderedDict()
        self._waiting = 0
        self._unrouted = 0
        self._complained = False
        run_after_fork(self._after_fork)

    def take(self, item: FinishedSpan) -> None:
        """Hand a span to its tenant's delivery, now or when its trace has told the tenant."""
        trace_id = item.span.context.trace_id
        assert item.line is not None, "routing needs the lineage"
        tenant = tenant_of(item.line)
        with self._lock:
            self._overdue()
            if trace_id in self._resolved:
                self._late(item, trace_id, tenant)
                return
            trace = self._traces.get(trace_id)
            if trace is None:
                trace = self._traces[trace_id] = _Trace(self._clock.now())
            if tenant is not None:
                trace.tenants.add(tenant)
                self._hand(item, tenant)
            else:
                trace.unclaimed.append(item)
                self._waiting += 1
            if item.ends_trace:
                self._resolve(trace_id)

    def _late(self, item: FinishedSpan, trace_id: int, tenant: str | None) -> None:
        resolved = self._resolved[trace_id]
        if tenant is not None and tenant != resolved:
            self._resolved[trace_id] = None
        self._hand(item, tenant or resolved)

    def all(self) -> Iterable[ExportWorker]:
        """Return every open delivery."""
        with self._lock:
            own = [self._default] if self._default is not None else []
            return [*own, *self._deliveries.values(), *self._closing]

    def stats(self) -> Stats:
        """Return the delivery counters, those of closed deliveries included."""
        with self._lock:
            total = self._past + Stats(accepted=self._unrouted, dropped={"unrouted": self._unrouted})
            waiting = Stats(accepted=self._waiting, waiting=self._waiting)
        return sum((delivery.stats() for delivery in self.all()), total + waiting)

    def release(self) -> None:
        """Decide now about everything that waits for its trace to end."""
        with self._lock:
            for trace_id in list(self._traces):
                self._resolve(trace_id)

    def _overdue(self) -> None:
        now = self._clock.now()
        while self._traces:
            oldest = next(iter(self._traces))
            if now - self._traces[oldest].since <= HELD_S and self._waiting <= HELD_SPANS:
                return
            self._resolve(oldest)

    def _resolve(self, trace_id: int) -> None:
        trace = self._traces.pop(trace_id)
        self._waiting -= len(trace.unclaimed)
        tenant = next(iter(trace.tenants)) if len(trace.tenants) == 1 else None
        self._resolved[trace_id] = tenant
        if len(self._resolved) > _REMEMBERED:
            self._resolved.popitem(last=False)
        for item in trace.unclaimed:
            self._hand(item, tenant)

    def _hand(self, item: FinishedSpan, tenant: str | None) -> None:
        delivery = self._delivery(tenant) if tenant is not None else None
        if delivery is None:
            if self._default is not None:
                self._default.offer(item)
            else:
                self._unrouted += item.goes
            return
        if self._operator_copy and self._default is not None:
            self._default.offer(replace(item, span=without_content(item.span)))
        delivery.offer(item)

    def _delivery(self, tenant: str) -> ExportWorker | None:
        identity, make = self._answer(tenant)
        if identity is None or make is None:
            return None
        delivery = self._deliveries.get(identity)
        if delivery is None:
            while len(self._deliveries) >= self._pool:
                self._close_one()
            delivery = self._deliveries[identity] = make()
        self._deliveries.move_to_end(identity)
        return delivery

    def _answer(self, tenant: str) -> tuple[str | None, Callable[[], ExportWorker] | None]:
        now = self._clock.now()
        known = self._answers.get(tenant)
        if known is not None and now - known[0] < _ANSWER_S:
            return known[1], known[2]
        identity, make = None, None
        try:
            route = self._routes(tenant)
            if route is not None:
                identity, make = self._open(tenant, route)
        except Exception as error:
            # The message of the error may hold what it was looking for: a credential.
            if not self._complained:
                self._complained = True
                log.error("genledger: the tenant routing function failed (%s); its tenants are treated as unknown",
                          type(error).__name__)  # fmt: skip
        self._answers[tenant] = (now, identity, make)
        self._answers.move_to_end(tenant)
        if len(self._answers) > _ANSWERS:
            self._answers.popitem(last=False)
        return identity, make

    def _close_one(self) -> None:
        """Close the delivery unused for longest, an idle one if there is any: it delivers or spools by itself."""
        idle = next((name for name, one in self._deliveries.items() if one.is_idle()), None)
        name = idle if idle is not None else next(iter(self._deliveries))
        delivery = self._deliveries.pop(name)
        delivery.retire()
        for closing in [one for one in self._closing if one.has_ended()]:
            self._closing.remove(closing)
            self._past += closing.stats()
        self._closing.append(delivery)

    def _after_fork(self) -> None:
        """In a forked child: what waits is the parent's to hand on."""
        self._lock = threading.RLock()
        self._traces.clear()
        self._waiting = 0
        self._unrouted = 0
        self._closing.clear()
        self._past = Stats()


def tenant_of(line: SpanNode) -> str | None:
    """The tenant a span was made for: its own, or its nearest ancestor's; `None` when it has none."""
    nearest: SpanNode | None = line
    while nearest is not None:
        tenant = nearest.tenant
        if tenant is not None:
            return tenant
        nearest = nearest.parent
    return None
