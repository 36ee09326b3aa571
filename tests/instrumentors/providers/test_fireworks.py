"""Fireworks' client, over real sockets: what its chat row of the contract suite does not show."""

from __future__ import annotations

from typing import Any

import pytest
from tests.contract.rows.fireworks import MODEL, make
from tests.contract.server import Server, json_reply

from genledger_semconv.checker import assert_clean

from ..provider import now
from ..telemetry import instrumented

pytest.importorskip("fireworks")


async def test_a_message_in_anthropics_format_is_priced_by_fireworks(server: Server, asynchronous: bool) -> None:
    """https://docs.fireworks.ai/api-reference/anthropic-messages"""
    answer: dict[str, Any] = {
        "id": "msg_1",
        "type": "message",
        "role": "assistant",
        "model": MODEL,
        "content": [{"type": "text", "text": "Paris."}],
        "stop_reason": "end_turn",
        "usage": {"input_tokens": 1000, "output_tokens": 500},
    }
    server.will(json_reply(answer))
    with instrumented(libraries=["fireworks-ai"]) as telemetry:
        client = make(server.url, asynchronous, 0)
        question = [{"role": "user", "content": "What is the capital of France?"}]
        await now(client.messages.create(model=MODEL, max_tokens=600, messages=question))
        assert telemetry.span.name == f"chat {MODEL}"
        assert telemetry.attributes["gen_ai.provider.name"] == "fireworks"
        assert telemetry.attributes["genledger.cost.amount"] == pytest.approx(1000 * 0.56e-6 + 500 * 1.68e-6)
        assert_clean(telemetry.spans, telemetry.metrics, telemetry.logs)
