"""End of a call: named stages, in this order, each of which may fail alone."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from opentelemetry.trace import StatusCode

from genledger.context.totals import run_in
from genledger.engine.attempts import fate_of, status_of
from genledger.engine.budget_hook import settle_budgets
from genledger.engine.client_caches import hit_of, of_gateway
from genledger.engine.content.redaction import stage
from genledger.engine.foreign_spans.places import step_around
from genledger.engine.operation import Attributes, Received, read_request, span_name, write_texts
from genledger.engine.outcome import error_type, outcome_of
from genledger.engine.priced_usage import NOTHING, PricedUsage, priced_usage_of, write_priced_usage
from genledger.engine.record import CacheHit, CallRecord, Outcome
from genledger_semconv import attributes as A
from genledger_semconv import spans as S

if TYPE_CHECKING:
    from genledger.engine.call import Call
    from genledger.engine.recorder import Recorder


@dataclass(slots=True)
class Settlement:
    """One call that has ended: what came of it, and what the stages have made of that so far.

    Args:
        call: The call.
        response: The provider's answer, as far as it came.
        error: What went wrong, when something did.
        cut: The application stopped reading before the provider had finished.
        complete: Whether the provider had finished its answer.
        received: How much generated text came, when the provider has not counted all of it.
        duration: Seconds that the call took.
    """

    call: Call
    response: Any
    error: BaseException | None
    cut: bool
    complete: bool
    received: Received | None
    duration: float
    attributes: Attributes = field(default_factory=dict)
    outcome: Outcome = "success"
    error_kind: str | None = None
    priced: PricedUsage = NOTHING
    hit: CacheHit | None = None


def _read_request(recorder: Recorder, settlement: Settlement) -> None:
    """A request that budgets have changed is read again, as it was sent."""
    call = settlement.call
    if call.changes:
        read_request(call.operation, call.body, settlement.attributes)


def _read_response(recorder: Recorder, settlement: Settlement) -> None:
    operation = settlement.call.operation
    if settlement.response is not None and operation.response is not None:
        operation.response(settlement.response, settlement.attributes)
    if operation.headers and settlement.call.headers is not None:
        write_texts(settlement.call.headers, operation.headers.items(), settlement.attributes)


def _note_jobs(recorder: Recorder, settlement: Settlement) -> None:
    call, response = settlement.call, settlement.response
    operation = call.operation
    if response is None:
        return
    if operation.batch is not None:
        recorder.batches.notice(call, operation.batch, response)
    if operation.unfinished is not None:
        return  # it has finished its own
    if operation.finishes is not None and (finished := operation.finishes(call.body, response)) is not None:
        recorder.deferred.finish(call.endpoint, finished, response, headers=call.headers)


def _judge(recorder: Recorder, settlement: Settlement) -> None:
    """Decide how the call ended, and whether it may be billed although no answer came."""
    call, response, error, attributes = settlement.call, settlement.response, settlement.error, settlement.attributes
    operation = call.operation
    if error is not None:
        settlement.outcome = outcome_of(call.cause(error))
    elif settlement.cut:
        settlement.outcome = "cancelled"
    if operation.inference and call.model is None and A.GEN_AI_RESPONSE_MODEL in attributes:
        # A stored prompt names the model; the conventions want it on the span.
        attributes[A.GEN_AI_REQUEST_MODEL] = answered = attributes[A.GEN_AI_RESPONSE_MODEL]
        call.span.update_name(span_name(operation.name, answered))
    named = attributes.get(A.GEN_AI_REQUEST_MODEL)
    if call.model is None and isinstance(named, str):
        call.model = named
    refused = attributes.pop(A.ERROR_TYPE, None) or call.refused
    if isinstance(refused, str) and error is None:
        settlement.outcome = "error"
        attributes[A.ERROR_TYPE] = settlement.error_kind = stage().name(refused)
    unfinished = not settlement.complete or error is not None
    if unfinished and operation.inference and response is not None:
        # The conventions' rule for a choice whose finish reason was expected but never came.
        attributes.setdefault(A.GEN_AI_RESPONSE_FINISH_REASONS, ("error",))
    if response is None and error is not None:
        error = call.cause(error)
        # Headers are kept once an answer begins: what fails after that, and is no refusal, was sent for sure.
        fate = fate_of(error) if call.headers is None or status_of(error) is not None else "lost"
        if fate != "unsent" or call.fate is None:
            call.fate = fate
    if response is None and (settlement.cut or (error is not None and call.fate == "lost")):
        call.lost += 1


def _price(recorder: Recorder, settlement: Settlement) -> None:
    call = settlement.call
    cache = call.library if call.local == "cache" else None
    if not call.covered:
        failed = settlement.error is not None or settlement.error_kind is not None
        priced = priced_usage_of(call, settlement.response, failed=failed, received=settlement.received)
        if of_gateway(priced.cost):
            call.local, cache, priced = "cache", "gateway", NOTHING
        if cache is not None:
            _note_hit(settlement, hit_of(call, settlement.response, cache))
        settlement.priced = priced
    call.priced_usage = settlement.priced
    write_priced_usage(settlement.priced, settlement.attributes, generates=call.operation.name != S.EMBEDDINGS)


def _note_hit(settlement: Settlement, hit: CacheHit) -> None:
    settlement.hit = hit
    settlement.attributes[A.GENLEDGER_CACHE_NAME] = hit.cache
    if hit.saved_usd is not None:
        settlement.attributes[A.GENLEDGER_CACHE_SAVED] = hit.saved_usd


def _capture_output(recorder: Recorder, settlement: Settlement) -> None:
    call, capture = settlement.call, recorder.capture
    if capture is not None and settlement.response is not None and call.operation.output is not None:
        output: Attributes = {}
        capture.write(call.operation.output(settlement.response), output)
        call.content.update(output)
        if capture.spans:
            settlement.attributes.update(output)


def _write_span(recorder: Recorder, settlement: Settlement) -> None:
    call, error, attributes = settlement.call, settlement.error, settlement.attributes
    span = call.span
    attributes[A.GENLEDGER_OUTCOME] = settlement.outcome
    if call.first_chunk is not None and call.streamed and call.operation.priced:
        attributes[A.GEN_AI_RESPONSE_TIME_TO_FIRST_CHUNK] = call.first_chunk - call.started
    if call.retry_causes:
        attributes[A.GENLEDGER_ATTEMPTS] = len(call.retry_causes) + 1
        attributes[A.GENLEDGER_RETRY_CAUSES] = tuple(call.retry_causes)
    if error is not None:
        if settlement.outcome != "cancelled":
            attributes[A.ERROR_TYPE] = settlement.error_kind = error_type(error)
            span.set_status(StatusCode.ERROR, stage().description(error, call.body))
        else:
            settlement.error_kind = None
    elif settlement.error_kind is not None:
        span.set_status(StatusCode.ERROR, settlement.error_kind)
    span.set_attributes(attributes)


def _record(recorder: Recorder, settlement: Settlement) -> None:
    call, attributes, priced = settlement.call, settlement.attributes, settlement.priced
    covered = call.covered
    if settlement.hit is not None:
        recorder.tell(settlement.hit, call.span.get_span_context())
        return
    run = run_in(call.outer)
    if run is not None and call.operation.inference and not covered:
        run.inferences += 1
    if covered or call.later == "elsewhere":
        return
    model, answer_id = attributes.get(A.GEN_AI_RESPONSE_MODEL), attributes.get(A.GEN_AI_RESPONSE_ID)
    context = call.span.get_span_context()
    entry = CallRecord(
        context.trace_id,
        context.span_id,
        step_around(call.outermost.span, call.outermost.outer),
        call.library,
        call.endpoint.provider,
        call.operation.name,
        call.model,
        model if isinstance(model, str) else None,
        answer_id if isinstance(answer_id, str) else None,
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
    agent = run.agent if run is not None else None
    recorder.book(entry, call.operation.family, call.stamps, call.spend, context, agent)


def _emit_details(recorder: Recorder, settlement: Settlement) -> None:
    call, capture = settlement.call, recorder.capture
    if recorder.details is not None and call.operation.inference and not call.structural:
        with_content = capture is not None and capture.events
        recorder.details.emit(call, settlement.attributes, with_content=with_content)


Stage = Callable[["Recorder", Settlement], None]

_STAGES: tuple[tuple[str, Stage], ...] = (
    ("reading the request", _read_request),
    ("reading the response", _read_response),
    ("noting a job", _note_jobs),
    ("deciding how the call ended", _judge),
    ("pricing", _price),
    ("settling the budgets", settle_budgets),
    ("capturing the output", _capture_output),
    ("writing the span", _write_span),
    ("booking the call", _record),
    ("emitting the details event", _emit_details),
)


def stages(recorder: Recorder) -> tuple[tuple[str, Stage], ...]:
    """Return what happens when one of a recorder's calls ends, in order, without what is switched off."""
    off: dict[Stage, bool] = {
        settle_budgets: recorder.budget_hook is None,
        _capture_output: recorder.capture is None,
        _emit_details: recorder.details is None,
    }
    return tuple(stage for stage in _STAGES if not off.get(stage[1]))
