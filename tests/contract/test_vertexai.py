"""Google's client of Vertex AI beyond the contract: chats, every way to ask, embeddings, images, and gRPC's errors."""

from __future__ import annotations

import asyncio
import contextlib
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from tests.contract.grpc_server import GrpcServer
from tests.contract.rows.vertexai import MODEL, PROMPT, RESOURCE, TEXT, USAGE, begin, chunks, model, service, whole
from tests.contract.server import Reply, Server, json_reply, serving
from tests.instrumentors.provider import items, now
from tests.instrumentors.telemetry import Telemetry, attributes_of, instrumented

import genledger
from genledger_semconv.checker import assert_clean

pytest.importorskip("vertexai")
pytestmark = [
    pytest.mark.filterwarnings("ignore:This feature is deprecated"),
    pytest.mark.filterwarnings("ignore::DeprecationWarning"),
]
COST = 1000 * 0.3e-6 + 500 * 2.5e-6


@pytest.fixture(params=[False, True], ids=["sync", "async"])
def asynchronous(request: pytest.FixtureRequest) -> bool:
    """Which kind of client is used."""
    return bool(request.param)


@pytest.fixture
def grpc_server() -> Iterator[Any]:
    with serving(lambda: GrpcServer("StreamGenerateContent")) as server:
        yield server


@contextlib.contextmanager
def recorded(**options: Any) -> Iterator[Telemetry]:
    with instrumented(libraries=["vertexai"], **options) as telemetry:
        yield telemetry
        content = bool(options.get("capture_content"))
        assert_clean(telemetry.spans, telemetry.metrics, telemetry.logs, capture_content=content)
        assert not telemetry.open.spans
        assert not telemetry.complaints.other


@pytest.fixture
def telemetry() -> Iterator[Telemetry]:
    with recorded() as telemetry:
        yield telemetry


@pytest.fixture
def capturing() -> Iterator[Telemetry]:
    with recorded(capture_content="span") as telemetry:
        yield telemetry


def replied(kind: str, fields: dict[str, Any]) -> Reply:
    """An answer made by the client's own message."""
    from google.cloud.aiplatform_v1.types import prediction_service

    message = getattr(prediction_service, kind)
    return Reply(200, "application/grpc", (message.serialize(message(fields)),))


def generated(**fields: Any) -> Reply:
    counted = {"prompt_token_count": 1000, "candidates_token_count": 500, "total_token_count": 1500}
    return replied("GenerateContentResponse", {"model_version": MODEL, "usage_metadata": counted, **fields})


# Chats


async def test_a_message_of_a_chat_is_a_call_and_its_history_is_kept(
    grpc_server: Any, telemetry: Telemetry, asynchronous: bool
) -> None:
    grpc_server.will(whole())
    chat = model(grpc_server.url, asynchronous).start_chat()
    send = chat.send_message_async if asynchronous else chat.send_message
    assert (await now(send(PROMPT))).text == TEXT
    assert [one.role for one in chat.history] == ["user", "model"]
    assert telemetry.attributes["genledger.cost.amount"] == pytest.approx(COST)


async def test_a_stream_belongs_to_who_asked_for_it(grpc_server: Any, telemetry: Telemetry, asynchronous: bool) -> None:
    grpc_server.will(Reply(200, "application/grpc", chunks()))
    made = model(grpc_server.url, asynchronous)
    chat = made.start_chat()
    with genledger.attribution(tenant="acme"):
        streams = (
            [await made.generate_content_async(PROMPT, stream=True), await chat.send_message_async(PROMPT, stream=True)]
            if asynchronous
            else [made.generate_content(PROMPT, stream=True), chat.send_message(PROMPT, stream=True)]
        )
    for stream in streams:
        with genledger.attribution(tenant="other"):
            await items(stream)
    found = [attributes_of(span) for span in telemetry.spans]
    assert [one["genledger.tenant.id"] for one in found] == ["acme", "acme"]
    assert [one["genledger.cost.amount"] for one in found] == [pytest.approx(COST)] * 2


async def test_the_text_of_a_stream_is_what_came_whatever_a_chat_makes_of_its_chunks(
    grpc_server: Any, capturing: Telemetry, asynchronous: bool
) -> None:
    grpc_server.will(Reply(200, "application/grpc", chunks()))
    chat = model(grpc_server.url, asynchronous).start_chat()
    await items(await now((chat.send_message_async if asynchronous else chat.send_message)(PROMPT, stream=True)))
    assert chat.history[1].text == TEXT
    (message,) = json.loads(str(capturing.attributes["gen_ai.output.messages"]))
    assert message["parts"] == [{"type": "text", "content": TEXT}]


async def test_an_answer_that_the_client_rejects_is_paid_for(
    grpc_server: Any, telemetry: Telemetry, asynchronous: bool
) -> None:
    from vertexai.generative_models import ResponseValidationError

    grpc_server.will(whole("", {1: 1000, 3: 1000}, reason=3))
    chat = model(grpc_server.url, asynchronous).start_chat()
    with pytest.raises(ResponseValidationError):
        await now((chat.send_message_async if asynchronous else chat.send_message)(PROMPT))
    assert telemetry.attributes["gen_ai.response.finish_reasons"] == ("SAFETY",)
    assert telemetry.attributes["genledger.outcome"] == "success"
    assert telemetry.attributes["genledger.cost.amount"] == pytest.approx(1000 * 0.3e-6)


# Requests and answers


def test_the_fields_of_a_request_are_attributes(grpc_server: Any, telemetry: Telemetry) -> None:
    from vertexai.generative_models import GenerationConfig

    grpc_server.will(whole())
    config = GenerationConfig(
        temperature=0.2,
        top_p=0.9,
        top_k=40,
        seed=7,
        candidate_count=2,
        max_output_tokens=100,
        stop_sequences=["END"],
        response_mime_type="application/json",
    )
    model(grpc_server.url, False, generation_config=config).generate_content(PROMPT)
    said = telemetry.attributes
    assert said["gen_ai.request.model"] == said["gen_ai.response.model"] == MODEL
    assert said["gen_ai.request.temperature"] == 0.2
    assert said["gen_ai.request.top_p"] == 0.9
    assert said["gen_ai.request.top_k"] == 40
    assert said["gen_ai.request.seed"] == 7
    assert said["gen_ai.request.choice.count"] == 2
    assert said["gen_ai.request.max_tokens"] == 100
    assert said["gen_ai.request.stop_sequences"] == ("END",)
    assert said["gen_ai.output.type"] == "json"
    assert said["gen_ai.response.id"] == "response-1"
    assert said["gen_ai.response.finish_reasons"] == ("STOP",)
    assert said["server.port"] == int(grpc_server.url.rpartition(":")[2])


def test_a_tier_is_that_of_the_traffic(grpc_server: Any, telemetry: Telemetry) -> None:
    from google.cloud.aiplatform_v1.types import GenerateContentResponse

    traffic = getattr(GenerateContentResponse.UsageMetadata, "TrafficType", None)
    if not hasattr(traffic, "ON_DEMAND_FLEX"):
        pytest.skip("this version has no tiers")
    grpc_server.will(whole(usage={**USAGE, 8: 4}))
    model(grpc_server.url, False).generate_content(PROMPT)
    assert telemetry.attributes["genledger.cost.amount"] == pytest.approx(COST / 2)


def test_cached_and_thought_tokens_have_their_own_buckets(grpc_server: Any, telemetry: Telemetry) -> None:
    grpc_server.will(whole(usage={**USAGE, 5: 400}))
    model(grpc_server.url, False).generate_content(PROMPT)
    said = telemetry.attributes
    assert said["gen_ai.usage.input_tokens"] == 1000
    assert said["gen_ai.usage.cache_read.input_tokens"] == 400
    assert said["gen_ai.usage.output_tokens"] == 500
    assert said["gen_ai.usage.reasoning.output_tokens"] == 200


def test_searches_that_ground_an_answer_are_billed(grpc_server: Any, telemetry: Telemetry) -> None:
    content = {"role": "model", "parts": [{"text": TEXT}]}
    grpc_server.will(
        generated(
            candidates=[
                {"content": content, "finish_reason": 1, "grounding_metadata": {"web_search_queries": ["a", "b"]}}
            ]
        )
    )
    model(grpc_server.url, False).generate_content(PROMPT)
    assert telemetry.attributes["genledger.cost.amount"] == pytest.approx(COST + 0.035)


def test_contents_become_messages(grpc_server: Any, capturing: Telemetry) -> None:
    from vertexai.generative_models import Content, FunctionDeclaration, Part, Tool

    call = {"function_call": {"name": "weather", "args": {"city": "Rome", "days": 2, "units": ["C"]}}}
    grpc_server.will(generated(candidates=[{"content": {"role": "model", "parts": [call]}, "finish_reason": 1}]))
    weather = FunctionDeclaration(name="weather", parameters={"type": "object", "properties": {}}, description="It.")
    made = model(
        grpc_server.url,
        False,
        system_instruction="Be brief.",
        tools=[Tool(function_declarations=[weather])],
    )
    image = Part.from_data(b"pixels", mime_type="image/png")
    answered = Part.from_function_response(name="weather", response={"sky": "clear"})
    made.generate_content(
        [Content(role="user", parts=[Part.from_text(PROMPT), image]), Content(role="user", parts=[answered])]
    )
    said = {name: json.loads(str(value)) for name, value in capturing.attributes.items() if "messages" in name}
    user, tool = said["gen_ai.input.messages"]
    assert user["role"] == "user"
    assert user["parts"][0] == {"type": "text", "content": PROMPT}
    assert user["parts"][1]["modality"] == "image"
    assert user["parts"][1]["size"] == len(b"pixels")
    assert tool == {"role": "tool", "parts": [{"type": "tool_call_response", "response": {"sky": "clear"}}]}
    (message,) = said["gen_ai.output.messages"]
    assert message["finish_reason"] == "tool_call"
    arguments = {"city": "Rome", "days": 2, "units": ["C"]}
    assert message["parts"] == [{"type": "tool_call", "name": "weather", "arguments": arguments}]
    assert json.loads(str(capturing.attributes["gen_ai.system_instructions"])) == [
        {"type": "text", "content": "Be brief."}
    ]
    assert json.loads(str(capturing.attributes["gen_ai.tool.definitions"])) == [{"type": "function", "name": "weather"}]


def asked(how: str) -> dict[str, Any]:
    """The arguments of a request, in each of the ways that the client takes."""
    from google.cloud.aiplatform_v1.types import Content, GenerateContentRequest, Part

    contents = [Content(role="user", parts=[Part(text=PROMPT)])]
    if how == "fields":
        return {"model": RESOURCE, "contents": contents}
    config = {"max_output_tokens": 700, "temperature": 0.2}
    fields = {"model": RESOURCE, "contents": contents, "generation_config": config}
    return {"request": fields if how == "mapping" else GenerateContentRequest(fields)}


@pytest.mark.parametrize("how", ["fields", "mapping", "message"])
async def test_every_way_to_give_a_request_is_recorded_and_degraded(
    grpc_server: Any, asynchronous: bool, tmp_path: Path, how: str
) -> None:
    from google.cloud.aiplatform_v1.types import GenerateContentRequest

    rules = tmp_path / "rules.toml"
    degrade = 'degrade = { model = "gemini-2.5-flash-lite", max_output_tokens = 50 }'
    rules.write_text(f'[[budget]]\nname="cheap"\nusd=0.0000001\nper="day"\nat_limit="degrade"\n{degrade}\n')
    grpc_server.will(whole())
    given, before = asked(how), asked(how)
    with recorded(budgets=str(rules), budget_store="memory:") as telemetry:
        await now(service(grpc_server.url, asynchronous).generate_content(**given))
        assert telemetry.attributes["genledger.model.requested"] == MODEL
    assert given == before
    sent = GenerateContentRequest.deserialize(grpc_server.requests[0].body)
    assert sent.model == RESOURCE.replace(MODEL, "gemini-2.5-flash-lite")
    assert sent.generation_config.max_output_tokens == 50
    assert sent.generation_config.temperature == (0 if how == "fields" else pytest.approx(0.2))
    assert sent.contents[0].parts[0].text == PROMPT


@pytest.mark.parametrize("request_", [{"request": {"model": 7}}, {"request": {}, "model": RESOURCE}, {"request": 7}])
def test_what_the_client_does_not_take_fails_as_it_does_by_itself(
    grpc_server: Any, telemetry: Telemetry, request_: dict[str, Any]
) -> None:
    with pytest.raises((TypeError, ValueError)):
        service(grpc_server.url, False).generate_content(**request_)
    assert not telemetry.spans


def test_the_settings_of_a_request_are_sent(grpc_server: Any, telemetry: Telemetry) -> None:
    grpc_server.will(whole())
    service(grpc_server.url, False).generate_content(**asked("message"), metadata=[("x-mine", "1")], timeout=20.0)
    (request,) = grpc_server.requests
    assert request.headers["x-mine"] == "1"


async def test_a_stream_that_is_cancelled_settles_with_what_came(
    grpc_server: Any, telemetry: Telemetry, asynchronous: bool
) -> None:
    grpc_server.will(Reply(200, "application/grpc", chunks()[:3], hangs=True))
    stream = await now(service(grpc_server.url, asynchronous).stream_generate_content(**asked("message")))
    assert await items(stream, 2)
    stream.cancel()
    assert telemetry.attributes["genledger.outcome"] == "cancelled"
    assert telemetry.attributes["genledger.usage.estimated"] is True
    assert telemetry.attributes["genledger.cost.amount"] > 0


# Failures


async def test_a_deadline_is_a_timeout_that_may_be_billed(
    grpc_server: Any, telemetry: Telemetry, asynchronous: bool
) -> None:
    from google.api_core.exceptions import DeadlineExceeded

    grpc_server.will(Reply(200, "application/grpc", (), hangs=True))
    with pytest.raises(DeadlineExceeded):
        await now(service(grpc_server.url, asynchronous).generate_content(**asked("message"), timeout=0.3))
    assert telemetry.attributes["genledger.outcome"] == "timeout"
    assert telemetry.attributes["genledger.usage.estimated"] is True
    assert telemetry.attributes["error.type"] == "google.api_core.exceptions.DeadlineExceeded"


async def test_a_call_that_is_cancelled_may_be_billed(grpc_server: Any, telemetry: Telemetry) -> None:
    grpc_server.will(Reply(200, "application/grpc", (), hangs=True))
    task = asyncio.create_task(model(grpc_server.url, True).generate_content_async(PROMPT))
    while not grpc_server.requests:  # noqa: ASYNC110
        await asyncio.sleep(0.01)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert telemetry.attributes["genledger.outcome"] == "cancelled"
    assert telemetry.attributes["genledger.usage.estimated"] is True


async def test_a_server_that_is_not_there_costs_nothing(telemetry: Telemetry, asynchronous: bool) -> None:
    from google.api_core.exceptions import ServiceUnavailable

    made = model("127.0.0.1:1", asynchronous)
    with pytest.raises(ServiceUnavailable):
        await now((made.generate_content_async if asynchronous else made.generate_content)(PROMPT))
    assert telemetry.attributes["genledger.outcome"] == "error"
    assert "genledger.cost.amount" not in telemetry.attributes


# Counting, embeddings and images


async def test_counting_tokens_costs_nothing(grpc_server: Any, telemetry: Telemetry, asynchronous: bool) -> None:
    import grpc
    from google.cloud.aiplatform_v1beta1.services import prediction_service
    from google.cloud.aiplatform_v1beta1.types import CountTokensResponse

    grpc_server.will(Reply(200, "application/grpc", (CountTokensResponse.serialize(CountTokensResponse()),)))
    kind = (
        prediction_service.PredictionServiceAsyncClient if asynchronous else prediction_service.PredictionServiceClient
    )
    channel = (grpc.aio if asynchronous else grpc).insecure_channel(grpc_server.url)
    transport = kind.get_transport_class("grpc_asyncio" if asynchronous else "grpc")(channel=channel)
    await now(kind(transport=transport).count_tokens(endpoint=RESOURCE, instances=[]))
    assert telemetry.span.name == f"count_tokens {MODEL}"
    assert "genledger.cost.amount" not in telemetry.attributes
    assert "genledger.cost.unpriced" not in telemetry.attributes


async def test_embeddings_count_the_tokens_beside_each_vector(
    grpc_server: Any, telemetry: Telemetry, asynchronous: bool
) -> None:
    from google.cloud.aiplatform_v1.types import PredictResponse
    from vertexai.language_models import TextEmbeddingModel

    answer = PredictResponse()
    vector = {"embeddings": {"values": [0.5, 0.25], "statistics": {"token_count": 300, "truncated": False}}}
    answer.predictions.extend([vector, vector])
    grpc_server.will(Reply(200, "application/grpc", (PredictResponse.serialize(answer),)))
    begin()
    name = RESOURCE.replace(MODEL, "text-embedding-005")
    made = TextEmbeddingModel(model_id="text-embedding-005", endpoint_name=name)
    kept = "_prediction_async_client_value" if asynchronous else "_prediction_client_value"
    setattr(vars(made)["_endpoint"], kept, service(grpc_server.url, asynchronous))
    embed = made.get_embeddings_async if asynchronous else made.get_embeddings
    found = await now(embed([PROMPT, TEXT], output_dimensionality=2))
    assert [one.values for one in found] == [[0.5, 0.25]] * 2
    assert telemetry.span.name == "embeddings text-embedding-005"
    assert telemetry.attributes["gen_ai.usage.input_tokens"] == 600
    assert telemetry.attributes["gen_ai.embeddings.dimension.count"] == 2
    assert telemetry.attributes["genledger.cost.amount"] == pytest.approx(600 * 0.1e-6)


@pytest.fixture
def rest() -> Iterator[Server]:
    """The server of models that use REST."""
    with serving() as server:
        begin(api_endpoint=server.url, api_transport="rest")
        yield server
        begin(api_endpoint=None, api_transport="grpc")


def test_a_model_over_rest_is_recorded_and_so_is_its_stream(rest: Server, telemetry: Telemetry) -> None:
    from vertexai.generative_models import GenerativeModel

    candidate = {"content": {"role": "model", "parts": [{"text": TEXT}]}, "finishReason": "STOP"}
    counted = {"promptTokenCount": 1000, "candidatesTokenCount": 500, "totalTokenCount": 1500}
    answer = {"candidates": [candidate], "modelVersion": MODEL, "usageMetadata": counted}
    rest.will(json_reply(answer), json_reply([answer]))
    made = GenerativeModel(MODEL)
    assert made.generate_content(PROMPT).text == TEXT
    assert [one.text for one in made.generate_content(PROMPT, stream=True)] == [TEXT]
    for span in telemetry.spans:
        found = attributes_of(span)
        assert found["genledger.cost.amount"] == pytest.approx(COST)
        assert found["server.address"] == "127.0.0.1"
        assert found["server.port"] == int(rest.url.rpartition(":")[2])
    assert len(telemetry.spans) == 2


def image(name: str, rest: Server, count: int) -> Any:
    """A model of images, whose answers have so many."""
    from vertexai.preview.vision_models import ImageGenerationModel

    made = {"bytesBase64Encoded": "cGl4ZWxz", "mimeType": "image/png"}
    rest.will(json_reply({"predictions": [made] * count}))
    return ImageGenerationModel(model_id=name, endpoint_name=RESOURCE.replace(MODEL, name))


def test_images_are_priced_by_those_that_were_made(rest: Server, telemetry: Telemetry) -> None:
    made = image("imagen-4.0-generate-001", rest, 2).generate_images(PROMPT, number_of_images=3)
    assert len(made.images) == 2
    assert telemetry.span.name == "image_generation imagen-4.0-generate-001"
    assert telemetry.attributes["genledger.cost.amount"] == pytest.approx(2 * 0.04)


def test_an_edited_image_is_billed_as_one_that_is_drawn(rest: Server, tmp_path: Path) -> None:
    from vertexai.preview.vision_models import Image, RawReferenceImage

    name = "imagen-3.0-capability-001"
    prices = tmp_path / "prices.toml"
    prices.write_text(f'[[price]]\nprovider="gcp.vertex_ai"\nmodel="{name}"\nper_unit={{ image=0.5 }}\n')
    shown = RawReferenceImage(image=Image(gcs_uri="gs://b/i.png"), reference_id=0)
    with recorded(prices=str(prices)) as telemetry:
        image(name, rest, 1).edit_image(prompt=PROMPT, reference_images=[shown])
        assert telemetry.span.name == f"image_generation {name}"
        assert telemetry.attributes["genledger.cost.amount"] == pytest.approx(0.5)


def test_a_prediction_of_a_model_of_ones_own_is_no_call(rest: Server, telemetry: Telemetry) -> None:
    from google.cloud import aiplatform

    name = "projects/p/locations/us-central1/endpoints/7"
    rest.will(json_reply({"name": name}), json_reply({"predictions": [[0.5]], "deployedModelId": "1"}))
    assert aiplatform.Endpoint(name).predict(instances=[{"age": 7}]).predictions == [[0.5]]
    assert not telemetry.spans
