"""Libraries that record their own work with OpenTelemetry: what their spans are, one row for each scope.

Nothing is patched. `genledger.engine.foreign_spans` makes the steps that are named here ours, hides plumbing from our
destinations, and takes the usage off a span that a priced call is inside of. A span that no row names stays as it is.
"""

from __future__ import annotations

from collections.abc import Mapping

from genledger.engine.foreign_spans.native_scopes import NativeScope, Role

_STEPS: Mapping[str, Role] = {
    "invoke_workflow *": "workflow",
    "invoke_workflow": "workflow",
    "invoke_agent *": "agent",
    "invoke_agent": "agent",
    "execute_tool *": "tool",
}

_MCP: Mapping[str, Role] = {
    "MCP send tools/call *": "tool",
    "tools/call *": "tool",
    "tools/call": "tool",
    **dict.fromkeys(
        (
            *("MCP send tools/list", "MCP send server/*", "MCP send initialize", "MCP send ping", "MCP send */list"),
            *("tools/list", "server/*", "initialize", "ping", "*/list", "notifications/*", "logging/setLevel"),
            *("MCP send subscriptions/*", "subscriptions/*"),
        ),
        "hidden",
    ),
}

_MESSAGES = (
    *("gen_ai.user.message", "gen_ai.system.message", "gen_ai.assistant.message", "gen_ai.tool.message"),
    *("gen_ai.choice", "gen_ai.client.inference.operation.details"),
)

SCOPES = (
    NativeScope(
        "pydantic-ai",
        {
            **_STEPS,
            "agent run": "agent",
            "running tool": "tool",
            "running tool: *": "tool",
            "running output function": "tool",
            "running tools": "hidden",
            "running * tool": "hidden",
            "running * tools": "hidden",
            "waiting for * concurrency": "hidden",
        },
        attributes={
            "agent_name": "gen_ai.agent.name",
            "tool_arguments": "gen_ai.tool.call.arguments",
            "tool_response": "gen_ai.tool.call.result",
        },
        payloads=("pydantic_ai.all_messages", "final_result", "all_messages_events", "events"),
        meters=("pydantic-ai",),
    ),
    NativeScope("mcp-python-sdk", _MCP),
    NativeScope("fastmcp", {**_MCP, "delegate *": "hidden"}),
    NativeScope(
        "gcp.vertex.agent",
        {
            "execute_tool (merged)": "hidden",
            **_STEPS,
            "invocation": "workflow",
            "agent_run [*]": "agent",
            "tool_call [*]": "tool",
            "invoke_node *": "task",
            "compact_events *": "task",
            **dict.fromkeys(
                ("call_llm", "send_data", "handle_context_caching", "create_cache", "tool_response*"), "hidden"
            ),
        },
        not_providers=("gcp.vertex.agent",),
        payloads=tuple(
            f"gcp.vertex.agent.{name}"
            for name in ("llm_request", "llm_response", "tool_call_args", "tool_response", "data")
        ),
        meters=("gcp.vertex.agent",),
    ),
    NativeScope(
        "strands.telemetry.tracer",
        {
            **_STEPS,
            "invoke_swarm": "workflow",
            "invoke_graph": "workflow",
            "execute_event_loop_cycle": "hidden",
            **dict.fromkeys(("memory.search", "memory.add", "memory.inject", "memory.extract"), "task"),
        },
        not_providers=("strands-agents",),
        payload_events=(*_MESSAGES, "memory.query", "memory.content"),
    ),
    NativeScope(
        "agent_framework",
        {
            **_STEPS,
            **_MCP,
            "workflow.run": "workflow",
            "executor.process *": "task",
            **dict.fromkeys(("workflow.build", "edge_group.process *", "message.send"), "hidden"),
        },
        attributes={"workflow.name": "gen_ai.workflow.name"},
        not_providers=("microsoft.agent_framework",),
        payloads=("gen_ai.tool.definitions",),
        meters=("agent_framework",),
    ),
    NativeScope(
        "semantic_kernel.*",
        {**_STEPS, "AutoFunctionInvocationLoop": "hidden"},
        payloads=("gen_ai.tool.definitions",),
    ),
    NativeScope("agent_runtime InProcessRuntime", {"agent_runtime *": "hidden"}),
    NativeScope("autogen-core", _STEPS, not_providers=("autogen",)),
    NativeScope("autogen SingleThreadedAgentRuntime", {"autogen *": "hidden"}),
    NativeScope(
        "opentelemetry.instrumentation.ag2",
        {**_STEPS, "record_usage *": "hidden"},
        payloads=(
            *("gen_ai.input.messages", "gen_ai.output.messages", "gen_ai.tool.call.arguments"),
            *("gen_ai.tool.call.result", "ag2.human_input."),
        ),
    ),
    NativeScope(
        "livekit-agents",
        {
            "agent_session": "workflow",
            "agent_turn": "agent",
            "function_tool": "tool",
            **dict.fromkeys(
                ("user_turn", "update_agent", "on_user_turn_completed", "keyterm_detection", "judge_evaluation"), "task"
            ),
            **dict.fromkeys(
                (
                    *("job_*", "rpc_*", "drain_*", "room_*", "session_*", "setup_toolsets", "*_agent_activity"),
                    *("on_enter", "on_exit", "agent_speaking", "user_speaking", "eou_*"),
                    *("llm_node", "llm_request_run", "tts_node", "tts_request_run"),
                ),
                "hidden",
            ),
        },
        attributes={
            "lk.agent_name": "gen_ai.agent.name",
            "lk.function_tool.name": "gen_ai.tool.name",
            "lk.function_tool.id": "gen_ai.tool.call.id",
        },
        payloads=(
            *("lk.pii.", "lk.function_tool.arguments", "lk.function_tool.output", "lk.user_input", "lk.instructions"),
            *("lk.chat_ctx", "lk.response.text", "lk.response.function_calls", "lk.input_text", "lk.user_transcript"),
            "gen_ai.tool.definitions",
        ),
        meters=("livekit-agents",),
    ),
    NativeScope(
        "pipecat.turn",
        {"conversation": "workflow", "turn": "task"},
        attributes={"conversation.id": "gen_ai.conversation.id"},
    ),
    NativeScope(
        "pipecat",
        payloads=(
            *("text", "transcript", "input", "output", "tools", "tool.arguments", "tool.result"),
            *("gen_ai.system_instructions", "settings.system_instruction"),
        ),
    ),
)  # fmt: skip
"""The rows, by the order in which their libraries are described."""
