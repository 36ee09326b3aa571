"""A stand-in for Claude Code, a Node program: a transport of its SDK that plays messages of the documented format.

https://docs.claude.com/en/api/agent-sdk/python, and `claude --output-format stream-json`
"""

from __future__ import annotations

import asyncio
import itertools
import json
from collections.abc import AsyncIterator, Iterable, Mapping
from typing import Any

from claude_agent_sdk import Transport

Message = Mapping[str, Any]

SESSION = "session-1"
_NUMBERS = itertools.count(1)


def assistant(
    *content: Message, model: str, tokens: tuple[int, int], message_id: str, inside: str | None = None
) -> Message:
    """Return a message of a model; `tokens` are those of its input and its output so far."""
    usage = {"input_tokens": tokens[0], "output_tokens": tokens[1]}
    said = {"id": message_id, "role": "assistant", "model": model, "content": list(content), "usage": usage}
    return {"type": "assistant", "message": said, "parent_tool_use_id": inside, "session_id": SESSION}


def tool_use(name: str, call_id: str, **arguments: Any) -> Message:
    """Return the block with which a model calls a tool."""
    return {"type": "tool_use", "id": call_id, "name": name, "input": arguments}


def tool_result(call_id: str, said: str, *, failed: bool = False, inside: str | None = None) -> Message:
    """Return the message with the result of a tool."""
    block = {"type": "tool_result", "tool_use_id": call_id, "content": said, "is_error": failed}
    return {"type": "user", "message": {"role": "user", "content": [block]}, "parent_tool_use_id": inside}


def result(said: str, cost: float, models: Mapping[str, tuple[int, int, float]], **more: Any) -> Message:
    """Return a result: `cost` and the tokens and cost of each model are totals of the connection so far."""
    used = {
        model: {"inputTokens": given, "outputTokens": made, "costUSD": usd}
        for model, (given, made, usd) in models.items()
    }
    told = {"type": "result", "subtype": "success", "is_error": False, "num_turns": 1, "result": said}
    times = {"duration_ms": 1, "duration_api_ms": 1, "session_id": SESSION}
    return {**told, **times, "total_cost_usd": cost, "modelUsage": used, **more}


class ClaudeCode(Transport):
    """Plays the messages of the next turn whenever it is asked something.

    Args:
        turns: The messages of each turn.
    """

    def __init__(self, turns: Iterable[Iterable[Message]]) -> None:
        self.asked: list[str] = []
        self._turns = iter(turns)
        self._messages: asyncio.Queue[Message | None] = asyncio.Queue()

    async def connect(self) -> None:
        """Do nothing: there is no process."""

    async def write(self, data: str) -> None:
        """Answer what the SDK sends."""
        for line in data.splitlines():
            sent = json.loads(line)
            if sent["type"] == "control_request":
                response = {"subtype": "success", "request_id": sent["request_id"], "response": {}}
                self._messages.put_nowait({"type": "control_response", "response": response})
            elif sent["type"] == "user":
                self.asked.append(sent["message"]["content"])
                for message in next(self._turns, ()):
                    self._messages.put_nowait({**message, "uuid": f"message-{next(_NUMBERS)}"})

    async def read_messages(self) -> AsyncIterator[dict[str, Any]]:
        """Yield the messages that were played."""
        while (message := await self._messages.get()) is not None:
            yield dict(message)

    async def close(self) -> None:
        """End the messages."""
        self._messages.put_nowait(None)

    def is_ready(self) -> bool:
        """Return whether the stand-in is ready, as it always is."""
        return True

    async def end_input(self) -> None:
        """End the messages after those that wait."""
        self._messages.put_nowait(None)
