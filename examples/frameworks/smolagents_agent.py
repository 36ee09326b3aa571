"""smolagents: an agent that writes code, in which it looks something up and calls a tool."""

from __future__ import annotations

from typing import Any

from smolagents import CodeAgent, OpenAIServerModel, Tool, tool

from .traced import QUESTION, traced

REPLIES = {QUESTION: '```py\nnote = look_up(query="Paris-75")\nfinal_answer(weather(city="Paris-75") + note)\n```'}
"""The model answers with code, as smolagents asks it to."""


class LookUp(Tool):
    """Finds a note."""

    name = "look_up"
    description = "Find what is noted about a city."
    inputs = {"query": {"type": "string", "description": "What to look for."}}
    output_type = "string"

    def forward(self, query: str) -> str:
        """Return the note."""
        return f"{query} is the capital of France."


@tool
def weather(city: str) -> str:
    """Say what the weather is like in a city.

    Args:
        city: The city.
    """
    return f"It is sunny in {city}. "


def agent(url: str, **options: Any) -> CodeAgent:
    """Return the agent; its model is at `url`, the base URL of OpenAI's API."""
    model = OpenAIServerModel("gpt-4.1-mini", api_base=url, api_key="demo")
    return CodeAgent([LookUp(), weather], model, name="forecaster", verbosity_level=0, **options)


if __name__ == "__main__":
    with traced(REPLIES) as provider:
        print(agent(provider.openai_url).run(QUESTION))
