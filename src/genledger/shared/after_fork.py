"""What begins anew in a forked child: its parent's threads, locks and queues are not its own."""

from __future__ import annotations

import os
from collections.abc import Callable
from weakref import WeakMethod

_methods: dict[int, WeakMethod[Callable[[], None]]] = {}


def run_after_fork(method: Callable[[], None]) -> None:
    """Call a method in each child that this process forks, for as long as the object it belongs to lives.

    What was given first runs first.

    Args:
        method: Bound to an object. It takes no lock that a thread of the parent may hold, and raises nothing.
    """
    reference = WeakMethod(method, lambda gone: _methods.pop(id(gone), None))
    _methods[id(reference)] = reference


def _run_all() -> None:
    for reference in tuple(_methods.values()):
        method = reference()
        if method is not None:
            method()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_run_all)
