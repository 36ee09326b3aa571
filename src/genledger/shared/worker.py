"""Work beside the application's: a thread that starts with the first of it."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext, suppress

from genledger.shared import internal_errors
from genledger.shared.after_fork import run_after_fork
from genledger.shared.at_exit import run_at_exit

_AGAIN_S = 0.2
_AFTER_FAULT_S = 1.0


class Worker:
    """Works in rounds, in a thread of its own: from the first call of `rouse` or `hurry` until `stop`.

    Where no thread can be started (the interpreter is ending, or there are too many), a round runs in the thread that
    asks for it. A forked child has no thread before its own first round. A fault of the work is reported, and the
    work goes on.

    Args:
        name: The thread's.
        work: One round. Returns the seconds until the next, which `rouse` does not shorten; `None` for no next one.
        delay_s: Seconds that `rouse` leaves others to join in.
        within: Makes what the work runs inside of.
        at_exit: Runs when a process ends in which there was any work, as `run_at_exit` says.
        in_caller: Whether rounds before the last may run in the thread that asks for them.
    """

    def __init__(
        self,
        name: str,
        work: Callable[[], float | None],
        *,
        delay_s: float = 0.0,
        within: Callable[[], AbstractContextManager[None]] = nullcontext,
        at_exit: Callable[[], None] | None = None,
        in_caller: bool = True,
    ) -> None:
        self._name = name
        self._work = work
        self._delay_s = delay_s
        self._within = within
        self._at_exit = at_exit
        self._in_caller = in_caller
        self._begin()
        run_after_fork(self._begin)

    def _begin(self) -> None:
        self._thread: threading.Thread | None = None
        # Reentrant: a garbage collection in here can end a stream, whose record comes back with work.
        self._starting = threading.RLock()
        self._working = threading.Lock()
        self._idle = True
        self._hurried = False
        self._asked = False
        self._stopping = False
        self._make_signals()

    def _make_signals(self) -> None:
        # A lock, as nobody may wait in a garbage collection: whoever releases it lets the thread go on.
        self._gate = threading.Lock()
        self._gate.acquire()
        self._rounds = threading.Condition()

    def rouse(self) -> None:
        """Have a round after the delay. Cheap, to be called for every bit of work; from any thread."""
        if self._idle:
            self._idle = False
            self._signal()

    def hurry(self) -> None:
        """Have a round at once. From any thread."""
        self._hurried = True
        self._signal()

    def flush(self, done: Callable[[], bool], timeout: float) -> bool:
        """Have rounds now until it is `done`, for at most `timeout` seconds. Return whether it is."""
        if self._thread is threading.current_thread():
            return done()
        deadline = time.monotonic() + timeout
        again = float("-inf")
        while not done():
            now = time.monotonic()
            if now >= deadline:
                return False
            if now >= again:
                again = now + _AGAIN_S
                self.hurry()
            with self._rounds:
                if not done():
                    self._rounds.wait(max(0.0, min(again, deadline) - time.monotonic()))
        return True

    def stop(self, last: Callable[[], None] | None = None) -> None:
        """Have a round at once, and more as long as one asks for another; then none.

        Args:
            last: What these rounds do instead of the work.
        """
        self._stopping = True
        if last is not None:
            self._work = last
        self.hurry()

    def join(self, timeout: float) -> bool:
        """Wait for the thread's end, for at most `timeout` seconds. Return whether there is none any more."""
        thread = self._thread
        if thread is None or thread is threading.current_thread():
            return thread is None
        thread.join(max(0.0, timeout))
        return not thread.is_alive()

    @property
    def has_thread(self) -> bool:
        """Return whether the work has a thread."""
        return self._thread is not None

    def _signal(self) -> None:
        if self.start():
            with suppress(RuntimeError):  # it is let go already
                self._gate.release()
            return
        # Whoever is at it sees to this round, too.
        self._asked = self._in_caller or self._stopping
        while self._asked and self._working.acquire(blocking=False):
            try:
                self._asked = False
                with self._within():
                    pause = self._round()
                    while self._stopping and pause is not None:
                        time.sleep(pause)
                        pause = self._round()
            finally:
                self._working.release()

    def start(self) -> bool:
        """Start the thread, without a round; whether there is one. Any call may be the first of this process."""
        if self._thread is not None:
            return True
        with self._starting:
            if self._thread is None and not self._stopping:
                if self._at_exit is not None:
                    run_at_exit(self._at_exit)
                self._make_signals()  # together with the thread: gevent may have replaced all of them
                thread = threading.Thread(target=self._run, args=(self._within(),), name=self._name, daemon=True)
                self._thread = thread
                try:
                    thread.start()
                except RuntimeError:
                    self._thread = None
        return self._thread is not None

    def _run(self, within: AbstractContextManager[None]) -> None:
        pause: float | None = None
        last = False
        with within:
            while not last or pause is not None:
                self._gate.acquire(timeout=-1 if pause is None else pause)
                if pause is None and not self._idle and not self._hurried:
                    self._gate.acquire(timeout=self._delay_s)
                last = self._stopping
                with self._working:
                    pause = self._round()

    def _round(self) -> float | None:
        self._idle, self._hurried = True, False  # what comes from now on may come too late for this round
        try:
            pause = self._work()
        except Exception as error:
            internal_errors.report(f"working in the thread {self._name}", error)
            pause = None if self._stopping else _AFTER_FAULT_S
        if pause is not None:
            self._idle = False
        with self._rounds:
            self._rounds.notify_all()
        return pause
