"""Internal errors: rate-limited warnings that never reach the application."""

from __future__ import annotations

import logging
import threading
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
_here = threading.local()


def describe_with(describe: Callable[[BaseException], str]) -> None:
    """Set the function that turns an error into text. It redacts; its own errors are reported here, too."""
    global _describe
    _describe = describe


def report(stage: str, error: BaseException) -> None:
    """Count an internal error of one stage, and log at most one warning a minute for it.

    The application's call continues; only this stage's telemetry is missing or incomplete. The error's text may quote
    user data, so it is redacted. At DEBUG, the traceback's lines of code are logged, too. Never raises.
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
            "genledger: internal error while %s (%s: %s); telemetry is incomplete, your application is unaffected%s",
            stage,
            type(error).__name__,
            _text(error),
            "".join(("\n", *lines)).rstrip("\n"),
        )


def _text(error: BaseException) -> str:
    """Return what an error says; nothing of one that comes while another is being described, as it would again."""
    if _describe is None or getattr(_here, "describing", False):
        return ""
    _here.describing = True
    try:
        return _describe(error)
    finally:
        _here.describing = False


def counts() -> dict[str, int]:
    """Return how often each stage has failed since the process started."""
    return dict(_counts)
