"""Running something when a process ends, whichever way it was started."""

from __future__ import annotations

import atexit
import os
import sys
from collections.abc import Callable
from typing import Any, Literal

import wrapt

Stage = Literal["settle", "deliver", "release"]
"""What is open is settled, then everything is delivered, then budgets are given back."""

_registered: dict[Stage, list[Callable[[], None]]] = {"settle": [], "deliver": [], "release": []}
_process = 0


def run_at_exit(function: Callable[[], None], *, stage: Stage = "deliver") -> None:
    """Run `function` when this process ends; once more to be called, for all, in each forked child that needs it.

    In each stage, what was given first runs first. The children of `multiprocessing` end without running `atexit`
    handlers: they run finalizers of their own, which are not inherited. Those of celery's pool run neither, and send a
    signal. `function` is registered once; it may run several times.

    Args:
        function: Takes nothing and raises nothing.
        stage: When it runs.
    """
    global _process
    if function not in _registered[stage]:
        _registered[stage].append(function)
        # Before what was registered earlier: a provider would shut our destinations down one after the other.
        atexit.register(_run_all)  # a forked child inherits it
    if _process != os.getpid():
        _process = os.getpid()
        for name in ("multiprocessing.util", "billiard.util"):
            module = sys.modules.get(name)
            if module is not None:
                module.Finalize(None, _run_all, exitpriority=0)


def _run_all(**_: Any) -> None:
    for functions in _registered.values():
        for function in tuple(functions):
            function()


def _hear_of_ends(signals: Any) -> None:
    signals.worker_process_shutdown.connect(_run_all, weak=False)


wrapt.register_post_import_hook(_hear_of_ends, "celery.signals")
atexit.register(_run_all)  # `atexit` does not call what is registered while the process ends
