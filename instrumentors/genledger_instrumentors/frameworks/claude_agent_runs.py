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

from ..formats import claude_agent_messages as told

ENDPOINT = Endpoint("anthropic")


def connection_with(options: Any) -> AgentConnection:
    """Return the connection to a process that is started with these options."""

    def start(connection: AgentConnection, recorder: Recorder, prompt: Any) -> ProcessRun:
        body = {"model": field(options, "model"), "prompt": prompt if isinstance(prompt, str) else None}
        session = connection.session or field(options, "resume") or field(options, "session_id")
        return ProcessRun(recorder, told.RUN, "claude-agent-sdk", ENDPOINT, body, session)

    connection = AgentConnection(start, read, end_without_result)
    resumed = field(options, "resume")
    if resumed or field(options, "continue_conversation"):
        connection.totals = told.Resumed(resumed)
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
        run.messages[said_by] = told.read_said(message, run.messages.get(said_by))
    for block in message.content:
        if type(block).__name__ == "ToolUseBlock":
            subagent = field(block.input, "subagent_type")
            run.begin_tool(block.id, block.name, plain(block.input), message.parent_tool_use_id, subagent)


def read_event(connection: AgentConnection, run: ProcessRun, event: Any) -> None:
    """Note what a message consumed in the end, where the application asked for the events of its stream."""
    told.count_end(run.messages, event)


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


def end_with(connection: AgentConnection, run: ProcessRun, result: Any) -> None:
    """End a run with its result, which reports running totals of the connection."""
    connection.runs.popleft()
    connection.session = result.session_id
    connection.answered = True
    failure, totals = told.read_failure(result), told.read_totals(result)
    consumed = told.consumed_in(connection.totals, totals, result, run.messages.values())
    connection.totals = connection.totals if totals == told.Reported() else totals
    answer = told.as_answer(consumed, result)
    if run.call is not None and failure is not None and (answer is None or field(result, "api_error_status")):
        run.call.refused = failure.kind
    run.agent.span.set_attribute(A.GEN_AI_CONVERSATION_ID, result.session_id)
    cut = str(field(result, "terminal_reason") or "").startswith("aborted")
    run.end(answer, None, failure, cut, told.read_output(result))


def end_without_result(run: ProcessRun, error: BaseException | None, answered: bool) -> None:
    """End a run that has no result of its own: what its messages consumed is what is known."""
    messages = list(run.messages.values())
    answer = told.as_answer(told.Reported(0.0) if answered else told.totals_of(messages), None)
    cut = not answered and not isinstance(error, Exception)
    run.end(answer, error, error, cut, {}, told.read_received(messages))


_READ = {
    "AssistantMessage": read_assistant,
    "UserMessage": read_results,
    "StreamEvent": read_event,
    "TaskStartedMessage": read_task,
    "TaskNotificationMessage": read_end_of_task,
    "ResultMessage": end_with,
}
"""The messages that say something about a run."""
