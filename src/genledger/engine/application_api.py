"""What the application asks while its calls are recorded: its spend so far, and which model to use."""

from __future__ import annotations

from opentelemetry.trace import get_current_span

from genledger.context.attribution import current, current_spend
from genledger.context.totals import Spend
from genledger.engine.recorder import active


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
