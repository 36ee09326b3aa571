"""Clients with one private method: it parses answers, streamed at once or when read, or gives lines or the response."""

from __future__ import annotations

import asyncio
import json
import sys
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import httpx
import pytest
from opentelemetry import trace
from opentelemetry.context import get_current
from tests.instrumentation_clients import ANSWER, CHAT, PRICE, USAGE
from tests.instrumentors.provider import items, now
from tests.instrumentors.telemetry import Telemetry, instrumented

import genledger
from genledger.engine.operation import Endpoint, Operation
from genledger.engine.outcome import ErrorEvent
from genledger.instrumentation.adapters.request_method import Request, RequestClient, follow_lines
from genledger.instrumentation.patching import Patcher
from genledger_semconv.checker import assert_clean

CHUNKS: list[dict[str, Any]] = [{"text": "Pa"}, {"text": "ris"}, {"usage": USAGE}]


class Client:
    """Sends when its generators are read, or at once, as a subclass says; `broken` is raised before anything."""

    broken: Exception | None = None

    def __init__(self) -> None:
        self.sent: list[trace.Span] = []

    def _send(self) -> None:
        self.sent.append(trace.get_current_span())
        if self.broken is not None:
            raise self.broken

    def request(self, body: dict[str, Any], *, stream: bool = False) -> Any:
        if not stream:
            self._send()
            return ANSWER
        return self._items()

    async def arequest(self, body: dict[str, Any], *, stream: bool = False) -> Any:
        if not stream:
            self._send()
            return ANSWER
        return self._aitems()

    def _items(self) -> Iterator[Any]:
        self._send()
        yield from CHUNKS

    async def _aitems(self) -> AsyncIterator[Any]:
        self._send()
        for chunk in CHUNKS:
            yield chunk


class Eager(Client):
    """Sends at once, and gives the lines of a stream."""

    def _items(self) -> Iterator[Any]:
        self._send()
        return iter(lines())

    def _aitems(self) -> AsyncIterator[Any]:
        self._send()
        return self._alines()

    async def _alines(self) -> AsyncIterator[Any]:
        for line in lines():
            yield line


def lines() -> list[Any]:
    """Lines as clients have them: text or bytes, with empty ones in between."""
    events: list[Any] = []
    for chunk in CHUNKS:
        events += [f"data: {json.dumps(chunk)}", ""]
    return [*events, b"data: [DONE]", "not read"]


@pytest.fixture
def telemetry(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Telemetry]:
    monkeypatch.setenv("GENLEDGER_LEDGER", str(tmp_path / "ledger.db"))
    with instrumented() as telemetry:
        yield telemetry
        assert_clean(telemetry.spans, telemetry.metrics, telemetry.logs)
        assert not telemetry.open.spans
        assert not telemetry.complaints.other


def patched(cls: type[Any], **options: Any) -> Patcher:
    """A class whose two methods are patched."""
    module = ModuleType("private_requests")
    module.Client = cls  # type: ignore[attr-defined]
    sys.modules["private_requests"] = module
    client = RequestClient(
        library="private-requests",
        methods=(("private_requests", "Client.request"), ("private_requests", "Client.arequest")),
        request=lambda client, args, kwargs: Request(
            CHAT, Endpoint.at("openai", "https://api.openai.com/v1"), args[0], bool(kwargs.get("stream"))
        ),
        write=lambda args, kwargs, changes: (({**args[0], **changes},), kwargs),
        **options,
    )
    patcher = Patcher(client.patches())
    patcher.apply()
    return patcher


@pytest.fixture
def lazy(telemetry: Telemetry) -> Iterator[Client]:
    patcher = patched(Client, lazy=True)
    yield Client()
    patcher.restore()
    del sys.modules["private_requests"]


@pytest.fixture
def eager(telemetry: Telemetry) -> Iterator[Client]:
    patcher = patched(Eager, follow=follow_lines)
    yield Eager()
    patcher.restore()
    del sys.modules["private_requests"]


async def answered(called: Any) -> Any:
    """The answer, whole or in all its items."""
    result = await now(called)
    return result if result is ANSWER else await items(result)


METHODS = pytest.mark.parametrize("method", ["request", "arequest"])
BODY = {"model": "gpt-4o"}


@METHODS
@pytest.mark.parametrize("stream", [False, True])
async def test_a_request_is_one_priced_call_that_is_current_while_it_is_sent(
    lazy: Client, telemetry: Telemetry, method: str, stream: bool
) -> None:
    before = get_current()
    assert await answered(getattr(lazy, method)(BODY, stream=stream)) == (CHUNKS if stream else ANSWER)
    assert get_current() is before
    assert telemetry.attributes["genledger.cost.amount"] == pytest.approx(PRICE)
    (current,) = lazy.sent
    assert current.get_span_context().span_id == telemetry.span.get_span_context().span_id


@METHODS
async def test_a_stream_that_sends_when_it_is_read_is_a_call_from_then_on(
    lazy: Client, telemetry: Telemetry, method: str
) -> None:
    with genledger.attribution(tenant="maker"):
        dropped, stream = [await now(getattr(lazy, method)(BODY, stream=True)) for _ in range(2)]
    del dropped
    assert not lazy.sent
    assert not telemetry.spans
    await items(stream)
    assert telemetry.attributes["genledger.tenant.id"] == "maker"


@METHODS
@pytest.mark.parametrize("stream", [False, True])
async def test_a_request_that_fails_is_a_failed_call(
    lazy: Client, telemetry: Telemetry, method: str, stream: bool
) -> None:
    lazy.broken = ValueError("no")
    with pytest.raises(ValueError, match="no"):
        await answered(getattr(lazy, method)(BODY, stream=stream))
    assert telemetry.attributes["genledger.outcome"] == "error"
    assert telemetry.attributes["error.type"] == "ValueError"


@METHODS
async def test_lines_of_events_are_read_up_to_the_last_event(eager: Client, telemetry: Telemetry, method: str) -> None:
    stream = await now(getattr(eager, method)(BODY, stream=True))
    read = await items(stream, len(lines()) - 1)  # as the client does, which then reads no further
    assert read == lines()[:-1]
    assert telemetry.attributes["genledger.outcome"] == "success"
    assert telemetry.attributes["genledger.cost.amount"] == pytest.approx(PRICE)


@METHODS
async def test_lines_that_nobody_reads_on_are_a_cancelled_call(
    eager: Client, telemetry: Telemetry, method: str
) -> None:
    stream = await now(getattr(eager, method)(BODY, stream=True))
    await items(stream, 1)
    del stream
    assert telemetry.attributes["genledger.outcome"] == "cancelled"
    assert telemetry.attributes["genledger.usage.estimated"] is True


class Responding:
    """Gives HTTP responses."""

    def __init__(self, content: bytes, kind: str = "application/json") -> None:
        response = httpx.Response(200, headers={"content-type": kind}, content=content)
        self._http = httpx.Client(transport=httpx.MockTransport(lambda request: response))
        self._async_http = httpx.AsyncClient(transport=httpx.MockTransport(lambda request: response))

    def request(self, body: dict[str, Any], *, stream: bool = False) -> Any:
        sent = self._http.build_request("POST", "https://api.openai.com/v1", json=body)
        return self._http.send(sent, stream=stream)

    async def arequest(self, body: dict[str, Any], *, stream: bool = False) -> Any:
        sent = self._async_http.build_request("POST", "https://api.openai.com/v1", json=body)
        return await self._async_http.send(sent, stream=stream)


def unwrapped(operation: Operation, answer: Any) -> Any:
    """The answer in an envelope, which may have an error instead."""
    if "code" in answer:
        raise ErrorEvent(answer)
    return answer["result"]


@pytest.fixture
def responding(telemetry: Telemetry) -> Iterator[None]:
    patcher = patched(Responding, answer=unwrapped, responds=True)
    yield
    patcher.restore()
    del sys.modules["private_requests"]


async def response_of(client: Responding, method: str, *, stream: bool = False) -> Any:
    """The response, read to its end."""
    response = await now(getattr(client, method)(BODY, stream=stream))
    await (response.aread() if method == "arequest" else asyncio.to_thread(response.read))
    return response


@METHODS
async def test_a_response_is_read_as_the_client_says(responding: None, telemetry: Telemetry, method: str) -> None:
    response = await response_of(Responding(json.dumps({"result": ANSWER}).encode()), method)
    assert response.json() == {"result": ANSWER}
    assert telemetry.attributes["genledger.cost.amount"] == pytest.approx(PRICE)


@METHODS
async def test_a_response_that_streams_is_read_as_it_comes(responding: None, telemetry: Telemetry, method: str) -> None:
    content = "\n".join(str(line) for line in lines()[:-2]).encode()
    response = await response_of(Responding(content, "text/event-stream"), method, stream=True)
    assert response.content == content
    assert telemetry.attributes["genledger.cost.amount"] == pytest.approx(PRICE)


@METHODS
async def test_an_answer_that_is_an_error_is_a_failed_call(responding: None, telemetry: Telemetry, method: str) -> None:
    await response_of(Responding(b'{"code": "Throttling", "message": "No."}'), method)
    assert telemetry.attributes["genledger.outcome"] == "rate_limited"
    assert telemetry.attributes["error.type"] == "Throttling"
    assert "genledger.cost.amount" not in telemetry.attributes


@METHODS
async def test_an_event_that_is_named_an_error_is_one(responding: None, telemetry: Telemetry, method: str) -> None:
    content = b'event: piece\ndata: {"text": "Pa"}\n\nevent:error\ndata: {"code": "Throttling"}\n\n'
    await response_of(Responding(content, "text/event-stream"), method, stream=True)
    assert telemetry.attributes["genledger.outcome"] == "rate_limited"
    assert telemetry.attributes["error.type"] == "Throttling"


@METHODS
async def test_a_code_in_any_other_event_is_no_error(responding: None, telemetry: Telemetry, method: str) -> None:
    content = b'event: error\n\nevent: piece\ndata: {"text": "Pa", "code": "print()"}\n\n'
    content += f"data: {json.dumps(CHUNKS[-1])}\n\n".encode()
    await response_of(Responding(content, "text/event-stream"), method, stream=True)
    assert telemetry.attributes["genledger.outcome"] == "success"
