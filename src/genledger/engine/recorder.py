"""Opens and settles calls: the one place where a call becomes a span, an entry, metrics and a log line."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from functools import cached_property
from operator import sub
from typing import TYPE_CHECKING, Any

from opentelemetry import context as context_api
from opentelemetry.context import Context
from opentelemetry.trace import Span, StatusCode, Tracer

from genledger.budgets.rules.model_choice import chosen
from genledger.context.agent_run import run_in
from genledger.context.attribution import current, current_spend
from genledger.context.totals import TraceTotals
from genledger.engine import internal_errors
from genledger.engine.attempts import fate_of, status_of
from genledger.engine.budget_hook import account
from genledger.engine.call import CALL_KEY, Call
from genledger.engine.content.redaction import stage
from genledger.engine.operation import Attributes, Body, Endpoint, Operation, Received, at_path, span_name
from genledger.engine.outcome import error_type, outcome_of
from genledger.engine.parents import parent_context
from genledger.engine.priced_usage import NOTHING, priced_usage_of, write_priced_usage
from genledger.engine.record import CallRecord, ProductEvent
from genledger.engine.span_writer import write
from genledger.shared.text import bounded
from genledger_semconv import attributes as A
from genledger_semconv import spans as S

if TYPE_CHECKING:
    from opentelemetry.util.types import AttributeValue

    from genledger.engine.batch_jobs import BatchJobs, BatchRegistry
    from genledger.engine.budget_hook import BudgetHook
    from genledger.engine.content.capture import Capture
    from genledger.engine.signals.call_log import CallLog
    from genledger.engine.signals.details_event import DetailsEvent
    from genledger.engine.signals.metrics import Metrics

SCOPE = "genledger"
"""The instrumentation scope of everything we emit."""

Sink = Callable[[CallRecord], None]
"""Takes every settled call; must not block."""

EventSink = Callable[[ProductEvent], None]
"""Takes every product event; must not block."""


class Recorder:
    """What `instrument()` has set up, and every call goes through.

    Args:
        tracer: Starts the spans.
        metrics: Counts the calls.
        capture: Writes content; `None` when capture is off.
        lines: Writes the log line of each call.
        details: Emits the conventions' details event; `None` when it is off.
        budget_hook: Asks the budgets before the money is spent; `None` when there are none.
        book: Opens where batches are kept beyond the life of the process, as `BatchJobs` takes it.
        request_stream_usage: Whether streams that would come without usage are asked to include it.
    """

    def __init__(
        self,
        tracer: Tracer,
        metrics: Metrics | None = None,
        *,
        capture: Capture | None = None,
        lines: CallLog | None = None,
        details: DetailsEvent | None = None,
        budget_hook: BudgetHook | None = None,
        book: Callable[[bool], BatchRegistry | None] | None = None,
        request_stream_usage: bool = False,
    ) -> None:
        self.tracer = tracer
        self.metrics = metrics
        self.capture = capture
        self.lines = lines
        self.details = details
        self.budget_hook = budget_hook
        self._book = book
        self.request_stream_usage = request_stream_usage
        self.sinks: list[Sink] = []
        self.event_sinks: list[EventSink] = []
        self.traces = TraceTotals()
        self.closed = False

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
            attributes.update(sampled)
            write(span, attributes)
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
        """Price and end a call. Called once for each; never raises. Every stage fails alone."""
        if self.closed:
            if call.reservation is not None:
                call.reservation.release()
            return
        duration = time.perf_counter() - call.started
        operation = call.operation
        run = run_in(call.outer)
        if run is not None and operation.inference and not call.covered:
            run.inferences += 1
        span = call.span
        attributes: Attributes = {}
        if call.changes:
            try:
                read_request(operation, call.body, attributes)
            except Exception as fault:
                internal_errors.report("reading the request", fault)
        outcome = outcome_of(error, cut=cut)
        kind: str | None = None
        if response is not None and operation.response is not None:
            try:
                operation.response(response, attributes)
            except Exception as fault:
                internal_errors.report("reading the response", fault)
        if operation.batch is not None and response is not None:
            try:
                self.batches.notice(call, operation.batch, response)
            except Exception as fault:
                internal_errors.report("noting a batch", fault)
        if operation.inference and call.model is None and A.GEN_AI_RESPONSE_MODEL in attributes:
            # A stored prompt names the model; the conventions want it on the span.
            attributes[A.GEN_AI_REQUEST_MODEL] = answered = attributes[A.GEN_AI_RESPONSE_MODEL]
            span.update_name(span_name(operation.name, answered))
        refused = attributes.pop(A.ERROR_TYPE, None)
        if isinstance(refused, str) and error is None:
            outcome = "error"
            attributes[A.ERROR_TYPE] = kind = stage().name(refused)
        if not complete or error is not None:
            _mark_unfinished(operation, response, attributes)
        failed = error is not None or kind is not None
        if response is None and error is not None:
            # Headers are kept once an answer begins: what fails after that, and is no refusal, was sent for sure.
            fate = fate_of(error) if call.headers is None or status_of(error) is not None else "lost"
            if fate != "unsent" or call.fate is None:
                call.fate = fate
        if response is None and (cut or (error is not None and call.fate == "lost")):
            call.lost += 1
        covered = call.covered
        priced = NOTHING if covered else priced_usage_of(call, response, failed=failed, received=received)
        call.priced_usage = priced
        try:
            write_priced_usage(priced, attributes, generates=operation.name != S.EMBEDDINGS)
        except Exception as fault:
            internal_errors.report("writing usage and cost", fault)
        attributes[A.GENLEDGER_OUTCOME] = outcome
        if self.budget_hook is not None:
            try:
                account(call, priced, error, attributes)
            except Exception as fault:
                internal_errors.report("settling the budgets", fault)
        first_chunk = call.first_chunk - call.started if call.first_chunk is not None else None
        if first_chunk is not None and operation.priced:
            attributes[A.GEN_AI_RESPONSE_TIME_TO_FIRST_CHUNK] = first_chunk
        if call.retry_causes:
            attributes[A.GENLEDGER_ATTEMPTS] = len(call.retry_causes) + 1
            attributes[A.GENLEDGER_RETRY_CAUSES] = tuple(call.retry_causes)
        capture = self.capture
        if capture is not None and response is not None and operation.output is not None:
            try:
                output: Attributes = {}
                capture.write(operation.output(response), output)
                call.content.update(output)
                if capture.spans:
                    attributes.update(output)
            except Exception as fault:
                internal_errors.report("capturing the output", fault)
        try:
            if error is not None:
                kind = error_type(error)
                if outcome != "cancelled":
                    attributes[A.ERROR_TYPE] = kind
                    span.set_status(StatusCode.ERROR, stage().error(error))
                else:
                    kind = None
            elif kind is not None:
                span.set_status(StatusCode.ERROR, kind)
            write(span, attributes)
        except Exception as fault:
            internal_errors.report("writing the span", fault)
        if covered:
            # A call inside is the priced one: this one is structure, and counts nowhere.
            span.end()
            return
        try:
            context = span.get_span_context()
            parent = getattr(span, "parent", None)
            entry = CallRecord(
                context.trace_id,
                context.span_id,
                parent.span_id if parent is not None else None,
                call.library,
                call.endpoint.provider,
                operation.name,
                call.model,
                _text(attributes.get(A.GEN_AI_RESPONSE_MODEL)),
                _text(attributes.get(A.GEN_AI_RESPONSE_ID)),
                call.started_ns,
                duration,
                first_chunk,
                call.streamed,
                outcome,
                kind,
                len(call.retry_causes) + 1,
                tuple(call.retry_causes),
                call.attribution,
                priced.usage,
                priced.estimated,
                priced.cost,
                priced.unpriced,
                call.endpoint.host,
                call.endpoint.port,
                priced.tier,
                priced.region,
            )
            self.book(entry, call.operation.family, call.stamps, call.spend)
        except Exception as fault:
            internal_errors.report("booking the call", fault)
        if self.details is not None and operation.inference:
            try:
                self.details.emit(call, attributes, with_content=capture is not None and capture.events)
            except Exception as fault:
                internal_errors.report("emitting the details event", fault)
        try:
            span.end()
        except Exception as fault:
            internal_errors.report("ending the span", fault)

    def book(self, entry: CallRecord, family: str, stamps: Sequence[float] | None = None, spend: Any = None) -> None:
        """Count an entry in the metrics and the spend, log it, and hand it to the ledger."""
        priced = entry.cost is not None or entry.unpriced is not None
        if priced:
            missing = entry.cost is None
            if spend is not None:
                spend.add(entry.cost, entry.usage, unpriced=missing)
            self.traces.of(entry.trace_id).add(entry.cost, entry.usage, unpriced=missing)
        if self.metrics is not None:
            try:
                gaps = None
                if stamps is not None and len(stamps) > 1:
                    gaps = list(map(sub, stamps[1:], stamps))
                self.metrics.record(entry, family, gaps)
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

    @cached_property
    def batches(self) -> BatchJobs:
        """The batch jobs of the application."""
        from genledger.engine.batch_jobs import BatchJobs

        return BatchJobs(self._book)

    def flush(self, timeout: float) -> bool:
        """Book the results of batches that are waiting, and hand every metric point to the SDK."""
        done = self.batches.flush(timeout) if "batches" in self.__dict__ else True
        if self.metrics is not None:
            self.metrics.flush()
        return done


_OPERATION = (A.GEN_AI_OPERATION_NAME, A.GEN_AI_PROVIDER_NAME)
_NAMES = {
    "inference": _OPERATION,
    "operation": _OPERATION,
    "retrieval": _OPERATION,
    "db": (A.DB_OPERATION_NAME, A.DB_SYSTEM_NAME),
}


def read_request(operation: Operation, body: Body, attributes: Attributes) -> None:
    """Write what a request says into the attributes of its span."""
    if operation.constant:
        attributes.update(operation.constant)
    fields = operation.fields
    for name, value in body.items():
        field = fields.get(name)
        if field is not None and value is not None:
            converted = field[1](value)
            if converted is not None:
                attributes[field[0]] = converted
    for name, (attribute, convert) in operation.nested.items():
        converted = convert(at_path(body, name))
        if converted is not None:
            attributes[attribute] = converted
    if operation.request is not None:
        operation.request(body, attributes)


def _mark_unfinished(operation: Operation, response: Any, attributes: Attributes) -> None:
    """A choice whose finish reason was expected but never came finished with `error` (the conventions' rule)."""
    if operation.inference and response is not None and A.GEN_AI_RESPONSE_FINISH_REASONS not in attributes:
        attributes[A.GEN_AI_RESPONSE_FINISH_REASONS] = ("error",)


def _text(value: AttributeValue | None) -> str | None:
    return value if isinstance(value, str) else None


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


def suppressed(context: Context) -> bool:
    """Whether OpenTelemetry's own switch says that nothing in this context is to be instrumented."""
    return any(context.get(key) for key in _SUPPRESSING)


# Libraries set either of two keys; the newer one is made unique for each process by the API package.
_SUPPRESSING = tuple(
    key
    for key in ("suppress_instrumentation", getattr(context_api, "_SUPPRESS_INSTRUMENTATION_KEY", None))
    if key is not None
)
