"""Pipecat, which records its own work when asked to: its steps are ours, and its frame of an error has a refusal."""

from __future__ import annotations

import asyncio
from functools import partial
from typing import Any

import pytest
from examples.demo.provider import DemoProvider, Fault
from examples.frameworks.traced import QUESTION
from opentelemetry.sdk.trace import ReadableSpan
from tests.instrumentors.frameworks.native import native
from tests.instrumentors.frameworks.runs import (
    Framework,
    assert_billed_once,
    is_step_or_call,
    outcomes,
    traces,
    tree,
    until,
)
from tests.instrumentors.telemetry import Telemetry, attributes_of

import genledger

pytest.importorskip("pipecat", reason="pipecat-ai has an environment of its own: make test-frameworks")

from examples.frameworks.pipecat_agent import WEATHER, weather
from pipecat.adapters.llm.schemas.tools_schema import ToolsSchema
from pipecat.frames.frames import EndWorkerFrame, ErrorFrame, Frame, LLMRunFrame, LLMTextFrame
from pipecat.pipeline.pipeline import Pipeline
from pipecat.pipeline.worker import PipelineWorker
from pipecat.processors.aggregators.llm_context import LLMContext
from pipecat.processors.aggregators.llm_response_universal import LLMContextAggregatorPair
from pipecat.processors.frame_processor import FrameDirection, FrameProcessor
from pipecat.services.openai.llm import OpenAILLMService
from pipecat.workers.runner import WorkerRunner

record = partial(native, libraries=["openai"])

TREE = """\
invoke_workflow
  turn
    llm
      chat gpt-4.1-mini
    llm
      chat gpt-4.1-mini
"""


class Listener(FrameProcessor):
    """Ends the pipeline after an answer or an error, and keeps both."""

    def __init__(self) -> None:
        super().__init__()
        self.said = ""
        self.errors: list[Any] = []

    async def process_frame(self, frame: Frame, direction: FrameDirection) -> None:
        """Take a frame."""
        await super().process_frame(frame, direction)
        await self.push_frame(frame, direction)
        if isinstance(frame, ErrorFrame):
            self.errors.append(frame.exception)
        if isinstance(frame, LLMTextFrame):
            self.said += frame.text
        if isinstance(frame, ErrorFrame) or self.said.endswith("."):
            self.said = self.said.rstrip(".")
            await self.push_frame(EndWorkerFrame(), FrameDirection.UPSTREAM)


async def ask(provider: DemoProvider, tool: Any = weather, *, tracing: bool = True) -> tuple[str, list[Any]]:
    """What the model says in a pipeline of its own, and the errors in it."""
    settings = OpenAILLMService.Settings(model="gpt-4.1-mini")
    model = OpenAILLMService(api_key="k", base_url=provider.openai_url, settings=settings)
    model.register_function("weather", tool)
    pair = LLMContextAggregatorPair(
        LLMContext([{"role": "user", "content": QUESTION}], ToolsSchema(standard_tools=[WEATHER]))
    )
    heard, failed = Listener(), Listener()
    pipeline = Pipeline([failed, pair.user(), model, heard, pair.assistant()])
    worker = PipelineWorker(pipeline, enable_tracing=tracing, conversation_id="conversation-1")
    await worker.queue_frame(LLMRunFrame())
    runner = WorkerRunner(handle_sigint=False)
    await runner.add_workers(worker)
    await runner.run()
    return heard.said, failed.errors


async def _at_once(provider: DemoProvider, times: int) -> None:
    await asyncio.gather(*(ask(provider) for _ in range(times)))


def kept(span: ReadableSpan) -> bool:
    """Whether a span is a step or a call."""
    return is_step_or_call(span)


FRAMEWORK = Framework(record, _at_once, TREE, kept=kept)


async def test_a_conversation_has_its_id_and_what_it_cost(telemetry: Telemetry, provider: DemoProvider) -> None:
    assert await ask(provider) == ("It is sunny in Paris", [])
    assert tree(telemetry.spans, kept=kept) == TREE
    conversation = telemetry.attributes_of("invoke_workflow")
    assert conversation["gen_ai.conversation.id"] == "conversation-1"
    assert conversation["genledger.total.calls"] == 2
    assert_billed_once(telemetry, provider)


async def test_without_its_tracing_every_call_is_priced_all_the_same(
    telemetry: Telemetry, provider: DemoProvider
) -> None:
    await ask(provider, tracing=False)
    assert tree(telemetry.spans) == "chat gpt-4.1-mini\n" * 2
    assert_billed_once(telemetry, provider)


async def test_an_error_of_the_model_is_on_the_call(telemetry: Telemetry) -> None:
    with DemoProvider(faults=[Fault("Paris", 500)]) as provider:
        _, errors = await ask(provider)
    assert len(errors) == 1
    assert outcomes(telemetry) == ["error"]
    assert traces(telemetry.spans) == 1


async def test_a_pipeline_that_is_cancelled_midway_leaves_nothing_open(
    telemetry: Telemetry, provider: DemoProvider
) -> None:
    async def slow(called: Any) -> None:
        begun.set()
        await asyncio.sleep(3600)

    begun = asyncio.Event()
    run = asyncio.ensure_future(ask(provider, slow))
    await until(begun.is_set)
    run.cancel()
    await run  # Pipecat ends the pipeline, and keeps the cancellation
    assert outcomes(telemetry) == ["success"]
    assert_billed_once(telemetry, provider)


async def test_a_refusal_is_in_the_frame_of_the_error_and_nothing_is_sent_again(
    refused: Telemetry, provider: DemoProvider
) -> None:
    _, errors = await ask(provider)
    assert [type(error) for error in errors] == [genledger.BudgetExceeded]
    assert outcomes(refused) == ["success", "blocked"]
    assert len([request for request in provider.requests if request.usage is not None]) == 1
    assert attributes_of(refused.spans[-1])["genledger.tenant.id"] == "acme"
