"""smolagents: the tree of a run in every way of calling, every call priced once, and a refusal ends the run."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator, Mapping
from functools import partial
from importlib.metadata import version
from typing import Any

import pytest
from examples.demo.provider import DemoProvider
from examples.frameworks.traced import QUESTION
from opentelemetry.context import get_current
from packaging.version import Version
from tests.instrumentors.frameworks.runs import (
    Framework,
    assert_billed_once,
    errors,
    indented,
    outcomes,
    refusing,
    tenants,
    together,
    traces,
    tree,
)
from tests.instrumentors.telemetry import Telemetry, instrumented

import genledger

pytest.importorskip("smolagents", reason="smolagents has an environment of its own: make test-frameworks")

import openai
from examples.frameworks import smolagents_agent as program
from smolagents import OpenAIServerModel, Tool, ToolCallingAgent, tool
from smolagents import models as smolagents_models
from smolagents.models import ChatMessage, ChatMessageToolCall, MessageRole, Model

record = partial(instrumented, libraries=["openai", "smolagents"])
MODEL = "gpt-4.1-mini"


@pytest.fixture
def replies() -> Mapping[str, str]:
    """The model answers with code."""
    return program.REPLIES


class Scripted(Model):
    """A model in this process that says what it is told to, each thing once."""

    def __init__(self, *messages: ChatMessage) -> None:
        super().__init__(model_id="scripted")
        self.messages = list(messages)

    def generate(self, messages: Any, **options: Any) -> ChatMessage:
        """Say the next thing."""
        return self.messages.pop(0)


OLD = Version(version("smolagents")) < Version("1.18")
_Function: Any = getattr(smolagents_models, "ChatMessageToolCallFunction", None) or getattr(
    smolagents_models, "ChatMessageToolCallDefinition", None
)
"""Its second name is from before 1.19."""


def calls(*names: str, **arguments: str) -> ChatMessage:
    """A message of a model that calls tools."""
    made = [
        ChatMessageToolCall(_Function(name=name, arguments=dict(arguments)), f"call-{index}", "function")
        for index, name in enumerate(names)
    ]
    return ChatMessage(MessageRole.ASSISTANT, None, tool_calls=made)


def asks(provider: DemoProvider, name: str = "ask") -> Any:
    """A tool that asks the provider."""
    client = openai.OpenAI(base_url=provider.openai_url, api_key="k", max_retries=0)

    class Ask(Tool):
        description = "Ask."
        inputs = {"city": {"type": "string", "description": "Where."}}
        output_type = "string"

        def forward(self, city: str) -> str:
            messages = [{"role": "user", "content": f"What of {city}?"}]
            return str(
                client.chat.completions.create(model="gpt-4.1-mini", messages=messages).choices[0].message.content
            )

    Ask.name = name
    return Ask()


FINAL = calls("final_answer", answer="done")

RUN = f"""\
invoke_agent forecaster
  chat {MODEL}
  execute_tool python_interpreter
    execute_tool look_up
    execute_tool weather
"""


async def _at_once(provider: DemoProvider, times: int) -> None:
    await together(*(asyncio.to_thread(program.agent(provider.openai_url).run, QUESTION) for _ in range(times)))


FRAMEWORK = Framework(record, _at_once, RUN, replies=program.REPLIES, hook=lambda: ToolCallingAgent.run)


@pytest.mark.parametrize("streamed", [False, True], ids=["whole", "streamed model"])
def test_a_run_has_its_tree(telemetry: Telemetry, provider: DemoProvider, streamed: bool) -> None:
    answer = program.agent(provider.openai_url, stream_outputs=streamed).run(QUESTION)
    assert "sunny" in answer
    assert tree(telemetry.spans) == RUN
    assert traces(telemetry.spans) == 1
    assert_billed_once(telemetry, provider)


def test_a_streamed_run_is_in_the_context_of_who_called_it_and_its_reader_is_not(
    telemetry: Telemetry, provider: DemoProvider
) -> None:
    with genledger.attribution(tenant="acme"):
        steps = program.agent(provider.openai_url).run(QUESTION, stream=True)
    before = get_current()
    assert telemetry.open.spans == {}  # it begins with the first item
    for _ in steps:
        assert get_current() is before
    assert tree(telemetry.spans) == RUN
    assert tenants(telemetry.spans) == {"acme"}


def test_a_streamed_run_that_is_left_midway_ends(telemetry: Telemetry, provider: DemoProvider) -> None:
    steps = program.agent(provider.openai_url).run(QUESTION, stream=True)
    next(steps)
    with pytest.raises(RuntimeError, match="ignored GeneratorExit"):  # smolagents' own, with and without us
        steps.close()
    assert not telemetry.open.spans


@pytest.mark.skipif(OLD, reason="before 1.18, an agent does the first of the calls alone")
def test_tools_in_threads_belong_to_their_run_and_their_calls_to_them(
    telemetry: Telemetry, provider: DemoProvider
) -> None:
    model = Scripted(calls("ask", "other", city="Paris"), FINAL)
    ToolCallingAgent([asks(provider), asks(provider, "other")], model, name="busy", verbosity_level=0).run("go")
    by_id = {span.context.span_id: span for span in telemetry.spans if span.context is not None}
    chats = [span for span in telemetry.spans if span.name.startswith("chat")]
    parents = [by_id[span.parent.span_id] for span in chats if span.parent is not None]
    assert sorted(span.name for span in parents) == ["execute_tool ask", "execute_tool other"]
    assert {by_id[span.parent.span_id].name for span in parents if span.parent is not None} == {"invoke_agent busy"}
    assert_billed_once(telemetry, provider)


def test_a_managed_agent_is_an_agent_in_the_run_of_its_manager(telemetry: Telemetry, provider: DemoProvider) -> None:
    managed = program.agent(provider.openai_url)
    managed.description = "Forecasts."
    model = Scripted(calls("forecaster", task=QUESTION), FINAL)
    ToolCallingAgent([], model, managed_agents=[managed], name="manager", verbosity_level=0).run("go")
    assert tree(telemetry.spans) == "invoke_agent manager\n" + indented(RUN, 1)
    assert telemetry.attributes_of("invoke_agent forecaster")["gen_ai.agent.description"] == "Forecasts."


def test_an_agent_without_a_name_has_that_of_its_class(telemetry: Telemetry) -> None:
    ToolCallingAgent([], Scripted(FINAL), verbosity_level=0).run("go")
    assert telemetry.span.name == "invoke_agent ToolCallingAgent"


def test_a_tool_that_fails_is_an_error_and_the_run_goes_on_as_it_does(telemetry: Telemetry) -> None:
    @tool
    def broken(city: str) -> str:
        """Fail.

        Args:
            city: Where.
        """
        raise ValueError("the tool's own")

    agent = ToolCallingAgent([broken], Scripted(calls("broken", city="Paris"), FINAL), verbosity_level=0)
    assert agent.run("go") == "done"
    assert errors(telemetry) == {"execute_tool broken": "ValueError"}
    assert len(telemetry.spans) == 2


def test_content_is_on_the_steps_where_it_is_captured(provider: DemoProvider) -> None:
    with record(capture_content=True) as telemetry:
        program.agent(provider.openai_url).run(QUESTION)
    agent = telemetry.attributes_of("invoke_agent forecaster")
    assert QUESTION in str(agent["gen_ai.input.messages"])
    assert "It is sunny in Paris-75" in str(agent["gen_ai.output.messages"])
    weather = telemetry.attributes_of("execute_tool weather")
    assert weather["gen_ai.tool.call.arguments"] == '{"city":"Paris-75"}'
    assert "sunny" in weather["gen_ai.tool.call.result"]
    assert "look_up(" in telemetry.attributes_of("execute_tool python_interpreter")["gen_ai.tool.call.arguments"]


@pytest.fixture
def limited() -> Iterator[Telemetry]:
    """One call in each run."""
    with refusing(record, steps=1, per="run") as telemetry:
        yield telemetry


def test_a_model_that_is_refused_ends_the_run_at_once(limited: Telemetry, provider: DemoProvider) -> None:
    model = OpenAIServerModel("gpt-4.1-mini", api_base=provider.openai_url, api_key="k")  # retries whatever says 429
    agent = ToolCallingAgent([program.weather], model, verbosity_level=0)
    with pytest.raises(genledger.BudgetExceeded):
        agent.run(QUESTION)
    assert len(provider.requests) == 1
    assert outcomes(limited).count("blocked") == 1


def test_a_last_answer_that_is_refused_is_no_answer(limited: Telemetry, provider: DemoProvider) -> None:
    model = OpenAIServerModel("gpt-4.1-mini", api_base=provider.openai_url, api_key="k")
    with pytest.raises(genledger.BudgetExceeded):
        ToolCallingAgent([program.weather], model, max_steps=1, verbosity_level=0).run(QUESTION)
    assert len(provider.requests) == 1


def test_a_last_answer_without_a_refusal_is_what_it_was(telemetry: Telemetry, provider: DemoProvider) -> None:
    model = OpenAIServerModel("gpt-4.1-mini", api_base=provider.openai_url, api_key="k")
    answer = ToolCallingAgent([program.weather], model, max_steps=1, verbosity_level=0).run(QUESTION)
    assert "final_answer(" in str(answer)
    assert_billed_once(telemetry, provider)


def test_a_tool_that_is_refused_ends_the_run_at_once(limited: Telemetry, provider: DemoProvider) -> None:
    model = Scripted(calls("ask", city="Paris"), calls("ask", city="Rome"), FINAL)
    with pytest.raises(genledger.BudgetExceeded):
        ToolCallingAgent([asks(provider)], model, verbosity_level=0).run("go")
    assert len(provider.requests) == 1
    assert len(model.messages) == 1


def test_a_streamed_run_that_is_refused_ends_at_once(limited: Telemetry, provider: DemoProvider) -> None:
    model = Scripted(calls("ask", city="Paris"), calls("ask", city="Rome"), FINAL)
    with pytest.raises(genledger.BudgetExceeded):
        list(ToolCallingAgent([asks(provider)], model, verbosity_level=0).run("go", stream=True))
    assert len(provider.requests) == 1
    assert len(model.messages) == 1


@pytest.mark.parametrize(
    "code",
    [
        "ask(city='Paris')\nask(city='Rome')",
        "ask(city='a')\ntry:\n    ask(city='b')\nexcept Exception:\n    ask(city='c')",
    ],
    ids=["plain", "caught by the code"],
)
def test_code_whose_tool_is_refused_ends_the_run_at_once(limited: Telemetry, provider: DemoProvider, code: str) -> None:
    from smolagents import CodeAgent

    model = Scripted(*[ChatMessage(MessageRole.ASSISTANT, f"```py\n{code}\n```") for _ in range(3)])
    with pytest.raises(genledger.BudgetExceeded):
        CodeAgent([asks(provider)], model, verbosity_level=0).run("go")
    assert len(provider.requests) == 1
    assert len(model.messages) == 2


def test_a_managed_agent_that_is_refused_ends_the_run_of_its_manager(
    limited: Telemetry, provider: DemoProvider
) -> None:
    inner = ToolCallingAgent(
        [asks(provider)],
        Scripted(calls("ask", city="a"), calls("ask", city="b"), FINAL),
        name="inner",
        description="Works.",
        verbosity_level=0,
    )
    model = Scripted(calls("inner", task="go"), FINAL)
    with pytest.raises(genledger.BudgetExceeded):
        ToolCallingAgent([], model, managed_agents=[inner], verbosity_level=0).run("go")
    assert len(provider.requests) == 1
    assert len(model.messages) == 1


def test_a_tool_that_deals_with_a_refusal_itself_goes_on(limited: Telemetry, provider: DemoProvider) -> None:
    ask = asks(provider)

    class Careful(Tool):
        name = "careful"
        description = "Ask, if there is money left."
        inputs = {"city": {"type": "string", "description": "Where."}}
        output_type = "string"

        def forward(self, city: str) -> str:
            try:
                return str(ask(city=city))
            except genledger.BudgetExceeded:
                return "no money left"

    model = Scripted(calls("careful", city="Paris"), calls("careful", city="Rome"), FINAL)
    assert ToolCallingAgent([Careful()], model, verbosity_level=0).run("go") == "done"
    assert len(provider.requests) == 1
