"""Spans as our destinations see them: without plumbing, and with content as everywhere, captured and redacted.

The application's own exporters get every span as its library made it, but for the usage that would count twice: what
a started span is to them is not ours to decide.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from opentelemetry.sdk.trace import Event, ReadableSpan
from opentelemetry.trace import SpanContext, Status

from genledger.engine.content.redaction import stage
from genledger.engine.foreign_spans.native_scopes import NativeScope, row_of
from genledger.engine.foreign_spans.native_steps import is_step
from genledger.engine.foreign_spans.places import any_hidden, is_hidden, parent_of
from genledger.engine.foreign_spans.repair import read_json
from genledger.engine.steps import captures
from genledger.shared.copied_span import copied
from genledger_semconv import attributes as A

_CONTENT = (
    A.GEN_AI_INPUT_MESSAGES,
    A.GEN_AI_OUTPUT_MESSAGES,
    A.GEN_AI_SYSTEM_INSTRUCTIONS,
    A.GEN_AI_TOOL_CALL_ARGUMENTS,
    A.GEN_AI_TOOL_CALL_RESULT,
)
"""Attributes with content in the conventions' words: a library writes them only if it was asked to."""

_EXCEPTION = "exception"
_SAID = ("exception.message", "exception.stacktrace")


def seen(span: Any, *, ended: bool = False) -> Any:
    """Return a span as it is shown: itself, as a rule; `None` for a hidden one.

    Args:
        span: The span.
        ended: Whether it has all its content.
    """
    scope = span.instrumentation_scope
    row = row_of(scope.name) if ended and scope is not None else None
    if row is None and not any_hidden():
        return span
    if is_hidden(span):
        return None
    parent = parent_of(span)
    if parent is span.parent and row is None:
        return span
    if not ended:
        return _Moved(span, parent)
    if row is None:
        return copied(span, parent=parent)
    quoting = captures() is None and _is_step(span)
    return copied(
        span,
        parent=parent,
        attributes=_attributes(span.attributes, row),
        events=[_error(event, quoting) if event.name == _EXCEPTION else event for event in _events(span.events, row)],
        status=_status(span.status, quoting),
    )


class _Moved:
    """An open span at the parent that is shown."""

    def __init__(self, span: Any, parent: SpanContext | None) -> None:
        self._span = span
        self.parent = parent

    def __getattr__(self, name: str) -> Any:
        return getattr(self._span, name)


def _attributes(given: Mapping[str, Any], row: NativeScope) -> Mapping[str, Any]:
    if captures() is not None:
        return _redacted(given, (*_CONTENT, *row.payloads))
    if not row.payloads:
        return given
    return {name: value for name, value in given.items() if not name.startswith(row.payloads)}


def _events(given: Sequence[Event], row: NativeScope) -> Sequence[Event]:
    if not row.payload_events:
        return given
    if captures() is None:
        return [event for event in given if event.name not in row.payload_events]
    return [
        Event(event.name, _redacted(event.attributes or {}, ("",)), event.timestamp)
        if event.name in row.payload_events
        else event
        for event in given
    ]


def _is_step(span: ReadableSpan) -> bool:
    """Return whether the errors of a span are the application's own, which may quote content."""
    return is_step(span) or A.GENLEDGER_OPERATION_KIND in (span.attributes or {})


def _status(given: Status, quoting: bool) -> Status:
    if given.description is None:
        return given
    return Status(given.status_code, None if quoting else stage().message(given.description))


def _error(event: Event, quoting: bool) -> Event:
    """Return an exception's event with as much of what it says as the status of a span of ours has."""
    given = event.attributes or {}
    said = {} if quoting else {name: stage().message(str(given[name])) for name in _SAID if name in given}
    kept = {name: value for name, value in given.items() if name not in _SAID}
    return Event(event.name, {**kept, **said}, event.timestamp)


def _redacted(given: Mapping[str, Any], content: tuple[str, ...]) -> Mapping[str, Any]:
    capture = captures()
    found = dict(given)
    for name, value in given.items():
        if capture is not None and name.startswith(content) and isinstance(value, str):
            capture.write({name: read_json(value)}, found)
    return found
