"""Anthropic's client makes spans of its own. Where the client is left to them, each is priced, once."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

import genledger

from ..instrumentors.anthropic_ways import WAYS, ask
from ..instrumentors.provider import Provider
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


@pytest.mark.parametrize("way", WAYS)
async def test_the_clients_own_span_is_priced_once(provider: Provider, left_out: Telemetry, way: str) -> None:
    client = provider.anthropic(open_telemetry={"tracer_provider": left_out.tracer_provider})
    with genledger.attribution(tenant="acme"):
        await ask(client, provider, way)
        spent = genledger.spend()
    (priced,) = (span for span in left_out.spans if "genledger.cost.amount" in attributes_of(span))
    assert attributes_of(priced)["genledger.cost.amount"] == pytest.approx(COST)
    assert attributes_of(priced)["genledger.tenant.id"] == "acme"
    assert counted_usd(left_out) == pytest.approx(COST)
    assert (spent.calls, spent.unpriced) == (1, 0)
    assert spent.usd == pytest.approx(COST)
