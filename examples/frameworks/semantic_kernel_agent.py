"""Semantic Kernel: an agent whose model calls a function, which searches a collection of vectors."""

import asyncio
from dataclasses import dataclass
from typing import Annotated, Any

import openai
from semantic_kernel.agents import ChatCompletionAgent
from semantic_kernel.connectors.ai.open_ai import OpenAIChatCompletion, OpenAITextEmbedding
from semantic_kernel.connectors.in_memory import InMemoryCollection
from semantic_kernel.data.vector import VectorStoreField, vectorstoremodel
from semantic_kernel.functions import kernel_function

from .traced import QUESTION, traced


@vectorstoremodel
@dataclass
class Fact:
    id: Annotated[str, VectorStoreField("key")]
    text: Annotated[str, VectorStoreField("data")]
    vector: Annotated[Any, VectorStoreField("vector", type="float", dimensions=1536)] = None


class Weather:
    def __init__(self, facts: Any) -> None:
        self.facts = facts

    @kernel_function
    async def weather(self, city: str) -> str:
        """Say what the weather is like in a city."""
        found = await self.facts.search(city, top=1)
        return f"sunny in {[one.record.text async for one in found.results]}"


async def run(url: str) -> str:
    """Ask the agent; its model is at `url`, the base URL of OpenAI's API."""
    async with openai.AsyncOpenAI(base_url=url, api_key="demo") as client:
        embedding = OpenAITextEmbedding("text-embedding-3-small", async_client=client)
        facts = InMemoryCollection(record_type=Fact, collection_name="facts", embedding_generator=embedding)
        await facts.ensure_collection_exists()
        await facts.upsert([Fact("1", "Paris-75, the capital of France", "Paris-75, the capital of France")])
        chat = OpenAIChatCompletion("gpt-4.1-mini", async_client=client)
        agent = ChatCompletionAgent(service=chat, name="forecaster", plugins=[Weather(facts)])
        return str(await agent.get_response(QUESTION))


if __name__ == "__main__":
    with traced() as provider:
        print(asyncio.run(run(provider.openai_url)))
