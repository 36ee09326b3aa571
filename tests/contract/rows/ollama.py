"""Ollama's client: one private method sends every request, and parses its answer or the lines of a stream."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from tests.contract.row import Row
from tests.contract.server import Reply, json_reply

MODEL = "llama3.3"
PROMPT = "What is the capital of France?"
TEXT = "The capital of France is Paris."
HEAD = {"model": MODEL, "created_at": "2026-11-29T00:00:00Z"}
COUNTS = {"total_duration": 9, "load_duration": 1, "prompt_eval_count": 1000, "eval_count": 500, "eval_duration": 5}
PRICES = str(Path(__file__).with_name("ollama_prices.toml"))


def part(content: str, **more: Any) -> dict[str, Any]:
    """An answer, or a part of one."""
    return {**HEAD, "message": {"role": "assistant", "content": content}, "done": False, **more}


def lines(*parts: dict[str, Any]) -> tuple[bytes, ...]:
    """The parts of a streamed answer, each on a line."""
    return tuple(json.dumps(one).encode() + b"\n" for one in parts)


WORDS = [word if word == "Paris." else f"{word} " for word in TEXT.split()]
END: dict[str, Any] = {"done": True, "done_reason": "stop", **COUNTS}


def make(url: str, asynchronous: bool, retries: int) -> Any:
    """Make a client."""
    import ollama

    return (ollama.AsyncClient if asynchronous else ollama.Client)(host=url, timeout=20)


def ask(client: Any, *, stream: bool, max_tokens: int | None = None) -> Any:
    """Make the call."""
    options = {} if max_tokens is None else {"options": {"num_predict": max_tokens}}
    return client.chat(model=MODEL, messages=[{"role": "user", "content": PROMPT}], stream=stream, **options)


def error(status: int) -> Reply:
    """An error answer."""
    return json_reply({"error": f"No: {PROMPT}"}, status)


ROW = Row(
    library="ollama",
    module="ollama",
    client=make,
    call=ask,
    whole=json_reply(part(TEXT, **END)),
    events=lines(*map(part, WORDS), part("", **END)),
    provider="ollama",
    model=MODEL,
    usage=(1000, 500),
    cost=1000 * 0.2e-6 + 500 * 0.6e-6,
    error=error,
    limit=lambda request: request.json["options"].get("num_predict"),
    cheaper="llama3.2",
    options={"prices": PRICES},
    stream_type="application/x-ndjson",
    retries=False,  # the client sends nothing again
)

OPERATIONS = (
    ROW.another(
        "embeddings",
        call=lambda client, **_: client.embed(model=MODEL, input=PROMPT),
        whole=json_reply({"model": MODEL, "embeddings": [[0.1, 0.2]], "prompt_eval_count": 1000}),
        usage=(1000, 0),
        cost=1000 * 0.2e-6,
        cheaper=ROW.cheaper,
        content=False,
    ),
)
