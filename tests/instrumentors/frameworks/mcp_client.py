"""An MCP client, as a process of its own: `mcp_client.py LIBRARY ADDRESS TOOL…`; a server on stdio has a JSON command.

Each tool is called in a run of an agent of its own, which has the tool's name.
"""

from __future__ import annotations

import asyncio
import json
import os
import sys
from pathlib import Path
from typing import Any

import genledger

LIBRARY, ADDRESS, *TOOLS = sys.argv[1:]


def connected() -> Any:
    """Return a client of either library, by either transport."""
    environment = json.loads(os.environ["SERVER_ENVIRONMENT"])
    if LIBRARY == "mcp":
        import mcp
        from mcp.client.stdio import StdioServerParameters

        if ADDRESS.startswith("http"):
            return mcp.Client(ADDRESS)
        command, *arguments = json.loads(ADDRESS)
        return mcp.Client(StdioServerParameters(command=command, args=arguments, env=environment))
    import fastmcp
    from fastmcp.client.transports import StdioTransport

    if ADDRESS.startswith("http"):
        return fastmcp.Client(ADDRESS)
    command, *arguments = json.loads(ADDRESS)
    return fastmcp.Client(StdioTransport(command, arguments, environment, keep_alive=False))


async def run(client: Any, tool: str) -> None:
    """Call a tool as an agent does, which gives `slow` up midway."""
    with genledger.attribution(tenant="acme", feature="forecast", user="u-1"), genledger.observe(tool, kind="agent"):
        call = asyncio.ensure_future(client.call_tool(tool, {"city": "Paris"}))
        if tool == "slow":
            while not Path("midway").exists():  # noqa: ASYNC110, ASYNC240
                await asyncio.sleep(0.01)
            call.cancel()
        await call


async def main() -> None:
    """Call the tools."""
    async with connected() as client:
        await client.list_tools()
        for tool in TOOLS:
            try:
                await run(client, tool)
            except (Exception, asyncio.CancelledError) as error:
                print(tool, type(error).__name__)


if __name__ == "__main__":
    if "INSTRUMENT" in os.environ:
        genledger.instrument()
    asyncio.run(main())
