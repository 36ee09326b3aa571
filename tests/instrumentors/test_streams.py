"""Every way in which a stream can end: one span, at once, with the right status, outcome, tokens and times."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import sys
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import anthropic
import openai
import pytest
from opentelemetry import baggage, context, trace
from opentelemetry.trace import StatusCode

import genledger
from genledger.engine.call import Call
from genledger.engine.streams import StreamRecorder

from ..replay.transport import http_library
from . import anthropic_format, openai_format
from .provider import Provider, Within, answer, events, items, now
from .telemetry import Telemetry, instrumented, surroundings

TEXTS = ["four words of text "] * 40
"""What is streamed: 19 characters in each of 40 pieces."""

QUESTION = "What is the capital of France, and since when? " * 10


@dataclass(frozen=True)
class Api:
    """One streaming endpoint: how to call it, and what it sends.

    `said` are the input tokens that a stream says before its end, `total` those of the whole stream.
    """

    name: str
    sdk: str
    open: Callable[[Any], Any]
    events: list[dict[str, Any]]
    error: dict[str, Any]
    said: int | None
    total: tuple[int, int]
    kinds: tuple[type, ...]

    def client(self, provider: Provider) -> Any:
        return provider.client(self.sdk)

    def reply(self, provider: Provider, count: int | None = None, **how: Any) -> None:
        """Send the whole stream, or its first `count` events and then what `how` says."""
        found = self.events if count is None else self.events[:count]
        provider.will(events(found, **{"done": self.sdk == "openai", **how}))

    async def stream(self, provider: Provider) -> Any:
        return await now(self.open(self.client(provider)))


def _responses() -> list[dict[str, Any]]:
    first, item, part, delta, _, *rest = openai_format.response_events()
    deltas = [{**delta, "delta": text} for text in TEXTS]
    return [first, item, part, *deltas, *rest]


CHAT = Api(
    "chat",
    "openai",
    lambda client: client.chat.completions.create(
        model="gpt-4o", messages=[{"role": "user", "content": QUESTION}], stream=True
    ),
    openai_format.chat_chunks(*TEXTS),
    openai_format.error("The server had an error", "server_error"),
    None,
    (1200, 300),
    (openai.Stream, openai.AsyncStream),
)
RESPONSES = Api(
    "responses",
    "openai",
    lambda client: client.responses.create(model="gpt-4o", input=QUESTION, stream=True),
    _responses(),
    openai_format.error("The server had an error", "server_error"),
    None,
    (1200, 300),
    (openai.Stream, openai.AsyncStream),
)
MESSAGES = Api(
    "messages",
    "anthropic",
    lambda client: client.messages.create(
        model="claude-sonnet-5", max_tokens=100, messages=[{"role": "user", "content": QUESTION}], stream=True
    ),
    anthropic_format.message_events(*TEXTS),
    anthropic_format.error("overloaded_error", "Overloaded"),
    131,
    (131, 7),
    (anthropic.Stream, anthropic.AsyncStream),
)


@pytest.fixture(params=[CHAT, RESPONSES, MESSAGES], ids=lambda api: api.name)
def api(request: pytest.FixtureRequest) -> Api:
    return request.param


@pytest.fixture(autouse=True, scope="module")
def no_collector() -> Iterator[None]:
    """Nothing may depend on the garbage collector coming by."""
    gc.disable()
    yield
    gc.enable()


@pytest.fixture(autouse=True)
def application(telemetry: Telemetry) -> Iterator[Any]:
    """A span and baggage of the application's, which must be the current ones before, between and after."""
    tracer = telemetry.tracer_provider.get_tracer("application")
    token = context.attach(baggage.set_baggage("of", "the application"))
    with tracer.start_as_current_span("application") as span:
        before = surroundings()
        yield span
        assert surroundings() == before
    context.detach(token)
    # What is left is checked with the application's own span taken away.
    assert [span.name for span in telemetry.spans].count("application") == 1


def calls(telemetry: Telemetry) -> list[Any]:
    return [span for span in telemetry.spans if span.name != "application"]


async def ended(telemetry: Telemetry, outcome: str, *, error: type | None = None) -> dict[str, Any]:
    """The attributes of the one span, which must have ended by now, with this outcome."""
    for _ in range(4):  # what an event loop still has to do about a generator that was dropped
        await asyncio.sleep(0)
    (span,) = calls(telemetry)
    attributes = dict(span.attributes)
    assert attributes["genledger.outcome"] == outcome
    if error is None:
        assert span.status.status_code is StatusCode.UNSET
        assert "error.type" not in attributes
    else:
        assert span.status.status_code is StatusCode.ERROR
        assert attributes["error.type"] == f"{error.__module__}.{error.__qualname__}"
    assert span.parent is not None
    assert span.parent.span_id == trace.get_current_span().get_span_context().span_id
    return attributes


def estimated(api: Api, attributes: dict[str, Any], texts: int) -> None:
    """Tokens for what was received: what the provider has said, else about four characters each, and marked."""
    assert attributes["genledger.usage.estimated"] is True
    assert attributes["genledger.cost.amount"] > 0
    received, asked = texts * len(TEXTS[0]), len(QUESTION)
    assert received / 8 <= attributes["gen_ai.usage.output_tokens"] <= max(received / 2, 1)
    if api.said is not None and texts:
        assert attributes["gen_ai.usage.input_tokens"] == api.said
    else:
        assert asked / 8 <= attributes["gen_ai.usage.input_tokens"] <= asked / 2


def texts_in(api: Api, chunks: list[Any]) -> int:
    """How many of the pieces of text are among the chunks that the application got."""
    return max(0, len(chunks) - {"chat": 1, "responses": 3, "messages": 2}[api.name])


async def test_read_to_its_end(api: Api, provider: Provider, telemetry: Telemetry) -> None:
    api.reply(provider)
    stream = await api.stream(provider)
    assert isinstance(stream, api.kinds)
    assert type(stream) in api.kinds
    before = surroundings()
    async for chunk in each(stream):
        assert surroundings() == before, "the application is not where it was between two chunks"
        assert not calls(telemetry) or chunk is not None
    attributes = await ended(telemetry, "success")
    assert (attributes["gen_ai.usage.input_tokens"], attributes["gen_ai.usage.output_tokens"]) == api.total
    assert "genledger.usage.estimated" not in attributes
    assert attributes["genledger.cost.amount"] > 0
    assert attributes["gen_ai.response.time_to_first_chunk"] > 0
    assert not provider.left_open


async def each(stream: Any) -> Any:
    """Iterate a stream of either kind."""
    if hasattr(stream, "__aiter__"):
        async for item in stream:
            yield item
    else:
        for item in stream:
            yield item


async def test_broken_off_and_dropped(api: Api, provider: Provider, telemetry: Telemetry) -> None:
    api.reply(provider)
    stream = await api.stream(provider)
    chunks = await items(stream, 20)
    del stream
    attributes = await ended(telemetry, "cancelled")
    estimated(api, attributes, texts_in(api, chunks))
    assert attributes["gen_ai.response.time_to_first_chunk"] > 0
    assert attributes["gen_ai.response.finish_reasons"] == ("error",)


async def test_dropped_in_a_reference_cycle(
    api: Api, provider: Provider, telemetry: Telemetry, monkeypatch: pytest.MonkeyPatch
) -> None:
    unraisable: list[Any] = []
    monkeypatch.setattr(sys, "unraisablehook", unraisable.append)
    api.reply(provider)
    stream = await api.stream(provider)
    iterator = aiter(stream) if hasattr(stream, "__aiter__") else iter(stream)
    await items(iterator, 20)
    cycle = [stream, iterator]
    cycle.append(cycle)
    del stream, iterator, cycle
    gc.collect()
    attributes = await ended(telemetry, "cancelled")
    assert attributes["genledger.usage.estimated"] is True
    assert not unraisable
    assert not provider.left_open


async def test_a_stream_never_read_and_dropped_counts_what_is_generated_before_the_provider_notices(
    api: Api, provider: Provider, telemetry: Telemetry
) -> None:
    api.reply(provider)
    stream = await api.stream(provider)
    assert not calls(telemetry)
    del stream
    attributes = await ended(telemetry, "cancelled")
    assert "gen_ai.response.time_to_first_chunk" not in attributes
    assert attributes["genledger.usage.estimated"] is True
    assert 0 < attributes["gen_ai.usage.output_tokens"] <= 4096


async def test_broken_off_inside_with(api: Api, provider: Provider, telemetry: Telemetry) -> None:
    api.reply(provider)
    stream = await api.stream(provider)
    async with Within(stream) as same:
        assert same is stream
        chunks = await items(stream, 20)
    attributes = await ended(telemetry, "cancelled")
    estimated(api, attributes, texts_in(api, chunks))
    assert not provider.left_open
    del stream


async def test_closed_early_and_kept(api: Api, provider: Provider, telemetry: Telemetry) -> None:
    api.reply(provider)
    stream = await api.stream(provider)
    first = await now(anext(stream) if provider.asynchronous else next(stream))
    assert first is not None
    await now(stream.close())
    attributes = await ended(telemetry, "cancelled")
    assert attributes["gen_ai.response.time_to_first_chunk"] > 0
    assert not provider.left_open
    await now(stream.close())
    assert len(calls(telemetry)) == 1
    del stream


async def test_its_response_closed_behind_its_back(api: Api, provider: Provider, telemetry: Telemetry) -> None:
    api.reply(provider)
    stream = await api.stream(provider)
    await now(stream.response.aclose() if provider.asynchronous else stream.response.close())
    await ended(telemetry, "cancelled")
    del stream


async def test_the_caller_raises_inside_with(api: Api, provider: Provider, telemetry: Telemetry) -> None:
    api.reply(provider)
    stream = await api.stream(provider)
    chunks: list[Any] = []

    async def read() -> None:
        async with Within(stream):
            chunks.extend(await items(stream, 20))
            raise ValueError("the application's own")

    with pytest.raises(ValueError, match="the application's own"):
        await read()
    # The provider did nothing wrong, and neither did the call: the application stopped reading.
    estimated(api, await ended(telemetry, "cancelled"), texts_in(api, chunks))


async def test_the_provider_fails_in_the_middle(api: Api, provider: Provider, telemetry: Telemetry) -> None:
    provider.will(events([*api.events[:20], api.error], done=False))
    stream = await api.stream(provider)
    chunks: list[Any] = []
    with pytest.raises((openai.APIError, anthropic.APIError)) as raised:
        await items(stream, into=chunks)
    attributes = await ended(telemetry, "error", error=raised.type)
    estimated(api, attributes, texts_in(api, chunks))


@pytest.mark.parametrize(("name", "outcome"), [("ReadError", "error"), ("ReadTimeout", "timeout")])
async def test_the_connection_fails_in_the_middle(
    api: Api, provider: Provider, telemetry: Telemetry, name: str, outcome: str
) -> None:
    api.reply(provider, 20, then=getattr(http_library(api.sdk), name)("gone"))
    stream = await api.stream(provider)
    with pytest.raises(Exception, match=r".") as raised:
        await items(stream)
    attributes = await ended(telemetry, outcome, error=raised.type)
    assert attributes["genledger.usage.estimated"] is True


async def test_the_stream_just_stops(api: Api, provider: Provider, telemetry: Telemetry) -> None:
    api.reply(provider, 20, done=False)
    chunks = await items(await api.stream(provider))
    (span,) = calls(telemetry)
    estimated(api, dict(span.attributes), texts_in(api, chunks))
    assert span.attributes["gen_ai.response.finish_reasons"] == ("error",)


async def test_refused_before_it_began(api: Api, provider: Provider, telemetry: Telemetry) -> None:
    provider.will(answer(api.error, 400))
    with pytest.raises((openai.BadRequestError, anthropic.BadRequestError)) as raised:
        await api.stream(provider)
    attributes = await ended(telemetry, "error", error=raised.type)
    assert "genledger.cost.amount" not in attributes
    assert "gen_ai.usage.output_tokens" not in attributes


async def test_a_task_cancelled_between_chunks(api: Api, telemetry: Telemetry) -> None:
    provider = Provider(asynchronous=True)
    api.reply(provider)
    reading = asyncio.Event()

    async def read() -> None:
        async for _ in await api.stream(provider):
            reading.set()
            await asyncio.Event().wait()

    task = asyncio.create_task(read())
    await reading.wait()
    task.cancel()
    with contextlib.suppress(asyncio.CancelledError):
        await task
    del task
    await ended(telemetry, "cancelled")


async def test_a_task_cancelled_while_waiting_for_a_chunk(api: Api, telemetry: Telemetry) -> None:
    provider = Provider(asynchronous=True)
    api.reply(provider, 20, then=asyncio.Event())
    reading = asyncio.Event()
    chunks: list[Any] = []

    async def read() -> None:
        async for chunk in await api.stream(provider):
            chunks.append(chunk)
            if len(chunks) == 15:
                reading.set()

    task = asyncio.create_task(read())
    await reading.wait()
    await asyncio.sleep(0)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    estimated(api, await ended(telemetry, "cancelled"), texts_in(api, chunks))


async def test_a_task_cancelled_before_the_stream_began(api: Api, telemetry: Telemetry) -> None:
    provider = Provider(asynchronous=True)
    started = asyncio.Event()
    provider.will(events([], done=False, then=asyncio.Event()))
    provider.replies[0].status = 400

    async def read() -> None:
        started.set()
        await api.stream(provider)

    task = asyncio.create_task(read())
    await started.wait()
    await asyncio.sleep(0)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    await ended(telemetry, "cancelled")


async def test_opened_in_one_thread_and_read_in_another(api: Api, telemetry: Telemetry) -> None:
    provider = Provider(asynchronous=False)
    api.reply(provider)
    stream = await api.stream(provider)
    reader = threading.Thread(target=lambda: list(stream))
    reader.start()
    reader.join()
    await ended(telemetry, "success")


async def test_opened_in_one_task_and_read_in_another(api: Api, telemetry: Telemetry) -> None:
    provider = Provider(asynchronous=True)
    api.reply(provider)
    stream = await asyncio.create_task(api.stream(provider))
    await asyncio.create_task(items(stream))
    await ended(telemetry, "success")


async def test_read_after_it_was_broken_off(api: Api, provider: Provider, telemetry: Telemetry) -> None:
    api.reply(provider)
    stream = await api.stream(provider)
    first = [await now(anext(stream) if provider.asynchronous else next(stream)) for _ in range(3)]
    assert not calls(telemetry)
    rest = await items(stream)
    assert len(first) + len(rest) >= len(api.events) - 1
    await ended(telemetry, "success")


async def test_the_spans_of_the_application_between_chunks_are_not_children_of_the_call(
    api: Api, provider: Provider, telemetry: Telemetry, application: Any
) -> None:
    api.reply(provider)
    tracer = telemetry.tracer_provider.get_tracer("application")
    async for _ in each(await api.stream(provider)):
        with tracer.start_as_current_span("step"):
            pass
    parents = {span.parent.span_id for span in telemetry.spans if span.name == "step" and span.parent}
    assert parents == {application.get_span_context().span_id}


async def test_after_uninstrument_there_are_no_spans(api: Api, provider: Provider) -> None:
    with instrumented() as before:
        pass
    api.reply(provider)
    stream = await api.stream(provider)
    assert type(stream) in api.kinds
    await items(stream)
    assert not before.spans


async def test_a_stream_that_outlives_uninstrument_reads_on(api: Api, provider: Provider) -> None:
    with instrumented():
        api.reply(provider)
        stream = await api.stream(provider)
        first = await now(anext(stream) if provider.asynchronous else next(stream))
    rest = await items(stream)
    assert first is not None
    assert len(rest) >= len(api.events) - 2


@pytest.mark.parametrize("asynchronous", [False, True], ids=["sync", "async"])
async def test_abandoned_streams_leave_nothing_behind(api: Api, asynchronous: bool) -> None:
    async def left_after(streams: int) -> int:
        for _ in range(streams):
            provider = Provider(asynchronous=asynchronous)
            api.reply(provider)
            stream = await api.stream(provider)
            assert len(await items(stream, 1)) == 1
            del stream, provider
        gc.collect()
        # An event loop closes what an abandoned stream was reading in tasks of its own.
        while closing := asyncio.all_tasks() - {asyncio.current_task()}:
            await asyncio.wait(closing)
        gc.collect()
        assert genledger.flush(60)
        return sum(isinstance(one, (Call, StreamRecorder)) for one in gc.get_objects())

    with instrumented():
        first = await left_after(30)
        more = await left_after(200) - first
    # It also keeps the contexts of what it ran last, and the calls in them, but not of more and more.
    assert more <= (20 if asynchronous else 0)
