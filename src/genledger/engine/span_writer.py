"""Attributes onto spans, without checking again what is known to be right."""

from __future__ import annotations

from typing import Any

from opentelemetry.attributes import BoundedAttributes
from opentelemetry.trace import Span

from genledger.engine.operation import Attributes


def write(span: Span, attributes: Attributes) -> None:
    """Add attributes to a span that is still open.

    The SDK checks, copies and counts every value, at about a microsecond each. The values here are text, numbers
    and tuples of text already, so they go where the SDK would put them, as long as its limits leave room for all
    of them and it keeps them where it did when this was written; otherwise they take the public way.
    """
    stored: Any = getattr(span, "_attributes", None)
    if type(stored) is BoundedAttributes:
        try:
            if stored.max_value_len is None and not stored._immutable:
                with stored._lock:
                    kept = stored._dict
                    if stored.maxlen is None or len(kept) + len(attributes) <= stored.maxlen:
                        kept.update(attributes)
                        return
        except AttributeError:
            pass
    span.set_attributes(attributes)
