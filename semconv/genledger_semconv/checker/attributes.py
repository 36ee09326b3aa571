"""Rules for attributes that hold on every signal."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any

from opentelemetry.sdk.util.instrumentation import InstrumentationScope

from .. import SCHEMA_URL
from .. import attributes as A
from ..registry import Attribute, Levels, registry
from .content import check_content
from .deviation import Options, Report, is_ours

OUR_NAMESPACES = ("gen_ai.", "genledger.")
"""Namespaces whose names are checked wherever they appear."""

NAMESPACES = (*OUR_NAMESPACES, "mcp.", "openai.", "aws.bedrock.", "db.")
"""Namespaces whose names are checked on spans, metrics and events that have a type."""


def _is_number(value: object) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool)


def _is_integer(value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)


def _is_strings(value: object) -> bool:
    return isinstance(value, (list, tuple)) and all(isinstance(item, str) for item in value)


_TYPES: Mapping[str, Callable[[object], bool]] = {
    "string": lambda value: isinstance(value, str),
    "int": _is_integer,
    "double": lambda value: isinstance(value, float),
    "boolean": lambda value: isinstance(value, bool),
    "string[]": _is_strings,
    "scalar": lambda value: isinstance(value, (str, int, float)),
    "number": _is_number,
    "any": lambda value: True,
}


def _check_value(name: str, attribute: Attribute, value: object, structured: bool, report: Report) -> None:
    if not _TYPES[attribute.type](value):
        report("attribute-type", f"is {type(value).__name__} {value!r:.60}, not {attribute.type}", name)
    elif attribute.type == "any":
        check_content(name, value, structured, report)
    elif not attribute.accepts(value):
        report("attribute-value", f"must not be {value!r:.60}", name)


def check_attributes(
    attributes: Mapping[str, Any],
    options: Options,
    report: Report,
    *,
    declared: Iterable[str] | None,
    namespaces: tuple[str, ...],
    structured: bool = False,
) -> None:
    """Check names, types, values and content.

    Args:
        attributes: What was recorded.
        options: What `check` was told.
        report: Where deviations go.
        declared: The attributes that may be here; `None` if any of the registry may.
        namespaces: Prefixes of the names to check; the empty prefix checks every name.
        structured: Whether structured values must not be JSON in a string, as on events.
    """
    allowed = None if declared is None else frozenset(declared)
    for name, value in attributes.items():
        if options.allows(name):
            continue
        attribute = registry().attribute(name)
        belongs = attribute is not None and allowed is not None and attribute.name in allowed
        if not belongs and not name.startswith(namespaces):
            continue
        if attribute is None:
            report("unknown-attribute", "is not in the registry", name)
            continue
        if allowed is not None and not belongs:
            report("undeclared-attribute", "does not belong here", name)
        if attribute.content and not options.capture_content:
            report("content-captured", "is content, and capture is off", name)
        _check_value(name, attribute, value, structured, report)


def check_required(attributes: Mapping[str, Any], levels: Levels, report: Report) -> None:
    """Check the required attributes, and the conditional ones whose condition can be seen."""
    for name in levels.required:
        if name not in attributes:
            report("required-attribute", "is missing", name)
    if A.SERVER_PORT in levels.conditional and A.SERVER_ADDRESS in attributes and A.SERVER_PORT not in attributes:
        report("required-attribute", "is missing although server.address is set", A.SERVER_PORT)


def check_schema_url(scope: InstrumentationScope | None, report: Report) -> None:
    """Check that a scope of ours says which conventions its names come from."""
    if scope is not None and is_ours(scope) and scope.schema_url != SCHEMA_URL:
        report(
            "schema-url",
            f"scope {scope.name!r} has schema URL {scope.schema_url!r}, not {SCHEMA_URL!r}",
            None,
        )
