"""Opens and settles calls: the one place where a call becomes a span, an entry, metrics and a log line."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from functools import cached_property
from operator import sub
from typing import TYPE_CHECKING, Any

from opentelemetry import context as context_api
from opentelemetry.context import Context, get_current
from opentelemetry.trace import Span, StatusCode, Tracer

from genledger.attribution import current, current_spend
from genledger.budgets.choice import chosen
from genledger.runs import run_in
from genledger.spending import TraceSpending
from genledger.text import bounded
from genledger_semconv import attributes as A
from genledger_semconv import spans as S

from . import faults
from .attempts import fate_of
from .call import Call
from .charges import charge_of, write_charge
from .entry import Entry, ProductEvent
from .gate import account
from .operation import Attributes, Body, Operation, Peer, Received, span_name
from .outcome import error_type, outcome_of
from .redaction import stage
from .writing import write

if TYPE_CHECKING:
    from opentelemetry.util.types import AttributeValue

    from .batches import BatchBook, Batches
    from .content import Capture
    from .details import Details
    from .gate import Gate
    from .lines import CallLines
    from .metrics import Metrics

Sink = Callable[[Entry], None]
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
        gate: Asks the budgets before the money is spent; `None` when there are none.
        book: Opens where batches are kept beyond the life of the process, as `Batches` takes it.
        ask_for_usage: Whether streams that would come without usage are asked to include it.
    """

    def __init__(
        self,
        tracer: Tracer,
        metrics: Metrics | None = None,
        *,
        capture: Capture | None = None,
        lines: CallLines | None = None,
        details: Details | None = None,
        gate: Gate | None = None,
        book: Callable[[bool], BatchBook | None] | None = None,
        ask_for_usage: bool = False,
    ) -> None:
        self.tracer = tracer
        self.metrics = metrics
        self.capture = capture
        self.lines = lines
        self.details = details
        self.gate = gate
        self._book = book
        self.ask_for_usage = ask_for_usage
        self.sinks: list[Sink] = []
        self.event_sinks: list[EventSink] = []
        self.traces = TraceSpending()
        self.closed = False

    def open(
        self, operation: Operation, library: str, peer: Peer, body: Body, *, streamed: bool = False
    ) -> Call | None:
        """Start a call's span and clock. `None` when that failed: the application's call goes on without us."""
        span: Span | None = None
        try:
            started_ns = time.time_ns()
            outer = get_current()
            attributes: Attributes = {}
            try:
                read_request(operation, body, attributes)
            except Exception as error:
                faults.report("reading the request", error)
            model = attributes.get(A.GEN_AI_REQUEST_MODEL)
            target = operation.target(attributes) if operation.target is not None else model
            named, provided = _NAMES[operation.family]
            # What a sampler may decide by; the rest is written to the spans that it lets through.
            sampled: Attributes = {named: operation.name, provided: peer.provider}
            if model is not None:
                sampled[A.GEN_AI_REQUEST_MODEL] = model
            if peer.host is not None:
                sampled[A.SERVER_ADDRESS] = peer.host
                if peer.port is not None:
                    sampled[A.SERVER_PORT] = peer.port
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
                    faults.report("capturing the input", error)
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
            return Call(
                self,
                operation,
                library,
                peer,
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
        except Exception as error:
            faults.report("opening a call", error)
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
            if call.admission is not None:
                call.admission.release()
            return
        duration = time.perf_counter() - call.started
        operation = call.operation
        run = run_in(call.outer)
        if run is not None and operation.inference:
            run.inferences += 1
        span = call.span
        attributes: Attributes = {}
        outcome = outcome_of(error, cut=cut)
        kind: str | None = None
        if response is not None and operation.response is not None:
            try:
                operation.response(response, attributes)
            except Exception as fault:
                faults.report("reading the response", fault)
        if operation.batch is not None and response is not None:
            try:
                self.batches.notice(call, operation.batch, response)
            except Exception as fault:
                faults.report("noting a batch", fault)
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
            # Headers are kept once an answer is accepted: what fails after that was sent for sure.
            call.fate = fate_of(error) if call.headers is None else "lost"
        if call.fate == "lost" or (response is None and cut):
            call.lost += 1
        charge = charge_of(call, response, failed=failed, received=received)
        try:
            write_charge(charge, attributes, generates=operation.name != S.EMBEDDINGS)
        except Exception as fault:
            faults.report("writing usage and cost", fault)
        attributes[A.GENLEDGER_OUTCOME] = outcome
        if self.gate is not None:
            try:
                account(call, charge, error, attributes)
            except Exception as fault:
                faults.report("settling the budgets", fault)
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
                faults.report("capturing the output", fault)
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
            faults.report("writing the span", fault)
        try:
            context = span.get_span_context()
            parent = getattr(span, "parent", None)
            entry = Entry(
                context.trace_id,
                context.span_id,
                parent.span_id if parent is not None else None,
                call.library,
                call.peer.provider,
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
                charge.usage,
                charge.estimated,
                charge.cost,
                charge.unpriced,
                call.peer.host,
                call.peer.port,
                charge.tier,
                charge.region,
            )
            self.book(entry, call.operation.family, call.stamps, call.spend)
        except Exception as fault:
            faults.report("booking the call", fault)
        if self.details is not None and operation.inference:
            try:
                self.details.emit(call, attributes, with_content=capture is not None and capture.events)
            except Exception as fault:
                faults.report("emitting the details event", fault)
        try:
            span.end()
        except Exception as fault:
            faults.report("ending the span", fault)

    def book(self, entry: Entry, family: str, stamps: Sequence[float] | None = None, spend: Any = None) -> None:
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
                faults.report("recording metrics", fault)
        if self.lines is not None:
            try:
                self.lines.write(entry)
            except Exception as fault:
                faults.report("logging the call", fault)
        for sink in self.sinks:
            try:
                sink(entry)
            except Exception as fault:
                faults.report("handing the call to a destination", fault)

    @cached_property
    def batches(self) -> Batches:
        """The batch jobs of the application."""
        from .batches import Batches

        return Batches(self._book)

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
