"""OpenAI's Realtime API, over a real socket: one span for each response, with its own usage."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import openai
import pytest
from opentelemetry.trace import StatusCode
from websockets.exceptions import ConnectionClosedError
from websockets.sync.server import ServerConnection, serve

import genledger
from genledger import BudgetExceeded
from genledger.engine.parents import add_resolver, remove_resolver
from genledger.engine.steps import Step, start_step
from genledger_semconv.checker import assert_clean

from ..provider import Within, now
from ..telemetry import Telemetry, instrumented, surroundings

MODEL = "gpt-realtime"
USAGE = {
    "total_tokens": 253,
    "input_tokens": 132,
    "output_tokens": 121,
    "input_token_details": {
        "text_tokens": 119,
        "audio_tokens": 13,
        "image_tokens": 0,
        "cached_tokens": 64,
        "cached_tokens_details": {"text_tokens": 64, "audio_tokens": 0, "image_tokens": 0},
    },
    "output_token_details": {"text_tokens": 30, "audio_tokens": 91},
}
SESSION = {
    "type": "realtime",
    "object": "realtime.session",
    "id": "sess_1",
    "model": MODEL,
    "audio": {"input": {"transcription": {"model": "gpt-4o-mini-transcribe"}}},
}


def response(name: str, **fields: Any) -> dict[str, Any]:
    return {"object": "realtime.response", "id": name, "conversation_id": "conv_1", "output": [], **fields}


def created(name: str) -> dict[str, Any]:
    return {"type": "response.created", "event_id": "e", "response": response(name, status="in_progress")}


def delta(name: str, piece: str, kind: str = "output_audio_transcript") -> dict[str, Any]:
    place = {"item_id": "item_1", "output_index": 0, "content_index": 0}
    return {"type": f"response.{kind}.delta", "event_id": "e", "response_id": name, "delta": piece, **place}


def done(name: str, **fields: Any) -> dict[str, Any]:
    spoken = {"type": "output_audio", "transcript": "Paris it is."}
    output = [{"id": "item_1", "type": "message", "role": "assistant", "status": "completed", "content": [spoken]}]
    whole = response(name, **({"status": "completed", "usage": USAGE, "output": output} | fields))
    return {"type": "response.done", "event_id": "e", "response": whole}


def whole(name: str) -> list[dict[str, Any]]:
    return [created(name), delta(name, "UGFyaXM=", "output_audio"), delta(name, "Paris it is."), done(name)]


class Server:
    """The provider's end: answers each `response.create` with the next of `turns`, and says `hello` first.

    A turn is events; a `None` among them hangs up, a number closes with that code.
    """

    def __init__(self, port: int, hello: list[Any], turns: list[list[Any]]) -> None:
        self.address = f"ws://127.0.0.1:{port}/v1"
        self.hello = hello
        self.turns = turns


@contextmanager
def serving(*turns: list[Any], hello: list[Any] | None = None) -> Iterator[Server]:
    """A provider on a port of this machine."""
    left = list(turns)

    def say(connection: ServerConnection, events: list[Any]) -> None:
        for event in events:
            if isinstance(event, int):
                connection.close(event)
            else:
                connection.send(json.dumps(event))

    def handle(connection: ServerConnection) -> None:
        say(connection, [{"type": "session.created", "event_id": "e", "session": SESSION}, *(hello or [])])
        for message in connection:
            if json.loads(message)["type"] == "response.create" and left:
                say(connection, left.pop(0))

    with serve(handle, "127.0.0.1", 0) as server:
        thread = threading.Thread(target=server.serve_forever, daemon=True)
        thread.start()
        yield Server(server.socket.getsockname()[1], hello or [], left)
        server.shutdown()
        thread.join()


@pytest.fixture(params=[False, True], ids=["sync", "async"])
def asynchronous(request: pytest.FixtureRequest) -> bool:
    return bool(request.param)


@pytest.fixture(params=["realtime", "beta"])
def api(request: pytest.FixtureRequest) -> str:
    return str(request.param)


def connect(server: Server, asynchronous: bool, api: str = "realtime") -> Any:
    kind: Any = openai.AsyncOpenAI if asynchronous else openai.OpenAI
    client = kind(api_key="test", websocket_base_url=server.address)
    resource = client.realtime if api == "realtime" else client.beta.realtime
    return resource.connect(model=MODEL)


async def until(connection: Any, kind: str, count: int = 1) -> list[Any]:
    """The events up to the `count`-th of a kind."""
    events = []
    while count:
        events.append(await now(connection.recv()))
        count -= events[-1].type == kind
    return events


async def test_each_response_is_a_span_with_its_own_usage_and_cost(
    asynchronous: bool, api: str, telemetry: Telemetry
) -> None:
    before = surroundings()
    with serving(whole("resp_1"), whole("resp_2")) as server:
        async with Within(connect(server, asynchronous, api)) as connection:
            for name in ("resp_1", "resp_2"):
                await now(connection.response.create(response={"max_output_tokens": 200}))
                events = await until(connection, "response.done")
                assert events[-1].response.id == name
                assert surroundings() == before
    assert [span.name for span in telemetry.spans] == [f"realtime {MODEL}"] * 2
    for span, name in zip(telemetry.spans, ("resp_1", "resp_2"), strict=True):
        attributes = dict(span.attributes or {})
        assert attributes["gen_ai.response.id"] == name
        assert attributes["gen_ai.conversation.id"] == "conv_1"
        assert attributes["gen_ai.request.max_tokens"] == 200
        assert attributes["gen_ai.usage.input_tokens"] == 132
        assert attributes["gen_ai.usage.output_tokens"] == 121
        assert attributes["gen_ai.response.finish_reasons"] == ("stop",)
        assert attributes["server.address"] == "127.0.0.1"
        assert "gen_ai.response.time_to_first_chunk" in attributes
        assert attributes["genledger.outcome"] == "success"
        # OpenAI's price list for gpt-realtime, per million: text 4 in, 0.40 cached, 16 out; audio 32 in, 64 out.
        expected = ((119 - 64) * 4 + 64 * 0.4 + 13 * 32 + 30 * 16 + 91 * 64) / 1e6
        assert attributes["genledger.cost.amount"] == pytest.approx(expected)


async def test_a_response_belongs_to_whom_it_was_asked_for(asynchronous: bool, telemetry: Telemetry) -> None:
    with serving(whole("resp_1"), whole("resp_2"), hello=whole("resp_0")) as server:
        with genledger.attribution(tenant="who-connected"):
            manager = connect(server, asynchronous)
            connection = await now(manager.enter())
        await until(connection, "response.done")
        for tenant in ("one", "two"):
            with genledger.attribution(tenant=tenant):
                await now(connection.response.create())
            await until(connection, "response.done")
        await now(connection.close())
    tenants = [(span.attributes or {})["genledger.tenant.id"] for span in telemetry.spans]
    assert tenants == ["who-connected", "one", "two"]


async def test_a_response_that_nobody_asked_for_belongs_to_the_step_in_which_the_session_was_opened(
    asynchronous: bool, telemetry: Telemetry
) -> None:
    step, running = start_step("agent", "clerk"), True

    def resolve() -> Step | None:
        return step if running else None

    add_resolver(resolve)
    try:
        with serving(hello=whole("resp_0")) as server:
            async with Within(connect(server, asynchronous)) as connection:
                running = False
                await until(connection, "response.done")
    finally:
        remove_resolver(resolve)
        step.end()
    response, _ = telemetry.spans
    assert response.parent == step.span.get_span_context()


async def test_a_response_that_is_open_when_the_application_closes_is_cancelled(
    asynchronous: bool, telemetry: Telemetry
) -> None:
    with serving([created("resp_1"), delta("resp_1", "Paris " * 40)]) as server:
        async with Within(connect(server, asynchronous)) as connection:
            await now(connection.response.create())
            await until(connection, "response.output_audio_transcript.delta")
    attributes = telemetry.attributes
    assert attributes["genledger.outcome"] == "cancelled"
    assert "error.type" not in attributes
    assert attributes["genledger.usage.estimated"] is True
    assert attributes["gen_ai.usage.output_tokens"] > 20


async def test_a_connection_that_breaks_fails_the_response(asynchronous: bool, telemetry: Telemetry) -> None:
    with serving([created("resp_1"), 1011]) as server:
        async with Within(connect(server, asynchronous)) as connection:
            await now(connection.response.create())
            with pytest.raises(ConnectionClosedError):
                await until(connection, "response.done")
    assert telemetry.attributes["error.type"] == "websockets.exceptions.ConnectionClosedError"
    assert telemetry.span.status.status_code is StatusCode.ERROR


@pytest.mark.parametrize("event_id", [None, "mine"])
async def test_a_request_that_is_refused_is_a_failed_call(
    asynchronous: bool, telemetry: Telemetry, event_id: str | None
) -> None:
    error = {"type": "invalid_request_error", "code": "conversation_already_has_active_response", "message": "No."}
    refused = {"type": "error", "event_id": "e", "error": error | {"event_id": event_id}}
    with serving([created("resp_1")], [refused, done("resp_1")]) as server:
        async with Within(connect(server, asynchronous)) as connection:
            await now(connection.response.create())
            await until(connection, "response.created")
            await now(connection.send({"type": "response.create", "event_id": "mine"}))
            await until(connection, "response.done")
    failed, succeeded = telemetry.spans
    assert (failed.attributes or {})["error.type"] == "conversation_already_has_active_response"
    assert "genledger.cost.unpriced" not in (failed.attributes or {})
    assert (succeeded.attributes or {})["genledger.outcome"] == "success"


async def test_an_interrupted_response_is_cancelled_with_the_usage_that_it_had(
    asynchronous: bool, telemetry: Telemetry
) -> None:
    details = {"type": "cancelled", "reason": "turn_detected"}
    with serving([created("resp_1"), done("resp_1", status="cancelled", status_details=details)]) as server:
        async with Within(connect(server, asynchronous)) as connection:
            await now(connection.response.create())
            await until(connection, "response.done")
    attributes = telemetry.attributes
    assert attributes["genledger.outcome"] == "cancelled"
    assert attributes["gen_ai.usage.output_tokens"] == 121
    assert "genledger.usage.estimated" not in attributes


async def test_a_response_that_fails_says_why(asynchronous: bool, telemetry: Telemetry) -> None:
    details = {"type": "failed", "error": {"type": "server_error", "code": "rate_limit_exceeded"}}
    failed = done("resp_1", status="failed", status_details=details, usage=None, output=[])
    with serving([created("resp_1"), failed]) as server:
        async with Within(connect(server, asynchronous)) as connection:
            await now(connection.response.create())
            await until(connection, "response.done")
    assert telemetry.attributes["error.type"] == "rate_limit_exceeded"
    assert telemetry.attributes["genledger.outcome"] == "error"


async def test_what_the_user_says_is_transcribed_at_the_price_of_another_model(
    asynchronous: bool, telemetry: Telemetry
) -> None:
    usage = {
        "type": "tokens",
        "total_tokens": 48,
        "input_tokens": 38,
        "output_tokens": 10,
        "input_token_details": {"text_tokens": 0, "audio_tokens": 38},
    }
    said = {
        "type": "conversation.item.input_audio_transcription.completed",
        "event_id": "e",
        "item_id": "item_0",
        "content_index": 0,
        "transcript": "Where to?",
        "usage": usage,
    }
    with serving(hello=[said]) as server:
        async with Within(connect(server, asynchronous)) as connection:
            await until(connection, said["type"])  # type: ignore[arg-type]
    assert telemetry.span.name == "transcription gpt-4o-mini-transcribe"
    assert telemetry.attributes["gen_ai.usage.input_tokens"] == 38
    # OpenAI's price list for gpt-4o-mini-transcribe, per million: audio 3 in, text 5 out.
    assert telemetry.attributes["genledger.cost.amount"] == pytest.approx((38 * 3 + 10 * 5) / 1e6)


async def test_content_is_captured_when_it_is_on(asynchronous: bool, capturing: Telemetry) -> None:
    with serving(whole("resp_1")) as server:
        async with Within(connect(server, asynchronous)) as connection:
            await now(connection.response.create(response={"instructions": "Be brief."}))
            await until(connection, "response.done")
    assert "Be brief." in capturing.attributes["gen_ai.system_instructions"]
    assert "Paris it is." in capturing.attributes["gen_ai.output.messages"]


async def test_a_budget_says_no_before_the_response_is_asked_for(asynchronous: bool, tmp_path: Path) -> None:
    rules = tmp_path / "budgets.toml"
    rules.write_text('[[budget]]\ntenant = "each"\nrequests = 1\nper = "day"\n')
    with (
        instrumented(budgets=str(rules), budget_store="memory:") as telemetry,
        serving(whole("resp_1"), whole("resp_2")) as server,
        genledger.attribution(tenant="acme"),
    ):
        async with Within(connect(server, asynchronous)) as connection:
            await now(connection.response.create())
            await until(connection, "response.done")
            with pytest.raises(BudgetExceeded):
                await now(connection.response.create())
        assert len(server.turns) == 1, "the provider was asked all the same"
        outcomes = [(span.attributes or {})["genledger.outcome"] for span in telemetry.spans]
        assert outcomes == ["success", "blocked"]
        assert_clean(telemetry.spans)


async def test_a_degrading_budget_does_not_rename_the_model_of_a_session(asynchronous: bool, tmp_path: Path) -> None:
    rules = tmp_path / "budgets.toml"
    rules.write_text(
        '[[budget]]\nname = "soft"\nrequests = 1\nper = "day"\nat_limit = "degrade"\n'
        'degrade = { model = "gpt-4.1-nano" }\n'
    )
    with (
        instrumented(budgets=str(rules), budget_store="memory:") as telemetry,
        serving(whole("resp_1"), whole("resp_2")) as server,
    ):
        async with Within(connect(server, asynchronous)) as connection:
            for _ in range(2):
                await now(connection.response.create())
                await until(connection, "response.done")
        first, second = (dict(span.attributes or {}) for span in telemetry.spans)
        assert second["gen_ai.request.model"] == first["gen_ai.request.model"] != "gpt-4.1-nano"
        assert second["genledger.cost.amount"] == first["genledger.cost.amount"]


async def test_what_the_application_gets_is_what_it_had(asynchronous: bool) -> None:
    async def seen() -> list[Any]:
        with serving(whole("resp_1")) as server:
            async with Within(connect(server, asynchronous)) as connection:
                kind = type(connection)
                await now(connection.response.create())
                return [kind, vars(connection).keys(), *(await until(connection, "response.done"))]

    before = await seen()
    with instrumented():
        during = await seen()
    assert during == before


def test_uninstrumenting_puts_the_methods_back() -> None:
    from openai.resources.realtime.realtime import (
        AsyncRealtimeConnection,
        RealtimeConnection,
        RealtimeConnectionManager,
    )

    classes = (RealtimeConnection, AsyncRealtimeConnection, RealtimeConnectionManager)
    before = [dict(vars(kind)) for kind in classes]
    with instrumented():
        assert vars(RealtimeConnection)["send"] is not before[0]["send"]
    assert [dict(vars(kind)) for kind in classes] == before
