"""Decisions: a model answers a list of questions about one input, and is billed by tokens.

https://developers.openai.com/api/docs/api-reference/decisions, https://ai.google.dev/api/decisions,
https://docs.perplexity.ai/api-reference
"""

from __future__ import annotations

from typing import Any

from genledger.engine.content.capture import generic_part
from genledger.engine.operation import Body, Content, Operation, text
from genledger.pricing.getters import field
from genledger_semconv import attributes as A
from genledger_semconv import spans as S

from .openai_embeddings import read_embeddings


def _asked(body: Body) -> Content:
    names = ("state", "input", "questions")
    parts = [generic_part({"type": name, name: body[name]}) for name in names if name in body]
    return {A.GEN_AI_INPUT_MESSAGES: [{"role": "user", "parts": parts}]}


def _decided(answer: Any) -> Content:
    answers = field(answer, "answers")
    if answers is None:
        return {}
    part = generic_part({"type": "answers", "answers": answers})
    return {A.GEN_AI_OUTPUT_MESSAGES: [{"role": "assistant", "parts": [part], "finish_reason": "stop"}]}


DECISIONS = Operation(
    name=S.GENERATE_CONTENT,
    api="decisions",
    fields={"model": (A.GEN_AI_REQUEST_MODEL, text)},
    constant={A.GEN_AI_OUTPUT_TYPE: "json"},
    response=read_embeddings,
    input=_asked,
    output=_decided,
    family="inference",
)
