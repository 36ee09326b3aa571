"""What models behind Bedrock's InvokeModel speak that have no format that other clients share.

Bedrock counts the tokens of every model: of a whole answer in its headers, of a stream in its last chunk.
https://docs.aws.amazon.com/bedrock/latest/userguide/model-parameters.html
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from genledger.engine.operation import Body, Operation, at_path, integer, number, strings, text
from genledger.engine.text_size import text_length
from genledger_semconv import attributes as A
from genledger_semconv import spans as S

from .openai_chat import CHAT
from .openai_chat_stream import Chunks

METRICS = "amazon-bedrock-invocationMetrics"
"""The field of a stream's last chunk with what Bedrock counted."""


class InvokedChunks:
    """Puts the chunks of a stream together, of which only what Bedrock adds is the same for all models."""

    def __init__(self, body: Body, keep: bool) -> None:
        self._metrics: Any = None
        self._length = 0

    def fold(self, chunks: Sequence[Any]) -> None:
        """Take in more chunks."""
        for chunk in chunks:
            self._length += text_length(chunk)
            self._metrics = at_path(chunk, METRICS) or self._metrics

    def response(self) -> Mapping[str, Any]:
        """What has been counted."""
        return {METRICS: self._metrics} if self.counted else {}

    def text_length(self) -> int:
        """Bytes generated so far; a few more, as the chunks name their finish reasons."""
        return self._length

    @property
    def counted(self) -> bool:
        """Whether the chunk that counts has come."""
        return isinstance(self._metrics, Mapping)

    @property
    def complete(self) -> bool:
        """Whether the last chunk has come."""
        return self.counted


class InvokedChat(InvokedChunks):
    """As `InvokedChunks`, of the models whose chunks are those of OpenAI's chat completions."""

    def __init__(self, body: Body, keep: bool) -> None:
        super().__init__(body, keep)
        self._chunks = Chunks(body, keep)

    def fold(self, chunks: Sequence[Any]) -> None:
        """Take in more chunks."""
        super().fold(chunks)
        self._chunks.fold(chunks)

    def response(self) -> Mapping[str, Any]:
        """What has been received, shaped like a chat completion, and what has been counted."""
        return {**self._chunks.response(), **super().response()}

    def text_length(self) -> int:
        """Bytes generated so far."""
        return self._chunks.text_length()

    @property
    def complete(self) -> bool:
        """Whether the model has said why it stopped."""
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
    accumulate=InvokedChunks,
    family="inference",
    limit=("max_tokens", "max_gen_len", "max_tokens_to_sample", "textGenerationConfig.maxTokenCount"),
)

CHAT_DOCUMENTS = CHAT._replace(constant={}, accumulate=InvokedChat)

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

IMAGES = Operation(name=S.IMAGE_GENERATION, api="invoke_model", fields=_MODEL, constant={A.GEN_AI_OUTPUT_TYPE: "image"})
