"""Portkey's client, over real sockets: what its chat row of the contract suite does not show."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from tests.contract.rows.openai_chat import PROMPT, TEXT, chunks, error, whole
from tests.contract.rows.portkey import MODEL, make
from tests.contract.server import Reply, Server

from genledger_semconv.checker import assert_clean

from ...genledger.applications import rows
from ..provider import items, now
from ..telemetry import instrumented

pytest.importorskip("portkey_ai")

ASKED: dict[str, Any] = {"model": MODEL, "messages": [{"role": "user", "content": PROMPT}]}


@pytest.mark.parametrize(
    ("options", "provider"),
    [
        ({"provider": "@openai"}, "openai"),
        ({"config": {"provider": "azure-openai", "retry": {"attempts": 2}}}, "azure.ai.openai"),
        ({"config": {"targets": [{"provider": "openai"}, {"provider": "openai"}]}}, "openai"),
        ({"config": {"targets": [{"provider": "openai"}, {"provider": "groq"}]}}, "portkey"),
        ({"config": "pc-stored-1"}, "portkey"),
        ({"virtual_key": "acme-1"}, "portkey"),
    ],
)
async def test_the_provider_is_whom_the_headers_name(
    server: Server, asynchronous: bool, options: dict[str, Any], provider: str
) -> None:
    """https://portkey.ai/docs/api-reference/inference-api/headers"""
    server.will(whole(MODEL))
    with instrumented(libraries=["portkey-ai"]) as telemetry:
        await now(make(server.url, asynchronous, 0, **options).chat.completions.create(**ASKED))
        attributes = telemetry.attributes
        assert attributes["gen_ai.provider.name"] == provider
        assert ("genledger.cost.amount" in attributes) == (provider != "portkey")


@pytest.mark.parametrize(
    ("status", "hit"), [("HIT", True), ("SEMANTIC HIT", True), ("MISS", False), ("DISABLED", False)]
)
@pytest.mark.parametrize("stream", [False, True])
async def test_an_answer_from_the_gateways_cache_is_a_hit_and_no_call(
    server: Server, asynchronous: bool, status: str, hit: bool, stream: bool, ledger: Path
) -> None:
    """https://portkey.ai/docs/api-reference/inference-api/response-schema"""
    body, kind = (chunks(MODEL), "text/event-stream") if stream else (whole(MODEL).body, "application/json")
    server.will(Reply(200, kind, body, headers={"x-portkey-cache-status": status}))
    with instrumented(libraries=["portkey-ai"], destinations=["ledger"]) as telemetry:
        answer = await now(make(server.url, asynchronous, 0).chat.completions.create(**ASKED, stream=stream))
        if stream:
            await items(answer)
        attributes = telemetry.attributes
        assert attributes.get("genledger.cost.amount") == (None if hit else pytest.approx(0.0075))
        assert attributes.get("genledger.cache.name") == ("gateway" if hit else None)
        assert_clean(telemetry.spans, telemetry.metrics, telemetry.logs)
    assert len(rows(ledger)) == (not hit)
    saved = [row["saved_usd"] for row in rows(ledger, "SELECT * FROM cache_hits")]
    assert saved == ([pytest.approx(0.0075)] if hit else [])


@pytest.mark.parametrize("stream", [False, True])
async def test_a_stored_prompt_is_a_chat_of_the_model_that_answers(
    server: Server, asynchronous: bool, stream: bool
) -> None:
    """https://portkey.ai/docs/api-reference/inference-api/prompts/prompt-completion"""
    server.will(Reply(200, "text/event-stream", chunks(MODEL)) if stream else whole(MODEL))
    with instrumented(libraries=["portkey-ai"], capture_content="both") as telemetry:
        client = make(server.url, asynchronous, 0)
        answer = await now(client.prompts.completions.create(prompt_id="p1", variables={"city": "x"}, stream=stream))
        if stream:
            assert len(await items(answer)) > 3
        assert telemetry.span.name == f"chat {MODEL}"
        attributes = telemetry.attributes
        assert attributes["gen_ai.usage.input_tokens"] == 1000
        assert attributes["genledger.cost.amount"] == pytest.approx(0.0075)
        assert TEXT in attributes["gen_ai.output.messages"]
        assert_clean(telemetry.spans, telemetry.metrics, telemetry.logs, capture_content=True)
        assert not telemetry.complaints.other


async def test_a_stored_prompt_that_is_asked_for_again_is_one_call(server: Server, asynchronous: bool) -> None:
    server.will(error(500), whole(MODEL))
    with instrumented(libraries=["portkey-ai"]) as telemetry:
        client = make(server.url, asynchronous, 0)
        await now(client.prompts.completions.create(prompt_id="p1", variables={}))
        assert telemetry.attributes["genledger.attempts"] == 2
        assert telemetry.attributes["genledger.retry.causes"] == ("500",)
