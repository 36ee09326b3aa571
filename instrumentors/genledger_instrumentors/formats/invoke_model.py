"""Formats of models behind Bedrock's InvokeModel that no other client shares.

Bedrock counts the tokens of every model: of a whole answer in its headers, of a stream in its last chunk.
https://docs.aws.amazon.com/bedrock/latest/userguide/model-parameters.html
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from genledger.engine.ceiling import text_length
from genledger.engine.content.capture import text_part
from genledger.engine.operation import Attributes, Body, Content, Operation, at_path, integer, number, strings, text
from genledger.pricing.getters import items
from genledger_semconv import attributes as A
from genledger_semconv import spans as S

from . import openai_chat
from .openai_chat import CHAT
from .openai_chat_stream import Chunks

_TEXTS = (
    ("results", "outputText", "completionReason"),
    ("completions", "data.text", "finishReason.reason"),
    ("outputs", "text", "stop_reason"),
    ("generations", "text", "finish_reason"),
    ("choices", "text", "stop_reason"),
    ("", "outputText", "completionReason"),
    ("", "generation", "stop_reason"),
    ("", "completion", "stop_reason"),
    ("", "text", "finish_reason"),
    ("", "message", "finishReason"),
)
"""Where an answer or a chunk has its text, and why that ended: of Titan, Jurassic, Mistral, Command and DeepSeek in a
list, of Titan's chunks, Llama, Claude 2, Command's chunks and Pegasus by itself."""

_PROMPTS = ("prompt", "inputText", "message", "inputPrompt")
_FINISH = {
    **dict.fromkeys(("finish", "complete", "stop", "stop_sequence", "endoftext"), "stop"),
    **dict.fromkeys(("length", "max_tokens"), "length"),
    "content_filtered": "content_filter",
}

METRICS = "amazon-bedrock-invocationMetrics"
"""The field of a stream's last chunk with what Bedrock counted."""


def _texts(answer: Any) -> list[tuple[str, str | None]]:
    """Each text of an answer or a chunk, and why it ended."""
    ended: list[tuple[str, str | None]] = []
    for listed, said, reason in _TEXTS:
        found = items(answer, listed) if listed else (answer,)
        texts = [(text(at_path(one, said)) or "", text(at_path(one, reason))) for one in found]
        if any(piece for piece, _ in texts):
            return texts
        if not ended and any(why for _, why in texts):
            ended = texts  # a last chunk has no text
    return ended


def read_response(answer: Any, attributes: Attributes) -> None:
    """Read why each text ended."""
    reasons = [reason for _, reason in _texts(answer)]
    if any(reasons):
        attributes[A.GEN_AI_RESPONSE_FINISH_REASONS] = tuple(reason or "error" for reason in reasons)


def read_input(body: Body) -> Content:
    """Read the prompt of a request."""
    asked = next(filter(None, (text(body.get(name)) for name in _PROMPTS)), None)
    return {A.GEN_AI_INPUT_MESSAGES: [{"role": "user", "parts": [text_part(asked)]}] if asked is not None else None}


def read_output(answer: Any) -> Content:
    """Read what was generated."""
    messages = [
        {"role": "assistant", "parts": [text_part(said)], "finish_reason": _FINISH.get(str(reason).lower(), "error")}
        for said, reason in _texts(answer)
    ]
    return {A.GEN_AI_OUTPUT_MESSAGES: messages or None}


class InvokedChunks:
    """Puts the chunks of a stream together; keeps the text only when content is captured."""

    def __init__(self, body: Body, keep: bool) -> None:
        self._keep = keep
        self._pieces: list[str] = []
        self._reason: str | None = None
        self._metrics: Any = None
        self._length = 0

    def fold(self, chunks: Sequence[Any]) -> None:
        """Take in more chunks."""
        for chunk in chunks:
            self._length += text_length(chunk)
            self._metrics = at_path(chunk, METRICS) or self._metrics
            for said, reason in _texts(chunk):
                self._reason = reason or self._reason
                if self._keep:
                    self._pieces.append(said)

    def response(self) -> Mapping[str, Any]:
        """Return what was received, shaped like an answer of Mistral's, and what has been counted."""
        return {"outputs": [{"text": "".join(self._pieces), "stop_reason": self._reason}], **self.metrics()}

    def metrics(self) -> Mapping[str, Any]:
        """Return the counts so far."""
        return {METRICS: self._metrics} if self.counted else {}

    def text_length(self) -> int:
        """Return bytes generated so far; a few more, as the chunks name their finish reasons."""
        return self._length

    @property
    def counted(self) -> bool:
        """Return whether the chunk that counts has come."""
        return isinstance(self._metrics, Mapping)

    @property
    def complete(self) -> bool | None:
        """Return whether the last chunk has come."""
        return self.counted


def _completion(document: Any) -> Any:
    """Return an answer or a chunk as OpenAI has it: Mistral's models say `stop_reason`, and stream a `message`.

    https://docs.aws.amazon.com/bedrock/latest/userguide/model-parameters-mistral-chat-completion.html
    """
    if not isinstance(document, Mapping) or not isinstance(document.get("choices"), list):
        return document
    choices = []
    for choice in items(document, "choices"):
        if isinstance(choice, Mapping):
            reason = choice.get("finish_reason") or choice.get("stop_reason")
            choices.append({"delta": choice.get("message"), **choice, "finish_reason": reason})
    return {**document, "choices": choices}


class InvokedChat(InvokedChunks):
    """As `InvokedChunks`, of the models whose chunks are those of OpenAI's chat completions."""

    def __init__(self, body: Body, keep: bool) -> None:
        super().__init__(body, keep=False)
        self._chunks = Chunks(body, keep)

    def fold(self, chunks: Sequence[Any]) -> None:
        """Take in more chunks."""
        super().fold(chunks)
        self._chunks.fold([_completion(chunk) for chunk in chunks])

    def response(self) -> Mapping[str, Any]:
        """Return what was received, shaped like a chat completion, and what has been counted."""
        return {**self._chunks.response(), **self.metrics()}

    def text_length(self) -> int:
        """Return bytes generated so far."""
        return self._chunks.text_length()

    @property
    def complete(self) -> bool | None:
        """Return whether the model has sent the stop reason."""
        return self._chunks.complete


def _largest_rerank(body: Body) -> Mapping[str, Any]:
    """Return an answer without results: the documents of the request are billed."""
    return {"results": []}


_MODEL = {"model": (A.GEN_AI_REQUEST_MODEL, text)}

GENERATION = Operation(
    name=S.TEXT_COMPLETION,
    api="invoke_model",
    fields={
        **_MODEL,
        "temperature": (A.GEN_AI_REQUEST_TEMPERATURE, number),
        "top_p": (A.GEN_AI_REQUEST_TOP_P, number),
        "max_tokens": (A.GEN_AI_REQUEST_MAX_TOKENS, integer),
        "max_gen_len": (A.GEN_AI_REQUEST_MAX_TOKENS, integer),
        "max_tokens_to_sample": (A.GEN_AI_REQUEST_MAX_TOKENS, integer),
    },
    nested={
        "textGenerationConfig.temperature": (A.GEN_AI_REQUEST_TEMPERATURE, number),
        "textGenerationConfig.topP": (A.GEN_AI_REQUEST_TOP_P, number),
        "textGenerationConfig.maxTokenCount": (A.GEN_AI_REQUEST_MAX_TOKENS, integer),
    },
    response=read_response,
    accumulate=InvokedChunks,
    input=read_input,
    output=read_output,
    family="inference",
    limit=("max_tokens", "max_gen_len", "max_tokens_to_sample", "textGenerationConfig.maxTokenCount"),
)

CHAT_DOCUMENTS = CHAT._replace(
    response=lambda answer, attributes: openai_chat.read_response(_completion(answer), attributes),
    output=lambda answer: openai_chat.read_output(_completion(answer)),
    accumulate=InvokedChat,
)

EMBEDDINGS = Operation(
    name=S.EMBEDDINGS,
    api="invoke_model",
    fields={
        **_MODEL,
        "dimensions": (A.GEN_AI_EMBEDDINGS_DIMENSION_COUNT, integer),
        "output_dimension": (A.GEN_AI_EMBEDDINGS_DIMENSION_COUNT, integer),
        "embeddingTypes": (A.GEN_AI_REQUEST_ENCODING_FORMATS, strings),
        "embedding_types": (A.GEN_AI_REQUEST_ENCODING_FORMATS, strings),
    },
)

RERANK = Operation(name=S.RERANK, api="rerank", fields=_MODEL, largest=_largest_rerank)


def read_filtered(answer: Any, attributes: Attributes) -> None:
    """Read why images are missing: Stability says it for each."""
    reasons = [text(reason) for reason in items(answer, "finish_reasons")]
    if any(reasons):
        attributes[A.GEN_AI_RESPONSE_FINISH_REASONS] = tuple(reason or "stop" for reason in reasons)


def _largest_images(body: Body) -> Mapping[str, Any]:
    """Return an answer with as many images as the request asks for."""
    return {"images": [""] * (integer(at_path(body, "imageGenerationConfig.numberOfImages")) or 1)}


IMAGES = Operation(
    name=S.IMAGE_GENERATION,
    api="invoke_model",
    fields=_MODEL,
    response=read_filtered,
    constant={A.GEN_AI_OUTPUT_TYPE: "image"},
    largest=_largest_images,
)
