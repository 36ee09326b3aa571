"""A provider on loopback that keeps its own bill: `python billing_provider.py` prints its port and serves.

It speaks OpenAI's chat completions (https://platform.openai.com/docs/api-reference/chat) and does what the header
`x-orders` of a request says, see `Orders`. It bills what it generates: a whole answer even when the client has
hung up, a stream chunk by chunk until it notices that the client is gone. `GET /bill` returns the bill, and
`GET /usd` its sum.
"""

from __future__ import annotations

import asyncio
import itertools
import json
import re
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

MODEL = "gpt-4.1-mini"
INPUT_RATE, OUTPUT_RATE = 0.40e-6, 1.60e-6
"""USD per token. https://platform.openai.com/docs/pricing"""

IMAGE = 1659
"""Tokens of an image of 1024 × 1024: 1024 patches × 1.62. https://platform.openai.com/docs/guides/images-vision"""

WORDS = ("the", "river", "is", "wide", "and", "old", "bridge", "over", "it", "stands", "since", "years")
"""Every one is a token, with its space."""


@dataclass
class Orders:
    """What the provider does with one call. Lists have an entry for each attempt; the last is kept.

    Attributes:
        call: Names the call on the bill.
        tokens: Output tokens of the answer.
        wait: Seconds before the answer begins.
        status: HTTP status of the answer.
        pace: Seconds between two chunks of a stream.
        late: Seconds for which a stream is generated further after its connection is lost.
        breaks: Chunks, or bytes of a whole answer, after which the provider loses the connection; -1 for never.
        hidden: Input tokens that the request does not show, such as those of a stored prompt.
    """

    call: str
    tokens: int
    wait: list[float] = field(default_factory=lambda: [0.0])
    status: list[int] = field(default_factory=lambda: [200])
    pace: float = 0.01
    late: float = 0.0
    breaks: int = -1
    hidden: int = 0


def tokens_of(messages: list[dict[str, Any]]) -> int:
    """Count a prompt as o200k cuts it: words, three digits, a space before digits, runs of marks; 4 a message."""
    total = 3
    for message in messages:
        total += 4
        content = message["content"]
        for part in content if isinstance(content, list) else [{"type": "text", "text": content}]:
            total += IMAGE if part["type"] == "image_url" else len(_TOKEN.findall(part["text"]))
    return total


_TOKEN = re.compile(r" ?[A-Za-z]+|\d{1,3}| ?[^\sA-Za-z\d]+|\s+")


class Line:
    """What one call is billed: of all its attempts together."""

    def __init__(self) -> None:
        self.input = self.output = 0

    @property
    def usd(self) -> float:
        """The amount."""
        return self.input * INPUT_RATE + self.output * OUTPUT_RATE


class BillingProvider:
    """Serves connections, and bills."""

    def __init__(self) -> None:
        self.bill: defaultdict[str, Line] = defaultdict(Line)
        self.busy = 0
        self._numbers = itertools.count(1)

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """One connection, request by request."""
        try:
            while True:
                head = (await reader.readuntil(b"\r\n\r\n")).decode().split("\r\n")
                headers = {name.lower(): value for line in head[1:] if line for name, value in [line.split(": ", 1)]}
                body = await reader.readexactly(int(headers.get("content-length", 0)))
                if head[0].startswith("GET /usd"):
                    self._answer(writer, 200, {"busy": self.busy, "usd": sum(line.usd for line in self.bill.values())})
                    continue
                if head[0].startswith("GET /bill"):
                    self._answer(writer, 200, {call: line.usd for call, line in self.bill.items()})
                    continue
                self.busy += 1
                try:
                    orders = Orders(**json.loads(headers["x-orders"]))
                    await self._complete(orders, headers, json.loads(body), writer)
                finally:
                    self.busy -= 1
        except (asyncio.IncompleteReadError, ConnectionError):
            pass
        finally:
            writer.close()

    async def _complete(
        self, orders: Orders, headers: dict[str, str], body: dict[str, Any], writer: asyncio.StreamWriter
    ) -> None:
        attempt = int(headers.get("x-stainless-retry-count", 0))
        status = orders.status[min(attempt, len(orders.status) - 1)]
        line = self.bill[orders.call]
        wait = orders.wait[min(attempt, len(orders.wait) - 1)]
        if status != 200:
            await asyncio.sleep(wait)
            error = {"message": "no", "type": "invalid_request_error", "param": None, "code": None}
            self._answer(writer, status, {"error": error})
            return
        prompt = tokens_of(body["messages"]) + orders.hidden
        line.input += prompt
        common = {"id": f"chatcmpl-{next(self._numbers)}", "created": 1760000000, "model": f"{MODEL}-2025-04-14"}
        if body.get("stream"):
            await asyncio.sleep(wait)
            await self._stream(orders, line, prompt, common, body, writer)
            return
        line.output += orders.tokens
        await asyncio.sleep(wait)
        text = " ".join(itertools.islice(itertools.cycle(WORDS), orders.tokens))
        message = {"role": "assistant", "content": text, "refusal": None}
        choice = {"index": 0, "message": message, "finish_reason": "stop", "logprobs": None}
        answer = {**common, "object": "chat.completion", "choices": [choice], "usage": _usage(prompt, orders.tokens)}
        if orders.breaks >= 0:
            payload = json.dumps(answer).encode()
            writer.write(_head(200, "application/json", f"Content-Length: {len(payload)}") + payload[: orders.breaks])
            writer.close()
            return
        self._answer(writer, 200, answer)

    async def _stream(
        self,
        orders: Orders,
        line: Line,
        prompt: int,
        common: dict[str, Any],
        body: dict[str, Any],
        writer: asyncio.StreamWriter,
    ) -> None:
        writer.write(_head(200, "text/event-stream; charset=utf-8", "Transfer-Encoding: chunked"))
        late = 0.0
        for number, event in enumerate(_chunks(common, orders.tokens)):
            await asyncio.sleep(orders.pace)
            if number == orders.breaks:
                writer.close()
            if writer.is_closing():
                late += orders.pace
                if late > orders.late:
                    return
            else:
                writer.write(event)
            line.output += 1
        finish = {"index": 0, "delta": {}, "finish_reason": "stop", "logprobs": None}
        writer.write(_event({**common, "object": "chat.completion.chunk", "choices": [finish], "usage": None}))
        if (body.get("stream_options") or {}).get("include_usage"):
            usage = _usage(prompt, orders.tokens)
            writer.write(_event({**common, "object": "chat.completion.chunk", "choices": [], "usage": usage}))
        writer.write(_http_chunk(b"data: [DONE]\n\n") + b"0\r\n\r\n")

    def _answer(self, writer: asyncio.StreamWriter, status: int, body: Any) -> None:
        payload = json.dumps(body).encode()
        more = f"Content-Length: {len(payload)}" + ("\r\nretry-after-ms: 20" if status != 200 else "")
        writer.write(_head(status, "application/json", more) + payload)


def _head(status: int, kind: str, more: str) -> bytes:
    return f"HTTP/1.1 {status} _\r\nContent-Type: {kind}\r\n{more}\r\n\r\n".encode()


def _usage(prompt: int, completion: int) -> dict[str, Any]:
    return {
        "prompt_tokens": prompt,
        "completion_tokens": completion,
        "total_tokens": prompt + completion,
        "prompt_tokens_details": {"cached_tokens": 0, "audio_tokens": 0},
        "completion_tokens_details": {
            "reasoning_tokens": 0,
            "audio_tokens": 0,
            "accepted_prediction_tokens": 0,
            "rejected_prediction_tokens": 0,
        },
    }


def _chunks(common: dict[str, Any], tokens: int) -> Iterator[bytes]:
    for word in itertools.islice(itertools.cycle(WORDS), tokens):
        choice = {"index": 0, "delta": {"content": f" {word}"}, "finish_reason": None, "logprobs": None}
        yield _event({**common, "object": "chat.completion.chunk", "choices": [choice], "usage": None})


def _event(body: Any) -> bytes:
    return _http_chunk(f"data: {json.dumps(body)}\n\n".encode())


def _http_chunk(data: bytes) -> bytes:
    return f"{len(data):x}\r\n".encode() + data + b"\r\n"


async def main() -> None:
    server = await asyncio.start_server(BillingProvider().serve, "127.0.0.1", 0, backlog=1024)
    print(server.sockets[0].getsockname()[1], flush=True)
    await server.serve_forever()


if __name__ == "__main__":
    asyncio.run(main())
