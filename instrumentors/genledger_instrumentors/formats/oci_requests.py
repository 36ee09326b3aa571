"""Oracle's requests, as typed objects of its client or as mappings.

https://docs.oracle.com/en-us/iaas/api/#/en/generative-ai-inference/20231130
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from genledger.pricing.getters import field

_FREE = frozenset({"arguments", "documents", "metadata", "outputs", "parameters", "parameter_definitions", "schema"})
"""Fields whose names are the application's."""

_HUMP = re.compile(r"(?<=[a-z0-9])(?=[A-Z])")


def wire(value: Any) -> Any:
    """Return a typed object of the client, or what is in one, as the JSON that is sent for it."""
    if isinstance(value, Mapping):
        return {name: wire(one) for name, one in value.items()}
    if isinstance(value, (list, tuple)):
        return [wire(one) for one in value]
    names = getattr(value, "attribute_map", None)
    if not isinstance(names, Mapping):
        return value
    return {sent: wire(one) for name, sent in names.items() if (one := getattr(value, name, None)) is not None}


def plain(value: Any) -> Any:
    """Return JSON of Oracle's with names in the case that OpenAI's have."""
    if isinstance(value, Mapping):
        named = {_HUMP.sub("_", str(name)).lower(): one for name, one in value.items()}
        return {name: one if name in _FREE else plain(one) for name, one in named.items()}
    return [plain(one) for one in value] if isinstance(value, (list, tuple)) else value


def serving(details: Mapping[str, Any]) -> dict[str, Any]:
    """Return the model of a request, or the endpoint of a dedicated cluster, and which of both it is."""
    mode = details.get("servingMode")
    name = field(mode, "modelId") or field(mode, "endpointId")
    return {"model": name, "serving_type": field(mode, "servingType")}


def _argument(given: Mapping[str, Any]) -> str:
    """Return the argument that is the request: the one whose name ends with `_details`."""
    return next((name for name in given if name.endswith("_details")), "")


def details_of(given: Mapping[str, Any]) -> Mapping[str, Any]:
    """Return the request as it is sent, from an object or a mapping."""
    details = wire(given.get(_argument(given)))
    return details if isinstance(details, Mapping) else {}


def write_changes(arguments: dict[str, Any], changes: Mapping[str, Any]) -> None:
    """Write changes into a copy of the request, in which the model and what a chat asks for are fields of fields."""
    details = dict(details_of(arguments))
    inner = next((name for name in ("chatRequest", "inferenceRequest") if name in details), None)
    for name, value in changes.items():
        if name == "model":
            details["servingMode"] = {**details["servingMode"], "modelId": value}
            continue
        first, *rest = name.split("_")
        changed = {"".join((first, *(one.title() for one in rest))): value}
        details = {**details, inner: {**details[inner], **changed}} if inner else {**details, **changed}
    arguments[_argument(arguments)] = details
