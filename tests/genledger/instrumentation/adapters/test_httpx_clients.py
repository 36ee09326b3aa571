"""Clients with an HTTP client class of their own, and loops that repeat its requests."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import httpx
import pytest
import requests
from tests.contract.server import Reply, Server, json_reply, serving, sse
from tests.instrumentation_clients import ANSWER, CHAT, PRICE, USAGE
from tests.instrumentors.telemetry import Telemetry, attributes_of, instrumented

from genledger.instrumentation.adapters.httpx_clients import HttpxClient, Loop
from genledger.instrumentation.adapters.wire import WireClient
from genledger.instrumentation.patching import Patcher
from genledger_semconv.checker import assert_clean

MODULE = "http_class"
STREAM = Reply(200, "text/event-stream", sse({"text": "Pa"}, {"text": "ris"}, {"usage": USAGE}))


class Http(httpx.Client):
    """The client's own class."""


class Model:
    """Sends by httpx and by requests, each until it works."""

    def __init__(self) -> None:
        self.http = Http()
        self.each = self._repeat

    def _repeat(self, *, url: str, json: dict[str, Any]) -> Any:
        response = self.http.post(url, json=json)
        return response if response.status_code < 400 else self.http.post(url, json=json)

    def loop(self, *, url: str, json: dict[str, Any]) -> Any:
        return requests.post(url, json=json)

    def stream(self, *, url: str, json: dict[str, Any]) -> Any:
        return requests.post(url, json=json, stream=True)


@pytest.fixture
def server() -> Iterator[Server]:
    with serving() as server:
        yield server


@pytest.fixture
def telemetry(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Telemetry]:
    monkeypatch.setenv("GENLEDGER_LEDGER", str(tmp_path / "ledger.db"))
    module = ModuleType(MODULE)
    module.Http, module.Model = Http, Model  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, MODULE, module)
    client = WireClient("http-class", {"/v1/*/chat": CHAT}, lambda http, host: "openai", model="model_id")
    loops = (
        Loop(MODULE, "Model", "each", held=True),
        Loop(MODULE, "Model", "loop"),
        Loop(MODULE, "Model", "stream", streams=True),
    )
    patcher = Patcher(HttpxClient(client, ((MODULE, "Http"),), loops).patches())
    with instrumented() as telemetry:
        patcher.apply()
        yield telemetry
        patcher.restore()
        assert "send" not in vars(Http)
        assert "each" not in vars(Model)
        assert_clean(telemetry.spans, telemetry.metrics, telemetry.logs)
        assert not telemetry.open.spans
        assert not telemetry.complaints.other


def asked(server: Server) -> dict[str, Any]:
    return {"url": f"{server.url}/v1/here/chat?version=1", "json": {"model_id": "gpt-4o", "prompt": "Hi"}}


def test_what_a_loop_sends_again_is_an_attempt(server: Server, telemetry: Telemetry) -> None:
    server.will(json_reply({}, 429), json_reply(ANSWER))
    assert Model().each(**asked(server)).json() == ANSWER
    assert len(server.requests) == 2
    assert telemetry.attributes["genledger.attempts"] == 2
    assert telemetry.attributes["gen_ai.request.model"] == "gpt-4o"
    assert telemetry.attributes["genledger.cost.amount"] == pytest.approx(PRICE)


def test_a_request_that_no_loop_repeats_is_a_call(server: Server, telemetry: Telemetry) -> None:
    server.will(json_reply(ANSWER))
    given = asked(server)
    http = Http()
    http.post(given["url"], json=given["json"])
    http.post(f"{server.url}/v1/tokens", json={})
    with http.stream("POST", **given) as response:
        response.read()
    assert [attributes_of(span)["genledger.cost.amount"] for span in telemetry.spans] == [pytest.approx(PRICE)] * 2


def test_an_answer_of_requests_is_read(server: Server, telemetry: Telemetry) -> None:
    server.will(json_reply(ANSWER))
    assert Model().loop(**asked(server)).json() == ANSWER
    assert telemetry.attributes["genledger.cost.amount"] == pytest.approx(PRICE)


@pytest.mark.parametrize("read", [1, None])
def test_a_stream_of_requests_settles_when_it_is_read_or_left(
    server: Server, telemetry: Telemetry, read: int | None
) -> None:
    server.will(STREAM)
    with Model().stream(**asked(server)) as response:
        lines = response.iter_lines()
        if read is None:
            assert json.loads([line for line in lines if line][-1].removeprefix(b"data: ")) == {"usage": USAGE}
        else:
            next(lines)
            lines.close()
    assert telemetry.attributes["genledger.outcome"] == ("success" if read is None else "cancelled")
    assert telemetry.attributes["genledger.cost.amount"] > 0
