"""CrewAI: a crew whose agent knows of a document and asks a model that calls a tool."""

from __future__ import annotations

from typing import Any

from crewai import LLM, Agent, Crew, Task
from crewai.knowledge.source.string_knowledge_source import StringKnowledgeSource
from crewai.tools import tool

from .traced import QUESTION, traced


@tool("weather")
def weather(city: str) -> str:
    """Say what the weather is like in a city."""
    return f"sunny in {city}"


def crew(url: str, **options: Any) -> Crew:
    """Return the crew; its model is at `url`, the base URL of OpenAI's API."""
    embedder: Any = {
        "provider": "openai",
        "config": {"api_key": "demo", "api_base": url, "model_name": "text-embedding-3-small"},
    }
    forecaster = Agent(
        role="forecaster",
        goal="know the weather",
        backstory="You have looked at the sky for years.",
        llm=LLM(model="openai/gpt-4.1-mini", base_url=url, api_key="demo"),
        tools=[weather],
        knowledge_sources=[StringKnowledgeSource(content="Paris-75 is the capital of France.")],
        embedder=embedder,
    )
    task = Task(name="forecast", description=QUESTION, expected_output="One sentence.", agent=forecaster)
    return Crew(name="office", agents=[forecaster], tasks=[task], embedder=embedder, **options)


if __name__ == "__main__":
    with traced() as provider:
        print(crew(provider.openai_url).kickoff())
