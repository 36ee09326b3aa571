"""Pipecat: a pipeline with a model that calls a tool, and text instead of a transport with sound."""

from __future__ import annotations

import asyncio
from typing import Any

from pipecat.adapters.llm.schemas.function_schema import FunctionSchema
from pipecat.adapters.llm.schemas.tools_schema import ToolsSchema
from pipecat.frames.frames import EndWorkerFrame, Frame, LLMRunFrame, LLMTextFrame
from pipecat.pipeline.pipeline import Pipeline
from pipecat.pipeline.worker import PipelineWorker
from pipecat.processors.aggregators.llm_context import LLMContext
from pipecat.processors.aggregators.llm_response_universal import LLMContextAggregatorPair
from pipecat.processors.frame_processor import FrameDirection, FrameProcessor
from pipecat.services.openai.llm import OpenAILLMService
from pipecat.workers.runner import WorkerRunner

from .traced import QUESTION, traced

WEATHER = FunctionSchema(
    "weather", "Say what the weather is like in a city.", {"city": {"type": "string"}}, required=["city"]
)


async def weather(called: Any) -> None:
    """Say what the weather is like in a city."""
    await called.result_callback(f"sunny in {called.arguments['city']}")


class Printer(FrameProcessor):
    """Stands where the voice would be: prints what the model says, and ends the pipeline after it."""

    async def process_frame(self, frame: Frame, direction: FrameDirection) -> None:
        """Take what comes from the model."""
        await super().process_frame(frame, direction)
        if isinstance(frame, LLMTextFrame):
            print(frame.text, end="\n" if frame.text.endswith(".") else "")
        await self.push_frame(frame, direction)
        if isinstance(frame, LLMTextFrame) and frame.text.endswith("."):
            await self.push_frame(EndWorkerFrame(), FrameDirection.UPSTREAM)


async def main(url: str) -> None:
    """Ask; the model is at `url`, the base URL of OpenAI's API."""
    model = OpenAILLMService(api_key="demo", base_url=url, settings=OpenAILLMService.Settings(model="gpt-4.1-mini"))
    model.register_function("weather", weather)
    context = LLMContext([{"role": "user", "content": QUESTION}], ToolsSchema(standard_tools=[WEATHER]))
    pair = LLMContextAggregatorPair(context)
    pipeline = Pipeline([pair.user(), model, Printer(), pair.assistant()])
    worker = PipelineWorker(pipeline, enable_tracing=True, conversation_id="conversation-1")
    await worker.queue_frame(LLMRunFrame())
    runner = WorkerRunner(handle_sigint=False)
    await runner.add_workers(worker)
    await runner.run()


if __name__ == "__main__":
    with traced() as provider:
        asyncio.run(main(provider.openai_url))
