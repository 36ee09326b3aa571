"""Where a call meets the budgets: before it is sent, and when it has settled."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from genledger import pricing
from genledger.budgets.demand import Demand
from genledger.budgets.exceeded import BudgetExceeded
from genledger.runs import run_in
from genledger_semconv import attributes as A

from . import faults
from .operation import Attributes

if TYPE_CHECKING:
    from genledger.budgets import Admission, Guard

    from .call import Call
    from .charges import Charge

DEFAULT_OUTPUT_TOKENS = 4096
"""Output tokens that are reserved for a call that sets no limit of its own."""


class Gate:
    """Asks the guard about every priced call.

    Args:
        make: Makes the guard, when the first call comes: an application that makes none opens no store.
    """

    def __init__(self, make: Callable[[], Guard]) -> None:
        self._make = make
        self._lock = threading.Lock()
        self._guard: Guard | None = None
        self._failed = False

    @property
    def made(self) -> Guard | None:
        """The guard, when a call has already made it."""
        return self._guard

    @property
    def guard(self) -> Guard | None:
        """The guard; `None` when it could not be made."""
        if self._guard is None and not self._failed:
            with self._lock:
                if self._guard is None and not self._failed:
                    try:
                        self._guard = self._make()
                    except Exception as error:
                        self._failed = True
                        faults.report("opening the budgets", error)
        return self._guard

    def demand(self, call: Call) -> tuple[Guard, Demand] | None:
        """What a call asks of the budgets; `None` when nothing could refuse it."""
        guard = self.guard
        if guard is None or not call.operation.priced or not guard.active:
            return None
        try:
            return guard, _demand(call)
        except Exception as error:
            faults.report("asking the budgets", error)
            return None

    def admit(self, call: Call) -> Admission | None:
        """Ask. Raises `BudgetExceeded`."""
        asked = self.demand(call)
        if asked is None:
            return None
        try:
            return asked[0].admit(asked[1])
        except BudgetExceeded:
            raise
        except Exception as error:
            faults.report("asking the budgets", error)
            return None

    async def admit_async(self, call: Call) -> Admission | None:
        """Ask without blocking the event loop. Raises `BudgetExceeded`."""
        asked = self.demand(call)
        if asked is None:
            return None
        try:
            return await asked[0].admit_async(asked[1])
        except BudgetExceeded:
            raise
        except Exception as error:
            faults.report("asking the budgets", error)
            return None

    def flush(self, timeout: float) -> bool:
        """Report what was settled."""
        return self._guard is None or self._guard.flush(timeout)

    def shutdown(self, timeout: float) -> bool:
        """Give back what is not used."""
        if self._guard is not None:
            self._guard.close(timeout)
        return True


def _demand(call: Call) -> Demand:
    peer, operation = call.peer, call.operation
    model = call.model
    asked = _limit(call.body)
    choices = call.body.get("n")
    choices = choices if type(choices) is int and choices > 0 else 1
    input_tokens = pricing.estimate_tokens(call.input_length(), peer.provider, model or "")
    output_tokens = (asked if asked is not None else DEFAULT_OUTPUT_TOKENS) * choices if operation.inference else 0

    def ceiling(model: str | None, limit: int | None) -> float | None:
        return pricing.max_price(
            peer.provider,
            model or "",
            input_tokens,
            output_tokens if limit is None else limit * choices,
            at_ns=call.started_ns,
            base_url=peer.base_url,
        )

    run = run_in(call.outer)
    tool_calls: tuple[str, ...] = ()
    if run is not None and run.tool_calls:
        tool_calls, run.tool_calls = tuple(run.tool_calls), []
    return Demand(
        provider=peer.provider,
        operation=operation.name,
        model=model,
        attribution=call.attribution,
        input_tokens=input_tokens,
        max_output_tokens=output_tokens,
        cost_ceiling=ceiling(model, None),
        api_key=peer.api_key,
        run=run.id if run is not None else None,
        depth=run.depth if run is not None else 0,
        tool_calls=tool_calls,
        reprice=ceiling,
    )


LIMITS = ("max_completion_tokens", "max_output_tokens", "max_tokens")
"""The names that APIs have for the most tokens a call may generate."""


def _limit(body: Any) -> int | None:
    for name in LIMITS:
        value = body.get(name)
        if type(value) is int and value >= 0:
            return value
    return None


def changes(call: Call, admission: Admission) -> dict[str, Any]:
    """The fields of a request that a budget wants otherwise."""
    wanted: dict[str, Any] = {}
    if admission.model is not None:
        wanted["model"] = admission.model
    if admission.max_output_tokens is not None and call.operation.limit is not None:
        name = next((name for name in LIMITS if call.body.get(name) is not None), call.operation.limit)
        wanted[name] = admission.max_output_tokens
    return wanted


def account(call: Call, charge: Charge, error: BaseException | None, attributes: Attributes) -> None:
    """Settle a call with the budgets, and write what they did into the attributes of its span."""
    if isinstance(error, BudgetExceeded):
        attributes[A.GENLEDGER_BUDGET_RULE] = error.rule
        attributes[A.GENLEDGER_BUDGET_SCOPE] = error.scope
        attributes[A.GENLEDGER_BUDGET_ACTION] = "block"
    admission = call.admission
    if admission is None:
        return
    usage, cost = charge.usage, charge.cost
    if error is not None and usage is None and cost is None:
        admission.release()
    else:
        admission.settle(cost.amount if cost is not None else None, usage.total_tokens if usage is not None else None)
    if admission.action is not None:
        attributes[A.GENLEDGER_BUDGET_ACTION] = admission.action
        if admission.rule is not None:
            attributes[A.GENLEDGER_BUDGET_RULE] = admission.rule
    if admission.model is not None:
        asked = call.asked.get(A.GEN_AI_REQUEST_MODEL)
        attributes[A.GEN_AI_REQUEST_MODEL] = admission.model
        attributes[A.GENLEDGER_MODEL_REQUESTED] = asked if asked is not None else ""
        attributes[A.GENLEDGER_MODEL_REASON] = admission.reason or ""
        call.span.update_name(f"{call.operation.name} {admission.model}")
