"""Claude Agent SDK: Claude Code runs in a process of its own, and its messages say what it does and what it costs.

https://docs.claude.com/en/api/agent-sdk/python
"""

from __future__ import annotations

from functools import partial
from typing import Any
from weakref import WeakKeyDictionary, finalize

from genledger.engine.recorder import active
from genledger.instrumentation.adapters.agent_processes import AgentConnection, ToolCall, in_tool
from genledger.instrumentation.adapters.methods import named_arguments
from genledger.instrumentation.instrumentor import Instrumentor
from genledger.instrumentation.patching import Patch, Patches
from genledger.pricing.getters import field

from .claude_agent_runs import connection_with

CONNECTIONS: WeakKeyDictionary[Any, AgentConnection] = WeakKeyDictionary()
"""The connections of clients."""


def process_query(wrapped: Any, instance: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
    """Follow the messages of one query."""
    messages = wrapped(*args, **kwargs)
    if active() is None:
        return messages
    given = named_arguments(wrapped, args, kwargs)
    return connection_with(given.get("options")).asked(given.get("prompt"), messages)


async def connect(wrapped: Any, instance: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
    """Begin a connection, and a run if it has a prompt."""
    close(instance)
    connection = CONNECTIONS[instance] = connection_with(instance.options)
    finalize(instance, connection.close)
    prompt, send = named_arguments(wrapped, args, kwargs).get("prompt"), partial(wrapped, *args, **kwargs)
    return await connection.connected(send if prompt is None else partial(connection.sent, prompt, send))


async def query(wrapped: Any, instance: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
    """Begin a run of a connection."""
    connection = CONNECTIONS.setdefault(instance, connection_with(instance.options))
    prompt = named_arguments(wrapped, args, kwargs).get("prompt")
    return await connection.sent(prompt, partial(wrapped, *args, **kwargs))


def receive_messages(wrapped: Any, instance: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
    """Follow the messages of a connection."""
    messages, connection = wrapped(*args, **kwargs), CONNECTIONS.get(instance)
    return messages if active() is None or connection is None else connection.followed(messages)


def close(client: Any) -> None:
    """End the runs of a connection that have no result."""
    connection = CONNECTIONS.pop(client, None)
    if connection is not None:
        connection.close()


async def disconnect(wrapped: Any, instance: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
    """End a connection."""
    try:
        return await wrapped(*args, **kwargs)
    finally:
        close(instance)


def tool_call_of(server: Any, message: Any) -> ToolCall | None:
    """Return the call of a tool in this process that a message to its MCP server asks for."""
    asked = field(message, "params")
    call_id = field(field(asked, "_meta"), "claudecode/toolUseId")
    if field(message, "method") != "tools/call" or not isinstance(call_id, str):
        return None
    return ToolCall(call_id, f"mcp__{server}__{field(asked, 'name')}", field(asked, "arguments"))


async def call_tool(wrapped: Any, instance: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
    """Send a message to an MCP server in this process; what calls a tool is sent from inside of its step."""
    given = named_arguments(wrapped, args, kwargs)
    called = tool_call_of(given.get("server_name"), given.get("message"))
    return await in_tool(called, partial(wrapped, *args, **kwargs))


class ClaudeAgentInstrumentor(Instrumentor):
    """Records the runs of the Claude Agent SDK."""

    library = "claude-agent-sdk"
    distribution = "claude-agent-sdk"
    supports = "claude-agent-sdk >= 0.2.189, < 1"

    def patches(self) -> Patches:
        """Return where queries are sent, and where messages come."""
        client = "claude_agent_sdk.client"
        return [
            Patch("claude_agent_sdk._internal.client", "InternalClient.process_query", process_query),
            Patch("claude_agent_sdk._internal.query", "Query._handle_sdk_mcp_request", call_tool, optional=True),
            Patch(client, "ClaudeSDKClient.connect", connect),
            Patch(client, "ClaudeSDKClient.query", query),
            Patch(client, "ClaudeSDKClient.receive_messages", receive_messages),
            Patch(client, "ClaudeSDKClient.disconnect", disconnect),
        ]
