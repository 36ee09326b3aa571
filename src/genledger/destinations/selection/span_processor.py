"""The span processor of a destination: picks the spans that go there and hands them to its delivery."""

from __future__ import annotations

import os
import weakref
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

from opentelemetry.context import Context
from opentelemetry.sdk.trace import ReadableSpan, Span, SpanProcessor
from opentelemetry.trace import SpanContext

from genledger.context.attribution import NOBODY, Attribution
from genledger.destinations.selection.open_spans import OpenSpans, SpanNode
from genledger.destinations.selection.span_filter import adopt, is_genai
from genledger.shared.loggers import logger_of

if TYPE_CHECKING:
    from genledger.destinations.delivery.write_ahead_log import Ticket

log = logger_of("genledger")


@dataclass(slots=True)
class FinishedSpan:
    """An ended span on its way to one destination.

    `parent` is its parent among the spans that go there; `is_app_root` says that there is none in this
    process though the trace has one elsewhere or above. `attribution` is what it was started for.
    `trace_name` is the name of the topmost span of this process. `ends_trace` marks that span itself;
    `goes` is false for one that is only there to say that the trace has ended. `ready` and `ticket` belong to
    the delivery: the translated span, and its place in the journal.
    """

    span: ReadableSpan
    parent: SpanContext | None
    is_app_root: bool = False
    attribution: Attribution = NOBODY
    trace_name: str | None = None
    ends_trace: bool = False
    goes: bool = True
    ready: ReadableSpan | None = None
    ticket: Ticket | None = None


class SelectingSpanProcessor(SpanProcessor):
    """Span processor of a destination.

    Args:
        take: Takes a span that goes out; with its line when there is a `lineage`.
        select: Whether only GenAI spans and the ancestors they need go out. Needs `lineage`.
        lineage: Remembers open spans; needed to select and to route by tenant.
        tells_ends: Whether to report the end of a trace even if its topmost span is not sent.
        shutdown: Called when the provider shuts down; gets the seconds it may take, or `None`.
        flush: Called when the provider flushes; gets the seconds it may take.
    """

    def __init__(
        self,
        take: Callable[[FinishedSpan, SpanNode | None], None],
        *,
        select: bool,
        lineage: OpenSpans | None,
        shutdown: Callable[[], bool],
        flush: Callable[[float], bool],
        tells_ends: bool = False,
    ) -> None:
        self._take = take
        self._select = select
        self._lineage = lineage
        self._tells_ends = tells_ends
        self._shutdown = shutdown
        self._flush = flush
        self._complained = False
        if lineage is not None:
            _lineages.add(lineage)

    def on_start(self, span: Span, parent_context: Context | None = None) -> None:
        """Remember an open span."""
        self.started(span, parent_context)

    def started(self, span: ReadableSpan, parent_context: Context | None = None, *, live: bool = True) -> None:
        """Remember an open span; `live` when it started in the current context just now."""
        if self._lineage is not None and span.context.trace_flags.sampled:
            try:
                self._lineage.start(span, parent_context, live=live)
            except Exception:
                self._complain()

    def on_end(self, span: ReadableSpan) -> None:
        """Hand an ended span on, if it goes to this destination."""
        if not span.context.trace_flags.sampled:
            return
        try:
            line, item = self._ended(span)
            if item is not None:
                self._take(item, line)
        except Exception:
            self._complain()

    def _ended(self, span: ReadableSpan) -> tuple[SpanNode | None, FinishedSpan | None]:
        lineage = self._lineage
        if lineage is None:
            return None, FinishedSpan(span, span.parent)
        line = lineage.end(span)
        line.sent = not self._select or line.wanted or is_genai(span)
        ends_trace = line.parent is None
        if not line.sent:
            if ends_trace and self._tells_ends:
                return line, FinishedSpan(span, None, ends_trace=True, goes=False)
            return line, None
        root = line.root()
        parent = adopt(line) if self._select else span.parent
        is_app_root = (parent is None or parent.is_remote) and not root.claimed
        if parent is None and root.above is not None and root.above.is_remote:
            # The caller may have sent its span, too: stay below it.
            parent = root.above
        return line, FinishedSpan(span, parent, is_app_root, line.attribution, root.name, ends_trace)

    def shutdown(self) -> None:
        """Deliver or spool what there is, within the destination's own deadline."""
        self._shutdown()

    def force_flush(self, timeout_millis: int = 30_000) -> bool:
        """Deliver what there is, within the time given."""
        return self._flush(timeout_millis / 1000.0)

    def _complain(self) -> None:
        if not self._complained:
            self._complained = True
            log.exception("genledger: passing a span to its destination failed; further failures are not logged")


_lineages: weakref.WeakSet[OpenSpans] = weakref.WeakSet()


def _after_fork_in_child() -> None:
    for lineage in tuple(_lineages):
        lineage.after_fork()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork_in_child)
