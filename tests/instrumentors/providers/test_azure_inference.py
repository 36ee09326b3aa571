"""Azure's inference client: embeddings, requests given at once, its own tracing, and who is behind an address."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from opentelemetry import trace

pytest.importorskip("azure.ai.inference")

from azure.ai import inference
from azure.ai.inference import aio, models
from azure.core.credentials import AzureKeyCredential
from tests.contract.rows import openai_chat
from tests.contract.server import Server, json_reply, serving
from tests.instrumentors.provider import items, now
from tests.instrumentors.telemetry import Telemetry, attributes_of, instrumented

import genledger
from genledger_instrumentors.providers.azure_inference import endpoint
from genledger_semconv.checker import assert_clean

LIBRARY = "azure-ai-inference"
EMBEDDING = {
    "id": "e-1",
    "object": "list",
    "model": "text-embedding-3-small",
    "data": [{"object": "embedding", "index": 0, "embedding": [0.1]}],
    "usage": {"prompt_tokens": 1000, "total_tokens": 1000},
}
USER = [{"role": "user", "content": "What is the capital of France?"}]


@pytest.fixture
def server() -> Iterator[Server]:
    with serving() as server:
        yield server


@pytest.fixture
def telemetry(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Telemetry]:
    monkeypatch.setenv("GENLEDGER_LEDGER", str(tmp_path / "ledger.db"))
    with instrumented(libraries=[LIBRARY]) as telemetry:
        yield telemetry
        assert not telemetry.open.spans
        assert not telemetry.complaints.other


def client(name: str, url: str, asynchronous: bool = False, **given: Any) -> Any:
    """A client of the package, or its twin."""
    return getattr(aio if asynchronous else inference, name)(url, AzureKeyCredential("k"), **given)


@pytest.mark.parametrize("asynchronous", [False, True])
@pytest.mark.parametrize("name", ["EmbeddingsClient", "ImageEmbeddingsClient"])
async def test_embeddings_are_one_priced_call(
    server: Server, telemetry: Telemetry, name: str, asynchronous: bool
) -> None:
    server.will(json_reply(EMBEDDING))
    image = models.ImageEmbeddingInput(image="data:image/png;base64,AAAA")
    embedder = client(name, server.url, asynchronous, model="text-embedding-3-small")
    await now(embedder.embed(input=[image] if name.startswith("Image") else ["a"], dimensions=8))
    attributes = telemetry.attributes
    assert attributes["gen_ai.operation.name"] == "embeddings"
    assert attributes["gen_ai.request.model"] == "text-embedding-3-small"
    assert attributes["gen_ai.embeddings.dimension.count"] == 8
    assert attributes["gen_ai.usage.input_tokens"] == 1000
    assert attributes["genledger.cost.amount"] == pytest.approx(1000 * 0.02e-6)
    assert_clean(telemetry.spans, telemetry.metrics, telemetry.logs)


def test_a_request_that_is_given_at_once_is_read_and_changed_as_one(server: Server, tmp_path: Path) -> None:
    server.will(openai_chat.ROW.whole)
    rules = tmp_path / "rules.toml"
    degrade = 'degrade = { model = "gpt-4o-mini", max_output_tokens = 50 }'
    rules.write_text(f'[[budget]]\nname="cheap"\nusd=0.0000001\nper="day"\nat_limit="degrade"\n{degrade}\n')
    request = {"model": "gpt-4o", "messages": USER, "max_tokens": 700}
    with instrumented(libraries=[LIBRARY], budgets=str(rules), budget_store="memory:") as telemetry:
        client("ChatCompletionsClient", server.url).complete(request)
    assert request == {"model": "gpt-4o", "messages": USER, "max_tokens": 700}
    assert server.requests[0].json["model"] == "gpt-4o-mini"
    assert server.requests[0].json["max_tokens"] == 50
    assert telemetry.attributes["genledger.model.requested"] == "gpt-4o"


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize("theirs_first", [False, True])
async def test_its_own_spans_are_not_priced_again(
    server: Server, monkeypatch: pytest.MonkeyPatch, stream: bool, theirs_first: bool
) -> None:
    settings = pytest.importorskip("azure.core.settings").settings
    pytest.importorskip("azure.core.tracing.ext.opentelemetry_span")
    from azure.ai.inference.tracing import AIInferenceInstrumentor

    server.will(openai_chat.ROW.streamed() if stream else openai_chat.ROW.whole)
    theirs = AIInferenceInstrumentor()
    extras = {"model_extras": {"stream_options": {"include_usage": True}}} if stream else {}
    settings.tracing_implementation = "opentelemetry"
    with contextlib.ExitStack() as stack:
        stack.callback(setattr, settings, "tracing_implementation", None)
        if theirs_first:
            theirs.instrument()
            stack.callback(theirs.uninstrument)
        telemetry = stack.enter_context(instrumented(libraries=[LIBRARY]))
        monkeypatch.setattr(trace, "get_tracer_provider", lambda: telemetry.tracer_provider)
        if not theirs_first:
            theirs.instrument()
            stack.callback(theirs.uninstrument)
        with genledger.attribution(tenant="acme"):
            chat = client("ChatCompletionsClient", server.url, model="gpt-4o")
            result = chat.complete(messages=USER, stream=stream, **extras)
            if stream:
                await items(result)
            spent = genledger.spend()
        found = [attributes_of(span) for span in telemetry.spans]
    assert spent.calls == 1
    assert spent.usd == pytest.approx(openai_chat.ROW.cost)
    assert len([one for one in found if "genledger.cost.amount" in one]) == 1
    assert len([one for one in found if "gen_ai.usage.input_tokens" in one]) == 1
    assert len(found) > 1  # theirs is there


@pytest.mark.parametrize(
    ("url", "provider"),
    [
        ("https://models.inference.ai.azure.com", "azure.ai.inference"),
        ("https://acme.services.ai.azure.com/models", "azure.ai.inference"),
        ("https://acme.openai.azure.com/openai/deployments/gpt-4o", "azure.ai.openai"),
        ("https://models.github.ai/inference", "github"),
        ("http://127.0.0.1:8000", "azure.ai.inference"),
    ],
)
def test_the_provider_is_who_answers_at_the_address(url: str, provider: str) -> None:
    assert endpoint(client("ChatCompletionsClient", url), {}).provider == provider
