"""Alibaba's second client, in Alibaba's own protocol and in OpenAI's."""

from __future__ import annotations

import json
from functools import partial
from typing import Any

from tests.contract.row import at_least
from tests.contract.rows import dashscope, openai_chat

MODEL = dashscope.MODEL
WORDS = [word if word == "Paris." else f"{word} " for word in openai_chat.TEXT.split()]
PARTS = [
    *(dashscope.part(word, "null", {"input_tokens": 1000, "output_tokens": at}) for at, word in enumerate(WORDS, 1)),
    dashscope.part("", "stop", dashscope.USAGE),
]


def make(url: str, asynchronous: bool, retries: int, protocol: str = "native") -> Any:
    """Make a client."""
    from dashscope import v2

    kind = v2.AsyncClient if asynchronous else v2.Client
    return kind(base_url=f"{url}/api/v1", api_key="k", max_retries=retries, timeout=20, protocol=protocol)


NATIVE = dashscope.ROW.another(
    "chat",
    endpoint="v2",
    client=make,
    call=partial(openai_chat.ask, model=MODEL),
    events=tuple(f"id:{at}\nevent:result\ndata:{json.dumps(one)}\n\n".encode() for at, one in enumerate(PARTS, 1)),
    streams=True,
    text=openai_chat.TEXT,
    limit=dashscope.ROW.limit,
    cheaper=dashscope.ROW.cheaper,
    raises=True,
    retries=True,
)
OPENAI = NATIVE.another(
    "chat",
    endpoint="v2, OpenAI's protocol",
    client=partial(make, protocol="openai"),
    whole=openai_chat.whole(MODEL),
    events=openai_chat.chunks(MODEL),
    streams=True,
    text=openai_chat.TEXT,
    limit=openai_chat.ROW.limit,
    cheaper=NATIVE.cheaper,
    error=openai_chat.error,
)
OPERATIONS = (NATIVE, OPENAI) if at_least("dashscope", 2) else ()
