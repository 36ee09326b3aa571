"""Text Generation Inference's own format, which other servers of models speak, too; and Text Embeddings Inference's.

https://huggingface.co/docs/text-generation-inference/reference/api_reference,
https://docs.djl.ai/master/docs/serving/serving/docs/lmi/user_guides/lmi_input_output_schema.html
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from genledger.engine.ceiling import length_of
from genledger.engine.content.capture import text_part
from genledger.engine.operation import Attributes, Body, Content, Operation, at_path, integer, number, strings, text
from genledger.pricing.getters import field, items
from genledger_semconv import attributes as A
from genledger_semconv import spans as S

_FINISH = {"eos_token": "stop", "stop_sequence": "stop", "length": "length"}


GENERATED = "generated"
"""The field that stands for an answer that is a list: of texts, or of vectors."""


def _generated(answer: Any) -> list[Any]:
    return list(items(answer, GENERATED)) or [answer]


def read_response(answer: Any, attributes: Attributes) -> None:
    """Read why each text ended, where details were asked for."""
    reasons = [text(at_path(one, "details.finish_reason")) for one in _generated(answer)]
    if any(reasons):
        attributes[A.GEN_AI_RESPONSE_FINISH_REASONS] = tuple(reason or "error" for reason in reasons)


def read_input(body: Body) -> Content:
    """Return the prompts of a request."""
    asked = strings(body.get("inputs"))
    return {A.GEN_AI_INPUT_MESSAGES: [{"role": "user", "parts": [text_part(one)]} for one in asked] if asked else None}


def read_output(answer: Any) -> Content:
    """Return the generated texts."""
    messages = []
    for one in _generated(answer):
        said, reason = text(field(one, "generated_text")), text(at_path(one, "details.finish_reason"))
        if said is not None:
            finish = "stop" if reason is None else _FINISH.get(reason, reason)
            messages.append({"role": "assistant", "parts": [text_part(said)], "finish_reason": finish})
    return {A.GEN_AI_OUTPUT_MESSAGES: messages or None}


class TokenEvents:
    """Puts the tokens of a streamed text together; keeps them only when content is captured."""

    def __init__(self, body: Body, keep: bool) -> None:
        self._keep = keep
        self._pieces: list[str] = []
        self._length = 0
        self._details: Any = None

    def fold(self, chunks: Sequence[Any]) -> None:
        """Take in more tokens."""
        for chunk in chunks:
            self._details = field(chunk, "details") or self._details
            piece = text(at_path(chunk, "token.text")) or ""
            self._length += length_of(piece)
            if self._keep and at_path(chunk, "token.special") is not True:
                self._pieces.append(piece)

    def response(self) -> Mapping[str, Any]:
        """Return what was received, shaped like an answer that is not streamed."""
        return {"generated_text": "".join(self._pieces), "details": self._details}

    def text_length(self) -> int:
        """Return bytes generated so far."""
        return self._length

    @property
    def counted(self) -> bool:
        """Return whether the last token's details have come, and count what was read, too."""
        return at_path(self._details, "input_length") is not None

    @property
    def complete(self) -> bool:
        """Return whether the last token has come."""
        return self._details is not None


TEXT_GENERATION = Operation(
    name=S.TEXT_COMPLETION,
    api="text_generation",
    fields={"model": (A.GEN_AI_REQUEST_MODEL, text)},
    nested={
        "parameters.max_new_tokens": (A.GEN_AI_REQUEST_MAX_TOKENS, integer),
        "parameters.temperature": (A.GEN_AI_REQUEST_TEMPERATURE, number),
        "parameters.top_p": (A.GEN_AI_REQUEST_TOP_P, number),
        "parameters.top_k": (A.GEN_AI_REQUEST_TOP_K, integer),
        "parameters.seed": (A.GEN_AI_REQUEST_SEED, integer),
        "parameters.stop": (A.GEN_AI_REQUEST_STOP_SEQUENCES, strings),
        "parameters.frequency_penalty": (A.GEN_AI_REQUEST_FREQUENCY_PENALTY, number),
    },
    response=read_response,
    accumulate=TokenEvents,
    input=read_input,
    output=read_output,
    family="inference",
    limit=("parameters.max_new_tokens",),
    choices=("inputs", "parameters.best_of"),
)

EMBED = Operation(name=S.EMBEDDINGS, api="text_generation", fields={"model": (A.GEN_AI_REQUEST_MODEL, text)})
