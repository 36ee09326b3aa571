"""Budget alerts: one for each scope, window and threshold."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime
from importlib import import_module
from queue import SimpleQueue

from genledger.budgets.leases.local_lease import CounterKey
from genledger.budgets.rules.units import Measure, from_units, show
from genledger.budgets.rules.windows import LIFE_KEPT
from genledger.budgets.stores.base import Store, StoreDown
from genledger.shared.loggers import logger_of
from genledger.shared.text import message, shown

_log = logger_of("genledger.budgets")

CLAIM_SECONDS = 60.0
"""Time to deliver an event. After that, another process or attempt may deliver it."""

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
    """Deliver events from a separate thread.

    Processes coordinate through marks in the store. The process that sets a mark first delivers the event, and
    then extends the mark. If that process dies, or sending fails, the mark expires and another attempt follows.
    """

    def __init__(self, store: Store, urls: Sequence[str], listener: Listener | None) -> None:
        self.urls = tuple(urls)
        self._store = store
        self._listener = listener
        self._begin()

    def _begin(self) -> None:
        self._queue: SimpleQueue[tuple[str, float, BudgetEvent] | None] = SimpleQueue()
        self._again_at: dict[str, float] = {}
        self._thread: threading.Thread | None = None

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
        if percent not in counted.rule.alert_at or not (self.urls or self._listener):
            return
        key = f"{counted.key}|{percent}"
        moment = time.monotonic()
        if self._again_at.get(key, 0.0) > moment:
            return
        if len(self._again_at) >= MAX_KNOWN:
            self._again_at.clear()
        self._again_at[key] = moment + CLAIM_SECONDS
        window = counted.rule.window
        lasts = counted.end - now + window.kept if counted.end else window.span or LIFE_KEPT
        self._queue.put((key, lasts, _event(counted, percent, settled)))

    def start(self) -> None:
        """Start delivering, if there is a URL or listener."""
        if self._thread is None and (self.urls or self._listener):
            thread = threading.Thread(target=self._run, name="genledger-alerts", daemon=True)
            with suppress(RuntimeError):  # the process ends; another one reports the threshold
                thread.start()
                self._thread = thread

    def close(self, timeout: float) -> None:
        """Deliver what is waiting, for at most `timeout` seconds."""
        if self._thread is not None:
            self._queue.put(None)
            self._thread.join(timeout)
            self._thread = None

    def _run(self) -> None:
        while (item := self._queue.get()) is not None:
            key, lasts, event = item
            try:
                if self._store.mark(key, CLAIM_SECONDS) and self._deliver(event):
                    self._store.mark(key, lasts, again=True)
                    self._again_at[key] = time.monotonic() + lasts
            except StoreDown:
                # Nobody knows whether it was delivered; the next exchange that succeeds offers it again.
                self._again_at.pop(key, None)

    def _deliver(self, event: BudgetEvent) -> bool:
        if self._listener is not None:
            try:
                self._listener(event)
            except Exception:
                _log.exception("The function on_budget_event failed.")
        return not self.urls or _notify(self.urls, event)


def _notify(urls: Sequence[str], event: BudgetEvent) -> bool:
    try:
        apprise = import_module("apprise")
    except ModuleNotFoundError:
        _log.error("Budget alerts need Apprise, which is not installed: pip install 'genledger[alerts]'")
        return False
    messenger = apprise.Apprise()
    for url in urls:
        if not messenger.add(url):
            _log.error(
                "Apprise does not support the alert URL that begins with %r; correct it in [alerts].", url.split(":")[0]
            )
    title = f"Budget {event.rule}: {event.percent} %"
    try:
        # As plain text: services that show HTML are given it escaped.
        return bool(
            messenger.notify(
                title=title,
                body=event.text,
                body_format=apprise.NotifyFormat.TEXT,
                notify_type=apprise.NotifyType.WARNING,
            )
        )
    except Exception:
        _log.exception("Sending a budget alert failed; it is retried after a minute.")
        return False


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
