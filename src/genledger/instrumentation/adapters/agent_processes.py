"""Agents that run in a process of their own: the messages of a connection to it say what they do and what it costs."""

from __future__ import annotations

from collections import deque
from collections.abc import AsyncGenerator, Awaitable, Callable
from typing import Any

from opentelemetry.context import get_current

from genledger.context.scoped_context import Begun, async_steps_in_context
from genledger.engine.call import Call
from genledger.engine.operation import Body, Content, Endpoint, Operation
from genledger.engine.recorder import Recorder, active
from genledger.engine.steps import Step, start_step
from genledger.engine.tool_calls import tool_signature
from genledger.shared import internal_errors
from genledger_semconv import attributes as A


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
        messages: What the models' messages consumed, by the message's id: the model and its usage.
    """

    def __init__(
        self, recorder: Recorder, operation: Operation, library: str, endpoint: Endpoint, body: Body, session: Any
    ) -> None:
        read = operation.input
        content = None if read is None else lambda: read(body)
        self.agent = start_step("agent", library, content=content, session=session)
        self.call: Call | None = recorder.open(
            operation, library, endpoint, body, context=self.agent.inside(get_current())
        )
        self.messages: dict[Any, tuple[str, Any]] = {}
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

    def end_tool(self, call_id: str, error: BaseException | None, result: Content | None = None) -> None:
        """End a tool and its subagent; nothing for a call that is not known."""
        subagent, tool = self._subagents.pop(call_id, None), self._tools.pop(call_id, None)
        if subagent is not None:
            subagent.end(error)
        if tool is not None:
            tool.write(result or {})
            tool.end(error)

    def end(
        self, answer: Any, error: BaseException | None, failure: BaseException | None, cut: bool, output: Content
    ) -> None:
        """End all of it.

        Args:
            answer: What was consumed, as the operation reads it.
            error: What ended the call, if something did.
            failure: Why the agent failed, if it did.
            cut: Whether it was broken off.
            output: What the agent answers.
        """
        for call_id in reversed(list(self._tools)):
            self.end_tool(call_id, failure)
        if self.call is not None:
            self.call.settle(answer, error=error, cut=cut, complete=not cut)
        self.agent.write(output)
        self.agent.end(failure)


class AgentConnection:
    """One process of an agent: its runs, in order.

    Args:
        start: Begins a run, given the recorder and what is asked.
        read: Reads a message; `runs` has the run that it is about first.
        end: Ends a run that has no result, with what went wrong, if something did.
    """

    def __init__(
        self,
        start: Callable[[AgentConnection, Recorder, Any], ProcessRun],
        read: Callable[[AgentConnection, Any], None],
        end: Callable[[ProcessRun, BaseException | None], None],
    ) -> None:
        self._start = start
        self._read = read
        self._end = end
        self.runs: deque[ProcessRun] = deque()
        self.session: str | None = None
        self.totals: Any = None

    def begin(self, prompt: Any = None) -> ProcessRun | None:
        """Begin a run; `None` if nothing is recorded."""
        recorder = active()
        if recorder is None:
            return None
        try:
            run = self._start(self, recorder, prompt)
            self.runs.append(run)
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

    async def sent(self, prompt: Any, send: Callable[[], Awaitable[Any]]) -> Any:
        """Begin a run that `send` asks for. Raises `BudgetExceeded`, with nothing sent."""
        run = await self.admitted(prompt)
        try:
            return await send()
        except BaseException as error:
            if run is not None and run in self.runs:
                self.runs.remove(run)
                self._end(run, error)
            raise

    async def asked(self, prompt: Any, messages: Any) -> AsyncGenerator[Any, None]:
        """Begin a run, and yield the messages of a connection that is for it alone. Raises `BudgetExceeded`."""
        run = await self.admitted(prompt)
        inside = get_current() if run is None else run.agent.inside(get_current())
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
                self._end(self.runs.popleft(), error)
            except Exception as fault:
                internal_errors.report("ending an agent's run", fault)
