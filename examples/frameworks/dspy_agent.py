"""DSPy: a module that retrieves, and then has an agent call a tool."""

from __future__ import annotations

from typing import Any

import dspy
import numpy

from .traced import QUESTION, traced

_CALL = "[[ ## next_thought ## ]]\nI see.\n\n[[ ## next_tool_name ## ]]\n{}\n\n[[ ## next_tool_args ## ]]\n{}"

REPLIES = {
    "`[[ ## reasoning ## ]]`": "[[ ## reasoning ## ]]\nThe tool says so.\n\n[[ ## answer ## ]]\nIt is sunny in Paris.",
    "observation_0": _CALL.format("finish", "{}"),
    QUESTION: _CALL.format("weather", '{"city": "Paris"}'),
}
"""The model answers in DSPy's format: at the end, after a tool's result, and at first."""


def weather(city: str) -> str:
    """Say what the weather is like in a city."""
    return f"sunny in {city}"


def vectors(texts: list[str]) -> Any:
    """Make vectors of texts, by how often they have each letter."""
    return numpy.array([[text.lower().count(chr(letter)) for letter in range(97, 123)] for text in texts], "float32")


class Forecaster(dspy.Module):  # type: ignore[misc,unused-ignore]
    """Finds a note, and asks an agent."""

    def __init__(self) -> None:
        super().__init__()
        self.look_up = dspy.retrievers.Embeddings(["Paris is the capital of France."], vectors, k=1)
        self.agent = dspy.ReAct("context, question -> answer", [weather])

    def forward(self, question: str) -> Any:
        """Answer a question."""
        return self.agent(context=self.look_up(question).passages, question=question)

    async def aforward(self, question: str) -> Any:
        """Answer a question, asynchronously."""
        return await self.agent.acall(context=self.look_up(question).passages, question=question)


def model(url: str, **options: Any) -> Any:
    """Return the model at `url`, the base URL of OpenAI's API."""
    return dspy.LM("openai/gpt-4.1-mini", api_base=url, api_key="demo", cache=False, **options)


if __name__ == "__main__":
    with traced(REPLIES) as provider, dspy.context(lm=model(provider.openai_url)):
        print(Forecaster()(question=QUESTION).answer)
