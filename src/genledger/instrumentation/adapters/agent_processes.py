"""Agents that run in a process of their own: the messages of a connection to it say what they do and what it costs."""

from __future__ import annotations

from collections import deque
from collections.abc import AsyncGenerator, Awaitable, Callable
from typing import Any, NamedTuple

from opentelemetry.context import Context, create_key, get_current, get_value, set_value

from genledger.context.scoped_context import Begun, async_steps_in_context, enter, leave
from genledger.engine.call import Call
from genledger.engine.operation import Body, Content, Endpoint, Operation, Received
from genledger.engine.recorder import Recorder, active
from genledger.engine.steps import Step, start_step
from genledger.engine.tool_signatures import tool_signature
from genledger.shared import internal_errors
from genledger_semconv import attributes as A

MAX_UNANSWERED = 1_000
"""Runs of a connection, and calls of tools in a run, that are kept without a result; the oldest are ended first."""

_CONNECTION_KEY = create_key("genledger-agent-connection")


class ToolCall(NamedTuple):
    """A call of a tool that runs in this process.

    Args:
        call_id: Its id.
        name: The tool's.
        arguments: What it is called with.
    """

    call_id: str
    name: str
    arguments: Any


class ProcessRun:
    """What leads to one result: an agent, its tools and their subagents, and the call that is priced.

    Args:
        recorder: Records the call.
        operation: That of the call.
        library: The library's name for users, and the agent's name.
        endpoint: Who is called.
        body: What is asked.
        session: The session that it belongs to, if that is known.

    Attributes:
        messages: The models' messages, by their ids, as the reader of the connection keeps them.
        background: The calls of tools whose subagents go on when the tools have ended.
    """

    def __init__(
        self, recorder: Recorder, operation: Operation, library: str, endpoint: Endpoint, body: Body, session: Any
    ) -> None:
        read = operation.input
        content = None if read is None else lambda: read(body)
        self.agent = start_step("agent", library, content=content, session=session)
        self._inside = self.agent.inside(get_current())
        self.call: Call | None = recorder.open(operation, library, endpoint, body, context=self._inside)
        self.messages: dict[Any, Any] = {}
        self.background: set[str] = set()
        self._tools: dict[str, Step] = {}
        self._subagents: dict[str, Step] = {}

    def begin_tool(self, call_id: str, name: str, arguments: Any, inside: str | None, subagent: str | None) -> None:
        """Begin a tool, once.

        Args:
            call_id: Of its call.
            name: Of the tool.
            arguments: What it is called with.
            inside: The call of the tool whose subagent calls it.
            subagent: The name of the agent that it runs, if it runs one.
        """
        if call_id in self._tools:
            return
        around = self._subagents.get(inside or "") or self._tools.get(inside or "") or self.agent
        tool = self._tools[call_id] = start_step(
            "tool",
            name,
            parent=around.inside(get_current()),
            attributes={A.GEN_AI_TOOL_CALL_ID: call_id},
            content={A.GEN_AI_TOOL_CALL_ARGUMENTS: arguments},
            signature=tool_signature(name, arguments),
        )
        if subagent:
            self._subagents[call_id] = start_step("agent", subagent, parent=tool.inside(get_current()))
        if len(self._tools) > MAX_UNANSWERED:
            self.end_tool(next(iter(self._tools)), None)
            _report_too_many()

    def inside_tool(self, called: ToolCall) -> Context:
        """Return the context of a tool, which begins now if no message has said yet that it is called."""
        self.begin_tool(called.call_id, called.name, called.arguments, None, None)
        return self._tools[called.call_id].inside(self._inside)

    def end_tool(self, call_id: str, error: BaseException | None, result: Content | None = None) -> None:
        """End a tool and its subagent; nothing for a call that is not known."""
        if call_id not in self.background:
            self.end_subagent(call_id, error)
        tool = self._tools.pop(call_id, None)
        if tool is not None:
            tool.write(result or {})
            tool.end(error)

    def end_subagent(self, call_id: str, error: BaseException | None) -> None:
        """End the subagent that a tool runs; nothing if it runs none."""
        subagent = self._subagents.pop(call_id, None)
        if subagent is not None:
            subagent.end(error)

    def end(
        self,
        answer: Any,
        error: BaseException | None,
        failure: BaseException | None,
        cut: bool,
        output: Content,
        received: Received | None = None,
    ) -> None:
        """End all of it.

        Args:
            answer: What was consumed, as the operation reads it.
            error: What ended the call, if something did.
            failure: Why the agent failed, if it did.
            cut: Whether it was broken off.
            output: What the agent answers.
            received: How much text came that the answer does not count.
        """
        self.background.clear()
        for call_id in reversed(list(self._tools)):
            self.end_tool(call_id, failure)
        for call_id in reversed(list(self._subagents)):
            self.end_subagent(call_id, failure)
        if self.call is not None:
            self.call.settle(answer, error=error, cut=cut, complete=not cut, received=received)
        self.agent.write(output)
        self.agent.end(failure)


class AgentConnection:
    """One process of an agent: its runs, in order.

    Args:
        start: Begins a run, given the recorder and what is asked.
        read: Reads a message; `runs` has the run that it is about first.
        end: Ends a run that has no result of its own, with what went wrong, if something did, and whether the result of
            an earlier run answered it, too.

    Attributes:
        answered: Whether a result was the last that came: an agent answers all at once what it was asked meanwhile.
    """

    def __init__(
        self,
        start: Callable[[AgentConnection, Recorder, Any], ProcessRun],
        read: Callable[[AgentConnection, Any], None],
        end: Callable[[ProcessRun, BaseException | None, bool], None],
    ) -> None:
        self._start = start
        self._read = read
        self._end = end
        self.runs: deque[ProcessRun] = deque()
        self.session: str | None = None
        self.totals: Any = None
        self.answered = False

    def begin(self, prompt: Any = None) -> ProcessRun | None:
        """Begin a run; `None` if nothing is recorded."""
        recorder = active()
        if recorder is None:
            return None
        try:
            run = self._start(self, recorder, prompt)
            self.runs.append(run)
            if len(self.runs) > MAX_UNANSWERED:
                self._end(self.runs.popleft(), None, False)
                _report_too_many()
            return run
        except Exception as error:
            internal_errors.report("beginning an agent's run", error)
            return None

    async def admitted(self, prompt: Any) -> ProcessRun | None:
        """Begin a run and ask the budgets, before anything is sent. Raises `BudgetExceeded`."""
        run = self.begin(prompt)
        if run is not None and run.call is not None:
            try:
                await run.call.admit_async()
            except BaseException as error:
                self.runs.remove(run)
                run.agent.end(error)
                raise
        return run

    def inside(self, context: Context) -> Context:
        """Return a context that the tools of this connection run in."""
        return set_value(_CONNECTION_KEY, self, context)

    async def connected(self, connect: Callable[[], Awaitable[Any]]) -> Any:
        """Connect, so that what is started for the connection is in its context."""
        return await _within(self.inside(get_current()), connect)

    async def sent(self, prompt: Any, send: Callable[[], Awaitable[Any]]) -> Any:
        """Begin a run that `send` asks for. Raises `BudgetExceeded`, with nothing sent."""
        if self.answered:
            self.close()
        run = await self.admitted(prompt)
        try:
            return await send()
        except BaseException as error:
            if run is not None and run in self.runs:
                self.runs.remove(run)
                self._end(run, error, False)
            raise

    async def asked(self, prompt: Any, messages: Any) -> AsyncGenerator[Any, None]:
        """Begin a run, and yield the messages of a connection that is for it alone. Raises `BudgetExceeded`."""
        run = await self.admitted(prompt)
        inside = get_current() if run is None else self.inside(run.agent.inside(get_current()))
        begun = Begun(inside, self.close, self.take)
        followed = async_steps_in_context(lambda: messages, lambda args, kwargs: begun)()
        try:
            async for message in followed:
                yield message
        finally:
            await followed.aclose()

    def followed(self, messages: Any) -> Any:
        """Return the messages of a connection that goes on after them, unless they end with an error."""

        def ended(error: BaseException | None) -> None:
            if isinstance(error, Exception):
                self.close(error)

        begun = Begun(get_current(), ended, self.take)
        return async_steps_in_context(lambda: messages, lambda args, kwargs: begun)()

    def take(self, message: Any) -> None:
        """Read a message. Never raises."""
        try:
            self._read(self, message)
        except Exception as error:
            internal_errors.report("reading a message of an agent", error)

    def close(self, error: BaseException | None = None) -> None:
        """End what has no result. Never raises."""
        while self.runs:
            try:
                self._end(self.runs.popleft(), error, self.answered)
            except Exception as fault:
                internal_errors.report("ending an agent's run", fault)


def _report_too_many() -> None:
    too_many = RuntimeError(f"more than {MAX_UNANSWERED} have no result; the oldest was ended")
    internal_errors.report("keeping the runs of an agent's process", too_many)


def _inside_tool(called: ToolCall | None, context: Context) -> Context:
    """Return the context of a tool in this process; outside of a run, the one that is given. Never raises."""
    try:
        connection = get_value(_CONNECTION_KEY, context)
        if called is not None and isinstance(connection, AgentConnection) and connection.runs:
            return connection.runs[0].inside_tool(called)
    except Exception as error:
        internal_errors.report("finding the step of a tool", error)
    return context


async def in_tool(called: ToolCall | None, send: Callable[[], Awaitable[Any]]) -> Any:
    """Send what calls a tool in this process from inside of its step, and return what comes of it."""
    here = get_current()
    return await _within(_inside_tool(called, here), send)


async def _within(inside: Context, act: Callable[[], Awaitable[Any]]) -> Any:
    block = object()
    enter(block, get_current(), inside)
    try:
        return await act()
    finally:
        leave(block)
