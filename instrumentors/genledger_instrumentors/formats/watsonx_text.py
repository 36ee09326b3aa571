"""IBM watsonx.ai's text endpoints: chats in OpenAI's format, texts, embeddings and reranks in its own.

https://cloud.ibm.com/apidocs/watsonx-ai. Everything is billed by tokens: a resource unit is 1000 of them.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from genledger.engine.ceiling import length_of
from genledger.engine.content.capture import text_part
from genledger.engine.operation import Attributes, Body, Content, Operation, integer, number, strings, text, write_texts
from genledger.pricing.getters import field, items
from genledger_semconv import attributes as A
from genledger_semconv import spans as S

from .cohere_documents import RERANK as COHERE_RERANK
from .openai_chat import CHAT as OPENAI_CHAT
from .openai_chat import read_response as read_chat
from .openai_chat_stream import Chunks

_FINISH = {"eos_token": "stop", "stop_sequence": "stop", "max_tokens": "length", "token_limit": "length"}
_UNFINISHED = "not_finished"
_MODEL = {"model": (A.GEN_AI_REQUEST_MODEL, text)}


def read_model(answer: Any, attributes: Attributes) -> None:
    """Read which model answered."""
    write_texts(answer, (("model_id", A.GEN_AI_RESPONSE_MODEL),), attributes)


def read_chat_response(answer: Any, attributes: Attributes) -> None:
    """Read the answering model, and how each choice ended; not every answer has `model`, too."""
    read_model(answer, attributes)
    read_chat(answer, attributes)


class ChatChunks(Chunks):
    """Puts the chunks of a chat together."""

    def response(self) -> Mapping[str, Any]:
        """Return what was received, shaped like a whole answer."""
        return {**super().response(), "model_id": field(self._head, "model_id")}


def read_texts(answer: Any, attributes: Attributes) -> None:
    """Read the answering model, and why each text ended."""
    read_model(answer, attributes)
    reasons = [text(field(one, "stop_reason")) for one in items(answer, "results")]
    if reasons:
        attributes[A.GEN_AI_RESPONSE_FINISH_REASONS] = tuple(reason or "error" for reason in reasons)


def read_prompt(body: Body) -> Content:
    """Return the prompt of a request."""
    prompt = text(body.get("input"))
    return {A.GEN_AI_INPUT_MESSAGES: prompt and [{"role": "user", "parts": [text_part(prompt)]}]}


def read_generated(answer: Any) -> Content:
    """Return the generated texts."""
    messages = []
    for one in items(answer, "results"):
        said, reason = text(field(one, "generated_text")), text(field(one, "stop_reason")) or "error"
        parts = [text_part(said)] if said is not None else []
        messages.append({"role": "assistant", "parts": parts, "finish_reason": _FINISH.get(reason, reason)})
    return {A.GEN_AI_OUTPUT_MESSAGES: messages or None}


class TextEvents:
    """Puts the events of a streamed text together; keeps the text only when content is captured.

    Each event counts what was generated until then, and the first counts the prompt.
    """

    def __init__(self, body: Body, keep: bool) -> None:
        self._keep = keep
        self._pieces: list[str] = []
        self._length = 0
        self._model: Any = None
        self._counts = {"input_token_count": 0, "generated_token_count": 0}
        self._reason: str | None = None

    def fold(self, chunks: Sequence[Any]) -> None:
        """Take in more events."""
        for chunk in chunks:
            self._model = field(chunk, "model_id") or self._model
            for result in items(chunk, "results"):
                for name, count in self._counts.items():
                    self._counts[name] = max(count, integer(field(result, name)) or 0)
                self._reason = text(field(result, "stop_reason")) or self._reason
                piece = text(field(result, "generated_text")) or ""
                self._length += length_of(piece)
                if self._keep:
                    self._pieces.append(piece)

    def response(self) -> Mapping[str, Any]:
        """Return what was received, shaped like a whole answer."""
        counts = {name: count for name, count in self._counts.items() if count}
        result = {"generated_text": "".join(self._pieces), "stop_reason": self._reason, **counts}
        return {"model_id": self._model, "results": [result]}

    def text_length(self) -> int:
        """Return bytes generated so far."""
        return self._length

    @property
    def counted(self) -> bool:
        """Return whether prompt and text are counted to their end."""
        return self.complete and bool(self._counts["input_token_count"])

    @property
    def complete(self) -> bool:
        """Return whether an event has said why the text ended."""
        return (self._reason or _UNFINISHED).lower() != _UNFINISHED


CHAT = OPENAI_CHAT._replace(
    response=read_chat_response, accumulate=ChatChunks, limit=("max_tokens", "max_completion_tokens")
)

GENERATION = Operation(
    name=S.TEXT_COMPLETION,
    api="text_generation",
    fields=_MODEL,
    nested={
        "parameters.max_new_tokens": (A.GEN_AI_REQUEST_MAX_TOKENS, integer),
        "parameters.temperature": (A.GEN_AI_REQUEST_TEMPERATURE, number),
        "parameters.top_p": (A.GEN_AI_REQUEST_TOP_P, number),
        "parameters.top_k": (A.GEN_AI_REQUEST_TOP_K, integer),
        "parameters.random_seed": (A.GEN_AI_REQUEST_SEED, integer),
        "parameters.stop_sequences": (A.GEN_AI_REQUEST_STOP_SEQUENCES, strings),
    },
    response=read_texts,
    accumulate=TextEvents,
    input=read_prompt,
    output=read_generated,
    family="inference",
    limit=("parameters.max_new_tokens",),
)

EMBEDDINGS = Operation(name=S.EMBEDDINGS, api="embeddings", fields=_MODEL, response=read_model)

RERANK = COHERE_RERANK._replace(
    fields=_MODEL,
    nested={"parameters.return_options.top_n": (A.GEN_AI_RETRIEVAL_TOP_K, integer)},
    response=read_model,
    largest=None,
)
