"""What is to be told, until every channel has taken it.

A store remembers each message. Whichever process comes first delivers it, one process at a time, for as long as its
claim lasts; when it dies, or sending fails, the claim expires and another attempt follows. Each channel is given each
message once: one that is down holds up its own messages and no other channel's.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Protocol

from genledger.channels.apprise_urls import AppriseUrl
from genledger.channels.message import ChannelUnusable, Notice
from genledger.channels.webhook import Webhook
from genledger.shared.loggers import logger_of

_log = logger_of("genledger.alerts")

CLAIM_SECONDS = 60.0
"""Time to deliver a message. After that, another process or attempt may deliver it."""

SENT_SECONDS = 30 * 86400.0
"""How long it is remembered which channel has taken a message that another has not."""

_LOOK_SECONDS = 0.001
"""A mark that is set to see whether it was there."""

_CLAIM = "delivering alerts"
_said: set[str] = set()


@dataclass(frozen=True, slots=True)
class Targets:
    """Where messages go: notification URLs, and webhooks with the variable that has their secret."""

    urls: tuple[str, ...] = ()
    webhooks: tuple[tuple[str, str | None], ...] = ()

    def __bool__(self) -> bool:
        return bool(self.urls or self.webhooks)


class Channel(Protocol):
    """One receiver. `key` names it in the store, `kind` for people."""

    key: str
    kind: str

    def open(self) -> bool:
        """Load what is needed; may take seconds. Return whether anybody could use it.

        Raises:
            ChannelUnusable: It cannot be used in this process.
        """
        ...

    def send(self, notice: Notice) -> bool:
        """Send a message. Return whether it was taken. May raise."""
        ...


class MessageStore(Protocol):
    """What is needed of a budget store; see `genledger.budgets.stores.base.Store`."""

    def now(self) -> float: ...
    def mark(self, key: str, seconds: float, *, again: bool = False) -> bool: ...
    def owed(self) -> dict[str, str]: ...
    def forget_owed(self, key: str) -> None: ...


class Outbox:
    """Delivers what a store remembers.

    Args:
        store: The store.
        targets: The channels.
        tell: Called with each message before it is sent, once in this process; returns whether it is for that function.
    """

    def __init__(self, store: MessageStore, targets: Targets, tell: Callable[[Notice], bool] | None = None) -> None:
        self.targets = targets
        self._store = store
        self._tell = tell
        self._told: set[str] = set()

    def deliver(self) -> bool:
        """Deliver what the store remembers. Return whether nothing is left that this process could deliver.

        Raises:
            StoreDown: The store did not answer.
        """
        if not self._owed():
            return True
        # What takes seconds comes before the claim, so that a process which ends meanwhile holds up nobody.
        channels, unusable = opened(self.targets)
        if not channels and self._tell is None:
            return True
        if not self._store.mark(_CLAIM, CLAIM_SECONDS):
            return False
        done = True
        down: set[str] = set()
        try:
            # Read again: another process may have delivered until it gave up its claim.
            for key, notice in self._owed().items():
                told = self._tell_once(key, notice)
                if not self._send(key, notice, channels, down, alone=len(channels) == 1 and not unusable):
                    done = False
                elif not unusable and (told or channels):
                    self._store.forget_owed(key)
                self._store.mark(_CLAIM, CLAIM_SECONDS, again=True)
        finally:
            self._store.mark(_CLAIM, 0.0, again=True)
        return done

    def _owed(self) -> dict[str, Notice]:
        """Return what is to be delivered, oldest first, and forget what is too old to matter."""
        owed: dict[str, Notice] = {}
        bodies = self._store.owed()
        now = self._store.now() if bodies else 0.0
        for key, body in bodies.items():
            try:
                notice = Notice.load(body)
            except ValueError:  # of another version
                continue
            if notice.until is not None and now > notice.until:
                self._store.forget_owed(key)
            else:
                owed[key] = notice
        return dict(sorted(owed.items(), key=lambda item: item[1].at))

    def _tell_once(self, key: str, notice: Notice) -> bool:
        if self._tell is None:
            return False
        if key not in self._told and self._tell(notice):
            self._told.add(key)
        return key in self._told

    def _send(self, key: str, notice: Notice, channels: Sequence[Channel], down: set[str], *, alone: bool) -> bool:
        """Send a message to each channel that has not taken it. Return whether now all have.

        Which channel has taken it is remembered, unless there is no other (`alone`).
        """
        done = True
        for channel in channels:
            mark = f"sent|{channel.key}|{key}"
            if channel.key in down:
                done = False
            elif alone or self._store.mark(mark, _LOOK_SECONDS):
                taken = self._send_to(channel, notice, down)
                if taken and not alone:
                    self._store.mark(mark, SENT_SECONDS, again=True)
                done = done and taken
        return done

    def _send_to(self, channel: Channel, notice: Notice, down: set[str]) -> bool:
        try:
            taken = channel.send(notice)
        except Exception as error:
            _log.warning("Sending an alert to %s failed; it is retried: %s", channel.kind, type(error).__name__)
            taken = False
        if not taken:
            down.add(channel.key)
        return taken


def opened(targets: Targets) -> tuple[list[Channel], bool]:
    """Return the channels of `targets` that can be used here, and whether another process may be able to use more."""
    channels: list[Channel] = [
        *(AppriseUrl(url) for url in targets.urls),
        *(Webhook(url, secret_env) for url, secret_env in targets.webhooks),
    ]
    usable = []
    elsewhere = False
    for channel in channels:
        try:
            if channel.open():
                usable.append(channel)
        except ChannelUnusable as error:
            elsewhere = True
            if str(error) not in _said:
                _said.add(str(error))
                _log.error("%s", error)
    return usable, elsewhere
