"""Hugging Face's inference client: what its chat row of the contract suite does not show."""

from __future__ import annotations

import gc
import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from tests.contract.rows.huggingface_hub import MODEL, PRICES, PROMPT, ROW
from tests.contract.rows.openai_chat import TEXT, USAGE, chunks, whole
from tests.contract.server import Reply, Server, json_reply, sse

import genledger
from genledger_semconv.checker import assert_clean

from ..provider import items, now
from ..telemetry import Telemetry, instrumented

hub = pytest.importorskip("huggingface_hub")

HELLO = [{"role": "user", "content": PROMPT}]
FLUX = "black-forest-labs/FLUX.1-dev"


@pytest.fixture
def telemetry() -> Iterator[Telemetry]:
    with instrumented(libraries=["huggingface-hub"], prices=PRICES) as telemetry:
        yield telemetry
        assert_clean(telemetry.spans, telemetry.metrics, telemetry.logs)
        assert not telemetry.open.spans
        assert not telemetry.complaints.other


@pytest.fixture
def capturing() -> Iterator[Telemetry]:
    with instrumented(libraries=["huggingface-hub"], capture_content="span") as telemetry:
        yield telemetry
        assert_clean(telemetry.spans, telemetry.metrics, telemetry.logs, capture_content=True)
        assert not telemetry.complaints.other


@pytest.fixture(autouse=True)
def _asks_the_hub_for_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_DISABLE_TELEMETRY", True)


def kind(asynchronous: bool) -> Any:
    return hub.AsyncInferenceClient if asynchronous else hub.InferenceClient


@pytest.fixture
def client(server: Server, asynchronous: bool) -> Any:
    return kind(asynchronous)(model=server.url, token="k", timeout=20)


Hosted = Callable[..., Any]


@pytest.fixture
def hosted(asynchronous: bool, monkeypatch: pytest.MonkeyPatch) -> Iterator[Hosted]:
    """Make a client of a provider, that is answered in this process; it keeps the requests that were sent."""
    if not hasattr(hub, "set_client_factory"):
        pytest.skip("this version has no place for a transport")
    from huggingface_hub.hf_api import InferenceProviderMapping
    from huggingface_hub.inference._providers import _common, hf_inference
    from huggingface_hub.utils import _http

    http = getattr(_http, "httpx2", None) or _http.httpx
    monkeypatch.setattr(hf_inference, "_check_supported_task", lambda model, task: None)

    def make(provider: str | None, model: str, task: str, reply: bytes, token: str = "hf_k") -> Any:
        def respond(request: Any) -> Any:
            made.sent.append(request)
            return http.Response(200, content=reply, headers={"content-type": "application/json"})

        if provider is not None and provider != "hf-inference":
            mapping = InferenceProviderMapping(
                provider=provider, hf_model_id=model, providerId=model, status="live", task=task
            )
            table = _common.HARDCODED_MODEL_INFERENCE_MAPPING
            monkeypatch.setitem(table, provider, {**table.get(provider, {}), model: mapping})
        hub.set_client_factory(lambda: http.Client(transport=http.MockTransport(respond)))
        hub.set_async_client_factory(lambda: http.AsyncClient(transport=http.MockTransport(respond)))
        made = kind(asynchronous)(model=model, provider=provider, token=token)
        made.sent = []
        return made

    yield make
    hub.set_client_factory(_http.default_client_factory)
    hub.set_async_client_factory(_http.default_async_client_factory)


def chat_answer(model: str) -> bytes:
    return b"".join(whole(model).body)


DEEPSEEK = "deepseek-ai/DeepSeek-R1"


@pytest.mark.parametrize(
    ("provider", "token", "named", "host"),
    [
        ("together", "hf_k", "together", "router.huggingface.co"),
        ("together", "tg_k", "together", "api.together.xyz"),
        ("fireworks-ai", "hf_k", "fireworks", "router.huggingface.co"),
        ("featherless-ai", "k", "featherless-ai", "api.featherless.ai"),
        ("hf-inference", "hf_k", "huggingface", "router.huggingface.co"),
        (None, "hf_k", "huggingface", "router.huggingface.co"),
    ],
)
async def test_the_provider_is_who_serves_the_model(
    hosted: Hosted, telemetry: Telemetry, provider: str | None, token: str, named: str, host: str
) -> None:
    client = hosted(provider, DEEPSEEK, "conversational", chat_answer(DEEPSEEK), token)
    await now(client.chat_completion(HELLO))
    assert [request.url.host for request in client.sent] == [host]
    attributes = telemetry.attributes
    assert attributes["gen_ai.provider.name"] == named
    assert attributes["server.address"] == host
    assert attributes["gen_ai.request.model"] == DEEPSEEK
    assert ("genledger.cost.amount" in attributes) != ("genledger.cost.unpriced" in attributes)


@pytest.mark.parametrize(
    ("address", "named"),
    [
        ("https://router.huggingface.co/together/v1", "together"),
        ("https://router.huggingface.co/v1", "huggingface"),
        ("https://api.groq.com/openai/v1", "groq"),
        ("https://x1.us-east-1.aws.endpoints.huggingface.cloud/v1", "huggingface"),
        ("https://llm.example.com/v1", "huggingface"),
    ],
)
async def test_an_address_tells_the_provider_whatever_the_client_was_given(
    hosted: Hosted, telemetry: Telemetry, address: str, named: str
) -> None:
    client = hosted(None, address, "conversational", chat_answer(DEEPSEEK))
    client.provider = "cohere"  # which the client ignores beside an address
    await now(client.chat_completion(HELLO, model=DEEPSEEK))
    assert telemetry.attributes["gen_ai.provider.name"] == named
    assert telemetry.attributes["gen_ai.request.model"] == DEEPSEEK


async def test_a_routed_call_has_the_price_of_the_route(hosted: Hosted, telemetry: Telemetry) -> None:
    client = hosted("together", DEEPSEEK, "conversational", chat_answer(DEEPSEEK))
    await now(client.chat_completion(HELLO))
    # https://router.huggingface.co/v1/models, USD per token
    assert telemetry.attributes["genledger.cost.amount"] == pytest.approx(1000 * 3e-6 + 500 * 7e-6)
    assert telemetry.attributes["genledger.cost.source"] == "table"


async def test_a_provider_chosen_in_the_models_name_is_who_serves_it(hosted: Hosted, telemetry: Telemetry) -> None:
    client = hosted(None, f"{DEEPSEEK}:together", "conversational", chat_answer(DEEPSEEK))
    await now(client.chat_completion(HELLO))
    assert telemetry.attributes["gen_ai.provider.name"] == "together"


async def test_a_degraded_call_asks_for_the_other_model_wherever_its_name_is(hosted: Hosted, tmp_path: Path) -> None:
    client = hosted("hf-inference", MODEL, "text-generation", b'[{"generated_text": "Paris."}]')
    rules = tmp_path / "rules.toml"
    degrade = 'degrade = { model = "meta-llama/Llama-3.1-8B-Instruct", max_output_tokens = 50 }'
    rules.write_text(f'[[budget]]\nname="cheap"\nusd=0.0000001\nper="day"\nat_limit="degrade"\n{degrade}\n')
    options = {"prices": PRICES, "budgets": str(rules), "budget_store": "memory:"}
    with instrumented(libraries=["huggingface-hub"], **options) as telemetry:
        await now(client.text_generation(PROMPT, max_new_tokens=700))
        assert telemetry.attributes["gen_ai.request.model"] == "meta-llama/Llama-3.1-8B-Instruct"
    (sent,) = client.sent
    assert sent.url.path == "/hf-inference/models/meta-llama/Llama-3.1-8B-Instruct"
    assert json.loads(sent.content)["parameters"]["max_new_tokens"] == 50


def tokens(*words: str, **details: Any) -> tuple[bytes, ...]:
    events: list[dict[str, Any]] = [
        {"index": index, "token": {"id": index, "text": word, "logprob": 0.0, "special": False}}
        for index, word in enumerate(words)
    ]
    if details:
        end = {"token": {"id": 2, "text": "</s>", "logprob": 0.0, "special": True}, "generated_text": TEXT}
        events.append({"index": len(words), **end, "details": details})
    return sse(*events)


WORDS = [word if word == "Paris." else f"{word} " for word in TEXT.split()]
DETAILS = {"finish_reason": "eos_token", "generated_tokens": 500}
RATES = '[[price]]\nprovider = "huggingface"\nper_million = { input = 1.0, output = 2.0 }\n'


@pytest.mark.parametrize("stream", [False, True])
async def test_generated_text_has_the_usage_of_its_details(
    server: Server, client: Any, tmp_path: Path, stream: bool
) -> None:
    prices = tmp_path / "prices.toml"
    prices.write_text(RATES)
    prefill = [{"id": 1, "text": "x", "logprob": 0.0}] * 1000
    one = [{"generated_text": TEXT, "details": {**DETAILS, "prefill": prefill, "tokens": []}}]
    streamed = Reply(200, "text/event-stream", tokens(*WORDS, **DETAILS, input_length=1000))
    server.will(streamed if stream else json_reply(one))
    with instrumented(libraries=["huggingface-hub"], prices=str(prices), capture_content="span") as telemetry:
        result = await now(
            client.text_generation(PROMPT, details=True, stream=stream, temperature=0.5, max_new_tokens=700)
        )
        if stream:
            await items(result)
        attributes = telemetry.attributes
    assert attributes["gen_ai.operation.name"] == "text_completion"
    assert attributes["gen_ai.usage.input_tokens"] == 1000
    assert attributes["gen_ai.usage.output_tokens"] == 500
    assert attributes["genledger.cost.amount"] == pytest.approx(0.002)
    assert attributes["gen_ai.response.finish_reasons"] == ("eos_token",)
    assert attributes["gen_ai.request.temperature"] == 0.5
    assert attributes["gen_ai.request.max_tokens"] == 700
    assert PROMPT in attributes["gen_ai.input.messages"]
    (message,) = json.loads(attributes["gen_ai.output.messages"])
    assert message["parts"] == [{"type": "text", "content": TEXT}]
    assert "genledger.usage.estimated" not in attributes


async def test_generated_text_without_details_is_unpriced(server: Server, client: Any, telemetry: Telemetry) -> None:
    server.will(json_reply([{"generated_text": TEXT}]))
    assert await now(client.text_generation(PROMPT)) == TEXT
    assert telemetry.attributes["genledger.cost.unpriced"] == "no_usage"


async def test_an_overloaded_stream_is_an_error_of_its_own_name(
    server: Server, client: Any, telemetry: Telemetry
) -> None:
    error = sse({"error": "Model is overloaded", "error_type": "overloaded"})
    server.will(Reply(200, "text/event-stream", tokens(*WORDS[:2]) + error))
    with pytest.raises(Exception, match="overloaded"):
        await items(await now(client.text_generation(PROMPT, stream=True)))
    attributes = telemetry.attributes
    assert attributes["genledger.outcome"] == "error"
    assert attributes["error.type"] == "overloaded"


async def test_a_stream_is_a_call_of_who_asked_and_ends_at_its_last_event(
    server: Server, asynchronous: bool, telemetry: Telemetry
) -> None:
    client = kind(asynchronous)(base_url=server.url, token="k", timeout=20)
    server.will(Reply(200, "text/event-stream", chunks(MODEL, usage=USAGE), hangs=True))
    with genledger.attribution(tenant="acme"):
        stream = await now(client.chat_completion(HELLO, model=MODEL, stream=True))
    read = await items(stream)
    assert "".join(choice.delta.content or "" for chunk in read for choice in chunk.choices) == TEXT
    attributes = telemetry.attributes
    assert attributes["genledger.outcome"] == "success"
    assert attributes["genledger.tenant.id"] == "acme"
    assert attributes["gen_ai.usage.output_tokens"] == 500


async def test_empty_lines_between_events_are_not_taken_for_tokens(
    server: Server, asynchronous: bool, telemetry: Telemetry
) -> None:
    client = kind(asynchronous)(base_url=server.url, token="k", timeout=20)
    server.will(ROW.begun(3))
    stream = await now(client.chat_completion(HELLO, model=MODEL, stream=True, max_tokens=3))
    await items(stream, 2)
    await now((stream.aclose if asynchronous else stream.close)())
    del stream
    gc.collect()
    assert telemetry.attributes["gen_ai.usage.output_tokens"] <= 3


async def test_vectors_are_embeddings(server: Server, client: Any, telemetry: Telemetry) -> None:
    pytest.importorskip("numpy")
    server.will(json_reply([[0.1, 0.2]]))
    found = await now(client.feature_extraction("a text"))
    assert found.shape == (1, 2)
    assert telemetry.attributes["gen_ai.operation.name"] == "embeddings"
    assert telemetry.attributes["genledger.cost.unpriced"] == "no_usage"


async def test_embeddings_of_a_provider_have_its_usage(hosted: Hosted, telemetry: Telemetry) -> None:
    pytest.importorskip("numpy")
    model = "intfloat/multilingual-e5-large-instruct"
    body = {"data": [{"embedding": [0.1]}], "model": model, "usage": {"prompt_tokens": 7, "total_tokens": 7}}
    client = hosted("together", model, "feature-extraction", json.dumps(body).encode())
    await now(client.feature_extraction("a text"))
    assert telemetry.attributes["gen_ai.usage.input_tokens"] == 7
    assert telemetry.attributes["gen_ai.provider.name"] == "together"


async def test_an_image_is_billed_as_one(hosted: Hosted, telemetry: Telemetry) -> None:
    pillow = pytest.importorskip("PIL.Image")
    import io

    drawn = io.BytesIO()
    pillow.new("RGB", (1, 1)).save(drawn, "PNG")
    client = hosted("hf-inference", FLUX, "text-to-image", drawn.getvalue())
    await now(client.text_to_image("a cat"))
    assert telemetry.span.name == f"image_generation {FLUX}"
    assert telemetry.attributes["genledger.cost.amount"] == pytest.approx(0.03)
    assert telemetry.attributes["gen_ai.output.type"] == "image"


async def test_speech_is_counted_in_characters(hosted: Hosted, tmp_path: Path) -> None:
    client = hosted("hf-inference", "espnet/tts", "text-to-speech", b"RIFFaudio")
    prices = tmp_path / "prices.toml"
    prices.write_text('[[price]]\nprovider = "huggingface"\nper_unit = { character = 0.01 }\n')
    with instrumented(libraries=["huggingface-hub"], prices=str(prices)) as telemetry:
        assert await now(client.text_to_speech("Hello")) == b"RIFFaudio"
        assert telemetry.attributes["gen_ai.operation.name"] == "speech"
        assert telemetry.attributes["genledger.cost.amount"] == pytest.approx(0.05)


async def test_recordings_are_transcriptions(server: Server, client: Any, telemetry: Telemetry) -> None:
    server.will(json_reply({"text": "Hello"}))
    await now(client.automatic_speech_recognition(b"RIFF"))
    assert telemetry.attributes["gen_ai.operation.name"] == "transcription"
    assert telemetry.attributes["genledger.cost.unpriced"] == "no_usage"


async def test_other_tasks_are_calls_without_a_known_price(server: Server, client: Any, telemetry: Telemetry) -> None:
    server.will(json_reply([{"label": "POSITIVE", "score": 0.9}]))
    await now(client.text_classification("Fine."))
    assert telemetry.attributes["gen_ai.operation.name"] == "generate_content"
    assert telemetry.attributes["genledger.cost.unpriced"] == "no_usage"
    assert telemetry.attributes["server.address"] == "127.0.0.1"


async def test_a_timeout_is_one(server: Server, asynchronous: bool, telemetry: Telemetry) -> None:
    if not (asynchronous or hasattr(hub, "set_client_factory")):
        pytest.skip("requests raises a connection error when a body that has begun takes too long")
    client = kind(asynchronous)(base_url=server.url, token="k", timeout=0.2)
    server.will(Reply(200, "application/json", (), hangs=True))
    with pytest.raises(Exception, match=r"^"):  # one that has no text in 1.x
        await now(client.chat_completion(HELLO, model=MODEL))
    assert telemetry.attributes["genledger.outcome"] == "timeout"
