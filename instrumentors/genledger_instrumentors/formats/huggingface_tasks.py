"""Tasks of Hugging Face's inference providers: chat and text, vectors, pictures, sounds, and all others.

https://huggingface.co/docs/inference-providers/tasks/index
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from genledger.engine.operation import Body, Operation, text
from genledger.instrumentation.adapters.request_method import parsed
from genledger_semconv import attributes as A
from genledger_semconv import spans as S

from .openai_chat import CHAT, COMPLETIONS
from .openai_embeddings import EMBEDDINGS
from .openai_media import IMAGES, SPEECH, TRANSCRIPTIONS, no_answer
from .text_generation import TEXT_GENERATION

_PICTURES = IMAGES._replace(request=None, constant={A.GEN_AI_OUTPUT_TYPE: "image"}, accumulate=None)
_OTHER = Operation(
    name=S.GENERATE_CONTENT,
    api="inference",
    fields={"model": (A.GEN_AI_REQUEST_MODEL, text)},
    family="inference",
    largest=no_answer,
)
_OPERATIONS: Mapping[str, Operation] = {
    "conversational": CHAT,
    "text-generation": TEXT_GENERATION,
    "feature-extraction": EMBEDDINGS,
    "sentence-similarity": EMBEDDINGS,
    "text-to-image": _PICTURES,
    "image-to-image": _PICTURES,
    "text-to-speech": SPEECH,
    "automatic-speech-recognition": TRANSCRIPTIONS,
}

_BEGINNINGS = (b"\x89PNG", b"\xff\xd8\xff", b"RIFF", b"GIF8")
"""What a picture begins with: PNG, JPEG, WebP, GIF."""


def operation_of(task: str, body: Body) -> Operation:
    """Return the operation of a task; some providers generate text in OpenAI's format."""
    operation = _OPERATIONS.get(task, _OTHER)
    return COMPLETIONS if operation is TEXT_GENERATION and "prompt" in body else operation


def is_address(model: Any) -> bool:
    """Return whether the application gave an address instead of a model: an endpoint of one's own, with one model."""
    return isinstance(model, str) and model.startswith(("http:", "https:"))


def read_body(asked: Any) -> Body:
    """Return the fields of a request as they are sent, with its model, and with what is spoken or heard."""
    fields = asked.json if isinstance(asked.json, dict) else {}
    model = fields.get("model") or asked.model
    body = {**fields, "model": None if model == "dummy" or is_address(model) else model}
    if asked.data is not None:
        body["file"] = asked.data
    if asked.task == "text-to-speech":
        spoken = fields.get("input") or fields.get("inputs") or fields.get("text")
        body["input"] = spoken.get("text") if isinstance(spoken, dict) else spoken
    return body


def read_answer(operation: Operation, answer: bytes) -> Any:
    """Return an answer as its operation reads it."""
    if operation is _PICTURES and answer.startswith(_BEGINNINGS):
        return {"data": [{}]}
    return parsed(answer)
