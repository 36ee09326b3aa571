"""AI21's client, over real sockets: what its chat row of the contract suite does not show."""

from __future__ import annotations

from typing import Any

import pytest
from tests.contract.rows.ai21 import MODEL, ask, make
from tests.contract.rows.openai_chat import chunks, whole
from tests.contract.server import Reply, Server, json_reply

from genledger_semconv.checker import assert_clean

from ..provider import items, now
from ..telemetry import instrumented

ai21: Any = pytest.importorskip("ai21")


@pytest.mark.parametrize("stream", [False, True])
async def test_a_client_of_azure_asks_another_provider(server: Server, asynchronous: bool, stream: bool) -> None:
    server.will(Reply(200, "text/event-stream", chunks(MODEL)) if stream else whole(MODEL))
    kind = ai21.AsyncAI21AzureClient if asynchronous else ai21.AI21AzureClient
    with instrumented(libraries=["ai21"]) as telemetry:
        answer = await now(ask(kind(base_url=server.url, api_key="k"), stream=stream))
        if stream:
            await items(answer)
        assert telemetry.attributes["gen_ai.provider.name"] == "azure.ai.inference"
        assert telemetry.attributes["gen_ai.usage.input_tokens"] == 1000
        assert_clean(telemetry.spans, telemetry.metrics, telemetry.logs)


async def test_what_is_not_inference_is_no_call(server: Server, asynchronous: bool) -> None:
    server.will(json_reply([]))
    with instrumented(libraries=["ai21"]) as telemetry:
        await now(make(server.url, asynchronous, 0).library.files.list())
        assert not telemetry.spans
        assert not telemetry.complaints.other
