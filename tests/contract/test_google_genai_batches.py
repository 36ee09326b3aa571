"""Batches of Vertex AI: their results are objects of a bucket, which Google's client of Cloud Storage reads."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import pytest
from tests.contract.rows.google_genai import MODEL, PROMPT, TEXT, USAGE, answer, make
from tests.contract.server import Reply, Server, json_reply, serving
from tests.instrumentors.provider import now
from tests.instrumentors.telemetry import BatchResults, instrumented

import genledger
from genledger_semconv.checker import assert_clean

pytest.importorskip("google.genai")
storage = pytest.importorskip("google.cloud.storage")

NAME = "projects/7/locations/us-central1/batchPredictionJobs/9"
FOLDER = "out/prediction-model-2026-06-01T00:00:00.000000Z"
COST = 1000 * 0.3e-6 + 500 * 2.5e-6
REQUEST = {"contents": [{"role": "user", "parts": [{"text": PROMPT}]}]}
LINES = [
    {"status": "", "request": REQUEST, "response": answer(TEXT, usageMetadata=USAGE)},
    {"status": "", "request": REQUEST, "response": {**answer(TEXT, usageMetadata=USAGE), "responseId": None}},
    {"status": "Bad Request: {}", "request": REQUEST, "response": {}},
]


@pytest.fixture
def server() -> Iterator[Server]:
    with serving() as server:
        yield server


@pytest.fixture(params=[False, True], ids=["sync", "async"])
def client(request: pytest.FixtureRequest, server: Server) -> Any:
    from google.oauth2.credentials import Credentials

    credentials = Credentials(token="t")  # type: ignore[no-untyped-call]
    place = {"vertexai": True, "project": "p", "location": "us-central1", "credentials": credentials}
    made = make(server.url, request.param, 0, **place).kept
    return made.aio if request.param else made


def job(state: str, **more: Any) -> Reply:
    return json_reply({"name": NAME, "model": f"publishers/google/models/{MODEL}", "state": state, **more})


def blob(server: Server, name: str) -> Any:
    """An object of the bucket, whose content are the lines."""
    from google.auth.credentials import AnonymousCredentials

    server.will(Reply(200, "application/octet-stream", tuple(json.dumps(line).encode() + b"\n" for line in LINES)))
    credentials = AnonymousCredentials()  # type: ignore[no-untyped-call]
    client = storage.Client(project="p", credentials=credentials, client_options={"api_endpoint": server.url})
    return client.bucket("b").blob(name)


async def end(client: Any, server: Server) -> None:
    """Create a batch, and learn that it has ended."""
    server.will(job("JOB_STATE_PENDING"))
    with genledger.attribution(tenant="asker"):
        created = await now(client.batches.create(model=MODEL, src="gs://b/in.jsonl", config={"dest": "gs://b/out"}))
    server.will(job("JOB_STATE_SUCCEEDED", outputInfo={"gcsOutputDirectory": f"gs://b/{FOLDER}"}))
    await now(client.batches.get(name=created.name))


async def test_results_in_a_bucket_cost_the_batch_rate_for_who_created_the_batch(client: Any, server: Server) -> None:
    entries = BatchResults()
    with instrumented(libraries=["google-genai"], destinations=[entries]) as telemetry:
        await end(client, server)
        for read in ("download_as_bytes", "download_as_text"):  # what is read again is not counted again
            content = getattr(blob(server, f"{FOLDER}/predictions.jsonl"), read)()
            assert len(content.splitlines()) == len(LINES)
        assert genledger.flush(30)
        assert [span.name for span in telemetry.spans] == [f"batch {MODEL}", "batch", "batch", "batch"]
        assert_clean(telemetry.spans, telemetry.metrics, telemetry.logs)
        assert not telemetry.complaints.other
    assert [one.attribution.tenant for one in entries.all] == ["asker"] * 3
    assert [one.outcome for one in entries.all] == ["success", "success", "error"]
    assert [one.cost.amount if one.cost else None for one in entries.all] == [
        pytest.approx(COST / 2),
        pytest.approx(COST / 2),
        None,
    ]
    assert entries.all[0].provider == "gcp.vertex_ai"
    assert entries.all[0].response_model == MODEL


@pytest.mark.parametrize("name", ["other/prediction-model-7/predictions.jsonl", "report.csv"])
async def test_another_object_is_no_call(client: Any, server: Server, name: str) -> None:
    with instrumented(libraries=["google-genai"]) as telemetry:
        await end(client, server)
        before = len(telemetry.spans)
        blob(server, name).download_as_bytes()
        assert len(telemetry.spans) == before
        assert not telemetry.complaints.other
