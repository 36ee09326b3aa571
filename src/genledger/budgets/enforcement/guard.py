"""Budget guard in the path of every call."""

from __future__ import annotations

import asyncio
import contextlib
import math
import os
import threading
import time
import weakref
from collections.abc import Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TYPE_CHECKING, TypeVar

from genledger.budgets.budget_alerts import Alerts, Listener
from genledger.budgets.budget_metrics import Figures
from genledger.budgets.enforcement import kill_switch
from genledger.budgets.enforcement.admission import Admission
from genledger.budgets.enforcement.exceeded import BudgetExceeded
from genledger.budgets.enforcement.kill_switch import Controls, Kill
from genledger.budgets.enforcement.matcher import Matcher
from genledger.budgets.enforcement.request import BudgetRequest
from genledger.budgets.enforcement.reservation import UNGUARDED, Reservation
from genledger.budgets.leases.lease_client import LEASE_TTL, LeaseClient, StaleWindow
from genledger.budgets.leases.local_lease import CounterKey, LocalLease
from genledger.budgets.rules.model_routing import ModelChoice, choose
from genledger.budgets.rules.plan_tiers import TierFunction, Tiers
from genledger.budgets.rules.rule_file import Rulebook, RuleFileError, WatchedRules
from genledger.budgets.stores import Store, StoreDown, open_store
from genledger.shared.after_fork import run_after_fork
from genledger.shared.at_exit import run_at_exit
from genledger.shared.loggers import logger_of
from genledger.shared.worker import Worker

if TYPE_CHECKING:
    from genledger.budgets.rules.rule import Rule

_log = logger_of("genledger.budgets")

T = TypeVar("T")

TICK_SECONDS = 0.25
"""How often what was settled is reported."""

READ_SECONDS = 0.5
"""How often kill switches, and changes of the rule file, are looked for."""

POOL_THREADS = 4
"""Threads that wait for the store on behalf of event loops."""

LEAVE_ATTEMPTS = 3
"""How often the last report is tried; a process that cannot leave is forgotten when its leases run out."""


class Guard:
    """Admit calls within their budgets. Use one guard per process; all methods are thread-safe.

    Args:
        rules: Rules made by `budget()`, a whole `Rulebook`, or the path of a rule file, which is reloaded
            when it changes; or a `WatchedRules`, which has already read the file and reported its mistakes.
        store: Budget store (default: the one in the rule file, else this machine's SQLite file).
        tier_of: Returns a tenant's plan tier; called once, then every minute in the background. May raise.
        on_event: Called with every `BudgetEvent` that this process reports.
        lease_ttl: Seconds after which the leases of a crashed process expire.

    Raises:
        RuleFileError: The rule file cannot be used; the message names every mistake with its line.
        RuleError: Two rules have the same name.
    """

    def __init__(
        self,
        rules: Sequence[Rule] | Rulebook | WatchedRules | str | os.PathLike[str] = (),
        store: Store | str | os.PathLike[str] | None = None,
        *,
        tier_of: TierFunction | None = None,
        on_event: Listener | None = None,
        lease_ttl: float = LEASE_TTL,
    ) -> None:
        if isinstance(rules, (str, os.PathLike)):
            rules = WatchedRules(rules)
            rules.read()
        self._file = rules if isinstance(rules, WatchedRules) else None
        if isinstance(rules, WatchedRules):
            self._rulebook = rules.book
        else:
            self._rulebook = rules if isinstance(rules, Rulebook) else Rulebook(tuple(rules))
        # A file that comes to name another store cannot move the counters there.
        self._may_name = {None, self._rulebook.store} if store is None else None
        named = store if store is not None else self._rulebook.store
        self._named = named is not None
        self._opened = named is None or isinstance(named, (str, os.PathLike))
        store = open_store(named) if named is None or isinstance(named, (str, os.PathLike)) else named
        self._controls = Controls()
        self._document = ""
        self._informed = False
        self._tiers = Tiers(tier_of)
        self._figures = Figures()
        self._alerts = Alerts(store, self._rulebook.alerts, on_event)
        self._lease_client = LeaseClient(store, self._heard, self._overran, ttl=lease_ttl)
        self._lock = threading.Lock()
        self._informing = threading.Lock()
        self._pool: ThreadPoolExecutor | None = None
        self._worker: Worker | None = None
        self._refreshing: Future[None] | None = None
        self._next_read = 0.0
        self._rebuild()
        run_after_fork(self._after_fork)
        _guards.add(self)

    # Reservation ---------------------------------------------------------------------------------------

    @property
    def active(self) -> bool:
        """Return whether any call could be refused. If false, callers need not create a `BudgetRequest`."""
        return not self._informed or bool(self._matcher.rules or self._matcher.kills)

    def admit(self, request: BudgetRequest) -> Reservation:
        """Reserve the most that a call can need. May wait for the store, and for a rule that queues.

        Raises:
            BudgetExceeded: A rule refuses the call.
        """
        reservation = self._quick(request)
        if reservation is not None:
            return reservation
        attempt = Admission(request, self._lease_client, self)
        while True:
            step = self._step(attempt)
            if isinstance(step, Reservation):
                return step
            time.sleep(step)

    async def admit_async(self, request: BudgetRequest) -> Reservation:
        """As `admit`, without blocking the event loop. Cancelling it releases the reservation.

        Raises:
            BudgetExceeded: A rule refuses the call.
        """
        reservation = self._quick(request)
        if reservation is not None:
            return reservation
        attempt = Admission(request, self._lease_client, self)
        while True:
            future = self._submit(lambda: self._step(attempt))
            try:
                step = await asyncio.wrap_future(future)
            except asyncio.CancelledError:
                future.add_done_callback(_give_back)
                raise
            if isinstance(step, Reservation):
                return step
            await asyncio.sleep(step)

    def _quick(self, request: BudgetRequest) -> Reservation | None:
        matcher = self._matcher
        plan = matcher.plans.get(matcher.key(request))
        lease_client = self._lease_client
        if plan is None or lease_client.down:
            return None
        now = time.monotonic() + lease_client.offset
        if now >= plan.until or not (plan.plain or plan.allows(request)):
            return None
        if not plan.lines:
            return UNGUARDED
        holds = plan.holds(request)
        books = lease_client.books
        with books.lock:
            if not books.take(holds, now):
                return None
        return Reservation(books, holds)

    def _step(self, attempt: Admission) -> Reservation | float:
        if not self._informed:
            self._inform()
        self._start()
        return attempt.step(self._matcher)

    # Observer -----------------------------------------------------------------------------------------

    def blocked(self, error: BudgetExceeded, account: LocalLease | None) -> None:
        """Count a refused call. A rule that refuses for lack of budget has reached its 100 %."""
        self._figures.blocked(error.rule, error.scope)
        if account is not None:
            self._alerts.offer(account.counted, 100, account.standing.settled, self._lease_client.now())

    def warned(self, counted: CounterKey, reason: str) -> None:
        """Log once per window that a rule that only warns has no room."""
        if self._figures.first_warning(counted.key):
            _log.warning("%s", reason)

    # What is set for everybody ------------------------------------------------------------------------

    def kill(self, *, for_: float | None = None, why: str, who: str | None = None, **scope: str) -> None:
        """Block matching calls in every process that shares the store, within two seconds.

        Args:
            for_: Seconds until the block ends by itself; `None` for never.
            why: Reason, shown to callers and in the audit log.
            who: Name for the audit log (default: the current user).
            scope: `tenant`, `feature`, `user`, `session`, `model`, `api_key`, `run`: a value, a glob or `each`.

        Raises:
            RuleError: An argument is invalid.
            StoreDown: The store did not answer.
        """
        kill_switch.kill(self.store, scope, for_=for_, why=why, who=who)
        self._read_document()

    def revive(self, *, why: str = "", who: str | None = None, **scope: str) -> None:
        """Remove the kill switch with exactly this scope.

        Raises:
            RuleError: There is no such kill switch.
            StoreDown: The store did not answer.
        """
        kill_switch.revive(self.store, scope, why=why, who=who)
        self._read_document()

    def select_model(
        self, feature: str | None = None, tenant: str | None = None, *, default: str | None = None
    ) -> ModelChoice:
        """Return the model of the first matching `[[route]]`, else `default`.

        Raises:
            ValueError: No route matches and there is no default.
        """
        values = {"feature": feature, "tenant": tenant}
        return choose(self._rulebook.routes, values, self._tiers.of(tenant), default)

    # Looking in ---------------------------------------------------------------------------------------

    @property
    def store(self) -> Store:
        """Return the budget store."""
        return self._lease_client.store

    @property
    def rules(self) -> tuple[Rule, ...]:
        """Return the rules in force: those of the file or the code, and those set in the store."""
        return self._matcher.rules

    def states(self) -> list[tuple[dict[str, str], float, float]]:
        """Of each counter that this process uses: its attributes, the settled share, and what is reserved."""
        return self._figures.states(self._lease_client.now())

    def blocks(self) -> list[tuple[dict[str, str], int]]:
        """Return the calls that this process refused, by counter."""
        return self._figures.blocks()

    @property
    def failures(self) -> int:
        """Return the number of requests that the store did not answer."""
        return self._lease_client.failures

    def flush(self, timeout: float = 2.0) -> bool:
        """Report all settled amounts. Return false if that takes longer than `timeout` seconds."""
        try:
            self._submit(self._report).result(timeout)
        except (StoreDown, StaleWindow, TimeoutError):
            return False
        return True

    def close(self, timeout: float = 2.0) -> None:
        """Report, return every slice, and stop the background threads, within `timeout` seconds."""
        if self._worker is not None:
            self._worker.stop(self._leave)
            self._worker.join(timeout)
            self._worker = None
        self._alerts.close(timeout)
        if self._pool is not None:
            self._pool.shutdown(wait=False)
            self._pool = None
        if self._opened:
            self.store.close()

    def finish_alerts(self) -> None:
        """Wait, at the end of the process, for the delivery of what an earlier process has left."""
        self._alerts.finish()

    # In the background --------------------------------------------------------------------------------

    def _start(self) -> None:
        worker = self._worker
        if worker is None:
            with self._lock:
                worker = self._worker
                if worker is None:
                    run_at_exit(_close_all, stage="release")
                    worker = self._worker = Worker("genledger-budgets", self._tick, delay_s=TICK_SECONDS)
                    self._alerts.start()
        if not worker.has_thread:
            if worker.start():
                worker.rouse()
            else:
                worker.hurry()

    def _submit(self, work: Callable[[], T]) -> Future[T]:
        """Let another thread work, or this one: where the process ends, there is no other to be had."""
        with self._lock:
            if self._pool is None:
                self._pool = ThreadPoolExecutor(POOL_THREADS, "genledger-reservation")
            pool = self._pool
        try:
            return pool.submit(work)
        except RuntimeError:
            future: Future[T] = Future()
            try:
                future.set_result(work())
            except Exception as error:
                future.set_exception(error)
            return future

    def _tick(self) -> float:
        moment = time.monotonic()
        if moment >= self._next_read:
            self._next_read = moment + READ_SECONDS
            if self._lease_client.down:
                self._lease_client.probe()
            if not self._lease_client.down:
                self._try_document()
            self._read_file()
            if self._tiers.due() and (self._refreshing is None or self._refreshing.done()):
                self._refreshing = self._submit(self._refresh_tiers)
        if not self._lease_client.down:
            with contextlib.suppress(StoreDown):
                self._lease_client.sync()
        return TICK_SECONDS

    def _refresh_tiers(self) -> None:
        if self._tiers.refresh():
            self._rebuild()

    def _report(self) -> None:
        if self._lease_client.down:
            self._lease_client.probe()
        self._lease_client.sync()

    def _leave(self) -> None:
        for _ in range(1 if self._lease_client.down else LEAVE_ATTEMPTS):
            with contextlib.suppress(StoreDown):
                self._lease_client.sync(leave=True)
                return

    def _inform(self) -> None:
        """Read what is set in the store, and what has changed in the file, before the first call is let through."""
        with self._informing:
            if not self._informed:
                self._try_document()
                self._read_file()
                self._informed = True

    def _try_document(self) -> None:
        try:
            self._read_document()
        except StoreDown as error:
            # Who set no budgets and named no store is not bothered about a store that cannot be opened.
            if self._named or self._matcher.rules:
                self._lease_client.failed(error)
            else:
                _log.debug("Cannot read the budget store; its kill switches have no effect: %s", error)

    def _read_document(self) -> None:
        document = self.store.document()
        ends = min(self._controls.until.values(), default=math.inf)
        if document == self._document and self._lease_client.now() < ends:
            return
        self._document = document
        try:
            controls = Controls.read(document)
            controls.rules()
        except (ValueError, KeyError, TypeError) as error:
            _log.warning(
                "Cannot read kill switches and budgets from the budget store; the last known state stays in force: %s",
                error,
            )
            return
        controls.forget_ended(self._lease_client.now())
        self._controls = controls
        self._rebuild()

    def _read_file(self) -> None:
        if self._file is None:
            return
        try:
            if not self._file.read():
                return
        except RuleFileError as error:
            mistakes = "; ".join(error.lines)
            _log.warning("The budget rule file is invalid; %s: %s", self._file.holds_instead, mistakes)
            return
        self._rulebook = self._file.book
        if self._may_name is not None and self._rulebook.store not in self._may_name:
            _log.warning("The rule file names a different budget store; restart the process to use it.")
        self._alerts.targets = self._rulebook.alerts
        self._alerts.start()
        self._rebuild()

    def _rebuild(self) -> None:
        rules = {rule.name: rule for rule in self._rulebook.rules}
        rules.update((rule.name, rule) for rule in self._controls.rules())
        self._tiers.update(self._controls.tiers, self._rulebook.tenants, self._rulebook.default_tier)
        kills = self._controls.kills
        if self._file is not None and self._file.refusal is not None:
            kills = [*kills, Kill.without_rules(self._file.refusal)]
        self._matcher = Matcher(tuple(rules.values()), kills, self._tiers.of)

    def _heard(self, account: LocalLease) -> None:
        """Called with the lock of the books held, whenever the store has said how a counter stands."""
        counted, settled = account.counted, account.standing.settled
        self._figures.heard(account)
        for percent in counted.rule.alert_at:
            if settled * 100 >= percent * counted.limit:
                self._alerts.offer(counted, percent, settled, self._lease_client.now())

    def _overran(self) -> None:
        """Called in the middle of anything, a garbage collection included: only a thread may take the locks."""
        if self._worker is not None and self._worker.has_thread:
            self._worker.hurry()

    def _after_fork(self) -> None:
        self._lock = threading.Lock()
        self._informing = threading.Lock()
        self._pool = None
        self._worker = None
        self._refreshing = None
        self._lease_client.after_fork()
        self._alerts.after_fork()
        self._rebuild()


def _give_back(future: Future[Reservation | float]) -> None:
    if not future.cancelled() and future.exception() is None:
        result = future.result()
        if isinstance(result, Reservation):
            result.release()


_guards: weakref.WeakSet[Guard] = weakref.WeakSet()


def _close_all() -> None:
    for guard in list(_guards):
        guard.close()
        guard.finish_alerts()
