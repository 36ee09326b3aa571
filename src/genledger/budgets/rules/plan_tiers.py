"""Which plan tier a tenant has."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Mapping

from genledger.shared.loggers import logger_of

_log = logger_of("genledger.budgets")

TierFunction = Callable[[str], str | None]
"""The application's own answer: tenant -> tier."""

REFRESH_SECONDS = 60.0
"""Age at which the function's answer is asked for again, in the background."""

MAX_TENANTS = 10_000
"""Tenants whose tier is remembered."""


class Tiers:
    """Looks in the function, then the store, then the file, then takes the default.

    The function is called once for a tenant by its first call, later only by `refresh`.
    """

    def __init__(self, function: TierFunction | None = None) -> None:
        self._function = function
        self._lock = threading.Lock()
        self._answers: dict[str, tuple[str | None, float]] = {}
        self._failing = False
        self._stored: Mapping[str, str] = {}
        self._listed: Mapping[str, str] = {}
        self._default: str | None = None

    def update(self, stored: Mapping[str, str], listed: Mapping[str, str], default: str | None) -> None:
        """Take the tiers of the store and of the file, and the default."""
        self._stored, self._listed, self._default = stored, listed, default

    def of(self, tenant: str | None) -> str | None:
        """Return the tier of a tenant; `None` when nobody knows."""
        if tenant is None:
            return self._default
        answer = None
        if self._function is not None:
            known = self._answers.get(tenant)
            answer = known[0] if known is not None else self._ask(tenant, None)
        return answer or self._stored.get(tenant) or self._listed.get(tenant) or self._default

    def _ask(self, tenant: str, before: str | None) -> str | None:
        assert self._function is not None
        try:
            tier = self._function(tenant)
            self._failing = False
        except Exception as error:
            tier = before
            if not self._failing:
                self._failing = True
                # Its message may hold the address, and so the password, of what it asked.
                kind = type(error).__name__
                _log.warning("The tier function failed for tenant %r; the last known tiers stay: %s", tenant, kind)
        with self._lock:
            self._answers[tenant] = (tier, time.monotonic())
            if len(self._answers) > MAX_TENANTS:
                del self._answers[next(iter(self._answers))]
        return tier

    def due(self) -> bool:
        """Return whether an answer is old enough to be requested again."""
        return bool(self._old())

    def refresh(self) -> bool:
        """Ask the function again for answers that are old; true when one changed."""
        changed = False
        for tenant, tier in self._old():
            changed = self._ask(tenant, tier) != tier or changed
        return changed

    def _old(self) -> list[tuple[str, str | None]]:
        before = time.monotonic() - REFRESH_SECONDS
        with self._lock:
            return [(tenant, tier) for tenant, (tier, at) in self._answers.items() if at < before]
