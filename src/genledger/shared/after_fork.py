"""What begins anew in a forked child: its parent's threads, locks and queues are not its own."""

from __future__ import annotations

import itertools
import os
from collections.abc import Callable
from typing import Any
from weakref import ref

_registered: dict[int, tuple[ref[Any], Callable[[Any], None]]] = {}
_numbers = itertools.count()


def run_after_fork(method: Callable[[], None]) -> None:
    """Call a method in each child that this process forks, for as long as the object it belongs to lives.

    What was given first runs first.

    Args:
        method: Bound to an object. It takes no lock that a thread of the parent may hold, and raises nothing.
    """
    # Forgotten here, not when they die: a callback may come when the interpreter has ended most of itself. Without a
    # lock: a child could find it held by a thread that it does not have.
    for number, (owner, _) in tuple(_registered.items()):
        if owner() is None:
            _registered.pop(number, None)
    _registered[next(_numbers)] = ref(method.__self__), method.__func__  # type: ignore[attr-defined]


def _run_all() -> None:
    for owner, function in tuple(_registered.values()):
        found = owner()
        if found is not None:
            function(found)


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_run_all)
