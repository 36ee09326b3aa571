"""The format of Hugging Face's Text Generation Inference. https://huggingface.github.io/text-generation-inference

An answer has its usage only if its details were asked for; the last event of a stream always has them.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from genledger.engine.ceiling import length_of
from genledger.engine.content.capture import text_part
from genledger.engine.operation import Attributes, Body, Content, Operation, integer, number, strings, text
from genledger.pricing.getters import field, path
from genledger_semconv import attributes as A
from genledger_semconv import spans as S


def read_response(answer: Any, attributes: Attributes) -> None:
    """Read how the generation ended."""
    reason = path(answer, "details", "finish_reason")
    if isinstance(reason, str):
        attributes[A.GEN_AI_RESPONSE_FINISH_REASONS] = (reason,)


def read_input(body: Body) -> Content:
    """Return the prompt of a request."""
    prompt = text(body.get("inputs"))
    return {A.GEN_AI_INPUT_MESSAGES: [{"role": "user", "parts": [text_part(prompt)]}] if prompt is not None else None}


def read_output(answer: Any) -> Content:
    """Return what was generated."""
    said = text(field(answer, "generated_text"))
    reason = path(answer, "details", "finish_reason")
    message = {
        "role": "assistant",
        "parts": [text_part(said)] if said is not None else [],
        "finish_reason": reason if isinstance(reason, str) else "stop" if said is not None else "error",
    }
    return {A.GEN_AI_OUTPUT_MESSAGES: [message]}


class TokenEvents:
    """The events of a stream: a token each, the last one with the details."""

    def __init__(self, body: Body, keep: bool) -> None:
        self._keep = keep
        self._pieces: list[str] = []
        self._length = 0
        self._details: Any = None

    def fold(self, chunks: Sequence[Any]) -> None:
        """Take in more events."""
        for chunk in chunks:
            token = field(chunk, "token")
            piece = text(field(token, "text"))
            if piece is not None and not field(token, "special"):
                self._length += length_of(piece)
                if self._keep:
                    self._pieces.append(piece)
            self._details = field(chunk, "details") or self._details

    def response(self) -> Mapping[str, Any]:
        """Return what was received, shaped like a whole answer."""
        return {"generated_text": "".join(self._pieces), "details": self._details}

    def text_length(self) -> int:
        """Return the bytes generated so far."""
        return self._length

    @property
    def counted(self) -> bool:
        """Return whether the details have come."""
        return field(self._details, "generated_tokens") is not None

    @property
    def complete(self) -> bool:
        """Return whether the last event has come."""
        return self._details is not None


TEXT_GENERATION = Operation(
    name=S.TEXT_COMPLETION,
    api="text_generation",
    fields={"model": (A.GEN_AI_REQUEST_MODEL, text)},
    nested={
        "parameters.temperature": (A.GEN_AI_REQUEST_TEMPERATURE, number),
        "parameters.top_p": (A.GEN_AI_REQUEST_TOP_P, number),
        "parameters.top_k": (A.GEN_AI_REQUEST_TOP_K, integer),
        "parameters.seed": (A.GEN_AI_REQUEST_SEED, integer),
        "parameters.stop": (A.GEN_AI_REQUEST_STOP_SEQUENCES, strings),
        "parameters.frequency_penalty": (A.GEN_AI_REQUEST_FREQUENCY_PENALTY, number),
        "parameters.max_new_tokens": (A.GEN_AI_REQUEST_MAX_TOKENS, integer),
    },
    response=read_response,
    accumulate=TokenEvents,
    input=read_input,
    output=read_output,
    family="inference",
    limit=("parameters.max_new_tokens",),
    choices=("parameters.best_of",),
)
