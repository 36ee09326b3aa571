"""What else OpenAI's client does, and the rows of other clients that speak the same formats."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from tests.contract.row import Row
from tests.contract.rows.openai_chat import PROMPT, TEXT
from tests.contract.rows.openai_chat import ROW as CHAT
from tests.contract.server import Reply, Request, json_reply, sse
from tests.instrumentors.provider import now

SECONDS = 60
RECORDING = ("question.wav", b"RIFF" + bytes(20_000))
PRICES = {"prices": str(Path(__file__).with_name("operations_prices.toml"))}
"""Options of `genledger.instrument`, for models that no public list has."""


def vectors(model: str, usage: Mapping[str, Any] | None = None) -> Reply:
    """Make an answer with vectors. https://platform.openai.com/docs/api-reference/embeddings"""
    data = [{"object": "embedding", "embedding": [0.1, 0.2], "index": 0}]
    counts = {"prompt_tokens": 1000, "total_tokens": 1000, **(usage or {})}
    return json_reply({"id": "e-1", "object": "list", "data": data, "model": model, "usage": counts})


def embeddings(chat: Row, model: str, cost: float, **changes: Any) -> Row:
    """Return the row of a client's embeddings."""
    given: dict[str, Any] = {
        "call": lambda client, **_: client.embeddings.create(model=model, input=PROMPT),
        "whole": vectors(model),
        "usage": (1000, 0),
        "content": False,
    }
    return chat.another("embeddings", model=model, cost=cost, **{**given, **changes})


async def read(response: Any) -> bytes:
    """Read the sound of an answer, in either way."""
    found: bytes = await now((await now(response)).read())
    return found


def speech(chat: Row, model: str, cost: float, voice: str = "alloy", **changes: Any) -> Row:
    """Return the row of a client's text to speech: the text alone says what it costs."""
    given: dict[str, Any] = {
        "call": lambda client, **_: read(client.audio.speech.create(model=model, input=PROMPT, voice=voice)),
        "whole": Reply(200, "audio/mpeg", (b"ID3", b"sound")),
        "usage": (0, 0),
        "content": False,
        "counted": False,
    }
    return chat.another("speech", model=model, cost=cost, **{**given, **changes})


def form_model(request: Request) -> str | None:
    """Read the model in a form."""
    found = re.search(rb'name="model"\r\n\r\n([^\r]+)', request.body)
    return found[1].decode() if found else None


def transcription(chat: Row, model: str, cost: float, **changes: Any) -> Row:
    """Return the row of a client's transcriptions."""
    given: dict[str, Any] = {
        "call": lambda client, **_: client.audio.transcriptions.create(model=model, file=RECORDING),
        "whole": json_reply({"text": TEXT, "usage": {"type": "duration", "seconds": SECONDS}}),
        "usage": (0, 0),
        "content": False,
        "text": TEXT,
        "sent_model": form_model,
    }
    return chat.another("transcription", model=model, cost=cost, **{**given, **changes})


RESPONSE: dict[str, Any] = {
    "id": "resp_1",
    "object": "response",
    "created_at": 1790000000,
    "model": "gpt-4o-2024-08-06",
    "status": "completed",
    "output": [],
    "parallel_tool_calls": True,
    "tool_choice": "auto",
    "tools": [],
}
RESPONSE_USAGE = {
    "input_tokens": 1000,
    "output_tokens": 500,
    "total_tokens": 1500,
    "input_tokens_details": {"cached_tokens": 0},
    "output_tokens_details": {"reasoning_tokens": 0},
}


def response(**more: Any) -> dict[str, Any]:
    """Make a finished response. https://platform.openai.com/docs/api-reference/responses"""
    part = {"type": "output_text", "text": TEXT, "annotations": []}
    message = {"type": "message", "id": "msg_1", "role": "assistant", "status": "completed", "content": [part]}
    return {**RESPONSE, "output": [message], "usage": RESPONSE_USAGE, **more}


def response_events(**more: Any) -> tuple[bytes, ...]:
    """Make a streamed response. https://platform.openai.com/docs/api-reference/responses-streaming"""
    begun = {**RESPONSE, "status": "in_progress", "usage": None, **more, "output": []}
    done = response(**more)
    (message,) = done["output"]
    (part,) = message["content"]
    place = {"item_id": "msg_1", "output_index": 0, "content_index": 0}
    words = [word if word == "Paris." else f"{word} " for word in TEXT.split()]
    events: list[dict[str, Any]] = [
        {"type": "response.created", "response": {**begun, "usage": None}},
        {"type": "response.output_item.added", "output_index": 0, "item": {**message, "content": []}},
        {"type": "response.content_part.added", **place, "part": {**part, "text": ""}},
        *({"type": "response.output_text.delta", **place, "delta": word, "logprobs": []} for word in words),
        {"type": "response.output_text.done", **place, "text": TEXT, "logprobs": []},
        {"type": "response.content_part.done", **place, "part": part},
        {"type": "response.output_item.done", "output_index": 0, "item": message},
        {"type": "response.completed", "response": done},
    ]
    return sse(*({**event, "sequence_number": number} for number, event in enumerate(events)), named=True)


def respond(client: Any, *, stream: bool, max_tokens: int | None = None, model: str = "gpt-4o") -> Any:
    """Ask for a response."""
    given: dict[str, Any] = {} if max_tokens is None else {"max_output_tokens": max_tokens}
    if stream:
        given["stream"] = True
    return client.responses.create(model=model, input=PROMPT, **given)


def responses(chat: Row, **changes: Any) -> Row:
    """Return the row of a client's responses: a chat in another format."""
    given: dict[str, Any] = {
        "call": respond,
        "whole": json_reply(response()),
        "events": response_events(),
        "limit": lambda request: request.json.get("max_output_tokens"),
        "cheaper": chat.cheaper,
    }
    return chat.another(chat.operation, endpoint="Responses", streams=True, text=TEXT, **{**given, **changes})


def images(chat: Row, model: str, cost: float, **changes: Any) -> Row:
    """Return the row of a client's images: each has a price."""
    given: dict[str, Any] = {
        "call": lambda client, **_: client.images.generate(model=model, prompt=PROMPT),
        "whole": json_reply({"created": 1790000000, "data": [{"b64_json": "cGl4ZWxz"}]}),
        "usage": (0, 0),
        "content": False,
    }
    return chat.another("image_generation", model=model, cost=cost, **{**given, **changes})


_MODERATED = {"flagged": False, "categories": {}, "category_scores": {}, "category_applied_input_types": {}}
_IMAGE_USAGE = {
    "input_tokens": 50,
    "output_tokens": 4160,
    "total_tokens": 4210,
    "input_tokens_details": {"text_tokens": 50, "image_tokens": 0},
}

# https://openai.com/api/pricing
OPERATIONS = (
    responses(CHAT),
    embeddings(CHAT, "text-embedding-3-large", 1000 * 0.13e-6, cheaper="text-embedding-3-small"),
    images(
        CHAT,
        "gpt-image-1",
        50 * 5e-6 + 4160 * 40e-6,
        usage=(50, 4160),
        whole=json_reply({"created": 1790000000, "data": [{"b64_json": "cGl4ZWxz"}], "usage": _IMAGE_USAGE}),
    ),
    speech(CHAT, "tts-1-hd", len(PROMPT) * 30e-6, cheaper="tts-1"),
    transcription(CHAT, "whisper-1", SECONDS * 0.0001),
    CHAT.another(
        "moderation",
        call=lambda client, **_: client.moderations.create(model="omni-moderation-latest", input=PROMPT),
        whole=json_reply({"id": "m-1", "model": "omni-moderation-latest", "results": [_MODERATED]}),
        model="omni-moderation-latest",
        usage=(0, 0),
        cost=0,
        content=False,
        refused=False,
        counted=False,
    ),
)
