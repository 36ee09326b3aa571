"""Claude Agent SDK with the program that it brings, Claude Code: its tree, and what the model billed, booked once."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Awaitable, Callable
from functools import partial
from pathlib import Path
from typing import Any

import openai
import pytest
from examples.demo.provider import DemoProvider, Fault
from examples.frameworks.traced import QUESTION, REPLIES
from tests.instrumentors.frameworks.native import native
from tests.instrumentors.frameworks.runs import (
    Totals,
    calls,
    cost_shown,
    errors,
    nothing_left,
    outcomes,
    read,
    refusing,
    shown,
    tenants,
    together,
    tree,
    trees,
)
from tests.instrumentors.telemetry import Telemetry, attributes_of, instrumented

import genledger
from genledger.pricing import cost_of_response

pytest.importorskip("claude_agent_sdk", reason="it has an environment of its own: make test-frameworks")

import claude_agent_sdk
from claude_agent_sdk import ClaudeAgentOptions, ClaudeSDKClient, ResultMessage, query, tool
from examples.frameworks.claude_agent import ARGUMENTS, FORECASTER, options, weather

if not list(Path(claude_agent_sdk.__file__).parent.glob("_bundled/claude*")):
    pytest.skip("the package for this platform does not bring Claude Code", allow_module_level=True)

record = partial(instrumented, libraries=["claude-agent-sdk", "openai"])

TREE = """\
invoke_agent claude-agent-sdk
  chat claude-sonnet-4-5
  execute_tool mcp__sky__weather
"""

DELEGATED = """\
invoke_agent claude-agent-sdk
  chat claude-sonnet-4-5
  execute_tool Agent
    invoke_agent forecaster
      execute_tool mcp__sky__weather
"""


@pytest.fixture
def home(tmp_path: Path) -> str:
    """Where Claude Code keeps its files."""
    return str(tmp_path)


@pytest.fixture
def asked(provider: DemoProvider, home: str) -> ClaudeAgentOptions:
    """Options with one tool."""
    return options(provider.anthropic_url, home, [weather])


async def ask(client: Any, prompt: str = QUESTION) -> list[Any]:
    """The messages of one question to a client."""
    await client.query(prompt)
    return await read(client.receive_response())


def consumed(provider: DemoProvider) -> Totals:
    """What the provider charged for, whichever way it was cached."""
    used = [request.usage for request in provider.requests if request.usage is not None]
    kinds = ("input_tokens", "cache_read_input_tokens", "cache_creation_input_tokens")
    return Totals(sum(one.get(kind, 0) for one in used for kind in kinds), sum(one["output_tokens"] for one in used))


def bill(provider: DemoProvider) -> float:
    """What it costs by the price table, in USD."""
    total = 0.0
    for request in provider.requests:
        if request.usage is not None:
            api, name = ("messages", "anthropic") if request.path.endswith("/messages") else ("responses", "openai")
            answer = {"model": request.model, "usage": request.usage}
            found = cost_of_response(provider=name, api=api, payload=answer)
            assert found is not None
            total += found.amount
    return total


def assert_all_is_booked(telemetry: Telemetry, provider: DemoProvider) -> None:
    """Assert that the spans show the provider's tokens and the cost of those."""
    assert shown(telemetry.spans) == consumed(provider)
    assert cost_shown(telemetry.spans) == pytest.approx(bill(provider))


async def test_a_query_has_its_tree_and_the_cost_of_all_its_requests(
    telemetry: Telemetry, provider: DemoProvider, asked: ClaudeAgentOptions
) -> None:
    messages = await read(query(prompt=QUESTION, options=asked))
    assert messages[-1].result == "It is sunny in Paris."
    assert tree(telemetry.spans) == TREE
    assert len(provider.requests) == 2
    assert_all_is_booked(telemetry, provider)
    (call,) = calls(telemetry)
    assert (call["genledger.cost.source"], call["genledger.outcome"]) == ("provider", "success")
    agent = telemetry.attributes_of("invoke_agent claude-agent-sdk")
    assert agent["gen_ai.conversation.id"] == messages[-1].session_id


async def test_events_of_the_stream_change_nothing(telemetry: Telemetry, provider: DemoProvider, home: str) -> None:
    chosen = options(provider.anthropic_url, home, [weather], include_partial_messages=True)
    assert len(await read(query(prompt=QUESTION, options=chosen))) > 20
    assert tree(telemetry.spans) == TREE
    assert_all_is_booked(telemetry, provider)


async def test_parallel_queries_are_traces_of_their_own(
    telemetry: Telemetry, provider: DemoProvider, tmp_path_factory: pytest.TempPathFactory
) -> None:
    homes = [str(tmp_path_factory.mktemp("home")) for _ in range(2)]
    found = [options(provider.anthropic_url, home, [weather]) for home in homes]
    await together(*(read(query(prompt=QUESTION, options=chosen)) for chosen in found))
    assert trees(telemetry.spans) == [TREE] * 2
    assert_all_is_booked(telemetry, provider)


async def test_turns_of_a_session_are_booked_by_what_each_adds(
    telemetry: Telemetry, provider: DemoProvider, asked: ClaudeAgentOptions
) -> None:
    reported = []
    async with ClaudeSDKClient(asked) as client:
        for prompt in (QUESTION, QUESTION, "/clear", QUESTION):
            reported.append((await ask(client, prompt))[-1].total_cost_usd)
    assert reported[1] > reported[0] > 0 == reported[2]  # running totals, until the conversation is cleared
    assert [call["genledger.cost.amount"] > 0 for call in calls(telemetry)] == [True, True, False, True]
    assert_all_is_booked(telemetry, provider)
    assert trees(telemetry.spans) == [TREE, TREE, "invoke_agent claude-agent-sdk\n  chat claude-sonnet-4-5\n", TREE]


@pytest.mark.parametrize("known", [True, False])
async def test_a_resumed_session_is_not_booked_twice(
    provider: DemoProvider, asked: ClaudeAgentOptions, known: bool
) -> None:
    first = ResultMessage("", 0, 0, False, 0, "")
    with instrumented(libraries=["claude-agent-sdk"] if known else []) as telemetry:
        async for message in query(prompt=QUESTION, options=asked):
            first = message if isinstance(message, ResultMessage) else first
        assert len(calls(telemetry)) == known
    before = len(provider.requests)
    asked.resume = first.session_id
    with record() as telemetry, nothing_left(telemetry):
        messages = await read(query(prompt=QUESTION, options=asked))
        assert messages[-1].total_cost_usd > cost_shown(telemetry.spans)  # it carries the session's total over
        del provider.requests[:before]
        assert_all_is_booked(telemetry, provider)
        assert calls(telemetry)[0]["genledger.cost.source"] == ("provider" if known else "table")


async def test_another_session_may_run_before_one_is_resumed(
    telemetry: Telemetry, provider: DemoProvider, asked: ClaudeAgentOptions
) -> None:
    first = (await read(query(prompt=QUESTION, options=asked)))[-1].session_id
    await read(query(prompt=QUESTION, options=asked))
    asked.resume = first
    await read(query(prompt=QUESTION, options=asked))
    assert_all_is_booked(telemetry, provider)


async def test_questions_that_are_answered_together_cost_what_their_one_answer_does(
    telemetry: Telemetry, provider: DemoProvider, asked: ClaudeAgentOptions
) -> None:
    async with ClaudeSDKClient(asked) as client:
        await client.query(QUESTION)
        await ask(client, "And in Rome?")
        await ask(client)
    assert_all_is_booked(telemetry, provider)
    assert [call["genledger.cost.amount"] > 0 for call in calls(telemetry)].count(True) in (2, 3)
    assert set(outcomes(telemetry)) == {"success"}


@pytest.mark.parametrize("stream", [True, False])
async def test_a_subagent_has_its_place_and_its_model_is_in_the_cost(
    telemetry: Telemetry, home: str, stream: bool
) -> None:
    with DemoProvider(replies=REPLIES, arguments=ARGUMENTS) as provider:
        chosen = options(provider.anthropic_url, home, [weather], tools=["Task"], agents={"forecaster": FORECASTER})
        chosen.include_partial_messages = stream
        await read(query(prompt=QUESTION, options=chosen))
    assert {request.model for request in provider.requests} == {"claude-sonnet-4-5", "claude-haiku-4-5-20251001"}
    assert tree(telemetry.spans) == DELEGATED
    assert_all_is_booked(telemetry, provider)


@pytest.mark.parametrize("way", ["query", "client"])
async def test_what_a_tool_in_the_process_asks_is_inside_of_it(
    telemetry: Telemetry, provider: DemoProvider, home: str, way: str
) -> None:
    @tool("weather", "Say what the weather is like in a city.", {"city": str})
    async def asking(called: dict[str, Any]) -> dict[str, Any]:
        async with openai.AsyncOpenAI(base_url=provider.openai_url, api_key="k", max_retries=0) as model:
            answer = await model.responses.create(model="gpt-4.1-mini", input=called["city"])
        return {"content": [{"type": "text", "text": answer.output_text}]}

    chosen = options(provider.anthropic_url, home, [asking])
    if way == "query":
        with genledger.attribution(tenant="acme"):
            await read(query(prompt=QUESTION, options=chosen))
    else:
        async with ClaudeSDKClient(chosen) as client:
            with genledger.attribution(tenant="acme"):
                await ask(client)
    assert tree(telemetry.spans) == f"{TREE}    chat gpt-4.1-mini\n"
    assert tenants(telemetry.spans) == {"acme"}
    assert telemetry.attributes_of("invoke_agent claude-agent-sdk")["genledger.total.calls"] == 2
    assert_all_is_booked(telemetry, provider)


async def test_the_span_of_mcps_own_is_inside_of_the_tool_and_no_second_step(
    provider: DemoProvider, asked: ClaudeAgentOptions
) -> None:
    with native(libraries=["claude-agent-sdk"]) as telemetry, nothing_left(telemetry):
        async with ClaudeSDKClient(asked) as client:
            await ask(client)
        assert f"{TREE}    execute_tool weather\n" in trees(
            telemetry.spans, kept=lambda span: not span.name.startswith(("initialize", "notifications", "tools/list"))
        )
        assert_all_is_booked(telemetry, provider)


async def test_an_error_of_a_tool_is_on_its_step(telemetry: Telemetry, provider: DemoProvider, home: str) -> None:
    @tool("weather", "Fail.", {"city": str})
    async def broken(called: dict[str, Any]) -> dict[str, Any]:
        raise ValueError("the tool's own")

    await read(query(prompt=QUESTION, options=options(provider.anthropic_url, home, [broken])))
    assert errors(telemetry) == {"execute_tool mcp__sky__weather": "tool_error"}
    assert_all_is_booked(telemetry, provider)


async def test_an_error_of_the_provider_ends_the_run_and_costs_nothing(telemetry: Telemetry, home: str) -> None:
    with (
        DemoProvider(faults=[Fault("Paris", 500, times=100)]) as provider,
        pytest.raises(claude_agent_sdk.ClaudeSDKError, match="API Error: 500"),
    ):
        await read(query(prompt=QUESTION, options=options(provider.anthropic_url, home, [weather])))
    assert outcomes(telemetry) == ["error"]
    assert errors(telemetry) == {"invoke_agent claude-agent-sdk": "500", "chat claude-sonnet-4-5": "500"}
    assert cost_shown(telemetry.spans) == 0


@pytest.mark.parametrize(
    ("more", "error"), [({"max_turns": 1}, "error_max_turns"), ({"max_budget_usd": 1e-6}, "error_max_budget_usd")]
)
async def test_a_limit_of_claude_codes_own_ends_the_run_with_its_cost(
    telemetry: Telemetry, provider: DemoProvider, home: str, more: dict[str, Any], error: str
) -> None:
    with pytest.raises(claude_agent_sdk.ClaudeSDKError):
        await read(query(prompt=QUESTION, options=options(provider.anthropic_url, home, [weather], **more)))
    assert errors(telemetry)["invoke_agent claude-agent-sdk"] == error
    assert outcomes(telemetry) == ["success"]
    assert_all_is_booked(telemetry, provider)


async def test_an_interrupted_run_is_cancelled_and_the_session_goes_on(
    telemetry: Telemetry, provider: DemoProvider, home: str
) -> None:
    begun = asyncio.Event()

    @tool("weather", "Wait.", {"city": str})
    async def waiting(called: dict[str, Any]) -> dict[str, Any]:
        begun.set()
        await asyncio.sleep(0 if len(provider.requests) > 1 else 3600)
        return {"content": [{"type": "text", "text": "sunny"}]}

    async with ClaudeSDKClient(options(provider.anthropic_url, home, [waiting])) as client:
        asking = asyncio.ensure_future(ask(client))
        await begun.wait()
        await client.interrupt()
        await asking
        await ask(client)
    assert outcomes(telemetry) == ["cancelled", "success"]
    assert_all_is_booked(telemetry, provider)
    assert [one.count("execute_tool") for one in trees(telemetry.spans)] == [1, 1]


@pytest.mark.parametrize("stream", [True, False])
async def test_a_cancelled_run_leaves_nothing_open_and_costs_what_was_seen(
    telemetry: Telemetry, provider: DemoProvider, home: str, stream: bool
) -> None:
    begun = asyncio.Event()

    @tool("weather", "Wait.", {"city": str})
    async def waiting(called: dict[str, Any]) -> dict[str, Any]:
        begun.set()
        await asyncio.sleep(3600)
        return {}

    chosen = options(provider.anthropic_url, home, [waiting], include_partial_messages=stream)
    run = asyncio.ensure_future(read(query(prompt=QUESTION, options=chosen)))
    await begun.wait()
    if stream:  # the end of the message comes after its parts
        await asyncio.sleep(0.2)
    run.cancel()
    with pytest.raises(asyncio.CancelledError):
        await run
    assert tree(telemetry.spans) == TREE
    (call,) = calls(telemetry)
    first = provider.requests[0].usage
    assert first is not None
    assert call["genledger.outcome"] == "cancelled"
    assert call["gen_ai.usage.input_tokens"] == first["input_tokens"]
    assert 1 < call["gen_ai.usage.output_tokens"] <= first["output_tokens"]


async def queries(asked: ClaudeAgentOptions) -> None:
    """Ask twice."""
    await read(query(prompt=QUESTION, options=asked))
    await read(query(prompt=QUESTION, options=asked))


async def session(asked: ClaudeAgentOptions) -> None:
    """Ask twice, in one session."""
    async with ClaudeSDKClient(asked) as client:
        await ask(client)
        await ask(client)


@pytest.mark.parametrize("way", [queries, session])
async def test_a_refused_run_is_never_sent(
    provider: DemoProvider, asked: ClaudeAgentOptions, way: Callable[[ClaudeAgentOptions], Awaitable[None]]
) -> None:
    with refusing(record, requests=1, per="day") as telemetry:
        with pytest.raises(genledger.BudgetExceeded):
            await way(asked)
        assert len(provider.requests) == 2
        assert outcomes(telemetry) == ["success", "blocked"]


async def test_content_is_on_agents_and_tools_where_it_is_captured(asked: ClaudeAgentOptions) -> None:
    with record(capture_content="span") as telemetry:
        await read(query(prompt=QUESTION, options=asked))
        agent = telemetry.attributes_of("invoke_agent claude-agent-sdk")
        called = telemetry.attributes_of("execute_tool mcp__sky__weather")
    assert QUESTION in agent["gen_ai.input.messages"]
    assert "It is sunny in Paris." in agent["gen_ai.output.messages"]
    assert json.loads(called["gen_ai.tool.call.arguments"]) == {"city": "Paris-75"}
    assert "sunny in Paris-75" in called["gen_ai.tool.call.result"]


async def test_no_content_is_recorded_by_default(telemetry: Telemetry, asked: ClaudeAgentOptions) -> None:
    await read(query(prompt=QUESTION, options=asked))
    assert "aris" not in "".join(span.to_json() for span in telemetry.spans)


async def test_nothing_is_recorded_after_uninstrument(asked: ClaudeAgentOptions) -> None:
    with record() as telemetry:
        await read(query(prompt=QUESTION, options=asked))
        count = len(telemetry.spans)
    await read(query(prompt=QUESTION, options=asked))
    assert len(telemetry.spans) == count == 3
    assert all(attributes_of(span) for span in telemetry.spans)
