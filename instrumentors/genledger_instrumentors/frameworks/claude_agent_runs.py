"""What Claude Code's messages say of its runs: tools, results, and what was consumed."""

from __future__ import annotations

from typing import Any

from genledger.engine.operation import Endpoint
from genledger.engine.outcome import ErrorEvent
from genledger.engine.recorder import Recorder
from genledger.engine.to_json import plain
from genledger.instrumentation.adapters.agent_processes import AgentConnection, ProcessRun, ToolCall
from genledger.pricing.getters import field, fields_of
from genledger_semconv import attributes as A

from ..formats.claude_agent_messages import (
    RUN,
    Reported,
    Resumed,
    as_answer,
    consumed_by,
    of_resumed,
    read_failure,
    read_output,
    read_received,
    read_said,
    read_totals,
    totals_of,
)

ENDPOINT = Endpoint("anthropic")

_SESSIONS = 1000
_totals: dict[str, Reported] = {}
"""The last totals of sessions, newest last: one that is resumed may go on with them."""


def connection_with(options: Any) -> AgentConnection:
    """Return the connection to a process that is started with these options."""

    def start(connection: AgentConnection, recorder: Recorder, prompt: Any) -> ProcessRun:
        body = {"model": field(options, "model"), "prompt": prompt if isinstance(prompt, str) else None}
        session = connection.session or field(options, "resume") or field(options, "session_id")
        return ProcessRun(recorder, RUN, "claude-agent-sdk", ENDPOINT, body, session)

    connection = AgentConnection(start, read, end_without_result)
    resumed = field(options, "resume")
    if resumed or field(options, "continue_conversation"):
        connection.totals = Resumed(resumed)
    return connection


def read(connection: AgentConnection, message: Any) -> None:
    """Read a message: who calls a tool, what came of it, or the result that ends a run."""
    kind = type(message).__name__
    if kind == "ConversationResetMessage":
        connection.totals = None
    if kind == "SystemMessage" and message.subtype == "init":
        connection.answered = False
    elif kind in _READ:
        begun = connection.begin if kind in ("AssistantMessage", "ResultMessage") else lambda: None
        run = connection.runs[0] if connection.runs else begun()
        if run is not None:
            _READ[kind](connection, run, message)


def read_assistant(connection: AgentConnection, run: ProcessRun, message: Any) -> None:
    """Note what a model consumed, and begin the tools that it calls."""
    connection.answered = False
    if message.usage is not None:
        said_by = message.message_id or id(message)
        run.messages[said_by] = read_said(message, run.messages.get(said_by))
    for block in message.content:
        if type(block).__name__ == "ToolUseBlock":
            subagent = field(block.input, "subagent_type")
            run.begin_tool(block.id, block.name, plain(block.input), message.parent_tool_use_id, subagent)


def read_event(connection: AgentConnection, run: ProcessRun, event: Any) -> None:
    """Note what a message consumed in the end, where the application asked for the events of its stream."""
    if event.event.get("type") != "message_delta":
        return
    for key, said in reversed(run.messages.items()):
        if said.inside == event.parent_tool_use_id:
            usage = {**said.usage, **fields_of(event.event.get("usage") or {})}
            run.messages[key] = said._replace(usage=usage, counted=True)
            return


def read_task(connection: AgentConnection, run: ProcessRun, message: Any) -> None:
    """Keep a subagent open that goes on in the background after its tool has ended."""
    if field(message.data, "is_backgrounded"):
        run.background.add(message.tool_use_id)


def read_end_of_task(connection: AgentConnection, run: ProcessRun, message: Any) -> None:
    """End a subagent that went on in the background."""
    failed = message.status != "completed"
    run.end_subagent(message.tool_use_id, ErrorEvent({"type": message.status}) if failed else None)


def read_results(connection: AgentConnection, run: ProcessRun, message: Any) -> None:
    """End the tools whose results come."""
    for block in message.content if isinstance(message.content, list) else ():
        if type(block).__name__ == "ToolResultBlock":
            failure = ErrorEvent({"type": "tool_error", "message": str(block.content)}) if block.is_error else None
            run.end_tool(block.tool_use_id, failure, {A.GEN_AI_TOOL_CALL_RESULT: {"result": plain(block.content)}})


def tool_call_of(server: Any, message: Any) -> ToolCall | None:
    """Return the call of a tool in this process that a message to its MCP server asks for."""
    asked = field(message, "params")
    call_id = field(field(asked, "_meta"), "claudecode/toolUseId")
    if field(message, "method") != "tools/call" or not isinstance(call_id, str):
        return None
    return ToolCall(call_id, f"mcp__{server}__{field(asked, 'name')}", field(asked, "arguments"))


def end_with(connection: AgentConnection, run: ProcessRun, result: Any) -> None:
    """End a run with its result, which reports running totals of the connection."""
    connection.runs.popleft()
    connection.session = result.session_id
    connection.answered = True
    totals, failure = read_totals(result), read_failure(result)
    consumed = totals_of(run.messages.values())
    if totals != Reported():
        before, connection.totals = connection.totals, totals
        if isinstance(before, Resumed):
            known = _totals.get(before.session or result.session_id)
            consumed = of_resumed(totals, known, consumed_by(result, run.messages.values()))
        else:
            consumed = totals.since(before or Reported())
        _totals.pop(result.session_id, None)
        _totals[result.session_id] = totals
        while len(_totals) > _SESSIONS:
            _totals.pop(next(iter(_totals)), None)
    answer = as_answer(consumed, result)
    if run.call is not None and failure is not None and (answer is None or field(result, "api_error_status")):
        run.call.refused = failure.kind
    run.agent.span.set_attribute(A.GEN_AI_CONVERSATION_ID, result.session_id)
    cut = str(field(result, "terminal_reason") or "").startswith("aborted")
    run.end(answer, None, failure, cut, read_output(result))


def end_without_result(run: ProcessRun, error: BaseException | None, answered: bool) -> None:
    """End a run that has no result of its own: what its messages consumed is what is known."""
    messages = list(run.messages.values())
    answer = as_answer(Reported(0.0) if answered else totals_of(messages), None)
    cut = not answered and not isinstance(error, Exception)
    run.end(answer, error, error, cut, {}, read_received(messages))


_READ = {
    "AssistantMessage": read_assistant,
    "UserMessage": read_results,
    "StreamEvent": read_event,
    "TaskStartedMessage": read_task,
    "TaskNotificationMessage": read_end_of_task,
    "ResultMessage": end_with,
}
"""The messages that say something about a run."""
