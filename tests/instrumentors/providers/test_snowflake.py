"""Snowflake's clients of Cortex: its REST API, and its functions in a warehouse, over real sockets."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from types import SimpleNamespace
from typing import Any

import pytest
from tests.contract.conftest import importable
from tests.contract.rows.snowflake_core import (
    HEAD,
    MODEL,
    NEW,
    PRICES,
    PROMPT,
    TEXT,
    USAGE,
    Account,
    chunks,
    connect,
    make,
    whole,
)
from tests.contract.rows.snowflake_core import error as refusal
from tests.contract.rows.snowflake_cortex import session
from tests.contract.server import Reply, json_reply, serving, sse

import genledger
from genledger_semconv.checker import assert_clean

from ..telemetry import Telemetry, instrumented

cortex = pytest.importorskip("snowflake.cortex")
inference = pytest.importorskip("snowflake.core.cortex.inference_service")

BOTH = ["snowflake-ml-python", "snowflake-core"]
needs_new = pytest.mark.skipif(not NEW, reason="this version reads no answer that is not streamed")
COST = 1000 * 4e-6 + 500 * 20e-6

pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::UserWarning")


@pytest.fixture
def account() -> Iterator[Account]:
    with serving(Account) as account:
        yield account


@pytest.fixture
def telemetry() -> Iterator[Telemetry]:
    with instrumented(libraries=BOTH, prices=PRICES) as telemetry:
        yield telemetry
        assert_clean(telemetry.spans, telemetry.metrics, telemetry.logs)
        assert not telemetry.open.spans
        assert not telemetry.complaints.other


@pytest.fixture
def capturing() -> Iterator[Telemetry]:
    with instrumented(libraries=BOTH, prices=PRICES, capture_content="span") as telemetry:
        yield telemetry
        assert_clean(telemetry.spans, telemetry.metrics, telemetry.logs, capture_content=True)
        assert not telemetry.complaints.other


@pytest.fixture
def at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let the clients wait for nothing before they try again."""
    clock = SimpleNamespace(time=time.time, sleep=lambda seconds: None)
    service = "" if importable("snowflake.core._generated") else "cortex.inference_service."
    for module in ("snowflake.cortex._complete", f"snowflake.core.{service}_generated.api_client"):
        monkeypatch.setattr(f"{module}.time", clock)


def request(**given: Any) -> Any:
    """Make a request for a completion."""
    asked = {"model": MODEL, "messages": [{"role": "user", "content": PROMPT}], **given}
    return inference.CompleteRequest.from_dict(asked)


@pytest.fixture
def warehouse(account: Account) -> Iterator[Any]:
    """A session of Snowpark, over the real connection."""
    from snowflake.snowpark import Session

    with Session.builder.configs({"connection": connect(account.url)}).create() as session:
        yield session


@pytest.mark.parametrize("name", ["complete", "Complete"])
@pytest.mark.parametrize("streams", [False, True])
def test_a_completion_is_one_priced_span(account: Account, telemetry: Telemetry, name: str, streams: bool) -> None:
    account.will(Reply(200, "text/event-stream", chunks()))
    found = getattr(cortex, name)(MODEL, PROMPT, session=session(account.url), stream=streams)
    assert (found if isinstance(found, str) else "".join(found)) == TEXT
    attributes = telemetry.attributes
    assert attributes["genledger.cost.amount"] == pytest.approx(COST)
    assert attributes["gen_ai.response.id"] == "a-1"
    assert attributes["genledger.outcome"] == "success"
    assert "gen_ai.response.finish_reasons" not in attributes


def test_usage_that_comes_with_every_event_is_counted_once(account: Account, telemetry: Telemetry) -> None:
    counted = [{"prompt_tokens": 10, "completion_tokens": n, "total_tokens": 10 + n} for n in (1, 2)]
    told = [{**HEAD, "choices": [{"delta": {"content": "long words " * 9}}], "usage": usage} for usage in counted]
    account.will(Reply(200, "text/event-stream", sse(*told)))
    cortex.complete(MODEL, PROMPT, session=session(account.url))
    assert telemetry.attributes["gen_ai.usage.output_tokens"] == 2
    assert "genledger.usage.estimated" not in telemetry.attributes


def test_a_repeated_completion_is_one_call_with_its_attempts(
    account: Account, telemetry: Telemetry, at_once: None
) -> None:
    account.will(refusal(429), refusal(503), Reply(200, "text/event-stream", chunks()))
    assert cortex.complete(MODEL, PROMPT, session=session(account.url)) == TEXT
    assert len(account.requests) == 3
    assert telemetry.attributes["genledger.attempts"] == 3
    assert telemetry.attributes["genledger.retry.causes"] == ("429", "503")
    assert telemetry.attributes["genledger.cost.amount"] == pytest.approx(COST)


def test_a_repeated_request_of_the_other_client_is_one_call_too(
    account: Account, telemetry: Telemetry, at_once: None
) -> None:
    account.will(refusal(503), Reply(200, "text/event-stream", chunks()))
    list(make(account.url, False, 1).cortex_inference_service.complete(request()).events())
    assert telemetry.attributes["genledger.attempts"] == 2
    assert telemetry.attributes["genledger.retry.causes"] == ("503",)
    assert telemetry.attributes["genledger.cost.amount"] == pytest.approx(COST)


def test_a_completion_in_the_background_belongs_to_its_caller(account: Account, telemetry: Telemetry) -> None:
    account.will(Reply(200, "text/event-stream", chunks()))
    service = make(account.url, False, 0).cortex_inference_service
    with genledger.attribution(tenant="acme"):
        pending = service.complete_async(request())
    assert len(list(pending.result().events())) == len(chunks())
    assert telemetry.attributes["genledger.tenant.id"] == "acme"
    assert telemetry.attributes["genledger.cost.amount"] == pytest.approx(COST)


@pytest.mark.parametrize("streams", [pytest.param(False, marks=needs_new), True])
def test_tools_are_content(account: Account, capturing: Telemetry, streams: bool) -> None:
    use = {"tool_use_id": "t-1", "name": "search", "input": {"where": "France"}}
    if streams:
        deltas = [{"type": "text", "content": "Let me see."}, {"type": "tool_use", **use, "input": '{"where": 1}'}]
        last = {**HEAD, "choices": [], "usage": USAGE}
        events = sse(*({**HEAD, "choices": [{"delta": delta}]} for delta in deltas), last)
        account.will(Reply(200, "text/event-stream", events))
    else:
        content = [{"type": "text", "text": "Let me see."}, {"type": "tool_use", "tool_use": use}]
        choice = {"message": {"content": "Let me see.", "content_list": content}, "finish_reason": "tool_use"}
        account.will(whole(choices=[choice]))
    tool = {"tool_spec": {"type": "generic", "name": "search"}}
    found = make(account.url, False, 0).cortex_inference_service.complete(request(tools=[tool], stream=streams))
    list(found.events())
    attributes = capturing.attributes
    (made,) = json.loads(str(attributes["gen_ai.output.messages"]))
    assert [part["type"] for part in made["parts"]] == ["text", "tool_call"]
    assert made["parts"][1]["name"] == "search"
    assert "search" in str(attributes["gen_ai.tool.definitions"])
    assert attributes.get("gen_ai.response.finish_reasons") == (None if streams else ("tool_use",))


@needs_new
def test_tokens_of_a_guard_are_a_unit_of_their_own(account: Account, telemetry: Telemetry) -> None:
    account.will(whole(usage={**USAGE, "guard_tokens": 40, "total_tokens": 1540}))
    list(make(account.url, False, 0).cortex_inference_service.complete(request(stream=False)).events())
    attributes = telemetry.attributes
    assert attributes["genledger.usage.guard_token"] == 40
    assert attributes["genledger.cost.amount"] == pytest.approx(COST)
    assert "unpriced_unit:guard_token" in attributes["genledger.cost.notes"]  # type: ignore[operator]


def test_embeddings_of_the_rest_api_are_priced(account: Account, telemetry: Telemetry) -> None:
    model = "snowflake-arctic-embed-m"
    data = [{"object": "embedding", "embedding": [[0.1, 0.2]], "index": 0}]
    account.will(json_reply({"object": "list", "data": data, "model": model, "usage": {"total_tokens": 1000}}))
    found = make(account.url, False, 0).cortex_embed_service.embed(model, ["a text"])
    assert found.usage.total_tokens == 1000
    assert telemetry.span.name == f"embeddings {model}"
    assert telemetry.attributes["gen_ai.usage.input_tokens"] == 1000
    assert telemetry.attributes["genledger.cost.amount"] == pytest.approx(1000 * 0.1e-6)


def test_other_requests_of_the_client_are_no_calls(account: Account, telemetry: Telemetry) -> None:
    account.row = json.dumps([{"name": "W"}])
    root = make(account.url, False, 0)
    with pytest.raises(Exception, match=r"."):  # the account has no such thing
        root.databases["d"].fetch()
    assert telemetry.spans == ()


SQL: list[tuple[str, tuple[Any, ...], str, str]] = [
    ("summarize", (PROMPT,), "text_completion", "A summary."),
    ("translate", (PROMPT, "en", "fr"), "translation", "Un texte."),
    ("sentiment", (PROMPT,), "text_completion", "0.5"),
    ("extract_answer", (PROMPT, "Where?"), "text_completion", '[{"answer": "Paris"}]'),
    ("classify_text", (PROMPT, ["a", "b"]), "text_completion", '{"label": "a"}'),
    ("embed_text_768", ("snowflake-arctic-embed-m", PROMPT), "embeddings snowflake-arctic-embed-m", "[0.1]"),
    ("embed_text_1024", ("snowflake-arctic-embed-m", PROMPT), "embeddings snowflake-arctic-embed-m", "[0.1]"),
]


@pytest.mark.parametrize(("name", "given", "span", "row"), SQL, ids=[name for name, *_ in SQL])
def test_a_function_in_a_warehouse_is_a_call_without_a_price(
    account: Account, warehouse: Any, capturing: Telemetry, name: str, given: tuple[Any, ...], span: str, row: str
) -> None:
    account.row = row
    found = getattr(cortex, name)(*given, session=warehouse)
    assert str(found) == row
    attributes = capturing.attributes
    assert capturing.span.name == span
    assert attributes["gen_ai.provider.name"] == "snowflake"
    assert attributes["genledger.outcome"] == "success"
    assert attributes["genledger.cost.unpriced"] == "no_usage"
    assert attributes["server.address"] == "127.0.0.1"
    if span == "text_completion":
        assert PROMPT in str(attributes["gen_ai.input.messages"])
        assert ("A summary." in str(attributes["gen_ai.output.messages"])) == (name == "summarize")


def test_the_older_name_of_a_function_is_one_call(account: Account, warehouse: Any, telemetry: Telemetry) -> None:
    account.row = "A summary."
    assert cortex.Summarize(PROMPT, session=warehouse) == "A summary."
    assert telemetry.span.name == "text_completion"


def test_a_function_of_columns_is_an_expression_and_no_call(warehouse: Any, telemetry: Telemetry) -> None:
    from snowflake.snowpark import Column, functions

    assert isinstance(cortex.summarize(functions.col("a")), Column)
    assert isinstance(cortex.complete(MODEL, functions.col("a")), Column)
    assert telemetry.spans == ()


def test_a_function_without_a_session_fails_as_it_does_without(telemetry: Telemetry) -> None:
    with pytest.raises(Exception, match=r"[Ss]ession"):
        cortex.complete(MODEL, PROMPT)
    assert telemetry.attributes["genledger.outcome"] == "error"
    assert "genledger.cost.amount" not in telemetry.attributes
