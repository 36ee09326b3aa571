"""Anthropic's client makes spans of its own. Where the client is left to them, each is priced, once."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

import genledger

from ..instrumentors import anthropic_format as wire
from ..instrumentors.provider import Provider, Within, answer, events, items, now
from ..instrumentors.telemetry import Telemetry, attributes_of, instrumented
from .conftest import counted_usd

# Anthropic's price list for Claude Sonnet 4.5, USD per million tokens: input 3, output 15, cache writes of five
# minutes 3.75, cache reads 0.3.
COST = (11 * 3 + 7 * 15 + 20 * 3.75 + 100 * 0.3) * 1e-6

pytestmark = pytest.mark.filterwarnings("ignore:The model '.*' is deprecated:DeprecationWarning")


@pytest.fixture
def left_out() -> Iterator[Telemetry]:
    """Genledger without Anthropic's client."""
    with instrumented(libraries=None, exclude=["anthropic"]) as telemetry:
        yield telemetry
        assert not telemetry.open.spans
        assert not telemetry.complaints.texts


@pytest.mark.parametrize("way", ["create", "stream", "helper", "raw"])
async def test_the_clients_own_span_is_priced_once(provider: Provider, left_out: Telemetry, way: str) -> None:
    client = provider.anthropic(open_telemetry={"tracer_provider": left_out.tracer_provider})
    streams = way in ("stream", "helper")
    provider.will(events(wire.message_events(), done=False) if streams else answer(wire.message()))
    with genledger.attribution(tenant="acme"):
        if way == "create":
            await now(client.messages.create(**wire.ASK))
        elif way == "stream":
            await items(await now(client.messages.create(**wire.ASK, stream=True)))
        elif way == "helper":
            async with Within(client.messages.stream(**wire.ASK)) as stream:
                await items(stream)
        else:
            await now(client.messages.with_raw_response.create(**wire.ASK))
        spent = genledger.spend()
    (priced,) = (span for span in left_out.spans if "genledger.cost.amount" in attributes_of(span))
    assert attributes_of(priced)["genledger.cost.amount"] == pytest.approx(COST)
    assert attributes_of(priced)["genledger.tenant.id"] == "acme"
    assert counted_usd(left_out) == pytest.approx(COST)
    assert (spent.calls, spent.unpriced) == (1, 0)
    assert spent.usd == pytest.approx(COST)
