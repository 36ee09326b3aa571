"""AG2: an agent whose model calls a tool, which looks something up."""

from __future__ import annotations

import asyncio
from typing import Any

from ag2 import Agent
from ag2.config import OpenAIConfig

import genledger

from .traced import QUESTION, traced


@genledger.observe(kind="retrieval")
def atlas(city: str) -> str:
    """Find what is known: AG2 has no retrievers of its own."""
    return f"{city} is the capital of France"


async def weather(city: str) -> str:
    """Say what the weather is like in a city."""
    return f"sunny, and {atlas(city)}"


def agent(url: str) -> Agent[Any]:
    """Return the agent; its model is at `url`, the base URL of OpenAI's API."""
    config = OpenAIConfig("gpt-4.1-mini", api_key="demo", base_url=url)
    return Agent("forecaster", "Be brief.", config=config, tools=[weather])


if __name__ == "__main__":
    with traced() as provider:
        print(asyncio.run(agent(provider.openai_url).ask(QUESTION)).body)
