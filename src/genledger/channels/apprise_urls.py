"""Every service that Apprise knows: chats, mail, pagers and plain webhooks."""

from __future__ import annotations

import hashlib
from importlib import import_module
from typing import Any

from genledger.channels.message import ChannelUnusable, Notice
from genledger.shared.loggers import logger_of

_log = logger_of("genledger.alerts")


class AppriseUrl:
    """One notification URL."""

    def __init__(self, url: str) -> None:
        self.key = hashlib.sha256(url.encode(errors="surrogatepass")).hexdigest()[:16]
        self.kind = url.split(":")[0]
        self._url = url
        self._messenger: Any = None

    def open(self) -> bool:
        """Load Apprise, which takes seconds. Return whether the URL is one that it knows.

        Raises:
            ChannelUnusable: Apprise is not installed.
        """
        try:
            apprise = import_module("apprise")
        except ModuleNotFoundError:
            raise ChannelUnusable(
                "Alerts need Apprise, which is not installed: pip install 'genledger[alerts]'"
            ) from None
        # In this thread: a process that ends starts no others. Each service has time limits of its own.
        try:
            asset = apprise.AppriseAsset(async_mode=False, service_timeout=0)
        except (AttributeError, TypeError):  # Apprise 1 has no time limit for all of them
            asset = apprise.AppriseAsset(async_mode=False)
        self._messenger = apprise.Apprise(asset=asset)
        if not self._messenger.add(self._url):
            _log.error("Apprise does not support the alert URL that begins with %r; correct it in [alerts].", self.kind)
            return False
        return True

    def send(self, notice: Notice) -> bool:
        """Send a message. Return whether the service has taken it."""
        apprise = import_module("apprise")
        # As plain text: services that show HTML are given it escaped.
        return bool(
            self._messenger.notify(
                title=notice.title,
                body=notice.text,
                body_format=apprise.NotifyFormat.TEXT,
                notify_type=apprise.NotifyType.SUCCESS if notice.state == "resolved" else apprise.NotifyType.WARNING,
            )
        )
