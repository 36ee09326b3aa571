"""Opens and settles calls: the one place where a call becomes a span, an entry, metrics and a log line."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from functools import cached_property
from operator import sub
from typing import TYPE_CHECKING, Any

from opentelemetry.context import Context
from opentelemetry.trace import Span, SpanContext, Tracer

from genledger.budgets.rules.model_routing import chosen
from genledger.context.attribution import current, current_spend
from genledger.context.totals import TraceTotals
from genledger.engine.call import CALL_KEY, Call
from genledger.engine.foreign_spans.wrappers import inside_wrapper
from genledger.engine.operation import Attributes, Body, Endpoint, Operation, Received, read_request, span_name
from genledger.engine.parents import parent_context
from genledger.engine.record import CacheHit, CallRecord, ProductEvent, StepRecord
from genledger.engine.settling import Settlement, stages
from genledger.engine.suppression import end_span
from genledger.shared import internal_errors
from genledger.shared.text import bounded
from genledger_semconv import attributes as A

if TYPE_CHECKING:
    from genledger.engine.budget_hook import BudgetHook
    from genledger.engine.content.capture import Capture
    from genledger.engine.later_usage.batch_jobs import BatchJobs
    from genledger.engine.later_usage.deferred_calls import DeferredCalls
    from genledger.engine.later_usage.job_book import JobBook, JobRegistry
    from genledger.engine.signals.call_log import CallLog
    from genledger.engine.signals.details_event import DetailsEvent
    from genledger.engine.signals.metrics import Metrics
    from genledger.engine.signals.product_log import ProductLog

SCOPE = "genledger"
"""The instrumentation scope of everything we emit."""

recorded_libraries: set[str] = set()
"""The libraries that are instrumented, by their names for users."""

Sink = Callable[[CallRecord | CacheHit], None]
"""Takes every settled call, and every answer of a cache; must not block."""

EventSink = Callable[[ProductEvent], None]
"""Takes every product event; must not block."""

StepSink = Callable[[StepRecord], None]
"""Takes every ended step; must not block."""


class Recorder:
    """Recorder that `instrument()` sets up and every call passes through.

    Args:
        tracer: Starts the spans.
        tracer_provider: Where it comes from, for libraries that record their own work; `None` for the global one.
        metrics: Counts the calls.
        capture: Writes content; `None` when capture is off.
        lines: Writes the log line of each call.
        details: Emits the conventions' details event; `None` when it is off.
        product_log: Emits the events of product outcomes and cache hits; `None` when nobody takes log records.
        budget_hook: Asks the budgets before the money is spent; `None` when there are none.
        registry: Opens where jobs are kept beyond the life of the process, as `JobBook` takes it.
        request_stream_usage: Whether streams that would come without usage are asked to include it.
        release: The application's release.
    """

    def __init__(
        self,
        tracer: Tracer,
        metrics: Metrics | None = None,
        *,
        capture: Capture | None = None,
        lines: CallLog | None = None,
        details: DetailsEvent | None = None,
        product_log: ProductLog | None = None,
        budget_hook: BudgetHook | None = None,
        registry: Callable[[bool], JobRegistry | None] | None = None,
        request_stream_usage: bool = False,
        tracer_provider: Any = None,
        release: str | None = None,
    ) -> None:
        self.tracer = tracer
        self.tracer_provider = tracer_provider
        self.metrics = metrics
        self.capture = capture
        self.lines = lines
        self.details = details
        self.product_log = product_log
        self.release = release
        self.budget_hook = budget_hook
        self._registry = registry
        self.request_stream_usage = request_stream_usage
        self.sinks: list[Sink] = []
        self.event_sinks: list[EventSink] = []
        self.step_sinks: list[StepSink] = []
        self.traces = TraceTotals()
        self.closed = False
        self._stages = stages(self)

    def open(
        self,
        operation: Operation,
        library: str,
        endpoint: Endpoint,
        body: Body,
        *,
        streamed: bool = False,
        context: Context | None = None,
        started_ns: int | None = None,
    ) -> Call | None:
        """Start a call's span and clock.

        Return `None` when that failed, or when the operation is a part of the one around it: the application's call
        goes on without us.

        Args:
            operation: What kind of call it is.
            library: The client library's name for users.
            endpoint: Who is called.
            body: The request, by the provider's names.
            streamed: Whether the answer is a stream.
            context: The context that the call belongs in; by default that of a framework's running step, or the
                current one.
            started_ns: When it began, in nanoseconds since 1970; now by default.
        """
        span: Span | None = None
        try:
            if started_ns is None:
                started_ns = time.time_ns()
            outer = parent_context() if context is None else context
            around = outer.get(CALL_KEY)
            if isinstance(around, Call) and around.contains(operation, library):
                return None
            attributes: Attributes = {}
            try:
                read_request(operation, body, attributes)
            except Exception as error:
                internal_errors.report("reading the request", error)
            model = attributes.get(A.GEN_AI_REQUEST_MODEL)
            if operation.priced:
                outer = inside_wrapper(outer, model, attributes)
            target = operation.target(attributes) if operation.target is not None else model
            named, provided = _NAMES[operation.family]
            # What a sampler may decide by; the rest is written to the spans that it lets through.
            sampled: Attributes = {named: operation.name, provided: endpoint.provider}
            if model is not None:
                sampled[A.GEN_AI_REQUEST_MODEL] = model
            if endpoint.host is not None:
                sampled[A.SERVER_ADDRESS] = endpoint.host
                if endpoint.port is not None:
                    sampled[A.SERVER_PORT] = endpoint.port
            if streamed and operation.priced:
                attributes[A.GEN_AI_REQUEST_STREAM] = True
            attribution = current(outer)
            attributes.update(attribution.attributes)
            choice = chosen(model) if isinstance(model, str) else None
            if choice is not None and choice.asked is not None and choice.asked != model:
                attributes[A.GENLEDGER_MODEL_REQUESTED] = choice.asked
                attributes[A.GENLEDGER_MODEL_REASON] = choice.reason
            # Encoded now: the application may go on appending to its list of messages.
            content: Attributes = {}
            capture = self.capture
            if capture is not None and operation.input is not None:
                try:
                    capture.write(operation.input(body), content)
                except Exception as error:
                    internal_errors.report("capturing the input", error)
                if capture.spans:
                    attributes.update(content)
            span = self.tracer.start_span(
                span_name(operation.name, target),
                outer,
                operation.kind,
                sampled,
                start_time=started_ns,
                record_exception=False,
                set_status_on_exception=False,
            )
            span.set_attributes(attributes)
            attributes.update(sampled)
            call = Call(
                self,
                operation,
                library,
                endpoint,
                body,
                bounded(model) if isinstance(model, str) else None,
                span,
                outer,
                attribution,
                current_spend(outer),
                streamed,
                started_ns,
                attributes,
                content,
                time.perf_counter(),
            )
            if isinstance(around, Call):
                call.nest_in(around)
            return call
        except Exception as error:
            internal_errors.report("opening a call", error)
            if span is not None:
                span.end()
            return None

    def settle(
        self,
        call: Call,
        response: Any,
        error: BaseException | None,
        cut: bool,
        complete: bool,
        received: Received | None,
    ) -> None:
        """Price and end a call, stage by stage. Called once for each.

        Never raises: a failing stage is reported, and the next one goes on.
        """
        if self.closed:
            if call.reservation is not None:
                call.reservation.release()
            return
        duration = time.perf_counter() - call.started
        settlement = Settlement(call, response, error, cut, complete, received, duration)
        for what, run in self._stages:
            try:
                run(self, settlement)
            except Exception as fault:
                internal_errors.report(what, fault)
        try:
            try:
                end_span(call.span)
            finally:
                if call.span.is_recording():  # a fault of ours must not keep it open
                    call.span.end()
        except Exception as fault:
            internal_errors.report("ending the span", fault)

    def book(
        self,
        entry: CallRecord,
        family: str,
        stamps: Sequence[float] | None = None,
        spend: Any = None,
        span: SpanContext | None = None,
        agent: str | None = None,
    ) -> None:
        """Count an entry in the metrics and the spend, log it, and hand it to the ledger.

        Args:
            entry: The call.
            family: Its operation's.
            stamps: When the chunks of a stream came, in seconds.
            spend: Running total that it belongs to.
            span: The span that metrics lead to.
            agent: The nearest agent that it was made in.
        """
        if entry.release is None:
            entry.release = self.release
        priced = entry.cost is not None or entry.unpriced is not None
        if priced:
            missing = entry.cost is None
            if spend is not None:
                spend.add(entry.cost, entry.usage, unpriced=missing)
            self.traces.of(entry.trace_id).add(entry.cost, entry.usage, unpriced=missing)
        if self.metrics is not None:
            try:
                gaps = list(map(sub, stamps[1:], stamps)) if stamps else ()
                self.metrics.record(entry, family, gaps, span, agent)
            except Exception as fault:
                internal_errors.report("recording metrics", fault)
        if self.lines is not None:
            try:
                self.lines.write(entry)
            except Exception as fault:
                internal_errors.report("logging the call", fault)
        for sink in self.sinks:
            try:
                sink(entry)
            except Exception as fault:
                internal_errors.report("handing the call to a destination", fault)

    def tell(self, event: ProductEvent | CacheHit, span: SpanContext | None) -> None:
        """Count a product outcome or a cache hit in the metrics, emit its event, and hand it to the ledger.

        Never raises.

        Args:
            event: What happened.
            span: The span that was current, if it belongs there: metrics lead to it.
        """
        if self.metrics is not None:
            try:
                if isinstance(event, ProductEvent):
                    event = self.metrics.products.outcome(event, span)
                else:
                    self.metrics.products.hit(event, span)
            except Exception as fault:
                internal_errors.report("recording metrics", fault)
        if self.product_log is not None:
            try:
                self.product_log.emit(event, span)
            except Exception as fault:
                internal_errors.report("emitting an event", fault)
        sinks: list[Any] = self.event_sinks if isinstance(event, ProductEvent) else self.sinks
        for sink in sinks:
            try:
                sink(event)
            except Exception as fault:
                internal_errors.report("handing an event to a destination", fault)

    @cached_property
    def jobs(self) -> JobBook:
        """The jobs that are paid for when their results come."""
        from genledger.engine.later_usage.job_book import JobBook

        return JobBook(self._registry)

    @cached_property
    def batches(self) -> BatchJobs:
        """The batch jobs of the application."""
        from genledger.engine.later_usage.batch_jobs import BatchJobs

        return BatchJobs(self.jobs)

    @cached_property
    def deferred(self) -> DeferredCalls:
        """The calls whose usage comes with a later answer."""
        from genledger.engine.later_usage.deferred_calls import DeferredCalls

        return DeferredCalls(self, self.jobs)

    def flush(self, timeout: float, collect: Callable[[], object] | None = None) -> bool:
        """Record what came of jobs, and hand every metric point to the SDK.

        Args:
            timeout: Seconds for the jobs.
            collect: As `Metrics.flush` takes it.
        """
        done = self.jobs.flush(timeout) if "jobs" in self.__dict__ else True
        if self.metrics is not None:
            self.metrics.flush(collect)
        return done


_OPERATION = (A.GEN_AI_OPERATION_NAME, A.GEN_AI_PROVIDER_NAME)
_NAMES = {
    "inference": _OPERATION,
    "operation": _OPERATION,
    "retrieval": _OPERATION,
    "db": (A.DB_OPERATION_NAME, A.DB_SYSTEM_NAME),
}


_recorder: Recorder | None = None


def active() -> Recorder | None:
    """The recorder in force; `None` before `instrument()` and after `uninstrument()`."""
    return _recorder


def activate(recorder: Recorder | None) -> None:
    """Make a recorder the one in force, or none."""
    global _recorder
    if recorder is None and _recorder is not None:
        _recorder.closed = True
    _recorder = recorder
