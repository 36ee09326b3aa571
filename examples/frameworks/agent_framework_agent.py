"""Microsoft's Agent Framework: an agent whose context comes from a search, and whose model calls a tool."""

from __future__ import annotations

import asyncio
from typing import Any

from agent_framework import Agent, ContextProvider
from agent_framework.openai import OpenAIChatCompletionClient

import genledger

from .traced import QUESTION, traced


def weather(city: str) -> str:
    """Say what the weather is like in a city."""
    return f"sunny in {city}"


@genledger.observe(kind="retrieval")
def atlas(question: str) -> str:
    """Find what is known: Agent Framework has no retrievers of its own."""
    return "Paris-75 is the capital of France."


class Atlas(ContextProvider):
    async def before_run(self, *, agent: Any, session: Any, context: Any, state: Any) -> None:
        context.extend_instructions(self.source_id, atlas(QUESTION))


def agent(url: str) -> Agent[Any]:
    """Return the agent; its model is at `url`, the base URL of OpenAI's API."""
    client = OpenAIChatCompletionClient(model="gpt-4.1-mini", base_url=url, api_key="demo")
    return Agent(client, "Be brief.", name="forecaster", tools=[weather], context_providers=[Atlas("atlas")])


if __name__ == "__main__":
    with traced() as provider:
        print(asyncio.run(agent(provider.openai_url).run(QUESTION)))
