"""Claude Agent SDK, beside a stand-in for Claude Code: messages that the real one cannot be made to send."""

from __future__ import annotations

import asyncio
import gc
import json
from functools import partial
from typing import Any

import pytest
from tests.instrumentors.frameworks.runs import (
    Totals,
    calls,
    cost_shown,
    outcomes,
    read,
    refusing,
    shown,
    together,
    tree,
    trees,
)
from tests.instrumentors.telemetry import Telemetry, attributes_of, instrumented

import genledger
from genledger_semconv.checker import assert_clean

pytest.importorskip("claude_agent_sdk", reason="it has an environment of its own: make test-frameworks")

from claude_agent_sdk import ClaudeAgentOptions, ClaudeSDKClient, query
from examples.frameworks.claude_agent import HAIKU, QUESTION, SONNET
from examples.frameworks.traced import REPLIES
from tests.instrumentors.frameworks.claude_code import SESSION, ClaudeCode, assistant, result, tool_result, tool_use

LOOK_UP = tool_use("Task", "task-1", subagent_type="researcher", prompt=QUESTION)
FETCH = tool_use("WebFetch", "fetch-1", url="https://weather.example/paris")
ANSWER = {"type": "text", "text": REPLIES[QUESTION]}
TURN = [
    assistant(LOOK_UP, model=SONNET, tokens=(900, 40), message_id="m-1"),
    assistant(FETCH, model=HAIKU, tokens=(300, 20), message_id="m-2", inside="task-1"),
    tool_result("fetch-1", "sunny", inside="task-1"),
    tool_result("task-1", "It is sunny."),
    assistant(ANSWER, model=SONNET, tokens=(1000, 10), message_id="m-3"),
    result(REPLIES[QUESTION], 0.00685, {SONNET: (1900, 50, 0.00645), HAIKU: (300, 20, 0.0004)}),
]

OPTIONS = ClaudeAgentOptions(model=SONNET)
record = partial(instrumented, libraries=["claude-agent-sdk", "openai"])

RUN = """\
invoke_agent claude-agent-sdk
  chat claude-sonnet-4-5
  execute_tool Task
    invoke_agent researcher
      execute_tool WebFetch
"""


async def told(transport: ClaudeCode, prompt: Any = QUESTION) -> list[Any]:
    """Return the messages of one query."""
    return await read(query(prompt=prompt, options=OPTIONS, transport=transport))


async def ask(client: Any, prompt: str) -> list[Any]:
    """The messages of one question to a client."""
    await client.query(prompt)
    return await read(client.receive_response())


def test_parallel_queries_are_traces_of_their_own(telemetry: Telemetry) -> None:
    asyncio.run(together(*(told(ClaudeCode([TURN])) for _ in range(3))))
    assert trees(telemetry.spans) == [RUN] * 3


def test_a_query_has_its_tree_and_the_cost_that_is_reported(telemetry: Telemetry) -> None:
    messages = asyncio.run(told(ClaudeCode([TURN])))
    assert [type(message).__name__ for message in messages] == (
        ["AssistantMessage", "AssistantMessage", "UserMessage", "UserMessage", "AssistantMessage", "ResultMessage"]
    )
    assert tree(telemetry.spans) == RUN
    assert cost_shown(telemetry.spans) == pytest.approx(0.00685)
    assert shown(telemetry.spans) == Totals(2200, 70)
    (call,) = calls(telemetry)
    assert call["genledger.cost.source"] == "provider"
    assert telemetry.attributes_of("invoke_agent claude-agent-sdk")["gen_ai.conversation.id"] == SESSION
    assert telemetry.attributes_of("execute_tool WebFetch")["gen_ai.tool.call.id"] == "fetch-1"


def test_running_totals_of_a_connection_are_booked_by_what_each_result_adds(telemetry: Telemetry) -> None:
    turns = [
        [result("one", 0.010, {SONNET: (1000, 100, 0.010)})],
        [result("two", 0.015, {SONNET: (1400, 120, 0.013), HAIKU: (500, 30, 0.002)})],
        [result("two again", 0.015, {SONNET: (1400, 120, 0.013), HAIKU: (500, 30, 0.002)})],
        [
            {"type": "conversation_reset", "new_conversation_id": "c-2", "session_id": SESSION},
            result("three", 0.004, {SONNET: (300, 40, 0.004)}),
        ],
    ]

    async def talk() -> None:
        async with ClaudeSDKClient(OPTIONS, ClaudeCode(turns)) as client:
            for prompt in ("1", "2", "3", "4"):
                await ask(client, prompt)

    asyncio.run(talk())
    found = calls(telemetry)
    assert [call["genledger.cost.amount"] for call in found] == pytest.approx([0.010, 0.005, 0.0, 0.004])
    assert [call.get("gen_ai.usage.input_tokens") for call in found] == [1000, 900, 0, 300]
    assert [call["gen_ai.response.model"] for call in found if "gen_ai.response.model" in call][1] == SONNET
    assert {attributes_of(span).get("session.id") for span in telemetry.spans} == {None, SESSION}


def test_a_message_that_comes_in_parts_is_counted_once_where_no_result_comes(telemetry: Telemetry) -> None:
    part = {"type": "text", "text": "Paris"}
    said = [assistant(part, model=SONNET, tokens=(1000, count), message_id="m-1") for count in (1, 60)]

    async def leave() -> None:
        messages = query(prompt=QUESTION, options=OPTIONS, transport=ClaudeCode([[*said, *TURN]]))
        for _ in said:
            await anext(messages)
        await messages.aclose()  # type: ignore[attr-defined]

    asyncio.run(leave())
    (call,) = calls(telemetry)
    assert call["genledger.outcome"] == "cancelled"
    assert (call["gen_ai.usage.input_tokens"], call["gen_ai.usage.output_tokens"]) == (1000, 60)
    assert call["genledger.cost.amount"] == pytest.approx(1000 * 3e-6 + 60 * 15e-6)


def test_a_run_that_is_cancelled_midway_leaves_nothing_open(telemetry: Telemetry) -> None:
    async def cancel() -> None:
        begun = asyncio.Event()

        async def follow() -> None:
            async for _ in query(prompt=QUESTION, options=OPTIONS, transport=ClaudeCode([TURN[:2]])):
                begun.set()

        task = asyncio.ensure_future(follow())
        await begun.wait()
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task

    asyncio.run(cancel())
    assert "execute_tool Task" in tree(telemetry.spans)
    assert outcomes(telemetry) == ["cancelled"]


def test_parallel_tools_end_with_their_own_results(telemetry: Telemetry) -> None:
    both = assistant(
        tool_use("Read", "a", path="x"), tool_use("Read", "b", path="y"), model=SONNET, tokens=(1, 1), message_id="m"
    )
    turn = [both, tool_result("b", "no", failed=True), tool_result("a", "yes"), TURN[-1]]
    asyncio.run(told(ClaudeCode([turn])))
    found = {
        (found := attributes_of(span))["gen_ai.tool.call.id"]: found.get("error.type")
        for span in telemetry.spans
        if span.name == "execute_tool Read"
    }
    assert found == {"a": None, "b": "tool_error"}


@pytest.mark.parametrize(
    ("more", "outcome"),
    [
        ({"subtype": "error_max_turns"}, "success"),
        ({"subtype": "success", "api_error_status": 529}, "error"),
        ({"subtype": "success", "is_error": False, "terminal_reason": "aborted_streaming"}, "cancelled"),
    ],
)
def test_a_result_says_how_the_run_ended(telemetry: Telemetry, more: dict[str, Any], outcome: str) -> None:
    ended = {**result("", 0.01, {SONNET: (100, 10, 0.01)}), "is_error": True, **more}

    async def one() -> None:
        async with ClaudeSDKClient(OPTIONS, ClaudeCode([[ended]])) as client:
            await ask(client, QUESTION)

    asyncio.run(one())
    (call,) = calls(telemetry)
    assert (call["genledger.outcome"], call["genledger.cost.amount"]) == (outcome, pytest.approx(0.01))
    agent = telemetry.attributes_of("invoke_agent claude-agent-sdk")
    assert ("error.type" in agent) is ended["is_error"]


@pytest.mark.parametrize("way", ["query", "client", "connect"])
def test_a_refused_run_is_never_sent(way: str) -> None:
    transport = ClaudeCode([TURN, TURN])

    async def twice() -> None:
        if way == "query":
            await told(transport)
            await told(transport)
            return
        async with ClaudeSDKClient(OPTIONS, transport) as client:
            await ask(client, QUESTION)
            if way == "client":
                await ask(client, QUESTION)
        await ClaudeSDKClient(OPTIONS, transport).connect(QUESTION)

    with refusing(record, requests=1, per="day") as telemetry:
        with pytest.raises(genledger.BudgetExceeded):
            asyncio.run(twice())
        assert transport.asked == [QUESTION]
        assert outcomes(telemetry) == ["success", "blocked"]


def test_a_budget_counts_what_a_run_is_reported_to_have_cost() -> None:
    turns = [[result("one", 0.099, {SONNET: (20_000, 2_600, 0.099)})], TURN]
    transport = ClaudeCode(turns)

    async def twice() -> None:
        async with ClaudeSDKClient(OPTIONS, transport) as client:
            await ask(client, "1")
            with pytest.raises(genledger.BudgetExceeded) as refused:
                await ask(client, "2")
            assert refused.value.spent == pytest.approx(0.099)

    with refusing(record, usd=0.1, per="day"):
        asyncio.run(twice())
    assert transport.asked == ["1"]


def test_content_is_on_agents_and_tools_where_it_is_captured() -> None:
    with record(capture_content="span") as telemetry:
        asyncio.run(told(ClaudeCode([TURN])))
        agent, tool = (
            telemetry.attributes_of(name) for name in ("invoke_agent claude-agent-sdk", "execute_tool WebFetch")
        )
        assert QUESTION in agent["gen_ai.input.messages"]
        assert "It is sunny in Paris." in agent["gen_ai.output.messages"]
        assert json.loads(tool["gen_ai.tool.call.arguments"]) == {"url": "https://weather.example/paris"}
        assert json.loads(tool["gen_ai.tool.call.result"]) == {"result": "sunny"}
        assert_clean(telemetry.spans, telemetry.metrics, telemetry.logs, capture_content=True)


def test_no_content_is_recorded_by_default(telemetry: Telemetry) -> None:
    asyncio.run(told(ClaudeCode([TURN])))
    assert "aris" not in "".join(span.to_json() for span in telemetry.spans)


def test_an_error_of_the_sdk_ends_the_run_and_reaches_the_application(telemetry: Telemetry) -> None:
    class Broken(ClaudeCode):
        async def read_messages(self) -> Any:
            """Fail after some messages."""
            async for message in super().read_messages():
                if message["type"] == "result":
                    raise OSError("the pipe broke")
                yield message

    with pytest.raises(Exception, match="the pipe broke"):
        asyncio.run(told(Broken([TURN])))
    assert "error.type" in telemetry.attributes_of("invoke_agent claude-agent-sdk")
    assert outcomes(telemetry) == ["error"]


@pytest.mark.parametrize("status", ["completed", "failed"])
def test_a_subagent_in_the_background_goes_on_when_its_tool_has_ended(telemetry: Telemetry, status: str) -> None:
    task = {"type": "system", "task_id": "t-1", "tool_use_id": "task-1", "session_id": SESSION}
    started = {"subtype": "task_started", "description": "", "is_backgrounded": True}
    ended = {"subtype": "task_notification", "status": status, "output_file": "", "summary": ""}
    call, fetch, done, answer, last, reported = TURN
    turn = [call, task | started, answer, fetch, done, task | ended, last, reported]
    asyncio.run(told(ClaudeCode([turn])))
    assert tree(telemetry.spans) == RUN
    failed = telemetry.attributes_of("invoke_agent researcher").get("error.type")
    assert failed == (None if status == "completed" else status)


def test_unknown_ids_and_results_without_a_query_are_no_trouble(telemetry: Telemetry) -> None:
    turn = [
        tool_result("unknown", "late"),
        assistant(tool_use("Read", "x"), model=SONNET, tokens=(1, 1), message_id="m-0", inside="unknown"),
        TURN[-1],
        {"type": "conversation_reset", "new_conversation_id": "c-2", "session_id": SESSION},
        result("another", 0.001, {SONNET: (10, 1, 0.001)}),
        {"type": "of tomorrow"},
    ]
    asyncio.run(told(ClaudeCode([turn])))
    assert [call["genledger.cost.amount"] for call in calls(telemetry)] == pytest.approx([0.00685, 0.001])
    assert "invoke_agent claude-agent-sdk\n  chat claude-sonnet-4-5\n  execute_tool Read\n" in tree(telemetry.spans)


def test_a_client_that_is_dropped_without_a_result_ends_its_run(telemetry: Telemetry) -> None:
    async def drop() -> None:
        client = ClaudeSDKClient(OPTIONS, ClaudeCode([[]]))
        await client.connect()
        await client.query(QUESTION)
        await client.disconnect()

    asyncio.run(drop())
    gc.collect()
    assert outcomes(telemetry) == ["cancelled"]


def test_nothing_is_recorded_after_uninstrument() -> None:
    with record() as telemetry:
        asyncio.run(told(ClaudeCode([TURN])))
        count = len(telemetry.spans)
    assert len(asyncio.run(told(ClaudeCode([TURN])))) == 6
    assert len(telemetry.spans) == count == 5
