"""Rules for spans."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from opentelemetry.sdk.trace import ReadableSpan
from opentelemetry.trace import StatusCode

from .. import attributes as A
from .. import spans as S
from ..registry import Levels, SpanType, registry
from .attributes import NAMESPACES, OUR_NAMESPACES, check_attributes, check_required, check_schema_url
from .deviation import Options, Report, is_ours
from .numbers import check_cost, check_usage

_FAILED = frozenset({"timeout", "rate_limited", "error"})
_CALL_ATTRIBUTES = (A.GEN_AI_PROVIDER_NAME, "gen_ai.request.", "gen_ai.response.", "gen_ai.usage.")
_FIELD = re.compile(r"\{([a-z_.]+)\}")


def _of_kind(names: list[str], kind: str) -> SpanType:
    """The type of these that has this kind, or the first of them."""
    types = [registry().spans[name] for name in names]
    return next((span_type for span_type in types if kind in span_type.kinds), types[0])


def span_types(attributes: Mapping[str, Any], kind: str) -> list[SpanType]:
    """The types of a span: one for its operation, and those for `mcp.*` and `db.*` attributes beside it."""
    found = []
    operation = attributes.get(A.GEN_AI_OPERATION_NAME)
    names = [span_type.name for span_type in registry().spans.values() if operation in span_type.operations]
    if names:
        found.append(_of_kind(names, kind))
    if A.MCP_METHOD_NAME in attributes:
        found.append(_of_kind([S.MCP_CLIENT, S.MCP_SERVER], kind))
    if A.DB_SYSTEM_NAME in attributes:
        found.append(registry().spans[S.DB_CLIENT])
    if not found and A.GENLEDGER_OPERATION_KIND in attributes:
        found.append(registry().spans[S.GENLEDGER_TASK_INTERNAL])
    return found


def _expected_name(span_type: SpanType, attributes: Mapping[str, Any]) -> str | None:
    for pattern in span_type.names:
        fields = _FIELD.findall(pattern)
        if all(attributes.get(field) for field in fields):
            return _FIELD.sub(lambda match: str(attributes[match[1]]), pattern)
    return None


def _check_name(span: ReadableSpan, types: list[SpanType], attributes: Mapping[str, Any], report: Report) -> None:
    expected = [_expected_name(span_type, attributes) for span_type in types]
    if None not in expected and span.name not in expected:
        report("span-name", f"should be {' or '.join(map(repr, expected))}", None)


def _check_status(span: ReadableSpan, attributes: Mapping[str, Any], report: Report) -> None:
    status = span.status.status_code
    failed = A.ERROR_TYPE in attributes
    outcome = attributes.get(A.GENLEDGER_OUTCOME)
    if status is StatusCode.OK:
        report("status-ok", "instrumentation never sets the status OK", None)
    if status is StatusCode.ERROR and not failed:
        report("error-type", "is missing although the status is ERROR", A.ERROR_TYPE)
    if status is not StatusCode.ERROR and failed:
        report("error-type", f"is set although the status is {status.name}", A.ERROR_TYPE)
    if outcome == "success" and (failed or status is StatusCode.ERROR):
        report("outcome", "is success although the span failed", A.GENLEDGER_OUTCOME)
    if outcome in _FAILED and not failed and status is not StatusCode.ERROR:
        report("outcome", f"is {outcome} although the span did not fail", A.GENLEDGER_OUTCOME)


def _levels(types: list[SpanType], provider: object) -> list[Levels]:
    levels = [span_type.levels for span_type in types]
    for span_type in types:
        extra = span_type.provider_required.get(str(provider))
        if extra is not None:
            levels.append(Levels(required=extra))
    return levels


def _check_typed(span: ReadableSpan, types: list[SpanType], kind: str, options: Options, report: Report) -> None:
    attributes = span.attributes or {}
    kinds = {allowed for span_type in types for allowed in span_type.kinds}
    if kind not in kinds:
        report("span-kind", f"is {kind}, should be {' or '.join(sorted(kinds))}", None)
    _check_name(span, types, attributes, report)
    _check_status(span, attributes, report)
    for levels in _levels(types, attributes.get(A.GEN_AI_PROVIDER_NAME)):
        check_required(attributes, levels, report)
    check_attributes(
        attributes,
        options,
        report,
        declared={name for span_type in types for name in span_type.levels.declared},
        namespaces=("",) if is_ours(span.instrumentation_scope) else NAMESPACES,
    )
    check_usage(attributes, report)
    check_cost(attributes, report)


def check_span(span: ReadableSpan, options: Options, report: Report) -> None:
    """Check one finished span.

    A span that is neither of a GenAI, MCP or database operation nor made by us is the application's own: only
    the `gen_ai.*` and `genledger.*` attributes on it are looked at.
    """
    attributes = span.attributes or {}
    kind = span.kind.name.lower()
    types = span_types(attributes, kind)
    ours = is_ours(span.instrumentation_scope)
    check_schema_url(span.instrumentation_scope, report)
    if types:
        _check_typed(span, types, kind, options, report)
    else:
        if A.GEN_AI_OPERATION_NAME not in attributes and any(name.startswith(_CALL_ATTRIBUTES) for name in attributes):
            report("required-attribute", "is missing on a span of a GenAI call", A.GEN_AI_OPERATION_NAME)
        elif ours and A.GEN_AI_OPERATION_NAME not in attributes:
            report("span-type", "no attribute says what this span of ours is", None)
        check_attributes(attributes, options, report, declared=None, namespaces=("",) if ours else OUR_NAMESPACES)
    for event in span.events:
        check_attributes(
            event.attributes or {},
            options,
            report,
            declared=None,
            namespaces=OUR_NAMESPACES,
            structured=False,
        )
