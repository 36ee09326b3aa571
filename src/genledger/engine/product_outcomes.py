"""Product outcomes: what the application's user did with a result."""

from __future__ import annotations

import math
import re
import time
from datetime import datetime

from opentelemetry.context import get_current
from opentelemetry.trace import get_current_span

from genledger.context.attribution import current
from genledger.engine.record import ProductEvent
from genledger.engine.recorder import active

MAX_OUTCOME = 128
"""Characters of the name of a product outcome."""

MAX_KEY = 256
"""Characters of a key."""

_LATEST_S = 1e11
"""Seconds since the epoch that are no time any more, but milliseconds: the year is 5138."""

_is_currency = re.compile(r"[A-Z]{3}").fullmatch
_is_trace_id = re.compile(r"[0-9a-f]{32}").fullmatch


def record_outcome(
    name: str,
    value: float = 1.0,
    *,
    currency: str | None = None,
    key: str | None = None,
    at: datetime | float | None = None,
    trace_id: str | int | None = None,
) -> None:
    """Record a product event such as `draft_accepted`. Reports join it to the spend of the same attribution.

    With a `key`, an outcome that is recorded again is not counted again: it corrects the one of the same name and key.
    What the correction leaves out (currency, time, trace, fields of the attribution) stays as it was.

    Args:
        name: Name of the event, in lower case with underscores.
        value: Quantity, if it is not one; an amount of money if there is a `currency`.
        currency: The value's currency: three capital letters, by ISO 4217.
        key: What tells this outcome from others of its name, such as the id of an order.
        at: When it happened, if not now: a time with its zone, or seconds since the epoch.
        trace_id: The trace that it belongs to, if not the current one: 32 hexadecimal digits, or the integer.

    Raises:
        TypeError: An argument has the wrong type.
        ValueError: The name is empty or longer than 128 characters, the value is no finite number, or another
            argument has no such form.
    """
    if not isinstance(name, str) or not name.strip() or len(name) > MAX_OUTCOME:
        raise ValueError(f"record_outcome(name) must be a string of 1 to {MAX_OUTCOME} characters, not {name!r:.60}")
    amount = _finite(value)
    if currency is not None and not (isinstance(currency, str) and _is_currency(currency)):
        raise ValueError(f"record_outcome(currency=…) must be three capital letters like EUR, not {currency!r:.60}")
    if key is not None and not (isinstance(key, str) and key and len(key) <= MAX_KEY):
        raise ValueError(f"record_outcome(key=…) must be a string of 1 to {MAX_KEY} characters, not {key!r:.60}")
    at_ns = None if at is None else _nanoseconds(at)
    trace = None if trace_id is None else _trace(trace_id)
    recorder = active()
    if recorder is None:
        return
    context = get_current()
    span = get_current_span(context).get_span_context()
    inside = span.is_valid and trace in (None, span.trace_id)
    event = ProductEvent(
        name,
        time.time_ns() if at_ns is None else at_ns,
        current(context),
        span.trace_id if inside else trace,
        span.span_id if inside else None,
        amount,
        currency,
        key,
        timed=at_ns is not None,
        placed=trace is not None,
        release=recorder.release,
    )
    recorder.tell(event, span if inside else None)


def _finite(value: object) -> float:
    if not isinstance(value, (int, float)):
        try:
            value = float(value)  # type: ignore[arg-type]  # a Decimal, or a number of NumPy's
        except (TypeError, ValueError):
            raise TypeError(f"record_outcome(value) must be a number, not {type(value).__name__}") from None
    if not math.isfinite(value):
        raise ValueError(f"record_outcome(value) must be a finite number, not {value!r}")
    return float(value)


def _nanoseconds(at: object) -> int:
    if isinstance(at, datetime):
        if at.tzinfo is None:
            raise ValueError(f"record_outcome(at=…) must have a time zone: {at.isoformat()}")
        at = at.timestamp()
    if isinstance(at, bool) or not isinstance(at, (int, float)):
        raise TypeError(f"record_outcome(at=…) must be a datetime or seconds since 1970, not {type(at).__name__}")
    if not 0 <= at < _LATEST_S:
        raise ValueError(f"record_outcome(at=…) must be seconds since 1970, not {at!r}")
    return int(at * 1_000_000_000)


def _trace(trace_id: object) -> int:
    if isinstance(trace_id, str) and _is_trace_id(trace_id.lower()):
        trace_id = int(trace_id, 16)
    if isinstance(trace_id, bool) or not isinstance(trace_id, int) or not 0 < trace_id < 1 << 128:
        raise ValueError(f"record_outcome(trace_id=…) must be 32 hexadecimal digits, not {trace_id!r:.60}")
    return trace_id
