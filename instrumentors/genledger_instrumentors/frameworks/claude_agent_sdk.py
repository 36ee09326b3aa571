"""Claude Agent SDK: Claude Code runs in a process of its own, and its messages say what it does and what it costs.

https://docs.claude.com/en/api/agent-sdk/python
"""

from __future__ import annotations

from collections import deque
from collections.abc import AsyncGenerator
from typing import Any
from weakref import WeakKeyDictionary, finalize

from opentelemetry.context import get_current

from genledger.context.scoped_context import Begun, async_steps_in_context
from genledger.engine.call import Call
from genledger.engine.operation import Content, Endpoint
from genledger.engine.outcome import ErrorEvent
from genledger.engine.recorder import Recorder, active
from genledger.engine.steps import Step, signature_of, start_step
from genledger.engine.to_json import plain
from genledger.instrumentation.adapters.methods import named_arguments
from genledger.instrumentation.instrumentor import Instrumentor
from genledger.instrumentation.patching import Patch, Patches
from genledger.pricing.getters import field
from genledger.shared import internal_errors
from genledger_semconv import attributes as A

from ..formats.claude_agent_messages import (
    RUN,
    Totals,
    as_answer,
    read_failure,
    read_input,
    read_output,
    read_totals,
    totals_of,
)

LIBRARY = "claude-agent-sdk"
ENDPOINT = Endpoint("anthropic")


class Run:
    """What leads to one result: an agent, its tools and their subagents, and the call that is priced."""

    def __init__(self, recorder: Recorder, prompt: Any, options: Any, session: str | None) -> None:
        body = {"model": field(options, "model"), "prompt": prompt if isinstance(prompt, str) else None}
        session = session or field(options, "resume") or field(options, "session_id")
        self.agent = start_step("agent", "claude", content=lambda: read_input(body), session=session)
        inside = self.agent.inside(get_current())
        self.call: Call | None = recorder.open(RUN, LIBRARY, ENDPOINT, body, context=inside)
        self.steps: dict[str, Step] = {}
        self.subagents: dict[str, Step] = {}
        self.messages: dict[Any, tuple[str, Any]] = {}

    def assistant(self, message: Any) -> None:
        """Note what a model consumed, and begin the tools that it calls."""
        usage, parent = field(message, "usage"), field(message, "parent_tool_use_id")
        if usage is not None:
            self.messages[field(message, "message_id") or id(message)] = (str(field(message, "model")), usage)
        for block in field(message, "content") or ():
            if type(block).__name__ == "ToolUseBlock" and block.id not in self.steps:
                self.steps[block.id] = start_step(
                    "tool",
                    block.name,
                    parent=self._around(parent).inside(get_current()),
                    attributes={A.GEN_AI_TOOL_CALL_ID: block.id},
                    content={A.GEN_AI_TOOL_CALL_ARGUMENTS: plain(block.input)},
                    signature=signature_of(block.name, block.input),
                )
                if field(block.input, "subagent_type"):
                    inside = self.steps[block.id].inside(get_current())
                    self.subagents[block.id] = start_step("agent", str(block.input["subagent_type"]), parent=inside)

    def _around(self, tool: str | None) -> Step:
        return self.subagents.get(tool or "") or self.steps.get(tool or "") or self.agent

    def user(self, message: Any) -> None:
        """End the tools whose results come."""
        content = field(message, "content")
        for block in content if isinstance(content, list) else ():
            if type(block).__name__ == "ToolResultBlock":
                failed = ErrorEvent({"type": "tool_error", "message": str(block.content)}) if block.is_error else None
                self._end_tool(block.tool_use_id, failed, {A.GEN_AI_TOOL_CALL_RESULT: {"result": plain(block.content)}})

    def _end_tool(self, tool: str, error: BaseException | None, result: Content | None = None) -> None:
        subagent, step = self.subagents.pop(tool, None), self.steps.pop(tool, None)
        if subagent is not None:
            subagent.end(error)
        if step is not None:
            step.write(result or {})
            step.end(error)

    def end(self, consumed: Totals | None, result: Any = None, error: BaseException | None = None) -> None:
        """End it with its result, or without one: then what its messages consumed is what is known."""
        failure = read_failure(result) if result is not None else error
        for tool in reversed(list(self.steps)):
            self._end_tool(tool, failure)
        answer = as_answer(totals_of(self.messages) if consumed is None else consumed, result)
        if result is not None and field(result, "session_id"):
            self.agent.span.set_attribute(A.GEN_AI_CONVERSATION_ID, result.session_id)
        if self.call is not None:
            stopped = str(field(result, "terminal_reason") or "").startswith("aborted")
            if result is None:
                stopped = not isinstance(error, Exception)
            if failure is not error and (answer is None or field(result, "api_error_status") is not None):
                self.call.refused = getattr(failure, "kind", None)
            self.call.settle(answer, error=error, cut=stopped, complete=not stopped)
        self.agent.write(lambda: read_output(result))
        self.agent.end(failure)


class Connection:
    """One process of Claude Code: its runs, in order, and its running totals."""

    def __init__(self, options: Any) -> None:
        self.options = options
        self.runs: deque[Run] = deque()
        self.totals = Totals()
        self.session: str | None = None

    def begin(self, prompt: Any = None) -> Run | None:
        """Begin a run; `None` if nothing is recorded."""
        recorder = active()
        if recorder is None:
            return None
        try:
            run = Run(recorder, prompt, self.options, self.session)
            self.runs.append(run)
            return run
        except Exception as error:
            internal_errors.report("beginning an agent's run", error)
            return None

    async def admit(self, run: Run | None) -> None:
        """Ask the budgets, before anything is sent. Raises `BudgetExceeded`."""
        if run is not None and run.call is not None:
            try:
                await run.call.admit_async()
            except BaseException as error:
                self.runs.remove(run)
                run.agent.end(error)
                raise

    def take(self, message: Any) -> None:
        """Note a message. Never raises."""
        try:
            self._take(message, type(message).__name__)
        except Exception as error:
            internal_errors.report("reading a message of Claude Code", error)

    def _take(self, message: Any, kind: str) -> None:
        if kind == "ConversationResetMessage":
            self.totals = Totals()
        if kind not in ("AssistantMessage", "UserMessage", "ResultMessage"):
            return
        run = self.runs[0] if self.runs else self.begin()
        if run is None:
            return
        if kind == "AssistantMessage":
            run.assistant(message)
        elif kind == "UserMessage":
            run.user(message)
        else:
            totals = read_totals(message)
            self.session = field(message, "session_id")
            self.runs.popleft()
            run.end(totals.since(self.totals) if totals != Totals() else None, message)
            self.totals = totals if totals != Totals() else self.totals

    def close(self, error: BaseException | None = None) -> None:
        """End what has no result. Never raises."""
        while self.runs:
            try:
                self.runs.popleft().end(None, error=error)
            except Exception as fault:
                internal_errors.report("ending an agent's run", fault)


CONNECTIONS: WeakKeyDictionary[Any, Connection] = WeakKeyDictionary()
"""The connections of clients."""


def process_query(wrapped: Any, instance: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
    """Follow the messages of one query."""
    if active() is None:
        return wrapped(*args, **kwargs)
    given = named_arguments(wrapped, args, kwargs)
    return _followed(wrapped(*args, **kwargs), Connection(given.get("options")), given.get("prompt"))


async def _followed(source: Any, connection: Connection, prompt: Any) -> AsyncGenerator[Any, None]:
    run = connection.begin(prompt)
    await connection.admit(run)
    inside = get_current() if run is None else run.agent.inside(get_current())
    begun = Begun(inside, connection.close, connection.take)
    messages = async_steps_in_context(lambda: source, lambda args, kwargs: begun)()
    try:
        async for message in messages:
            yield message
    finally:
        await messages.aclose()


async def connect(wrapped: Any, instance: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
    """Begin a connection, and a run if it has a prompt."""
    disconnected(instance)
    connection = CONNECTIONS[instance] = Connection(instance.options)
    finalize(instance, connection.close)
    prompt = named_arguments(wrapped, args, kwargs).get("prompt")
    return await (wrapped(*args, **kwargs) if prompt is None else _sent(connection, prompt, wrapped, args, kwargs))


async def query(wrapped: Any, instance: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
    """Begin a run of a connection."""
    connection = CONNECTIONS.setdefault(instance, Connection(instance.options))
    return await _sent(connection, named_arguments(wrapped, args, kwargs).get("prompt"), wrapped, args, kwargs)


async def _sent(connection: Connection, prompt: Any, wrapped: Any, args: tuple[Any, ...], kwargs: Any) -> Any:
    run = connection.begin(prompt)
    await connection.admit(run)
    try:
        return await wrapped(*args, **kwargs)
    except BaseException as error:
        if run is not None and run in connection.runs:
            connection.runs.remove(run)
            run.end(None, error=error)
        raise


def receive_messages(wrapped: Any, instance: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
    """Follow the messages of a connection."""
    source, connection = wrapped(*args, **kwargs), CONNECTIONS.get(instance)
    if active() is None or connection is None:
        return source

    def ended(error: BaseException | None) -> None:
        if isinstance(error, Exception):
            connection.close(error)

    begun = Begun(get_current(), ended, connection.take)
    return async_steps_in_context(lambda: source, lambda args, kwargs: begun)()


def disconnected(client: Any) -> None:
    """End the runs of a connection that have no result."""
    connection = CONNECTIONS.pop(client, None)
    if connection is not None:
        connection.close()


async def disconnect(wrapped: Any, instance: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
    """End a connection."""
    try:
        return await wrapped(*args, **kwargs)
    finally:
        disconnected(instance)


class ClaudeAgentInstrumentor(Instrumentor):
    """Records the runs of the Claude Agent SDK."""

    library = LIBRARY
    distribution = "claude-agent-sdk"
    supports = "claude-agent-sdk >= 0.2.189, < 1"

    def patches(self) -> Patches:
        """Return where queries are sent, and where messages come."""
        client = "claude_agent_sdk.client"
        return [
            Patch("claude_agent_sdk._internal.client", "InternalClient.process_query", process_query),
            Patch(client, "ClaudeSDKClient.connect", connect),
            Patch(client, "ClaudeSDKClient.query", query),
            Patch(client, "ClaudeSDKClient.receive_messages", receive_messages),
            Patch(client, "ClaudeSDKClient.disconnect", disconnect),
        ]
