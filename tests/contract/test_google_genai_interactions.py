"""Interactions of Google's client, which each of its major versions makes in a way of its own."""

from __future__ import annotations

from typing import Any

import pytest
from tests.contract.rows.google_genai import MODEL, PROMPT, make
from tests.contract.server import json_reply, serving
from tests.instrumentors.provider import now
from tests.instrumentors.telemetry import instrumented

pytest.importorskip("google.genai")

ANSWER = {
    "id": "interaction-1",
    "object": "interaction",
    "model": MODEL,
    "status": "completed",
    "created": "2026-06-01T00:00:00Z",
    "updated": "2026-06-01T00:00:00Z",
    "steps": [{"type": "model_output", "content": [{"type": "text", "text": "Paris."}]}],
    "usage": {"total_input_tokens": 1000, "total_output_tokens": 300, "total_thought_tokens": 200},
}


@pytest.mark.parametrize("asynchronous", [False, True], ids=["sync", "async"])
async def test_an_interaction_is_priced(asynchronous: bool) -> None:
    with serving() as server, instrumented(libraries=["google-genai"]) as telemetry:
        server.will(json_reply(ANSWER))
        client: Any = make(server.url, asynchronous, 0).kept
        found = client.aio if asynchronous else client
        if not hasattr(found, "interactions"):
            pytest.skip("this version has no interactions")
        await now(found.interactions.create(model=MODEL, input=PROMPT))
        assert telemetry.attributes["gen_ai.provider.name"] == "gcp.gemini"
        assert telemetry.attributes["genledger.cost.amount"] == pytest.approx(1000 * 0.3e-6 + 500 * 2.5e-6)
        assert not telemetry.complaints.other
