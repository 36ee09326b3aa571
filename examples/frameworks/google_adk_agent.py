"""Google's Agent Development Kit: an agent that calls a tool, in a session."""

from __future__ import annotations

import asyncio
from typing import Any

from google.adk.agents import LlmAgent
from google.adk.models import Gemini
from google.adk.runners import InMemoryRunner
from google.genai import Client, types

from .traced import QUESTION, traced


def weather(city: str) -> str:
    """Say what the weather is like in a city."""
    return f"sunny in {city}"


def runner(url: str) -> InMemoryRunner:
    """Return what runs the agent; its model is at `url`, the base URL of Gemini's API."""
    model = Gemini(model="gemini-2.5-flash")
    model.__dict__["api_client"] = Client(api_key="demo", http_options=types.HttpOptions(base_url=url))
    return InMemoryRunner(agent=LlmAgent(name="forecaster", model=model, tools=[weather]), app_name="weather")


async def answer(runner: InMemoryRunner, question: str) -> str:
    """Return what the agent says in a session of its own."""
    session = await runner.session_service.create_session(app_name="weather", user_id="u-1")
    message = types.Content(role="user", parts=[types.Part(text=question)])
    said: list[Any] = []
    async for event in runner.run_async(user_id="u-1", session_id=session.id, new_message=message):
        said += event.content.parts or [] if event.content else []
    return str(said[-1].text)


if __name__ == "__main__":
    with traced() as provider:
        print(asyncio.run(answer(runner(provider.url), QUESTION)))
