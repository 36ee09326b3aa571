"""The calls that are measured, and an in-process transport that answers them: no socket, no network.

Runs inside a contender's environment: imports nothing but the standard library and the clients themselves.
"""

from __future__ import annotations

import base64
import importlib
import json
import random
import struct
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cached_property
from typing import Any

CHAT_MODEL = "gpt-4o"
CHAT_MODEL_SERVED = "gpt-4o-2024-08-06"
MESSAGE_MODEL = "claude-sonnet-4-6"
EMBEDDING_MODEL = "text-embedding-3-small"
EMBEDDING_INPUTS = 16
EMBEDDING_DIMENSIONS = 1536


@dataclass(frozen=True)
class Case:
    """One kind of call: its key, what tables call it, and how many are made where many are."""

    key: str
    title: str
    weight: int = 1
    """How many chat calls one of these is roughly worth; long cases are repeated less often."""


CASES: dict[str, Case] = {
    case.key: case
    for case in (
        Case("chat", "chat call"),
        Case("responses", "responses call"),
        Case("embeddings", f"embeddings of {EMBEDDING_INPUTS} × {EMBEDDING_DIMENSIONS}", 4),
        Case("prompt_100k", "chat, 100 kB prompt"),
        Case("image_1m", "chat, 1 MB image", 8),
        Case("stream_20", "chat stream of 20 chunks", 2),
        Case("stream_200", "chat stream of 200 chunks", 12),
        Case("message", "Anthropic message"),
        Case("message_stream_20", "Anthropic stream of 20 events", 2),
        Case("message_stream_200", "Anthropic stream of 200 events", 12),
        # The same chunks, parsed beforehand: what one more of them adds would drown in what parsing it takes.
        Case("parsed_stream_20", "chat stream of 20 parsed chunks"),
        Case("parsed_stream_200", "chat stream of 200 parsed chunks", 2),
        Case("parsed_message_stream_20", "Anthropic stream of 20 parsed events"),
        Case("parsed_message_stream_200", "Anthropic stream of 200 parsed events", 2),
    )
}


def _text(characters: int, seed: int) -> str:
    words = random.Random(seed)
    letters = "etaoinshrdlu"
    made: list[str] = []
    length = 0
    while length < characters:
        word = "".join(words.choice(letters) for _ in range(words.randint(2, 9)))
        made.append(word)
        length += len(word) + 1
    return " ".join(made)[:characters]


SYSTEM = _text(250, 1)
TURNS = [_text(250, 20 + turn) for turn in range(5)]
"""A conversation that ends with the user's question; with the system prompt, six messages of 1.5 kB in all."""
ANSWER = _text(600, 3)

_CHAT_USAGE = {
    "prompt_tokens": 320,
    "completion_tokens": 120,
    "total_tokens": 440,
    "prompt_tokens_details": {"cached_tokens": 64, "audio_tokens": 0},
    "completion_tokens_details": {
        "reasoning_tokens": 0,
        "audio_tokens": 0,
        "accepted_prediction_tokens": 0,
        "rejected_prediction_tokens": 0,
    },
}
_MESSAGE_USAGE = {
    "input_tokens": 256,
    "cache_creation_input_tokens": 0,
    "cache_read_input_tokens": 64,
    "cache_creation": {"ephemeral_5m_input_tokens": 0, "ephemeral_1h_input_tokens": 0},
    "output_tokens": 120,
    "service_tier": "standard",
}


def _chat_reply() -> dict[str, Any]:
    return {
        "id": "chatcmpl-B9MBs8CjcvOU2jLn4n570S5qMJKcT",
        "object": "chat.completion",
        "created": 1_790_000_000,
        "model": CHAT_MODEL_SERVED,
        "choices": [
            {
                "index": 0,
                "message": {"role": "assistant", "content": ANSWER, "refusal": None, "annotations": []},
                "logprobs": None,
                "finish_reason": "stop",
            }
        ],
        "usage": _CHAT_USAGE,
        "service_tier": "default",
        "system_fingerprint": "fp_44709d6fcb",
    }


def _responses_reply() -> dict[str, Any]:
    return {
        "id": "resp_67ccd2bed1ec8190b14f964abc0542670bb6a6b452d3795b",
        "object": "response",
        "created_at": 1_790_000_000,
        "status": "completed",
        "error": None,
        "incomplete_details": None,
        "instructions": SYSTEM,
        "max_output_tokens": 400,
        "model": CHAT_MODEL_SERVED,
        "output": [
            {
                "type": "message",
                "id": "msg_67ccd2bf17f0819081ff3bb2cf6508e60bb6a6b452d3795b",
                "status": "completed",
                "role": "assistant",
                "content": [{"type": "output_text", "text": ANSWER, "annotations": []}],
            }
        ],
        "parallel_tool_calls": True,
        "previous_response_id": None,
        "reasoning": {"effort": None, "summary": None},
        "service_tier": "default",
        "store": True,
        "billing": {"payer": "developer"},
        "frequency_penalty": 0.0,
        "presence_penalty": 0.0,
        "temperature": 0.5,
        "text": {"format": {"type": "text"}},
        "tool_choice": "auto",
        "tools": [],
        "top_p": 1.0,
        "truncation": "disabled",
        "usage": {
            "input_tokens": 320,
            "input_tokens_details": {"cached_tokens": 64},
            "output_tokens": 120,
            "output_tokens_details": {"reasoning_tokens": 0},
            "total_tokens": 440,
        },
        "user": None,
        "metadata": {},
    }


def _embeddings_reply() -> dict[str, Any]:
    numbers = random.Random(4)
    vectors = [
        base64.b64encode(
            struct.pack(f"<{EMBEDDING_DIMENSIONS}f", *(numbers.uniform(-1, 1) for _ in range(EMBEDDING_DIMENSIONS)))
        ).decode()
        for _ in range(EMBEDDING_INPUTS)
    ]
    return {
        "object": "list",
        "data": [{"object": "embedding", "index": index, "embedding": vector} for index, vector in enumerate(vectors)],
        "model": EMBEDDING_MODEL,
        "usage": {"prompt_tokens": 800, "total_tokens": 800},
    }


def _message_reply() -> dict[str, Any]:
    return {
        "id": "msg_01XFDUDYJgAACzvnptvVoYEL",
        "type": "message",
        "role": "assistant",
        "model": MESSAGE_MODEL,
        "content": [{"type": "text", "text": ANSWER}],
        "stop_reason": "end_turn",
        "stop_sequence": None,
        "usage": _MESSAGE_USAGE,
    }


def _chat_events(chunks: int) -> list[bytes]:
    """A chat stream of exactly `chunks` chunks: a role, texts, a finish reason, and the usage last."""
    head = {
        "id": "chatcmpl-B9MHDbslfkBeAs8l4bebGdFOJ6PeG",
        "object": "chat.completion.chunk",
        "created": 1_790_000_000,
        "model": CHAT_MODEL_SERVED,
        "service_tier": "default",
        "system_fingerprint": "fp_44709d6fcb",
    }

    def chunk(delta: dict[str, Any], finish: str | None = None) -> dict[str, Any]:
        return {
            **head,
            "choices": [{"index": 0, "delta": delta, "logprobs": None, "finish_reason": finish}],
            "usage": None,
        }

    words = _text(chunks * 12, 5).split(" ")
    events = [chunk({"role": "assistant", "content": "", "refusal": None})]
    events += [chunk({"content": f" {words[index]}"}) for index in range(chunks - 3)]
    events.append(chunk({}, "stop"))
    events.append({**head, "choices": [], "usage": _CHAT_USAGE})
    return [b"data: " + json.dumps(event).encode() + b"\n\n" for event in events] + [b"data: [DONE]\n\n"]


def _message_events(count: int) -> list[bytes]:
    """An Anthropic stream of exactly `count` events."""
    words = _text(count * 12, 6).split(" ")
    begun = {**_message_reply(), "content": [], "stop_reason": None, "usage": {**_MESSAGE_USAGE, "output_tokens": 1}}
    events: list[dict[str, Any]] = [
        {"type": "message_start", "message": begun},
        {"type": "content_block_start", "index": 0, "content_block": {"type": "text", "text": ""}},
    ]
    events += [
        {"type": "content_block_delta", "index": 0, "delta": {"type": "text_delta", "text": f" {words[index]}"}}
        for index in range(count - 5)
    ]
    events += [
        {"type": "content_block_stop", "index": 0},
        {
            "type": "message_delta",
            "delta": {"stop_reason": "end_turn", "stop_sequence": None},
            "usage": {"output_tokens": 120},
        },
        {"type": "message_stop"},
    ]
    return [f"event: {event['type']}\ndata: {json.dumps(event)}\n\n".encode() for event in events]


def http_of(library: Any) -> Any:
    """Return the HTTP library of a client: they moved from httpx to httpx2 with openai 3 and anthropic 2."""
    base = library._base_client
    return getattr(base, "httpx2", None) or base.httpx


class Clients:
    """The real clients over an in-process transport that answers as `answer` says."""

    def __init__(self) -> None:
        self._body: bytes = b""
        self._events: list[bytes] | None = None
        self._undo: Callable[[], None] | None = None

    def answer(self, body: dict[str, Any] | None = None, events: list[bytes] | None = None) -> None:
        """Answer every request from now on with this JSON body, or with these server-sent events."""
        if self._undo is not None:
            self._undo()
            self._undo = None
        self._body = json.dumps(body).encode()
        self._events = events

    def _http(self, client_library: Any) -> Any:
        http = http_of(client_library)

        def handle(request: Any) -> Any:
            if self._events is None:
                return http.Response(200, headers={"content-type": "application/json"}, content=self._body)
            return http.Response(200, headers={"content-type": "text/event-stream"}, content=iter(self._events))

        return http.Client(transport=http.MockTransport(handle))

    def answer_parsed(self, library: str, chunks: list[Any]) -> None:
        """Let every stream of a library from now on give these chunks, which are parsed already."""
        self.answer(events=[])
        stream = importlib.import_module(library).Stream
        real = stream.__stream__

        def __stream__(self: Any) -> Iterator[Any]:
            try:
                yield from chunks
            finally:
                self.response.close()

        stream.__stream__ = __stream__
        self._undo = lambda: setattr(stream, "__stream__", real)

    @cached_property
    def openai(self) -> Any:
        import openai

        return openai.OpenAI(api_key="none", http_client=self._http(openai), max_retries=0)

    @cached_property
    def anthropic(self) -> Any:
        import anthropic

        return anthropic.Anthropic(api_key="none", http_client=self._http(anthropic), max_retries=0)


def prepare(key: str, clients: Clients) -> Callable[[], object]:
    """Set the transport's answer for a case and return the function that makes one call and uses it up."""
    if key in ("chat", "prompt_100k", "image_1m"):
        clients.answer(_chat_reply())
        create, messages = clients.openai.chat.completions.create, _chat_messages(key)
        return lambda: create(model=CHAT_MODEL, messages=messages, max_tokens=400, temperature=0.5)
    if key == "responses":
        clients.answer(_responses_reply())
        create, conversation = clients.openai.responses.create, _conversation()
        return lambda: create(
            model=CHAT_MODEL, instructions=SYSTEM, input=conversation, max_output_tokens=400, temperature=0.5
        )
    if key == "embeddings":
        clients.answer(_embeddings_reply())
        create, texts = clients.openai.embeddings.create, [_text(200, 10 + n) for n in range(EMBEDDING_INPUTS)]
        return lambda: create(model=EMBEDDING_MODEL, input=texts)
    if key == "message":
        clients.answer(_message_reply())
        create = clients.anthropic.messages.create
        return lambda: create(**_message_request())
    opened, events = open_stream(key, clients), int(key.rpartition("_")[2])

    def consume() -> None:
        seen = sum(1 for _ in opened())
        if seen != events:
            raise AssertionError(f"{key} gave {seen} events, not {events}")

    return consume


def open_stream(key: str, clients: Clients) -> Callable[[], Any]:
    """Set the transport's answer for a stream case and return the function that opens one stream."""
    if key.startswith("parsed_"):
        opened = open_stream(key.removeprefix("parsed_"), clients)
        clients.answer_parsed("anthropic" if "message" in key else "openai", list(opened()))
        return opened
    kind, _, events = key.rpartition("_")
    if kind == "stream":
        clients.answer(events=_chat_events(int(events)))
        create, messages = clients.openai.chat.completions.create, _chat_messages("chat")
        return lambda: create(
            model=CHAT_MODEL,
            messages=messages,
            max_tokens=400,
            temperature=0.5,
            stream=True,
            stream_options={"include_usage": True},
        )
    clients.answer(events=_message_events(int(events)))
    create = clients.anthropic.messages.create
    return lambda: create(**_message_request(), stream=True)


def _conversation(question: Any = TURNS[-1]) -> list[dict[str, Any]]:
    said = [*TURNS[:-1], question]
    return [{"role": ("user", "assistant")[turn % 2], "content": content} for turn, content in enumerate(said)]


def _chat_messages(key: str) -> list[dict[str, Any]]:
    question: Any = TURNS[-1]
    if key == "prompt_100k":
        question = _text(100_000, 7)
    elif key == "image_1m":
        image = base64.b64encode(random.Random(8).randbytes(750_000)).decode()
        question = [
            {"type": "text", "text": question},
            {"type": "image_url", "image_url": {"url": f"data:image/png;base64,{image}"}},
        ]
    return [{"role": "system", "content": SYSTEM}, *_conversation(question)]


def _message_request() -> dict[str, Any]:
    return {
        "model": MESSAGE_MODEL,
        "max_tokens": 400,
        "stop_sequences": ["###"],
        "system": SYSTEM,
        "messages": _conversation(),
    }
