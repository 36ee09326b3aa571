"""fal's client beyond the contract: every way in which a request may end."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from tests.contract.rows.fal_client import MODEL, PRICES, PROMPT, UNITS, make, queued, result
from tests.contract.server import Reply, Server, json_reply, sse

import genledger
from genledger_semconv.checker import assert_clean

from ..provider import items, now
from ..telemetry import Telemetry, instrumented

fal_client = pytest.importorskip("fal_client")

COST = 2 * 0.01
IMAGES = {"images": [{"url": "https://example.com/a.png", "content_type": "image/png"}], "seed": 1}


@pytest.fixture
def capturing() -> Iterator[Telemetry]:
    with instrumented(libraries=["fal-client"], prices=PRICES, capture_content="span") as telemetry:
        yield telemetry
        assert_clean(telemetry.spans, telemetry.metrics, telemetry.logs, capture_content=True)
        assert not telemetry.complaints.other
        assert not telemetry.open.spans


@pytest.fixture
def client(server: Server, asynchronous: bool) -> Any:
    return make(server.url, asynchronous, 0)


async def test_a_request_that_is_answered_at_once_is_a_call(server: Server, client: Any, capturing: Telemetry) -> None:
    server.will(result(IMAGES, **{"x-fal-request-id": "r1"}))
    assert await now(client.run(MODEL, {"prompt": PROMPT})) == IMAGES
    attributes = capturing.attributes
    assert capturing.span.name == f"generate_content {MODEL}"
    assert attributes["genledger.usage.billable_unit"] == 2
    assert attributes["genledger.cost.amount"] == pytest.approx(COST)
    assert attributes["gen_ai.response.id"] == "r1"
    assert "https://example.com/a.png" in attributes["gen_ai.output.messages"]


async def test_a_path_is_a_part_of_the_models_name(server: Server, client: Any, capturing: Telemetry) -> None:
    server.will(result(IMAGES))
    await now(client.run("fal-ai/flux", {"prompt": PROMPT}, path="/dev"))
    assert capturing.attributes["gen_ai.request.model"] == "fal-ai/flux/dev"
    assert capturing.attributes["genledger.cost.unpriced"]


async def test_a_queued_request_belongs_to_who_submits_it(server: Server, client: Any, capturing: Telemetry) -> None:
    server.will(queued(server.url, "q1"))
    with genledger.attribution(tenant="acme"):
        handle = await now(client.submit(MODEL, {"prompt": PROMPT}))
    server.will(json_reply({"status": "IN_PROGRESS", "logs": None}))
    await now(handle.status())
    assert capturing.open.spans
    done = json_reply({"status": "COMPLETED", "logs": None, "metrics": {}})
    server.will(done, result())
    with genledger.attribution(tenant="somebody else"):
        await now(handle.get())
    attributes = capturing.attributes
    assert attributes["genledger.tenant.id"] == "acme"
    assert attributes["gen_ai.response.id"] == "q1"
    assert attributes["genledger.cost.amount"] == pytest.approx(COST)


async def test_a_result_that_is_a_failure_ends_it(server: Server, client: Any, capturing: Telemetry) -> None:
    server.will(queued(server.url, "q1"))
    handle = await now(client.submit(MODEL, {"prompt": PROMPT}))
    done = json_reply({"status": "COMPLETED", "logs": None, "metrics": {}})
    server.will(done, json_reply({"detail": "no"}, 422))
    with pytest.raises(Exception, match=r"."):
        await now(handle.get())
    attributes = capturing.attributes
    assert attributes["genledger.outcome"] == "error"
    assert attributes["error.type"] == "422"
    assert "genledger.cost.amount" not in attributes


async def test_a_status_that_tells_of_a_failure_ends_it(server: Server, client: Any, capturing: Telemetry) -> None:
    server.will(queued(server.url, "q1"))
    handle = await now(client.submit(MODEL, {"prompt": PROMPT}))
    failed = {"status": "COMPLETED", "logs": None, "error": "no runner", "error_type": "runner_scheduling_failure"}
    server.will(json_reply(failed))
    await now(handle.status())
    assert capturing.attributes["error.type"] == "runner_scheduling_failure"
    assert capturing.attributes["genledger.outcome"] == "error"


async def test_a_cancelled_request_is_cancelled(server: Server, client: Any, capturing: Telemetry) -> None:
    server.will(queued(server.url, "q1"))
    handle = await now(client.submit(MODEL, {"prompt": PROMPT}))
    server.will(json_reply({"status": "CANCELLATION_REQUESTED"}, 202))
    await now(handle.cancel())
    assert capturing.attributes["genledger.outcome"] == "cancelled"
    assert "genledger.cost.amount" not in capturing.attributes


async def test_a_result_that_counts_nothing_is_visibly_unpriced(
    server: Server, client: Any, capturing: Telemetry
) -> None:
    server.will(json_reply(IMAGES))
    await now(client.run(MODEL, {"prompt": PROMPT}))
    assert capturing.attributes["genledger.cost.unpriced"] == "no_usage"


async def test_attempts_are_counted(server: Server, asynchronous: bool, capturing: Telemetry) -> None:
    client = make(server.url, asynchronous, 2)
    server.will(json_reply({"detail": "wait"}, 429), result(IMAGES))
    await now(client.run(MODEL, {"prompt": PROMPT}))
    attributes = capturing.attributes
    assert attributes["genledger.attempts"] == 2
    assert attributes["genledger.retry.causes"] == ("429",)
    assert attributes["genledger.cost.amount"] == pytest.approx(COST)


async def test_a_budget_degrades_the_model_in_the_address(server: Server, client: Any, tmp_path: Path) -> None:
    rules = tmp_path / "rules.toml"
    degrade = 'degrade = { model = "fal-ai/flux/schnell" }'
    rules.write_text(f'[[budget]]\nname="cheap"\nusd=0.001\nper="day"\nat_limit="degrade"\n{degrade}\n')
    server.will(result(IMAGES))
    with instrumented(libraries=["fal-client"], prices=PRICES, budgets=str(rules), budget_store="memory:"):
        await now(client.run(MODEL, {"prompt": PROMPT, "num_images": 2}))
        (request,) = server.requests
        assert request.path == "/fal-ai/flux/schnell"
        assert request.json == {"prompt": PROMPT, "num_images": 2}
        server.will(events())
        await items(client.stream(MODEL, {"prompt": PROMPT}))
        (request,) = server.requests
        assert request.path == "/fal-ai/flux/schnell/stream"


def events(**headers: str) -> Reply:
    """A stream of results, each of which takes the place of the one before."""
    parts = [{"output": "The capital", "partial": True}, {"output": "The capital is Paris.", "partial": False}]
    return Reply(200, "text/event-stream", sse(*parts), headers)


async def test_a_stream_belongs_to_who_asked_for_it_and_is_priced_by_its_header(
    server: Server, client: Any, capturing: Telemetry
) -> None:
    server.will(events(**UNITS))
    with genledger.attribution(tenant="asked"):
        stream = client.stream(MODEL, {"prompt": PROMPT})
    assert server.requests == []
    with genledger.attribution(tenant="reads"):
        assert len(await items(stream)) == 2
    attributes = capturing.attributes
    assert attributes["genledger.tenant.id"] == "asked"
    assert attributes["gen_ai.request.model"] == MODEL
    assert attributes["genledger.cost.amount"] == pytest.approx(COST)
    assert attributes["gen_ai.request.stream"] is True
    assert attributes["gen_ai.response.time_to_first_chunk"] > 0
    assert attributes["genledger.usage.billable_unit"] == 2
    assert attributes["genledger.outcome"] == "success"
    assert PROMPT in attributes["gen_ai.input.messages"]
    assert "The capital is Paris." in attributes["gen_ai.output.messages"]


async def test_a_stream_that_is_left_is_cancelled(server: Server, client: Any, capturing: Telemetry) -> None:
    whole = events()
    server.will(Reply(200, whole.kind, whole.body[:1], hangs=True))
    stream = client.stream(MODEL, {"prompt": PROMPT})
    await items(stream, 1)
    await now(stream.aclose() if hasattr(stream, "aclose") else stream.close())
    assert capturing.attributes["genledger.outcome"] == "cancelled"
    assert capturing.attributes["genledger.cost.unpriced"]
