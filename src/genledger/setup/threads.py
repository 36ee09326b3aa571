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


def _start(wrapped: Any, thread: threading.Thread, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
    try:
        context = get_current()
        if context:
            thread.__dict__[_CONTEXT] = context
    except Exception as error:
        internal_errors.report(_STAGE, error)
    return wrapped(*args, **kwargs)


def _run(wrapped: Any, thread: threading.Thread, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
    context = thread.__dict__.pop(_CONTEXT, None)
    if context is None:
        return wrapped(*args, **kwargs)
    return _inside(context, wrapped, *args, **kwargs)


def _submit(wrapped: Any, executor: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
    try:
        if args:
            # An empty context too: the pool's thread runs in that of whoever made the pool start it.
            args = (functools.partial(_inside, get_current(), args[0]), *args[1:])
    except Exception as error:
        internal_errors.report(_STAGE, error)
    return wrapped(*args, **kwargs)


def _apply(wrapped: Any, pool: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
    """The methods of a pool of threads take the function first: it runs in the context of who asks for it."""
    if not args and "func" in kwargs:
        args, kwargs = (kwargs["func"],), {name: value for name, value in kwargs.items() if name != "func"}
    return _submit(wrapped, pool, args, kwargs)


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
        Patch("concurrent.futures.thread", "ThreadPoolExecutor.submit", _submit),
        *(
            Patch("multiprocessing.pool", f"ThreadPool.{name}", _apply)
            for name in ("apply_async", "_map_async", "imap", "imap_unordered")
        ),
    ]
)
"""Carries contexts into threads while it is applied."""
