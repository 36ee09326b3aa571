"""What the formats of audio endpoints have in common."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from genledger.engine.operation import Attributes, Body, Content
from genledger_semconv import attributes as A


def default_model(name: str) -> Callable[[Body, Attributes], None]:
    """Return what names the model of a request that names none: the endpoint's documented default."""

    def read(body: Body, attributes: Attributes) -> None:
        attributes.setdefault(A.GEN_AI_REQUEST_MODEL, name)

    return read


def asked(parts: Sequence[Any]) -> Content:
    """Return the parts of a request as a message; nothing of none."""
    return {A.GEN_AI_INPUT_MESSAGES: [{"role": "user", "parts": parts}] if parts else None}


def answered(parts: Sequence[Any]) -> Content:
    """Return the parts of an answer as a message; nothing of none."""
    message = {"role": "assistant", "parts": parts, "finish_reason": "stop"}
    return {A.GEN_AI_OUTPUT_MESSAGES: [message] if parts else None}
