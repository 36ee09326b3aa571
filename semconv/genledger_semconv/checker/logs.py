"""Rules for log records."""

from __future__ import annotations

from opentelemetry._logs import LogRecord
from opentelemetry.sdk.util.instrumentation import InstrumentationScope

from .. import attributes as A
from .. import events as E
from ..registry import registry
from .attributes import (
    NAMESPACES,
    OUR_NAMESPACES,
    check_attributes,
    check_required,
    check_schema_url,
)
from .deviation import Options, Report, is_ours
from .numbers import check_cost, check_usage


def check_log(record: LogRecord, scope: InstrumentationScope | None, options: Options, report: Report) -> None:
    """Check one log record.

    An event called `gen_ai.*` or `genledger.*` must be one of the registry's. On any other record, only
    attributes of those two namespaces are looked at.
    """
    attributes = record.attributes or {}
    name = record.event_name
    event = registry().events.get(name) if name else None
    if name is None or event is None:
        if name and name.startswith(OUR_NAMESPACES) and not options.allows(name):
            report("unknown-name", "is not in the registry", None)
        check_attributes(attributes, options, report, declared=None, namespaces=OUR_NAMESPACES)
        return
    check_schema_url(scope, report)
    severity = record.severity_number.value if record.severity_number is not None else None
    if event.severity is not None and severity != event.severity:
        report("severity", f"has the severity number {severity}, not {event.severity}", None)
    if record.body is not None:
        report("body", "an event has attributes and no body", None)
    if name == E.GEN_AI_CLIENT_OPERATION_EXCEPTION and not (
        A.EXCEPTION_TYPE in attributes or A.EXCEPTION_MESSAGE in attributes
    ):
        report("required-attribute", "and exception.message are both missing", A.EXCEPTION_TYPE)
    check_required(attributes, event.levels, report)
    check_attributes(
        attributes,
        options,
        report,
        declared=event.levels.declared,
        namespaces=("",) if is_ours(scope) else NAMESPACES,
        structured=True,
    )
    check_usage(attributes, report)
    check_cost(attributes, report)
