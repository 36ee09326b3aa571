"""Checks of the addresses that receivers are configured with, and of what is there."""

from __future__ import annotations

import socket
from urllib.parse import urlsplit

from requests.utils import get_environ_proxies

from genledger.destinations.delivery.attempt import Attempt
from genledger.destinations.delivery.errors import ConfigurationError
from genledger.shared.addresses import without_credentials

_QUICK_TRY_S = 1.0


def check_http_url(url: str, what: str) -> None:
    """Check the address of an HTTP receiver.

    Raises:
        ConfigurationError: It has no `http` or `https` scheme, no host, or credentials in it.
    """
    try:
        parts = urlsplit(url)
        host, port = parts.hostname, parts.port
    except ValueError:
        host = port = None
        parts = urlsplit("")
    if parts.scheme not in ("http", "https") or not host or port == 0:
        raise ConfigurationError(
            f"{what}: {without_credentials(url)!r} is not a valid address; expected https://host:port"
        )
    if parts.username is not None:
        raise ConfigurationError(
            f"{what}: the address of host {host!r} contains credentials; use headers or keys instead"
        )


def nobody_listens(url: str, timeout_s: float) -> bool:
    """Return whether one quick attempt shows that an address refuses connections or does not exist.

    What lies behind a proxy, or has not answered after `timeout_s` seconds (one at most), is somebody.
    """
    parts = urlsplit(url if "://" in url else f"//{url}")
    host = parts.hostname or ""
    port = parts.port or (80 if parts.scheme == "http" else 443)
    if get_environ_proxies(f"{parts.scheme or 'https'}://{parts.netloc}"):
        return False
    try:
        Attempt(lambda: socket.create_connection((host, port), _QUICK_TRY_S).close()).result(
            min(timeout_s, _QUICK_TRY_S)
        )
    except TimeoutError:
        return False
    except OSError:
        return True
    return False
