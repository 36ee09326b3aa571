"""Work that does not hold up the application."""

from __future__ import annotations

import functools
import os
import threading
import weakref
from collections import deque
from collections.abc import Callable

from genledger.shared import internal_errors


class Worker:
    """Run tasks one after the other in a separate thread, which ends when none is left."""

    def __init__(self) -> None:
        # Reentrant: a response that is garbage-collected while the lock is held hands over what it has.
        self._lock = threading.RLock()
        self._tasks: deque[Callable[[], None]] = deque()
        self._running = False
        self._thread: threading.Thread | None = None
        if hasattr(os, "register_at_fork"):
            os.register_at_fork(after_in_child=functools.partial(_start_afresh, weakref.ref(self)))

    def do(self, task: Callable[[], None]) -> None:
        """Run a task soon."""
        with self._lock:
            self._tasks.append(task)
            if self._running:
                return
            self._running = True
            try:
                thread = threading.Thread(target=self._run, name="genledger-worker", daemon=True)
                thread.start()
                self._thread = thread
                return
            except RuntimeError:
                pass  # the interpreter is shutting down and starts no threads
        self._run()

    def wait(self, timeout: float) -> bool:
        """Wait until everything is done, for so many seconds at most."""
        thread = self._thread
        if thread is not None and thread is not threading.current_thread():
            thread.join(timeout)
        return not self._running

    def _run(self) -> None:
        while True:
            with self._lock:
                if not self._tasks:
                    self._running = False
                    return
                task = self._tasks.popleft()
            try:
                task()
            except Exception as error:
                internal_errors.report("working in the background", error)


def _start_afresh(reference: weakref.ref[Worker]) -> None:
    """In a forked child: drop the tasks; the parent runs them."""
    worker = reference()
    if worker is not None:
        worker._lock = threading.RLock()
        worker._tasks.clear()
        worker._running = False
        worker._thread = None
