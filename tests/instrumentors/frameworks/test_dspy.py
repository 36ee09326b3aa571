"""DSPy: the tree of a run in every way of calling, each call of its own client priced once, refusals end the run."""

from __future__ import annotations

import asyncio
import importlib.util
from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

import openai
import pytest
from examples.demo.provider import DemoProvider, Fault
from examples.frameworks.traced import QUESTION
from opentelemetry.sdk.trace import ReadableSpan
from tests.instrumentors.frameworks.runs import (
    Framework,
    assert_billed_once,
    calls,
    cancelled,
    errors,
    is_open,
    outcomes,
    together,
    traces,
    tree,
)
from tests.instrumentors.telemetry import Telemetry, attributes_of, instrumented

import genledger

pytest.importorskip("dspy", reason="DSPy has an environment of its own: make test-frameworks")

import dspy
from examples.frameworks import dspy_agent as program

record = partial(instrumented, libraries=["openai", "litellm", "dspy"])

OWN_CLIENT = importlib.util.find_spec("dspy._vendor") is not None
"""DSPy's, since 3.4. Before that, LiteLLM calls OpenAI's: its own calls are structure."""


def kept(span: ReadableSpan) -> bool:
    """Return whether a span is no call, or the one that is priced."""
    return OWN_CLIENT or not span.name.startswith("chat") or "genledger.cost.amount" in attributes_of(span)


RUN = """\
invoke_workflow Forecaster
  retrieval Embeddings
  invoke_agent ReAct
    chat gpt-4.1-mini
    execute_tool weather
    chat gpt-4.1-mini
    ChainOfThought
      chat gpt-4.1-mini
"""


@pytest.fixture
def replies() -> Mapping[str, str]:
    """The model answers in DSPy's format."""
    return program.REPLIES


async def _at_once(provider: DemoProvider, times: int) -> None:
    with dspy.context(lm=program.model(provider.openai_url)):
        await together(*(program.Forecaster().acall(question=QUESTION) for _ in range(times)))


FRAMEWORK = Framework(record, _at_once, RUN, kept, replies=program.REPLIES)


def whole(module: Any, **given: Any) -> Any:
    """Run a module."""
    return module(**given)


def asynchronous(module: Any, **given: Any) -> Any:
    """Run a module in a loop of its own."""
    return asyncio.run(module.acall(**given))


def streamed(module: Any, **given: Any) -> Any:
    """Run a module with its model's answers streamed; return the last thing that comes."""

    async def run() -> Any:
        stream = dspy.streamify(module, stream_listeners=[], is_async_program=hasattr(module, "aforward"))(**given)
        last = None
        async for item in stream:
            last = item
        return last

    return asyncio.run(run())


WAYS: dict[str, Callable[..., Any]] = {"whole": whole, "asynchronous": asynchronous, "streamed": streamed}


@pytest.mark.parametrize("way", WAYS)
def test_a_run_has_its_tree_however_it_is_called(telemetry: Telemetry, provider: DemoProvider, way: str) -> None:
    # Else LiteLLM's streams have no usage.
    with dspy.context(lm=program.model(provider.openai_url), track_usage=True):
        assert WAYS[way](program.Forecaster(), question=QUESTION).answer == "It is sunny in Paris."
    assert tree(telemetry.spans, kept=kept) == RUN
    assert traces(telemetry.spans) == 1
    assert_billed_once(telemetry, provider)


def test_modules_in_threads_belong_to_their_callers_and_calls_to_their_modules(
    telemetry: Telemetry, provider: DemoProvider
) -> None:
    class Both(dspy.Module):
        def forward(self, question: str) -> Any:
            agent = dspy.ReAct("question -> answer", [program.weather])
            pairs = [(agent, dspy.Example(question=question).with_inputs("question")) for _ in range(3)]
            return dspy.Prediction(results=dspy.Parallel(num_threads=3, disable_progress_bar=True)(pairs))

    with dspy.context(lm=program.model(provider.openai_url)):
        Both()(question=QUESTION)
    by_id = {span.context.span_id: span for span in telemetry.spans if span.context is not None}
    agents = [span for span in telemetry.spans if span.name == "invoke_agent ReAct"]
    assert {by_id[span.parent.span_id].name for span in agents if span.parent is not None} == {"invoke_workflow Both"}
    assert len(agents) == 3
    assert len(list(filter(kept, telemetry.spans))) == 1 + 3 * 6
    assert traces(telemetry.spans) == 1
    assert_billed_once(telemetry, provider)


def test_an_error_ends_every_step_with_it(telemetry: Telemetry) -> None:
    class Broken(dspy.Module):
        def forward(self) -> Any:
            raise ValueError("the module's own")

    class Outer(dspy.Module):
        def forward(self) -> Any:
            return Broken()()

    with pytest.raises(ValueError, match="the module's own"):
        Outer()()
    assert errors(telemetry) == {"invoke_workflow Outer": "ValueError", "Broken": "ValueError"}


def test_a_run_that_is_cancelled_midway_ends(telemetry: Telemetry) -> None:
    with DemoProvider(latency=2.0) as provider, dspy.context(lm=program.model(provider.openai_url)):
        run = dspy.Predict("question -> answer").acall(question="Hi")
        asyncio.run(cancelled(run, is_open(telemetry, "chat gpt-4.1-mini")))
    assert "CancelledError" in telemetry.attributes_of("invoke_workflow Predict")["error.type"]
    assert set(outcomes(telemetry)) == {"cancelled"}


def test_an_answer_of_the_cache_is_no_call(telemetry: Telemetry, provider: DemoProvider) -> None:
    lm = program.model(provider.openai_url).copy(cache=True)
    for _ in range(2):
        lm(f"Say something. {provider.url}")
    assert len(provider.requests) == 1
    assert_billed_once(telemetry, provider)
    assert len(list(filter(kept, telemetry.spans))) == 1


def test_what_litellm_does_is_priced_once(telemetry: Telemetry, provider: DemoProvider) -> None:
    program.model(provider.openai_url, engine="litellm")("Hi")
    assert_billed_once(telemetry, provider)


@pytest.mark.skipif(not OWN_CLIENT, reason="before 3.4, OpenAI's client makes the request again within one call")
def test_a_failed_request_and_the_next_one_are_calls(telemetry: Telemetry) -> None:
    with DemoProvider(faults=[Fault("Hi", 429)]) as provider:
        program.model(provider.openai_url)("Hi")
    assert outcomes(telemetry) == ["rate_limited", "success"]
    assert_billed_once(telemetry, provider)


def test_a_streamed_call_that_is_refused_by_the_provider_is_an_error(telemetry: Telemetry) -> None:
    with DemoProvider(faults=[Fault("Hi", 500, times=9)]) as provider:
        lm = program.model(provider.openai_url, num_retries=0)
        with dspy.context(lm=lm), pytest.raises(BaseException, match=r"."):
            streamed(dspy.Predict("question -> answer"), question="Hi")
    assert set(outcomes(telemetry)) == {"error"}
    assert not any("genledger.cost.amount" in call for call in calls(telemetry))


def test_content_is_on_the_steps_where_it_is_captured(provider: DemoProvider) -> None:
    with (
        record(capture_content=True) as telemetry,
        dspy.context(lm=program.model(provider.openai_url)),
    ):
        program.Forecaster()(question=QUESTION)
    workflow = telemetry.attributes_of("invoke_workflow Forecaster")
    assert QUESTION in workflow["gen_ai.input.messages"]
    assert "It is sunny in Paris." in workflow["gen_ai.output.messages"]
    assert "capital of France" in telemetry.attributes_of("retrieval Embeddings")["gen_ai.retrieval.documents"]
    assert telemetry.attributes_of("execute_tool weather")["gen_ai.tool.call.arguments"] == '{"city":"Paris"}'


@pytest.mark.parametrize("engine", ["auto", "litellm"])
@pytest.mark.parametrize("way", ["whole", "asynchronous"])
def test_a_model_that_is_refused_ends_the_run_at_once_with_the_name_of_the_refusal(
    refused: Telemetry, provider: DemoProvider, way: str, engine: str
) -> None:
    lm = program.model(provider.openai_url, num_retries=3, engine=engine)
    with dspy.context(lm=lm), pytest.raises(genledger.BudgetExceeded):
        WAYS[way](program.Forecaster(), question=QUESTION)
    assert len(provider.requests) == 1
    assert outcomes(refused).count("blocked") == 1


def test_a_streamed_model_that_is_refused_ends_the_run_at_once(refused: Telemetry, provider: DemoProvider) -> None:
    with dspy.context(lm=program.model(provider.openai_url)), pytest.raises(BaseException, match=r".") as raised:
        streamed(program.Forecaster(), question=QUESTION)
    error: Any = raised.value
    while isinstance(error, BaseExceptionGroup):  # streamify runs a module in a group of tasks
        (error,) = error.exceptions
    assert isinstance(error, genledger.BudgetExceeded)
    assert len(provider.requests) == 1
    assert outcomes(refused).count("blocked") == 1


@pytest.mark.parametrize("way", ["whole", "asynchronous"])
def test_a_tool_that_is_refused_ends_the_run_at_once(refused: Telemetry, provider: DemoProvider, way: str) -> None:
    client = openai.OpenAI(base_url=provider.openai_url, api_key="k", max_retries=0)

    def weather(city: str) -> str:
        """Ask a model."""
        messages: Any = [{"role": "user", "content": city}]
        return str(client.chat.completions.create(model="gpt-4.1-mini", messages=messages))

    agent = dspy.ReAct("question -> answer", [weather])
    with dspy.context(lm=program.model(provider.openai_url)), pytest.raises(genledger.BudgetExceeded):
        WAYS[way](agent, question=QUESTION)
    assert len(provider.requests) == 1
    assert outcomes(refused).count("blocked") == 1


def test_attempts_of_a_module_end_with_a_refusal(refused: Telemetry, provider: DemoProvider) -> None:
    best = dspy.BestOfN(dspy.Predict("question -> answer"), N=3, reward_fn=lambda given, found: 0.0, threshold=1.0)
    with dspy.context(lm=program.model(provider.openai_url)), pytest.raises(genledger.BudgetExceeded):
        best(question="Hi")
    assert len(provider.requests) == 1
    assert outcomes(refused).count("blocked") == 1


def test_a_model_of_the_applications_own_that_deals_with_a_refusal_goes_on(
    refused: Telemetry, provider: DemoProvider
) -> None:
    class Fallback(dspy.BaseLM):
        def __init__(self) -> None:
            super().__init__("fallback")
            self.lms = [program.model(provider.openai_url) for _ in range(2)]

        def __call__(self, *args: Any, **kwargs: Any) -> Any:
            for lm in self.lms:
                try:
                    lm("Hi")
                except genledger.BudgetExceeded:
                    pass
            return ["[[ ## answer ## ]]\nno money left"]

    with dspy.context(lm=Fallback()):
        for _ in range(2):
            assert dspy.Predict("question -> answer")(question="Hi").answer == "no money left"
    assert len(provider.requests) == 1
    assert outcomes(refused).count("blocked") == 3


def test_a_module_that_deals_with_a_refusal_itself_goes_on(refused: Telemetry, provider: DemoProvider) -> None:
    class Careful(dspy.Module):
        def forward(self) -> Any:
            for _ in range(2):
                try:
                    dspy.ReAct("question -> answer", [program.weather])(question=QUESTION)
                except genledger.BudgetExceeded:
                    pass
            return dspy.Prediction(answer="no money left")

    with dspy.context(lm=program.model(provider.openai_url)):
        assert Careful()().answer == "no money left"
    assert len(provider.requests) == 1
