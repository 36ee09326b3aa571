"""Haystack: a pipeline that retrieves, and then asks an agent that calls a tool."""

from __future__ import annotations

from typing import Any

from haystack import Document, Pipeline
from haystack.components.agents import Agent
from haystack.components.builders import ChatPromptBuilder
from haystack.components.embedders import OpenAITextEmbedder
from haystack.components.generators.chat import OpenAIChatGenerator
from haystack.components.retrievers import InMemoryEmbeddingRetriever
from haystack.dataclasses import ChatMessage
from haystack.document_stores.in_memory import InMemoryDocumentStore
from haystack.tools import Tool
from haystack.utils import Secret

from .traced import QUESTION, traced

KEY = Secret.from_token("demo")

CITY = {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]}


def weather(city: str) -> str:
    """Say what the weather is like in a city."""
    return f"sunny in {city}"


def model(url: str, **options: Any) -> OpenAIChatGenerator:
    """Return a model that states its usage when it streams; `url` is the base URL of OpenAI's API."""
    more = {"stream_options": {"include_usage": True}} if options else {}
    return OpenAIChatGenerator(KEY, "gpt-4.1-mini", api_base_url=url, max_retries=0, generation_kwargs=more, **options)


def agent(url: str, **options: Any) -> Agent:
    """Return an agent with a tool."""
    tool = Tool(name="weather", description="Tells the weather.", parameters=CITY, function=weather)
    return Agent(**{"chat_generator": model(url), "tools": [tool]} | options)


def pipeline(url: str, **options: Any) -> Pipeline:
    """Return a pipeline with the agent."""
    store = InMemoryDocumentStore()
    store.write_documents([Document(content="Paris-75 is the capital of France.", embedding=[0.1] * 1536)])
    template = [ChatMessage.from_system("{{ documents[0].content }}"), ChatMessage.from_user("{{ question }}")]
    made = Pipeline()
    made.add_component("embedder", OpenAITextEmbedder(KEY, "text-embedding-3-small", api_base_url=url, max_retries=0))
    made.add_component("retriever", InMemoryEmbeddingRetriever(store))
    made.add_component("prompt", ChatPromptBuilder(template, required_variables="*"))
    made.add_component("forecaster", agent(url, **options))
    made.connect("embedder.embedding", "retriever.query_embedding")
    made.connect("retriever.documents", "prompt.documents")
    made.connect("prompt.prompt", "forecaster.messages")
    return made


GIVEN = {"embedder": {"text": QUESTION}, "prompt": {"question": QUESTION}}

if __name__ == "__main__":
    with traced() as provider:
        print(pipeline(provider.openai_url).run(GIVEN)["forecaster"]["messages"][-1].text)
