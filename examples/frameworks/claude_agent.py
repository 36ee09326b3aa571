"""Claude Agent SDK: an agent that has a subagent look something up; a stand-in plays Claude Code."""

from __future__ import annotations

import asyncio

from claude_agent_sdk import ClaudeAgentOptions, ResultMessage, query

from .claude_code import ClaudeCode, assistant, result, tool_result, tool_use
from .traced import QUESTION, REPLIES, traced

SONNET, HAIKU = "claude-sonnet-4-5", "claude-haiku-4-5"

LOOK_UP = tool_use("Task", "task-1", subagent_type="researcher", prompt=QUESTION)
FETCH = tool_use("WebFetch", "fetch-1", url="https://weather.example/paris")
ANSWER = {"type": "text", "text": REPLIES[QUESTION]}
TURN = [
    assistant(LOOK_UP, model=SONNET, tokens=(900, 40), message_id="m-1"),
    assistant(FETCH, model=HAIKU, tokens=(300, 20), message_id="m-2", inside="task-1"),
    tool_result("fetch-1", "sunny", inside="task-1"),
    tool_result("task-1", "It is sunny."),
    assistant(ANSWER, model=SONNET, tokens=(1000, 10), message_id="m-3"),
    result(REPLIES[QUESTION], 0.00685, {SONNET: (1900, 50, 0.00645), HAIKU: (300, 20, 0.0004)}),
]


async def main() -> None:
    """Ask, and print the answer."""
    async for message in query(prompt=QUESTION, options=ClaudeAgentOptions(model=SONNET), transport=ClaudeCode([TURN])):
        if isinstance(message, ResultMessage):
            print(message.result)


if __name__ == "__main__":
    with traced():
        asyncio.run(main())
