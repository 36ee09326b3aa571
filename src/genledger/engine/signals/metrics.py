"""The metrics of calls: the conventions' own, and what they cost.

One point recorded through an instrument costs nearly as much as a span. So on the caller's path a call is only put
in line, without a lock; when a reader collects, or when many wait, another thread records what waits, each call in
the context of its span: points carry exemplars. What counters are to be given is added up until a reader collects.
"""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

from opentelemetry.context import Context
from opentelemetry.metrics import CallbackOptions, Meter, Observation
from opentelemetry.trace import INVALID_SPAN, NonRecordingSpan, SpanContext, set_span_in_context

from genledger.engine.record import CallRecord
from genledger.engine.signals.label_limit import LabelLimit
from genledger.engine.signals.metric_points import (
    DURATIONS,
    CountedCall,
    CountedEvent,
    Labels,
    MetricNames,
    database_labels,
    points_of,
)
from genledger.engine.signals.product_metrics import ProductMetrics
from genledger.engine.signals.step_metrics import StepMetrics
from genledger.shared import internal_errors
from genledger.shared.after_fork import run_after_fork
from genledger.shared.private_attributes import forget_points, is_last_collection
from genledger.shared.task_queue import TaskQueue
from genledger.shared.text import bounded
from genledger_semconv import attributes as A
from genledger_semconv import metrics as M

MAX_WAITING = 256
"""Calls that wait without a reader asking before a thread of ours records them."""

MAX_BACKLOG = 16 * MAX_WAITING
"""Calls that wait before a caller records some itself, because that thread does not keep up."""

MAX_KNOWN_KEYS = 8192
"""Combinations of values whose labels are remembered without looking at the label limits again."""

_NOWHERE = set_span_in_context(INVALID_SPAN, Context())
"""A context without a span. The SDK takes an empty one for the current one."""


class _Sum:
    """Pending amount of a counter series, and the call that adds most to it."""

    __slots__ = ("labels", "most", "rest", "span", "zero")

    def __init__(self, labels: Labels, zero: float) -> None:
        self.labels = labels
        self.zero = self.most = self.rest = zero
        self.span: SpanContext | None = None

    def add(self, amount: float, span: SpanContext | None) -> None:
        if amount > self.most:
            self.rest += self.most
            self.most, self.span = amount, span
        else:
            self.rest += amount


class Metrics:
    """The instruments of one meter, made when they are first needed, and what waits to be recorded.

    Attributes:
        names: Generation of the conventions' metric names.
        labels: How many different values one label may have.
        steps: The metrics of steps.
        products: The metrics of product outcomes and cache hits.
    """

    def __init__(self, meter: Meter, *, names: MetricNames = "newest", max_label_values: int = 1000) -> None:
        self.names = names
        self.labels = LabelLimit(max_label_values)
        self.steps = StepMetrics(meter, self.labels)
        self.products = ProductMetrics(self._put)
        self._meter = meter
        self._instruments: dict[str, Any] = {}
        self._tasks = TaskQueue("genledger-metrics")
        self._start_empty()
        run_after_fork(self.after_fork)
        # Callbacks run first in a collection, so it includes what this one hands over.
        meter.create_observable_counter(M.GENLEDGER_LABELS_OVERFLOW, [self._collect], "{value}")

    def _start_empty(self) -> None:
        self._lock = threading.Lock()
        self._waiting: deque[CountedCall | CountedEvent] = deque()
        self._working = False
        self._labels_of: dict[tuple[object, ...], Labels] = {}
        self._sums: dict[tuple[object, ...], _Sum] = {}
        self._started: set[tuple[object, ...]] = set()

    def after_fork(self) -> None:
        """In a forked child: its parent reports what was counted so far."""
        self.labels.start_empty()
        self._start_empty()
        forget_points(self._meter)

    def record(
        self,
        record: CallRecord,
        family: str,
        chunk_gaps: Sequence[float] = (),
        span: SpanContext | None = None,
        agent: str | None = None,
    ) -> None:
        """Count one settled call.

        Args:
            record: The call.
            family: Its operation's.
            chunk_gaps: Seconds between the chunks of a stream.
            span: The span that exemplars lead to.
            agent: The nearest agent that it was made in.
        """
        self._put(CountedCall(record, family, chunk_gaps, span, agent))

    def _put(self, counted: CountedCall | CountedEvent) -> None:
        waiting = self._waiting
        waiting.append(counted)
        if len(waiting) >= MAX_BACKLOG and self._lock.acquire(blocking=False):
            try:
                self._take(MAX_WAITING)
            finally:
                self._lock.release()
        elif len(waiting) >= MAX_WAITING and not self._working:
            self._working = True
            self._tasks.do(self._work)

    def flush(self, collect: Callable[[], object] | None = None) -> None:
        """Hand everything that waits to the SDK.

        Args:
            collect: Makes the readers collect. It is called when there are new series, so that they start at 0.
        """
        if collect is not None:
            with self._lock:
                self._take()
                new = not self._sums.keys() <= self._started
            if new:
                collect()
        with self._lock:
            self._take()
            self._hand_over(everything=True)

    def _work(self) -> None:
        self._working = False
        with self._lock:
            self._take()

    def _collect(self, _: CallbackOptions) -> Iterator[Observation]:
        everything = is_last_collection(self._meter)
        with self._lock:
            self._take()
            self._hand_over(everything=everything)
        for label, count in list(self.labels.overflow.items()):
            yield Observation(count, {A.GENLEDGER_LABEL_NAME: label})

    def _hand_over(self, *, everything: bool) -> None:
        """Give the counters what was added up. A new series is given 0 first, and its amount the next time."""
        for series, total in list(self._sums.items()):
            counter = self._instrument(str(series[0]))
            if everything or series in self._started:
                del self._sums[series]
                if total.rest:
                    counter.add(total.rest, total.labels, _NOWHERE)
                counter.add(total.most, total.labels, _context(total.span))
            else:
                counter.add(total.zero, total.labels, _NOWHERE)
            self._started.add(series)

    def _take(self, most: int | None = None) -> None:
        """Take in the calls that wait, or so many of them."""
        waiting = self._waiting
        while waiting and most != 0:
            try:
                counted = waiting.popleft()
                if isinstance(counted, CountedCall):
                    self._count(counted)
                else:
                    self._count_event(counted)
            except Exception as error:
                internal_errors.report("recording metrics", error)
            most = None if most is None else most - 1

    def _count(self, call: CountedCall) -> None:
        """Record the points of histograms, and add up those of counters."""
        record = call.record
        labels = self._labels(record, call.agent)
        context = _context(call.span)
        error = self.labels.bounded(A.ERROR_TYPE, record.error_type)
        for name, value, more in points_of(call, self.names):
            if name not in M.BUCKETS:
                self._add(name, value, {**labels, **more}, call.span)
                continue
            found = database_labels(labels) if name == M.DB_CLIENT_OPERATION_DURATION else {**labels, **more}
            if error is not None and name in DURATIONS:
                found[A.ERROR_TYPE] = error
            self._instrument(name).record(value, found, context)

    def _count_event(self, event: CountedEvent) -> None:
        labels = self._bounded({name: bounded(value) for name, value in event.labels.items() if value is not None})
        for name, value, more in event.points:
            self._add(name, value, {**labels, **self._bounded(more)}, event.span)

    def _add(self, name: str, value: float, labels: Labels, span: SpanContext | None) -> None:
        """Add to what the series of a counter is given."""
        series = (name, *labels.items())
        if series not in self._sums:
            self._sums[series] = _Sum(labels, 0 * value)
        self._sums[series].add(value, span)

    def _bounded(self, labels: Mapping[str, str | int | None]) -> Labels:
        return {label: self.labels.bounded(label, value) for label, value in labels.items() if value is not None}

    def _instrument(self, name: str) -> Any:
        found = self._instruments.get(name)
        if found is None:
            unit = _UNITS.get(name) or ("s" if name.endswith(("duration", "chunk")) else "{token}")
            buckets = M.BUCKETS.get(name)
            found = self._instruments[name] = (
                self._meter.create_counter(name, unit)
                if buckets is None
                else self._meter.create_histogram(name, unit, explicit_bucket_boundaries_advisory=buckets)
            )
        return found

    def _labels(self, record: CallRecord, agent: str | None) -> Labels:
        attribution = record.attribution
        key = (
            record.operation,
            record.provider,
            record.request_model,
            record.response_model,
            record.server_address,
            record.server_port,
            attribution.tenant,
            attribution.feature,
            attribution.prompt_version,
            agent,
            record.release,
            record.outcome,
        )
        labels = self._labels_of.get(key)
        if labels is None:
            found = dict(zip(_LABELS, key, strict=True))
            if agent is not None:
                found[A.GEN_AI_AGENT_NAME] = bounded(agent)
            labels = self._bounded(found)
            if len(self._labels_of) >= MAX_KNOWN_KEYS:
                self._labels_of.clear()
            self._labels_of[key] = labels
        return labels


_LABELS = (
    A.GEN_AI_OPERATION_NAME,
    A.GEN_AI_PROVIDER_NAME,
    A.GEN_AI_REQUEST_MODEL,
    A.GEN_AI_RESPONSE_MODEL,
    A.SERVER_ADDRESS,
    A.SERVER_PORT,
    A.GENLEDGER_TENANT_ID,
    A.GENLEDGER_FEATURE,
    A.GEN_AI_PROMPT_VERSION,
    A.GEN_AI_AGENT_NAME,
    A.SERVICE_VERSION,
    A.GENLEDGER_OUTCOME,
)
_UNITS = {
    M.GENLEDGER_COST: "USD",
    M.GENLEDGER_UNPRICED_CALLS: "{call}",
    M.GENLEDGER_OUTCOMES: "{outcome}",
    M.GENLEDGER_OUTCOMES_VALUE: "{value}",
    M.GENLEDGER_OUTCOMES_WITHDRAWN: "{value}",
    M.GENLEDGER_CACHE_HITS: "{hit}",
    M.GENLEDGER_CACHE_SAVED: "USD",
}


def _context(span: SpanContext | None) -> Context:
    return _NOWHERE if span is None else set_span_in_context(NonRecordingSpan(span), _NOWHERE)
