"""Running something when a process ends, whichever way it was started."""

from __future__ import annotations

import atexit
import os
import sys
from collections.abc import Callable
from typing import Any

import wrapt

from genledger.calls.streams import finish_open

_registered: dict[Callable[[], None], int] = {}


def run_at_exit(function: Callable[[], None]) -> None:
    """Run `function` when this process ends; once more to be called, for all, in each forked child that needs it.

    The children of `multiprocessing` end without running `atexit` handlers: they run finalizers of their own,
    which are not inherited. Those of celery's pool run neither, and send a signal. `function` may run twice, and
    is registered once.
    """
    if function not in _registered:
        atexit.register(function)  # a forked child inherits it
        # What is registered last runs first: streams that are still open settle before anybody stops listening.
        atexit.unregister(finish_open)
        atexit.register(finish_open)
        _registered[function] = 0
    for known, process in _registered.items():
        if process != os.getpid():
            _registered[known] = os.getpid()
            for name in ("multiprocessing.util", "billiard.util"):
                module = sys.modules.get(name)
                if module is not None:
                    module.Finalize(None, known, exitpriority=0)


def _run_all(**_: Any) -> None:
    for function in tuple(_registered):
        function()


def _hear_of_ends(signals: Any) -> None:
    signals.worker_process_shutdown.connect(_run_all, weak=False)


wrapt.register_post_import_hook(_hear_of_ends, "celery.signals")
