"""Records that tests write."""

from __future__ import annotations

import itertools
from typing import Any

from genledger.context.attribution import Attribution
from genledger.engine.record import CallRecord
from genledger.pricing.cost import Cost
from genledger.pricing.usage import Usage

_numbers = itertools.count(1_000)
"""Ids of calls; smaller ones are left for the spans that a test makes itself."""


def a_call(usd: float | None = 0.25, **fields: Any) -> CallRecord:
    """Return a priced call with ids of its own; keywords replace fields, `usd` sets the whole cost."""
    number = next(_numbers)
    values: dict[str, Any] = {
        "trace_id": number << 64,
        "span_id": number,
        "parent_span_id": None,
        "library": "openai",
        "provider": "openai",
        "operation": "chat",
        "request_model": "gpt-4o-mini",
        "response_model": "gpt-4o-mini-2024-07-18",
        "response_id": f"chatcmpl-{number}",
        "started_ns": 1_790_000_000_000_000_000 + number,
        "duration_s": 0.5,
        "time_to_first_chunk_s": None,
        "stream": False,
        "outcome": "success",
        "error_type": None,
        "attempts": 1,
        "retry_causes": (),
        "attribution": Attribution(tenant="acme", feature="copilot"),
        "usage": Usage(input=100, cache_read=20, output=10, reasoning=5),
        "usage_estimated": False,
        "cost": None if usd is None else Cost(usd, "table"),
        "unpriced": "unknown_model" if usd is None else None,
        "server_address": "api.openai.com",
        "server_port": 443,
    }
    return CallRecord(**(values | fields))
