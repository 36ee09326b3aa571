"""Google's client, over real sockets: what its rows of the contract suite do not show."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from opentelemetry.sdk.trace import ReadableSpan
from tests.contract.rows.google_genai import MODEL, PROMPT, TEXT, USAGE, answer, chunks, make, sent_model, whole
from tests.contract.server import Reply, Server, json_reply, sse

import genledger
from genledger.budgets import BudgetExceeded
from genledger_semconv.checker import assert_clean

from ..provider import items, now
from ..telemetry import BatchResults, Telemetry, attributes_of, instrumented

pytest.importorskip("google.genai")

COST = 1000 * 0.3e-6 + 500 * 2.5e-6


@pytest.fixture
def telemetry() -> Iterator[Telemetry]:
    with instrumented(libraries=["google-genai"]) as telemetry:
        yield telemetry
        assert_clean(telemetry.spans, telemetry.metrics, telemetry.logs)
        assert not telemetry.open.spans
        assert not telemetry.complaints.other


@pytest.fixture
def capturing() -> Iterator[Telemetry]:
    with instrumented(libraries=["google-genai"], capture_content="span") as telemetry:
        yield telemetry
        assert_clean(telemetry.spans, telemetry.metrics, telemetry.logs, capture_content=True)
        assert not telemetry.complaints.other


class Clients:
    """Clients of one server, synchronous or not."""

    def __init__(self, server: Server, asynchronous: bool) -> None:
        self.server = server
        self.asynchronous = asynchronous
        self._made: list[Any] = []  # a client closes its connections when it is collected

    def make(self, **options: Any) -> Any:
        """The client, or its asynchronous side."""
        client = make(self.server.url, self.asynchronous, 0, **options).kept
        self._made.append(client)
        return client.aio if self.asynchronous else client

    def vertex(self) -> Any:
        """A client of Vertex AI."""
        from google.oauth2.credentials import Credentials

        return self.make(vertexai=True, project="p", location="us-central1", credentials=Credentials(token="t"))


@pytest.fixture
def clients(server: Server, asynchronous: bool) -> Clients:
    return Clients(server, asynchronous)


def calls(telemetry: Telemetry) -> list[ReadableSpan]:
    return [span for span in telemetry.spans if "genledger.outcome" in (span.attributes or {})]


# Automatic function calls


def annotated(function: Any) -> Any:
    """Give a function its annotations as types: the oldest versions read no others."""
    function.__annotations__ = {"city": str, "return": str}
    return function


@annotated
def weather(city: str) -> str:
    """Tell the weather of a city.

    Args:
        city: Its name.
    """
    return f"{city} is sunny"


@annotated
async def weather_soon(city: str) -> str:
    """Tell the weather of a city, asynchronously."""
    await asyncio.sleep(0)
    return f"{city} is sunny"


def wants_weather(name: str = "weather") -> dict[str, Any]:
    part = {"functionCall": {"id": "call-1", "name": name, "args": {"city": "Paris"}}}
    candidate = {"content": {"role": "model", "parts": [part]}, "index": 0, "finishReason": "STOP"}
    return {"candidates": [candidate], "modelVersion": MODEL, "responseId": "response-0", "usageMetadata": USAGE}


async def test_a_function_that_is_called_is_a_step_between_two_calls(
    clients: Clients, server: Server, telemetry: Telemetry
) -> None:
    server.will(json_reply(wants_weather()), whole())
    client = clients.make()
    with genledger.observe("trip", kind="agent") as run:
        answered = await now(client.models.generate_content(model=MODEL, contents=PROMPT, config={"tools": [weather]}))
        assert run.spend().usd == pytest.approx(2 * COST)
    assert answered.text == TEXT
    first, tool, second, agent = telemetry.spans
    assert [one.name for one in telemetry.spans] == [
        f"generate_content {MODEL}",
        "execute_tool weather",
        f"generate_content {MODEL}",
        "invoke_agent trip",
    ]
    assert agent.context is not None
    assert all(one.parent is not None and one.parent.span_id == agent.context.span_id for one in (first, tool, second))
    assert "Paris is sunny" in json.dumps(server.requests[1].json)


async def test_a_function_that_the_application_observes_is_one_step(
    clients: Clients, server: Server, telemetry: Telemetry
) -> None:
    observed = genledger.observe("forecast", kind="tool")(weather)
    server.will(json_reply(wants_weather()), whole())
    await now(clients.make().models.generate_content(model=MODEL, contents=PROMPT, config={"tools": [observed]}))
    assert [one.name for one in telemetry.spans if "tool" in one.name] == ["execute_tool forecast"]


async def test_a_coroutine_function_is_a_step(server: Server, telemetry: Telemetry) -> None:
    server.will(json_reply(wants_weather("weather_soon")), whole())
    client = Clients(server, asynchronous=True).make()
    await client.models.generate_content(model=MODEL, contents=PROMPT, config={"tools": [weather_soon]})
    assert "execute_tool weather_soon" in [one.name for one in telemetry.spans]
    assert "Paris is sunny" in json.dumps(server.requests[1].json)


async def test_a_function_that_fails_fails_its_step_and_is_told_to_the_model(
    clients: Clients, server: Server, telemetry: Telemetry
) -> None:
    @annotated
    def weather(city: str) -> str:
        """Tell the weather of a city."""
        raise LookupError("no such city")

    server.will(json_reply(wants_weather()), whole())
    await now(clients.make().models.generate_content(model=MODEL, contents=PROMPT, config={"tools": [weather]}))
    assert telemetry.attributes_of("execute_tool weather")["error.type"] == "LookupError"
    assert "Failed to invoke function weather" in json.dumps(server.requests[1].json)


async def test_every_call_of_a_stream_belongs_to_who_asked_for_it(
    clients: Clients, server: Server, telemetry: Telemetry
) -> None:
    server.will(Reply(200, "text/event-stream", sse(wants_weather())), Reply(200, "text/event-stream", chunks()))
    client = clients.make()
    with genledger.attribution(tenant="asker"):
        stream = await now(
            client.models.generate_content_stream(model=MODEL, contents=PROMPT, config={"tools": [weather]})
        )
    with genledger.attribution(tenant="reader"):
        await items(stream)
    assert [attributes_of(one)["genledger.tenant.id"] for one in telemetry.spans] == ["asker"] * 3
    assert len(calls(telemetry)) == 2


async def test_a_chat_that_streams_is_priced(clients: Clients, server: Server, telemetry: Telemetry) -> None:
    server.will(Reply(200, "text/event-stream", chunks()))
    chat = clients.make().chats.create(model=MODEL)
    with genledger.attribution(tenant="asker"):
        stream = await now(chat.send_message_stream(PROMPT))
    said = await items(stream)
    assert "".join(one.text or "" for one in said) == TEXT
    assert telemetry.attributes["genledger.tenant.id"] == "asker"
    assert telemetry.attributes["genledger.cost.amount"] == pytest.approx(COST)
    assert len(chat.get_history()) >= 2


# Contents


async def test_contents_become_messages(clients: Clients, server: Server, capturing: Telemetry) -> None:
    from google.genai import types

    said = {
        "candidates": [
            {
                "content": {
                    "role": "model",
                    "parts": [
                        {"text": "Let me think.", "thought": True},
                        {"executableCode": {"language": "PYTHON", "code": "print(1)"}},
                        {"codeExecutionResult": {"outcome": "OUTCOME_OK", "output": "1"}},
                        {"text": TEXT, "thoughtSignature": "c2ln"},
                        {"functionCall": {"name": "weather", "args": {"city": "Paris"}}},
                    ],
                },
                "finishReason": "STOP",
            }
        ],
        "usageMetadata": USAGE,
    }
    server.will(json_reply(said))
    contents = [
        types.Content(
            role="user",
            parts=[
                types.Part.from_text(text=PROMPT),
                types.Part.from_bytes(data=b"pixels", mime_type="image/png"),
                types.Part.from_uri(file_uri="gs://bucket/talk.mp3", mime_type="audio/mp3"),
            ],
        ),
        types.Content(role="model", parts=[types.Part.from_function_call(name="weather", args={"city": "Rome"})]),
        types.Content(role="user", parts=[types.Part.from_function_response(name="weather", response={"sun": True})]),
    ]
    declared = {"function_declarations": [{"name": "weather", "description": "Tell the weather."}]}
    config = {"system_instruction": "Be brief.", "tools": [declared, {"google_search": {}}]}
    await now(clients.make().models.generate_content(model=MODEL, contents=contents, config=config))
    attributes = capturing.attributes
    asked, called, result = json.loads(attributes["gen_ai.input.messages"])
    assert [part["type"] for part in asked["parts"]] == ["text", "uri", "uri"]
    assert asked["parts"][1]["modality"] == "image"
    assert asked["parts"][2] == {
        "type": "uri",
        "modality": "audio",
        "uri": "gs://bucket/talk.mp3",
        "mime_type": "audio/mp3",
    }
    assert (called["role"], called["parts"][0]["arguments"]) == ("assistant", {"city": "Rome"})
    assert (result["role"], result["parts"][0]["response"]) == ("tool", {"sun": True})
    assert json.loads(attributes["gen_ai.system_instructions"]) == [{"type": "text", "content": "Be brief."}]
    names = [tool["name"] for tool in json.loads(attributes["gen_ai.tool.definitions"])]
    assert sorted(names) == ["googleSearch", "weather"]
    (message,) = json.loads(attributes["gen_ai.output.messages"])
    assert [part["type"] for part in message["parts"]] == [
        *("reasoning", "server_tool_call", "server_tool_call_response", "text", "tool_call"),
    ]
    assert message["finish_reason"] == "tool_call"


async def test_the_texts_of_a_stream_are_put_together(clients: Clients, server: Server, capturing: Telemetry) -> None:
    server.will(Reply(200, "text/event-stream", chunks()))
    await items(await now(clients.make().models.generate_content_stream(model=MODEL, contents=PROMPT)))
    (message,) = json.loads(capturing.attributes["gen_ai.output.messages"])
    assert message["parts"] == [{"type": "text", "content": TEXT}]


async def test_the_fields_of_a_request_are_attributes(clients: Clients, server: Server, telemetry: Telemetry) -> None:
    server.will(whole())
    config = {
        "temperature": 0.5,
        "top_p": 0.9,
        "top_k": 40,
        "seed": 7,
        "candidate_count": 2,
        "max_output_tokens": 100,
        "stop_sequences": ["END"],
        "response_mime_type": "application/json",
    }
    await now(clients.make().models.generate_content(model=f"models/{MODEL}", contents=PROMPT, config=config))
    attributes = telemetry.attributes
    assert attributes["gen_ai.request.model"] == attributes["gen_ai.response.model"] == MODEL
    assert attributes["gen_ai.request.temperature"] == 0.5
    assert attributes["gen_ai.request.top_p"] == 0.9
    assert attributes["gen_ai.request.top_k"] == 40
    assert attributes["gen_ai.request.seed"] == 7
    assert attributes["gen_ai.request.choice.count"] == 2
    assert attributes["gen_ai.request.max_tokens"] == 100
    assert attributes["gen_ai.request.stop_sequences"] == ("END",)
    assert attributes["gen_ai.output.type"] == "json"
    assert attributes["gen_ai.response.id"] == "response-1"
    assert attributes["gen_ai.response.finish_reasons"] == ("STOP",)


@pytest.mark.parametrize(
    ("said", "reason"),
    [
        ({"candidates": [{"finishReason": "SAFETY", "index": 0}]}, "SAFETY"),
        ({"promptFeedback": {"blockReason": "PROHIBITED_CONTENT"}}, "PROHIBITED_CONTENT"),
    ],
    ids=["answer", "prompt"],
)
@pytest.mark.parametrize("stream", [False, True], ids=["whole", "stream"])
async def test_what_a_filter_stops_is_an_answer_with_its_reason(
    clients: Clients, server: Server, telemetry: Telemetry, said: dict[str, Any], reason: str, stream: bool
) -> None:
    body = {**said, "modelVersion": MODEL, "usageMetadata": {"promptTokenCount": 1000, "totalTokenCount": 1000}}
    server.will(Reply(200, "text/event-stream", sse(body)) if stream else json_reply(body))
    models = clients.make().models
    if stream:
        await items(await now(models.generate_content_stream(model=MODEL, contents=PROMPT)))
    else:
        await now(models.generate_content(model=MODEL, contents=PROMPT))
    assert telemetry.attributes["gen_ai.response.finish_reasons"] == (reason,)
    assert telemetry.attributes["genledger.outcome"] == "success"
    assert telemetry.attributes["genledger.cost.amount"] == pytest.approx(1000 * 0.3e-6)
    assert "genledger.usage.estimated" not in telemetry.attributes


async def test_searches_that_ground_an_answer_are_billed(
    clients: Clients, server: Server, telemetry: Telemetry
) -> None:
    last = answer("", "STOP", usageMetadata=USAGE)
    last["candidates"][0]["groundingMetadata"] = {"webSearchQueries": ["a", "b"]}
    server.will(Reply(200, "text/event-stream", sse(answer(TEXT, None), last)))
    config = {"tools": [{"google_search": {}}]}
    stream = await now(clients.make().models.generate_content_stream(model=MODEL, contents=PROMPT, config=config))
    await items(stream)
    assert telemetry.attributes["genledger.usage.web_search"] == 1  # once for the prompt, up to Gemini 2
    assert telemetry.attributes["genledger.cost.amount"] == pytest.approx(COST + 0.035)


async def test_images_that_a_model_draws_are_image_tokens(
    clients: Clients, server: Server, telemetry: Telemetry
) -> None:
    drawn = {"candidatesTokensDetails": [{"modality": "IMAGE", "tokenCount": 1290}]}
    usage = {"promptTokenCount": 10, "candidatesTokenCount": 1290, "totalTokenCount": 1300, **drawn}
    server.will(json_reply(answer("", model="gemini-2.5-flash-image", usageMetadata=usage)))
    config = {"response_modalities": ["TEXT", "IMAGE"]}
    model = "gemini-2.5-flash-image"
    await now(clients.make().models.generate_content(model=model, contents=PROMPT, config=config))
    assert telemetry.attributes["gen_ai.output.type"] == "image"
    assert telemetry.attributes["gen_ai.usage.image.output_tokens"] == 1290
    assert telemetry.attributes["genledger.cost.amount"] == pytest.approx(10 * 0.3e-6 + 1290 * 30e-6)


# Vertex AI


async def test_vertex_bills_what_is_called_through_it(clients: Clients, server: Server, telemetry: Telemetry) -> None:
    server.will(whole())
    client = clients.vertex()
    await now(client.models.generate_content(model=MODEL, contents=PROMPT))
    assert telemetry.span.name == f"generate_content {MODEL}"
    assert telemetry.attributes["gen_ai.provider.name"] == "gcp.vertex_ai"
    assert telemetry.attributes["genledger.cost.amount"] == pytest.approx(COST)


async def test_a_tier_is_that_of_the_traffic(clients: Clients, server: Server, telemetry: Telemetry) -> None:
    server.will(whole(usage={**USAGE, "trafficType": "ON_DEMAND_FLEX"}))
    await now(clients.vertex().models.generate_content(model=MODEL, contents=PROMPT))
    assert telemetry.attributes["genledger.cost.amount"] == pytest.approx(COST / 2)


async def test_a_tier_may_be_in_the_headers(clients: Clients, server: Server, telemetry: Telemetry) -> None:
    from google.genai import types

    if "service_tier" not in types.GenerateContentConfig.model_fields:
        pytest.skip("this version has no tiers")
    server.will(whole(**{"x-gemini-service-tier": "flex"}))
    client = clients.make()
    await now(client.models.generate_content(model=MODEL, contents=PROMPT))
    assert telemetry.attributes["genledger.cost.amount"] == pytest.approx(COST / 2)


# Other operations

DRAWS = "imagen-3.0-generate-002"


async def test_embeddings_are_priced(clients: Clients, server: Server, telemetry: Telemetry) -> None:
    server.will(json_reply({"embeddings": [{"values": [0.1]}], "usageMetadata": {"promptTokenCount": 1000}}))
    model = "gemini-embedding-001"
    config = {"output_dimensionality": 256}
    await now(clients.make().models.embed_content(model=model, contents=["a text"], config=config))
    assert telemetry.span.name == f"embeddings {model}"
    assert telemetry.attributes["gen_ai.usage.input_tokens"] == 1000
    assert telemetry.attributes["gen_ai.embeddings.dimension.count"] == 256
    assert telemetry.attributes["genledger.cost.amount"] == pytest.approx(1000 * 0.15e-6)


async def test_embeddings_of_vertex_count_their_tokens_beside_each_vector(
    clients: Clients, server: Server, telemetry: Telemetry
) -> None:
    vectors = [{"embeddings": {"values": [0.1], "statistics": {"token_count": count}}} for count in (400, 600)]
    server.will(json_reply({"predictions": vectors, "metadata": {"billableCharacterCount": 9}}))
    model = "text-embedding-005"
    await now(clients.vertex().models.embed_content(model=model, contents=["a text", "another"]))
    assert server.requests[0].path.endswith(":predict")
    assert telemetry.span.name == f"embeddings {model}"
    assert telemetry.attributes["genledger.cost.amount"] == pytest.approx(1000 * 0.1e-6)


IMAGEN = "imagen-4.0-fast-generate-001"
IMAGE = {"mimeType": "image/png", "bytesBase64Encoded": "cGl4ZWxz"}


async def test_images_are_priced_by_those_that_no_filter_took(
    clients: Clients, server: Server, telemetry: Telemetry
) -> None:
    server.will(json_reply({"predictions": [IMAGE, IMAGE, {"raiFilteredReason": "blocked"}]}))
    config = {"number_of_images": 3, "include_rai_reason": True}
    await now(clients.vertex().models.generate_images(model=IMAGEN, prompt=PROMPT, config=config))
    assert telemetry.span.name == f"image_generation {IMAGEN}"
    assert telemetry.attributes["genledger.usage.image"] == 2
    assert telemetry.attributes["genledger.cost.amount"] == pytest.approx(2 * 0.02)


async def test_an_edited_image_is_billed_as_one_that_is_drawn(
    clients: Clients, server: Server, telemetry: Telemetry, tmp_path: Path
) -> None:
    from google.genai import types

    server.will(json_reply({"predictions": [{"bytesBase64Encoded": "cGl4ZWxz", "mimeType": "image/png"}]}))
    shown = types.RawReferenceImage(reference_id=1, reference_image=types.Image(image_bytes=b"pixels"))
    await now(clients.vertex().models.edit_image(model=DRAWS, prompt=PROMPT, reference_images=[shown]))
    assert telemetry.span.name == f"image_generation {DRAWS}"
    assert telemetry.attributes["genledger.cost.amount"] == pytest.approx(0.04)


async def test_an_image_that_is_made_larger_has_a_price_of_its_own(
    clients: Clients, server: Server, tmp_path: Path
) -> None:
    from google.genai import types

    prices = tmp_path / "prices.toml"
    prices.write_text(f'[[price]]\nprovider="gcp.vertex_ai"\nmodel="{DRAWS}"\nper_unit={{ upscaled_image=0.5 }}\n')
    server.will(json_reply({"predictions": [{"bytesBase64Encoded": "cGl4ZWxz", "mimeType": "image/png"}]}))
    shown = types.Image(image_bytes=b"pixels")
    with instrumented(libraries=["google-genai"], prices=str(prices)) as telemetry:
        await now(clients.vertex().models.upscale_image(model=DRAWS, image=shown, upscale_factor="x2"))
        assert telemetry.span.name == f"image_generation {DRAWS}"
        assert telemetry.attributes["genledger.cost.amount"] == pytest.approx(0.5)


async def test_counting_tokens_costs_nothing(clients: Clients, server: Server, telemetry: Telemetry) -> None:
    server.will(json_reply({"totalTokens": 10}))
    await now(clients.make().models.count_tokens(model=MODEL, contents=PROMPT))
    assert telemetry.span.name == f"count_tokens {MODEL}"
    assert not [name for name in telemetry.attributes if "cost" in name or "usage" in name]


async def test_a_cache_that_is_made_is_counted_by_its_tokens_and_hours(
    clients: Clients, server: Server, telemetry: Telemetry
) -> None:
    times = {"createTime": "2026-06-01T10:00:00Z", "expireTime": "2026-06-01T10:30:00.5Z"}
    kept = {
        "name": "cachedContents/c1",
        "model": f"models/{MODEL}",
        **times,
        "usageMetadata": {"totalTokenCount": 4000},
    }
    server.will(json_reply(kept))
    client = clients.make()
    await now(client.caches.create(model=MODEL, config={"contents": PROMPT, "ttl": "1800s"}))
    await now(client.caches.get(name="cachedContents/c1"))  # is not billed
    assert telemetry.span.name == f"create_cache {MODEL}"
    assert telemetry.attributes["genledger.usage.cached_token_hour"] == pytest.approx(2000, rel=0.001)
    assert "genledger.cost.amount" not in telemetry.attributes
    assert telemetry.attributes["genledger.cost.unpriced"]


async def test_listing_models_is_no_call(clients: Clients, server: Server, telemetry: Telemetry) -> None:
    server.will(json_reply({"models": []}))
    await now(clients.make().models.list())
    assert telemetry.spans == ()


# Budgets


def limited(tmp_path: Path, rule: str) -> Any:
    rules = tmp_path / "rules.toml"
    rules.write_text(f'[[budget]]\nname="small"\nper="day"\n{rule}\n')
    return instrumented(libraries=["google-genai"], budgets=str(rules), budget_store="memory:")


async def test_budgets_reserve_every_candidate(clients: Clients, server: Server, tmp_path: Path) -> None:
    server.will(whole())
    with limited(tmp_path, "usd=0.004"):  # 1000 tokens cost 0.0025
        models = clients.make().models
        config = {"max_output_tokens": 1000, "candidate_count": 2}
        with pytest.raises(BudgetExceeded):
            await now(models.generate_content(model=MODEL, contents=PROMPT, config=config))
        assert server.requests == []
        await now(models.generate_content(model=MODEL, contents=PROMPT, config={"max_output_tokens": 1000}))
        assert len(server.requests) == 1


async def test_budgets_reserve_the_images_of_a_prompt(clients: Clients, server: Server, tmp_path: Path) -> None:
    from google.genai import types

    server.will(whole())
    image = types.Part.from_bytes(data=b"pixels", mime_type="image/png")
    with limited(tmp_path, "usd=0.0005"):  # an image is taken for 2500 tokens, which cost 0.00075
        client, config = clients.make(), {"max_output_tokens": 1}
        with pytest.raises(BudgetExceeded):
            await now(client.models.generate_content(model=MODEL, contents=[PROMPT, image], config=config))
        await now(client.models.generate_content(model=MODEL, contents=PROMPT, config=config))


async def test_budgets_reserve_the_images_that_are_asked_for(clients: Clients, server: Server, tmp_path: Path) -> None:
    server.will(json_reply({"predictions": [IMAGE]}))
    with limited(tmp_path, "usd=0.03"):
        models = clients.vertex().models
        with pytest.raises(BudgetExceeded):
            await now(models.generate_images(model=IMAGEN, prompt=PROMPT, config={"number_of_images": 2}))
        await now(models.generate_images(model=IMAGEN, prompt=PROMPT, config={"number_of_images": 1}))


async def test_a_refused_stream_raises_when_it_is_read_and_sends_nothing(
    clients: Clients, server: Server, tmp_path: Path
) -> None:
    server.will(Reply(200, "text/event-stream", chunks()))
    with limited(tmp_path, "usd=0.0000001"), pytest.raises(BudgetExceeded):
        await items(await now(clients.make().models.generate_content_stream(model=MODEL, contents=PROMPT)))
    assert server.requests == []


async def test_a_degraded_model_of_vertex_keeps_its_project(clients: Clients, server: Server, tmp_path: Path) -> None:
    server.will(whole())
    rule = 'usd=0.0000001\nat_limit="degrade"\ndegrade={ model="gemini-2.5-flash-lite", max_output_tokens=50 }'
    with limited(tmp_path, rule) as telemetry:
        name = f"projects/other/locations/global/publishers/google/models/{MODEL}"
        await now(clients.vertex().models.generate_content(model=name, contents=PROMPT))
        assert "projects/other/locations/global/" in server.requests[0].path
        assert sent_model(server.requests[0]) == "gemini-2.5-flash-lite"
        assert server.requests[0].json["generationConfig"]["maxOutputTokens"] == 50
        assert telemetry.attributes["genledger.model.requested"] == MODEL


async def test_a_limit_in_an_extra_body_is_reserved_and_degraded(
    clients: Clients, server: Server, tmp_path: Path
) -> None:
    from google.genai import types

    if "extra_body" not in types.HttpOptions.model_fields:
        pytest.skip("this version has no extra body")
    server.will(whole())
    extra = {"generationConfig": {"maxOutputTokens": 900}}
    rule = 'usd=0.0000001\nat_limit="degrade"\ndegrade={ model="gemini-2.5-flash-lite", max_output_tokens=50 }'
    with limited(tmp_path, rule):
        config = {"http_options": {"extra_body": extra}}
        await now(clients.make().models.generate_content(model=MODEL, contents=PROMPT, config=config))
    assert server.requests[0].json["generationConfig"]["maxOutputTokens"] == 50
    assert extra == {"generationConfig": {"maxOutputTokens": 900}}


# Batches


def batch(state: str = "BATCH_STATE_PENDING", **metadata: Any) -> Reply:
    known = {"name": "batches/b1", "model": f"models/{MODEL}", "state": state, **metadata}
    return json_reply({"name": "batches/b1", "metadata": known})


RESULTS = [
    {"metadata": {"key": "a"}, "response": answer(TEXT, usageMetadata=USAGE)},
    {"response": answer(TEXT, usageMetadata=USAGE)},
    {"error": {"code": 8, "message": "No."}},
]


@pytest.fixture
def batches() -> None:
    """Skip what the oldest versions lack: batches of the Gemini API."""
    from google.genai import types

    if not hasattr(types, "InlinedRequest"):
        pytest.skip("this version has no batches of the Gemini API")


async def create(client: Any, **given: Any) -> Any:
    with genledger.attribution(tenant="asker"):
        return await now(client.batches.create(model=MODEL, **given))


@pytest.mark.usefixtures("batches")
async def test_results_that_come_with_a_batch_cost_the_batch_rate_for_who_created_it(
    clients: Clients, server: Server
) -> None:
    entries = BatchResults()
    ended = batch("BATCH_STATE_SUCCEEDED", output={"inlinedResponses": {"inlinedResponses": RESULTS}})
    with instrumented(libraries=["google-genai"], destinations=[entries]) as telemetry:
        client = clients.make()
        server.will(batch(), batch(), ended)
        await create(client, src=[{"contents": [{"role": "user", "parts": [{"text": PROMPT}]}]}])
        for _ in range(3):  # what is polled again is not counted again
            await now(client.batches.get(name="batches/b1"))
        assert genledger.flush(30)
        assert [one.name for one in telemetry.spans] == [f"batch {MODEL}", "batch", "batch", "batch"]
        assert_clean(telemetry.spans, telemetry.metrics, telemetry.logs)
        assert not telemetry.complaints.other
    assert [one.attribution.tenant for one in entries.all] == ["asker"] * 3
    assert [one.outcome for one in entries.all] == ["success", "success", "rate_limited"]
    assert [one.cost.amount if one.cost else None for one in entries.all] == [
        pytest.approx(COST / 2),
        pytest.approx(COST / 2),
        None,
    ]
    assert entries.all[0].response_model == MODEL


@pytest.mark.usefixtures("batches")
async def test_results_in_a_file_are_priced_when_it_is_read(clients: Clients, server: Server) -> None:
    entries = BatchResults()
    lines = [{"key": "a", "response": answer(TEXT, usageMetadata=USAGE)}, {"key": "b", "error": {"code": 3}}]
    content = b"".join(json.dumps(line).encode() + b"\n" for line in lines)
    with instrumented(libraries=["google-genai"], destinations=[entries]):
        client = clients.make()
        server.will(batch())
        await create(client, src="files/in")
        server.will(batch("BATCH_STATE_SUCCEEDED", output={"responsesFile": "files/out"}))
        await now(client.batches.get(name="batches/b1"))
        server.will(Reply(200, "application/octet-stream", (content,)))
        assert await now(client.files.download(file="files/out")) == content
        assert genledger.flush(30)
    assert [one.attribution.tenant for one in entries.all] == ["asker"] * 2
    assert [one.outcome for one in entries.all] == ["success", "error"]
    assert entries.all[0].cost is not None
    assert entries.all[0].cost.amount == pytest.approx(COST / 2)


async def test_another_file_is_no_call(clients: Clients, server: Server, telemetry: Telemetry) -> None:
    server.will(Reply(200, "application/octet-stream", (b"a video",)))
    assert await now(clients.make().files.download(file="files/video")) == b"a video"
    assert telemetry.spans == ()


@pytest.mark.usefixtures("batches")
async def test_budgets_reserve_the_requests_of_a_batch(clients: Clients, server: Server, tmp_path: Path) -> None:
    server.will(batch())
    request = {
        "contents": [{"role": "user", "parts": [{"text": PROMPT}]}],
        "config": {"max_output_tokens": 1000},
    }
    with limited(tmp_path, "usd=0.003"):  # 1000 tokens cost 0.00125 in a batch
        client = clients.make()
        with pytest.raises(BudgetExceeded):
            await create(client, src=[request] * 3)
        assert server.requests == []
        await create(client, src=[request] * 2)


# Interactions

INTERACTION = {
    "id": "interaction-1",
    "object": "interaction",
    "model": MODEL,
    "status": "completed",
    "created": "2026-06-01T00:00:00Z",
    "updated": "2026-06-01T00:00:00Z",
    "steps": [
        {"type": "thought", "summary": [{"type": "text", "text": "Let me think."}]},
        {"type": "model_output", "content": [{"type": "text", "text": TEXT}]},
    ],
    "usage": {"total_input_tokens": 1000, "total_output_tokens": 300, "total_thought_tokens": 200},
}
BEGUN = {"id": "interaction-1", "object": "interaction", "model": MODEL, "status": "in_progress"}


def events() -> tuple[bytes, ...]:
    ended = {name: value for name, value in INTERACTION.items() if name != "steps"}
    spoken = [{"event_type": "step.delta", "index": 0, "delta": {"type": "text", "text": f"{word} "}} for word in "abc"]
    return sse(
        {"event_type": "interaction.created", "interaction": BEGUN},
        {"event_type": "step.start", "index": 0, "step": {"type": "model_output"}},
        *spoken,
        {"event_type": "step.stop", "index": 0},
        {"event_type": "interaction.completed", "interaction": ended},
        done=True,
    )


@pytest.fixture
def interactions(clients: Clients) -> Any:
    """The interactions of a client; the oldest versions have none."""
    client = clients.make()
    if not hasattr(client, "interactions"):
        pytest.skip("this version has no interactions")
    return client.interactions


async def test_an_interaction_is_priced(interactions: Any, server: Server, capturing: Telemetry) -> None:
    server.will(json_reply(INTERACTION))
    config = {"max_output_tokens": 700, "temperature": 0.5}
    found = await now(interactions.create(model=MODEL, input=PROMPT, generation_config=config))
    assert found.id == "interaction-1"
    attributes = capturing.attributes
    assert capturing.span.name == f"generate_content {MODEL}"
    assert attributes["gen_ai.request.max_tokens"] == 700
    assert attributes["gen_ai.response.finish_reasons"] == ("stop",)
    assert attributes["gen_ai.usage.output_tokens"] == 500
    assert attributes["genledger.cost.amount"] == pytest.approx(COST)
    assert json.loads(attributes["gen_ai.input.messages"])[0]["parts"][0]["content"] == PROMPT
    (message,) = json.loads(attributes["gen_ai.output.messages"])
    assert [part["type"] for part in message["parts"]] == ["reasoning", "text"]


async def test_a_decision_is_priced(clients: Clients, server: Server, capturing: Telemetry) -> None:
    client = clients.make()
    if not hasattr(client, "decisions"):
        pytest.skip("this version has no decisions")
    answers = {"spam": {"type": "noul", "value": True, "probability": 0.9}}
    server.will(json_reply({"answers": answers, "usage": {"total_input_tokens": 1000, "total_output_tokens": 500}}))
    questions = {"spam": {"type": "noul", "instructions": "Is it spam?"}}
    found = await now(client.decisions.create(model=MODEL, input=PROMPT, questions=questions))
    assert set(found.answers) == {"spam"}
    attributes = capturing.attributes
    assert capturing.span.name == f"generate_content {MODEL}"
    assert attributes["gen_ai.usage.output_tokens"] == 500
    assert attributes["genledger.cost.amount"] == pytest.approx(COST)
    assert "Is it spam?" in attributes["gen_ai.input.messages"]
    assert "spam" in attributes["gen_ai.output.messages"]


async def test_an_interaction_that_streams_is_priced(interactions: Any, server: Server, capturing: Telemetry) -> None:
    server.will(Reply(200, "text/event-stream", events()))
    await items(await now(interactions.create(model=MODEL, input=PROMPT, stream=True)))
    attributes = capturing.attributes
    assert attributes["genledger.cost.amount"] == pytest.approx(COST)
    assert "genledger.usage.estimated" not in attributes
    (message,) = json.loads(attributes["gen_ai.output.messages"])
    assert message["parts"] == [{"type": "text", "content": "a b c "}]


async def test_an_interaction_in_the_background_is_priced_when_it_is_asked_for(
    interactions: Any, server: Server, telemetry: Telemetry
) -> None:
    server.will(json_reply(BEGUN), json_reply(INTERACTION))
    with genledger.attribution(tenant="asker"):
        await now(interactions.create(model=MODEL, input=PROMPT, background=True))
    assert telemetry.spans == ()
    await now(interactions.get("interaction-1"))
    asked = telemetry.attributes_of(f"generate_content {MODEL}")
    assert asked["genledger.tenant.id"] == "asker"
    assert asked["genledger.cost.amount"] == pytest.approx(COST)
    fetched = telemetry.attributes_of("fetch_response")
    assert fetched["gen_ai.response.status"] == "completed"
    assert "genledger.cost.amount" not in fetched


async def test_an_interaction_is_sent_again_as_without_genledger(
    interactions: Any, server: Server, telemetry: Telemetry
) -> None:
    refused = json_reply(
        {"error": {"code": 503, "message": "No.", "status": "UNAVAILABLE"}}, 503, **{"retry-after": "0"}
    )
    server.will(refused, json_reply(INTERACTION))
    await now(interactions.create(model=MODEL, input=PROMPT))
    assert len(server.requests) == 2
    assert telemetry.attributes["genledger.attempts"] == 2
    assert telemetry.attributes["genledger.cost.amount"] == pytest.approx(COST)


async def test_a_degraded_interaction_is_sent_as_degraded(interactions: Any, server: Server, tmp_path: Path) -> None:
    server.will(json_reply(INTERACTION))
    rule = 'usd=0.0000001\nat_limit="degrade"\ndegrade={ model="gemini-2.5-flash-lite", max_output_tokens=50 }'
    with limited(tmp_path, rule):
        await now(interactions.create(model=MODEL, input=PROMPT))
    assert server.requests[0].json["model"] == "gemini-2.5-flash-lite"
    assert server.requests[0].json["generation_config"]["max_output_tokens"] == 50


# Failures


async def test_a_stream_that_the_provider_breaks_off_is_as_it_says(
    clients: Clients, server: Server, telemetry: Telemetry
) -> None:
    broken = {"error": {"code": 429, "message": f"No: {PROMPT}", "status": "RESOURCE_EXHAUSTED"}}
    server.will(Reply(200, "text/event-stream", sse(answer("The capital ", None), broken)))
    stream = await now(clients.make().models.generate_content_stream(model=MODEL, contents=PROMPT))
    raised: Exception | None = None
    try:
        await items(stream)
    except Exception as error:
        raised = error
    # The oldest versions pass it on as a chunk.
    assert telemetry.attributes["genledger.outcome"] == ("error" if raised is None else "rate_limited")
    assert telemetry.attributes["genledger.usage.estimated"] is True


async def test_a_timeout_is_one(clients: Clients, server: Server, telemetry: Telemetry) -> None:
    server.will(Reply(200, "application/json", (b"{",), hangs=True))
    config = {"http_options": {"timeout": 300}}
    with pytest.raises(Exception):  # of the HTTP library that the client found
        await now(clients.make().models.generate_content(model=MODEL, contents=PROMPT, config=config))
    assert telemetry.attributes["genledger.outcome"] == "timeout"
    assert telemetry.attributes["genledger.usage.estimated"] is True
