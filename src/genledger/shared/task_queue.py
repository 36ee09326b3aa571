"""Tasks that do not hold up the application, and come seldom."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable

from genledger.shared import internal_errors
from genledger.shared.after_fork import run_after_fork


class TaskQueue:
    """Runs tasks one after the other, in a thread that ends when none is left.

    Where no thread can be started, a task runs in the thread that asks for it. A forked child has none of its
    parent's tasks: the parent runs them.

    Args:
        name: The thread's.
    """

    def __init__(self, name: str) -> None:
        self._name = name
        self._begin()
        run_after_fork(self._begin)

    def _begin(self) -> None:
        # Reentrant: a response that is garbage-collected while the lock is held hands over what it has.
        self._lock = threading.RLock()
        self._tasks: deque[Callable[[], object]] = deque()
        self._running = False
        self._thread: threading.Thread | None = None

    def do(self, task: Callable[[], object]) -> None:
        """Run a task soon."""
        with self._lock:
            self._tasks.append(task)
            if self._running:
                return
            self._running = True
            thread = threading.Thread(target=self._run, name=self._name, daemon=True)
            try:
                thread.start()
            except RuntimeError:
                pass  # the interpreter is ending, or there are too many threads
            else:
                self._thread = thread
                return
        self._run()

    def flush(self, timeout: float) -> bool:
        """Wait until everything is done, for so many seconds at most. Return whether it is."""
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
                internal_errors.report(f"working in the thread {self._name}", error)
