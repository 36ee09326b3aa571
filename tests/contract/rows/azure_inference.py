"""Azure's inference client: methods over Azure's own HTTP pipeline, in OpenAI's chat format."""

from __future__ import annotations

from functools import partial
from typing import Any

from tests.contract.row import Row
from tests.contract.rows.openai_chat import PROMPT, chunks, error, whole
from tests.contract.rows.openai_operations import embeddings

MODEL = "gpt-4o"


def make(url: str, asynchronous: bool, retries: int, *, kind: str = "ChatCompletionsClient", model: str = MODEL) -> Any:
    """Make a client."""
    from azure.ai import inference
    from azure.ai.inference import aio
    from azure.core.credentials import AzureKeyCredential

    waits = {"retry_total": retries, "retry_backoff_factor": 0, "read_timeout": 20}
    return getattr(aio if asynchronous else inference, kind)(url, AzureKeyCredential("k"), model=model, **waits)


def ask(client: Any, *, stream: bool, max_tokens: int | None = None) -> Any:
    """Make the call."""
    given: dict[str, Any] = {"messages": [{"role": "user", "content": PROMPT}]}
    if max_tokens is not None:
        given["max_tokens"] = max_tokens
    if stream:
        given.update(stream=True, model_extras={"stream_options": {"include_usage": True}})
    return client.complete(**given)


ROW = Row(
    library="azure-ai-inference",
    module="azure.ai.inference",
    client=make,
    call=ask,
    whole=whole("gpt-4o-2024-08-06"),
    events=chunks("gpt-4o-2024-08-06"),
    provider="azure.ai.inference",
    model=MODEL,
    usage=(1000, 500),
    cost=1000 * 2.5e-6 + 500 * 10e-6,  # https://azure.microsoft.com/pricing/details/cognitive-services/openai-service
    error=error,
    cheaper="gpt-4o-mini",
)

EMBEDDING_MODEL = "text-embedding-3-large"

OPERATIONS = (
    embeddings(
        ROW,
        EMBEDDING_MODEL,
        1000 * 0.13e-6,
        client=partial(make, kind="EmbeddingsClient", model=EMBEDDING_MODEL),
        call=lambda client, **_: client.embed(input=[PROMPT]),
        cheaper="text-embedding-3-small",
    ),
)
