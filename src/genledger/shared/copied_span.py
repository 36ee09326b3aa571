"""Ended spans that are not quite as they were: for destinations, as the span itself is everybody's."""

from __future__ import annotations

from typing import Any

from opentelemetry.sdk.trace import ReadableSpan


def copied(span: ReadableSpan, **changed: Any) -> ReadableSpan:
    """Return a copy of an ended span with other arguments of `ReadableSpan`, such as `attributes` or `parent`."""
    given: dict[str, Any] = {
        "name": span.name,
        "context": span.context,
        "parent": span.parent,
        "resource": span.resource,
        "attributes": span.attributes,
        "events": span.events,
        "links": span.links,
        "kind": span.kind,
        "instrumentation_scope": span.instrumentation_scope,
        "status": span.status,
        "start_time": span.start_time,
        "end_time": span.end_time,
    }
    return ReadableSpan(**{**given, **changed})
