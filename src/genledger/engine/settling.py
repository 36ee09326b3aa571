"""End of a call: named stages, in this order, each of which may fail alone."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from opentelemetry.trace import StatusCode

from genledger.context.agent_run import run_in
from genledger.engine.attempts import fate_of, status_of
from genledger.engine.budget_hook import account
from genledger.engine.content.redaction import stage
from genledger.engine.operation import Attributes, Received, read_request, span_name
from genledger.engine.outcome import error_type, outcome_of
from genledger.engine.priced_usage import NOTHING, PricedUsage, priced_usage_of, write_priced_usage
from genledger.engine.record import CallRecord, Outcome
from genledger.shared import internal_errors
from genledger_semconv import attributes as A
from genledger_semconv import spans as S

if TYPE_CHECKING:
    from genledger.engine.call import Call
    from genledger.engine.recorder import Recorder


class Settlement:
    """One call that has ended: what came of it, and what the stages have made of that so far.

    Args:
        call: The call.
        response: The provider's answer, as far as it came.
        error: What went wrong, when something did.
        cut: The application stopped reading before the provider had finished.
        complete: Whether the provider had finished its answer.
        received: How much generated text came, when the provider has not counted all of it.
    """

    __slots__ = (
        "attributes",
        "call",
        "complete",
        "cut",
        "duration",
        "error",
        "error_kind",
        "outcome",
        "priced",
        "received",
        "response",
    )

    def __init__(
        self,
        call: Call,
        response: Any,
        error: BaseException | None,
        cut: bool,
        complete: bool,
        received: Received | None,
    ) -> None:
        self.call = call
        self.response = response
        self.error = error
        self.cut = cut
        self.complete = complete
        self.received = received
        self.duration = time.perf_counter() - call.started
        self.attributes: Attributes = {}
        self.outcome: Outcome = "success" if error is None else "error"
        self.error_kind: str | None = None
        self.priced: PricedUsage = NOTHING

    @property
    def failed(self) -> bool:
        """Return whether the call failed, by its exception or its answer."""
        return self.error is not None or self.error_kind is not None


def _count_inference(recorder: Recorder, settlement: Settlement) -> None:
    call = settlement.call
    run = run_in(call.outer)
    if run is not None and call.operation.inference and not call.covered:
        run.inferences += 1


def _read_request(recorder: Recorder, settlement: Settlement) -> None:
    """A request that budgets have changed is read again, as it was sent."""
    call = settlement.call
    if call.changes:
        read_request(call.operation, call.body, settlement.attributes)


def _read_response(recorder: Recorder, settlement: Settlement) -> None:
    operation = settlement.call.operation
    if settlement.response is not None and operation.response is not None:
        operation.response(settlement.response, settlement.attributes)


def _note_jobs(recorder: Recorder, settlement: Settlement) -> None:
    call, response = settlement.call, settlement.response
    operation = call.operation
    if response is None:
        return
    if operation.batch is not None:
        recorder.batches.notice(call, operation.batch, response)
    if operation.finishes is not None and (finished := operation.finishes(response)) is not None:
        recorder.deferred.finish(call.endpoint, finished, response, headers=call.headers)


def _judge(recorder: Recorder, settlement: Settlement) -> None:
    """Decide how the call ended, and whether it may be billed although no answer came."""
    call, response, error, attributes = settlement.call, settlement.response, settlement.error, settlement.attributes
    operation = call.operation
    settlement.outcome = outcome_of(error, cut=settlement.cut)
    if operation.inference and call.model is None and A.GEN_AI_RESPONSE_MODEL in attributes:
        # A stored prompt names the model; the conventions want it on the span.
        attributes[A.GEN_AI_REQUEST_MODEL] = answered = attributes[A.GEN_AI_RESPONSE_MODEL]
        call.span.update_name(span_name(operation.name, answered))
    refused = attributes.pop(A.ERROR_TYPE, None)
    if isinstance(refused, str) and error is None:
        settlement.outcome = "error"
        attributes[A.ERROR_TYPE] = settlement.error_kind = stage().name(refused)
    unfinished = not settlement.complete or error is not None
    if unfinished and operation.inference and response is not None:
        # The conventions' rule for a choice whose finish reason was expected but never came.
        attributes.setdefault(A.GEN_AI_RESPONSE_FINISH_REASONS, ("error",))
    if response is None and error is not None:
        # Headers are kept once an answer begins: what fails after that, and is no refusal, was sent for sure.
        fate = fate_of(error) if call.headers is None or status_of(error) is not None else "lost"
        if fate != "unsent" or call.fate is None:
            call.fate = fate
    if response is None and (settlement.cut or (error is not None and call.fate == "lost")):
        call.lost += 1


def _price(recorder: Recorder, settlement: Settlement) -> None:
    call = settlement.call
    if not call.covered:
        settlement.priced = priced_usage_of(
            call, settlement.response, failed=settlement.failed, received=settlement.received
        )
    call.priced_usage = settlement.priced


def _write_price(recorder: Recorder, settlement: Settlement) -> None:
    generates = settlement.call.operation.name != S.EMBEDDINGS
    write_priced_usage(settlement.priced, settlement.attributes, generates=generates)


def _settle_budgets(recorder: Recorder, settlement: Settlement) -> None:
    if recorder.budget_hook is not None:
        account(settlement.call, settlement.priced, settlement.error, settlement.attributes)


def _write_progress(recorder: Recorder, settlement: Settlement) -> None:
    call, attributes = settlement.call, settlement.attributes
    attributes[A.GENLEDGER_OUTCOME] = settlement.outcome
    if call.first_chunk is not None and call.operation.priced:
        attributes[A.GEN_AI_RESPONSE_TIME_TO_FIRST_CHUNK] = call.first_chunk - call.started
    if call.retry_causes:
        attributes[A.GENLEDGER_ATTEMPTS] = len(call.retry_causes) + 1
        attributes[A.GENLEDGER_RETRY_CAUSES] = tuple(call.retry_causes)


def _capture_output(recorder: Recorder, settlement: Settlement) -> None:
    call, capture = settlement.call, recorder.capture
    if capture is not None and settlement.response is not None and call.operation.output is not None:
        output: Attributes = {}
        capture.write(call.operation.output(settlement.response), output)
        call.content.update(output)
        if capture.spans:
            settlement.attributes.update(output)


def _write_span(recorder: Recorder, settlement: Settlement) -> None:
    span, error, attributes = settlement.call.span, settlement.error, settlement.attributes
    if error is not None:
        if settlement.outcome != "cancelled":
            attributes[A.ERROR_TYPE] = settlement.error_kind = error_type(error)
            span.set_status(StatusCode.ERROR, stage().error(error))
        else:
            settlement.error_kind = None
    elif settlement.error_kind is not None:
        span.set_status(StatusCode.ERROR, settlement.error_kind)
    span.set_attributes(attributes)


def _record(recorder: Recorder, settlement: Settlement) -> None:
    call, attributes, priced = settlement.call, settlement.attributes, settlement.priced
    if call.structural:
        return
    context = call.span.get_span_context()
    parent = getattr(call.span, "parent", None)
    entry = CallRecord(
        context.trace_id,
        context.span_id,
        parent.span_id if parent is not None else None,
        call.library,
        call.endpoint.provider,
        call.operation.name,
        call.model,
        _text(attributes.get(A.GEN_AI_RESPONSE_MODEL)),
        _text(attributes.get(A.GEN_AI_RESPONSE_ID)),
        call.started_ns,
        settlement.duration,
        call.first_chunk - call.started if call.first_chunk is not None else None,
        call.streamed,
        settlement.outcome,
        settlement.error_kind,
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
    recorder.book(entry, call.operation.family, call.stamps, call.spend, context)


def _emit_details(recorder: Recorder, settlement: Settlement) -> None:
    call, capture = settlement.call, recorder.capture
    if recorder.details is not None and call.operation.inference and not call.structural:
        with_content = capture is not None and capture.events
        recorder.details.emit(call, settlement.attributes, with_content=with_content)


_STAGES: tuple[tuple[str, Callable[[Recorder, Settlement], None]], ...] = (
    ("counting the steps of a run", _count_inference),
    ("reading the request", _read_request),
    ("reading the response", _read_response),
    ("noting a job", _note_jobs),
    ("deciding how the call ended", _judge),
    ("pricing", _price),
    ("writing usage and cost", _write_price),
    ("settling the budgets", _settle_budgets),
    ("writing how the call went", _write_progress),
    ("capturing the output", _capture_output),
    ("writing the span", _write_span),
    ("booking the call", _record),
    ("emitting the details event", _emit_details),
)


def settle(recorder: Recorder, settlement: Settlement) -> None:
    """Go through the stages and end the span. Never raises: a failing stage is reported, and the next one goes on."""
    for what, run in _STAGES:
        try:
            run(recorder, settlement)
        except Exception as fault:
            internal_errors.report(what, fault)
    try:
        settlement.call.span.end()
    except Exception as fault:
        internal_errors.report("ending the span", fault)


def _text(value: Any) -> str | None:
    return value if isinstance(value, str) else None
