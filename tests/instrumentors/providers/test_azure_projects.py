"""Azure's projects: their client of OpenAI, with the spans of their own tracing and without."""

from __future__ import annotations

from typing import Any

import pytest
from opentelemetry import trace
from tests.contract.rows.openai_chat import ROW
from tests.instrumentors import openai_format as wire
from tests.instrumentors.provider import Provider, answer, events, items, now
from tests.instrumentors.telemetry import attributes_of, instrumented

import genledger

pytest.importorskip("azure.ai.projects")

MESSAGES = [{"role": "user", "content": "What is the capital of France?"}]
URL = "https://resource.services.ai.azure.com/api/projects/project"


class Credential:
    """A credential that is there."""

    def get_token(self, *scopes: str, **given: Any) -> Any:
        """Return a token."""
        from azure.core.credentials import AccessToken

        return AccessToken("t", 4_000_000_000)


class AsyncCredential(Credential):
    """As `Credential`."""

    async def get_token(self, *scopes: str, **given: Any) -> Any:
        """Return a token."""
        return super().get_token(*scopes, **given)

    async def close(self) -> None:
        """Close nothing."""


class Points:
    """A histogram."""

    def __init__(self) -> None:
        self.values: list[float] = []

    def record(self, value: float, attributes: Any) -> None:
        """Keep a value."""
        self.values.append(value)


@pytest.fixture(params=[False, True], ids=["sync", "async"])
def provider(request: pytest.FixtureRequest) -> Provider:
    """The wire."""
    return Provider(asynchronous=bool(request.param))


async def client_of(provider: Provider) -> Any:
    """Return the client of OpenAI that a project gives."""
    if provider.asynchronous:
        from azure.ai.projects.aio import AIProjectClient

        project: Any = AIProjectClient(URL, AsyncCredential())
    else:
        from azure.ai.projects import AIProjectClient

        project = AIProjectClient(URL, Credential())
    return await now(project.get_openai_client(http_client=provider.http_client("openai"), max_retries=0))


async def test_a_chat_is_one_priced_call_of_azure(provider: Provider) -> None:
    provider.will(answer(b"".join(ROW.whole.body)))
    with instrumented(libraries=["openai", "azure-ai-projects"]) as telemetry:
        client = await client_of(provider)
        await now(client.chat.completions.create(model="gpt-4o", messages=MESSAGES))
        attributes = telemetry.attributes
    assert attributes["gen_ai.provider.name"] == "azure.ai.openai"
    assert attributes["server.address"] == "resource.services.ai.azure.com"
    assert attributes["genledger.cost.amount"] == pytest.approx(ROW.cost)


@pytest.mark.parametrize("stream", [False, True])
async def test_its_own_tracing_counts_nothing_again(
    provider: Provider, stream: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    plugin = pytest.importorskip("azure.core.tracing.ext.opentelemetry_span")
    from azure.ai.projects.telemetry import AIProjectInstrumentor
    from azure.core.settings import settings

    provider.will(events(wire.response_events()) if stream else answer(wire.response()))
    monkeypatch.setenv("AZURE_EXPERIMENTAL_ENABLE_GENAI_TRACING", "true")
    settings.tracing_implementation = plugin.OpenTelemetrySpan
    AIProjectInstrumentor().instrument()
    from azure.ai.projects.telemetry import _responses_instrumentor as own

    points = Points()
    for name in ("_operation_duration_histogram", "_token_usage_histogram"):
        monkeypatch.setattr(own, name, points)
    try:
        with instrumented(libraries=["openai", "azure-ai-projects"]) as telemetry:
            tracer = telemetry.tracer_provider.get_tracer("azure")
            monkeypatch.setattr(trace, "get_tracer", lambda *args, **kwargs: tracer)
            client = await client_of(provider)
            with genledger.attribution(tenant="acme"):
                result = await now(client.responses.create(model="gpt-4o", input="What is it?", stream=stream))
                if stream:
                    await items(result)
                spent = genledger.spend()
    finally:
        AIProjectInstrumentor().uninstrument()
        settings.tracing_implementation = None
    assert len(telemetry.spans) > 1
    (counted,) = (found for span in telemetry.spans if "gen_ai.usage.input_tokens" in (found := attributes_of(span)))
    assert counted["gen_ai.provider.name"] == "azure.ai.openai"
    assert counted["genledger.cost.amount"] == pytest.approx(spent.usd)
    assert spent.calls == 1
    assert points.values == []
