"""Every kind of OpenAI client: raw and streaming responses, Azure, the module's own client, other hosts."""

from __future__ import annotations

import json
import zlib
from collections.abc import Iterator
from typing import Any

import openai
import pytest

from .. import openai_format as wire
from ..provider import Provider, Within, answer, events, items, now
from ..telemetry import Telemetry, attributes_of, instrumented

CHAT: dict[str, Any] = {"model": "gpt-4o", "messages": wire.USER}
STREAM: dict[str, Any] = {**CHAT, "stream": True}


async def test_a_raw_response(provider: Provider, telemetry: Telemetry) -> None:
    provider.will(answer(wire.chat(), headers={"x-ratelimit-remaining-requests": "59"}))
    raw = await now(provider.openai().chat.completions.with_raw_response.create(**CHAT))
    assert len(telemetry.spans) == 1
    assert raw.headers["x-ratelimit-remaining-requests"] == "59"
    assert raw.request_id == "req_1"
    assert (await now(raw.parse())).choices[0].message.content == "Paris."
    assert telemetry.attributes["gen_ai.usage.output_tokens"] == 300
    assert telemetry.attributes["genledger.cost.amount"] > 0


async def test_a_raw_stream(provider: Provider, telemetry: Telemetry) -> None:
    provider.will(events(wire.chat_chunks()))
    raw = await now(provider.openai().chat.completions.with_raw_response.create(**STREAM))
    assert not telemetry.spans
    stream = await now(raw.parse())
    assert isinstance(stream, openai.Stream | openai.AsyncStream)
    assert len(await items(stream)) == 6
    assert telemetry.attributes["gen_ai.usage.output_tokens"] == 300
    assert telemetry.attributes["gen_ai.response.time_to_first_chunk"] >= 0


@pytest.mark.parametrize("read", ["read", "json", "text", "parse", "iter_bytes", "iter_text", "iter_lines"])
async def test_a_streaming_response_read_in_any_way(provider: Provider, telemetry: Telemetry, read: str) -> None:
    provider.will(answer(wire.chat()))
    method = provider.openai().chat.completions.with_streaming_response.create
    async with Within(method(**CHAT)) as response:
        result = getattr(response, read)()
        await (items(result) if read.startswith("iter") else now(result))
    assert telemetry.attributes["gen_ai.usage.output_tokens"] == 300
    assert telemetry.attributes["genledger.outcome"] == "success"


def deflated(data: bytes, window: int) -> bytes:
    compress = zlib.compressobj(wbits=window)
    return compress.compress(data) + compress.flush()


ENCODED: dict[str, tuple[str, int]] = {
    "gzip": ("gzip", zlib.MAX_WBITS | 16),
    "deflate": ("deflate", zlib.MAX_WBITS),
    "deflate without its header": ("deflate", -zlib.MAX_WBITS),
}


@pytest.mark.parametrize("kind", ENCODED)
async def test_a_compressed_body_that_the_application_reads_by_itself_is_read(
    provider: Provider, telemetry: Telemetry, kind: str
) -> None:
    name, window = ENCODED[kind]
    body = deflated(json.dumps(wire.chat()).encode(), window)
    provider.will(answer(body, headers={"content-encoding": name}))
    method = provider.openai().chat.completions.with_streaming_response.create
    async with Within(method(**CHAT)) as response:
        await now(response.read())
    assert telemetry.attributes["gen_ai.usage.output_tokens"] == 300
    assert not telemetry.complaints.other


@pytest.mark.parametrize("read", ["iter_bytes", "iter_text", "iter_lines", "parse"])
async def test_a_streaming_response_of_events_read_in_any_way(
    provider: Provider, telemetry: Telemetry, read: str
) -> None:
    provider.will(events(wire.chat_chunks()))
    method = provider.openai().chat.completions.with_streaming_response.create
    async with Within(method(**STREAM)) as response:
        await items(await now(getattr(response, read)()))
    assert telemetry.attributes["gen_ai.usage.output_tokens"] == 300
    assert telemetry.attributes["gen_ai.response.time_to_first_chunk"] >= 0
    assert telemetry.attributes["genledger.outcome"] == "success"


async def test_a_streaming_response_left_unread_is_cancelled(provider: Provider, telemetry: Telemetry) -> None:
    provider.will(events(wire.chat_chunks()))
    method = provider.openai().chat.completions.with_streaming_response.create
    async with Within(method(**STREAM)) as response:
        assert response.status_code == 200
    assert telemetry.attributes["genledger.outcome"] == "cancelled"


async def test_azure_is_its_own_provider_and_its_deployment_the_model(provider: Provider, telemetry: Telemetry) -> None:
    provider.will(answer(wire.chat(), headers={"x-ms-region": "Sweden Central"}))
    await now(provider.azure().chat.completions.create(**CHAT | {"model": "my-deployment"}))
    assert str(provider.requests[0].url).startswith(
        "https://example.openai.azure.com/openai/deployments/my-deployment/chat/completions"
    )
    attributes = telemetry.attributes
    assert attributes["gen_ai.provider.name"] == "azure.ai.openai"
    assert attributes["gen_ai.request.model"] == "my-deployment"
    assert attributes["gen_ai.response.model"] == "gpt-4o-2024-08-06"
    assert attributes["server.address"] == "example.openai.azure.com"
    assert attributes["genledger.cost.amount"] > 0


async def test_azure_with_a_fixed_deployment(provider: Provider, telemetry: Telemetry) -> None:
    provider.will(answer(wire.chat()))
    client = provider.azure(azure_deployment="my-deployment")
    await now(client.chat.completions.create(**CHAT))
    provider.will(answer(wire.embeddings()))
    await now(client.embeddings.create(model="text-embedding-3-small", input="a"))
    names = [attributes_of(span)["gen_ai.operation.name"] for span in telemetry.spans]
    assert names == ["chat", "embeddings"]


@pytest.mark.parametrize(
    ("base_url", "name"),
    [
        ("https://api.openai.com/v1", "openai"),
        ("https://eu.api.openai.com/v1", "openai"),
        ("https://example.openai.azure.com/openai/v1", "azure.ai.openai"),
        ("https://example.services.ai.azure.com/models", "azure.ai.inference"),
        ("https://api.groq.com/openai/v1", "groq"),
        ("https://api.deepseek.com", "deepseek"),
        ("https://api.x.ai/v1", "x_ai"),
        ("https://api.mistral.ai/v1", "mistral_ai"),
        ("https://api.perplexity.ai", "perplexity"),
        ("https://api.moonshot.ai/v1", "moonshot_ai"),
        ("https://generativelanguage.googleapis.com/v1beta/openai/", "gcp.gemini"),
        ("https://openrouter.ai/api/v1", "openrouter"),
        ("https://api.together.xyz/v1", "together"),
        ("https://api.fireworks.ai/inference/v1", "fireworks"),
        ("https://api.cerebras.ai/v1", "cerebras"),
        ("https://router.huggingface.co/v1", "huggingface"),
        ("https://bedrock-runtime.us-east-1.amazonaws.com/openai/v1", "aws.bedrock"),
    ],
)
async def test_the_provider_is_the_one_behind_the_host(
    provider: Provider, telemetry: Telemetry, base_url: str, name: str
) -> None:
    provider.will(answer(wire.chat(model="some-model")))
    await now(provider.openai(base_url=base_url).chat.completions.create(**CHAT))
    assert telemetry.attributes["gen_ai.provider.name"] == name


async def test_an_unknown_host_counts_as_openai_whose_api_it_speaks(provider: Provider, telemetry: Telemetry) -> None:
    provider.will(answer(wire.chat()))
    await now(provider.openai(base_url="http://llm.internal:8000/v1").chat.completions.create(**CHAT))
    attributes = telemetry.attributes
    assert attributes["gen_ai.provider.name"] == "openai"
    assert attributes["server.address"] == "llm.internal"
    assert attributes["server.port"] == 8000


async def test_what_a_gateway_says_it_cost_is_the_cost(provider: Provider, telemetry: Telemetry) -> None:
    usage = wire.CHAT_USAGE | {"cost": 0.0123, "is_byok": False}
    provider.will(answer(wire.chat(model="openai/gpt-4o", usage=usage)))
    client = provider.openai(base_url="https://openrouter.ai/api/v1")
    await now(client.chat.completions.create(**CHAT | {"model": "openai/gpt-4o"}))
    assert telemetry.attributes["genledger.cost.amount"] == pytest.approx(0.0123)
    assert telemetry.attributes["genledger.cost.source"] == "provider"


async def test_what_a_gateway_cannot_have_charged_is_not_the_cost_and_said_so_once(
    provider: Provider, telemetry: Telemetry
) -> None:
    # OpenAI's price list, which OpenRouter passes on: 2.50, 1.25 and 10 USD per million tokens.
    listed = (176 * 2.5 + 1024 * 1.25 + 300 * 10) / 1e6
    model = "openai/gpt-4o" if provider.asynchronous else "openai/gpt-4o-2024-11-20"
    provider.will(answer(wire.chat(model=model, usage=wire.CHAT_USAGE | {"cost": 1e6})))
    client = provider.openai(base_url="https://openrouter.ai/api/v1")
    for _ in range(3):
        await now(client.chat.completions.create(**CHAT | {"model": model}))
    for span in telemetry.spans:
        attributes = span.attributes or {}
        assert attributes["genledger.cost.amount"] == pytest.approx(listed)
        assert attributes["genledger.cost.source"] == "table"
        assert attributes["genledger.cost.notes"] == ("reported_rejected:1e+06",)
    assert [f"reported for {model} at openrouter" in text for text in telemetry.complaints.texts] == [True]


@pytest.mark.parametrize(
    ("base_url", "reported"),
    [
        ("https://api.venice.ai/api/v1", {"cost": {"usd": 0.0123, "diem": 0}}),
        ("https://api.githubcopilot.com", {"copilot_usage": {"total_nano_aiu": 1_230_000_000}}),
    ],
)
async def test_a_cost_beside_the_usage_counts_in_a_stream_as_in_a_whole_answer(
    provider: Provider, telemetry: Telemetry, base_url: str, reported: dict[str, Any]
) -> None:
    client = provider.openai(base_url=base_url)
    provider.will(answer(wire.chat(**reported)))
    await now(client.chat.completions.create(**CHAT))
    chunks = wire.chat_chunks()
    provider.will(events([*chunks[:-1], chunks[-1] | reported]))
    await items(await now(client.chat.completions.create(**CHAT, stream=True)))
    found = [(span.attributes or {})["genledger.cost.amount"] for span in telemetry.spans]
    assert found == [pytest.approx(0.0123)] * 2


@pytest.fixture
def module_client() -> Iterator[Provider]:
    """The client that lives in the `openai` module itself."""
    provider = Provider(asynchronous=False)
    openai.api_key = "test"
    openai.http_client = provider.http_client("openai")
    openai.max_retries = 0
    yield provider
    openai.api_key = openai.http_client = None
    openai.max_retries = openai._base_client.DEFAULT_MAX_RETRIES  # type: ignore[attr-defined]
    openai._reset_client()


async def test_the_module_client(module_client: Provider, telemetry: Telemetry) -> None:
    module_client.will(answer(wire.chat()))
    openai.chat.completions.create(**CHAT)
    assert telemetry.attributes["gen_ai.usage.output_tokens"] == 300


async def test_a_client_made_before_is_instrumented_and_a_bound_method_kept_is_too(
    provider: Provider,
) -> None:
    create = provider.openai().chat.completions.create
    provider.will(answer(wire.chat()))
    with instrumented() as telemetry:
        await now(create(**CHAT))
        assert len(telemetry.spans) == 1
    await now(create(**CHAT))
    assert len(telemetry.spans) == 1


async def test_copies_of_a_client_are_clients(provider: Provider, telemetry: Telemetry) -> None:
    provider.will(answer(wire.chat()))
    client = provider.openai(base_url="https://api.groq.com/openai/v1")
    await now(client.with_options(timeout=5).chat.completions.create(**CHAT))
    await now(client.copy(base_url="https://api.openai.com/v1").chat.completions.create(**CHAT))
    names = [attributes_of(span)["gen_ai.provider.name"] for span in telemetry.spans]
    assert names == ["groq", "openai"]


async def test_a_request_made_by_hand(provider: Provider, telemetry: Telemetry) -> None:
    provider.will(answer(wire.chat()))
    result = await now(provider.openai().post("/chat/completions", cast_to=object, body=dict(CHAT)))
    assert result["id"] == "chatcmpl-1"
    assert telemetry.attributes["gen_ai.usage.output_tokens"] == 300


async def test_parameters_beside_the_declared_ones(provider: Provider, telemetry: Telemetry) -> None:
    provider.will(answer(wire.chat()))
    await now(
        provider.openai().chat.completions.create(
            **CHAT, extra_body={"seed": 5, "top_k": 3}, extra_headers={"x-trace": "1"}, extra_query={"a": "b"}
        )
    )
    assert provider.bodies == [{**CHAT, "seed": 5, "top_k": 3}]
    assert provider.requests[0].headers["x-trace"] == "1"
    assert telemetry.attributes["gen_ai.request.seed"] == 5
