"""LiteLLM's library to OpenAI: by the client of OpenAI."""

from __future__ import annotations

import os
from functools import partial
from typing import Any

from tests.contract.row import Row, at_least
from tests.contract.rows.openai_chat import PROMPT, chunks, error, whole
from tests.contract.rows.openai_operations import embeddings

os.environ.setdefault("LITELLM_LOCAL_MODEL_COST_MAP", "True")  # or its import fetches a price map

MODEL = "gpt-4o"


def settled(result: Any) -> Any:
    """Return a result without what LiteLLM makes up: an id and a time where none was sent, and how long it took."""
    result.id, result.created = "1", 1790000000
    for fields in (result.__dict__, result.__pydantic_extra__ or {}):
        fields.pop("_response_ms", None)
    return result


class Read:
    """A stream that is read one way: LiteLLM's can be read both ways, whichever way it was asked for."""

    def __init__(self, stream: Any) -> None:
        self._stream = stream
        if hasattr(stream, "close"):  # not in the oldest version
            self.close = stream.close

    def __iter__(self) -> Any:
        return self

    def __next__(self) -> Any:
        return settled(next(self._stream))


class ReadAsync:
    """As `Read`."""

    def __init__(self, stream: Any) -> None:
        self._stream = stream
        if hasattr(stream, "aclose"):
            self.aclose = stream.aclose

    def __aiter__(self) -> Any:
        return self

    async def __anext__(self) -> Any:
        return settled(await anext(self._stream))


class Client:
    """The functions, and what a client would have."""

    def __init__(self, url: str, asynchronous: bool, retries: int) -> None:
        given = {"api_base": url, "api_key": "k", "timeout": 20, "num_retries": retries, "max_retries": 0}
        self.complete = partial(self._complete_async if asynchronous else self._complete, **given)
        self._asynchronous = asynchronous
        self._given = given

    def call(self, name: str, **given: Any) -> Any:
        """Call another function."""
        import litellm

        return getattr(litellm, f"a{name}" if self._asynchronous else name)(**self._given, **given)

    def _complete(self, **given: Any) -> Any:
        import litellm

        result = litellm.completion(**given)
        return Read(result) if given.get("stream") else settled(result)

    async def _complete_async(self, **given: Any) -> Any:
        import litellm

        result = await litellm.acompletion(**given)
        return ReadAsync(result) if given.get("stream") else settled(result)


def ask(client: Client, *, stream: bool, max_tokens: int | None = None, model: str = f"openai/{MODEL}") -> Any:
    """Make the call."""
    given: dict[str, Any] = {"model": model, "messages": [{"role": "user", "content": PROMPT}]}
    if max_tokens is not None:
        given["max_tokens"] = max_tokens
    if stream:
        given["stream"] = True
        given["stream_options"] = {"include_usage": True}
    return client.complete(**given)


ROW = Row(
    library="litellm",
    module="litellm",
    client=Client,
    call=ask,
    whole=whole("gpt-4o-2024-08-06"),
    events=chunks("gpt-4o-2024-08-06"),
    provider="openai",
    model=MODEL,
    usage=(1000, 500),
    cost=1000 * 2.5e-6 + 500 * 10e-6,
    error=error,
    cheaper="gpt-4o-mini",
    retries=False,  # the client of OpenAI does it
    closes=at_least("litellm", 1, 72),  # streams of 1.71 have no way
)

EMBEDDING_MODEL = "text-embedding-3-small"

OPERATIONS = (
    embeddings(
        ROW,
        EMBEDDING_MODEL,
        1000 * 0.02e-6,
        call=lambda client, **_: client.call("embedding", model=f"openai/{EMBEDDING_MODEL}", input=[PROMPT]),
    ),
)
