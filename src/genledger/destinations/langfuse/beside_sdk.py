"""Genledger beside Langfuse's own SDK, on one tracer provider and for one project.

Langfuse keeps one row for each span id, and the last to arrive replaces the other. So each span is sent once: by the
SDK if it sends it, with what Genledger knows written onto the span in Langfuse's words, else by Genledger.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

from opentelemetry.sdk.trace import ReadableSpan, Span

from genledger.destinations.langfuse.vocabulary import IS_APP_ROOT, SDK_SCOPE, Project, translate
from genledger.destinations.selection.span_processor import SelectingSpanProcessor
from genledger.destinations.selection.strip_content import without_secrets
from genledger.shared.private_attributes import (
    ENDING_SPANS,
    EndingSpanHook,
    fits,
    langfuse_filter,
    replace_attributes,
    span_processors,
)

_WORDS = ("langfuse.", "user.id", "session.id")


class LangfuseSdk:
    """Finds the SDK's processor among those of a span. The application may create its client at any time.

    Args:
        public_key: The project whose processor it is.
    """

    def __init__(self, public_key: str) -> None:
        self._public_key = public_key
        self._seen: tuple[tuple[Any, ...], Callable[[ReadableSpan], object] | None] = ((), None)

    def sends(self, span: ReadableSpan) -> bool:
        """Return whether the SDK sends a span that is ending."""
        processors = span_processors(span)
        seen, chosen = self._seen
        if processors is not seen:
            chosen = self._filter(processors)
            self._seen = processors, chosen
        if chosen is None:
            return False
        scope = span.instrumentation_scope
        made_by = (scope.attributes or {}).get("public_key") if scope is not None and scope.name == SDK_SCOPE else None
        if made_by not in (None, self._public_key):
            return False  # what the client of another project makes is that project's
        try:
            return bool(chosen(span))
        except Exception:
            return False  # as the SDK does: it drops a span that its filter fails on

    def _filter(self, processors: tuple[Any, ...]) -> Callable[[ReadableSpan], object] | None:
        for processor in processors:
            named = any(base.__name__ == "LangfuseSpanProcessor" for base in type(processor).__mro__)
            if named and getattr(processor, "public_key", None) == self._public_key:
                return langfuse_filter(processor)
        return None


class BesideSdkProcessor(EndingSpanHook, SelectingSpanProcessor):
    """The span processor of one Langfuse project, which leaves to Langfuse's SDK what that sends.

    Args:
        public_key: The project's key.
        project: What all of its spans share.
        options: As `SelectingSpanProcessor` takes them.
    """

    def __init__(self, *args: Any, public_key: str, project: Project, **options: Any) -> None:
        super().__init__(*args, **options)
        self._sdk = LangfuseSdk(public_key)
        self._project = project

    def on_ending(self, span: Span) -> None:
        """Write what Genledger knows onto a span that the SDK sends."""
        try:
            if not span.context.trace_flags.sampled or not ENDING_SPANS.works or not self._sdk.sends(span):
                return
            item = self.place(span)
            if item is None or item.line is None:
                return
            translated = translate(replace(item, span=without_secrets(span)), self._project)
            words = {key: value for key, value in (translated.attributes or {}).items() if key.startswith(_WORDS)}
            if not fits(span, words):
                return  # rather twice than without what other destinations need
            # The SDK marks a root as soon as it starts, without knowing what Genledger sends above it.
            replace_attributes(span, IS_APP_ROOT, words)
            item.line.elsewhere = True
        except Exception:
            self._complain()
