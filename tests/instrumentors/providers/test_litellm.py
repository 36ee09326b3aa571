"""LiteLLM's library: every function, through OpenAI's client or by itself, its Router, its cache and its own spans."""

from __future__ import annotations

import asyncio
import gc
import os
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import pytest

os.environ.setdefault("LITELLM_LOCAL_MODEL_COST_MAP", "True")  # or its import fetches a price map
litellm = pytest.importorskip("litellm")

from opentelemetry import trace  # noqa: E402
from tests.contract.row import at_least  # noqa: E402
from tests.contract.rows import anthropic_messages, openai_chat  # noqa: E402
from tests.contract.server import Reply, Server, json_reply, serving, sse  # noqa: E402
from tests.genledger.applications import rows  # noqa: E402
from tests.instrumentors.provider import items, now  # noqa: E402
from tests.instrumentors.telemetry import BatchResults, Telemetry, attributes_of, instrumented  # noqa: E402

import genledger  # noqa: E402
from genledger_semconv.checker import assert_clean  # noqa: E402

MESSAGES = [{"role": "user", "content": "What is the capital of France?"}]
CLAUDE, GPT = "anthropic/claude-sonnet-4-5", "openai/gpt-4o"
CLAUDE_USD = 1000 * 3e-6 + 500 * 15e-6
GPT_USD = 1000 * 2.5e-6 + 500 * 10e-6
RESPONSE = {
    "id": "resp_1",
    "object": "response",
    "created_at": 1790000000,
    "status": "completed",
    "error": None,
    "incomplete_details": None,
    "instructions": None,
    "metadata": {},
    "temperature": 1.0,
    "top_p": 1.0,
    "max_output_tokens": None,
    "previous_response_id": None,
    "reasoning": None,
    "text": {"format": {"type": "text"}},
    "truncation": "disabled",
    "user": None,
    "model": "gpt-4o-2024-08-06",
    "output": [
        {
            "type": "message",
            "id": "msg_1",
            "status": "completed",
            "role": "assistant",
            "content": [{"type": "output_text", "text": "Paris.", "annotations": []}],
        }
    ],
    "parallel_tool_calls": True,
    "tool_choice": "auto",
    "tools": [],
    "usage": {
        "input_tokens": 1000,
        "output_tokens": 500,
        "total_tokens": 1500,
        "input_tokens_details": {"cached_tokens": 0},
        "output_tokens_details": {"reasoning_tokens": 0},
    },
}
EMBEDDING = {
    "object": "list",
    "model": "text-embedding-3-small",
    "data": [{"object": "embedding", "index": 0, "embedding": [0.1]}],
    "usage": {"prompt_tokens": 1000, "total_tokens": 1000},
}
RERANKED = {
    "id": "r-1",
    "results": [{"index": 0, "relevance_score": 0.9}],
    "meta": {"api_version": {"version": "2"}, "billed_units": {"search_units": 1}},
}
GENERATED = {
    "candidates": [{"content": {"role": "model", "parts": [{"text": "Paris."}]}, "finishReason": "STOP"}],
    "usageMetadata": {"promptTokenCount": 1000, "candidatesTokenCount": 500, "totalTokenCount": 1500},
    "modelVersion": "gemini-2.5-flash",
    "responseId": "r-1",
}


@pytest.fixture
def server() -> Iterator[Server]:
    with serving() as server:
        yield server


@pytest.fixture
def telemetry(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Telemetry]:
    """Genledger on LiteLLM and on OpenAI's client, which it uses."""
    monkeypatch.setenv("GENLEDGER_LEDGER", str(tmp_path / "ledger.db"))
    monkeypatch.setattr(litellm, "suppress_debug_info", True)
    with instrumented(libraries=["litellm", "openai"]) as telemetry:
        yield telemetry
        assert_clean(telemetry.spans, telemetry.metrics, telemetry.logs)
        assert not telemetry.open.spans
        assert not telemetry.complaints.other


def at(server: Server, path: str = "") -> dict[str, Any]:
    """Where requests go."""
    return {"api_base": server.url + path, "api_key": "k"}


def priced(telemetry: Telemetry) -> dict[str, Any]:
    """The attributes of the one span that has a cost; the others have no usage either."""
    spans = [attributes_of(span) for span in telemetry.spans]
    (one,) = (found for found in spans if "genledger.cost.amount" in found)
    for other in spans:
        if other is not one:
            assert not [name for name in other if "usage" in name or "cost" in name]
    return one


IMAGE_USAGE = {
    "total_tokens": 150,
    "input_tokens": 50,
    "output_tokens": 100,
    "input_tokens_details": {"text_tokens": 10, "image_tokens": 40},
}
MODERATED = {"id": "m-1", "model": "omni-moderation-latest", "results": []}


class Function(NamedTuple):
    """One of LiteLLM's functions: how it is asked, what is answered, and what its call has to say."""

    given: dict[str, Any]
    reply: Reply
    path: str
    expected: dict[str, Any]
    usd: float
    name: str = ""


FUNCTIONS = {
    "completion": Function(
        {"messages": MESSAGES, "model": CLAUDE},
        anthropic_messages.ROW.whole,
        "",
        {"gen_ai.usage.input_tokens": 1000, "gen_ai.provider.name": "anthropic"},
        CLAUDE_USD,
    ),
    "text_completion": Function(
        {"prompt": "Hello", "model": GPT},
        openai_chat.ROW.whole,
        "/v1",
        {"gen_ai.usage.input_tokens": 1000, "gen_ai.usage.output_tokens": 500},
        GPT_USD,
    ),
    "embedding": Function(
        {"model": "openai/text-embedding-3-small", "input": ["a"]},
        json_reply(EMBEDDING),
        "/v1",
        {"gen_ai.usage.input_tokens": 1000, "gen_ai.request.model": "text-embedding-3-small"},
        1000 * 0.02e-6,
    ),
    "responses": Function(
        {"model": GPT, "input": "Hello"},
        json_reply(RESPONSE),
        "/v1",
        {"gen_ai.usage.input_tokens": 1000, "gen_ai.response.model": "gpt-4o-2024-08-06"},
        GPT_USD,
    ),
    "responses over chat": Function(
        {"model": CLAUDE, "input": "Hello"},
        anthropic_messages.ROW.whole,
        "",
        {"gen_ai.usage.output_tokens": 500, "gen_ai.provider.name": "anthropic"},
        CLAUDE_USD,
        "responses",
    ),
    "rerank": Function(
        {"model": "cohere/rerank-v3.5", "query": "q", "documents": ["a"]},
        json_reply(RERANKED),
        "",
        {
            "genledger.usage.search_unit": 1,
            "gen_ai.provider.name": "cohere",
            "gen_ai.operation.name": "rerank",
        },
        0.002,
    ),
    "image_generation": Function(
        {"prompt": "a cat", "model": "openai/dall-e-3"},
        json_reply({"created": 1790000000, "data": [{"url": "https://example.com/cat.png"}]}),
        "/v1",
        {"genledger.usage.image": 1},
        0.04,
    ),
    "image_edit": Function(
        {"prompt": "a cat", "image": [b"\x89PNG"], "model": "openai/gpt-image-1"},
        json_reply({"created": 1790000000, "data": [{"b64_json": "aaaa"}], "usage": IMAGE_USAGE}),
        "/v1",
        {"gen_ai.usage.input_tokens": 50, "gen_ai.usage.output_tokens": 100},
        10 * 5e-6 + 40 * 10e-6 + 100 * 40e-6,
    ),
    "speech": Function(
        {"model": "openai/tts-1", "input": "Hello there.", "voice": "alloy"},
        Reply(200, "audio/mpeg", (b"audio",)),
        "/v1",
        {"genledger.usage.character": 12},
        12 * 15e-6,
    ),
    "transcription": Function(
        {"model": "openai/whisper-1", "file": ("a.wav", b"RIFF")},
        json_reply({"text": "Hello", "usage": {"type": "duration", "seconds": 60}}),
        "/v1",
        {"genledger.usage.second": 60},
        0.006,
    ),
    "moderation": Function(
        {"input": "Hello", "model": "omni-moderation-latest"},
        json_reply(MODERATED),
        "/v1",
        {"gen_ai.operation.name": "moderation", "gen_ai.provider.name": "openai"},
        0.0,
    ),
    "anthropic_messages": Function(
        {"max_tokens": 10, "messages": MESSAGES, "model": CLAUDE},
        anthropic_messages.ROW.whole,
        "",
        {"gen_ai.usage.input_tokens": 1000, "gen_ai.response.finish_reasons": ("end_turn",)},
        CLAUDE_USD,
    ),
}
CALLS = [
    (name, twin)
    for name, function in FUNCTIONS.items()
    for twin in (function.name or name, f"a{function.name or name}")
    if hasattr(litellm, twin) and (name != "image_edit" or at_least("litellm", 1, 72))  # 1.71 fails by itself
]
IMPORTED = {twin: getattr(litellm, twin) for _, twin in CALLS}
"""The functions as they are before `instrument()`, as an application has them that imported them by name."""


def whole(attributes: dict[str, Any], function: Function) -> None:
    """Check that a call says all that it has to."""
    assert attributes["genledger.cost.amount"] == pytest.approx(function.usd)
    assert attributes["server.address"] == "127.0.0.1"
    assert {key: attributes[key] for key in function.expected} == function.expected


@pytest.mark.parametrize("before", [False, True], ids=["", "imported before"])
@pytest.mark.parametrize(("name", "twin"), CALLS)
async def test_each_function_is_one_priced_call(
    server: Server, telemetry: Telemetry, monkeypatch: pytest.MonkeyPatch, name: str, twin: str, before: bool
) -> None:
    function = FUNCTIONS[name]
    server.will(function.reply)
    monkeypatch.setenv("OPENAI_BASE_URL", server.url)  # old versions know no other address of moderations
    call = IMPORTED[twin] if before else getattr(litellm, twin)
    await now(call(**function.given, **at(server, function.path)))
    whole(priced(telemetry), function)


@pytest.mark.parametrize("name", [name for name in FUNCTIONS if name != "text_completion"])
async def test_each_function_of_a_router_is_one_priced_call(
    server: Server, telemetry: Telemetry, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    function = FUNCTIONS[name]
    server.will(function.reply)
    monkeypatch.setenv("OPENAI_BASE_URL", server.url)
    given = {"model": function.given["model"], "max_retries": 0, **at(server, function.path)}
    router = litellm.Router(model_list=[{"model_name": "ours", "litellm_params": given}], num_retries=0)
    call = getattr(router, f"a{function.name or name}", None)
    if call is None:
        pytest.skip("the oldest version has none")
    await call(**{**function.given, "model": "ours"})
    whole(priced(telemetry), function)


async def test_arguments_may_be_given_by_position(server: Server, telemetry: Telemetry) -> None:
    function = FUNCTIONS["embedding"]
    server.will(function.reply)
    litellm.embedding("openai/text-embedding-3-small", ["a"], **at(server, function.path))
    whole(priced(telemetry), function)


@pytest.mark.parametrize("before", [False, True], ids=["", "imported before"])
@pytest.mark.parametrize("twin", ["completion", "acompletion", "text_completion", "atext_completion"])
async def test_a_stream_of_each_function_is_one_priced_call(server: Server, twin: str, before: bool) -> None:
    server.will(anthropic_messages.ROW.streamed())
    asked: dict[str, Any] = {"prompt": "Hello"} if "text" in twin else {"messages": MESSAGES}
    with instrumented(libraries=["litellm"]) as telemetry:
        call = IMPORTED[twin] if before else getattr(litellm, twin)
        stream = await now(call(model=CLAUDE, stream=True, **asked, **at(server)))
        if twin.startswith("a"):
            async for _ in stream:
                pass
        else:
            list(stream)
        attributes = priced(telemetry)
    assert attributes["genledger.cost.amount"] == pytest.approx(CLAUDE_USD)
    assert "genledger.usage.estimated" not in attributes


async def test_each_request_of_several_is_a_call(server: Server, telemetry: Telemetry) -> None:
    server.will(anthropic_messages.ROW.whole)
    with genledger.attribution(tenant="acme"):
        litellm.batch_completion(model=CLAUDE, messages=[MESSAGES, MESSAGES], **at(server))
    first, second = (attributes_of(span) for span in telemetry.spans)
    assert first["genledger.cost.amount"] == second["genledger.cost.amount"] == pytest.approx(CLAUDE_USD)
    assert first["genledger.tenant.id"] == second["genledger.tenant.id"] == "acme"


async def test_a_router_that_tries_again_makes_one_call_of_each_attempt(server: Server, telemetry: Telemetry) -> None:
    server.will(anthropic_messages.ROW.error(500), anthropic_messages.ROW.whole)
    given = {"model": CLAUDE, "max_retries": 0, **at(server)}
    router = litellm.Router(
        model_list=[{"model_name": "ours", "litellm_params": given}],
        num_retries=1,
        retry_after=0,
        disable_cooldowns=True,
    )
    await router.acompletion(model="ours", messages=MESSAGES)
    assert [attributes_of(span)["genledger.outcome"] for span in telemetry.spans] == ["error", "success"]
    assert priced(telemetry)["genledger.cost.amount"] == pytest.approx(CLAUDE_USD)


def test_a_budget_refuses_a_function_that_was_imported_before(server: Server, tmp_path: Path) -> None:
    server.will(anthropic_messages.ROW.whole)
    rules = tmp_path / "rules.toml"
    rules.write_text('[[budget]]\nname="none"\nusd=0.0000001\nper="day"\n')
    with instrumented(libraries=["litellm"], budgets=str(rules), budget_store="memory:"):
        with pytest.raises(genledger.BudgetExceeded):
            IMPORTED["completion"](model=CLAUDE, messages=MESSAGES, **at(server))
        assert not server.requests
    IMPORTED["completion"](model=CLAUDE, messages=MESSAGES, **at(server))
    assert len(server.requests) == 1


@pytest.mark.parametrize("twin", ["completion", "acompletion"])
async def test_requests_of_an_imported_function_that_are_made_again_are_calls(
    server: Server, telemetry: Telemetry, twin: str
) -> None:
    pytest.importorskip("tenacity")  # LiteLLM's retries want it
    server.will(anthropic_messages.ROW.error(500), anthropic_messages.ROW.whole)
    await now(IMPORTED[twin](model=CLAUDE, messages=MESSAGES, num_retries=2, max_retries=0, **at(server)))
    assert [attributes_of(span)["genledger.outcome"] for span in telemetry.spans] == ["error", "success"]
    assert priced(telemetry)["genledger.cost.amount"] == pytest.approx(CLAUDE_USD)


@pytest.mark.parametrize("name", ["generate_content", "agenerate_content", "generate_content_stream"])
async def test_generated_content_is_one_priced_call(server: Server, telemetry: Telemetry, name: str) -> None:
    google = pytest.importorskip("litellm.google_genai")
    streamed = name.endswith("stream")
    server.will(Reply(200, "text/event-stream", sse(GENERATED)) if streamed else json_reply(GENERATED))
    contents = [{"role": "user", "parts": [{"text": "Hello"}]}]
    result = await now(getattr(google, name)(model="gemini/gemini-2.5-flash", contents=contents, **at(server)))
    if streamed:
        list(result)
    attributes = priced(telemetry)
    assert attributes["genledger.cost.amount"] == pytest.approx(1000 * 0.3e-6 + 500 * 2.5e-6)
    assert attributes["gen_ai.operation.name"] == "generate_content"
    assert attributes["gen_ai.provider.name"] == "gcp.gemini"
    assert attributes["gen_ai.response.model"] == "gemini-2.5-flash"


@pytest.mark.parametrize("model", [GPT, CLAUDE])
@pytest.mark.parametrize("stream", [False, True])
async def test_one_call_is_priced_whichever_way_it_goes(
    server: Server, telemetry: Telemetry, model: str, stream: bool
) -> None:
    row = openai_chat.ROW if model == GPT else anthropic_messages.ROW
    server.will(row.streamed() if stream else row.whole)
    with genledger.attribution(tenant="acme"):
        result = await litellm.acompletion(
            model=model, messages=MESSAGES, stream=stream, **at(server, "/v1" if model == GPT else "")
        )
        if stream:
            await items(result)
        assert genledger.spend().usd == pytest.approx(row.cost)
    assert len(telemetry.spans) == (2 if model == GPT else 1)
    attributes = priced(telemetry)
    assert attributes["genledger.cost.amount"] == pytest.approx(row.cost)
    assert attributes["gen_ai.provider.name"] == row.provider
    assert attributes["gen_ai.usage.output_tokens"] == 500
    assert attributes["genledger.tenant.id"] == "acme"


async def test_a_stream_is_the_object_that_it_is_without_genledger(server: Server, telemetry: Telemetry) -> None:
    server.will(anthropic_messages.ROW.streamed())
    stream = litellm.completion(model=CLAUDE, messages=MESSAGES, stream=True, **at(server))
    assert type(stream) is litellm.CustomStreamWrapper
    assert "genledger" not in str(vars(stream)).lower()
    assert len(list(stream)) == 7


def test_a_stream_that_is_dropped_settles_with_what_came(server: Server, telemetry: Telemetry) -> None:
    if not hasattr(litellm.CustomStreamWrapper, "close"):
        pytest.skip("the oldest version keeps its streams")
    server.will(anthropic_messages.ROW.streamed())
    stream = litellm.completion(model=CLAUDE, messages=MESSAGES, stream=True, **at(server))
    next(stream)
    stream.close()
    del stream
    for _ in range(100):
        if telemetry.spans:
            break
        gc.collect()
        litellm.utils.executor.submit(int).result()  # its threads hold the stream for a while
    assert telemetry.attributes["genledger.outcome"] == "cancelled"
    assert telemetry.attributes["genledger.usage.estimated"] is True


@pytest.mark.parametrize("stream", [False, True])
async def test_the_router_calls_once_for_each_attempt(server: Server, telemetry: Telemetry, stream: bool) -> None:
    answered_with = openai_chat.ROW.streamed() if stream else openai_chat.ROW.whole
    server.will(anthropic_messages.ROW.error(500), answered_with)
    router = litellm.Router(
        model_list=[
            {"model_name": "first", "litellm_params": {"model": CLAUDE, "max_retries": 0, **at(server)}},
            {"model_name": "second", "litellm_params": {"model": GPT, **at(server, "/v1")}},
        ],
        fallbacks=[{"first": ["second"]}],
        num_retries=0,
    )
    result = await router.acompletion(model="first", messages=MESSAGES, stream=stream)
    if stream:
        await items(result)
    failed, *answered = sorted(telemetry.spans, key=lambda span: span.start_time or 0)
    assert attributes_of(failed)["genledger.outcome"] == "error"
    assert attributes_of(failed)["gen_ai.provider.name"] == "anthropic"
    assert [attributes_of(span)["genledger.outcome"] for span in answered] == ["success", "success"]
    assert priced(telemetry)["gen_ai.provider.name"] == "openai"
    assert priced(telemetry)["genledger.cost.amount"] == pytest.approx(GPT_USD)


async def test_each_fallback_is_a_call_inside_the_one_that_was_made(server: Server, telemetry: Telemetry) -> None:
    server.will(anthropic_messages.ROW.error(500), anthropic_messages.ROW.whole)
    more = {"fallbacks": ["anthropic/claude-haiku-4-5"], "max_retries": 0}
    await litellm.acompletion(model=CLAUDE, messages=MESSAGES, **more, **at(server))
    models = [attributes_of(span)["gen_ai.request.model"] for span in telemetry.spans]
    assert models == ["claude-sonnet-4-5", "claude-haiku-4-5", "claude-sonnet-4-5"]
    outcomes = [attributes_of(span)["genledger.outcome"] for span in telemetry.spans]
    assert outcomes == ["error", "success", "success"]
    assert priced(telemetry)["gen_ai.request.model"] == "claude-haiku-4-5"


@pytest.mark.parametrize("model", [GPT, CLAUDE])
def test_a_call_is_recorded_in_the_step_around_it_whichever_way_it_goes(server: Server, model: str) -> None:
    row, entries = openai_chat.ROW if model == GPT else anthropic_messages.ROW, BatchResults()
    server.will(row.whole)
    with instrumented(libraries=["litellm", "openai"], destinations=[entries]) as telemetry:
        with genledger.observe("helper", kind="agent"):
            litellm.completion(model=model, messages=MESSAGES, **at(server, "/v1" if model == GPT else ""))
        genledger.flush(30)
    (step,) = (span for span in telemetry.spans if span.name == "invoke_agent helper")
    (entry,) = entries.all
    assert entry.parent_span_id == step.get_span_context().span_id


async def test_a_budget_admits_a_call_inside_a_call_once(server: Server, tmp_path: Path) -> None:
    server.will(openai_chat.ROW.whole)
    rules = tmp_path / "rules.toml"
    rules.write_text('[[budget]]\nname="day"\nrequests=1\nper="day"\n')
    with instrumented(libraries=["litellm", "openai"], budgets=str(rules), budget_store="memory:"):
        await litellm.acompletion(model=GPT, messages=MESSAGES, **at(server, "/v1"))
        with pytest.raises(genledger.BudgetExceeded):
            await litellm.acompletion(model=GPT, messages=MESSAGES, **at(server, "/v1"))
    assert len(server.requests) == 1


@pytest.mark.parametrize("stream", [False, True])
def test_what_litellms_cache_answers_is_not_paid_for(
    server: Server, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, stream: bool
) -> None:
    pytest.importorskip("fastapi")  # LiteLLM's cache wants it
    from litellm.caching.caching import Cache

    monkeypatch.setattr(litellm, "cache", Cache(type="local"))
    server.will(anthropic_messages.ROW.streamed() if stream else anthropic_messages.ROW.whole)
    rules = tmp_path / "rules.toml"
    rules.write_text(f'[[budget]]\nname="day"\nusd={3 * CLAUDE_USD}\nper="day"\n')
    given: dict[str, Any] = {"max_tokens": 600, "stream": stream, "caching": True, **at(server)}
    ledger = tmp_path / "ledger.db"
    options = {"destinations": ["ledger"], "ledger": str(ledger)}
    with instrumented(libraries=["litellm"], budgets=str(rules), budget_store="memory:", **options) as telemetry:
        for _ in range(6):
            result = litellm.completion(model=CLAUDE, messages=MESSAGES, **given)
            if stream:
                list(result)
        first, *cached = (attributes_of(span) for span in telemetry.spans)
    assert len(server.requests) == 1
    assert [row["cost_usd"] for row in rows(ledger)] == [pytest.approx(CLAUDE_USD)]
    hits = rows(ledger, "SELECT * FROM cache_hits")
    assert [(row["cache"], row["provider"], row["model"]) for row in hits] == [
        ("litellm", "anthropic", "claude-sonnet-4-5")
    ] * 5
    assert [row["saved_usd"] for row in hits] == [pytest.approx(CLAUDE_USD)] * 5
    assert first["genledger.cost.amount"] == pytest.approx(CLAUDE_USD)
    for attributes in cached:
        assert attributes["genledger.outcome"] == "success"
        assert not [name for name in attributes if "usage" in name or "cost" in name]


@pytest.mark.parametrize("libraries", [["litellm"], ["litellm", "openai"]])
async def test_of_texts_some_of_which_the_cache_has_the_others_are_paid_for(
    server: Server, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, libraries: list[str]
) -> None:
    pytest.importorskip("fastapi")  # LiteLLM's cache wants it
    from litellm.caching.caching import Cache

    monkeypatch.setattr(litellm, "cache", Cache(type="local"))
    server.will(json_reply(EMBEDDING))
    ledger = tmp_path / "ledger.db"
    given: dict[str, Any] = {"model": "openai/text-embedding-3-small", "caching": True, **at(server, "/v1")}
    with instrumented(libraries=libraries, destinations=["ledger"], ledger=str(ledger)):
        for known, texts in enumerate((["a"], ["a", "b"], ["a"])):
            deadline = time.monotonic() + 60
            while len(litellm.cache.cache.cache_dict) < known and time.monotonic() < deadline:  # noqa: ASYNC110
                await asyncio.sleep(0.01)  # it writes to its cache in a task of its own
            await litellm.aembedding(input=texts, **given)
    assert len(server.requests) == 2
    assert sum(row["cost_usd"] or 0 for row in rows(ledger)) == pytest.approx(2 * 1000 * 0.02e-6)
    hits = rows(ledger, "SELECT * FROM cache_hits")
    assert [row["cache"] for row in hits] == ["litellm"] * 2
    for row in hits:
        assert 0 < row["saved_usd"] <= 1000 * 0.02e-6


def test_an_answer_that_the_request_brings_along_is_not_paid_for_and_no_hit(
    telemetry: Telemetry, tmp_path: Path
) -> None:
    ledger = tmp_path / "local.db"
    with instrumented(libraries=["litellm"], destinations=["ledger"], ledger=str(ledger)) as telemetry:
        litellm.completion(model=GPT, messages=MESSAGES, mock_response="Paris.")
    assert telemetry.attributes["genledger.outcome"] == "success"
    assert "genledger.cost.amount" not in telemetry.attributes
    assert [row["cost_usd"] for row in rows(ledger)] == [None]
    assert rows(ledger, "SELECT * FROM cache_hits") == []


def test_the_cost_that_litellm_works_out_counts_where_only_it_has_the_price(
    server: Server, telemetry: Telemetry
) -> None:
    server.will(json_reply({**anthropic_messages_body(), "model": "claude-of-our-own"}))
    prices = {"input_cost_per_token": 1e-6, "output_cost_per_token": 2e-6}
    litellm.completion(model="anthropic/claude-of-our-own", messages=MESSAGES, **prices, **at(server))
    attributes = priced(telemetry)
    assert attributes["genledger.cost.amount"] == pytest.approx(1000 * 1e-6 + 500 * 2e-6)
    assert attributes["genledger.cost.source"] == "provider"
    assert attributes["genledger.cost.notes"] == ("gateway_estimate",)


def anthropic_messages_body() -> dict[str, Any]:
    """The whole answer of the row, as JSON."""
    import json

    body: dict[str, Any] = json.loads(b"".join(anthropic_messages.ROW.whole.body))
    return body


def test_spans_that_litellm_makes_in_its_callbacks_are_not_priced_again(server: Server) -> None:
    server.will(anthropic_messages.ROW.whole)
    with instrumented(libraries=["litellm"]) as telemetry, genledger.attribution(tenant="acme"):
        litellm.completion(model=CLAUDE, messages=MESSAGES, **at(server))
        # As its `otel` callback does: after the call, with no context of it.
        tracer = telemetry.tracer_provider.get_tracer("litellm")
        usage = {"gen_ai.usage.input_tokens": 1000, "gen_ai.usage.output_tokens": 500}
        named = {"gen_ai.operation.name": "chat", "gen_ai.system": "anthropic", "gen_ai.request.model": CLAUDE}
        tracer.start_span("litellm_request", attributes={**named, **usage}).end()
        spent = genledger.spend()
    assert spent.calls == 1
    assert spent.usd == pytest.approx(CLAUDE_USD)
    assert len(telemetry.spans) == 2
    assert priced(telemetry)["genledger.tenant.id"] == "acme"


def test_requests_that_are_made_again_are_attempts_at_one_call(server: Server, telemetry: Telemetry) -> None:
    pytest.importorskip("tenacity")  # LiteLLM's retries want it
    server.will(anthropic_messages.ROW.error(500), anthropic_messages.ROW.error(429), anthropic_messages.ROW.whole)
    litellm.completion_with_retries(model=CLAUDE, messages=MESSAGES, num_retries=3, max_retries=0, **at(server))
    assert [attributes_of(span)["genledger.outcome"] for span in telemetry.spans] == [
        "error",
        "rate_limited",
        "success",
    ]
    telemetry.clear()
    server.will(anthropic_messages.ROW.error(500), anthropic_messages.ROW.error(429), anthropic_messages.ROW.whole)
    litellm.completion(model=CLAUDE, messages=MESSAGES, num_retries=3, max_retries=0, **at(server))
    assert telemetry.attributes["genledger.attempts"] == 3
    assert telemetry.attributes["genledger.retry.causes"] == ("500", "429")
    assert priced(telemetry)["genledger.cost.amount"] == pytest.approx(CLAUDE_USD)


def test_a_request_that_never_left_costs_nothing_and_one_without_an_answer_may(
    server: Server, telemetry: Telemetry
) -> None:
    given: dict[str, Any] = {"model": CLAUDE, "messages": MESSAGES, "max_tokens": 600, "max_retries": 0, "api_key": "k"}
    with pytest.raises(litellm.InternalServerError):  # as LiteLLM calls it
        litellm.completion(**given, api_base="http://127.0.0.1:9")
    assert "genledger.cost.amount" not in telemetry.attributes
    telemetry.clear()
    server.will(Reply(200, "application/json", (), hangs=True))
    with pytest.raises(litellm.Timeout):
        litellm.completion(**given, api_base=server.url, timeout=0.5)
    assert telemetry.attributes["genledger.outcome"] == "timeout"
    assert telemetry.attributes["genledger.usage.estimated"] is True
    assert telemetry.attributes["gen_ai.usage.output_tokens"] == 600
    telemetry.clear()
    server.will(Reply(200, "application/json", (b"{",), breaks=True))
    with pytest.raises(litellm.InternalServerError):  # as LiteLLM calls it
        litellm.completion(**given, api_base=server.url)
    assert telemetry.attributes["genledger.usage.estimated"] is True
    assert telemetry.attributes["gen_ai.usage.output_tokens"] == 600


def test_who_answers_at_an_address_of_ones_own_is_who_litellm_was_told(server: Server, telemetry: Telemetry) -> None:
    server.will(openai_chat.whole("deepseek-chat"))
    litellm.completion(model="deepseek/deepseek-chat", messages=MESSAGES, **at(server, "/v1"))
    attributes = priced(telemetry)
    assert attributes["gen_ai.provider.name"] == "deepseek"
    assert attributes["genledger.cost.amount"] > 0
    telemetry.clear()
    server.will(openai_chat.whole("our-own"))
    litellm.completion(model="xai/grok-4", messages=MESSAGES, **at(server, "/v1"))
    assert {attributes_of(span)["gen_ai.provider.name"] for span in telemetry.spans} == {"x_ai"}


async def test_callbacks_run_outside_of_the_call(
    server: Server, telemetry: Telemetry, monkeypatch: pytest.MonkeyPatch
) -> None:
    from litellm.integrations.custom_logger import CustomLogger

    current: list[Any] = []

    class Logger(CustomLogger):  # type: ignore[misc]
        def log_success_event(self, *args: Any, **kwargs: Any) -> None:
            current.append(trace.get_current_span())

    monkeypatch.setattr(litellm, "callbacks", [Logger()])
    server.will(anthropic_messages.ROW.whole)
    given: dict[str, Any] = {"model": CLAUDE, "messages": MESSAGES, **at(server)}
    litellm.completion(**given)
    for _ in range(1000):
        if current:
            break
        await asyncio.sleep(0.01)
    ours = {span.context.span_id for span in telemetry.spans if span.context is not None}
    assert current
    assert not [span for span in current if span.get_span_context().span_id in ours]
