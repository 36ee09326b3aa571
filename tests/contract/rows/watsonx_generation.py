"""IBM's client of watsonx.ai: texts in the provider's own format, of which the client hands out only the text."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from tests.contract.row import Row
from tests.contract.rows.watsonx import MODEL, PROMPT, events, model
from tests.contract.rows.watsonx import ROW as CHAT
from tests.contract.server import json_reply

HEAD = {"model_id": MODEL, "model_version": "1.1.0", "created_at": "2026-11-29T00:00:00Z"}
WORDS = [word if word == "Paris." else f"{word} " for word in CHAT.text.split()]


def result(said: str, generated: int, given: int, reason: str) -> dict[str, Any]:
    """A result: the text, and how many tokens were generated until then and given."""
    counts = {"generated_token_count": generated, "input_token_count": given}
    return {**HEAD, "results": [{"generated_text": said, **counts, "stop_reason": reason}]}


def parts() -> tuple[bytes, ...]:
    """The events of a stream: each counts what was generated until then, the first what was given."""
    *words, last = WORDS
    middle = [result(word, place, 0, "not_finished") for place, word in enumerate(words, 1)]
    return events({}, result("", 0, 1000, "not_finished"), *middle, result(last, 500, 0, "eos_token"))


class Texts:
    """The methods of a model under the same names for both ways."""

    def __init__(self, url: str, asynchronous: bool, retries: int) -> None:
        client = model(url, retries)
        self.whole = client.agenerate if asynchronous else client.generate
        self.stream = client.agenerate_stream if asynchronous else client.generate_text_stream


def ask(client: Texts, *, stream: bool, max_tokens: int | None = None) -> Any:
    """Make the call."""
    params = None if max_tokens is None else {"max_new_tokens": max_tokens}
    return (client.stream if stream else client.whole)(prompt=PROMPT, params=params)


ROW: Row = replace(
    CHAT,
    client=Texts,
    call=ask,
    whole=json_reply(result(CHAT.text, 500, 1000, "eos_token")),
    events=parts(),
    limit=lambda request: request.json["parameters"].get("max_new_tokens"),
    operation="text_completion",
)
