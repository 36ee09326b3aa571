"""Budget alerts: one for each scope, window and threshold."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime
from importlib import import_module
from typing import Any

import orjson

from genledger.budgets.leases.local_lease import CounterKey
from genledger.budgets.rules.units import Measure, from_units, show
from genledger.budgets.rules.windows import LIFE_KEPT
from genledger.budgets.stores.base import Store, StoreDown
from genledger.shared.loggers import logger_of
from genledger.shared.text import message, shown
from genledger.shared.worker import Worker

_log = logger_of("genledger.budgets")

CLAIM_SECONDS = 60.0
"""Time to deliver an event. After that, another process or attempt may deliver it."""

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

_CLAIM = "delivering alerts"
_said = False


class Alerts:
    """Deliver events from a separate thread.

    The store remembers each event until somebody has delivered it: whichever process notes it first, and else the
    next one, or a command. One process at a time delivers, for as long as its claim lasts; when it dies, or sending
    fails, the claim expires and another attempt follows.
    """

    def __init__(self, store: Store, urls: Sequence[str], listener: Listener | None) -> None:
        self.urls = tuple(urls)
        self._store = store
        self._listener = listener
        self._begin()

    def _begin(self) -> None:
        self._worker = self._ending = Worker("genledger-alerts", self._work, in_caller=False)
        self._offered: deque[tuple[str, float, BudgetEvent]] = deque()
        self._again_at: dict[str, float] = {}
        self._inherited: bool | None = None
        self._told: set[str] = set()

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
        window = counted.rule.window
        lasts = counted.end - now + window.kept if counted.end else window.span or LIFE_KEPT
        self._again_at[key] = moment + lasts
        self._offered.append((key, lasts, _event(counted, percent, settled)))
        self._worker.hurry()

    def start(self) -> None:
        """Start delivering, if there is a URL or listener."""
        if not self._worker.has_thread and (self.urls or self._listener):
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
        if not self._owed():
            return True
        # What takes seconds comes before the claim, so that a process which ends meanwhile holds up nobody.
        messenger = _messenger(self.urls) if self.urls else None
        if messenger is None and self._listener is None:
            return True
        if not self._store.mark(_CLAIM, CLAIM_SECONDS):
            return False
        done = True
        try:
            # Read again: another process may have delivered until it gave up its claim.
            for key, event in self._owed().items():
                self._tell(key, event)
                if messenger is None or _notify(messenger, event):
                    self._store.forget_owed(key)
                    self._store.mark(_CLAIM, CLAIM_SECONDS, again=True)
                else:
                    done = False
        finally:
            self._store.mark(_CLAIM, 0.0, again=True)
        return done

    def _owed(self) -> dict[str, BudgetEvent]:
        """Return what is to be delivered, and forget what is too old to matter."""
        owed = {key: _read(body) for key, body in self._store.owed().items()}
        now = self._store.now() if owed else 0.0
        for key, event in list(owed.items()):
            if event.resets_at is not None and now - event.resets_at.timestamp() > STALE_SECONDS:
                self._store.forget_owed(key)
                del owed[key]
        return owed

    def _tell(self, key: str, event: BudgetEvent) -> None:
        if self._listener is None or key in self._told:
            return
        self._told.add(key)
        try:
            self._listener(event)
        except Exception:
            _log.exception("The function on_budget_event failed.")

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
        return None if done else CLAIM_SECONDS

    def _note(self) -> None:
        """Let the store remember the next event that was offered, if there is any."""
        if self._offered:
            key, lasts, event = self._offered.popleft()
            try:
                self._store.owe(key, lasts, orjson.dumps(event).decode())
            except StoreDown:
                # Nobody knows whether it is noted; the next exchange that succeeds offers it again.
                self._again_at.pop(key, None)

    def _leave(self) -> None:
        self._work()


def _messenger(urls: Sequence[str]) -> Any:
    """Load Apprise, which takes seconds, and return its object for these URLs; `None` when it is not installed."""
    global _said
    try:
        apprise = import_module("apprise")
    except ModuleNotFoundError:
        if not _said:
            _said = True
            _log.error("Budget alerts need Apprise, which is not installed: pip install 'genledger[alerts]'")
        return None
    # In this thread: a process that ends starts no others. Each service has time limits of its own.
    try:
        asset = apprise.AppriseAsset(async_mode=False, service_timeout=0)
    except (AttributeError, TypeError):  # Apprise 1 has no time limit for all of them
        asset = apprise.AppriseAsset(async_mode=False)
    messenger = apprise.Apprise(asset=asset)
    for url in urls:
        if not messenger.add(url):
            _log.error(
                "Apprise does not support the alert URL that begins with %r; correct it in [alerts].", url.split(":")[0]
            )
    return messenger


def _notify(messenger: Any, event: BudgetEvent) -> bool:
    apprise = import_module("apprise")
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


def _read(body: str) -> BudgetEvent:
    fields = orjson.loads(body)
    for name in ("window_start", "resets_at"):
        if fields[name] is not None:
            fields[name] = datetime.fromisoformat(fields[name])
    return BudgetEvent(**fields)


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
