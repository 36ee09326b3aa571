"""Running something when a process ends, whichever way it was started."""

from __future__ import annotations

import atexit
import os
import sys
from collections.abc import Callable

_registered: dict[Callable[[], None], int] = {}


def run_at_exit(function: Callable[[], None]) -> None:
    """Run `function` when this process ends; once more to be called in each forked child that needs it.

    The children of `multiprocessing` and of celery's `billiard` end without running `atexit` handlers; they
    run finalizers of their own. `function` may run twice, and is registered once.
    """
    known = _registered.get(function)
    if known == os.getpid():
        return
    if known is None:
        atexit.register(function)  # a forked child inherits it
    _registered[function] = os.getpid()
    for name in ("multiprocessing.util", "billiard.util"):
        module = sys.modules.get(name)
        if module is not None:
            module.Finalize(None, function, exitpriority=0)
