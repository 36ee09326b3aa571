"""Native spans as steps: named as the conventions have it, counted in the metrics and in the run they are in."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from opentelemetry.context import Context
from opentelemetry.sdk.trace import ReadableSpan, Span

from genledger.engine.foreign_spans.native_scopes import Named, NativeScope
from genledger.engine.operation import span_name
from genledger.engine.steps import OPERATIONS, Kind, Step
from genledger.engine.tool_signatures import tool_signature
from genledger_semconv import attributes as A
from genledger_semconv import spans as S

_STEPS = frozenset({S.INVOKE_AGENT, S.INVOKE_WORKFLOW, S.EXECUTE_TOOL, S.CREATE_AGENT, S.PLAN})

_NO_TYPE = "_OTHER"
"""What the conventions call an error without a type."""


def is_step(span: ReadableSpan) -> bool:
    """Return whether a span's operation consumes nothing itself: usage on it is the sum of the calls inside."""
    return (span.attributes or {}).get(A.GEN_AI_OPERATION_NAME) in _STEPS


def name_of(kind: Kind, attributes: Mapping[str, Any]) -> str:
    """Return the name of the agent, tool or workflow that a span's attributes give; empty where they do not."""
    name = attributes.get(OPERATIONS[kind][1])
    return name if isinstance(name, str) else ""


def adoption(native: Named, attributes: Mapping[str, Any]) -> tuple[str | None, dict[str, Any]]:
    """Return the conventions' name of a native step (`None`: it stays), and the attributes that make it one."""
    assert native.role != "hidden"
    operation, naming = OPERATIONS[native.role]
    if not operation:
        return native.name or None, {A.GENLEDGER_OPERATION_KIND: native.role}
    name = name_of(native.role, attributes) or native.name
    return span_name(operation, name), {A.GEN_AI_OPERATION_NAME: operation, **({naming: name} if name else {})}


def adopt(span: Span, native: Named, row: NativeScope, context: Context, around: str | None) -> Step | None:
    """Make a native span that has just started a step of ours.

    Args:
        span: The span.
        native: What it is.
        row: Of its scope.
        context: The context that it belongs in.
        around: Name of the tool that the span around it stands for; `None` when that is no tool.

    Returns:
        The step; `None` for a tool that the span around it already stands for, as MCP's client and server do inside
        a framework's, which may put the server before the name: `mcp__server__tool`.
    """
    assert native.role != "hidden"
    given = {row.attributes.get(name, name): value for name, value in (span.attributes or {}).items()}
    name, attributes = adoption(native, given)
    if name is not None:
        span.update_name(name)
    span.set_attributes(attributes)
    named = name_of(native.role, attributes)
    if native.role == "tool" and around is not None and (named in ("", around) or around.endswith(f"__{named}")):
        return None
    arguments = given.get(A.GEN_AI_TOOL_CALL_ARGUMENTS)
    step = Step(
        native.role, named or span.name, context, span, "" if arguments is None else tool_signature(named, arguments)
    )
    if native.role == "tool" and arguments is None and step.run is not None:
        step.run.untold.append(named)
    return step


def tool_of(span: Any) -> str | None:
    """Return the name of the tool that a span stands for; `None` for any other span."""
    attributes = getattr(span, "attributes", None) or {}
    if attributes.get(A.GEN_AI_OPERATION_NAME) != S.EXECUTE_TOOL:
        return None
    return name_of("tool", attributes)


def failure_of(span: ReadableSpan) -> str | None:
    """Return the `error.type` of a native span that has ended; `None` when it did not fail."""
    kind = (span.attributes or {}).get(A.ERROR_TYPE)
    if isinstance(kind, str):
        return kind
    if span.status.is_ok or span.status.is_unset:
        return None
    types = [(event.attributes or {}).get("exception.type") for event in span.events]
    return next((kind for kind in reversed(types) if isinstance(kind, str)), _NO_TYPE)
