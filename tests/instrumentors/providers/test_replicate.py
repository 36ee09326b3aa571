"""Replicate's predictions beyond the contract: every way in which a job can end, and who pays for it."""

from __future__ import annotations

import asyncio
import contextlib
import sqlite3
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from tests.contract.rows.replicate import METRICS, MODEL, PRICES, ReplicateServer, events, finished, make, prediction
from tests.contract.server import Reply, json_reply, serving
from tests.instrumentors.provider import items
from tests.instrumentors.telemetry import Telemetry, attributes_of, instrumented

import genledger
from genledger_semconv.checker import assert_clean

replicate = pytest.importorskip("replicate")

COST = 1000 * 0.65e-6 + 500 * 2.75e-6
RUNNING = json_reply(prediction("starting"), 201)
WAITING = json_reply(prediction("processing"))


@pytest.fixture
def server() -> Iterator[Any]:
    with serving(ReplicateServer) as server:
        yield server


@pytest.fixture
def client(server: Any) -> Any:
    return make(server.url, False, 0)


@contextlib.contextmanager
def recorded(**options: Any) -> Iterator[Telemetry]:
    with instrumented(libraries=["replicate"], prices=PRICES, **options) as telemetry:
        yield telemetry
        assert_clean(
            telemetry.spans, telemetry.metrics, telemetry.logs, capture_content=bool(options.get("capture_content"))
        )
        assert not telemetry.complaints.other


@pytest.fixture
def telemetry() -> Iterator[Telemetry]:
    with recorded() as telemetry:
        yield telemetry
        assert not telemetry.open.spans


def create(client: Any, **options: Any) -> Any:
    return client.models.predictions.create(MODEL, {"prompt": "Which capital?"}, **options)


def test_a_prediction_that_is_waited_for_is_one_call_of_who_created_it(
    server: Any, client: Any, telemetry: Telemetry
) -> None:
    server.will(RUNNING, WAITING, WAITING, finished())
    with genledger.attribution(tenant="acme"), genledger.observe("work") as run:
        made = create(client)
        assert telemetry.open.spans
    with genledger.attribution(tenant="somebody else"):
        made.wait()
        made.reload()
    assert len(server.requests) == 5
    said = attributes_of(telemetry.spans[-1])
    assert said["genledger.tenant.id"] == "acme"
    assert said["genledger.cost.amount"] == pytest.approx(COST)
    assert said["gen_ai.response.id"] == "p1"
    assert run.spend().usd == pytest.approx(COST)
    assert len(telemetry.spans) == 2
    parent = telemetry.spans[-1].parent
    assert parent is not None
    assert parent.span_id == telemetry.spans[0].get_span_context().span_id


async def test_asynchronous_polls_end_it_too(server: Any, client: Any, telemetry: Telemetry) -> None:
    server.will(RUNNING, WAITING, finished())
    made = await client.models.predictions.async_create(MODEL, {"prompt": "Which capital?"})
    await made.async_wait()
    assert telemetry.attributes["genledger.cost.amount"] == pytest.approx(COST)


def test_the_polls_of_an_output_iterator_end_it(server: Any, client: Any, telemetry: Telemetry) -> None:
    server.will(RUNNING, json_reply(prediction("processing", output=["a"])), finished(output=["a", "b"]))
    assert list(create(client).output_iterator()) == ["a", "b"]
    assert telemetry.attributes["genledger.cost.amount"] == pytest.approx(COST)


@pytest.mark.parametrize("status", ["processing", "succeeded"])
def test_an_answer_that_is_there_at_once_ends_it(server: Any, client: Any, telemetry: Telemetry, status: str) -> None:
    server.will(json_reply(prediction(status, output="Paris", metrics=METRICS), 201))
    assert client.run(MODEL, input={"prompt": "Which capital?"}) == "Paris"
    assert len(server.requests) == 1
    assert telemetry.attributes["genledger.outcome"] == "success"
    assert telemetry.attributes["genledger.cost.amount"] == pytest.approx(COST)


def test_an_answer_without_metrics_is_visibly_unpriced(server: Any, client: Any, telemetry: Telemetry) -> None:
    server.will(json_reply(prediction("processing", output="Paris"), 201))
    client.run(MODEL, input={"prompt": "Which capital?"})
    assert telemetry.attributes["genledger.cost.unpriced"] == "no_usage"


def test_a_model_that_counts_no_tokens_is_billed_by_seconds(server: Any, client: Any, telemetry: Telemetry) -> None:
    picture = {"model": "acme/painter", "output": ["https://example.com/a.png"], "metrics": {"predict_time": 2.5}}
    server.will(finished(**picture))
    client.run("acme/painter", input={"prompt": "robots"})
    assert telemetry.attributes["genledger.cost.amount"] == pytest.approx(0.0025)


def test_a_prediction_that_fails_is_an_error_and_costs_what_it_ran(
    server: Any, client: Any, telemetry: Telemetry
) -> None:
    server.will(RUNNING, json_reply(prediction("failed", error="out of memory", metrics=METRICS)))
    create(client).wait()
    assert telemetry.attributes["genledger.outcome"] == "error"
    assert telemetry.attributes["error.type"] == "failed"
    assert telemetry.attributes["genledger.cost.amount"] == pytest.approx(COST)


def test_a_prediction_that_is_cancelled_ends_with_the_cancellation(
    server: Any, client: Any, telemetry: Telemetry
) -> None:
    server.will(RUNNING, json_reply(prediction("canceled", metrics=METRICS)))
    create(client).cancel()
    assert telemetry.attributes["genledger.outcome"] == "cancelled"
    assert telemetry.attributes["genledger.cost.amount"] == pytest.approx(COST)


async def test_its_stream_ends_it_with_the_attribution_of_who_created_it(
    server: Any, client: Any, telemetry: Telemetry
) -> None:
    server.will(Reply(200, "text/event-stream", events()))
    with genledger.attribution(tenant="acme"):
        made = create(client, stream=True)
    assert len(await items(made.stream())) == 7
    server.will(finished())
    made.reload()
    said = telemetry.attributes
    assert said["genledger.tenant.id"] == "acme"
    assert said["genledger.usage.estimated"] is True
    assert said["gen_ai.response.time_to_first_chunk"] > 0


def test_jobs_side_by_side_keep_their_own_attribution(server: Any, client: Any, telemetry: Telemetry) -> None:
    made = []
    for number in range(3):
        server.will(json_reply({**prediction("starting"), "id": f"p{number}"}, 201))
        with genledger.attribution(tenant=f"t{number}"):
            made.append(create(client))
    for one in reversed(made):
        server.will(json_reply({**prediction("succeeded", metrics=METRICS), "id": one.id}))
        one.reload()
    found = [(said["gen_ai.response.id"], said["genledger.tenant.id"]) for said in map(attributes_of, telemetry.spans)]
    assert found == [("p2", "t2"), ("p1", "t1"), ("p0", "t0")]


async def test_many_who_ask_at_once_settle_it_once(server: Any, client: Any, telemetry: Telemetry) -> None:
    server.will(RUNNING)
    create(client)
    server.will(finished())
    await asyncio.gather(*(client.predictions.async_get("p1") for _ in range(8)))
    assert telemetry.attributes["genledger.cost.amount"] == pytest.approx(COST)


def test_only_so_many_jobs_are_waited_for(
    server: Any, client: Any, telemetry: Telemetry, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("genledger.engine.later_usage.deferred_calls.MAX_REMEMBERED", 2)
    for number in range(3):
        server.will(json_reply({**prediction("starting"), "id": f"p{number}"}, 201))
        create(client)
    assert telemetry.attributes["genledger.cost.unpriced"] == "pending"
    for number in range(3):
        server.will(json_reply({**prediction("succeeded", metrics=METRICS), "id": f"p{number}"}))
        client.predictions.get(f"p{number}")
    costs = [attributes_of(span).get("genledger.cost.amount") for span in telemetry.spans]
    assert costs == [None, pytest.approx(COST), pytest.approx(COST)]


def test_requests_that_create_no_prediction_are_no_calls(server: Any, client: Any, telemetry: Telemetry) -> None:
    server.will(finished())
    client.predictions.get("p1")
    server.will(json_reply({"results": [], "previous": None, "next": None}))
    client.predictions.list()
    assert not telemetry.spans


def test_what_was_reserved_is_held_until_the_job_has_ended(server: Any, client: Any, tmp_path: Path) -> None:
    rules = tmp_path / "rules.toml"
    rules.write_text('[[budget]]\nname="day"\nusd=0.02\nper="day"\n')
    with recorded(budgets=str(rules), budget_store="memory:"):
        server.will(RUNNING)
        first = create(client)  # reserves 4096 tokens of output, 0.0113 USD
        with pytest.raises(genledger.BudgetExceeded):
            create(client)
        server.will(finished())
        first.reload()  # and costs 0.002 USD
        server.will(finished())
        create(client)


def test_content_is_the_prompt_and_the_output(server: Any, client: Any) -> None:
    with recorded(capture_content="span") as telemetry:
        server.will(finished(output=["The capital", " is Paris."]))
        client.run(MODEL, input={"prompt": "Which capital?", "system_prompt": "Be brief."})
        server.will(finished(output=["https://example.com/a.png"]))
        client.run(MODEL, input={"prompt": "robots"})
        first, second = map(attributes_of, telemetry.spans)
    assert "Be brief." in first["gen_ai.input.messages"]
    assert "The capital is Paris." in first["gen_ai.output.messages"]
    assert '"type":"uri"' in second["gen_ai.output.messages"]


START = """
import sys
import genledger
genledger.instrument(destinations=["ledger"], libraries=["replicate"], prices=sys.argv[2])
from tests.contract.rows.replicate import MODEL, make
client = make(sys.argv[1], False, 0)
"""
CREATE = 'client.models.predictions.create(MODEL, {"prompt": "Which capital?"})'
ASK = 'client.predictions.get("p1")'


def test_a_job_that_ends_after_its_process_is_paid_for_when_another_one_asks(
    server: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    ledger = tmp_path / "ledger.db"
    monkeypatch.setenv("GENLEDGER_LEDGER", str(ledger))

    def after(script: str) -> list[tuple[Any, ...]]:
        command = [sys.executable, "-c", START + script, server.url, PRICES]
        subprocess.run(command, check=True, cwd=Path(__file__).parents[3])
        with contextlib.closing(sqlite3.connect(ledger)) as connection:
            return connection.execute("SELECT outcome, unpriced, cost_usd FROM calls").fetchall()

    server.will(RUNNING)
    assert after(CREATE) == [("success", "pending", None)]
    server.will(finished())
    assert after(ASK) == [("success", None, pytest.approx(COST))]
    server.will(finished())
    assert after(ASK) == [("success", None, pytest.approx(COST))]


def test_a_job_that_ends_after_uninstrument_is_not_recorded(server: Any, client: Any) -> None:
    server.will(RUNNING)
    with recorded() as telemetry:
        made = create(client)
    server.will(finished())
    made.reload()
    assert not telemetry.spans
