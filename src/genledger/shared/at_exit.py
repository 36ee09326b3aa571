"""Running something when a process ends, whichever way it was started."""

from __future__ import annotations

import atexit
import os
import sys
from collections.abc import Callable
from typing import Any

import wrapt

from genledger.engine.streams import finish_open

_registered: list[Callable[[], None]] = [finish_open]  # streams that are still open settle before anybody stops
_process = 0


def run_at_exit(function: Callable[[], None]) -> None:
    """Run `function` when this process ends; once more to be called, for all, in each forked child that needs it.

    What was given first runs first. The children of `multiprocessing` end without running `atexit` handlers: they run
    finalizers of their own, which are not inherited. Those of celery's pool run neither, and send a signal. `function`
    may run twice, and is registered once.
    """
    global _process
    if function not in _registered:
        _registered.append(function)
        # Before what was registered earlier: a provider would shut our destinations down one after the other.
        atexit.unregister(_run_all)
        atexit.register(_run_all)  # a forked child inherits it
    if _process != os.getpid():
        _process = os.getpid()
        for name in ("multiprocessing.util", "billiard.util"):
            module = sys.modules.get(name)
            if module is not None:
                module.Finalize(None, _run_all, exitpriority=0)


def _run_all(**_: Any) -> None:
    for function in tuple(_registered):
        function()


def _hear_of_ends(signals: Any) -> None:
    signals.worker_process_shutdown.connect(_run_all, weak=False)


wrapt.register_post_import_hook(_hear_of_ends, "celery.signals")
