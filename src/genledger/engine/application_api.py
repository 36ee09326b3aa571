"""What the application asks and tells while its calls are recorded, beside `observe`: spend, models, outcomes."""

from __future__ import annotations

import time

from opentelemetry.context import get_current
from opentelemetry.trace import get_current_span

from genledger.context.attribution import current, current_spend
from genledger.context.totals import Spend
from genledger.engine.content.redaction import stage
from genledger.engine.record import ProductEvent
from genledger.engine.recorder import active
from genledger.shared.loggers import logger_of

logger = logger_of("genledger")


def spend() -> Spend:
    """Return the spend so far of the current attribution or observe block, else of the current trace.

    Returns:
        `usd` (of the priced calls), `calls`, `unpriced` (calls missing from `usd`) and `tokens`.
    """
    running = current_spend()
    if running is not None:
        return running.read()
    recorder = active()
    context = get_current_span().get_span_context()
    if recorder is None or not context.is_valid:
        return Spend(0.0, 0, 0, 0)
    return recorder.traces.read(context.trace_id)


def select_model(default: str, *, feature: str | None = None, tenant: str | None = None) -> str:
    """Return the model chosen by the routing rules, or `default` if none matches.

    The span of a call with the chosen model records the requested model and why another one was used.

    Args:
        default: Model to use if no rule matches.
        feature: Feature of the call (default: the current attribution's).
        tenant: Tenant of the call (default: the current attribution's).
    """
    recorder = active()
    guard = recorder.budget_hook.guard if recorder is not None and recorder.budget_hook is not None else None
    if guard is None:
        return default
    here = current()
    return guard.select_model(feature or here.feature, tenant or here.tenant, default=default).model


def record_outcome(name: str, value: float = 1.0) -> None:
    """Record a product event such as `draft_accepted`. Reports join it to the spend of the same attribution.

    Args:
        name: Name of the event, in lower case with underscores.
        value: Quantity, if it is not one.

    Raises:
        ValueError: The name is empty or longer than 128 characters.
    """
    if not isinstance(name, str) or not name.strip() or len(name) > 128:
        raise ValueError(f"record_outcome(name) must be a string of 1 to 128 characters, not {name!r:.60}")
    recorder = active()
    if recorder is None:
        return
    context = get_current()
    span = get_current_span(context).get_span_context()
    event = ProductEvent(
        name,
        time.time_ns(),
        current(context),
        span.trace_id if span.is_valid else None,
        span.span_id if span.is_valid else None,
        float(value),
    )
    for sink in recorder.event_sinks:
        try:
            sink(event)
        except Exception as error:
            logger.warning("genledger: the outcome %s was not recorded: %s", name, stage().error(error))
