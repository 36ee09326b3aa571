"""Groq's client: generated as OpenAI's is, and speaks its chat format."""

from __future__ import annotations

from functools import partial
from typing import Any

from tests.contract.row import Row
from tests.contract.rows.openai_chat import PROMPT, USAGE, ask, chunks, error, whole
from tests.contract.rows.openai_operations import PRICES, SECONDS, TEXT, embeddings, speech, transcription
from tests.contract.server import json_reply

MODEL = "llama-3.3-70b-versatile"


def make(url: str, asynchronous: bool, retries: int) -> Any:
    """Make a client."""
    import groq

    kind = groq.AsyncGroq if asynchronous else groq.Groq
    return kind(base_url=url, api_key="k", max_retries=retries, timeout=20)


ROW = Row(
    library="groq",
    module="groq",
    client=make,
    call=partial(ask, model=MODEL),
    whole=whole(MODEL),
    events=chunks(MODEL, x_groq={"id": "req_1", "usage": USAGE}),
    provider="groq",
    model=MODEL,
    usage=(1000, 500),
    cost=1000 * 0.59e-6 + 500 * 0.79e-6,
    error=error,
    cheaper="llama-3.1-8b-instant",
)

_SECONDS = json_reply({"text": TEXT, "duration": SECONDS, "x_groq": {"id": "req_1"}})

# https://groq.com/pricing
OPERATIONS = (
    embeddings(ROW, "nomic-embed-text-v1_5", 1000 * 0.02e-6, options=PRICES),
    speech(ROW, "canopylabs/orpheus-v1-english", len(PROMPT) * 22e-6, "troy"),
    transcription(ROW, "whisper-large-v3", SECONDS * 0.111 / 3600, whole=_SECONDS),
)
