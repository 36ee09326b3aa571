"""instructor: an answer that has to fit a class, and that the model is asked for again when it does not."""

from __future__ import annotations

from typing import Any, Literal

import instructor
import openai
from pydantic import BaseModel, field_validator

from .traced import QUESTION, traced


class Forecast(BaseModel):
    """What the model has to say."""

    city: Literal["Paris"]
    degrees: int

    @field_validator("degrees")
    @classmethod
    def possible(cls, degrees: int) -> int:
        """Refuse what no place on Earth has."""
        if degrees > 60:
            raise ValueError("no place is that hot")
        return degrees


def forecast(client: Any, **options: Any) -> Any:
    """Ask the model by a client of OpenAI's, asynchronous or not; its first answer is 75 degrees."""
    extracting = instructor.from_openai(client, mode=instructor.Mode.JSON_SCHEMA)
    messages = [{"role": "user", "content": QUESTION}]
    return extracting.chat.completions.create(
        model="gpt-4.1-mini", messages=messages, response_model=Forecast, **options
    )


if __name__ == "__main__":
    with traced() as provider:
        print(forecast(openai.OpenAI(base_url=provider.openai_url, api_key="demo")))
