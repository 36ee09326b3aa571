"""What LiteLLM's functions return: OpenAI's formats, with facts of its own beside, and streams of its own classes.

https://docs.litellm.ai/docs/completion/output. Its facts are in `_hidden_params`: the cost that it works out, whether
its cache answered, and the usage of a stream for which the application has not asked.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from genledger.engine.call import Local
from genledger.engine.ceiling import length_of
from genledger.engine.operation import Body, Operation, integer, listed, number, strings, text
from genledger.pricing.getters import field, fields_of, path
from genledger.pricing.reported import CLIENTS_OWN
from genledger_semconv import attributes as A
from genledger_semconv import spans as S

from .anthropic_messages import MESSAGES as ANTHROPIC_MESSAGES
from .anthropic_messages_stream import MessageEvents
from .event_lines import EventLines
from .openai_chat import CHAT as OPENAI_CHAT
from .openai_chat import COMPLETIONS as OPENAI_COMPLETIONS
from .openai_chat_stream import Chunks

COMBINING = tuple(
    ("litellm.caching.caching_handler", f"LLMCachingHandler.{start}combine_cached_embedding_response_with_api_result")
    for start in ("_", "")
)
"""What puts embeddings of its cache and of the provider together."""

_OF_CHATS = ("prompt_tokens", "completion_tokens")
_LAYERS = 8
"""The most streams that are looked through for the one that keeps its chunks."""


def hidden(result: Any) -> Mapping[str, Any]:
    """Return LiteLLM's own facts about a result."""
    facts = result.get(CLIENTS_OWN) if isinstance(result, Mapping) else getattr(result, CLIENTS_OWN, None)
    return facts if isinstance(facts, Mapping) else {}


def read_result(result: Any) -> Any:
    """Return the fields of a result, with LiteLLM's own facts among them.

    It fills in usage of nothing, where a provider sends none: then something else is billed. Beside the counts of an
    image, it has zeros by the names of a chat's.
    """
    typed = isinstance(result, Mapping) or hasattr(result, "__pydantic_extra__")
    fields = dict(fields_of(result)) if typed else {}
    usage = fields.get("usage")
    counts = [field(usage, name) for name in ("total_tokens", "input_tokens", "output_tokens")]
    if 0 in counts and not any(counts):
        fields["usage"] = None
    elif any(counts[1:]):
        fields["usage"] = {name: count for name, count in fields_of(usage).items() if count or name not in _OF_CHATS}
    return {**fields, CLIENTS_OWN: hidden(result)}


def read_local(body: Body, result: Any) -> Local | None:
    """Return what answered where nothing was sent: LiteLLM's cache, or the request, which brings its answer along."""
    if body.get("mock_response") is not None:
        return "request"
    if field(result, "custom_llm_provider") == "cached_response":  # a stream
        return "cache"
    return "cache" if hidden(result).get("cache_hit") is True else None


def read_parts(given: Mapping[str, Any]) -> tuple[Any, Any]:
    """Return what the provider has answered of a list of texts, and what LiteLLM's cache has of the others."""
    cached = field(given.get("_caching_handler_response"), "final_embedding_cached_response")
    return given.get("embedding_response"), None if cached is None else read_result(cached)


def cause_of(error: BaseException) -> BaseException:
    """Return what failed behind an error of LiteLLM, whose errors have a status even when no answer came."""
    one: BaseException | None = error
    while one is not None and type(one).__module__.partition(".")[0] == "litellm":
        one = one.__cause__ or (None if one.__suppress_context__ else one.__context__)
    return one or error


def kept_chunks(stream: Any) -> Iterable[Any]:
    """Return the chunks with usage that a stream does not hand out unless it is asked to."""
    for _ in range(_LAYERS):
        if stream is None or isinstance(field(stream, "chunks"), list):
            break
        stream = field(stream, "completion_stream")
    if field(stream, "stream_options"):
        return []  # then its last chunk has the usage
    return [chunk for chunk in listed(field(stream, "chunks")) if field(chunk, "usage") is not None]


def _plain(chunk: Any) -> dict[str, Any]:
    """Return a chunk as the provider would have sent it: the text in LiteLLM's is not among the declared fields."""
    choices = [
        {**dict(fields_of(one)), "delta": dict(fields_of(field(one, "delta")))}
        for one in listed(field(chunk, "choices"))
    ]
    if choices and not choices[0]["delta"]:
        choices = [{**one, "delta": None} for one in choices]
    return {**dict(fields_of(chunk)), "choices": choices}


def _given(usage: Any) -> int:
    return integer(field(usage, "prompt_tokens")) or 0


class LitellmChunks(Chunks):
    """Puts the chunks of LiteLLM's streams together.

    Providers that send usage in parts have it put together in the facts beside the last chunk. It is there as well
    where LiteLLM has only estimated it: it counts if the provider has sent any, see `kept_chunks`.
    """

    def __init__(self, body: Body, keep: bool) -> None:
        super().__init__(body, keep)
        self._sum: Any = None
        self._blocks: list[Any] = []

    def fold(self, chunks: Sequence[Any]) -> None:
        """Take in more chunks."""
        super().fold([_plain(chunk) for chunk in chunks])
        for chunk in chunks:
            usage = hidden(chunk).get("usage")
            if usage is not None:
                self._sum = usage
            block = field(chunk, "usage")
            if block is not None:
                self._blocks.append(block)

    def response(self) -> Mapping[str, Any]:
        """Return what was received, shaped like a chat completion."""
        whole = super().response()
        if not self._blocks:
            return whole
        total = self._sum if self._sum is not None else self._blocks[-1]
        begun = max(self._blocks, key=_given)
        if _given(begun) > _given(total):  # old versions leave out what a first chunk says
            generated = field(total, "completion_tokens") or 0
            counts = {"completion_tokens": generated, "total_tokens": _given(begun) + generated}
            total = {**dict(fields_of(begun)), **counts}
        return {**whole, "usage": total, CLIENTS_OWN: {"response_cost": field(total, "cost")}}


class GeminiParts:
    """Puts the parts of a streamed answer of Gemini together: each has the usage so far."""

    def __init__(self, body: Body, keep: bool) -> None:
        self._last: dict[str, Any] = {}
        self._length = 0

    def fold(self, chunks: Sequence[Any]) -> None:
        """Take in more parts."""
        for chunk in chunks:
            for name in ("usageMetadata", "modelVersion", "responseId", "candidates"):
                value = field(chunk, name)
                if value is not None:
                    self._last[name] = value
            for candidate in listed(field(chunk, "candidates")):
                for part in listed(path(candidate, "content", "parts")):
                    said = field(part, "text")
                    if isinstance(said, str):
                        self._length += length_of(said)

    def response(self) -> Mapping[str, Any]:
        """Return what was received, shaped like a whole answer."""
        return self._last

    def text_length(self) -> int:
        """Return bytes generated so far."""
        return self._length

    @property
    def complete(self) -> bool:
        """Return whether every candidate has ended."""
        candidates = listed(self._last.get("candidates"))
        return bool(candidates) and all(field(one, "finishReason") for one in candidates)

    @property
    def counted(self) -> bool:
        """Return whether the usage counts everything."""
        return self.complete and self._last.get("usageMetadata") is not None


def _read_generated(answer: Any, attributes: Any) -> None:
    model, identifier = field(answer, "modelVersion"), field(answer, "responseId")
    if isinstance(model, str):
        attributes[A.GEN_AI_RESPONSE_MODEL] = model
    if isinstance(identifier, str):
        attributes[A.GEN_AI_RESPONSE_ID] = identifier
    reasons = [field(one, "finishReason") for one in listed(field(answer, "candidates"))]
    if reasons:
        attributes[A.GEN_AI_RESPONSE_FINISH_REASONS] = tuple(str(one).lower() if one else "error" for one in reasons)


CHAT = OPENAI_CHAT._replace(accumulate=LitellmChunks)
COMPLETIONS = OPENAI_COMPLETIONS._replace(accumulate=LitellmChunks)
MESSAGES = ANTHROPIC_MESSAGES._replace(accumulate=lambda body, keep: EventLines(MessageEvents(body, keep)))
GENERATE_CONTENT = Operation(
    name=S.GENERATE_CONTENT,
    api="generateContent",
    fields={"model": (A.GEN_AI_REQUEST_MODEL, text)},
    nested={
        "config.maxOutputTokens": (A.GEN_AI_REQUEST_MAX_TOKENS, integer),
        "config.temperature": (A.GEN_AI_REQUEST_TEMPERATURE, number),
        "config.topP": (A.GEN_AI_REQUEST_TOP_P, number),
        "config.stopSequences": (A.GEN_AI_REQUEST_STOP_SEQUENCES, strings),
    },
    response=_read_generated,
    accumulate=lambda body, keep: EventLines(GeminiParts(body, keep)),
    family="inference",
    limit=("config.maxOutputTokens",),
    choices=("config.candidateCount",),
)
