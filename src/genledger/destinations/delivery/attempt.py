"""Run something that may block in a separate thread, so that the caller limits the wait.

A receiver can hold a request up in more ways than any library's timeout ends: one byte now and then, a name server
that does not answer, one address after the other. The caller is free at its deadline whatever happens there.
"""

from __future__ import annotations

import contextvars
import threading
import time
from collections.abc import Callable
from typing import Generic, TypeVar

MEANWHILE_S = 0.5
"""Seconds between two calls of what is done while a request waits for its answer."""

_LEAVING_S = 0.2

T = TypeVar("T")


class Attempt(Generic[T]):
    """One run of a function.

    Args:
        function: What is run, in the context of whoever makes the attempt.
    """

    def __init__(self, function: Callable[[], T]) -> None:
        self._function = function
        self._context = contextvars.copy_context()
        self._begin = threading.Event()
        self._done = threading.Event()
        self._results: list[T] = []
        self._errors: list[BaseException] = []
        self._thread: threading.Thread | None = None

    def prepare(self) -> bool:
        """Start the thread, which waits for `begin`; whether there is one."""
        if self._thread is None or not (self._done.is_set() or self._thread.is_alive()):
            thread = threading.Thread(
                target=self._context.copy().run, args=(self._run,), name="genledger-attempt", daemon=True
            )
            try:
                thread.start()
            except RuntimeError:
                # The interpreter is ending, and starts no more threads.
                return False
            self._thread = thread
        return True

    def begin(self) -> bool:
        """Let the thread run the function; whether there is one."""
        ready = self.prepare()
        self._begin.set()
        return ready

    def result(self, timeout_s: float, meanwhile: Callable[[], None] | None = None) -> T:
        """Return what the function returns, or raise what it raises.

        Where no thread can be started, the function runs in the caller's: that is at the end of the process, when
        whoever waits for the caller has a deadline.

        Args:
            timeout_s: Seconds to wait for it.
            meanwhile: Called now and then while waiting.

        Raises:
            TimeoutError: It has not ended by then, or was given up. It may go on in its thread.
        """
        if not self.begin():
            return self._function()
        deadline = time.monotonic() + timeout_s
        while not self._done.wait(max(0.0, min(MEANWHILE_S, deadline - time.monotonic()))):
            if time.monotonic() >= deadline:
                break
            if meanwhile is not None:
                meanwhile()
        if self._thread is not None and self.is_over():
            self._thread.join()
        for error in self._errors:
            raise error
        for result in self._results:
            return result
        raise TimeoutError(f"no answer within {timeout_s:.3g} s")

    def is_over(self) -> bool:
        """Return whether the function has ended."""
        return bool(self._results or self._errors)

    def leave(self) -> None:
        """Give the thread, whose connection has been cut, the moment it needs to end."""
        if self._thread is not None:
            self._thread.join(_LEAVING_S)

    def give_up(self) -> None:
        """Let whoever waits for the result go on without it, at once. From any thread."""
        self._done.set()

    def _run(self) -> None:
        self._begin.wait()
        try:
            self._results.append(self._function())
        except BaseException as error:
            self._errors.append(error)
        finally:
            self._done.set()
