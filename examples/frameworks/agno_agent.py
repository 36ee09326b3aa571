"""Agno: an agent that retrieves from its knowledge, and then asks a model that calls a tool."""

from __future__ import annotations

from typing import Any

from agno.agent import Agent
from agno.knowledge.document import Document
from agno.knowledge.embedder.openai import OpenAIEmbedder
from agno.knowledge.knowledge import Knowledge
from agno.models.openai import OpenAIChat

from .traced import QUESTION, traced


def weather(city: str) -> str:
    """Say what the weather is like in a city."""
    return f"sunny in {city}"


class Store:
    """The least that Agno takes for a vector database: one document."""

    def __init__(self, url: str) -> None:
        self.embedder = OpenAIEmbedder(base_url=url, api_key="demo")

    def exists(self) -> bool:
        return True

    def search(self, query: str, limit: int, filters: Any = None, user_id: str | None = None) -> list[Document]:
        self.embedder.get_embedding(query)
        return [Document(id="doc-1", content="Paris-75 is the capital of France.")]

    async def async_search(
        self, query: str, limit: int, filters: Any = None, user_id: str | None = None
    ) -> list[Document]:
        await self.embedder.async_get_embedding(query)
        return [Document(id="doc-1", content="Paris-75 is the capital of France.")]


def agent(url: str, **options: Any) -> Agent:
    """Return the agent; its model is at `url`, the base URL of OpenAI's API."""
    store: Any = Store(url)
    return Agent(
        name="forecaster",
        model=OpenAIChat(id="gpt-4.1-mini", base_url=url, api_key="demo"),
        tools=[weather],
        knowledge=Knowledge(name="atlas", vector_db=store),
        search_knowledge=False,
        add_knowledge_to_context=True,
        telemetry=False,
        **options,
    )


if __name__ == "__main__":
    with traced() as provider:
        print(agent(provider.openai_url).run(QUESTION, session_id="s-1", user_id="u-1").content)
