"""Open spans and their ancestors, known before the ancestors have ended."""

from __future__ import annotations

import threading
from dataclasses import dataclass

from opentelemetry.baggage import get_baggage
from opentelemetry.context import Context
from opentelemetry.sdk.trace import ReadableSpan
from opentelemetry.trace import SpanContext, format_trace_id

from genledger.context.attribution import NOBODY, Attribution, current
from genledger.shared.after_fork import run_after_fork
from genledger_semconv import attributes as A

OPEN_SPANS = 16_384
"""Open spans that are remembered; of more, the oldest is forgotten and its children count as roots."""

ENDED_SPANS = 4_096
"""FinishedSpan spans that are remembered for children that start late."""

_DEEPEST = 512
TRACE_CLAIM = "langfuse_trace_id"
"""The baggage entry that tells the next service which trace Langfuse has a root of already, as its SDK does."""


@dataclass(slots=True, eq=False)
class SpanNode:
    """A span, its local parent, and what has been decided about it.

    `span` is there while the span is open; afterwards only what its descendants may still ask for is.
    `wanted` says that a descendant has been sent with this span as its parent, so that this one must be sent
    too. `sent` is known once the span has ended. `elsewhere` says that somebody else sends it to the same receiver.
    `claimed` says of a topmost span that another service has
    already shown Langfuse the root of the trace.
    """

    span: ReadableSpan | None
    context: SpanContext
    above: SpanContext | None
    parent: SpanNode | None
    depth: int
    attribution: Attribution
    claimed: bool = False
    wanted: bool = False
    elsewhere: bool = False
    sent: bool | None = None
    _name: str = ""
    _tenant: str | None = None

    @property
    def root(self) -> SpanNode:
        """Return the topmost span of this process."""
        line = self
        while line.parent is not None:
            line = line.parent
        return line

    @property
    def name(self) -> str:
        """The span's name, so far or at its end."""
        return self.span.name if self.span is not None else self._name

    @property
    def tenant(self) -> str | None:
        """The tenant that the span names itself, or was started for."""
        if self.span is None:
            return self._tenant
        tenant = self.span.attributes.get(A.GENLEDGER_TENANT_ID) if self.span.attributes else None
        return tenant if isinstance(tenant, str) and tenant else self.attribution.tenant


class OpenSpans:
    """The open spans of one process, bounded."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._open: dict[int, SpanNode] = {}
        self._ended: dict[int, SpanNode] = {}
        run_after_fork(self._after_fork)

    def start(self, span: ReadableSpan, parent_context: Context | None, *, live: bool = True) -> None:
        """Remember a span that has just started; `live` when it did so in the current context."""
        context = span.context
        parent = self._parent_of(span)
        depth = 0
        if parent is not None:
            depth = parent.depth + 1
            if depth >= _DEEPEST:
                parent, depth = None, 0
        claimed = False
        if parent is None and span.parent is not None:
            claimed = get_baggage(TRACE_CLAIM, parent_context) == format_trace_id(context.trace_id)
        attribution = current(parent_context) if live else NOBODY
        line = SpanNode(span, context, span.parent, parent, depth, attribution, claimed)
        with self._lock:
            self._open[context.span_id] = line
            if len(self._open) > OPEN_SPANS:
                del self._open[next(iter(self._open))]

    def _parent_of(self, span: ReadableSpan) -> SpanNode | None:
        above = span.parent.span_id if span.parent is not None else None
        return None if above is None else self._open.get(above) or self._ended.get(above)

    def get(self, span: ReadableSpan) -> SpanNode | None:
        """Return the line of an open span; `None` when it is not remembered."""
        return self._open.get(span.context.span_id)

    def end(self, span: ReadableSpan) -> SpanNode:
        """Return the line of a span that has ended."""
        span_id = span.context.span_id
        with self._lock:
            line = self._open.pop(span_id, None)
            if line is None:
                line = SpanNode(span, span.context, span.parent, self._parent_of(span), 0, NOBODY)
            self._ended[span_id] = line
            if len(self._ended) > ENDED_SPANS:
                del self._ended[next(iter(self._ended))]
        # The span itself may hold a lot of content.
        line._name, line._tenant, line.span = span.name, line.tenant, None
        return line

    def _after_fork(self) -> None:
        """In a forked child: the lock may have been held by a thread that is not here."""
        self._lock = threading.Lock()
