"""Fields that several of OpenAI's endpoints have in common."""

from __future__ import annotations

from typing import Any

from genledger.engine.operation import Attributes, Body, Converter, integer, listed, number, strings, text, write_texts
from genledger.pricing.getters import field
from genledger_semconv import attributes as A

SAMPLING: dict[str, tuple[str, Converter]] = {
    "model": (A.GEN_AI_REQUEST_MODEL, text),
    "temperature": (A.GEN_AI_REQUEST_TEMPERATURE, number),
    "top_p": (A.GEN_AI_REQUEST_TOP_P, number),
    "frequency_penalty": (A.GEN_AI_REQUEST_FREQUENCY_PENALTY, number),
    "presence_penalty": (A.GEN_AI_REQUEST_PRESENCE_PENALTY, number),
    "seed": (A.GEN_AI_REQUEST_SEED, integer),
    "stop": (A.GEN_AI_REQUEST_STOP_SEQUENCES, strings),
    "max_tokens": (A.GEN_AI_REQUEST_MAX_TOKENS, integer),
    "max_completion_tokens": (A.GEN_AI_REQUEST_MAX_TOKENS, integer),
    "max_output_tokens": (A.GEN_AI_REQUEST_MAX_TOKENS, integer),
    "top_k": (A.GEN_AI_REQUEST_TOP_K, integer),
    "reasoning_effort": (A.GEN_AI_REQUEST_REASONING_LEVEL, text),
}


def read_sampling(body: Body, attributes: Attributes) -> None:
    """Read attributes that depend on a field's value."""
    choice_count(body.get("n"), attributes)
    tier = body.get("service_tier")
    if isinstance(tier, str) and tier != "auto":
        attributes[A.OPENAI_REQUEST_SERVICE_TIER] = tier


def choice_count(choices: Any, attributes: Attributes) -> None:
    """The conventions' `gen_ai.request.choice.count`, where it is not one."""
    if type(choices) is int and choices != 1:
        attributes[A.GEN_AI_REQUEST_CHOICE_COUNT] = choices


def output_type(kind: Any, attributes: Attributes) -> None:
    """The conventions' `gen_ai.output.type` of a response format."""
    if kind in ("json_object", "json_schema"):
        attributes[A.GEN_AI_OUTPUT_TYPE] = "json"
    elif kind == "text":
        attributes[A.GEN_AI_OUTPUT_TYPE] = "text"


def read_answer(answer: Any, attributes: Attributes) -> None:
    """Read the answering model, the id and the tier."""
    write_texts(answer, _ANSWER, attributes)


_ANSWER = (
    ("id", A.GEN_AI_RESPONSE_ID),
    ("model", A.GEN_AI_RESPONSE_MODEL),
    ("service_tier", A.OPENAI_RESPONSE_SERVICE_TIER),
    ("system_fingerprint", A.OPENAI_RESPONSE_SYSTEM_FINGERPRINT),
)


def tool_calls(message: Any) -> list[Any]:
    """The tools that a message asks for. The one function that came before tools is a tool without an identifier."""
    function = field(message, "function_call")
    calls = list(listed(field(message, "tool_calls")))
    return calls if function is None else [*calls, {"function": function}]
