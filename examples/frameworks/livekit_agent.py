"""LiveKit Agents: an agent that calls a tool, in a session with text instead of sound."""

from __future__ import annotations

import asyncio

import openai
from livekit.agents import Agent, AgentSession, function_tool
from livekit.plugins.openai import LLM

from .traced import QUESTION, traced


@function_tool
async def weather(city: str) -> str:
    """Say what the weather is like in a city."""
    return f"sunny in {city}"


class Forecaster(Agent):
    """Answers with what its tool says."""

    def __init__(self) -> None:
        super().__init__(instructions="Answer in one sentence.", tools=[weather])


async def main(url: str) -> None:
    """Ask, and print the answer; the model is at `url`, the base URL of OpenAI's API."""
    client = openai.AsyncOpenAI(base_url=url, api_key="demo", max_retries=0)
    async with client, AgentSession(llm=LLM(model="gpt-4.1-mini", client=client)) as session:
        await session.start(Forecaster())
        answer = await session.run(user_input=QUESTION)
        print(answer.events[-1].item.text_content)  # type: ignore[union-attr]


if __name__ == "__main__":
    with traced() as provider:
        asyncio.run(main(provider.openai_url))
