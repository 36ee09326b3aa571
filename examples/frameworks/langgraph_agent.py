"""LangGraph: a graph that retrieves, and then asks a model that calls a tool."""

from __future__ import annotations

from typing import Any

from langchain.agents import create_agent
from langchain_core.documents import Document
from langchain_core.tools import tool
from langchain_core.vectorstores import InMemoryVectorStore
from langchain_openai import ChatOpenAI, OpenAIEmbeddings
from langgraph.graph import END, START, MessagesState, StateGraph

from .traced import QUESTION, traced


@tool
def weather(city: str) -> str:
    """Say what the weather is like in a city."""
    return f"sunny in {city}"


def graph(url: str) -> Any:
    """Return the compiled graph; its model is at `url`, the base URL of OpenAI's API."""
    store = InMemoryVectorStore(OpenAIEmbeddings(base_url=url, api_key="demo", check_embedding_ctx_length=False))
    store.add_documents([Document("Paris-75 is the capital of France.")])
    model = ChatOpenAI(model="gpt-4.1-mini", base_url=url, api_key="demo", stream_usage=True)
    agent = create_agent(model, [weather], name="forecaster")
    retriever = store.as_retriever()

    def look_up(state: MessagesState) -> dict[str, Any]:
        found = retriever.invoke(str(state["messages"][-1].content))
        return {"messages": [("system", found[0].page_content), ("user", QUESTION)]}

    made = StateGraph(MessagesState)
    made.add_node("look_up", look_up)
    made.add_node("forecaster", agent)
    made.add_edge(START, "look_up")
    made.add_edge("look_up", "forecaster")
    made.add_edge("forecaster", END)
    return made.compile()


if __name__ == "__main__":
    with traced() as provider:
        print(graph(provider.openai_url).invoke({"messages": [("user", QUESTION)]})["messages"][-1].content)
