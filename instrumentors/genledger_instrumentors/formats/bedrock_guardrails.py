"""Bedrock's guardrails, applied by themselves.

https://docs.aws.amazon.com/bedrock/latest/APIReference/API_runtime_ApplyGuardrail.html
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from genledger.engine.content.capture import text_part
from genledger.engine.operation import Attributes, Body, Content, Operation, at_path, listed, text
from genledger.pricing.getters import field, items
from genledger_semconv import attributes as A
from genledger_semconv import spans as S


def read_action(answer: Any, attributes: Attributes) -> None:
    """Read whether the guardrail has intervened."""
    if field(answer, "action") == "GUARDRAIL_INTERVENED":
        attributes[A.GEN_AI_RESPONSE_FINISH_REASONS] = ("guardrail_intervened",)


def _parts(texts: Iterable[Any]) -> list[Any]:
    return [text_part(one) for one in texts if text(one) is not None]


def read_input(body: Body) -> Content:
    """Return what is to be guarded: what a user or a model said."""
    said = _parts(at_path(one, "text.text") for one in listed(body.get("content")))
    role = "assistant" if body.get("source") == "OUTPUT" else "user"
    return {A.GEN_AI_INPUT_MESSAGES: [{"role": role, "parts": said}] if said else None}


def read_output(answer: Any) -> Content:
    """Return what the guardrail says in its place."""
    said = _parts(field(one, "text") for one in items(answer, "outputs"))
    message = {"role": "assistant", "parts": said, "finish_reason": "content_filter"}
    return {A.GEN_AI_OUTPUT_MESSAGES: [message] if said else None}


APPLY_GUARDRAIL = Operation(
    name=S.MODERATION,
    api="apply_guardrail",
    fields={"guardrailIdentifier": (A.AWS_BEDROCK_GUARDRAIL_ID, text)},
    response=read_action,
    input=read_input,
    output=read_output,
    fixed_model=True,
)
