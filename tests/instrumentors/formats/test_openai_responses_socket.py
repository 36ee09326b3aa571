"""OpenAI's Responses API over a real socket: one span for each response, as for a stream."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import openai
import pytest
from openai.resources.responses import Responses
from websockets.sync.server import ServerConnection, serve

import genledger
from genledger import BudgetExceeded

from .. import openai_format as wire
from ..provider import Within, now
from ..telemetry import Telemetry, instrumented

MODEL = "gpt-4o"

pytestmark = pytest.mark.skipif(not hasattr(Responses, "connect"), reason="this version has no socket for responses")
REFUSED = {
    "type": "error",
    "status": 400,
    "error": {"code": "previous_response_not_found", "message": "No such response.", "type": "invalid_request_error"},
}


@contextmanager
def serving(*turns: list[Any]) -> Iterator[str]:
    """A provider on a port of this machine, which answers each request with the next turn; its address."""
    left = list(turns)

    def handle(connection: ServerConnection) -> None:
        for message in connection:
            if json.loads(message)["type"] == "response.create" and left:
                for event in left.pop(0):
                    connection.send(json.dumps(event))

    with serve(handle, "127.0.0.1", 0) as server:
        thread = threading.Thread(target=server.serve_forever, daemon=True)
        thread.start()
        yield f"ws://127.0.0.1:{server.socket.getsockname()[1]}/v1"
        server.shutdown()
        thread.join()


@pytest.fixture(params=[False, True], ids=["sync", "async"])
def asynchronous(request: pytest.FixtureRequest) -> bool:
    return bool(request.param)


def connect(address: str, asynchronous: bool) -> Any:
    kind: Any = openai.AsyncOpenAI if asynchronous else openai.OpenAI
    return kind(api_key="test", websocket_base_url=address).responses.connect()


async def until_end(connection: Any) -> Any:
    while True:
        event = await now(connection.recv())
        if event.type in ("response.completed", "error"):
            return event


async def test_each_response_is_a_priced_span(asynchronous: bool, telemetry: Telemetry) -> None:
    turn = wire.response_events()
    with serving(turn, turn) as address:
        async with Within(connect(address, asynchronous)) as connection:
            for tenant in ("one", "two"):
                with genledger.attribution(tenant=tenant):
                    await now(connection.response.create(model=MODEL, input="Hello", max_output_tokens=200))
                await until_end(connection)
    usage = turn[-1]["response"]["usage"]
    assert [(span.attributes or {})["genledger.tenant.id"] for span in telemetry.spans] == ["one", "two"]
    for span in telemetry.spans:
        attributes = dict(span.attributes or {})
        assert span.name == f"chat {MODEL}"
        assert attributes["gen_ai.usage.input_tokens"] == usage["input_tokens"]
        assert attributes["gen_ai.usage.output_tokens"] == usage["output_tokens"]
        assert attributes["gen_ai.request.max_tokens"] == 200
        assert attributes["gen_ai.response.finish_reasons"] == ("stop",)
        assert attributes["genledger.cost.amount"] > 0
        assert attributes["genledger.outcome"] == "success"
        assert attributes["server.address"] == "127.0.0.1"


async def test_a_request_that_is_refused_fails(asynchronous: bool, telemetry: Telemetry) -> None:
    with serving([REFUSED]) as address:
        async with Within(connect(address, asynchronous)) as connection:
            await now(connection.response.create(model=MODEL, input="Hello", previous_response_id="resp_0"))
            await until_end(connection)
    assert telemetry.attributes["error.type"] == "previous_response_not_found"
    assert telemetry.attributes["genledger.outcome"] == "error"


async def test_a_response_ends_with_the_connection_and_what_came_is_paid(
    asynchronous: bool, telemetry: Telemetry
) -> None:
    with serving(wire.response_events()[:-1]) as address:
        async with Within(connect(address, asynchronous)) as connection:
            await now(connection.response.create(model=MODEL, input="Hello"))
            for _ in range(4):
                await now(connection.recv())
    assert telemetry.attributes["genledger.outcome"] == "cancelled"
    assert telemetry.attributes["genledger.cost.amount"] > 0


async def test_a_budget_refuses_a_response_before_it_is_asked_for(asynchronous: bool, tmp_path: Path) -> None:
    rules = tmp_path / "budgets.toml"
    rules.write_text('[[budget]]\nname = "none"\nper = "day"\nrequests = 1\n')
    turn = wire.response_events()
    with instrumented(budgets=str(rules), budget_store="memory:") as telemetry, serving(turn, turn) as address:
        async with Within(connect(address, asynchronous)) as connection:
            await now(connection.response.create(model=MODEL, input="Hello"))
            await until_end(connection)
            with pytest.raises(BudgetExceeded):
                await now(connection.response.create(model=MODEL, input="Hello"))
        outcomes = [(span.attributes or {})["genledger.outcome"] for span in telemetry.spans]
    assert outcomes == ["success", "blocked"]
