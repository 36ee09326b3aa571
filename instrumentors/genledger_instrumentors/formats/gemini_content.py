"""Gemini's `generateContent`, and its `countTokens`, of the Gemini API and of Vertex AI.

https://ai.google.dev/api/generate-content,
https://cloud.google.com/vertex-ai/generative-ai/docs/model-reference/inference
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from genledger.engine.operation import (
    Attributes,
    Body,
    Content,
    Operation,
    integer,
    listed,
    number,
    strings,
    text,
    write_texts,
)
from genledger.pricing.getters import field, first, label
from genledger_semconv import attributes as A
from genledger_semconv import spans as S

from .gemini_parts import read_candidate, read_message, read_parts, read_tools
from .gemini_stream import ContentChunks
from .openai_fields import choice_count

_OUTPUTS = {"IMAGE": "image", "AUDIO": "speech"}


def _whole(value: Any) -> int | None:
    """Return a whole number: clients give `topK` with a fraction that is none."""
    return int(value) if isinstance(value, float) and value.is_integer() else integer(value)


def _word(value: Any) -> str | None:
    return label({"value": value}, "value")


def read_request(body: Body, attributes: Attributes) -> None:
    """Read how many candidates are asked for, and of what kind."""
    config = body.get("generationConfig")
    choice_count(field(config, "candidateCount"), attributes)
    wanted = [str(getattr(one, "value", one)).upper() for one in listed(field(config, "responseModalities"))]
    other = [_OUTPUTS[one] for one in wanted if one in _OUTPUTS]
    if other:
        attributes[A.GEN_AI_OUTPUT_TYPE] = other[0]
    elif label(config, "responseMimeType") == "application/json":
        attributes[A.GEN_AI_OUTPUT_TYPE] = "json"


def read_response(answer: Any, attributes: Attributes) -> None:
    """Read the answering model, and why each candidate ended, or the prompt was blocked."""
    write_texts(answer, (("responseId", A.GEN_AI_RESPONSE_ID), ("modelVersion", A.GEN_AI_RESPONSE_MODEL)), attributes)
    reasons = [label(candidate, "finishReason") or "error" for candidate in listed(field(answer, "candidates"))]
    blocked = label(field(answer, "promptFeedback"), "blockReason")
    if (error := field(answer, "error")) is not None:  # in a stream; older clients do not raise it
        attributes[A.ERROR_TYPE] = label(error, "status") or "error_event"
    if reasons or blocked is not None:
        attributes[A.GEN_AI_RESPONSE_FINISH_REASONS] = tuple(reasons) or (str(blocked),)


def read_input(body: Body) -> Content:
    """Return the system instruction, contents and tools of a request."""
    return {
        A.GEN_AI_SYSTEM_INSTRUCTIONS: read_parts(body.get("systemInstruction")),
        A.GEN_AI_INPUT_MESSAGES: [read_message(content) for content in listed(body.get("contents"))],
        A.GEN_AI_TOOL_DEFINITIONS: read_tools(body.get("tools")),
    }


def read_output(answer: Any) -> Content:
    """Return one message for each candidate."""
    return {A.GEN_AI_OUTPUT_MESSAGES: [read_candidate(one) for one in listed(field(answer, "candidates"))]}


def most_tool_calls(body: Body) -> Mapping[str, float]:
    """Return a search for each tool that grounds answers: how many the model makes is not limited."""
    units: dict[str, float] = {}
    for tool in listed(body.get("tools")):
        if first(tool, "googleSearch", "googleSearchRetrieval", "enterpriseWebSearch") is not None:
            units["web_search"] = 1.0
        if field(tool, "googleMaps") is not None:
            units["maps_search"] = 1.0
    return units


GENERATE_CONTENT = Operation(
    name=S.GENERATE_CONTENT,
    api="generateContent",
    fields={"model": (A.GEN_AI_REQUEST_MODEL, text)},
    nested={
        "generationConfig.maxOutputTokens": (A.GEN_AI_REQUEST_MAX_TOKENS, integer),
        "generationConfig.temperature": (A.GEN_AI_REQUEST_TEMPERATURE, number),
        "generationConfig.topP": (A.GEN_AI_REQUEST_TOP_P, number),
        "generationConfig.topK": (A.GEN_AI_REQUEST_TOP_K, _whole),
        "generationConfig.stopSequences": (A.GEN_AI_REQUEST_STOP_SEQUENCES, strings),
        "generationConfig.seed": (A.GEN_AI_REQUEST_SEED, integer),
        "generationConfig.frequencyPenalty": (A.GEN_AI_REQUEST_FREQUENCY_PENALTY, number),
        "generationConfig.presencePenalty": (A.GEN_AI_REQUEST_PRESENCE_PENALTY, number),
        "generationConfig.thinkingConfig.thinkingLevel": (A.GEN_AI_REQUEST_REASONING_LEVEL, _word),
    },
    request=read_request,
    response=read_response,
    accumulate=ContentChunks,
    input=read_input,
    output=read_output,
    family="inference",
    limit=("generationConfig.maxOutputTokens",),
    choices=("generationConfig.candidateCount",),
    tools=most_tool_calls,
)

COUNT_TOKENS = Operation(
    name=S.COUNT_TOKENS, api="count_tokens", fields={"model": (A.GEN_AI_REQUEST_MODEL, text)}, priced=False
)
