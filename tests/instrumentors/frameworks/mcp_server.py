"""An MCP server, as a process of its own: `mcp_server.py LIBRARY PROVIDER_URL [PORT]`, on stdio without a port."""

from __future__ import annotations

import asyncio
import os
import sys
from pathlib import Path
from typing import Any

import openai

import genledger

LIBRARY, PROVIDER, *PORT = sys.argv[1:]


async def weather(city: str) -> str:
    """Say what the weather is like in a city."""
    async with openai.AsyncOpenAI(base_url=PROVIDER, api_key="k", max_retries=0) as model:
        return (await model.responses.create(model="gpt-4.1-mini", input=city)).output_text


def broken(city: str) -> str:
    """Fail."""
    raise LookupError(city)


async def slow(city: str) -> str:
    """Ask the model, tell the client, and wait until it gives up."""
    said = await weather(city)
    Path("midway").touch()  # noqa: ASYNC240
    await asyncio.sleep(3600)
    return said


def serve(server: Any) -> None:
    """Serve until the client goes, or until the process is stopped."""
    for tool in (weather, broken, slow):
        server.tool()(tool)
    if not PORT:
        server.run(transport="stdio")
    elif LIBRARY == "mcp":
        server.run(transport="streamable-http", host="127.0.0.1", port=int(PORT[0]))
    else:
        server.run(transport="http", host="127.0.0.1", port=int(PORT[0]), log_level="error", show_banner=False)


if __name__ == "__main__":
    if "INSTRUMENT" in os.environ:
        genledger.instrument()
    if LIBRARY == "mcp":
        from mcp.server import MCPServer

        serve(MCPServer("station", log_level="ERROR"))
    else:
        from fastmcp import FastMCP

        serve(FastMCP("station"))
