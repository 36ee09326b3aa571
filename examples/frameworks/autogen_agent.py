"""AutoGen: a team of two agents; the model of one calls a tool, which looks something up."""

from __future__ import annotations

import asyncio

from autogen_agentchat.agents import AssistantAgent
from autogen_agentchat.conditions import MaxMessageTermination
from autogen_agentchat.teams import RoundRobinGroupChat
from autogen_ext.models.openai import OpenAIChatCompletionClient

import genledger

from .traced import QUESTION, traced


@genledger.observe(kind="retrieval")
def atlas(city: str) -> str:
    """Find what is known: AutoGen has no retrievers of its own."""
    return f"{city} is the capital of France"


async def weather(city: str) -> str:
    """Say what the weather is like in a city."""
    return f"sunny, and {atlas(city)}"


async def run(url: str) -> str:
    """Ask the team; its model is at `url`, the base URL of OpenAI's API."""
    model = OpenAIChatCompletionClient(model="gpt-4.1-mini", base_url=url, api_key="demo")
    forecaster = AssistantAgent("forecaster", model, tools=[weather], reflect_on_tool_use=True)
    agents = [forecaster, AssistantAgent("editor", model)]
    team = RoundRobinGroupChat(agents, name="newsroom", termination_condition=MaxMessageTermination(3))
    result = await team.run(task=QUESTION)
    await model.close()
    return str(result.messages[-1].to_text())


if __name__ == "__main__":
    with traced() as provider:
        print(asyncio.run(run(provider.openai_url)))
