"""Suppress tracing of the destinations' own requests."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager


def suppressed() -> AbstractContextManager[None]:
    """Suppress instrumentation of all requests, queries and calls in a block.

    What this takes is imported where it is called: with a destination's first work, which a start does not pay for, and
    by the thread that gives the work, as one of ours can import nothing any more while the process ends.
    """
    from opentelemetry.instrumentation.utils import suppress_http_instrumentation, suppress_instrumentation

    @contextmanager
    def both() -> Iterator[None]:
        with suppress_instrumentation(), suppress_http_instrumentation():
            yield

    return both()
