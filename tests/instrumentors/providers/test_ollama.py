"""Ollama's client, over real sockets: what its chat row of the contract suite does not show."""

from __future__ import annotations

import base64
import inspect
import json
import types
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from tests.contract.rows.ollama import COUNTS, END, MODEL, PRICES, PROMPT, ROW, TEXT, WORDS, lines, part
from tests.contract.server import Reply, Server, json_reply

import genledger
from genledger.budgets import BudgetExceeded
from genledger_semconv.checker import assert_clean

from ..provider import items, now
from ..telemetry import Telemetry, instrumented

ollama = pytest.importorskip("ollama")

HELLO = [{"role": "user", "content": PROMPT}]


@pytest.fixture
def telemetry() -> Iterator[Telemetry]:
    with instrumented(libraries=["ollama"], prices=PRICES) as telemetry:
        yield telemetry
        assert_clean(telemetry.spans, telemetry.metrics, telemetry.logs)
        assert not telemetry.open.spans
        assert not telemetry.complaints.other


@pytest.fixture
def capturing() -> Iterator[Telemetry]:
    with instrumented(libraries=["ollama"], capture_content="span") as telemetry:
        yield telemetry
        assert_clean(telemetry.spans, telemetry.metrics, telemetry.logs, capture_content=True)
        assert not telemetry.complaints.other


@pytest.fixture
def client(server: Server, asynchronous: bool) -> Any:
    return (ollama.AsyncClient if asynchronous else ollama.Client)(host=server.url, timeout=20)


def streamed(*parts: dict[str, Any]) -> Reply:
    return Reply(200, "application/x-ndjson", lines(*parts))


async def test_a_stream_that_nobody_reads_is_no_call(server: Server, client: Any, telemetry: Telemetry) -> None:
    server.will(ROW.streamed())
    stream = await now(client.chat(model=MODEL, messages=HELLO, stream=True))
    assert isinstance(stream, (types.GeneratorType, types.AsyncGeneratorType))
    del stream
    assert server.requests == []
    assert telemetry.spans == ()


async def test_a_stream_belongs_to_who_asked_for_it(server: Server, client: Any, telemetry: Telemetry) -> None:
    server.will(ROW.streamed())
    with genledger.attribution(tenant="acme"):
        stream = await now(client.chat(model=MODEL, messages=HELLO, stream=True))
    with genledger.attribution(tenant="globex"):
        await items(stream)
    assert telemetry.attributes["genledger.tenant.id"] == "acme"


async def test_a_budget_refuses_a_stream_before_it_is_sent(
    server: Server, client: Any, telemetry: Telemetry, tmp_path: Path
) -> None:
    rules = tmp_path / "rules.toml"
    rules.write_text('[[budget]]\nname="none"\nusd=0.0000001\nper="day"\n')
    server.will(ROW.streamed())
    with instrumented(libraries=["ollama"], prices=PRICES, budgets=str(rules), budget_store="memory:"):
        stream = await now(client.chat(model=MODEL, messages=HELLO, stream=True))
        with pytest.raises(BudgetExceeded):
            await items(stream)
    assert server.requests == []


async def test_a_refused_stream_raises_what_the_client_raises(
    server: Server, client: Any, telemetry: Telemetry
) -> None:
    server.will(json_reply({"error": "model not found"}, 404))
    with pytest.raises(ollama.ResponseError, match="model not found"):
        await items(await now(client.chat(model=MODEL, messages=HELLO, stream=True)))
    assert telemetry.attributes["genledger.outcome"] == "error"
    assert "genledger.cost.amount" not in telemetry.attributes


async def test_an_error_inside_a_stream_keeps_what_came(server: Server, client: Any, telemetry: Telemetry) -> None:
    server.will(streamed(*map(part, WORDS[:3]), {"error": "out of memory"}))
    with pytest.raises(ollama.ResponseError, match="out of memory"):
        await items(await now(client.chat(model=MODEL, messages=HELLO, stream=True)))
    assert telemetry.attributes["genledger.outcome"] == "error"
    assert telemetry.attributes["genledger.usage.estimated"] is True


@pytest.mark.parametrize("stream", [False, True])
async def test_a_completion_has_its_prompt_sampling_and_reasoning(
    server: Server, client: Any, capturing: Telemetry, stream: bool
) -> None:
    if not takes(client.generate, "think"):
        pytest.skip("does not think in this version")
    head = {"model": MODEL, "done": False}
    end = {**head, **END, "done_reason": "length"}
    if stream:
        parts = [{**head, "response": "", "thinking": "Hm."}, *({**head, "response": word} for word in WORDS)]
        server.will(streamed(*parts, {**end, "response": ""}))
    else:
        server.will(json_reply({**end, "response": TEXT, "thinking": "Hm."}))
    options = {"temperature": 0.5, "num_predict": 500, "top_k": 40, "seed": 7, "stop": ["\n"]}
    given = {"system": "Be brief.", "think": "high", "format": "json", "options": options}
    await items_of(client.generate(model=MODEL, prompt=PROMPT, stream=stream, **given), stream)
    attributes = capturing.attributes
    assert capturing.span.name == f"text_completion {MODEL}"
    assert attributes["gen_ai.usage.input_tokens"] == 1000
    assert attributes["gen_ai.usage.output_tokens"] == 500
    assert attributes["gen_ai.response.finish_reasons"] == ("length",)
    assert attributes["gen_ai.request.temperature"] == 0.5
    assert attributes["gen_ai.request.max_tokens"] == 500
    assert attributes["gen_ai.request.reasoning.level"] == "high"
    assert attributes["gen_ai.output.type"] == "json"
    assert json.loads(attributes["gen_ai.system_instructions"]) == [{"type": "text", "content": "Be brief."}]
    (message,) = json.loads(attributes["gen_ai.output.messages"])
    assert message["parts"] == [{"type": "reasoning", "content": "Hm."}, {"type": "text", "content": TEXT}]


async def items_of(result: Any, stream: bool) -> Any:
    return await items(await now(result)) if stream else await now(result)


@pytest.mark.parametrize("stream", [False, True])
async def test_tools_are_among_the_messages(server: Server, client: Any, capturing: Telemetry, stream: bool) -> None:
    asks = [{"function": {"name": "weather", "arguments": {"city": "Paris"}}}]
    answer = {"message": {"role": "assistant", "content": "", "tool_calls": asks}}
    server.will(
        streamed({**part(""), **answer}, part("", **END)) if stream else json_reply({**part("", **END), **answer})
    )
    tool = {"type": "function", "function": {"name": "weather", "description": "Weather", "parameters": {}}}
    messages = [
        *HELLO,
        {"role": "assistant", "content": "", "tool_calls": asks},
        {"role": "tool", "content": "sunny", "tool_name": "weather"},
    ]
    await items_of(client.chat(model=MODEL, messages=messages, tools=[tool], stream=stream), stream)
    attributes = capturing.attributes
    asked = {"type": "tool_call", "name": "weather", "arguments": {"city": "Paris"}}
    assert json.loads(attributes["gen_ai.output.messages"])[0]["parts"] == [asked]
    said = json.loads(attributes["gen_ai.input.messages"])
    assert said[1]["parts"] == [asked]
    assert said[2] == {"role": "tool", "parts": [{"type": "tool_call_response", "response": "sunny"}]}
    assert json.loads(attributes["gen_ai.tool.definitions"]) == [{"type": "function", "name": "weather"}]


async def test_embeddings_have_the_tokens_of_their_input(server: Server, client: Any, telemetry: Telemetry) -> None:
    server.will(json_reply({"model": MODEL, "embeddings": [[0.1]], "prompt_eval_count": 1000}))
    dimensions = takes(client.embed, "dimensions")
    await now(client.embed(model=MODEL, input=["a", "b"], **({"dimensions": 64} if dimensions else {})))
    assert telemetry.span.name == f"embeddings {MODEL}"
    assert telemetry.attributes["gen_ai.usage.input_tokens"] == 1000
    assert telemetry.attributes["genledger.cost.amount"] == pytest.approx(1000 * 0.2e-6)
    assert telemetry.attributes.get("gen_ai.embeddings.dimension.count") == (64 if dimensions else None)


def takes(method: Any, name: str) -> bool:
    """Whether a method of the installed version has an argument."""
    return name in inspect.signature(method).parameters


async def test_the_old_embeddings_say_nothing_of_usage_and_are_unpriced(
    server: Server, client: Any, telemetry: Telemetry
) -> None:
    server.will(json_reply({"embedding": [0.1, 0.2]}))
    await now(client.embeddings(model=MODEL, prompt=PROMPT))
    assert telemetry.span.name == f"embeddings {MODEL}"
    assert telemetry.attributes["genledger.cost.unpriced"] == "no_usage"


async def test_questions_to_system_one_are_priced_by_their_tokens(
    server: Server, client: Any, telemetry: Telemetry
) -> None:
    if not hasattr(client, "systemone"):
        pytest.skip("not in this version")
    answers = {"sure": {"type": "noul", "noul": 0.9}}
    usage = {"input_tokens": 1000, "output_tokens": 500}
    server.will(json_reply({"model": MODEL, "answers": answers, "usage": usage}))
    question = {"type": "noul", "instructions": PROMPT}
    await now(client.systemone(MODEL, "a state", {"sure": question}))
    assert telemetry.span.name == f"generate_content {MODEL}"
    assert telemetry.attributes["genledger.cost.amount"] == pytest.approx(ROW.cost)


async def test_the_models_of_a_server_are_no_calls(server: Server, client: Any, telemetry: Telemetry) -> None:
    server.will(json_reply({"models": []}))
    await now(client.list())
    server.will(Reply(200, "application/x-ndjson", (b'{"status": "success"}\n',)))
    await items(await now(client.pull(MODEL, stream=True)))
    assert telemetry.spans == ()


@pytest.mark.parametrize(
    ("model", "provider"),
    [("llama3.3", "ollama"), ("gpt-oss:120b-cloud", "ollama_cloud"), ("glm-4.6:cloud", "ollama_cloud")],
)
async def test_a_model_of_the_cloud_is_not_of_the_machine_that_it_is_asked_for_at(
    server: Server, client: Any, tmp_path: Path, model: str, provider: str
) -> None:
    prices = tmp_path / "prices.toml"
    prices.write_text('[[price]]\nprovider = "ollama"\nfree = true\n')
    server.will(json_reply({**part(TEXT, **END), "model": model}))
    with instrumented(libraries=["ollama"], prices=str(prices)) as telemetry:
        await now(client.chat(model=model, messages=HELLO))
        attributes = telemetry.attributes
    assert attributes["gen_ai.provider.name"] == provider
    if provider == "ollama":
        assert attributes["genledger.cost.amount"] == 0  # on purpose: the price file says so
    else:
        assert attributes["genledger.cost.unpriced"] == "unknown_provider"


async def test_a_local_model_without_a_price_is_unpriced_and_never_free(server: Server, client: Any) -> None:
    server.will(ROW.whole)
    with instrumented(libraries=["ollama"]) as telemetry:
        await now(client.chat(model=MODEL, messages=HELLO))
        assert telemetry.attributes["genledger.cost.unpriced"] == "unknown_provider"
        assert "genledger.cost.amount" not in telemetry.attributes


async def test_the_cloud_is_told_by_its_host(asynchronous: bool, telemetry: Telemetry) -> None:
    httpx = pytest.importorskip("httpx")
    transport = httpx.MockTransport(lambda request: httpx.Response(200, json=part(TEXT, **END)))
    kind = ollama.AsyncClient if asynchronous else ollama.Client
    client = kind(host="https://ollama.com", headers={"authorization": "Bearer k"}, transport=transport)
    await now(client.chat(model="gpt-oss:120b", messages=HELLO))
    assert telemetry.attributes["gen_ai.provider.name"] == "ollama_cloud"
    assert telemetry.attributes["server.address"] == "ollama.com"
    assert telemetry.attributes["genledger.cost.unpriced"] == "unknown_provider"


def test_functions_of_the_module_use_its_own_client(server: Server, telemetry: Telemetry) -> None:
    server.will(ROW.whole)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(ollama.chat.__self__, "_client", ollama.Client(host=server.url)._client)
        ollama.chat(model=MODEL, messages=HELLO)
    assert telemetry.attributes["gen_ai.usage.output_tokens"] == COUNTS["eval_count"]


async def test_an_image_is_no_text_when_a_call_is_estimated(server: Server, client: Any, telemetry: Telemetry) -> None:
    server.will(streamed(*map(part, WORDS[:3]), {"error": "gone"}))
    image = base64.b64encode(bytes(300_000)).decode()
    messages = [{"role": "user", "content": PROMPT, "images": [image]}]
    with pytest.raises(ollama.ResponseError):
        await items(await now(client.chat(model=MODEL, messages=messages, stream=True)))
    assert telemetry.attributes["gen_ai.usage.input_tokens"] < 5_000
