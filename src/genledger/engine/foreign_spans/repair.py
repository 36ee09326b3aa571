"""What a native span says in other words than the conventions', or adds up a second time: put right."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any
from urllib.parse import urlsplit

import orjson
from opentelemetry.sdk.trace import ReadableSpan

from genledger.engine.foreign_spans.native_scopes import NativeScope
from genledger.pricing.readers.attributes import LANGFUSE_PRICING, USAGE_PREFIXES
from genledger_semconv import attributes as A

COUNTED = (*USAGE_PREFIXES, *LANGFUSE_PRICING, "genledger.cost.", "operation.cost")
"""What the names of attributes begin with that a backend adds up over the spans of a trace."""

_USAGE = "gen_ai.usage."
_AGGREGATED = "gen_ai.aggregated_usage."
_SYSTEM = "gen_ai.system"
_REASON = "gen_ai.response.finish_reason"


def read_json(text: str) -> Any:
    """Return what a JSON text describes, and another text as it is."""
    try:
        return orjson.loads(text)
    except orjson.JSONDecodeError:
        return text


def aggregates(span: ReadableSpan) -> dict[str, Any]:
    """Return the usage of a step, a sum of its calls', under names that no backend adds up, as pydantic-ai has them."""
    given = (span.attributes or {}).items()
    return {name.replace(_USAGE, _AGGREGATED, 1): value for name, value in given if name.startswith(_USAGE)}


def repaired(attributes: Mapping[str, Any], row: NativeScope, provider: str | None) -> dict[str, Any]:
    """Return what to change of a native span's attributes; `None` for one that goes.

    Args:
        attributes: As the library wrote them.
        row: Of its scope.
        provider: The provider of the calls inside, where a client of ours made them.
    """
    changes: dict[str, Any] = {}
    for name, value in attributes.items():
        known = row.attributes.get(name)
        if known is not None:
            changes[name] = None
            changes.setdefault(known, attributes.get(known, value))
    changes.update(_provider(attributes, row, provider))
    changes.update(_address(attributes))
    changes.update(_finish_reasons(attributes))
    return changes


def _provider(attributes: Mapping[str, Any], row: NativeScope, provider: str | None) -> Iterator[tuple[str, Any]]:
    given = attributes.get(A.GEN_AI_PROVIDER_NAME, attributes.get(_SYSTEM))
    if _SYSTEM in attributes:
        yield _SYSTEM, None
    if given is not None:
        yield A.GEN_AI_PROVIDER_NAME, provider if given in row.not_providers else given


def _address(attributes: Mapping[str, Any]) -> Iterator[tuple[str, Any]]:
    address = attributes.get(A.SERVER_ADDRESS)
    if not isinstance(address, str) or "://" not in address:
        return
    url = urlsplit(address)
    yield A.SERVER_ADDRESS, url.hostname
    if url.port is not None and A.SERVER_PORT not in attributes:
        yield A.SERVER_PORT, url.port


def _finish_reasons(attributes: Mapping[str, Any]) -> Iterator[tuple[str, Any]]:
    """A list as JSON is a list, and a member of an enumeration its value: `FinishReason.STOP` is `stop`."""
    given = attributes.get(A.GEN_AI_RESPONSE_FINISH_REASONS, attributes.get(_REASON))
    if _REASON in attributes:
        yield _REASON, None
    if isinstance(given, str):
        listed = read_json(given)
        given = listed if isinstance(listed, list) else (given,)
    if isinstance(given, Sequence):
        yield (
            A.GEN_AI_RESPONSE_FINISH_REASONS,
            tuple(one.rpartition(".")[2].lower() if "." in one else one for one in map(str, given)),
        )
