"""Agents of frameworks that call a tool of an MCP server in another process: one trace, each call priced once."""

from __future__ import annotations

import sys
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import openai
import pytest
from examples.demo.provider import DemoProvider
from examples.frameworks.traced import QUESTION
from tests.genledger.applications import environment
from tests.instrumentors.destination import Destination
from tests.instrumentors.frameworks.native import native
from tests.instrumentors.frameworks.runs import billed, cost_shown, shown, traces, tree
from tests.instrumentors.telemetry import attributes_of
from tests.launcher.received import readable
from tests.standins.receivers import Collector

pytest.importorskip("mcp.client.client", reason="mcp 2 has an environment of its own: make test-frameworks")

Server = tuple[list[str], dict[str, str]]
"""The arguments of Python, and the environment."""


async def run_openai_agents(provider: DemoProvider, server: Server) -> None:
    from agents import Agent, OpenAIChatCompletionsModel, RunConfig, Runner
    from agents.mcp import MCPServerStdio

    arguments, environ = server
    async with (
        openai.AsyncOpenAI(base_url=provider.openai_url, api_key="k") as client,
        MCPServerStdio(
            {"command": sys.executable, "args": arguments, "env": environ}, client_session_timeout_seconds=300
        ) as station,
    ):
        model = OpenAIChatCompletionsModel("gpt-4.1-mini", client)
        agent: Agent[Any] = Agent("forecaster", model=model, mcp_servers=[station])
        await Runner.run(agent, QUESTION, run_config=RunConfig(tracing_disabled=True))


async def run_langchain(provider: DemoProvider, server: Server) -> None:
    import mcp
    from langchain.agents import create_agent
    from langchain_core.tools import tool
    from langchain_openai import ChatOpenAI
    from mcp.client.stdio import StdioServerParameters

    arguments, environ = server
    async with mcp.Client(StdioServerParameters(command=sys.executable, args=arguments, env=environ)) as station:

        @tool
        async def weather(city: str) -> str:
            """Say what the weather is like in a city."""
            return str(await station.call_tool("weather", {"city": city}))

        model = ChatOpenAI(model="gpt-4.1-mini", base_url=provider.openai_url, api_key="k")  # type: ignore[arg-type]
        await create_agent(model, [weather], name="forecaster").ainvoke({"messages": [("user", QUESTION)]})  # type: ignore[arg-type, list-item]


async def run_pydantic_ai(provider: DemoProvider, server: Server) -> None:
    from fastmcp.client.transports import StdioTransport
    from pydantic_ai import Agent
    from pydantic_ai.mcp import MCPToolset
    from pydantic_ai.models.openai import OpenAIChatModel
    from pydantic_ai.providers.openai import OpenAIProvider

    arguments, environ = server
    model = OpenAIChatModel("gpt-4.1-mini", provider=OpenAIProvider(base_url=provider.openai_url, api_key="k"))
    station = MCPToolset(StdioTransport(sys.executable, arguments, environ, keep_alive=False), init_timeout=300)
    async with Agent(model, name="forecaster", toolsets=[station]) as agent:
        await agent.run(QUESTION)


async def run_agent_framework(provider: DemoProvider, server: Server) -> None:
    from agent_framework import Agent, MCPStdioTool
    from agent_framework.openai import OpenAIChatCompletionClient

    arguments, environ = server
    async with (
        openai.AsyncOpenAI(base_url=provider.openai_url, api_key="k") as connected,
        MCPStdioTool("station", sys.executable, args=arguments, env=environ) as station,
    ):
        client = OpenAIChatCompletionClient(model="gpt-4.1-mini", async_client=connected)
        await Agent(client, name="forecaster", tools=[station]).run(QUESTION)


SERVED = """\
execute_tool weather
  execute_tool weather
    chat gpt-4.1-mini
"""
"""The client's side, and the server's."""


def within(levels: int, *parts: str) -> str:
    """Return trees as they are within others."""
    return "".join(f"{'  ' * levels}{line}\n" for part in parts for line in part.splitlines())


CALL = "chat gpt-4.1-mini"
BOTH = f"{CALL}\n  {CALL}"
"""The framework's span, and ours."""

AGENTS: dict[str, tuple[str, Callable[[DemoProvider, Server], Awaitable[None]], str]] = {
    "openai-agents": (
        "agents",
        run_openai_agents,
        "invoke_workflow Agent workflow\n  invoke_agent forecaster\n"
        f"{within(2, CALL)}    execute_tool weather\n{within(3, SERVED)}{within(2, CALL)}",
    ),
    "langchain": (
        "langchain",
        run_langchain,
        f"invoke_agent forecaster\n  model\n{within(2, CALL)}"
        f"  tools\n    execute_tool weather\n{within(3, SERVED)}  model\n{within(2, CALL)}",
    ),
    "pydantic-ai": (
        "pydantic_ai",
        run_pydantic_ai,
        f"invoke_agent forecaster\n{within(1, BOTH)}"
        f"  execute_tool weather\n    execute_tool weather\n{within(3, SERVED)}{within(1, BOTH)}",
    ),
    "agent-framework": (
        "agent_framework",
        run_agent_framework,
        f"invoke_agent forecaster\n{within(1, BOTH)}"
        f"  execute_tool weather\n    execute_tool weather\n{within(3, SERVED)}{within(1, BOTH)}",
    ),
}
"""The package of each framework, its run, and the trace."""


@pytest.mark.parametrize("framework", AGENTS)
async def test_the_tool_of_a_server_is_in_the_trace_of_the_agent(
    framework: str, provider: DemoProvider, tmp_path: Path
) -> None:
    package, run, wanted = AGENTS[framework]
    pytest.importorskip(package, reason=f"{package} has an environment of its own: make test-frameworks")
    here = Destination()
    with Collector() as collector, native(libraries=["openai", framework], destinations=[here]) as telemetry:
        environ = environment(tmp_path, OTEL_EXPORTER_OTLP_ENDPOINT=collector.base_url, INSTRUMENT="INSTRUMENT")
        program = str(Path(__file__).with_name("mcp_server.py"))
        await run(provider, ([program, "mcp", provider.openai_url], environ))
        assert collector.wait_for(lambda: len(collector.spans()) >= 2)
        spans = [*here.spans, *readable(collector.spans())]
        assert not telemetry.complaints.other
    assert tree(spans, kept=lambda span: not span.name.startswith("list_tools ")) == wanted
    assert traces(spans) == 1
    assert shown(spans) == billed(provider)
    assert sum("genledger.cost.amount" in attributes_of(span) for span in spans) == len(provider.requests) == 3
    assert cost_shown(spans) > 0
