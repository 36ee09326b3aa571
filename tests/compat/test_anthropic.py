"""Anthropic's client, in every version that is supported."""

from __future__ import annotations

from typing import Any

import anthropic
import pytest

from ..instrumentors import anthropic_format as wire
from ..instrumentors.provider import Provider, Within, answer, events, items, now
from ..instrumentors.telemetry import Telemetry
from .endings import ENDINGS, Ending, never_read
from .failures import counts_retries, records_error

pytestmark = pytest.mark.filterwarnings("ignore:The model '.*' is deprecated:DeprecationWarning")

# Anthropic's price list for Claude Sonnet 4.5, USD per million tokens: input 3, output 15, cache writes of five
# minutes 3.75, cache reads 0.3.
COST = (11 * 3 + 7 * 15 + 20 * 3.75 + 100 * 0.3) * 1e-6


def is_whole(attributes: dict[str, Any]) -> None:
    """A call with the usage of the wire format, at its price."""
    assert attributes["genledger.outcome"] == "success"
    assert attributes["gen_ai.provider.name"] == "anthropic"
    assert attributes["gen_ai.response.model"] == "claude-sonnet-4-5-20250929"
    assert (attributes["gen_ai.usage.input_tokens"], attributes["gen_ai.usage.output_tokens"]) == (131, 7)
    assert attributes["genledger.cost.amount"] == pytest.approx(COST)
    assert "genledger.usage.estimated" not in attributes


async def test_a_message_is_one_priced_span(provider: Provider, telemetry: Telemetry) -> None:
    provider.will(answer(wire.message()))
    answered = await now(provider.anthropic().messages.create(**wire.ASK))
    assert answered.content[0].text == "Paris."
    assert telemetry.span.name == "chat claude-sonnet-4-5"
    is_whole(telemetry.attributes)


async def test_a_stream_is_one_priced_span(provider: Provider, telemetry: Telemetry) -> None:
    provider.will(events(wire.message_events(), done=False))
    stream = await now(provider.anthropic().messages.create(**wire.ASK, stream=True))
    assert type(stream) in (anthropic.Stream, anthropic.AsyncStream)
    assert (await items(stream))[-1].type == "message_stop"
    is_whole(telemetry.attributes)
    assert telemetry.attributes["gen_ai.response.time_to_first_chunk"] > 0


@pytest.mark.parametrize("end", ENDINGS, ids=lambda end: end.__name__)
async def test_a_stream_that_is_not_read_to_its_end(provider: Provider, telemetry: Telemetry, end: Ending) -> None:
    provider.will(events(wire.message_events(), done=False))
    held = [await now(provider.anthropic().messages.create(**wire.ASK, stream=True))]
    assert not telemetry.spans
    await end(held)
    attributes = telemetry.attributes
    assert attributes["genledger.outcome"] == "cancelled"
    assert attributes["genledger.cost.amount"] > 0
    if end is never_read:
        assert attributes["genledger.usage.estimated"] is True
    else:
        assert attributes["gen_ai.usage.input_tokens"] == 131  # which the first event says


async def test_the_helper_read_to_its_end(provider: Provider, telemetry: Telemetry) -> None:
    provider.will(events(wire.message_events(), done=False))
    async with Within(provider.anthropic().messages.stream(**wire.ASK)) as stream:
        assert (await now(stream.get_final_message())).content[0].text == "Paris."
    is_whole(telemetry.attributes)


async def test_the_helper_left_early(provider: Provider, telemetry: Telemetry) -> None:
    provider.will(events(wire.message_events(), done=False))
    async with Within(provider.anthropic().messages.stream(**wire.ASK)) as stream:
        await items(stream.text_stream, 1)
    assert telemetry.attributes["genledger.outcome"] == "cancelled"
    assert telemetry.attributes["gen_ai.usage.input_tokens"] == 131


async def test_a_raw_response(provider: Provider, telemetry: Telemetry) -> None:
    provider.will(answer(wire.message()))
    response = await now(provider.anthropic().messages.with_raw_response.create(**wire.ASK))
    is_whole(telemetry.attributes)
    assert (await now(response.parse())).usage.output_tokens == 7
    assert len(telemetry.spans) == 1


async def test_a_streaming_response(provider: Provider, telemetry: Telemetry) -> None:
    provider.will(answer(wire.message()))
    create = provider.anthropic().messages.with_streaming_response.create
    async with Within(create(**wire.ASK)) as response:
        assert b"Paris." in b"".join(await items(response.iter_bytes()))
    is_whole(telemetry.attributes)


async def test_the_beta_endpoint(provider: Provider, telemetry: Telemetry) -> None:
    provider.will(answer(wire.message()))
    await now(provider.anthropic().beta.messages.create(**wire.ASK, betas=["a-beta"]))
    is_whole(telemetry.attributes)


async def test_retries_are_counted_with_their_causes(provider: Provider, telemetry: Telemetry) -> None:
    client = provider.anthropic(max_retries=2)
    await counts_retries(
        provider, telemetry, wire.error("rate_limit_error"), wire.message(), lambda: client.messages.create(**wire.ASK)
    )
    is_whole(telemetry.attributes)


@pytest.mark.parametrize(
    ("status", "outcome", "raised"),
    [(400, "error", anthropic.BadRequestError), (429, "rate_limited", anthropic.RateLimitError)],
)
async def test_an_error(
    provider: Provider, telemetry: Telemetry, status: int, outcome: str, raised: type[Exception]
) -> None:
    provider.will(answer(wire.error(), status))
    await records_error(telemetry, outcome, raised, lambda: provider.anthropic().messages.create(**wire.ASK))
