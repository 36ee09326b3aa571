"""Bedrock's knowledge bases: searched, and searched for an answer to generate.

https://docs.aws.amazon.com/bedrock/latest/APIReference/API_agent-runtime_Retrieve.html,
https://docs.aws.amazon.com/bedrock/latest/APIReference/API_agent-runtime_RetrieveAndGenerate.html

No answer says what the models consumed that made it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from genledger.engine.ceiling import length_of
from genledger.engine.content.capture import text_part
from genledger.engine.operation import (
    Attributes,
    Body,
    Content,
    Operation,
    at_path,
    integer,
    listed,
    number,
    strings,
    text,
)
from genledger.pricing.getters import field, items
from genledger_semconv import attributes as A
from genledger_semconv import spans as S

from .vector_store import SCORES, write_spread

_SEARCHES = ("vectorSearchConfiguration", "managedSearchConfiguration")
RERANKERS = tuple(
    f"retrievalConfiguration.{search}.rerankingConfiguration.bedrockRerankingConfiguration.modelConfiguration.modelArn"
    for search in _SEARCHES
)
"""Where a search names the model that orders its results, which is billed."""


def read_search(body: Body, attributes: Attributes) -> None:
    """Read for how many results is searched, and whether only among some."""
    for search in _SEARCHES:
        asked = at_path(body, f"retrievalConfiguration.{search}")
        most = integer(at_path(asked, "numberOfResults"))
        if most is not None:
            attributes[A.GEN_AI_RETRIEVAL_TOP_K] = most
        if at_path(asked, "filter") is not None:
            attributes[A.GENLEDGER_RETRIEVAL_FILTERED] = True


def read_results(answer: Any, attributes: Attributes) -> None:
    """Read how many results came, and their scores."""
    scores = [field(result, "score") for result in items(answer, "retrievalResults")]
    attributes[A.GENLEDGER_RETRIEVAL_RESULTS] = len(scores)
    write_spread(SCORES, scores, attributes)


def read_query(body: Body) -> Content:
    """Return what is searched for."""
    return {A.GEN_AI_RETRIEVAL_QUERY_TEXT: text(at_path(body, "retrievalQuery.text"))}


def read_documents(answer: Any) -> Content:
    """Return the passages found, with their scores."""
    found = [
        {
            "id": text(field(result, "documentId")) or text(at_path(result, "location.s3Location.uri")) or str(index),
            "score": field(result, "score"),
            "content": text(at_path(result, "content.text")),
        }
        for index, result in enumerate(items(answer, "retrievalResults"))
    ]
    return {A.GEN_AI_RETRIEVAL_DOCUMENTS: found}


def _one_search(body: Body) -> Mapping[str, Any]:
    return {"retrievalResults": []}


_RETRIEVE = Operation(
    name=S.RETRIEVAL,
    api="retrieval",
    fields={"knowledgeBaseId": (A.GEN_AI_DATA_SOURCE_ID, text), "model": (A.GEN_AI_REQUEST_MODEL, text)},
    request=read_search,
    response=read_results,
    input=read_query,
    output=read_documents,
    priced=False,
    family="retrieval",
    target=lambda attributes: text(attributes.get(A.GEN_AI_DATA_SOURCE_ID)),
    fixed_model=True,
)
_RERANKED = _RETRIEVE._replace(priced=True, largest=_one_search)


def retrieval(body: Body) -> Operation:
    """Return the operation of a search: it is billed where a model orders its results."""
    return _RETRIEVE if body.get("model") is None else _RERANKED


def read_messages(body: Body) -> Content:
    """Return what an agent searches for."""
    said = [text(at_path(message, "content.text")) for message in listed(body.get("messages"))]
    return {A.GEN_AI_RETRIEVAL_QUERY_TEXT: "\n".join(one for one in said if one is not None) or None}


class SearchEvents:
    """Keeps the results of an agent's searches, which come with the last event."""

    def __init__(self, body: Body, keep: bool) -> None:
        self._results: Sequence[Any] | None = None

    def fold(self, chunks: Sequence[Any]) -> None:
        """Take in more events, each of which has a single member."""
        for event in chunks:
            if isinstance(found := at_path(event, "result.results"), list):
                self._results = found

    def response(self) -> Mapping[str, Any]:
        """Return the results, shaped like the answer of one search."""
        return {"retrievalResults": self._results or ()}

    def text_length(self) -> int:
        """Return zero: what the agent's model generates is not told."""
        return 0

    @property
    def counted(self) -> bool:
        """Never: no event says what was consumed."""
        return False

    @property
    def complete(self) -> bool:
        """Return whether the results have come."""
        return self._results is not None


AGENTIC_RETRIEVE = Operation(
    name=S.RETRIEVAL,
    api="agentic_retrieve",
    response=read_results,
    accumulate=SearchEvents,
    input=read_messages,
    output=read_documents,
    family="retrieval",
    target=lambda attributes: None,
    fixed_model=True,
    hidden_prompt=True,
)

_BASE = "retrieveAndGenerateConfiguration"
_SOURCES = ("knowledgeBaseConfiguration", "externalSourcesConfiguration")
MODELS = tuple(f"{_BASE}.{source}.modelArn" for source in _SOURCES)
"""Where a request names the model that generates."""


def read_generated(answer: Any, attributes: Attributes) -> None:
    """Read whether a guardrail has changed what was generated."""
    if field(answer, "guardrailAction") == "INTERVENED":
        attributes[A.GEN_AI_RESPONSE_FINISH_REASONS] = ("guardrail_intervened",)


def read_question(body: Body) -> Content:
    """Return what is asked."""
    asked = text(at_path(body, "input.text"))
    return {A.GEN_AI_INPUT_MESSAGES: [{"role": "user", "parts": [text_part(asked)]}] if asked is not None else None}


def read_answer(answer: Any) -> Content:
    """Return what was generated."""
    said = text(at_path(answer, "output.text"))
    reason = "content_filter" if field(answer, "guardrailAction") == "INTERVENED" else "stop"
    message = {"role": "assistant", "parts": [text_part(said or "")], "finish_reason": reason}
    return {A.GEN_AI_OUTPUT_MESSAGES: [message] if said is not None else None}


class GeneratedEvents:
    """Puts together an answer that streams; keeps the content only when it is captured."""

    def __init__(self, body: Body, keep: bool) -> None:
        self._keep = keep
        self._pieces: list[str] = []
        self._action: str | None = None
        self._length = 0

    def fold(self, chunks: Sequence[Any]) -> None:
        """Take in more events, each of which has a single member."""
        for event in chunks:
            piece = text(at_path(event, "output.text")) or ""
            self._length += length_of(piece)
            if self._keep:
                self._pieces.append(piece)
            self._action = text(at_path(event, "guardrail.action")) or self._action

    def response(self) -> Mapping[str, Any]:
        """Return what was received, shaped like an answer that is not streamed."""
        return {"output": {"text": "".join(self._pieces)}, "guardrailAction": self._action}

    def text_length(self) -> int:
        """Return bytes generated so far."""
        return self._length

    @property
    def counted(self) -> bool:
        """Never: no event says what was consumed."""
        return False

    @property
    def complete(self) -> None:
        """Return `None`: no event marks the end."""
        return None


def _generation(source: str) -> Operation:
    configuration = f"{_BASE}.{source}"
    asked = f"{configuration}.generationConfiguration"
    inference = f"{asked}.inferenceConfig.textInferenceConfig"
    return Operation(
        name=S.CHAT,
        api="retrieve_and_generate",
        fields={"model": (A.GEN_AI_REQUEST_MODEL, text), "sessionId": (A.GEN_AI_CONVERSATION_ID, text)},
        nested={
            f"{configuration}.knowledgeBaseId": (A.AWS_BEDROCK_KNOWLEDGE_BASE_ID, text),
            f"{asked}.guardrailConfiguration.guardrailId": (A.AWS_BEDROCK_GUARDRAIL_ID, text),
            f"{inference}.maxTokens": (A.GEN_AI_REQUEST_MAX_TOKENS, integer),
            f"{inference}.temperature": (A.GEN_AI_REQUEST_TEMPERATURE, number),
            f"{inference}.topP": (A.GEN_AI_REQUEST_TOP_P, number),
            f"{inference}.stopSequences": (A.GEN_AI_REQUEST_STOP_SEQUENCES, strings),
        },
        response=read_generated,
        accumulate=GeneratedEvents,
        input=read_question,
        output=read_answer,
        family="inference",
        limit=(f"{inference}.maxTokens",),
        hidden_prompt=True,
    )


_GENERATION = {source: _generation(source) for source in _SOURCES}


def generation(body: Body) -> Operation:
    """Return the operation of a generated answer: from a knowledge base, or from sources that the request names."""
    return _GENERATION[_SOURCES[at_path(body, f"{_BASE}.{_SOURCES[1]}") is not None]]
