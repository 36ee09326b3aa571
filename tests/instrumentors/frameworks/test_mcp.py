"""MCP's client and server, and FastMCP's: one trace, and one tool call for each."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable
from contextlib import suppress
from typing import Any

import pytest
from opentelemetry.context import get_current
from tests.instrumentors.frameworks.native import native
from tests.instrumentors.frameworks.runs import nothing_left, tenants, tree
from tests.instrumentors.telemetry import Telemetry, attributes_of

import genledger

pytest.importorskip("mcp.client.client", reason="mcp 2 has an environment of its own: make test-frameworks")
pytest.importorskip("fastmcp", reason="fastmcp has an environment of its own: make test-frameworks")

import fastmcp
import mcp
from fastmcp.exceptions import ToolError
from mcp.client._memory import InMemoryTransport
from mcp.server import MCPServer


def weather(city: str) -> str:
    """Say what the weather is like."""
    with genledger.observe("look up"):
        return f"sunny in {city}"


def broken(city: str) -> str:
    """Fail."""
    raise LookupError(city)


def servers() -> dict[str, Any]:
    """Clients by the way that they reach a server of the same process."""
    own, fast = MCPServer("own"), fastmcp.FastMCP("fast")
    for server in (own, fast):
        for tool in (weather, broken):
            server.tool()(tool)
    return {
        "mcp, dispatched directly": mcp.Client(own),
        "mcp, by messages": mcp.Client(InMemoryTransport(own)),
        "fastmcp": fastmcp.Client(fast),
    }


async def call(client: Any, tool: str = "weather", **more: Any) -> None:
    """List the tools, and call one as an agent does."""
    async with client:
        await client.list_tools()
        with genledger.attribution(tenant="acme"), genledger.observe("helper", kind="agent"):
            await client.call_tool(tool, {"city": "Paris"}, **more)


def tool_durations(telemetry: Telemetry) -> list[tuple[Any, int]]:
    """What the metric says of tools: the name of each, and how often it ran."""
    data = telemetry.metrics
    assert data is not None
    return [
        (point.attributes["gen_ai.tool.name"], point.count)  # type: ignore[union-attr]
        for resource in data.resource_metrics
        for scope in resource.scope_metrics
        for metric in scope.metrics
        if metric.name == "gen_ai.execute_tool.duration"
        for point in metric.data.data_points
    ]


def trace_of(telemetry: Telemetry) -> int:
    """The trace of the agent."""
    (agent,) = [span for span in telemetry.spans if span.name == "invoke_agent helper"]
    assert agent.context is not None
    return agent.context.trace_id


SIDES = {"mcp, dispatched directly": 1, "mcp, by messages": 2, "fastmcp": 3}
"""Spans of one tool call: what sends it, and what serves it."""


@pytest.mark.parametrize("way", SIDES)
def test_a_tool_call_is_one_step_on_all_its_sides(way: str) -> None:
    with native() as telemetry, nothing_left(telemetry):
        before = get_current()
        asyncio.run(call(servers()[way]))
        assert get_current() is before
        run = [span for span in telemetry.spans if span.context and span.context.trace_id == trace_of(telemetry)]
        tools = [f"{'  ' * depth}execute_tool weather\n" for depth in range(1, SIDES[way] + 1)]
        assert tree(run) == f"invoke_agent helper\n{''.join(tools)}{'  ' * (SIDES[way] + 1)}look up\n"
        assert tool_durations(telemetry) == [("weather", 1)]


@pytest.mark.parametrize("way", SIDES)
def test_a_tool_that_fails_is_an_error(way: str) -> None:
    with native() as telemetry, nothing_left(telemetry):
        with suppress(ToolError):
            asyncio.run(call(servers()[way], "broken"))
        assert "execute_tool broken" in {span.name for span in telemetry.spans if not span.status.is_unset}


SENT = {"traceparent": f"00-{'1' * 32}-{'2' * 16}-01", "baggage": "genledger.tenant.id=globex,user.id=u-1"}


async def served(way: str, meta: Any) -> Any:
    """Call a tool with what a client of somebody else's sends as `_meta`."""
    async with servers()[way] as client:
        return await client.call_tool("weather", {"city": "Paris"}, meta=meta)


@pytest.mark.parametrize("trusted", [False, True])
@pytest.mark.parametrize("way", SIDES)
def test_attribution_comes_with_a_request_only_where_it_is_trusted(way: str, trusted: bool) -> None:
    """What the tool does has it, too, and of what was sent only the fields that may travel."""
    with native(trust_baggage=trusted, libraries=["mcp"]) as telemetry, nothing_left(telemetry):
        asyncio.run(served(way, SENT))
        inside = telemetry.attributes_of("look up")
        assert inside.get("genledger.tenant.id") == ("globex" if trusted else None)
        assert "user.id" not in inside
        if way == "mcp, dispatched directly":  # the other clients send the context that they are in
            tool = next(span for span in telemetry.spans if span.name == "execute_tool weather")
            assert tool.context is not None
            assert f"{tool.context.trace_id:032x}" == "1" * 32


HOSTILE: dict[str, dict[str, Any]] = {
    "numbers": {"traceparent": 5, "tracestate": 6, "baggage": 7},
    "structures": {"traceparent": [["00"]], "tracestate": {}, "baggage": {"genledger.tenant.id": "globex"}},
    "nothing": {"traceparent": None, "tracestate": None, "baggage": None},
    "no ids": {"traceparent": f"00-{'0' * 32}-{'0' * 16}-01", "baggage": "genledger.tenant.id="},
    "control characters": {"traceparent": "00-\n-\0-01", "baggage": "genledger.tenant.id=a%0Ab"},
    "long": {"traceparent": "0" * 100_000, "baggage": f"genledger.tenant.id={'x' * 300}"},
    "more": {**SENT, "baggage": "user.id=u-1,genledger.cost.amount=0,genledger.outcome=blocked,langfuse_trace_id=1"},
}


async def outcome_of(call: Awaitable[Any]) -> type:
    """What a call returns or raises."""
    try:
        return type(await call)
    except Exception as error:
        return type(error)


@pytest.mark.parametrize("meta", HOSTILE.values(), ids=HOSTILE)
@pytest.mark.parametrize("way", SIDES)
def test_what_a_hostile_client_sends_changes_nothing(way: str, meta: dict[str, Any]) -> None:
    """Of our own, there are no complaints; OpenTelemetry's propagators have theirs."""
    without = asyncio.run(outcome_of(served(way, meta)))
    with native(trust_baggage=True, libraries=["mcp"]) as telemetry:
        before = get_current()
        assert asyncio.run(outcome_of(served(way, meta))) is without
        assert get_current() is before
        assert not telemetry.open.spans
        assert [text for text in telemetry.complaints.texts if text.startswith("genledger")] == []
        assert tenants(telemetry.spans) == {None}
        assert not [span for span in telemetry.spans if {"user.id", "session.id"} & attributes_of(span).keys()]
