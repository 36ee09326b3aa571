"""Databricks' client, over real sockets: what its chat row of the contract suite does not show."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from tests.contract.rows.databricks_sdk import (
    MODEL,
    PRICES,
    PROMPT,
    SERVED,
    Workspace,
    ask,
    error,
    make,
    messages,
    workspace_client,
)
from tests.contract.rows.openai_chat import chunks, whole
from tests.contract.server import Reply, Request, json_reply, serving

import genledger
from genledger_semconv.checker import assert_clean

from ..telemetry import Telemetry, attributes_of, instrumented

pytest.importorskip("databricks.sdk")

COST = 1000 * 0.5e-6 + 500 * 1.5e-6
LIBRARIES = ["databricks-sdk", "openai"]


class Planes(Workspace):
    """A workspace whose endpoint also answers at an address of its own, to a token that the workspace changes."""

    def aside(self, request: Request) -> Reply | None:
        """Return the answer of the workspace."""
        here = self.url.replace("127.0.0.1", "localhost")
        if request.path.startswith("/oidc/v1/token"):
            return json_reply({"access_token": "t", "token_type": "Bearer", "expires_in": 3600})
        if request.path.startswith("/.well-known/"):
            return json_reply({"oidc_endpoint": f"{self.url}/oidc"})
        if request.path.startswith("/oidc/"):
            return json_reply({"authorization_endpoint": here, "token_endpoint": f"{self.url}/oidc/v1/token"})
        if request.path.startswith("/api/2.0/serving-endpoints/"):
            query = {"authorization_details": "[]", "endpoint_url": f"{here}/data/invocations"}
            return json_reply({"name": MODEL, "data_plane_info": {"query_info": query}})
        return super().aside(request)


@pytest.fixture
def server() -> Iterator[Planes]:
    with serving(Planes) as server:
        yield server


@pytest.fixture
def telemetry() -> Iterator[Telemetry]:
    with instrumented(libraries=LIBRARIES, prices=PRICES) as telemetry:
        yield telemetry
        assert_clean(telemetry.spans, telemetry.metrics, telemetry.logs)
        assert not telemetry.open.spans
        assert not telemetry.complaints.other


def test_a_query_of_the_data_plane_is_one_call_to_where_it_goes(server: Planes, telemetry: Telemetry) -> None:
    client = workspace_client(server.url, 0, client_id="c", client_secret="s").serving_endpoints_data_plane
    server.will(whole(SERVED))
    answer = ask(client, stream=False)
    assert answer.choices[0].message.content
    attributes = telemetry.attributes
    assert [request.path for request in server.requests] == ["/data/invocations"]
    assert attributes["server.address"] == "localhost"
    assert attributes["gen_ai.provider.name"] == "databricks"
    assert attributes["gen_ai.request.model"] == MODEL
    assert attributes["gen_ai.response.model"] == SERVED
    assert attributes["genledger.cost.amount"] == pytest.approx(COST)


def test_embeddings_and_completions_are_told_by_what_is_given(server: Planes, telemetry: Telemetry) -> None:
    client = make(server.url, False, 0)
    usage = {"prompt_tokens": 1000, "total_tokens": 1000}
    vectors = {"object": "list", "data": [{"object": "embedding", "index": 0, "embedding": [0.1]}], "usage": usage}
    server.will(json_reply(vectors))
    client.query("support-embeddings", input=["a text"])
    choice = {"index": 0, "text": "Paris.", "finish_reason": "stop"}
    said = {"object": "text_completion", "choices": [choice], "usage": {**usage, "completion_tokens": 500}}
    server.will(json_reply(said))
    client.query(MODEL, prompt=PROMPT, max_tokens=600)
    embeddings, completion = map(attributes_of, telemetry.spans)
    assert embeddings["gen_ai.operation.name"] == "embeddings"
    assert embeddings["genledger.cost.amount"] == pytest.approx(1000 * 0.1e-6)
    assert completion["gen_ai.operation.name"] == "text_completion"
    assert completion["gen_ai.request.max_tokens"] == 600
    assert completion["gen_ai.response.finish_reasons"] == ("stop",)
    assert completion["genledger.cost.amount"] == pytest.approx(COST)


def test_a_query_of_a_model_of_another_kind_is_no_call(server: Planes, telemetry: Telemetry) -> None:
    server.will(json_reply({"predictions": [1]}))
    assert make(server.url, False, 0).query("churn", dataframe_records=[{"age": 7}]).predictions == [1]
    assert telemetry.spans == ()


def test_an_endpoint_without_a_price_of_the_users_is_visibly_unpriced(server: Planes) -> None:
    server.will(whole(SERVED))
    with instrumented(libraries=LIBRARIES) as telemetry:
        ask(make(server.url, False, 0), stream=False)
        assert telemetry.attributes["gen_ai.usage.input_tokens"] == 1000
        assert "genledger.cost.amount" not in telemetry.attributes
        assert telemetry.complaints.unpriced


def test_an_answer_that_the_client_rejects_is_paid_for(server: Planes, telemetry: Telemetry) -> None:
    server.will(whole(SERVED, object="chat.of_tomorrow", choices={"many": 1}))
    with pytest.raises(AttributeError):
        ask(make(server.url, False, 0), stream=False)
    assert telemetry.attributes["genledger.outcome"] == "error"
    assert telemetry.attributes["genledger.cost.amount"] == pytest.approx(COST)


def test_throttling_is_the_outcome_where_the_client_stops_trying(server: Planes, telemetry: Telemetry) -> None:
    server.will(error(429))
    with pytest.raises(TimeoutError):
        ask(make(server.url, False, 2), stream=False)
    assert len(server.requests) == 3
    assert telemetry.attributes["genledger.attempts"] == 3
    assert telemetry.attributes["genledger.outcome"] == "rate_limited"


def test_a_query_can_be_refused_before_the_data_plane_is_asked_for(server: Planes, tmp_path: Path) -> None:
    rules = tmp_path / "rules.toml"
    rules.write_text('[[budget]]\nname="none"\nusd=0.0000001\nper="day"\n')
    client = workspace_client(server.url, 0, client_id="c", client_secret="s").serving_endpoints_data_plane
    server.will(whole(SERVED))
    with (
        instrumented(libraries=LIBRARIES, prices=PRICES, budgets=str(rules), budget_store="memory:"),
        pytest.raises(genledger.BudgetExceeded),
    ):
        ask(client, stream=False)
    assert server.requests == []


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
@pytest.mark.parametrize("stream", [False, True])
def test_its_openai_client_is_recorded_once_as_databricks(
    server: Planes, telemetry: Telemetry, monkeypatch: pytest.MonkeyPatch, stream: bool
) -> None:
    httpx = pytest.importorskip("httpx")
    workspace = "https://acme.cloud.databricks.com"
    client = make(server.url, False, 0)
    monkeypatch.setattr(client._api._cfg, "host", workspace)
    if stream:
        answer = httpx.Response(200, headers={"content-type": "text/event-stream"}, content=b"".join(chunks(SERVED)))
    else:
        answer = httpx.Response(200, content=whole(SERVED).body[0], headers={"content-type": "application/json"})
    transport = httpx.MockTransport(lambda request: answer)
    monkeypatch.setattr(client, "_get_authorized_http_client", lambda: httpx.Client(transport=transport))
    found: Any = client.get_open_ai_client().chat.completions.create(
        model=MODEL, messages=[one.as_dict() for one in messages()], stream=stream
    )
    if stream:
        assert list(found)
    attributes = telemetry.attributes
    assert attributes["gen_ai.provider.name"] == "databricks"
    assert attributes["server.address"] == "acme.cloud.databricks.com"
    assert attributes["genledger.cost.amount"] == pytest.approx(COST)
