"""Spans as our destinations see them: without plumbing, and without content that nobody asked to capture.

The application's own exporters get every span as its library made it, but for the usage that would count twice: what
a started span is to them is not ours to decide.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import wrapt
from opentelemetry.sdk.trace import Event
from opentelemetry.trace import SpanContext

from genledger.engine.foreign_spans.native_scopes import NativeScope, row_of
from genledger.engine.foreign_spans.places import is_hidden, parent_of
from genledger.engine.steps import captures


def seen(span: Any) -> Any:
    """Return a span as it is shown: itself, as a rule; `None` for a hidden one."""
    if is_hidden(span):
        return None
    parent = parent_of(span)
    scope = span.instrumentation_scope
    row = row_of(scope.name) if scope is not None else None
    withheld = row if row is not None and (row.payloads or row.payload_events) and not captures() else None
    return span if parent is span.parent and withheld is None else _Seen(span, parent, withheld)


class _Seen(wrapt.ObjectProxy[Any]):
    """A span at the parent that is shown, without a row's content."""

    def __init__(self, span: Any, parent: SpanContext | None, withheld: NativeScope | None) -> None:
        super().__init__(span)
        self._self_parent = parent
        self._self_withheld = withheld

    @property
    def parent(self) -> SpanContext | None:
        return self._self_parent

    @property
    def attributes(self) -> Mapping[str, Any]:
        row, given = self._self_withheld, self.__wrapped__.attributes
        if row is None or not row.payloads or not given:
            return given
        return {name: value for name, value in given.items() if not name.startswith(row.payloads)}

    @property
    def events(self) -> Sequence[Event]:
        row, given = self._self_withheld, self.__wrapped__.events
        if row is None or not row.payload_events:
            return given
        return tuple(event for event in given if event.name not in row.payload_events)
