"""Beside another vendor's instrumentation of the same client: every call has one span with its cost."""

from __future__ import annotations

import json
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import openai
import pytest
from examples.demo.provider import DemoProvider
from typer.testing import CliRunner

import genledger
from genledger.cli import app

from ..genledger.applications import rows, run
from ..instrumentors import openai_format as wire
from ..instrumentors.provider import Provider, answer, events, now
from ..instrumentors.telemetry import attributes_of
from .conftest import Neighbour, Street, counted_usd, side_by_side

# OpenAI's price list for gpt-4o, USD per million tokens: input 2.5, cached input 1.25, output 10.
COST = (176 * 2.5 + 1024 * 1.25 + 300 * 10) * 1e-6
CHAT: dict[str, Any] = {"model": "gpt-4o", "messages": wire.USER}


async def read(stream: Any, limit: int | None = None) -> None:
    """Read a stream, or its first items. The neighbours' own streams have the methods of both kinds."""
    limit = 1_000 if limit is None else limit
    for _ in range(limit):
        try:
            if isinstance(stream, openai.AsyncStream):
                await anext(stream)
            else:
                next(stream)
        except (StopIteration, StopAsyncIteration):
            return


async def chat(provider: Provider) -> float:
    provider.will(answer(wire.chat()))
    await now(provider.client("openai").chat.completions.create(**CHAT))
    return COST


async def stream(provider: Provider) -> float:
    provider.will(events(wire.chat_chunks()))
    asked = {"stream": True, "stream_options": {"include_usage": True}}
    await read(await now(provider.client("openai").chat.completions.create(**CHAT, **asked)))
    return COST


async def raw(provider: Provider) -> float:
    provider.will(answer(wire.chat()))
    response = await now(provider.client("openai").chat.completions.with_raw_response.create(**CHAT))
    await now(response.parse())
    return COST


async def response(provider: Provider) -> float:
    provider.will(answer(wire.response()))
    await now(provider.client("openai").responses.create(model="gpt-4o", input="Hello"))
    return COST


async def streamed_response(provider: Provider) -> float:
    provider.will(events(wire.response_events(), done=False))
    await read(await now(provider.client("openai").responses.create(model="gpt-4o", input="Hello", stream=True)))
    return COST


async def embeddings(provider: Provider) -> float:
    provider.will(answer(wire.embeddings()))
    asked: dict[str, Any] = {"model": "text-embedding-3-small", "input": ["a", "b"], "encoding_format": "float"}
    await now(provider.client("openai").embeddings.create(**asked))
    return 8 * 0.02e-6  # OpenAI's price list: 0.02 USD per million tokens


Act = Callable[[Provider], Awaitable[float]]
"""Calls the provider, and says what that costs in USD."""
ACTS: list[Act] = [chat, stream, raw, response, streamed_response, embeddings]


@pytest.fixture(params=ACTS, ids=lambda act: act.__name__)
def act(request: pytest.FixtureRequest) -> Act:
    return request.param


def counted_once(street: Street, cost: float, spent: Any) -> None:
    """The one priced span, the metric and the running sum agree."""
    (priced,) = street.bearing_cost
    assert attributes_of(priced)["genledger.cost.amount"] == pytest.approx(cost)
    assert counted_usd(street) == pytest.approx(cost)
    assert (spent.calls, spent.unpriced) == (1, 0)
    assert spent.usd == pytest.approx(cost)
    assert not street.open.spans


async def test_one_span_of_a_call_has_its_cost_and_it_is_ours(
    provider: Provider, neighbour: Neighbour, ours_first: bool, act: Act
) -> None:
    with side_by_side(neighbour, ours_first=ours_first) as street:
        with genledger.attribution(tenant="acme", feature="drafts"):
            cost = await act(provider)
            spent = genledger.spend()
        counted_once(street, cost, spent)
        (ours,), (theirs,) = street.ours, street.theirs
        assert street.bearing_cost == [ours]
        for span in (ours, theirs):
            assert attributes_of(span)["genledger.tenant.id"] == "acme"
            assert attributes_of(span)["genledger.feature"] == "drafts"
        assert not any(name.startswith("genledger.cost") for name in attributes_of(theirs))


async def test_their_span_is_priced_when_the_client_is_left_to_them(
    provider: Provider, neighbour: Neighbour, ours_first: bool, act: Act
) -> None:
    with side_by_side(neighbour, ours_first=ours_first, exclude=["openai"]) as street:
        with genledger.attribution(tenant="acme"):
            cost = await act(provider)
            spent = genledger.spend()
        counted_once(street, cost, spent)
        assert not street.ours
        (theirs,) = street.theirs
        assert attributes_of(theirs)["genledger.cost.source"] == "table"
        assert attributes_of(theirs)["genledger.tenant.id"] == "acme"
        assert attributes_of(theirs)["genledger.outcome"] == "success"


async def test_a_stream_that_is_broken_off_is_priced_once(
    provider: Provider, neighbour: Neighbour, ours_first: bool
) -> None:
    with side_by_side(neighbour, ours_first=ours_first) as street:
        provider.will(events(wire.chat_chunks()))
        found = await now(provider.client("openai").chat.completions.create(**CHAT, stream=True))
        await read(found, 2)
        await now(found.close())
        (ours,) = street.ours
        assert attributes_of(ours)["genledger.outcome"] == "cancelled"
        assert street.bearing_cost == [ours]


async def test_an_error_is_an_error_of_both_and_costs_nothing(
    provider: Provider, neighbour: Neighbour, ours_first: bool
) -> None:
    with side_by_side(neighbour, ours_first=ours_first) as street:
        provider.will(answer(wire.error(), 400))
        with pytest.raises(openai.BadRequestError):
            await now(provider.client("openai").chat.completions.create(**CHAT))
        assert len(street.ours) == len(street.theirs) == 1
        assert not street.bearing_cost


async def test_without_ours_theirs_goes_on(provider: Provider, neighbour: Neighbour, ours_first: bool) -> None:
    with side_by_side(neighbour, ours_first=ours_first) as street:
        genledger.uninstrument()
        await chat(provider)
        assert len(street.theirs) == 1
        assert not street.ours
        assert not street.bearing_cost


async def test_without_theirs_ours_goes_on(provider: Provider, neighbour: Neighbour, ours_first: bool) -> None:
    with side_by_side(neighbour, ours_first=ours_first) as street:
        street.stop_theirs()
        if neighbour.package.startswith("openinference") and not ours_first:
            # It does not take its layer away: it writes what it had found at first over everything, ours included,
            # as long as we are not asked again.
            street.start_ours()
        with genledger.attribution(tenant="acme"):
            cost = await chat(provider)
            spent = genledger.spend()
        counted_once(street, cost, spent)
        assert len(street.ours) == 1
        assert not street.theirs


async def test_after_both_nothing_is_recorded(provider: Provider, neighbour: Neighbour, ours_first: bool) -> None:
    with side_by_side(neighbour, ours_first=ours_first) as street:
        pass
    await chat(provider)
    assert not street.spans


STOCK = """
from opentelemetry.instrumentation.auto_instrumentation._load import _load_instrumentors
from opentelemetry.instrumentation.distro import DefaultDistro
from opentelemetry.sdk._configuration import _OTelSDKConfigurator
_OTelSDKConfigurator()._configure(auto_instrumentation_version="0")
_load_instrumentors(DefaultDistro())
import openai
hello = [{"role": "user", "content": "Hello"}]
for stream in (False, True):
    answer = openai.OpenAI().chat.completions.create(model="gpt-4.1-mini", messages=hello, stream=stream)
    if stream:
        list(answer)
"""
"""What `opentelemetry-instrument` does with the stock distribution: every instrumentation of the client is loaded."""


def test_the_stock_distributions_ledger_has_each_call_once(tmp_path: Path) -> None:
    ledger = tmp_path / "ledger.db"
    with DemoProvider() as provider:
        run(
            tmp_path,
            STOCK,
            OPENAI_API_KEY="test",
            OPENAI_BASE_URL=provider.openai_url,
            GENLEDGER_LEDGER=str(ledger),
            OTEL_TRACES_EXPORTER="ledger",
            OTEL_METRICS_EXPORTER="none",
            OTEL_LOGS_EXPORTER="none",
        )
    assert [row["library"] for row in rows(ledger)] == ["genledger", "genledger"]


def test_doctor_names_them() -> None:
    done = CliRunner().invoke(app, ["doctor", "--json"])
    found = json.loads(done.stdout)
    (client,) = (one for one in found["libraries"] if one["name"] == "openai")
    named = {one["distribution"] for one in client["also_traced_by"]}
    assert named == {"opentelemetry-instrumentation-genai-openai", "openinference-instrumentation-openai"}
