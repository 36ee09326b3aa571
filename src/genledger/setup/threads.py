"""Run threads and executors in the context that started them.

Tasks and `asyncio.to_thread` do so by themselves; `threading.Thread` and `ThreadPoolExecutor` begin with an empty
context, in which a call would belong to nobody. The instrumentation package for threads does the same, but takes
longer to import than everything else at start together.
"""

from __future__ import annotations

import functools
import threading
from typing import Any

from opentelemetry.context import Context, attach, get_current

from genledger.instrumentation.patching import Patch, Patcher
from genledger.shared import internal_errors

_CONTEXT = "_genledger_context"
_STAGE = "carrying a context into a thread"


_POOLS = ("concurrent.futures.thread", "multiprocessing.pool")
"""Modules whose threads work for many: their own context is that of whoever made the pool start them, by chance."""


def _start(wrapped: Any, thread: threading.Thread, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
    try:
        context = get_current()
        if context and getattr(getattr(thread, "_target", None), "__module__", None) not in _POOLS:
            thread.__dict__[_CONTEXT] = context
    except Exception as error:
        internal_errors.report(_STAGE, error)
    return wrapped(*args, **kwargs)


def _run(wrapped: Any, thread: threading.Thread, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
    context = thread.__dict__.pop(_CONTEXT, None)
    if context is None:
        return wrapped(*args, **kwargs)
    return _inside(context, wrapped, *args, **kwargs)


def _submit(wrapped: Any, pool: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
    """Call a method that takes a function, and perhaps callbacks: each runs in the context of who asks for it."""
    try:
        context = get_current()
        if args:
            args = (functools.partial(_inside, context, args[0]), *args[1:])
        for name in _FUNCTIONS & kwargs.keys():
            if kwargs[name] is not None:
                kwargs = {**kwargs, name: functools.partial(_inside, context, kwargs[name])}
    except Exception as error:
        internal_errors.report(_STAGE, error)
    return wrapped(*args, **kwargs)


_FUNCTIONS = {"fn", "func", "callback", "error_callback"}


def _inside(context: Context, function: Any, /, *args: Any, **kwargs: Any) -> Any:
    outer = get_current()
    attach(context)
    try:
        return function(*args, **kwargs)
    finally:
        attach(outer)


PATCHER = Patcher(
    [
        Patch("threading", "Thread.start", _start),
        Patch("threading", "Thread.run", _run),
        Patch("threading", "Timer.run", _run),
        Patch("concurrent.futures.thread", "ThreadPoolExecutor.submit", _submit),
        Patch("concurrent.futures._base", "Future.add_done_callback", _submit),
        *(
            Patch("multiprocessing.pool", f"ThreadPool.{name}", _submit)
            for name in ("apply_async", "_map_async", "imap", "imap_unordered")
        ),
    ]
)
"""Carries contexts into threads while it is applied."""
