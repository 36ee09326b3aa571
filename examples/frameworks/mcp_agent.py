"""MCP: an agent that calls the tools of a server in the same process; both sides are in one trace."""

from __future__ import annotations

import asyncio
import json
from typing import Any

from fastmcp import Client, FastMCP
from openai import AsyncOpenAI

import genledger

from .traced import QUESTION, traced

server = FastMCP("weather")


@server.tool
def weather(city: str) -> str:
    """Say what the weather is like in a city."""
    return f"sunny in {city}"


@genledger.observe(kind="agent")
async def forecaster(url: str, question: str) -> str:
    """Return what the model at `url`, the base URL of OpenAI's API, says with the server's tools."""
    model = AsyncOpenAI(base_url=url, api_key="demo")
    messages: list[Any] = [{"role": "user", "content": question}]
    async with Client(server) as client:
        offered: list[Any] = [
            {"type": "function", "function": {"name": tool.name, "parameters": tool.input_schema}}
            for tool in await client.list_tools()
        ]
        while True:
            said = await model.chat.completions.create(model="gpt-4.1-mini", messages=messages, tools=offered)
            message: Any = said.choices[0].message
            if not message.tool_calls:
                return str(message.content)
            messages.append(message)
            for call in message.tool_calls:
                result = await client.call_tool(call.function.name, json.loads(call.function.arguments))
                messages.append({"role": "tool", "tool_call_id": call.id, "content": str(result.data)})


if __name__ == "__main__":
    with traced() as provider:
        print(asyncio.run(forecaster(provider.openai_url, QUESTION)))
