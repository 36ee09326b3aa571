"""A run of OpenAI's agents SDK: an agent asks its model, calls the tool that this wants, and asks again.

The model answers in the process, so that what is measured is the SDK, the client and what records them. The SDK's
tracing is on, as it is by default, and leads nowhere.
"""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import cache
from typing import Any

from benchmarks.traffic import http_of

Run = Callable[[], object]

MODEL = "gpt-4.1-mini"
MODEL_SERVED = "gpt-4.1-mini-2025-04-14"
QUESTION = "What is the weather in Paris?"


def _reply(number: int, input_tokens: int, output_tokens: int, item: dict[str, Any]) -> bytes:
    reply = {
        "id": f"resp_67ccd2bed1ec8190b14f964abc05426{number}",
        "object": "response",
        "created_at": 1_790_000_000,
        "status": "completed",
        "error": None,
        "incomplete_details": None,
        "model": MODEL_SERVED,
        "output": [{"id": f"item_67ccd2bf17f0819081ff3bb2cf6508e{number}", "status": "completed", **item}],
        "parallel_tool_calls": True,
        "service_tier": "default",
        "temperature": 1.0,
        "text": {"format": {"type": "text"}},
        "tool_choice": "auto",
        "tools": [],
        "top_p": 1.0,
        "truncation": "disabled",
        "usage": {
            "input_tokens": input_tokens,
            "input_tokens_details": {"cached_tokens": 0},
            "output_tokens": output_tokens,
            "output_tokens_details": {"reasoning_tokens": 0},
            "total_tokens": input_tokens + output_tokens,
        },
    }
    return json.dumps(reply).encode()


_CALL = {"type": "function_call", "call_id": "call_1", "name": "weather", "arguments": '{"city": "Paris"}'}
_TEXT = {"type": "output_text", "text": "It is sunny in Paris.", "annotations": []}
CALLS_THE_TOOL = _reply(1, 138, 11, _CALL)
ANSWERS = _reply(2, 246, 6, {"type": "message", "role": "assistant", "content": [_TEXT]})


def _agent() -> Any:
    """Return an agent that has a tool, and whose model is in the process. Its traces lead nowhere, for now."""
    import openai
    from agents import (  # type: ignore[import-not-found,unused-ignore]
        Agent,
        OpenAIResponsesModel,
        function_tool,
        set_trace_processors,
    )

    set_trace_processors([])
    http = http_of(openai)

    async def answer(request: Any) -> Any:
        content = ANSWERS if b"function_call_output" in request.content else CALLS_THE_TOOL
        return http.Response(200, headers={"content-type": "application/json"}, content=content)

    def weather(city: str) -> str:
        """Say what the weather is like in a city."""
        return f"sunny in {city}"

    client = openai.AsyncOpenAI(
        api_key="none", http_client=http.AsyncClient(transport=http.MockTransport(answer)), max_retries=0
    )
    return Agent(
        "forecaster",
        instructions="Say what the weather is.",
        model=OpenAIResponsesModel(MODEL, client),
        tools=[function_tool(weather)],
    )


@cache
def bare() -> Run:
    """Return the run."""
    from agents import Runner

    agent, loop = _agent(), asyncio.new_event_loop()
    return lambda: loop.run_until_complete(Runner.run(agent, QUESTION))


def openinference() -> None:
    """Instrument it with OpenInference."""
    from openinference.instrumentation.openai_agents import (  # type: ignore[import-not-found,unused-ignore]
        OpenAIAgentsInstrumentor,
    )

    OpenAIAgentsInstrumentor().instrument()


PRICE_OF_INPUT, PRICE_OF_OUTPUT = 0.4e-6, 1.6e-6
"""USD per token of the model."""


class _ByHand:
    """Genledger's spans with all their attributes, and the points of its histograms."""

    def __init__(self) -> None:
        from opentelemetry import metrics, trace

        self.start = trace.get_tracer("benchmarks.openai_agents_run").start_as_current_span
        histogram = metrics.get_meter("benchmarks.openai_agents_run").create_histogram
        self.workflow_duration = histogram("gen_ai.invoke_workflow.duration", "s")
        self.agent_duration = histogram("gen_ai.invoke_agent.duration", "s")
        self.agent_calls = histogram("gen_ai.invoke_agent.inference_calls", "{call}")
        self.agent_tools = histogram("gen_ai.invoke_agent.tool_calls", "{call}")
        self.tool_duration = histogram("gen_ai.execute_tool.duration", "s")
        self.duration = histogram("gen_ai.client.inference.duration", "s")
        self.input_tokens = histogram("gen_ai.client.inference.operation.input_tokens", "{token}")
        self.output_tokens = histogram("gen_ai.client.inference.operation.output_tokens", "{token}")

    async def run(self, agent: Any) -> Any:
        """Run the agent, as a workflow of its own."""
        from agents import Runner

        began = time.perf_counter()
        workflow = {"gen_ai.workflow.name": "Agent workflow"}
        named = {"gen_ai.operation.name": "invoke_workflow", **workflow}
        with self.start("invoke_workflow Agent workflow", attributes=named) as outer:
            labels = {"gen_ai.agent.name": "forecaster"}
            named = {"gen_ai.operation.name": "invoke_agent", **labels}
            with self.start("invoke_agent forecaster", attributes=named) as span:
                result = await Runner.run(agent, QUESTION)
                usage = result.context_wrapper.usage
                total = {
                    "genledger.total.calls": usage.requests,
                    "genledger.total.tokens": usage.total_tokens,
                    "genledger.total.cost": usage.input_tokens * PRICE_OF_INPUT + usage.output_tokens * PRICE_OF_OUTPUT,
                }
                span.set_attributes(total)
                self.agent_calls.record(usage.requests, labels)
                self.agent_tools.record(usage.requests - 1, labels)
                self.agent_duration.record(time.perf_counter() - began, labels)
            outer.set_attributes(total)
            self.workflow_duration.record(time.perf_counter() - began, workflow)
        return result

    async def ask(self, create: Callable[..., Any], request: dict[str, Any]) -> Any:
        """Make a call of the model."""
        from opentelemetry.trace import SpanKind

        began = time.perf_counter()
        labels = {
            "gen_ai.operation.name": "chat",
            "gen_ai.provider.name": "openai",
            "gen_ai.request.model": request["model"],
            "server.address": "api.openai.com",
            "server.port": 443,
        }
        before = {**labels, "openai.api.type": "responses"}
        with self.start(f"chat {request['model']}", None, SpanKind.CLIENT, before) as span:
            response = await create(**request)
            usage = response.usage
            cost_of_input = usage.input_tokens * PRICE_OF_INPUT
            cost_of_output = usage.output_tokens * PRICE_OF_OUTPUT
            called = any(item.type == "function_call" for item in response.output)
            span.set_attributes(
                {
                    "gen_ai.response.id": response.id,
                    "gen_ai.response.model": response.model,
                    "gen_ai.response.finish_reasons": ("tool_call" if called else "stop",),
                    "openai.response.service_tier": response.service_tier,
                    "gen_ai.usage.input_tokens": usage.input_tokens,
                    "gen_ai.usage.output_tokens": usage.output_tokens,
                    "genledger.cost.amount": cost_of_input + cost_of_output,
                    "genledger.cost.source": "table",
                    "genledger.cost.input": cost_of_input,
                    "genledger.cost.output": cost_of_output,
                    "genledger.cost.table_date": "2026-11-30",
                    "genledger.outcome": "success",
                }
            )
            labels = {**labels, "gen_ai.response.model": response.model, "genledger.outcome": "success"}
            self.duration.record(time.perf_counter() - began, labels)
            self.input_tokens.record(usage.input_tokens, labels)
            self.output_tokens.record(usage.output_tokens, labels)
        return response

    @contextmanager
    def tool(self, call_id: str) -> Iterator[None]:
        """Call the tool."""
        began = time.perf_counter()
        labels = {"gen_ai.tool.name": "weather"}
        named = {"gen_ai.operation.name": "execute_tool", **labels, "gen_ai.tool.call.id": call_id}
        with self.start("execute_tool weather", attributes=named):
            yield
            self.tool_duration.record(time.perf_counter() - began, labels)


@cache
def by_hand() -> Run:
    """Return the run, with Genledger's spans written by hand."""
    agent, loop, traced = _agent(), asyncio.new_event_loop(), _ByHand()
    responses, (tool,) = agent.model._client.responses, agent.tools
    create, invoke = responses.create, tool.on_invoke_tool

    async def ask(**request: Any) -> Any:
        return await traced.ask(create, request)

    async def call(context: Any, arguments: str) -> Any:
        with traced.tool(context.tool_call_id):
            return await invoke(context, arguments)

    responses.create, tool.on_invoke_tool = ask, call
    return lambda: loop.run_until_complete(traced.run(agent))
