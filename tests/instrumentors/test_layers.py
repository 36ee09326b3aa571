"""Layers that other instrumentations put around a client: each call still passes ours, once."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import openai
import pytest
import wrapt
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.trace import SpanKind

import genledger

from . import openai_format as wire
from .provider import Provider, answer, events, now
from .telemetry import Telemetry, attributes_of, instrumented

CLIENTS = (openai.OpenAI, openai.AsyncOpenAI)
CHAT: dict[str, Any] = {"model": "gpt-4o", "messages": wire.USER}
STREAM: dict[str, Any] = {**CHAT, "stream": True, "stream_options": {"include_usage": True}}


class Proxied(wrapt.ObjectProxy):
    """A stream with somebody else's proxy around it."""

    def __next__(self) -> Any:
        return next(self.__wrapped__)

    async def __anext__(self) -> Any:
        return await anext(self.__wrapped__)


def layer(wrapped: Any, instance: Any, args: Any, kwargs: Any) -> Any:
    """Somebody else's layer: it puts a proxy around streams."""
    if isinstance(instance, openai.AsyncOpenAI):

        async def request() -> Any:
            result = await wrapped(*args, **kwargs)
            return Proxied(result) if isinstance(result, openai.AsyncStream) else result

        return request()
    result = wrapped(*args, **kwargs)
    return Proxied(result) if isinstance(result, openai.Stream) else result


def put_layer() -> None:
    """Put somebody else's layer over the request that the clients inherit."""
    for client in CLIENTS:
        wrapt.wrap_function_wrapper("openai", f"{client.__name__}.request", layer)


@pytest.fixture(autouse=True)
def no_layers() -> Iterator[None]:
    """The clients have no request of their own, before and after."""
    assert not any("request" in vars(client) for client in CLIENTS)
    yield
    for client in CLIENTS:
        if "request" in vars(client):
            del client.request  # type: ignore[misc]


async def some(stream: Any, count: int) -> None:
    """Read some items of a stream of either kind, or all when there are not so many."""
    for _ in range(count):
        try:
            await now(anext(stream) if isinstance(stream, openai.AsyncStream) else next(stream))
        except (StopIteration, StopAsyncIteration):
            return


def is_whole(telemetry: Telemetry) -> None:
    attributes = telemetry.attributes
    assert attributes["genledger.outcome"] == "success"
    assert attributes["gen_ai.usage.output_tokens"] == 300
    assert attributes["genledger.cost.amount"] > 0


async def test_a_request_that_was_put_over_the_inherited_one_before_ours(provider: Provider) -> None:
    put_layer()
    theirs = [vars(client)["request"] for client in CLIENTS]
    with instrumented() as telemetry:
        provider.will(answer(wire.chat()))
        await now(provider.openai().chat.completions.create(**CHAT))
        is_whole(telemetry)
    assert all(vars(client)["request"] is their for client, their in zip(CLIENTS, theirs, strict=True))


async def test_a_request_that_was_put_over_ours(provider: Provider, telemetry: Telemetry) -> None:
    put_layer()
    provider.will(answer(wire.chat()))
    await now(provider.openai().chat.completions.create(**CHAT))
    is_whole(telemetry)


async def test_instrumenting_again_over_a_layer_over_ours_records_once(
    provider: Provider, telemetry: Telemetry
) -> None:
    for client in CLIENTS:
        before = client.request

        def request(self: Any, *args: Any, before: Any = before, **kwargs: Any) -> Any:
            return before(self, *args, **kwargs)

        client.request = request  # type: ignore[method-assign]
    genledger.instrument(
        libraries=["openai"],
        destinations=[],
        tracer_provider=telemetry.tracer_provider,
        meter_provider=telemetry.meter_provider,
        logger_provider=telemetry.logger_provider,
    )
    provider.will(answer(wire.chat()))
    await now(provider.openai().chat.completions.create(**CHAT))
    is_whole(telemetry)


@pytest.mark.parametrize("broken_off", [False, True])
async def test_a_stream_inside_somebody_elses_proxy(provider: Provider, broken_off: bool) -> None:
    put_layer()
    with instrumented() as telemetry:
        provider.will(events(wire.chat_chunks()))
        stream = await now(provider.openai().chat.completions.create(**STREAM))
        assert isinstance(stream, Proxied)
        await some(stream, 2 if broken_off else 100)
        await now(stream.close())
        if broken_off:
            assert telemetry.attributes["genledger.outcome"] == "cancelled"
        else:
            is_whole(telemetry)


async def test_a_span_around_a_stream_that_ends_before_the_stream_is_not_priced(
    provider: Provider, telemetry: Telemetry
) -> None:
    provider.will(events(wire.chat_chunks()))
    theirs = _their_span(telemetry.tracer_provider)
    with genledger.attribution(tenant="acme"):
        with theirs as span:
            stream = await now(provider.openai().chat.completions.create(**STREAM))
            await some(stream, 6)  # usage and all, but for the end
        await some(stream, 100)
        spent = genledger.spend()
    assert spent.calls == 1
    assert "genledger.cost.amount" not in attributes_of(span)
    (priced,) = (one for one in telemetry.spans if "genledger.cost.amount" in attributes_of(one))
    assert attributes_of(priced)["genledger.cost.amount"] == pytest.approx(spent.usd)


def _their_span(provider: TracerProvider) -> Any:
    usage = {"gen_ai.usage.input_tokens": 1200, "gen_ai.usage.output_tokens": 300}
    call = {"gen_ai.operation.name": "chat", "gen_ai.provider.name": "openai", "gen_ai.request.model": "gpt-4o"}
    tracer = provider.get_tracer("theirs")
    return tracer.start_as_current_span("chat gpt-4o", kind=SpanKind.CLIENT, attributes={**call, **usage})
