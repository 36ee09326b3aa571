"""Together's client: generated as OpenAI's is, and speaks its chat format."""

from __future__ import annotations

from functools import partial
from typing import Any

from tests.contract.row import Row
from tests.contract.rows.openai_chat import PROMPT, ask, chunks, error, whole
from tests.contract.rows.openai_operations import PRICES, SECONDS, TEXT, embeddings, images, speech, transcription
from tests.contract.server import json_reply

MODEL = "Qwen/Qwen3.7-Max"


def make(url: str, asynchronous: bool, retries: int) -> Any:
    """Make a client."""
    import together

    kind = together.AsyncTogether if asynchronous else together.Together
    return kind(base_url=url, api_key="k", max_retries=retries, timeout=20)


ROW = Row(
    library="together",
    module="together",
    client=make,
    call=partial(ask, model=MODEL),
    whole=whole(MODEL),
    events=chunks(MODEL),
    provider="together",
    model=MODEL,
    usage=(1000, 500),
    cost=1000 * 2.5e-6 + 500 * 7.5e-6,  # https://www.together.ai/pricing
    error=error,
    cheaper="Qwen/Qwen3.8-Flash",
)

_SECONDS = json_reply({"text": TEXT, "duration": SECONDS, "language": "en", "task": "transcribe", "segments": []})
_RERANK = "mixedbread-ai/mxbai-rerank-large-v2"

# https://docs.together.ai/reference
OPERATIONS = (
    embeddings(ROW, "intfloat/multilingual-e5-large-instruct", 1000 * 0.02e-6, options=PRICES),
    ROW.another(
        "rerank",
        call=lambda client, **_: client.rerank.create(model=_RERANK, query=PROMPT, documents=["Paris", "London"]),
        whole=json_reply(
            {
                "object": "rerank",
                "id": "r1",
                "model": _RERANK,
                "results": [{"index": 0, "relevance_score": 0.9, "document": {"text": "Paris"}}],
                "usage": {"prompt_tokens": 1000, "completion_tokens": 0, "total_tokens": 1000},
            }
        ),
        model=_RERANK,
        usage=(1000, 0),
        cost=1000 * 0.1e-6,
        options=PRICES,
    ),
    images(ROW, "black-forest-labs/FLUX.1-schnell", 0.003 * 1024 * 1024 / 1e6, options=PRICES),
    speech(ROW, "cartesia/sonic-2", len(PROMPT) * 65e-6, "laidback woman", options=PRICES),
    transcription(ROW, "openai/whisper-large-v3", SECONDS * 0.000025, whole=_SECONDS, options=PRICES),
)
