"""Addresses without what must not be shown: of stores, endpoints and whatever else an option names."""

from __future__ import annotations

import re
from urllib.parse import unquote_plus

_ADDRESS = re.compile(r"(?<![A-Za-z0-9+.-])[A-Za-z][A-Za-z0-9+.-]*://[^\s\"'<>]+")
_HOST = r"[\w.-]*(?:\[[0-9A-Fa-f:.%]*\])?(?::\d*)?"
_HOSTS = re.compile(rf"{_HOST}(?:,{_HOST})*(?=[/?#]|$)")
_PARAMETER = re.compile(r"[?#;&]([^=?#;&]*)=")
_SECRET = re.compile("pass|pwd|secret|token|key|auth|sig|cred", re.IGNORECASE)


def without_credentials(address: str) -> str:
    """Return an address without user and password, and with `***` for parameters that may be secret.

    A parameter may be secret when its name contains `password`, `token`, `key`, `secret`, `auth`, `sig` or the like.
    """
    scheme, separator, rest = address.partition("://")
    return _without_secrets(scheme + separator + _without_user(rest)) if separator else _without_secrets(address)


def redacted(text: str) -> str:
    """Return a text in which every address is without its credentials."""
    return _ADDRESS.sub(lambda found: without_credentials(found[0]), text) if "://" in text else text


def _without_user(rest: str) -> str:
    # A password may hold any character, though it should not: what stands before an `@` is shown only where the
    # address begins with a host.
    return rest if _HOSTS.match(rest) else rest.rpartition("@")[2]


def _without_secrets(address: str) -> str:
    kept: list[str] = []
    position = 0
    for found in _PARAMETER.finditer(address):
        if found.start() >= position and _SECRET.search(unquote_plus(found[1])):
            kept += (address[position : found.end()], "***")
            end = address.find("&", found.end())
            position = len(address) if end < 0 else end
    return "".join((*kept, address[position:]))
