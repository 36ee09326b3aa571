"""Batches of clients that have OpenAI's API of them: paid for when their results are read."""

from __future__ import annotations

import importlib
import json
from typing import Any, NamedTuple

import pytest
from tests.contract.rows.openai_chat import USAGE
from tests.contract.server import Reply, Server, json_reply

import genledger

from ..provider import now
from ..telemetry import instrumented
from .entries import Entries


class Client(NamedTuple):
    """A client, and how it asks for a batch."""

    library: str
    row: str
    model: str
    cost: float
    asynchronous: bool = True
    endpoint: str = "/v1/chat/completions"


CLIENTS = [
    Client("groq", "groq", "llama-3.3-70b-versatile", 0.0004925),
    Client("together", "together", "Qwen/Qwen3.7-Max", 0.003125),
    Client("zai-sdk", "zai", "glm-4.7", 0.0017, False),
    Client("perplexityai", "perplexity", "sonar", 0.02, endpoint="/v1/responses"),
]


@pytest.mark.parametrize("asked", CLIENTS, ids=[client.library for client in CLIENTS])
async def test_a_batch_is_paid_for_when_its_results_are_read(server: Server, asked: Client, asynchronous: bool) -> None:
    row = importlib.import_module(f"tests.contract.rows.{asked.row}")
    pytest.importorskip(row.ROW.module)
    if asynchronous and not asked.asynchronous:
        pytest.skip("the client is synchronous")
    client = row.make(server.url, asynchronous, 0)
    if not hasattr(client, "batches"):
        pytest.skip("the version has no batches")
    batch: dict[str, Any] = {
        "id": "b1",
        "object": "batch",
        "endpoint": asked.endpoint,
        "input_file_id": "f0",
        "completion_window": "24h",
        "status": "in_progress",
        "created_at": 1790000000,
    }
    answer = {"id": "c1", "object": "chat.completion", "model": asked.model, "usage": USAGE}
    if asked.library == "perplexityai":  # it says what a response costs
        counts = {"input_tokens": 1000, "output_tokens": 500, "total_tokens": 1500}
        answer |= {"object": "response", "status": "completed", "usage": {**counts, "cost": {"total_cost": 0.02}}}
    line = {"id": "l1", "custom_id": "a", "response": {"status_code": 200, "body": answer}, "error": None}
    done = {**batch, "status": "completed", "output_file_id": "f1"}
    server.will(
        json_reply({"job": batch} if asked.library == "together" else batch),
        json_reply(done),
        Reply(200, "application/octet-stream", (json.dumps(line).encode() + b"\n",)),
    )
    entries = Entries()
    with instrumented(libraries=[asked.library], destinations=[entries]):
        given = {} if asked.library == "together" else {"completion_window": "24h"}
        with genledger.attribution(tenant="acme"):
            await now(client.batches.create(endpoint=asked.endpoint, input_file_id="f0", **given))
        await now(client.batches.retrieve("b1"))
        content = await now(client.files.content("f1"))
        await now(content.read())
        (result,) = entries.results
    assert result.attribution.tenant == "acme"
    assert result.usage is not None
    assert result.usage.output_tokens == 500
    assert result.cost is not None
    assert result.cost.amount == pytest.approx(asked.cost)
