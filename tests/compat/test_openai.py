"""OpenAI's client, in every version that is supported."""

from __future__ import annotations

from typing import Any

import openai
import pytest

from ..instrumentors import openai_format as wire
from ..instrumentors.provider import Provider, Within, answer, events, items, now
from ..instrumentors.telemetry import Telemetry
from .endings import ENDINGS, Ending
from .failures import counts_retries, records_error

CHAT: dict[str, Any] = {"model": "gpt-4o", "messages": wire.USER}
# OpenAI's price list for gpt-4o, USD per million tokens: input 2.5, cached input 1.25, output 10.
COST = (176 * 2.5 + 1024 * 1.25 + 300 * 10) * 1e-6


def is_whole(attributes: dict[str, Any]) -> None:
    """A call with the usage of the wire format, at its price."""
    assert attributes["genledger.outcome"] == "success"
    assert attributes["gen_ai.provider.name"] == "openai"
    assert attributes["gen_ai.response.model"] == "gpt-4o-2024-08-06"
    assert (attributes["gen_ai.usage.input_tokens"], attributes["gen_ai.usage.output_tokens"]) == (1200, 300)
    assert attributes["genledger.cost.amount"] == pytest.approx(COST)
    assert "genledger.usage.estimated" not in attributes


def resource(client: Any, path: str) -> Any:
    """What is at a dotted path under the client; skips where this version has not got it."""
    for name in path.split("."):
        client = getattr(client, name, None)
        if client is None:
            pytest.skip(f"openai {openai.__version__} has no {path}")
    return client


async def test_a_chat_is_one_priced_span(provider: Provider, telemetry: Telemetry) -> None:
    provider.will(answer(wire.chat()))
    answered = await now(provider.openai().chat.completions.create(**CHAT))
    assert answered.choices[0].message.content == "Paris."
    assert telemetry.span.name == "chat gpt-4o"
    is_whole(telemetry.attributes)


async def test_a_stream_is_one_priced_span(provider: Provider, telemetry: Telemetry) -> None:
    provider.will(events(wire.chat_chunks()))
    asked = {"extra_body": {"stream_options": {"include_usage": True}}}  # as 1.0 has no parameter for it
    stream = await now(provider.openai().chat.completions.create(**CHAT, **asked, stream=True))
    assert type(stream) in (openai.Stream, openai.AsyncStream)
    chunks = await items(stream)
    assert [len(chunk.choices) for chunk in chunks] == [1, 1, 1, 1, 1, 0]
    is_whole(telemetry.attributes)
    assert telemetry.attributes["gen_ai.response.time_to_first_chunk"] > 0
    assert provider.bodies == [{**CHAT, **asked["extra_body"], "stream": True}]


@pytest.mark.parametrize("end", ENDINGS, ids=lambda end: end.__name__)
async def test_a_stream_that_is_not_read_to_its_end(provider: Provider, telemetry: Telemetry, end: Ending) -> None:
    provider.will(events(wire.chat_chunks()))
    held = [await now(provider.openai().chat.completions.create(**CHAT, stream=True))]
    assert not telemetry.spans
    await end(held)
    attributes = telemetry.attributes
    assert attributes["genledger.outcome"] == "cancelled"
    assert attributes["genledger.usage.estimated"] is True
    assert attributes["genledger.cost.amount"] > 0


async def test_a_raw_response(provider: Provider, telemetry: Telemetry) -> None:
    provider.will(answer(wire.chat()))
    response = await now(provider.openai().chat.completions.with_raw_response.create(**CHAT))
    is_whole(telemetry.attributes)
    assert response.headers["x-request-id"] == "req_1"
    assert (await now(response.parse())).usage.total_tokens == 1500
    assert len(telemetry.spans) == 1


async def test_a_streaming_response(provider: Provider, telemetry: Telemetry) -> None:
    provider.will(answer(wire.chat()))
    create = resource(provider.openai(), "chat.completions.with_streaming_response").create
    async with Within(create(**CHAT)) as response:
        assert b"Paris." in b"".join(await items(response.iter_bytes()))
    is_whole(telemetry.attributes)


async def test_retries_are_counted_with_their_causes(provider: Provider, telemetry: Telemetry) -> None:
    client = provider.openai(max_retries=2)
    await counts_retries(
        provider,
        telemetry,
        wire.error("Too many", "rate_limit_exceeded"),
        wire.chat(),
        lambda: client.chat.completions.create(**CHAT),
    )
    is_whole(telemetry.attributes)


@pytest.mark.parametrize(
    ("status", "outcome", "raised"),
    [(400, "error", openai.BadRequestError), (429, "rate_limited", openai.RateLimitError)],
)
async def test_an_error(
    provider: Provider, telemetry: Telemetry, status: int, outcome: str, raised: type[Exception]
) -> None:
    provider.will(answer(wire.error(), status))
    await records_error(telemetry, outcome, raised, lambda: provider.openai().chat.completions.create(**CHAT))


async def test_embeddings(provider: Provider, telemetry: Telemetry) -> None:
    provider.will(answer(wire.embeddings()))
    client = provider.openai()
    await now(client.embeddings.create(model="text-embedding-3-small", input=["a", "b"], encoding_format="float"))
    assert telemetry.span.name == "embeddings text-embedding-3-small"
    # OpenAI's price list: 0.02 USD per million tokens.
    assert telemetry.attributes["genledger.cost.amount"] == pytest.approx(8 * 0.02e-6)


async def test_parsed_output(provider: Provider, telemetry: Telemetry) -> None:
    provider.will(answer(wire.chat()))
    parse = resource(provider.openai(), "beta.chat.completions.parse")
    assert (await now(parse(**CHAT))).choices[0].message.content == "Paris."
    is_whole(telemetry.attributes)


async def test_a_response(provider: Provider, telemetry: Telemetry) -> None:
    provider.will(answer(wire.response()))
    responses = resource(provider.openai(), "responses")
    assert (await now(responses.create(model="gpt-4o", input="Hello"))).output_text == "Paris."
    is_whole(telemetry.attributes)


async def test_a_streamed_response(provider: Provider, telemetry: Telemetry) -> None:
    provider.will(events(wire.response_events(), done=False))
    responses = resource(provider.openai(), "responses")
    found = await items(await now(responses.create(model="gpt-4o", input="Hello", stream=True)))
    assert found[-1].type == "response.completed"
    is_whole(telemetry.attributes)


@pytest.mark.parametrize("end", ENDINGS, ids=lambda end: end.__name__)
async def test_a_response_that_is_not_read_to_its_end(provider: Provider, telemetry: Telemetry, end: Ending) -> None:
    provider.will(events(wire.response_events(), done=False))
    responses = resource(provider.openai(), "responses")
    held = [await now(responses.create(model="gpt-4o", input="Hello", stream=True))]
    await end(held)
    assert telemetry.attributes["genledger.outcome"] == "cancelled"
    assert telemetry.attributes["genledger.usage.estimated"] is True


async def test_azure(provider: Provider, telemetry: Telemetry) -> None:
    provider.will(answer(wire.chat()))
    await now(provider.azure().chat.completions.create(**CHAT))
    assert telemetry.attributes["gen_ai.provider.name"] == "azure.ai.openai"
    assert telemetry.attributes["gen_ai.usage.output_tokens"] == 300
    assert telemetry.attributes["server.address"] == "example.openai.azure.com"
