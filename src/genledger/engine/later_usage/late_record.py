"""Complete the record of a call whose answer came to another call."""

from __future__ import annotations

import time
from typing import Any

from genledger import pricing
from genledger.context.attribution import Attribution
from genledger.engine.content.redaction import stage
from genledger.engine.later_usage.job_book import CallStart
from genledger.engine.operation import Endpoint
from genledger.engine.priced_usage import cost_of
from genledger.engine.record import CallRecord, Outcome
from genledger.pricing.getters import field


def late_record(
    start: CallStart,
    attribution: Attribution,
    endpoint: Endpoint,
    answer: Any,
    *,
    payload: Any = None,
    outcome: Outcome = "success",
    error: str | None = None,
    duration_s: float = 0.0,
    headers: Any = None,
    tier: str | None = None,
) -> CallRecord:
    """Return the priced record of a call.

    Args:
        start: What was known of it before its answer.
        attribution: Who pays.
        endpoint: Who answered.
        answer: The provider's answer; `None` when the request failed and is not billed.
        payload: What the usage is read from, as `start.api` has it; the answer by default.
        outcome: How it ended.
        error: Why it failed.
        duration_s: How long it took, in seconds; 0 when nobody knows.
        headers: Headers of the answer.
        tier: What the price depends on beside the model, where the answer does not say.
    """
    usage = cost = unpriced = region = None
    model, answer_id = field(answer, "model"), field(answer, "id")
    if answer is not None:
        payload = answer if payload is None else payload
        reading = pricing.read_usage(endpoint.provider, start.api, payload, base_url=endpoint.base_url, headers=headers)
        if reading is not None:
            reading.tier, reading.model = tier or reading.tier, reading.model or start.request_model
            usage, tier, region = reading.usage, reading.tier, reading.region
            cost, unpriced = cost_of(reading, endpoint, start.started_ns)
        elif error is None:
            unpriced = "no_usage"
    return CallRecord(
        trace_id=start.trace_id,
        span_id=start.span_id,
        parent_span_id=start.parent_span_id,
        library=start.library,
        provider=endpoint.provider,
        operation=start.operation,
        request_model=start.request_model,
        response_model=model if isinstance(model, str) else None,
        response_id=answer_id if isinstance(answer_id, str) else None,
        started_ns=start.started_ns,
        duration_s=duration_s,
        time_to_first_chunk_s=None,
        stream=start.stream,
        outcome=outcome,
        error_type=stage().name(error) if error is not None else None,
        attempts=1,
        retry_causes=(),
        attribution=attribution,
        usage=usage,
        usage_estimated=False,
        cost=cost,
        unpriced=unpriced,
        server_address=endpoint.host,
        server_port=endpoint.port,
        tier=tier,
        region=region,
    )


def since(started_ns: int) -> float:
    """Return the seconds since a time in nanoseconds since the epoch; 0 when a clock says that it is to come."""
    return max(0.0, (time.time_ns() - started_ns) / 1e9)
