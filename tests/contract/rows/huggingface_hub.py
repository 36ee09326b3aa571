"""Hugging Face's inference client: one private method sends every request, and gives the lines of a stream."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from tests.contract.row import Row
from tests.contract.rows.openai_chat import PROMPT, USAGE, chunks, whole
from tests.contract.rows.openai_operations import PRICES as SPEECH_PRICES
from tests.contract.server import Reply, json_reply

MODEL = "meta-llama/Llama-3.3-70B-Instruct"
PRICES = str(Path(__file__).with_name("huggingface_prices.toml"))


def ask(client: Any, *, stream: bool, max_tokens: int | None = None, model: str = MODEL) -> Any:
    """Make the call."""
    return client.chat_completion(
        [{"role": "user", "content": PROMPT}], model=model, stream=stream, max_tokens=max_tokens
    )


def make(url: str, asynchronous: bool, retries: int) -> Any:
    """Make a client of an endpoint of one's own."""
    from huggingface_hub import AsyncInferenceClient, InferenceClient, constants

    constants.HF_HUB_DISABLE_TELEMETRY = True  # else it asks the hub for a list, once a day
    return (AsyncInferenceClient if asynchronous else InferenceClient)(base_url=url, api_key="k", timeout=20)


def error(status: int) -> Reply:
    """An error answer."""
    return json_reply({"error": f"No: {PROMPT}"}, status)


ROW = Row(
    library="huggingface-hub",
    module="huggingface_hub",
    client=make,
    call=ask,
    whole=whole(MODEL),
    events=chunks(MODEL, usage=USAGE),
    provider="huggingface",
    model=MODEL,
    usage=(1000, 500),
    cost=1000 * 0.9e-6 + 500 * 1.2e-6,
    error=error,
    cheaper="meta-llama/Llama-3.1-8B-Instruct",
    options={"prices": PRICES},
    ends=True,
    retries=False,  # the client sends nothing again
)

# Vectors have no usage, and no price: tests/instrumentors/providers/test_huggingface_hub.py.
OPERATIONS = (
    ROW.another(
        "speech",
        call=lambda client, **_: client.text_to_speech(PROMPT),
        whole=Reply(200, "audio/flac", (b"fLaC", b"sound")),
        model="",  # an endpoint of one's own has one
        usage=(0, 0),
        cost=len(PROMPT) * 0.00001,
        options=SPEECH_PRICES,
        content=False,
        counted=False,
    ),
)
