"""Pydantic AI: an agent that calls a tool, and delegates to another agent."""

from __future__ import annotations

from pydantic_ai import Agent
from pydantic_ai.models.openai import OpenAIChatModel
from pydantic_ai.providers.openai import OpenAIProvider

from .traced import QUESTION, traced


def agent(url: str) -> Agent:
    """Return the agent; its model is at `url`, the base URL of OpenAI's API."""
    model = OpenAIChatModel("gpt-4.1-mini", provider=OpenAIProvider(base_url=url, api_key="demo"))
    observer = Agent(model, name="observer", instructions="Answer in one sentence.")

    async def weather(city: str) -> str:
        """Say what the weather is like in a city."""
        observed = await observer.run(f"Look out of the window in {city}.")
        return observed.output

    return Agent(model, name="forecaster", tools=[weather])


if __name__ == "__main__":
    with traced() as provider:
        print(agent(provider.openai_url).run_sync(QUESTION).output)
