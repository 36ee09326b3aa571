"""Strands: an agent that calls a tool."""

from __future__ import annotations

from strands import Agent, tool
from strands.models.openai import OpenAIModel

from .traced import QUESTION, traced


@tool
def weather(city: str) -> str:
    """Say what the weather is like in a city."""
    return f"sunny in {city}"


def agent(url: str) -> Agent:
    """Return the agent; its model is at `url`, the base URL of OpenAI's API."""
    model = OpenAIModel(client_args={"base_url": url, "api_key": "demo"}, model_id="gpt-4.1-mini")
    return Agent(model=model, tools=[weather], name="forecaster", callback_handler=None)


if __name__ == "__main__":
    with traced() as provider:
        print(agent(provider.openai_url)(QUESTION))
