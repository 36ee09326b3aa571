"""OpenAI's client: the chat format, which two dozen clients speak."""

from __future__ import annotations

from typing import Any

from tests.contract.row import Row
from tests.contract.server import Reply, json_reply, sse

TEXT = "The capital of France is Paris."
PROMPT = "What is the capital of France?"
USAGE = {"prompt_tokens": 1000, "completion_tokens": 500, "total_tokens": 1500}


def whole(model: str, **more: Any) -> Reply:
    """A chat completion."""
    choice = {"index": 0, "finish_reason": "stop", "message": {"role": "assistant", "content": TEXT}}
    body = {"id": "chatcmpl-1", "object": "chat.completion", "created": 1790000000, "model": model}
    return json_reply({**body, "choices": [choice], "usage": USAGE, **more})


def chunks(model: str, **last: Any) -> tuple[bytes, ...]:
    """A streamed chat completion; the usage comes in a last chunk without choices."""
    head = {"id": "chatcmpl-1", "object": "chat.completion.chunk", "created": 1790000000, "model": model}

    def chunk(delta: dict[str, Any], finish: str | None = None) -> dict[str, Any]:
        return {**head, "choices": [{"index": 0, "delta": delta, "finish_reason": finish}]}

    words = [chunk({"content": f"{word} " if word != "Paris." else word}) for word in TEXT.split()]
    end = last or {"usage": USAGE}
    first = chunk({"role": "assistant", "content": ""})
    return sse(first, *words, chunk({}, "stop"), {**head, "choices": [], **end}, done=True)


def error(status: int) -> Reply:
    """An error answer."""
    return json_reply({"error": {"message": f"No: {PROMPT}", "type": "invalid_request_error"}}, status)


def ask(client: Any, *, stream: bool, max_tokens: int | None = None, model: str = "gpt-4o") -> Any:
    """Make the call."""
    given = {"model": model, "messages": [{"role": "user", "content": PROMPT}]}
    if max_tokens is not None:
        given["max_tokens"] = max_tokens
    if stream:
        given["stream"] = True
    return client.chat.completions.create(**given)


def make(url: str, asynchronous: bool, retries: int) -> Any:
    """Make a client."""
    import openai

    kind = openai.AsyncOpenAI if asynchronous else openai.OpenAI
    return kind(base_url=f"{url}/v1", api_key="k", max_retries=retries, timeout=20)


ROW = Row(
    library="openai",
    module="openai",
    client=make,
    call=ask,
    whole=whole("gpt-4o-2024-08-06"),
    events=chunks("gpt-4o-2024-08-06"),
    provider="openai",
    model="gpt-4o",
    usage=(1000, 500),
    cost=1000 * 2.5e-6 + 500 * 10e-6,
    error=error,
    cheaper="gpt-4o-mini",
)
