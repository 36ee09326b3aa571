"""Deviations that the checker reports, and its options."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from fnmatch import fnmatchcase
from typing import Literal

from opentelemetry.sdk.util.instrumentation import InstrumentationScope

Signal = Literal["span", "metric", "log"]
MetricNames = Literal["newest", "v1.41", "both"]

Rule = Literal[
    "unknown-name",
    "unknown-attribute",
    "undeclared-attribute",
    "attribute-type",
    "attribute-value",
    "required-attribute",
    "schema-url",
    "span-type",
    "span-name",
    "span-kind",
    "status-ok",
    "error-type",
    "outcome",
    "usage",
    "cost",
    "content-captured",
    "content-schema",
    "instrument",
    "unit",
    "value-type",
    "buckets",
    "metric-operation",
    "severity",
    "body",
]
"""Every rule; `docs/semconv.md` says what each one asks for."""


@dataclass(frozen=True, slots=True)
class Deviation:
    """One thing that is not as the registry says.

    `name` is the name of the span, metric or event; `attribute` the attribute concerned, if it is about one.
    """

    signal: Signal
    name: str
    rule: Rule
    message: str
    attribute: str | None = None

    def __str__(self) -> str:
        about = f" {self.attribute}:" if self.attribute is not None else ""
        return f"{self.signal} {self.name!r}: [{self.rule}]{about} {self.message}"


Report = Callable[[Rule, str, str | None], None]
"""Takes a rule, a message and the attribute concerned; knows which span, metric or log record it is about."""


@dataclass(frozen=True, slots=True)
class Options:
    """Options of `check`. `allow` are patterns of attribute, metric and event names to ignore."""

    capture_content: bool
    metric_names: MetricNames
    allow: tuple[str, ...]

    def allows(self, name: str) -> bool:
        """Return whether `name` is on the allow list."""
        return any(fnmatchcase(name, pattern) for pattern in self.allow)


def is_ours(scope: InstrumentationScope | None) -> bool:
    """Return whether Genledger made the telemetry of this scope."""
    return scope is not None and scope.name.partition(".")[0] in ("genledger", "genledger_instrumentors")
