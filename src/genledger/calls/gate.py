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
from .ceiling import LIMITS, ceiling, choices
from .operation import Attributes, Operation, span_name

if TYPE_CHECKING:
    from genledger.budgets import Admission, Guard

    from .call import Call
    from .charges import Charge


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
        """What a call, or one more attempt at it, asks of the budgets; `None` when nothing could refuse it."""
        guard = self.guard
        if guard is None or not _pays(call.operation) or not guard.active:
            return None
        return guard, _demand(call)

    def admit(self, call: Call) -> Admission | None:
        """Ask. Raises `BudgetExceeded`."""
        try:
            asked = self.demand(call)
            return asked[0].admit(asked[1]) if asked is not None else None
        except BudgetExceeded:
            raise
        except Exception as error:
            faults.report("asking the budgets", error)
            return None

    async def admit_async(self, call: Call) -> Admission | None:
        """Ask without blocking the event loop. Raises `BudgetExceeded`."""
        try:
            asked = self.demand(call)
            return await asked[0].admit_async(asked[1]) if asked is not None else None
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


def _pays(operation: Operation) -> bool:
    """Whether money follows from a call: for itself or, when it creates a batch, for what it sets going."""
    return operation.priced or (operation.batch is not None and operation.batch.creates)


def _demand(call: Call) -> Demand:
    peer, operation, body = call.peer, call.operation, call.body
    model = call.model
    reprice = None
    if operation.batch is not None:
        requests = list(operation.batch.requests(body)) if operation.batch.requests is not None else []
        sizes = [ceiling(call, request) for request in requests]
        prices = [
            _price(call, request.get("model"), size, tier="batch")
            for request, size in zip(requests, sizes, strict=True)
        ]
        input_tokens, output_tokens = sum(size[0] for size in sizes), sum(size[1] for size in sizes)
        known = [price for price in prices if price is not None]
        most = sum(known) if known else None
    else:
        size = input_tokens, output_tokens = ceiling(call, body)
        most = _price(call, model, size)

        def reprice(model: str | None, limit: int | None) -> float | None:
            return _price(call, model, size if limit is None else (size[0], limit * choices(body)))

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
        cost_ceiling=most,
        api_key=peer.api_key,
        run=run.id if run is not None else None,
        depth=run.depth if run is not None else 0,
        steps=1 if not call.retry_causes else 0,
        tool_calls=tool_calls,
        reprice=reprice,
    )


def _price(call: Call, model: Any, size: tuple[int, int], tier: str | None = None) -> float | None:
    peer = call.peer
    name = model if isinstance(model, str) else ""
    return pricing.max_price(peer.provider, name, *size, call.started_ns, tier=tier, base_url=peer.base_url)


def changes(call: Call, admission: Admission) -> dict[str, Any]:
    """The fields of a request that a budget wants otherwise."""
    wanted: dict[str, Any] = {}
    if call.operation.batch is not None:
        return wanted
    if admission.model is not None:
        wanted["model"] = admission.model
    if admission.max_output_tokens is not None and call.operation.limit is not None:
        name = next((name for name in LIMITS if call.body.get(name) is not None), call.operation.limit)
        wanted[name] = admission.max_output_tokens
    return wanted


def _settle(call: Call, admission: Admission, charge: Charge, error: BaseException | None) -> None:
    """Settle what a call reserved: its cost, the whole reservation where that is not known, or nothing.

    A call that was refused by the provider costs nothing and was a request and a step all the same; only one that
    never left is released. Attempts that were settled when the client tried again are not counted twice.
    """
    usage, cost = charge.usage, charge.cost
    if usage is None and cost is None and error is not None and not call.lost:
        if call.fate == "unsent":
            admission.release()
        else:
            admission.settle(0.0, 0)
        return
    usd, tokens = cost.amount if cost is not None else None, usage.total_tokens if usage is not None else None
    settled, lost = call.settled_attempts, charge.lost
    if settled and lost is not None:
        usd = max(0.0, usd - settled * lost.cost.amount) if usd is not None and lost.cost is not None else None
        tokens = max(0, tokens - settled * lost.usage.total_tokens) if tokens is not None else None
    admission.settle(usd, tokens)


def account(call: Call, charge: Charge, error: BaseException | None, attributes: Attributes) -> None:
    """Settle a call with the budgets, and write what they did into the attributes of its span."""
    if isinstance(error, BudgetExceeded):
        attributes[A.GENLEDGER_BUDGET_RULE] = error.rule
        attributes[A.GENLEDGER_BUDGET_SCOPE] = error.scope
        attributes[A.GENLEDGER_BUDGET_ACTION] = "block"
    admission = call.admission
    if admission is None:
        return
    _settle(call, admission, charge, error)
    if admission.action is not None:
        attributes[A.GENLEDGER_BUDGET_ACTION] = admission.action
        if admission.rule is not None:
            attributes[A.GENLEDGER_BUDGET_RULE] = admission.rule
    if admission.model is not None and call.operation.batch is None:
        asked = call.asked.get(A.GEN_AI_REQUEST_MODEL)
        attributes[A.GEN_AI_REQUEST_MODEL] = admission.model
        attributes[A.GENLEDGER_MODEL_REQUESTED] = asked if asked is not None else ""
        attributes[A.GENLEDGER_MODEL_REASON] = admission.reason or ""
        call.span.update_name(span_name(call.operation.name, admission.model))
