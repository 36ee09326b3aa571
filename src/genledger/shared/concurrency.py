"""Several things done at once, within one deadline."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Sequence

from genledger.shared import internal_errors


def run_all(acts: Sequence[Callable[[float], object]], timeout: float) -> list[bool]:
    """Do all of these, each in a thread of its own: a slow one delays neither the others nor the caller.

    Each is given the seconds that are left.

    Returns:
        For each, whether it has ended within `timeout` seconds, without an error, and did not return `False`.
    """
    done = [False] * len(acts)

    def run(place: int) -> None:
        try:
            done[place] = acts[place](max(0.0, deadline - time.monotonic())) is not False
        except Exception as error:
            internal_errors.report("flushing or shutting down", error)

    deadline = time.monotonic() + timeout
    threads = [
        threading.Thread(target=run, args=(place,), name=f"genledger-ending-{place}", daemon=True)
        for place in range(len(acts))
    ]
    for place, thread in enumerate(threads):
        try:
            thread.start()
        except RuntimeError:
            # The interpreter is ending and starts no more threads.
            run(place)
    for thread in threads:
        if thread.ident is not None:
            thread.join(max(0.0, deadline - time.monotonic()))
    return list(done)
