"""LangChain's messages: what they say, and the usage that they carry.

https://reference.langchain.com/python/langchain_core/messages/
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from genledger.pricing.getters import field


def read_usage(usage: Any) -> dict[str, Any] | None:
    """Return LangChain's `UsageMetadata`, inclusive totals with details, as the Responses format has it."""
    if not isinstance(usage, Mapping):
        return None
    given, made = usage.get("input_token_details") or {}, usage.get("output_token_details") or {}
    return {
        "input_tokens": usage.get("input_tokens"),
        "output_tokens": usage.get("output_tokens"),
        "input_tokens_details": {"cached_tokens": given.get("cache_read") or 0},
        "output_tokens_details": {"reasoning_tokens": made.get("reasoning") or 0},
    }


def read_model(message: Any) -> Any:
    """Return the model that answered with a message."""
    metadata = field(message, "response_metadata") or {}
    return metadata.get("model_name") or metadata.get("model") if isinstance(metadata, Mapping) else None


def read_messages(value: Any, role: str) -> list[dict[str, Any]]:
    """Return what goes into or comes out of a run as messages; what has none is one message of `role`."""
    messages = value.get("messages") if isinstance(value, Mapping) else None
    if not isinstance(messages, (list, tuple)):
        return [{"role": role, "parts": [{"type": "text", "content": str(value)}]}]
    found = []
    for one in messages:
        kind = str(field(one, "type") or role)
        said = {"human": "user", "ai": "assistant"}.get(kind, kind)
        found.append({"role": said, "parts": [{"type": "text", "content": str(field(one, "content") or one)}]})
    return found
