"""What a Langfuse server makes of a span, where its documentation does not say: as observed on version 4.16.

| of a span | Langfuse keeps |
|---|---|
| the same trace and span id again | the row that came last, whole |
| `langfuse.observation.input`, `.output` | the text; the text `null` where the attribute is `null` |
| messages with `parts`, once it merges the tools into them | a table of paths: it reads them as OpenAI's |
| `langfuse.observation.cost_details` | each number cut, not rounded, to 12 decimals; `total` is the cost |
| no cost, and a model that an expression of its table matches | its own price |
| `langfuse.trace.metadata.*` | over `langfuse.observation.metadata.*`, and over `attributes`, `scope` of its own |
| JSON strings in it | decoded only in the scope `langfuse-sdk` |
| `langfuse.trace.tags` | the array: spend is grouped by all of it, and filtered by each |
| `langfuse.trace.name`, `langfuse.internal.is_app_root` | per trace, what came last |
| model parameter `service_tier` | the tier that it shows |
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from decimal import ROUND_DOWN, Decimal
from typing import Any

from .receivers import Langfuse, Sent

_OBSERVATION = "langfuse.observation."


@dataclass(frozen=True)
class Row:
    """One observation."""

    name: str
    scope: str
    parent: str
    root: bool
    trace_name: str | None
    metadata: dict[str, Any]
    tags: tuple[str, ...]
    input: Any
    output: Any
    cost: Decimal | None
    priced_by_langfuse: bool
    tier: str


def read(sent: Sent) -> Row:
    """Return the observation that a span becomes."""
    given = sent.attributes
    metadata: dict[str, Any] = {"attributes": dict(given), "scope": {"name": sent.scope}}
    for prefix in (f"{_OBSERVATION}metadata.", "langfuse.trace.metadata."):
        for key, value in given.items():
            if key.startswith(prefix):
                metadata[key.removeprefix(prefix)] = value
    costs = json.loads(given.get(f"{_OBSERVATION}cost_details", "{}"))
    parameters = json.loads(given.get(f"{_OBSERVATION}model.parameters", "{}"))
    return Row(
        sent.name,
        sent.scope,
        sent.parent,
        not sent.parent or bool(given.get("langfuse.internal.is_app_root")),
        given.get("langfuse.trace.name"),
        metadata,
        tuple(given.get("langfuse.trace.tags", ())),
        _text(given, "input"),
        _text(given, "output"),
        Decimal(repr(costs["total"])).quantize(Decimal("1e-12"), ROUND_DOWN) if "total" in costs else None,
        not costs and any(key in given for key in (f"{_OBSERVATION}model.name", "gen_ai.request.model")),
        str(parameters.get("service_tier", "default")),
    )


def _text(given: dict[str, Any], name: str) -> Any:
    text = given.get(f"{_OBSERVATION}{name}")
    if text is None:
        return None
    try:
        return "null" if text == "null" else json.loads(text)
    except ValueError:
        return text


def rows(server: Langfuse) -> dict[str, Row]:
    """Return the observations of a server, by name."""
    return {sent.name: read(sent) for sent in {sent.key: sent for sent in server.spans()}.values()}
