"""Words of a request in an error: found in whatever the request is made of."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import pydantic
import pytest

from genledger.engine.ceiling import input_tokens
from genledger.engine.content.redaction.echoes import without_echoes


@dataclass
class Plain:
    content: str


@dataclass(slots=True)
class Slots:
    content: str


class Model(pydantic.BaseModel):
    content: str


@pytest.mark.parametrize("kind", [Plain, Slots, Model, dict])
def test_a_typed_message_is_read_with_slots_and_without(kind: Any) -> None:
    request = {"messages": [kind(content="My name is Kari Nordmann")]}
    assert without_echoes("Nobody is called Kari Nordmann", request) == "Nobody is called [content]"
    assert input_tokens(request, "openai", "gpt-4o") >= 5
