"""Python's warning about the fork of a process that has threads, where those threads are ours.

Since Python 3.12, `os.fork` warns of deadlocks in the child when the process has other threads. Ours are made for it:
their locks are free in a child, which starts its own. An application without threads is not warned because of them;
one that has threads is warned as before.
"""

from __future__ import annotations

import os
import re
import sys
import threading
import warnings
from typing import Any

OURS = ("genledger-", "Otel")
"""How the names of our threads begin, and of those of OpenTelemetry's SDK, which starts its own in a child as we do."""

_IGNORE = ("ignore", re.compile("This process .* is multi-threaded"), DeprecationWarning, None, 0)


def _before_fork() -> None:
    """Ignore the warning about this fork, or no longer. It comes when everything that runs after a fork has run."""
    # As they are: `filterwarnings` would also make every warning that was shown once show again.
    filters: list[Any] = warnings.filters  # type: ignore[assignment]
    if _IGNORE in filters:
        filters.remove(_IGNORE)
    others = [thread for thread in threading.enumerate() if thread is not threading.current_thread()]
    if others and all(thread.name.startswith(OURS) for thread in others):
        filters.insert(0, _IGNORE)


if sys.version_info >= (3, 12) and hasattr(os, "register_at_fork"):
    os.register_at_fork(before=_before_fork)
