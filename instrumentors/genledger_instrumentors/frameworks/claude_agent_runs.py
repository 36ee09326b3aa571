"""What Claude Code's messages say of its runs: tools, results, and what was consumed."""

from __future__ import annotations

from typing import Any

from genledger.engine.operation import Endpoint
from genledger.engine.outcome import ErrorEvent
from genledger.engine.recorder import Recorder
from genledger.engine.to_json import plain
from genledger.instrumentation.adapters.agent_processes import AgentConnection, ProcessRun
from genledger.pricing.getters import field
from genledger_semconv import attributes as A

from ..formats.claude_agent_messages import (
    RUN,
    Reported,
    as_answer,
    read_failure,
    read_output,
    read_totals,
    totals_of,
)

ENDPOINT = Endpoint("anthropic")


def connection_with(options: Any) -> AgentConnection:
    """Return the connection to a process that is started with these options."""

    def start(connection: AgentConnection, recorder: Recorder, prompt: Any) -> ProcessRun:
        body = {"model": field(options, "model"), "prompt": prompt if isinstance(prompt, str) else None}
        session = connection.session or field(options, "resume") or field(options, "session_id")
        return ProcessRun(recorder, RUN, "claude-agent-sdk", ENDPOINT, body, session)

    return AgentConnection(start, read, end_without_result)


def read(connection: AgentConnection, message: Any) -> None:
    """Read a message: who calls a tool, what came of it, or the result that ends a run."""
    kind = type(message).__name__
    if kind == "ConversationResetMessage":
        connection.totals = None
    if kind not in ("AssistantMessage", "UserMessage", "ResultMessage"):
        return
    run = connection.runs[0] if connection.runs else connection.begin()
    if run is not None and kind == "AssistantMessage":
        read_assistant(run, message)
    elif run is not None and kind == "UserMessage":
        read_results(run, message)
    elif run is not None:
        end_with(connection, run, message)


def read_assistant(run: ProcessRun, message: Any) -> None:
    """Note what a model consumed, and begin the tools that it calls."""
    if message.usage is not None:
        run.messages[message.message_id or id(message)] = (message.model, message.usage)
    for block in message.content:
        if type(block).__name__ == "ToolUseBlock":
            subagent = field(block.input, "subagent_type")
            run.begin_tool(block.id, block.name, plain(block.input), message.parent_tool_use_id, subagent)


def read_results(run: ProcessRun, message: Any) -> None:
    """End the tools whose results come."""
    for block in message.content if isinstance(message.content, list) else ():
        if type(block).__name__ == "ToolResultBlock":
            failure = ErrorEvent({"type": "tool_error", "message": str(block.content)}) if block.is_error else None
            run.end_tool(block.tool_use_id, failure, {A.GEN_AI_TOOL_CALL_RESULT: {"result": plain(block.content)}})


def end_with(connection: AgentConnection, run: ProcessRun, result: Any) -> None:
    """End a run with its result, which reports running totals of the connection."""
    connection.runs.popleft()
    connection.session = result.session_id
    totals, failure = read_totals(result), read_failure(result)
    consumed = totals_of(run.messages)
    if totals != Reported():
        consumed, connection.totals = totals.since(connection.totals or Reported()), totals
    answer = as_answer(consumed, result)
    if run.call is not None and failure is not None and (answer is None or field(result, "api_error_status")):
        run.call.refused = failure.kind
    run.agent.span.set_attribute(A.GEN_AI_CONVERSATION_ID, result.session_id)
    cut = str(field(result, "terminal_reason") or "").startswith("aborted")
    run.end(answer, None, failure, cut, read_output(result))


def end_without_result(run: ProcessRun, error: BaseException | None) -> None:
    """End a run that has no result: what its messages consumed is what is known."""
    answer = as_answer(totals_of(run.messages), None)
    run.end(answer, error, error, not isinstance(error, Exception), {})
