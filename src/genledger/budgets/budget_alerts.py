"""Budget alerts: one for each scope, window and threshold."""

from __future__ import annotations

import hashlib
import time
from collections import deque
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from datetime import datetime
from typing import Any

from genledger.budgets.leases.local_lease import CounterKey
from genledger.budgets.rules.units import Measure, from_units, show
from genledger.budgets.rules.windows import LIFE_KEPT
from genledger.budgets.stores.base import Store, StoreDown
from genledger.channels import outbox
from genledger.channels.message import SCHEMA, Notice
from genledger.channels.outbox import Outbox, Targets
from genledger.shared.loggers import logger_of
from genledger.shared.text import message, shown
from genledger.shared.worker import Worker

_log = logger_of("genledger.budgets")

STALE_SECONDS = 86400.0
"""How long after the end of its window an event is still delivered."""

INHERITED_SECONDS = 15.0
"""How long a process that ends waits for the delivery of what an earlier one has left."""

MAX_KNOWN = 10_000
"""Maximum remembered events; the store is not asked again about them."""


@dataclass(frozen=True, slots=True)
class BudgetEvent:
    """A budget that reached `percent` of its limit; 100 also if a call was refused.

    `spent` and `limit` are USD or counts. `window_start` and `resets_at` are in the rule's time zone, and `None` if
    the window has no start or end. Texts are safe to display: control characters are escaped, lengths bounded.
    """

    rule: str
    scope: str
    measure: Measure
    percent: int
    spent: float
    limit: float
    window: str
    window_start: datetime | None
    resets_at: datetime | None
    text: str


Listener = Callable[[BudgetEvent], None]


class Alerts:
    """Deliver events from a separate thread: the process that notes one first, and else the next, or a command."""

    def __init__(self, store: Store, targets: Targets, listener: Listener | None) -> None:
        self._store = store
        self._listener = listener
        self._outbox = Outbox(store, targets, None if listener is None else self._tell)
        self._begin()

    def _begin(self) -> None:
        self._worker = self._ending = Worker("genledger-alerts", self._work, in_caller=False)
        self._offered: deque[tuple[str, float, BudgetEvent, float]] = deque()
        self._again_at: dict[str, float] = {}
        self._inherited: bool | None = None

    @property
    def targets(self) -> Targets:
        """Return the channels that events go to."""
        return self._outbox.targets

    @targets.setter
    def targets(self, targets: Targets) -> None:
        self._outbox.targets = targets

    def after_fork(self) -> None:
        """Begin anew in a child process."""
        self._begin()

    def offer(self, counted: CounterKey, percent: int, settled: int, now: float) -> None:
        """Report that a threshold is reached, unless already reported. Does not wait.

        Args:
            counted: The counter.
            percent: The threshold.
            settled: Spent amount, in units.
            now: The store's time.
        """
        if percent not in counted.rule.alert_at or not (self.targets or self._listener):
            return
        key = f"{counted.key}|{percent}"
        moment = time.monotonic()
        if self._again_at.get(key, 0.0) > moment:
            return
        if len(self._again_at) >= MAX_KNOWN:
            self._again_at.clear()
        window = counted.rule.window
        lasts = counted.end - now + window.kept if counted.end else window.span or LIFE_KEPT
        self._again_at[key] = moment + lasts
        self._offered.append((key, lasts, _event(counted, percent, settled), now))
        self._worker.hurry()

    def start(self) -> None:
        """Start delivering, if there is a channel or listener."""
        if not self._worker.has_thread and (self.targets or self._listener):
            self._worker.rouse()

    def close(self, timeout: float) -> None:
        """Deliver what is waiting, for at most `timeout` seconds, once; the store remembers the rest."""
        if self._worker.has_thread:
            self._ending, self._worker = self._worker, Worker("genledger-alerts", self._work, in_caller=False)
            self._ending.stop(self._leave)
            self._ending.join(timeout)
        else:
            while self._offered:
                self._note()

    def finish(self) -> None:
        """Wait longer, at the end of the process, for what an earlier process could not deliver either."""
        if self._inherited:
            self._ending.join(INHERITED_SECONDS)

    def deliver(self) -> bool:
        """Deliver what the store remembers. Return whether nothing is left that this process could deliver.

        Raises:
            StoreDown: The store did not answer.
        """
        return self._outbox.deliver()

    def _tell(self, notice: Notice) -> bool:
        """Tell the listener; whether the message is about a budget."""
        if self._listener is None or not notice.event:
            return False
        try:
            self._listener(_read(notice.event))
        except Exception:
            _log.exception("The function on_budget_event failed.")
        return True

    def _work(self) -> float | None:
        """Note what was offered, and deliver. Return the seconds until it is to be tried again, or `None`."""
        try:
            if self._inherited is None:
                self._inherited = bool(self._store.owed())
            # One after the other, in their order: the store remembers none.
            while True:
                self._note()
                done = self.deliver()
                if not self._offered:
                    break
        except StoreDown:
            done = False
        except Exception:
            _log.exception("Delivering budget alerts failed; it is retried after a minute.")
            done = False
        return None if done else outbox.CLAIM_SECONDS

    def _note(self) -> None:
        """Let the store remember the next event that was offered, if there is any."""
        if self._offered:
            key, lasts, event, now = self._offered.popleft()
            try:
                self._store.owe(key, lasts, notice_of(event, now).dump())
            except StoreDown:
                # Nobody knows whether it is noted; the next exchange that succeeds offers it again.
                self._again_at.pop(key, None)

    def _leave(self) -> None:
        self._work()


def notice_of(event: BudgetEvent, now: float) -> Notice:
    """Return the message about an event that happened at `now`, in seconds since the epoch."""
    what = f"{event.rule}|{event.scope}|{event.percent}|{event.window_start}"
    payload = {
        "schema": SCHEMA,
        "id": hashlib.sha256(what.encode(errors="surrogatepass")).hexdigest()[:16],
        "rule": event.rule,
        "kind": "budget",
        "state": "firing",
        "scope": event.scope,
        "window": {"start": event.window_start, "end": event.resets_at, "per": event.window},
        "value": event.spent,
        "limit": event.limit,
        "unit": "USD" if event.measure == "usd" else event.measure,
        "percent": event.percent,
        "text": event.text,
        "actions": [],
    }
    return Notice(
        title=f"Budget {event.rule}: {event.percent} %",
        text=event.text,
        payload=payload,
        at=now,
        until=None if event.resets_at is None else event.resets_at.timestamp() + STALE_SECONDS,
        event=asdict(event),
    )


def _read(fields: Mapping[str, Any]) -> BudgetEvent:
    moments = {
        name: None if fields[name] is None else datetime.fromisoformat(fields[name])
        for name in ("window_start", "resets_at")
    }
    return BudgetEvent(**{**fields, **moments})


def _event(counted: CounterKey, percent: int, settled: int) -> BudgetEvent:
    rule = counted.rule
    spent, limit = show(rule.measure, settled), show(rule.measure, counted.limit)
    text = f"{counted.scope} has used {spent} of {limit} per {rule.window} (budget {rule.name!r}, {percent} %)."
    return BudgetEvent(
        rule=shown(rule.name),
        scope=shown(counted.scope),
        measure=rule.measure,
        percent=percent,
        spent=from_units(rule.measure, settled),
        limit=from_units(rule.measure, counted.limit),
        window=str(rule.window),
        window_start=rule.window.local(counted.start) if counted.start else None,
        resets_at=rule.window.local(counted.end) if counted.end else None,
        text=message(text),
    )
