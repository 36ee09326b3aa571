"""Haystack, 3.x: pipelines, components, agents and tools, beside the tracer that the application has set.

https://docs.haystack.deepset.ai/docs/tracing
"""

from __future__ import annotations

import sys
from collections.abc import Mapping
from contextvars import ContextVar
from types import TracebackType
from typing import Any

import wrapt
from opentelemetry.context import create_key, get_current, set_value

from genledger.context.scoped_context import enter, leave
from genledger.engine.parents import parent_context
from genledger.engine.recorder import active
from genledger.engine.steps import Step, start_step
from genledger.instrumentation.adapters.refusals import (
    carrying_refusals,
    raising_handled_refusals,
    raising_refusals,
    unpacking_refusals,
)
from genledger.instrumentation.instrumentor import Instrumentor
from genledger.instrumentation.patching import Patch, Patches
from genledger.shared import internal_errors

from ..formats.haystack_spans import PIPELINES, HaystackStep, read_component, read_content, read_failure, read_operation

_KEY = create_key("genledger-haystack-span")

_CALL: ContextVar[Any] = ContextVar("genledger-haystack-tool-call", default=None)
"""The model's call of the tool whose span begins next."""


class TracedSpan(wrapt.ObjectProxy):  # type: ignore[misc,type-arg,unused-ignore]
    """A span of the application's tracer, with our step beside it, or the step around it."""

    def __init__(self, span: Any, block: TracedBlock) -> None:
        super().__init__(span)
        self._self_block = block

    def set_tag(self, key: str, value: Any) -> None:
        """Set a tag, and note that a tool has failed."""
        if key == "haystack.tool.error":
            self._self_block.failed(sys.exception())
        self.__wrapped__.set_tag(key, value)

    def set_content_tag(self, key: str, value: Any) -> None:
        """Set a tag, and write what it has to the step."""
        self._self_block.write(key, value)
        self.__wrapped__.set_content_tag(key, value)


class TracedBlock:
    """A block of Haystack's that is traced, by the application's tracer and by us."""

    def __init__(self, traced: Any, operation: str, tags: Mapping[str, Any] | None, parent: Any) -> None:
        self._traced = traced
        self._operation = operation
        self._tags = tags or {}
        self._parent = parent
        self._step: Step | None = None
        self._error: BaseException | None = None
        self._found: HaystackStep | None = None
        self.inner: Step | None = None
        self.component: str | None = None

    def __enter__(self) -> Any:
        span = self._traced.__enter__()
        try:
            return self._begin(span)
        except Exception as fault:
            internal_errors.report("beginning a step of haystack", fault)
            return span

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> Any:
        leave(self)
        if self._step is not None:
            self._step.end(read_failure(error or self._error))
        return self._traced.__exit__(kind, error, traceback)

    def failed(self, error: BaseException | None) -> None:
        """Note what a tool failed with, of which the model is told."""
        self._error = error

    def write(self, tag: str, value: Any) -> None:
        """Write content to the block's own step."""
        found = self._found
        if self._step is not None and found is not None:
            self._step.write(lambda: read_content(found.kind, tag, value))

    def _begin(self, span: Any) -> TracedSpan:
        here = get_current()
        around = self._parent if isinstance(self._parent, TracedSpan) else here.get(_KEY)
        outer = around._self_block if isinstance(around, TracedSpan) else None
        step = outer.inner if outer is not None else None
        if step is None:
            context = parent_context()
        else:
            context = here if step.holds(here) else step.inside(here)
        call = _CALL.get()
        _CALL.set(None)
        self._found = read_operation(self._operation, self._tags, outer.component if outer is not None else None, call)
        if self._found is not None:
            kind, name, attributes, content, signature = self._found
            given = {key: value for key, value in attributes.items() if value}
            step = self._step = start_step(
                kind, name, parent=context, attributes=given, content=content, signature=signature
            )
            context = step.inside(context)
        self.inner = step
        self.component = read_component(self._operation, self._tags)
        traced = TracedSpan(span, self)
        if self._operation not in PIPELINES:
            enter(self, here, set_value(_KEY, traced, context))
        return traced


def trace(wrapped: Any, instance: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
    """Trace a block."""

    def of(operation_name: str, tags: Any = None, parent_span: Any = None) -> tuple[str, Any, Any]:
        return operation_name, tags, parent_span

    operation, tags, parent = of(*args, **kwargs)
    traced = wrapped(operation, tags, parent.__wrapped__ if isinstance(parent, TracedSpan) else parent)
    return traced if active() is None else TracedBlock(traced, operation, tags, parent)


def current_span(wrapped: Any, instance: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
    """Return the span of the block that is traced here."""
    here = get_current().get(_KEY)
    return here if isinstance(here, TracedSpan) else wrapped(*args, **kwargs)


def tool_span(wrapped: Any, instance: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
    """Note the call that a tool's span is of."""
    _CALL.set(kwargs.get("tool_call") or (args[1] if len(args) > 1 else None))
    return wrapped(*args, **kwargs)


class HaystackInstrumentor(Instrumentor):
    """Records the structure of Haystack's pipelines and agents."""

    library = "haystack"
    distribution = "haystack-ai"
    supports = "haystack-ai >= 3, < 4"

    def patches(self) -> Patches:
        """Return what traces, and what wraps refusals or makes answers of them."""
        tracer, fallback = "haystack.tracing.tracer", "haystack.components.generators.chat.fallback"
        return [
            Patch(tracer, "ProxyTracer.trace", trace),
            Patch(tracer, "ProxyTracer.current_span", current_span),
            Patch("haystack.components.agents.tool_calling", "_create_tool_span", tool_span, optional=True),
            Patch("haystack.tools.errors", "ToolInvocationError.__init__", raising_handled_refusals),
            *(
                Patch(fallback, f"FallbackChatGenerator.{name}", wrapper, optional=True)
                for wrapper, names in (
                    (carrying_refusals, ("_run_single_sync", "_run_single_async")),
                    (unpacking_refusals, ("run", "run_async")),
                )
                for name in names
            ),
            Patch("haystack.core.errors", "PipelineRuntimeError.from_exception", raising_refusals),
        ]
