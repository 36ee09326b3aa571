"""The registry as objects: what `semconv/registry/*.json` says of every name.

The files are read on first use, not on import.
"""

from __future__ import annotations

import functools
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

AttributeType = Literal["string", "int", "double", "boolean", "string[]", "scalar", "number", "any"]
"""`scalar` is a string, number or boolean; `number` an int or double; `any` is structured."""

Value = str | int | float | bool


@dataclass(frozen=True, slots=True)
class Attribute:
    """One attribute.

    `version` is a key of `Registry.versions`. `values` are the known values; when `closed`, no other is
    allowed. `extensions` are values of ours with what they mean. `never` are values that are left out rather
    than recorded. A `template` ends in a free key. `content` is what users typed or models wrote.
    """

    name: str
    type: AttributeType
    version: str
    brief: str
    values: tuple[str, ...] = ()
    extensions: Mapping[str, str] = field(default_factory=dict)
    closed: bool = False
    never: tuple[Value, ...] = ()
    template: bool = False
    content: bool = False

    def accepts(self, value: object) -> bool:
        """Return whether `value` may be recorded, given that its type is right."""
        if self.closed and value not in self.values and value not in self.extensions:
            return False
        return value not in self.never


@dataclass(frozen=True, slots=True)
class Levels:
    """Which attributes a span, metric or event carries, by requirement level.

    `conditional` gives the condition of each attribute. `sampling` names those that must be set when a span
    starts, for samplers to see.
    """

    required: tuple[str, ...] = ()
    conditional: Mapping[str, str] = field(default_factory=dict)
    recommended: tuple[str, ...] = ()
    opt_in: tuple[str, ...] = ()
    sampling: tuple[str, ...] = ()

    @property
    def declared(self) -> frozenset[str]:
        """Every attribute of any level."""
        return frozenset((*self.required, *self.conditional, *self.recommended, *self.opt_in))


@dataclass(frozen=True, slots=True)
class SpanType:
    """One type of span.

    `kinds` are lower-case span kinds. `names` are patterns in order of preference: the first whose attributes
    are all set is the span's name; none means that any name will do. `provider_required` adds required
    attributes for single providers.
    """

    name: str
    version: str
    brief: str
    operations: tuple[str, ...]
    kinds: tuple[str, ...]
    names: tuple[str, ...]
    levels: Levels
    provider_required: Mapping[str, tuple[str, ...]]


@dataclass(frozen=True, slots=True)
class Metric:
    """One metric. `unit` is UCUM.

    `names` is the set of metric names it belongs to, `None` if to both. `inference` says whether its points
    are of inference operations: `True` all, `False` none, `None` any.
    """

    name: str
    version: str
    brief: str
    instrument: Literal["counter", "histogram"]
    value_type: Literal["int", "double"]
    unit: str
    buckets: tuple[float, ...]
    names: Literal["newest", "v1.41"] | None
    inference: bool | None
    levels: Levels


@dataclass(frozen=True, slots=True)
class Event:
    """One event. `severity` is a severity number, `None` where the conventions ask for none."""

    name: str
    version: str
    brief: str
    severity: int | None
    levels: Levels


@dataclass(frozen=True, slots=True)
class Registry:
    """Every name that we emit or check. `versions` says which conventions a version key stands for."""

    versions: Mapping[str, str]
    attributes: Mapping[str, Attribute]
    spans: Mapping[str, SpanType]
    metrics: Mapping[str, Metric]
    events: Mapping[str, Event]

    def attribute(self, name: str) -> Attribute | None:
        """The attribute called `name`, or the template that `name` is an instance of."""
        found = self.attributes.get(name)
        if found is not None:
            return None if found.template else found
        prefix = name
        while "." in prefix:
            prefix = prefix.rpartition(".")[0]
            found = self.attributes.get(prefix)
            if found is not None and found.template and len(name) > len(prefix) + 1:
                return found
        return None


def _directory() -> Path:
    # A wheel carries the files inside of the package; the repository has them beside it.
    package = Path(__file__).parent
    inside = package / "data"
    return inside if inside.is_dir() else package.parent / "registry"


def _read(name: str) -> dict[str, Any]:
    return json.loads((_directory() / f"{name}.json").read_bytes())


def _levels(entry: Mapping[str, Any], groups: Mapping[str, Mapping[str, Any]]) -> Levels:
    sources = [*(groups[name] for name in entry.get("groups", ())), entry]
    lists = {
        level: tuple(dict.fromkeys(name for source in sources for name in source.get(level, ())))
        for level in ("required", "recommended", "opt_in", "sampling")
    }
    conditional = {name: when for source in sources for name, when in source.get("conditional", {}).items()}
    return Levels(conditional=conditional, **lists)


def _attribute(name: str, entry: Mapping[str, Any]) -> Attribute:
    lists = {key: tuple(entry[key]) for key in ("values", "never") if key in entry}
    return Attribute(name=name, **{**entry, **lists})


def _span_types(data: Mapping[str, Any]) -> dict[str, SpanType]:
    return {
        name: SpanType(
            name=name,
            version=entry["version"],
            brief=entry["brief"],
            operations=tuple(entry.get("operations", ())),
            kinds=tuple(entry["kinds"]),
            names=tuple(entry["names"]),
            levels=_levels(entry, data["groups"]),
            provider_required={
                provider: tuple(required) for provider, required in entry.get("provider_required", {}).items()
            },
        )
        for name, entry in data["spans"].items()
    }


def _metrics(data: Mapping[str, Any]) -> dict[str, Metric]:
    return {
        name: Metric(
            name=name,
            version=entry["version"],
            brief=entry["brief"],
            instrument=entry["instrument"],
            value_type=entry["value_type"],
            unit=entry["unit"],
            buckets=tuple(data["buckets"][entry["buckets"]]) if "buckets" in entry else (),
            names=entry.get("names"),
            inference=entry.get("inference"),
            levels=_levels(entry, data["groups"]),
        )
        for name, entry in data["metrics"].items()
    }


def _events(data: Mapping[str, Any], spans: Mapping[str, SpanType]) -> dict[str, Event]:
    return {
        name: Event(
            name=name,
            version=entry["version"],
            brief=entry["brief"],
            severity=entry.get("severity"),
            levels=spans[entry["span_type"]].levels if "span_type" in entry else _levels(entry, data["groups"]),
        )
        for name, entry in data["events"].items()
    }


@functools.cache
def registry() -> Registry:
    """The registry, read once."""
    spans = _span_types(_read("spans"))
    return Registry(
        versions=_read("versions"),
        attributes={name: _attribute(name, entry) for name, entry in _read("attributes").items()},
        spans=spans,
        metrics=_metrics(_read("metrics")),
        events=_events(_read("events"), spans),
    )
