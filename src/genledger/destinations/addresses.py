"""Checks of the addresses that receivers are configured with."""

from __future__ import annotations

from urllib.parse import urlsplit

from genledger.credentials import without_credentials

from .errors import ConfigurationError


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
            f"{what}: {without_credentials(url)!r} is not an address; it must be like https://host:port"
        )
    if parts.username is not None:
        raise ConfigurationError(f"{what}: the address of host {host!r} has credentials in it; use headers or keys")
