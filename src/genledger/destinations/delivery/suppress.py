"""Suppress tracing of the destinations' own requests.

A module of its own because it is imported when a destination has its first work, by the thread that gives it: a
start does not pay for it, and a thread of ours that starts while the process ends can import nothing any more.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from opentelemetry.instrumentation.utils import suppress_http_instrumentation, suppress_instrumentation


@contextmanager
def suppressed() -> Iterator[None]:
    """Suppress instrumentation of all requests, queries and calls in a block."""
    with suppress_instrumentation(), suppress_http_instrumentation():
        yield
