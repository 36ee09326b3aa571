"""One open call: from the client method's entry to the end of its response or stream."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal

from opentelemetry.context import Context, attach, create_key, get_current, set_value
from opentelemetry.trace import Span, set_span_in_context

from genledger.budgets.enforcement.exceeded import BudgetExceeded
from genledger.context.attribution import Attribution, claim_trace
from genledger.engine.attempts import Fate, answered_status, fate_of, fate_of_status, status_of
from genledger.engine.budget_hook import changes
from genledger.engine.carried_refusals import raise_as_seen_here, without_carrier
from genledger.engine.operation import Attributes, Body, Endpoint, Operation, Received, with_changes
from genledger.engine.priced_usage import Lost, lost_attempt
from genledger.engine.suppression import as_suppressed
from genledger.pricing.names import provider_of_host
from genledger.shared import internal_errors
from genledger_semconv import attributes as A

if TYPE_CHECKING:
    from genledger.budgets import Reservation
    from genledger.context.totals import RunningTotal
    from genledger.engine.priced_usage import PricedUsage
    from genledger.engine.recorder import Recorder

CALL_KEY = create_key("genledger-call")
"""The context key of the call whose client method is running."""

Local = Literal["cache", "request"]
"""What answers in place of a provider: a cache of the client's own, or the request, which brings its answer along."""


@dataclass(slots=True, weakref_slot=True, eq=False, repr=False)
class Call:
    """A call that has been opened and not yet settled.

    It settles exactly once, whichever of exhaustion, close, error, cancellation or garbage collection comes
    first; everything after that does nothing.

    Attributes:
        local: What answered in this process, so that nothing was sent, and nothing is paid for.
        cause: Finds what failed behind an error of the client, where that has a status without an answer.
        refused: Why the provider says that it failed, in an answer that is none of the client's errors.
    """

    recorder: Recorder
    operation: Operation
    library: str
    endpoint: Endpoint
    body: Body
    model: str | None
    span: Span
    outer: Context
    attribution: Attribution
    spend: RunningTotal | None
    streamed: bool
    started_ns: int
    asked: Attributes
    content: Attributes
    started: float
    before: Context = field(default_factory=get_current)
    changes: Mapping[str, Any] = field(default_factory=dict)
    first_chunk: float | None = None
    stamps: list[float] | None = None
    retry_causes: list[str] = field(default_factory=list)
    fate: Fate | None = None
    around: Call | None = None
    inner: list[Call] = field(default_factory=list)
    later: Literal["pending", "elsewhere"] | None = None
    priced_usage: PricedUsage | None = None
    lost: int = 0
    lost_attempt: Lost | None = None
    settled_attempts: int = 0
    headers: Any = None
    request: Any = None
    answered: Any = None
    failed: BaseException | None = None
    reservation: Reservation | None = None
    refused: str | None = None
    local: Local | None = None
    cause: Callable[[BaseException], BaseException] = lambda error: error
    _pending: list[bool] = field(default_factory=[True].copy)

    def enter(self) -> Context:
        """Make this call current while the client's own method runs: spans it starts become children."""
        try:
            self.before = get_current()
            inside = as_suppressed(self.inside(), self.before)
            attach(inside)
        except Exception as fault:
            internal_errors.report("entering the call", fault)
            return self.outer
        return inside

    def inside(self) -> Context:
        """Return the context in which this call is the current one."""
        inside = set_value(CALL_KEY, self, set_span_in_context(self.span, self.outer))
        return claim_trace(self.span.get_span_context(), inside)

    def leave(self, inside: Context) -> None:
        """Make current what was current before.

        By value, not by token: a coroutine that is thrown away may be finished in another context, where
        there is nothing to restore and a token would be refused.
        """
        try:
            if get_current() is inside:
                attach(self.before)
        except Exception as fault:
            attach(self.before)
            internal_errors.report("leaving the call", fault)

    def contains(self, operation: Operation, library: str) -> bool:
        """Return whether an operation begun inside is only how this one is done: a store's client calls itself."""
        return (
            not (self.settled or self.operation.priced or operation.priced)
            and self.library == library
            and self.operation.family == operation.family
        )

    def nest_in(self, around: Call) -> None:
        """Note that this call is made by the client method of another one, which did the same thing by it.

        Both are one request: the inner one is priced, the outer one becomes structure. Budgets have admitted it. Who
        answers at an address that nobody knows is what the outer one was told.
        """
        ours, theirs = self.operation, around.operation
        same = ours.name == theirs.name or (ours.inference and theirs.inference)
        if around.settled or not same or not ours.priced:
            return
        self.around = around
        around.inner.append(self)
        mine, named = self.endpoint, around.endpoint.provider
        if mine.provider != named and mine.base_url and provider_of_host(mine.base_url) is None:
            self.reaches(mine._replace(provider=named))

    @property
    def priced(self) -> bool:
        """Return whether the call has settled with its own usage or cost."""
        return self.priced_usage is not None and (
            self.priced_usage.usage is not None or self.priced_usage.cost is not None
        )

    @property
    def outermost(self) -> Call:
        """The call whose way of being done this one is, or itself: those around a priced call have no record."""
        return self if self.around is None else self.around.outermost

    @property
    def covered(self) -> bool:
        """Whether a call inside is, or may still become, the priced one."""
        inner = self.inner
        return bool(inner) and any(
            call.priced or call.local == "cache" or call.covered or not call.settled for call in inner
        )

    @property
    def structural(self) -> bool:
        """Return whether the call is not counted: an inner call is priced, or another process recorded it."""
        return self.later == "elsewhere" or self.covered

    def admit(self) -> None:
        """Ask the budgets. Raises `BudgetExceeded`, with the call ended as `blocked`, when one says no."""
        budget_hook = self.recorder.budget_hook
        if budget_hook is not None and self.around is None:
            try:
                self._admitted(budget_hook.admit(self))
            except BaseException as error:
                if not self._goes_on(error):
                    raise

    async def admit_async(self) -> None:
        """As `admit`, without blocking the event loop."""
        budget_hook = self.recorder.budget_hook
        if budget_hook is not None and self.around is None:
            try:
                self._admitted(await budget_hook.admit_async(self))
            except BaseException as error:
                if not self._goes_on(error):
                    raise

    def _goes_on(self, error: BaseException) -> bool:
        """Return whether to make the call after an error: an internal error never stops it; a budget's refusal does."""
        if isinstance(error, Exception) and not isinstance(error, BudgetExceeded):
            internal_errors.report("asking the budgets", error)
            return True
        self.settle(error=error)
        if isinstance(error, BudgetExceeded):
            raise_as_seen_here(error)
        return False

    def _admitted(self, reservation: Reservation | None) -> None:
        self.reservation = reservation
        if reservation is not None and reservation.action == "degrade":
            self.changes = changes(self, reservation)
            if self.changes:
                self.model = self.changes.get("model", self.model)
                self.body = with_changes(self.body, self.changes)

    def reaches(self, endpoint: Endpoint) -> None:
        """Note who is called, where a client finds that out on the way."""
        self.endpoint = endpoint
        found: Attributes = {A.GEN_AI_PROVIDER_NAME: endpoint.provider}
        if endpoint.host is not None:
            found[A.SERVER_ADDRESS] = endpoint.host
            if endpoint.port is not None:
                found[A.SERVER_PORT] = endpoint.port
        self.asked.update(found)
        self.span.set_attributes(found)

    def retried(self, response: Any, error: BaseException | None) -> bool:
        """Note that the client sends its request again, and why.

        Returns:
            Whether the attempt before may be billed, so that the next one needs a reservation of its own.
        """
        error = self.cause(error) if error is not None else None
        self.retry_causes.append(retry_cause(response, error))
        status = answered_status(response)
        fate = fate_of_status(status) if status is not None else fate_of(error) if error is not None else "unsent"
        if fate != "lost":
            return False
        self.lost += 1
        return True

    def readmit(self) -> None:
        """Ask the budgets for one more attempt, after one that may be billed. Raises `BudgetExceeded`."""
        budget_hook, before = self.recorder.budget_hook, self.reservation
        if budget_hook is not None and before is not None:
            try:
                self._readmitted(budget_hook.admit(self), before)
            except BudgetExceeded as error:
                raise_as_seen_here(error)
                raise
            except Exception as fault:
                internal_errors.report("asking the budgets", fault)

    async def readmit_async(self) -> None:
        """As `readmit`, without blocking the event loop."""
        budget_hook, before = self.recorder.budget_hook, self.reservation
        if budget_hook is not None and before is not None:
            try:
                self._readmitted(await budget_hook.admit_async(self), before)
            except BudgetExceeded as error:
                raise_as_seen_here(error)
                raise
            except Exception as fault:
                internal_errors.report("asking the budgets", fault)

    def _readmitted(self, reservation: Reservation | None, before: Reservation) -> None:
        """Settle the lost attempt; the next attempt has the new reservation."""
        try:
            lost = self.lost_attempt = lost_attempt(self)
            before.settle(lost.cost.amount if lost.cost is not None else None, lost.usage.total_tokens)
        except Exception as fault:
            internal_errors.report("settling the budgets", fault)
            before.settle(None, None)
        self.settled_attempts += 1
        if reservation is not None:
            reservation.model, reservation.max_output_tokens = before.model, before.max_output_tokens
            reservation.action = reservation.action or before.action
            self.reservation = reservation

    def settle(
        self,
        response: Any = None,
        *,
        error: BaseException | None = None,
        cut: bool = False,
        complete: bool = True,
        received: Received | None = None,
    ) -> None:
        """End the call. Only the first time does anything; never raises.

        Args:
            response: The provider's answer, as far as it came: a typed object or a mapping of the same shape.
            error: What went wrong, when something did.
            cut: The application stopped reading before the provider had finished.
            complete: Whether the provider had finished its answer.
            received: How much generated text came, for an estimate when the answer's usage does not count it all.
        """
        try:
            del self._pending[-1]
        except IndexError:
            return
        self.failed = None
        try:
            error = without_carrier(error)
            unfinished = self.operation.unfinished
            if unfinished is None or not self._waits(unfinished, response, error, cut):
                self.recorder.settle(self, response, error, cut, complete, received)
        except Exception as fault:
            self._give_up(fault)

    def conclude(
        self, answer: Any, *, error: BaseException | None = None, cut: bool = False, complete: bool = True
    ) -> None:
        """Settle a call that waited for its usage. Called once, by who kept it; never raises."""
        self._pending.clear()
        try:
            self.recorder.settle(self, answer, error, cut, complete, None)
        except Exception as fault:
            self._give_up(fault)

    def _waits(
        self, unfinished: Callable[[Body, Any], str | None], response: Any, error: BaseException | None, cut: bool
    ) -> bool:
        """Let the call wait when its answer says that the usage comes later; return whether it does."""
        if response is None or self.recorder.closed:
            return False
        try:
            job, finishes = unfinished(self.body, response), self.operation.finishes
            finished = finishes(self.body, response) if finishes is not None else None
        except Exception as fault:
            internal_errors.report("reading the response", fault)
            return False
        if job is None:
            return False
        deferred = self.recorder.deferred
        deferred.defer(self, job, answer=response, error=error, cut=cut)
        if finished is not None:
            deferred.finish(self.endpoint, finished, response)
        return True

    def _give_up(self, fault: Exception) -> None:
        internal_errors.report("settling the call", fault)
        if self.reservation is not None:
            self.reservation.settle(None, None)
        with suppress(Exception):
            self.span.end()

    @property
    def settled(self) -> bool:
        """Return whether the call has ended."""
        return not self._pending


def running_call(library: str | None = None) -> Call | None:
    """Return the call whose client method is running here, if it is one of this library."""
    call = get_current().get(CALL_KEY)
    mine = isinstance(call, Call) and not call.settled and library in (None, call.library)
    return call if mine else None  # type: ignore[return-value]


def retry_cause(response: Any, error: BaseException | None) -> str:
    """One word for why a request was sent again: the HTTP status, `timeout` or `connection`."""
    status = answered_status(response)
    if status is None and error is not None:
        status = status_of(error)
    if status is not None:
        return str(status)
    return "timeout" if error is not None and "Timeout" in type(error).__name__ else "connection"
