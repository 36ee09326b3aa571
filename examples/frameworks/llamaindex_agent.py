"""LlamaIndex: an agent whose tool asks an index, which retrieves and asks a model; the agent's answer is streamed."""

from __future__ import annotations

import asyncio
from typing import Any

from llama_index.core import Document, VectorStoreIndex
from llama_index.core.agent.workflow import FunctionAgent
from llama_index.core.tools import QueryEngineTool
from llama_index.embeddings.openai import OpenAIEmbedding
from llama_index.llms.openai import OpenAI

from .traced import QUESTION, traced


def model(url: str) -> OpenAI:
    """Return a model that states its usage when it streams; `url` is the base URL of OpenAI's API."""
    more = {"stream_options": {"include_usage": True}}
    return OpenAI(model="gpt-4.1-mini", api_base=url, api_key="demo", max_retries=0, additional_kwargs=more)


def index(url: str) -> VectorStoreIndex:
    """Return an index of one document."""
    embeddings = OpenAIEmbedding(api_base=url, api_key="demo", max_retries=0)
    document = Document(text="Paris-75 is the capital of France: it is sunny.")
    return VectorStoreIndex.from_documents([document], embed_model=embeddings)


def agent(url: str, index: VectorStoreIndex, **options: Any) -> FunctionAgent:
    """Return an agent whose tool asks the index."""
    llm = model(url)
    atlas = QueryEngineTool.from_defaults(index.as_query_engine(llm=llm), name="atlas", description="Knows cities.")
    options = {"tools": [atlas], "description": "Tells the weather."} | options
    return FunctionAgent(name="forecaster", llm=llm, **options)


async def main(url: str) -> str:
    """Ask the agent."""
    return str(await agent(url, index(url)).run(QUESTION))


if __name__ == "__main__":
    with traced() as provider:
        print(asyncio.run(main(provider.openai_url)))
