"""Faults of our own: reported once in a while, never passed on to the application."""

from __future__ import annotations

import logging
import time
import traceback
from collections import Counter
from collections.abc import Callable
from contextlib import suppress

from genledger.shared.loggers import logger_of

logger = logger_of("genledger")

INTERVAL_S = 60.0
"""Seconds between two warnings about the same stage."""

_describe: Callable[[BaseException], str] | None = None
_last_warning: dict[str, float] = {}
_counts: Counter[str] = Counter()


def describe_with(describe: Callable[[BaseException], str]) -> None:
    """Set what makes text of an error: redaction, whose own faults are reported here, too."""
    global _describe
    _describe = describe


def report(stage: str, error: BaseException) -> None:
    """Count a fault in one stage of our own work, and warn about it at most once a minute.

    The call itself goes on untouched; only this stage's telemetry is missing or incomplete. What the error says may
    quote what was being read, so it is redacted; so is the traceback, of which the lines of code are logged at DEBUG.
    Never raises.
    """
    with suppress(Exception):
        _report(stage, error)


def _report(stage: str, error: BaseException) -> None:
    _counts[stage] += 1
    now = time.monotonic()
    last = _last_warning.get(stage)
    if last is None or now - last >= INTERVAL_S:
        _last_warning[stage] = now
        lines = traceback.format_tb(error.__traceback__) if logger.isEnabledFor(logging.DEBUG) else ()
        logger.warning(
            "genledger: telemetry is incomplete, the application is not affected: %s failed: %s: %s%s",
            stage,
            type(error).__name__,
            _describe(error) if _describe is not None else "",
            "".join(("\n", *lines)).rstrip("\n"),
        )


def counts() -> dict[str, int]:
    """How often each stage has failed since the process started."""
    return dict(_counts)
