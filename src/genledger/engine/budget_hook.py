"""Where a call meets the budgets: before it is sent, and when it has settled."""

from __future__ import annotations

import functools
import threading
from collections import deque
from collections.abc import Callable
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from genledger import pricing
from genledger.budgets.enforcement.exceeded import BudgetExceeded
from genledger.budgets.enforcement.request import BudgetRequest
from genledger.context.totals import MAX_UNTOLD, run_in
from genledger.engine.ceiling import ceiling, choices
from genledger.engine.content.redaction import stage
from genledger.engine.operation import at_path, span_name
from genledger.engine.tool_signatures import tool_signature
from genledger.pricing.usage import Usage
from genledger.shared import internal_errors
from genledger.shared.loggers import logger_of
from genledger_semconv import attributes as A

if TYPE_CHECKING:
    from genledger.budgets import Guard, Reservation
    from genledger.engine.call import Call
    from genledger.engine.priced_usage import PricedUsage
    from genledger.engine.recorder import Recorder
    from genledger.engine.settling import Settlement


_log = logger_of("genledger")


class BudgetHook:
    """Asks the guard about every priced call.

    Args:
        make: Makes the guard, when the first call needs it: an application that makes none opens no store.
        needed: Whether calls need a guard by now; asked until they do.
    """

    def __init__(self, make: Callable[[], Guard], needed: Callable[[], bool] = lambda: True) -> None:
        self._make = make
        self._needed = needed
        self._lock = threading.Lock()
        self._guard: Guard | None = None
        self._failed = False

    @property
    def made(self) -> Guard | None:
        """The guard, when a call has already made it."""
        return self._guard

    @property
    def guard(self) -> Guard | None:
        """The guard; `None` when it is not needed or could not be made."""
        if self._guard is None and not self._failed and self._needed():
            with self._lock:
                if self._guard is None and not self._failed:
                    try:
                        self._guard = self._make()
                    except Exception as error:
                        self._failed = True
                        _log.error(
                            "genledger: the budgets cannot be opened (%s: %s); no budget and no kill switch holds in "
                            "this process",
                            type(error).__name__,
                            stage().error(error),
                        )
        return self._guard

    def request(self, call: Call) -> tuple[Guard, BudgetRequest] | None:
        """What a call, or one more attempt at it, asks of the budgets; `None` when nothing could refuse it."""
        guard, operation = self.guard, call.operation
        pays = operation.priced or (operation.batch is not None and operation.batch.creates)
        if guard is None or not pays or not guard.active:
            return None
        return guard, _budget_request(call)

    def admit(self, call: Call) -> Reservation | None:
        """Ask. Raises `BudgetExceeded`."""
        asked = self.request(call)
        return asked[0].admit(asked[1]) if asked is not None else None

    async def admit_async(self, call: Call) -> Reservation | None:
        """Ask without blocking the event loop. Raises `BudgetExceeded`."""
        asked = self.request(call)
        return await asked[0].admit_async(asked[1]) if asked is not None else None

    def flush(self, timeout: float) -> bool:
        """Report what was settled."""
        return self._guard is None or self._guard.flush(timeout)

    def shutdown(self, timeout: float) -> bool:
        """Give back what is not used."""
        if self._guard is not None:
            self._guard.close(timeout)
        return True


def _budget_request(call: Call) -> BudgetRequest:
    endpoint, operation, body = call.endpoint, call.operation, call.body
    model = call.model
    reprice = None
    if operation.batch is not None:
        requests = list(operation.batch.requests(body)) if operation.batch.requests is not None else []
        sizes = [ceiling(call, request) for request in requests]
        prices = [
            _price(call, request.get("model"), size, tier="batch")
            for request, size in zip(requests, sizes, strict=True)
        ]
        input_tokens = sum(size.input_tokens for size in sizes)
        output_tokens = sum(size.output_tokens for size in sizes)
        known = [price for price in prices if price is not None]
        most = sum(known) if known else None
    else:
        size = ceiling(call, body)
        input_tokens, output_tokens = size.input_tokens, size.output_tokens
        most = _price(call, model, size)

        def reprice(model: str | None, limit: int | None) -> float | None:
            most = size if limit is None else replace(size, output=limit * choices(operation, body))
            return _price(call, model, most)

    run = run_in(call.outer)
    tool_calls: tuple[str, ...] = ()
    if run is not None and run.tool_calls:
        tool_calls, run.tool_calls = tuple(run.tool_calls), []
    more = None
    if run is not None and run.untold:
        more = functools.cache(functools.partial(_told, call, run.untold))
    return BudgetRequest(
        provider=endpoint.provider,
        operation=operation.name,
        model=model,
        attribution=call.attribution,
        input_tokens=input_tokens,
        max_output_tokens=output_tokens,
        cost_ceiling=most,
        api_key=endpoint.api_key,
        run=run.id if run is not None else None,
        depth=run.depth if run is not None else 0,
        steps=1 if not call.retry_causes else 0,
        tool_calls=tool_calls,
        reprice=reprice,
        more_tool_calls=more,
    )


def _told(call: Call, untold: deque[str]) -> tuple[str, ...]:
    """Return signatures of tool calls by what a request says of them: it has what the model asked for last.

    What it does not tell waits for another request, as that of the agent whose tool asks a model itself.
    """
    try:
        read = call.operation.input
        messages = read(call.body).get(A.GEN_AI_INPUT_MESSAGES) if read is not None else None
        parts = [part for message in messages or () for part in message["parts"] if part.get("type") == "tool_call"]
        found = []
        for part in reversed(parts[-MAX_UNTOLD:]):
            if part["name"] in untold:
                untold.remove(part["name"])
                found.append(tool_signature(part["name"], part["arguments"]))
        return tuple(found)
    except Exception as error:
        internal_errors.report("reading the tool calls of a request", error)
        return ()


def _price(call: Call, model: Any, size: Usage, tier: str | None = None) -> float | None:
    endpoint = call.endpoint
    name = model if isinstance(model, str) else ""
    return pricing.max_price(
        endpoint.provider,
        name,
        size.input_tokens,
        size.output_tokens,
        call.started_ns,
        tier=tier,
        base_url=endpoint.base_url,
        units=size.units,
    )


def changes(call: Call, reservation: Reservation) -> dict[str, Any]:
    """The fields of a request that a budget wants otherwise."""
    wanted: dict[str, Any] = {}
    if call.operation.batch is not None:
        return wanted
    if reservation.model is not None and not call.operation.fixed_model:
        wanted["model"] = reservation.model
    names = call.operation.limit
    if reservation.max_output_tokens is not None and names:
        name = next((name for name in names if at_path(call.body, name) is not None), names[0])
        wanted[name] = reservation.max_output_tokens
    return wanted


def _settle(call: Call, reservation: Reservation, priced: PricedUsage, error: BaseException | None) -> None:
    """Settle what a call reserved: its cost, the whole reservation where that is not known, or nothing.

    A call that was refused by the provider costs nothing and was a request and a step all the same; only one that
    never left is released. Attempts that were settled when the client tried again are not counted twice.
    """
    usage, cost = priced.usage, priced.cost
    if call.later is not None:
        reservation.settle(None, None)
        return
    if call.local is not None:
        reservation.release()
        return
    if usage is None and cost is None and error is not None and not call.lost:
        if call.fate == "unsent":
            reservation.release()
        else:
            reservation.settle(0.0, 0)
        return
    usd, tokens = cost.amount if cost is not None else None, usage.total_tokens if usage is not None else None
    settled, lost = call.settled_attempts, priced.lost
    if settled and lost is not None:
        usd = max(0.0, usd - settled * lost.cost.amount) if usd is not None and lost.cost is not None else None
        tokens = max(0, tokens - settled * lost.usage.total_tokens) if tokens is not None else None
    reservation.settle(usd, tokens)


def _spent(call: Call) -> tuple[float | None, int | None]:
    """The USD and tokens of the calls inside another one; `None` for what is not known of one of them."""
    usd, tokens = 0.0, 0
    known = True
    for inner in call.inner:
        if inner.covered:
            more, count = _spent(inner)
            known = known and more is not None and count is not None
            usd, tokens = usd + (more or 0.0), tokens + (count or 0)
        elif inner.priced_usage is not None and inner.priced:
            known = known and inner.priced_usage.cost is not None
            usd += inner.priced_usage.cost.amount if inner.priced_usage.cost is not None else 0.0
            tokens += inner.priced_usage.usage.total_tokens if inner.priced_usage.usage is not None else 0
    return (usd, tokens) if known else (None, None)


def settle_budgets(recorder: Recorder, settlement: Settlement) -> None:
    """Settle a call with the budgets, and write what they did into the attributes of its span."""
    call, error, attributes = settlement.call, settlement.error, settlement.attributes
    if isinstance(error, BudgetExceeded):
        attributes[A.GENLEDGER_BUDGET_RULE] = error.rule
        attributes[A.GENLEDGER_BUDGET_SCOPE] = error.scope
        attributes[A.GENLEDGER_BUDGET_ACTION] = "block"
    reservation = call.reservation
    if reservation is None:
        return
    under_way: Call | None = None
    for inner in call.inner:
        if not inner.settled:
            under_way = inner
    if under_way is not None:
        under_way.reservation = reservation  # its answer is still coming, and settles what was reserved for it
        call.reservation = None
    elif call.covered:
        reservation.settle(*_spent(call))
    else:
        _settle(call, reservation, settlement.priced, error)
    if reservation.action is not None:
        attributes[A.GENLEDGER_BUDGET_ACTION] = reservation.action
        if reservation.rule is not None:
            attributes[A.GENLEDGER_BUDGET_RULE] = reservation.rule
    if reservation.model is not None and "model" in call.changes:
        asked = call.asked.get(A.GEN_AI_REQUEST_MODEL)
        attributes[A.GEN_AI_REQUEST_MODEL] = reservation.model
        attributes[A.GENLEDGER_MODEL_REQUESTED] = asked if asked is not None else ""
        attributes[A.GENLEDGER_MODEL_REASON] = reservation.reason or ""
        if call.operation.target is None:
            call.span.update_name(span_name(call.operation.name, reservation.model))
