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


@pytest.mark.parametrize("state", ["JOB_STATE_COMPLETED", "JOB_STATE_FAILED"])
async def test_a_batch_is_priced_by_the_tokens_that_it_counts(server: Server, asynchronous: bool, state: str) -> None:
    """https://docs.fireworks.ai/guides/batch-inference"""
    job: dict[str, Any] = {"name": "accounts/a/batchInferenceJobs/b1", "model": MODEL, "state": "JOB_STATE_CREATING"}
    progress = {"inputTokens": 1000, "outputTokens": 500}
    server.will(json_reply(job), json_reply({**job, "state": state, "jobProgress": progress}))
    with instrumented(libraries=["fireworks-ai"]) as telemetry:
        jobs = make(server.url, asynchronous, 0).batch_inference_jobs
        await now(jobs.create(account_id="a", model=MODEL, input_dataset_id="accounts/a/datasets/d"))
        await now(jobs.get(account_id="a", batch_inference_job_id="b1"))
        attributes = telemetry.attributes_of(f"batch {MODEL}")
        failed = state == "JOB_STATE_FAILED"
        assert attributes["genledger.outcome"] == ("error" if failed else "success")
        cost = None if failed else pytest.approx((1000 * 0.56e-6 + 500 * 1.68e-6) / 2)
        assert attributes.get("genledger.cost.amount") == cost
        assert_clean(telemetry.spans, telemetry.metrics, telemetry.logs)
