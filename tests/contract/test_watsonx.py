"""IBM's client of watsonx.ai: what its rows of the contract suite do not show."""

from __future__ import annotations

import copy
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from tests.contract.conftest import calls
from tests.contract.rows.openai_chat import chunks, whole
from tests.contract.rows.watsonx import (
    MODEL,
    PRICES,
    PROMPT,
    USAGE,
    Platform,
    error,
    model,
    platform_client,
    spoken,
)
from tests.contract.rows.watsonx_generation import HEAD, parts, result
from tests.contract.server import Reply, json_reply, serving
from tests.instrumentors.provider import items, now
from tests.instrumentors.telemetry import Telemetry, attributes_of, instrumented

import genledger
from genledger_semconv.checker import assert_clean

pytest.importorskip("ibm_watsonx_ai")
from ibm_watsonx_ai.foundation_models import Embeddings, ModelInference, Rerank
from ibm_watsonx_ai.wml_client_error import WMLClientError

LIBRARY = "ibm-watsonx-ai"
GIVEN, GENERATED = 0.2e-6, 0.6e-6
"""USD of a token, by the prices of the tests."""

MESSAGES = [{"role": "user", "content": PROMPT}]
VECTORS = json_reply({**HEAD, "results": [{"embedding": [0.1, 0.2]}], "input_token_count": 1000})
RANKED = json_reply({**HEAD, "results": [{"index": 0, "score": 0.9}], "input_token_count": 1000})


@pytest.fixture
def server() -> Iterator[Platform]:
    with serving(Platform) as server:
        yield server


@pytest.fixture(params=[False, True], ids=["sync", "async"])
def asynchronous(request: pytest.FixtureRequest) -> bool:
    """Which kind of client is used."""
    return bool(request.param)


@pytest.fixture
def telemetry(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Telemetry]:
    monkeypatch.setenv("GENLEDGER_LEDGER", str(tmp_path / "ledger.db"))
    with instrumented(libraries=[LIBRARY], prices=PRICES) as telemetry:
        yield telemetry
        assert_clean(telemetry.spans, telemetry.metrics, telemetry.logs)
        assert not telemetry.open.spans
        assert not telemetry.complaints.other


def made(server: Platform, kind: Any, **options: Any) -> Any:
    """Make a client of the library."""
    with warnings.catch_warnings(action="ignore"):
        return kind(api_client=platform_client(server.url, 0), **options)


def stream_of(answer: tuple[bytes, ...]) -> Reply:
    return Reply(200, "text/event-stream", answer)


@pytest.mark.parametrize("method", ["generate", "generate_text"])
def test_a_list_of_prompts_is_a_call_for_each_prompt(server: Platform, telemetry: Telemetry, method: str) -> None:
    server.will(json_reply(result("Paris.", 5, 10, "eos_token")))
    client = model(server.url, 0)
    with genledger.attribution(tenant="acme"):
        answers = getattr(client, method)(prompt=["one", "two", "three"])
    assert len(answers) == len(server.requests) == 3
    found = calls(telemetry)
    assert len(found) == 3
    for attributes in found:
        assert attributes["genledger.tenant.id"] == "acme"
        assert attributes["gen_ai.response.model"] == MODEL
        assert attributes["gen_ai.response.finish_reasons"] == ("eos_token",)
        assert attributes["genledger.cost.amount"] == pytest.approx(10 * GIVEN + 5 * GENERATED)


def test_prompts_that_are_answered_as_they_come_belong_to_who_asked(server: Platform, telemetry: Telemetry) -> None:
    server.will(json_reply(result("Paris.", 5, 10, "eos_token")))
    with genledger.attribution(tenant="acme"):
        answers = model(server.url, 0).generate(prompt=["one", "two"], async_mode=True)
    assert len(list(answers)) == 2
    assert [attributes["genledger.tenant.id"] for attributes in calls(telemetry)] == ["acme", "acme"]


def test_generate_text_is_one_call(server: Platform, telemetry: Telemetry) -> None:
    server.will(json_reply(result("Paris.", 5, 10, "max_tokens")))
    params = {"max_new_tokens": 5, "temperature": 0.5, "random_seed": 1, "stop_sequences": ["."]}
    assert model(server.url, 0).generate_text(prompt=PROMPT, params=params) == "Paris."
    (attributes,) = calls(telemetry)
    assert attributes["gen_ai.request.max_tokens"] == 5
    assert attributes["gen_ai.request.temperature"] == 0.5
    assert attributes["gen_ai.request.seed"] == 1
    assert attributes["gen_ai.request.stop_sequences"] == (".",)
    assert attributes["gen_ai.response.finish_reasons"] == ("max_tokens",)


async def test_a_stream_belongs_to_who_asked_for_it(server: Platform, telemetry: Telemetry, asynchronous: bool) -> None:
    client = model(server.url, 0)
    for name, answer, given in (
        ("chat_stream", spoken(), {"messages": MESSAGES}),
        ("generate_stream" if asynchronous else "generate_text_stream", parts(), {"prompt": PROMPT}),
    ):
        server.will(stream_of(answer))
        with genledger.attribution(tenant="acme"):
            stream = await now(getattr(client, f"a{name}" if asynchronous else name)(**given))
        await items(stream)
    assert [attributes["genledger.tenant.id"] for attributes in calls(telemetry)] == ["acme", "acme"]


@pytest.mark.parametrize(("asynchronous", "streamed"), [(False, False), (False, True), (True, True)])
async def test_a_throttled_request_is_one_call_with_its_attempts(
    server: Platform, telemetry: Telemetry, asynchronous: bool, streamed: bool
) -> None:
    server.will(error(429), error(429), stream_of(spoken()) if streamed else whole(MODEL))
    client = model(server.url, 3)
    answer = await now(getattr(client, "a" * asynchronous + "chat" + "_stream" * streamed)(messages=MESSAGES))
    if streamed:
        await items(answer)
    (attributes,) = calls(telemetry)
    assert len(server.requests) == 3
    assert attributes["genledger.attempts"] == 3
    assert attributes["genledger.outcome"] == "success"
    assert attributes["genledger.cost.amount"] == pytest.approx(1000 * GIVEN + 500 * GENERATED)


async def test_an_error_amid_a_stream_is_an_error(server: Platform, telemetry: Telemetry, asynchronous: bool) -> None:
    said = b'id: 9\nevent: error\ndata: {"errors": [{"code": "model_error", "message": "No."}], "status_code": 500}\n\n'
    server.will(stream_of((*spoken()[:3], said)))
    client = model(server.url, 0)
    stream = await now((client.achat_stream if asynchronous else client.chat_stream)(messages=MESSAGES))
    with pytest.raises(WMLClientError):
        await items(stream)
    (attributes,) = calls(telemetry)
    assert attributes["genledger.outcome"] == "error"
    assert attributes["error.type"] == "model_error"
    assert attributes["genledger.usage.estimated"] is True


async def test_a_deployment_is_known_by_the_model_that_answers(
    server: Platform, telemetry: Telemetry, asynchronous: bool
) -> None:
    client = made(server, ModelInference, deployment_id="d1", space_id="s", validate=False)
    server.will(whole(MODEL, model_id=MODEL))
    await now((client.achat if asynchronous else client.chat)(messages=MESSAGES))
    (attributes,) = calls(telemetry)
    assert server.requests[0].path.startswith("/ml/v1/deployments/d1/text/chat")
    assert attributes["gen_ai.response.model"] == MODEL
    assert attributes["genledger.cost.amount"] == pytest.approx(1000 * GIVEN + 500 * GENERATED)


def test_embeddings_are_a_call_for_each_batch(server: Platform, telemetry: Telemetry) -> None:
    client = made(server, Embeddings, model_id=MODEL, project_id="p", batch_size=2)
    server.will(VECTORS)
    client.embed_documents(["a", "b", "c"])
    found = calls(telemetry)
    assert len(found) == len(server.requests) == 2
    for attributes in found:
        assert attributes["gen_ai.operation.name"] == "embeddings"
        assert attributes["gen_ai.usage.input_tokens"] == 1000
        assert attributes["genledger.cost.amount"] == pytest.approx(1000 * GIVEN)


async def test_asynchronous_embeddings_are_priced(server: Platform, telemetry: Telemetry) -> None:
    client = made(server, Embeddings, model_id=MODEL, project_id="p")
    server.will(VECTORS)
    await client.aembed_query("a")
    (attributes,) = calls(telemetry)
    assert attributes["genledger.cost.amount"] == pytest.approx(1000 * GIVEN)


def rerank(server: Platform) -> Any:
    client = made(server, Rerank, model_id=MODEL, project_id="p")
    return client.generate(query=PROMPT, inputs=["a", "b"], params={"return_options": {"top_n": 1}})


def test_a_rerank_is_priced(server: Platform, telemetry: Telemetry) -> None:
    server.will(RANKED)
    assert rerank(server)["results"][0]["index"] == 0
    (attributes,) = calls(telemetry)
    assert attributes["gen_ai.operation.name"] == "rerank"
    assert attributes["gen_ai.provider.name"] == "ibm.watsonx.ai"
    assert attributes["gen_ai.retrieval.top_k"] == 1
    assert attributes["genledger.cost.amount"] == pytest.approx(1000 * GIVEN)


def test_a_rerank_can_be_degraded_and_refused(
    server: Platform, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("GENLEDGER_LEDGER", str(tmp_path / "ledger.db"))
    rules = tmp_path / "rules.toml"
    budget = '[[budget]]\nname="none"\nusd=0.0000001\nper="day"\n'
    for more, sent in (('at_limit="degrade"\ndegrade={model="ibm/granite-3-2b-instruct"}\n', 1), ("", 0)):
        rules.write_text(budget + more)
        server.will(RANKED)
        with instrumented(libraries=[LIBRARY], prices=PRICES, budgets=str(rules), budget_store="memory:") as telemetry:
            if sent:
                rerank(server)
                assert server.requests[0].json["model_id"] == "ibm/granite-3-2b-instruct"
                assert calls(telemetry)[0]["genledger.model.requested"] == MODEL
            else:
                with pytest.raises(genledger.BudgetExceeded):
                    rerank(server)
            assert len(server.requests) == sent


@pytest.mark.parametrize("streamed", [False, True], ids=["whole", "stream"])
async def test_the_model_gateway_is_recorded(
    server: Platform, telemetry: Telemetry, asynchronous: bool, streamed: bool
) -> None:
    gateway = pytest.importorskip("ibm_watsonx_ai.gateway")
    chats = made(server, gateway.Gateway).chat.completions
    server.will(stream_of(chunks(MODEL, usage=USAGE)) if streamed else whole(MODEL))
    create = chats.acreate if asynchronous else chats.create
    answer = await now(create(model=MODEL, messages=MESSAGES, stream=streamed))
    if streamed:
        await items(answer)
    (attributes,) = calls(telemetry)
    assert attributes["gen_ai.request.model"] == MODEL
    assert attributes["genledger.cost.amount"] == pytest.approx(1000 * GIVEN + 500 * GENERATED)


def test_a_model_without_a_price_is_visibly_unpriced(
    server: Platform, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("GENLEDGER_LEDGER", str(tmp_path / "ledger.db"))
    server.will(whole(MODEL))
    with instrumented(libraries=[LIBRARY]) as telemetry:
        model(server.url, 0).chat(messages=MESSAGES)
        (attributes,) = calls(telemetry)
        assert attributes["gen_ai.usage.input_tokens"] == 1000
        assert "genledger.cost.amount" not in attributes
        assert telemetry.complaints.unpriced


def test_what_a_model_holds_is_what_it_is_without_genledger(server: Platform, telemetry: Telemetry) -> None:
    inference = model(server.url, 0)._inference
    assert {"_post_with_retry", "_stream_with_retry"} <= vars(inference).keys()
    copied = copy.copy(inference)
    assert vars(copied) == vars(inference)
    server.will(whole(MODEL))
    copied.chat(messages=MESSAGES)
    assert len(calls(telemetry)) == 1


async def test_other_endpoints_are_not_recorded(server: Platform, telemetry: Telemetry) -> None:
    server.will(json_reply({**HEAD, "result": {"token_count": 3}}))
    model(server.url, 0).tokenize(prompt=PROMPT)
    assert [attributes_of(span) for span in telemetry.spans] == []
    assert len(server.requests) == 1
