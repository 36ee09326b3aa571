"""Requests of Google's API: what is asked for is a resource and a method of it, the rest are fields.

`models/gemini-3.8-flash:generateContent`, https://ai.google.dev/api.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from genledger.engine.operation import Body, at_path, with_changes
from genledger.pricing.getters import field

from .gemini_batches import name_of
from .gemini_models import model_name, renamed

_PATH = re.compile(r"(?P<resource>[^:?]+)(?::(?P<method>\w+))?(?P<query>\?.*)?$")


def method_of(given: Mapping[str, Any]) -> str:
    """Return the method of a request, or the resource that it creates; nothing for one that only reads."""
    found = _PATH.match(given["path"]) if given.get("http_method") == "post" else None
    return (found["method"] or found["resource"].rpartition("/")[2]) if found is not None else ""


def read_body(client: Any, given: Mapping[str, Any]) -> Body:
    """Return the fields of a request, with what its path says."""
    if (batch := name_of(given["path"])) is not None:
        return {"batch_name": batch}
    fields = {name: value for name, value in given["request_dict"].items() if not name.startswith("_")}
    fields = _merged(fields, field(given.get("http_options"), "extra_body") or {})
    found = _PATH.match(given["path"])
    if found is not None and found["method"] is not None:
        fields["model"] = model_name(found["resource"])
        fields["stream"] = found["method"].startswith("stream")
    elif isinstance(fields.get("model"), str):
        fields["model"] = model_name(fields["model"])
    return fields


def write_changes(given: dict[str, Any], changes: Mapping[str, Any]) -> None:
    """Write changed fields into a request, and another model into its path."""
    rest = dict(changes)
    found = _PATH.match(given["path"])
    if "model" in rest and found is not None and found["method"] is not None:
        resource = renamed(found["resource"], rest.pop("model"))
        given["path"] = f"{resource}:{found['method']}{found['query'] or ''}"
        if requests := given["request_dict"].get("requests"):
            rest["requests"] = [{**one, "model": resource} for one in requests]
    given["request_dict"] = with_changes(given["request_dict"], rest)
    options: Any = given.get("http_options")
    if extra := field(options, "extra_body"):
        over = {name: value for name, value in rest.items() if at_path(extra, name) is not None}
        changed = {"extra_body": with_changes(extra, over)}
        copy = getattr(options, "model_copy", None)
        given["http_options"] = {**options, **changed} if copy is None else copy(update=changed)


def _merged(fields: Mapping[str, Any], extra: Mapping[str, Any]) -> dict[str, Any]:
    """Return fields with what the application added merged over them, as the client does it."""
    both = dict(fields)
    for name, value in extra.items():
        inner = fields.get(name)
        both[name] = _merged(inner, value) if isinstance(inner, Mapping) and isinstance(value, Mapping) else value
    return both
