"""OpenAI's agents SDK: a triage agent hands a question over to another one, which calls a tool."""

from __future__ import annotations

from typing import Any

from agents import Agent, OpenAIResponsesModel, Runner, function_tool, set_tracing_disabled
from openai import AsyncOpenAI

from .traced import QUESTION, traced


@function_tool
def weather(city: str) -> str:
    """Say what the weather is like in a city."""
    return f"sunny in {city}"


def forecaster(url: str) -> Agent[Any]:
    """Return an agent that has a tool; its model is at `url`, the base URL of OpenAI's API."""
    model = OpenAIResponsesModel("gpt-4.1-mini", AsyncOpenAI(base_url=url, api_key="demo"))
    return Agent("forecaster", instructions="Say what the weather is.", model=model, tools=[weather])


if __name__ == "__main__":
    set_tracing_disabled(True)  # the SDK would send its own traces to OpenAI; ours do not need them
    with traced() as provider:
        print(Runner.run_sync(forecaster(provider.openai_url), QUESTION).final_output)
