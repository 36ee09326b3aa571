"""Claude Agent SDK: an agent that has a subagent call a tool. Claude Code itself runs, and asks the model here."""

from __future__ import annotations

import asyncio
from tempfile import TemporaryDirectory
from typing import Any

from claude_agent_sdk import (
    AgentDefinition,
    ClaudeAgentOptions,
    ResultMessage,
    SdkMcpTool,
    create_sdk_mcp_server,
    query,
    tool,
)

from .traced import QUESTION, REPLIES, traced

SONNET, HAIKU = "claude-sonnet-4-5", "claude-haiku-4-5"

FORECASTER = AgentDefinition(
    description="Knows the weather", prompt="Look it up.", model=HAIKU, tools=["mcp__sky__weather"]
)
DELEGATED = {"description": "weather", "prompt": QUESTION, "subagent_type": "forecaster", "run_in_background": False}
ARGUMENTS = {"Agent": DELEGATED}
"""What the model calls the tool with that runs a subagent."""


@tool("weather", "Say what the weather is like in a city.", {"city": str})
async def weather(called: dict[str, Any]) -> dict[str, Any]:
    """Say what the weather is like in a city."""
    return {"content": [{"type": "text", "text": f"sunny in {called['city']}"}]}


def options(url: str, home: str, ours: list[SdkMcpTool[Any]], **more: Any) -> ClaudeAgentOptions:
    """Return options with which Claude Code asks the model at `url` only, and keeps its files in `home`."""
    alone = ("CLAUDE_CODE_DISABLE_NONESSENTIAL_TRAFFIC", "DISABLE_AUTOUPDATER", "DISABLE_TELEMETRY")
    places = dict.fromkeys(("HOME", "CLAUDE_CONFIG_DIR", "CLAUDE_CODE_TMPDIR"), home)
    server = {"ANTHROPIC_BASE_URL": url, "ANTHROPIC_API_KEY": "demo"}
    given = {
        "model": SONNET,
        "tools": [],
        "mcp_servers": {"sky": create_sdk_mcp_server("sky", tools=ours)},
        "allowed_tools": ["Agent", *(f"mcp__sky__{one.name}" for one in ours)],
        "system_prompt": "Answer in one sentence.",
        "setting_sources": [],
        "max_turns": 4,
    }
    return ClaudeAgentOptions(cwd=home, env=dict.fromkeys(alone, "1") | places | server, **(given | more))


async def main(url: str) -> None:
    """Ask, and print the answer."""
    with TemporaryDirectory(prefix="claude-code-") as home:
        chosen = options(url, home, [weather], tools=["Task"], agents={"forecaster": FORECASTER})
        async for message in query(prompt=QUESTION, options=chosen):
            if isinstance(message, ResultMessage):
                print(message.result)


if __name__ == "__main__":
    with traced(REPLIES, ARGUMENTS) as provider:
        asyncio.run(main(provider.anthropic_url))
