"""Cost of one answer as received."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

from genledger.pricing.calculate import price
from genledger.pricing.cost import Cost
from genledger.pricing.readers.reading import Reading, read_usage


def price_reading(reading: Reading, *, provider: str, at_ns: int | None, base_url: str | None) -> Cost | str:
    """Return the cost of what an answer reports, or the reason why it is unknown."""
    return price(
        reading.usage,
        provider=provider,
        model=reading.model,
        at_ns=at_ns,
        tier=reading.tier,
        region=reading.region,
        base_url=base_url,
        reported=reading.reported,
        notes=reading.notes,
        requested=reading.requested,
        context=reading.context,
        also=reading.also,
        partial=reading.partial,
        shares=reading.shares,
    )


def cost_of_response(
    *,
    provider: str,
    api: str,
    payload: Mapping[str, Any],
    request: Mapping[str, Any] | None = None,
    at: datetime | None = None,
    base_url: str | None = None,
    headers: Mapping[str, Any] | None = None,
) -> Cost | None:
    """Return the cost of one answer in USD, or `None` if it is unknown. Never raises.

    `provider` is a name of the GenAI conventions (`openai`, `azure.ai.openai`, `gcp.gemini`, `aws.bedrock`,
    `x_ai`, …) or an everyday one (`azure`, `google`, `bedrock`, `mistral`, …). `api` names the endpoint:
    `chat`, `responses`, `completions`, `embeddings`, `embed`, `images`, `speech`, `transcriptions`,
    `moderations`, `realtime`, `batch`, `messages`, `generateContent`, `embedContent`, `converse`,
    `invoke_model`, `rerank`. With `batch`, `payload` is one line of a batch result file, or the answer inside
    it, and the batch rate applies.

    `payload` is the body as returned and `request` the body as sent: the model and tier of the answer take
    precedence over the requested ones. `at` is the time of the call (UTC without a zone; default: now).
    `base_url` identifies the provider, region and deployment if possible; `headers` are the response's.
    """
    try:
        reading = read_usage(provider, api, payload, request, base_url=base_url, headers=headers)
        if reading is None:
            return None
        cost = price_reading(reading, provider=provider, at_ns=_nanoseconds(at), base_url=base_url)
    except Exception:
        return None
    return None if isinstance(cost, str) else cost


def _nanoseconds(at: datetime | None) -> int | None:
    if at is None:
        return None
    return int((at if at.tzinfo is not None else at.replace(tzinfo=UTC)).timestamp()) * 1_000_000_000
