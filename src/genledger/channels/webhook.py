"""Webhooks: the payload as JSON, signed with a shared secret."""

from __future__ import annotations

import hashlib
import hmac
import os
import time

from genledger.channels.message import ChannelUnusable, Notice
from genledger.shared.addresses import without_credentials
from genledger.shared.loggers import logger_of
from genledger.shared.text import as_json

_log = logger_of("genledger.alerts")

SIGNATURE = "Genledger-Signature"
"""Header: `t=<seconds since the epoch>,v1=<HMAC-SHA256 of "<t>.<body>" in hexadecimal>`."""

TIMEOUT_SECONDS = 10.0
"""Seconds to wait for a connection, and for an answer."""


def sign(secret: str, body: bytes, at: int) -> str:
    """Return the value of the signature header for a body that is sent at `at`, in seconds since the epoch."""
    digest = hmac.new(secret.encode(), f"{at}.".encode() + body, hashlib.sha256).hexdigest()
    return f"t={at},v1={digest}"


class Webhook:
    """One address that takes alerts.

    Args:
        url: The address, `http://` or `https://`.
        secret_env: The environment variable with the secret that requests are signed with; `None`: not signed.
    """

    def __init__(self, url: str, secret_env: str | None) -> None:
        self.key = hashlib.sha256(f"webhook {url}".encode(errors="surrogatepass")).hexdigest()[:16]
        self.kind = f"webhook {without_credentials(url)}"
        self._url = url
        self._secret_env = secret_env

    def open(self) -> bool:
        """Check that the secret is there: what should be signed is not sent without a signature.

        Raises:
            ChannelUnusable: It is not.
        """
        if self._secret_env is not None and not os.environ.get(self._secret_env):
            raise ChannelUnusable(
                f"The alert {self.kind} needs its secret in the environment variable {self._secret_env}."
            )
        return True

    def send(self, notice: Notice) -> bool:
        """Send a message. Return whether the receiver has taken it (status 2xx)."""
        import requests

        body = as_json(notice.payload).encode()
        headers = {"Content-Type": "application/json", "User-Agent": "genledger"}
        if self._secret_env is not None:
            headers[SIGNATURE] = sign(os.environ[self._secret_env], body, int(time.time()))
        answer = requests.post(self._url, body, headers=headers, timeout=TIMEOUT_SECONDS, allow_redirects=False)
        if not answer.ok or answer.is_redirect:
            _log.warning("The alert %s answered %d; it is tried again.", self.kind, answer.status_code)
            return False
        return True
