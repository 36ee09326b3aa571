"""Alibaba's client: in its own format, whose streams repeat what was generated with each part."""

from __future__ import annotations

import json
from functools import partial
from pathlib import Path
from types import SimpleNamespace
from typing import Any

from tests.contract.row import Row
from tests.contract.rows.openai_chat import PROMPT, TEXT
from tests.contract.rows.openai_operations import PRICES
from tests.contract.server import json_reply

MODEL = "qwen-plus"
USAGE = {"input_tokens": 1000, "output_tokens": 500, "total_tokens": 1500}


def part(said: str, finish: str, usage: Any) -> dict[str, Any]:
    """Make an answer, or a part of one."""
    choice = {"finish_reason": finish, "message": {"role": "assistant", "content": said}}
    return {"output": {"choices": [choice]}, "usage": usage, "request_id": "req-1"}


def _events() -> tuple[bytes, ...]:
    words = [word if word == "Paris." else f"{word} " for word in TEXT.split()]
    parts = [
        part("".join(words[:count]), "null", {"input_tokens": 1000, "output_tokens": count})
        for count in range(1, len(words) + 1)
    ]
    parts.append(part(TEXT, "stop", USAGE))
    return tuple(
        f"id:{number}\nevent:result\n:HTTP_STATUS/200\ndata:{json.dumps(one)}\n\n".encode()
        for number, one in enumerate(parts, 1)
    )


def make(url: str, asynchronous: bool, retries: int) -> Any:
    """Return the class that makes the call, and where to: there are no clients."""
    import dashscope
    from dashscope.aigc.generation import AioGeneration

    kind = AioGeneration if asynchronous else dashscope.Generation
    return SimpleNamespace(call=kind.call, address=f"{url}/api/v1")


def ask(client: Any, *, stream: bool, max_tokens: int | None = None) -> Any:
    """Make the call."""
    given: dict[str, Any] = {} if max_tokens is None else {"max_tokens": max_tokens}
    return client.call(
        model=MODEL,
        messages=[{"role": "user", "content": PROMPT}],
        result_format="message",
        stream=stream,
        api_key="k",
        base_address=client.address,
        request_timeout=20,
        **given,
    )


ROW = Row(
    library="dashscope",
    module="dashscope",
    client=make,
    call=ask,
    whole=json_reply(part(TEXT, "stop", USAGE)),
    events=_events(),
    provider="alibaba",
    model=MODEL,
    usage=(1000, 500),
    cost=1000 * 0.4e-6 + 500 * 1.2e-6,
    error=lambda status: json_reply({"code": "Throttling", "message": f"No: {PROMPT}", "request_id": "r"}, status),
    cheaper="qwen-flash",
    limit=lambda request: request.json["parameters"].get("max_tokens"),
    raises=False,
    retries=False,
    options={"prices": str(Path(__file__).with_name("dashscope_prices.toml"))},
)


def of(kind: str) -> Any:
    """Make what makes a client whose class is another one. Only chats have an asynchronous one in every version."""

    def make_one(url: str, asynchronous: bool, retries: int) -> Any:
        import dashscope

        return partial(getattr(dashscope, kind).call, api_key="k", base_address=f"{url}/api/v1", request_timeout=20)

    return make_one


# https://www.alibabacloud.com/help/en/model-studio/text-embedding-synchronous-api
OPERATIONS = (
    ROW.another(
        "embeddings",
        client=of("TextEmbedding"),
        call=lambda call, **_: call(model="text-embedding-v4", input=PROMPT),
        whole=json_reply(
            {
                "output": {"embeddings": [{"text_index": 0, "embedding": [0.1]}]},
                "usage": {"total_tokens": 1000},
                "request_id": "r",
            }
        ),
        model="text-embedding-v4",
        usage=(1000, 0),
        cost=1000 * 0.07e-6,
        asynchronous=False,
        content=False,
        options=PRICES,
    ),
    ROW.another(
        "rerank",
        client=of("TextReRank"),
        call=lambda call, **_: call(model="gte-rerank-v2", query=PROMPT, documents=["Paris", "London"]),
        whole=json_reply(
            {
                "output": {"results": [{"index": 0, "relevance_score": 0.9}]},
                "usage": {"total_tokens": 1000},
                "request_id": "r",
            }
        ),
        model="gte-rerank-v2",
        usage=(1000, 0),
        cost=1000 * 0.1e-6,
        asynchronous=False,
        options=PRICES,
    ),
)
