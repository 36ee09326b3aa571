"""Budgets in the path of the real clients: refused calls reach no provider, and money is set aside before."""

from __future__ import annotations

import asyncio
import io
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
import redis
from redis.sentinel import Sentinel

import genledger
from genledger.budgets import Guard, Rulebook, budget, kill, open_store, revive, route
from genledger.budgets.stores.redis import RedisStore
from genledger_semconv.checker import assert_clean

from ..standins.redis_server import RedisServer
from . import anthropic_format, openai_format
from .provider import Provider, answer, events, items, now
from .telemetry import Telemetry, instrumented

CHAT: dict[str, Any] = {"model": "gpt-4.1-mini", "messages": [{"role": "user", "content": "Hello"}], "max_tokens": 10}
RESPONSE: dict[str, Any] = {"model": "gpt-4.1-mini", "input": "Hello", "max_output_tokens": 10}

CALLS: dict[str, tuple[Any, Callable[[Provider], Any]]] = {
    "chat": (
        answer(openai_format.chat()),
        lambda provider: provider.client("openai").chat.completions.create(**CHAT),
    ),
    "chat stream": (
        events(openai_format.chat_chunks("Paris.")),
        lambda provider: provider.client("openai").chat.completions.create(**CHAT, stream=True),
    ),
    "raw chat": (
        answer(openai_format.chat()),
        lambda provider: provider.client("openai").chat.completions.with_raw_response.create(**CHAT),
    ),
    "response": (
        answer(openai_format.response()),
        lambda provider: provider.client("openai").responses.create(**RESPONSE),
    ),
    "embeddings": (
        answer(openai_format.embeddings()),
        lambda provider: provider.client("openai").embeddings.create(model="text-embedding-3-small", input="Hello"),
    ),
    "message": (
        answer(anthropic_format.message()),
        lambda provider: provider.client("anthropic").messages.create(**anthropic_format.ASK),
    ),
    "message stream": (
        events(anthropic_format.message_events("Paris."), done=False),
        lambda provider: provider.client("anthropic").messages.create(**anthropic_format.ASK, stream=True),
    ),
}


def rules(folder: Path, text: str) -> dict[str, Any]:
    """The options of `instrument()` for these rules, kept in memory."""
    file = folder / "budgets.toml"
    file.write_text(text)
    return {"budgets": str(file), "budget_store": "memory:"}


def outcomes(telemetry: Telemetry) -> list[Any]:
    """How each recorded call ended."""
    return [(span.attributes or {})["genledger.outcome"] for span in telemetry.spans]


@pytest.mark.parametrize("kind", CALLS)
async def test_a_call_over_its_budget_is_refused_once_and_before_the_network(
    kind: str, provider: Provider, tmp_path: Path
) -> None:
    reply, make = CALLS[kind]
    rule = '[[budget]]\nname = "daily"\ntenant = "each"\nrequests = 1\nper = "day"\n'
    with instrumented(**rules(tmp_path, rule)) as telemetry, genledger.attribution(tenant="acme"):
        provider.will(reply)
        result = await now(make(provider))
        if kind.endswith("stream"):
            await items(result)
        with pytest.raises(genledger.BudgetExceeded) as refused:
            await now(make(provider))
        assert len(provider.requests) == 1
        assert (refused.value.rule, refused.value.scope, refused.value.limit) == ("daily", "tenant=acme", 1)
        assert refused.value.status_code == 429
        assert 0 < refused.value.retry_after <= 24 * 3600
        assert outcomes(telemetry) == ["success", "blocked"]
        blocked = telemetry.spans[1].attributes or {}
        assert blocked["genledger.budget.rule"] == "daily"
        assert not any(name.startswith(("gen_ai.usage", "genledger.cost")) for name in blocked)
        assert_clean(telemetry.spans, telemetry.metrics, telemetry.logs)


def in_code(form: str, folder: Path) -> dict[str, Any]:
    """The options of `instrument()` for one request a day for each tenant, the rule being given in this form."""
    daily = budget(name="daily", tenant="each", requests=1, per="day")
    match form:
        case "a list of rules":
            return {"budgets": [daily], "budget_store": "memory:"}
        case "a rule book":
            return {"budgets": Rulebook((daily,), store="memory:")}
        case "a guard":
            return {"budgets": Guard([daily], "memory:")}
        case "a store that is an object":
            return {"budgets": [daily], "budget_store": open_store(folder / "own.db")}
        case _:
            return {"budgets": (daily,), "budget_store": f"sqlite:///{folder / 'budgets.db'}"}


FORMS = ["a list of rules", "a rule book", "a guard", "a store that is an object", "a tuple, kept in a file"]


@pytest.mark.parametrize("form", FORMS)
async def test_rules_in_code_hold_for_recorded_calls(form: str, provider: Provider, tmp_path: Path) -> None:
    reply, make = CALLS["chat"]
    with instrumented(**in_code(form, tmp_path)) as telemetry, genledger.attribution(tenant="acme"):
        provider.will(reply)
        await now(make(provider))
        with pytest.raises(genledger.BudgetExceeded) as refused:
            await now(make(provider))
        assert (refused.value.rule, refused.value.scope) == ("daily", "tenant=acme")
        assert len(provider.requests) == 1
        assert outcomes(telemetry) == ["success", "blocked"]
        assert not telemetry.complaints.texts


@pytest.fixture
def make_server(tmp_path: Path) -> Iterator[Callable[[], RedisServer]]:
    """Makes Redis servers that end with the test."""
    made: list[RedisServer] = []

    def make() -> RedisServer:
        directory = tmp_path / f"redis-{len(made)}"
        directory.mkdir()
        made.append(RedisServer(directory))
        return made[-1]

    yield make
    for server in made:
        server.kill()


def clients(kind: str, make_server: Callable[[], RedisServer]) -> Callable[[], Any]:
    """Start what the documentation names; return what makes a client of it."""
    server = make_server()
    match kind:
        case "sentinel":
            sentinel = make_server()
            sentinel.kill()
            sentinel.start_sentinel("budgets", server)
            return lambda: Sentinel([("127.0.0.1", sentinel.port)]).master_for("budgets")
        case "cluster":
            server.kill()
            server.start_cluster()
            return lambda: redis.RedisCluster("127.0.0.1", server.port)
        case _:
            return lambda: server.client


@pytest.mark.parametrize("kind", ["server", "sentinel", "cluster"])
async def test_processes_that_share_a_redis_by_clients_of_their_own_share_the_rules_in_code(
    kind: str, provider: Provider, make_server: Callable[[], RedisServer]
) -> None:
    connect = clients(kind, make_server)
    reply, make = CALLS["chat"]
    rule = budget(name="daily", requests=1, per="day")
    with closing(connect()) as one, instrumented(budgets=[rule], budget_store=RedisStore(one)) as telemetry:
        provider.will(reply)
        await now(make(provider))
        assert not telemetry.complaints.texts
    with closing(connect()) as another, instrumented(budgets=[rule], budget_store=RedisStore(another)):
        with pytest.raises(genledger.BudgetExceeded) as refused:
            await now(make(provider))
        assert refused.value.spent == 1
        assert len(provider.requests) == 1


async def test_a_guard_goes_on_holding_when_the_options_are_replaced(provider: Provider) -> None:
    reply, make = CALLS["chat"]
    guard = Guard([budget(requests=1, per="day")], "memory:")
    with instrumented(budgets=guard):
        provider.will(reply)
        await now(make(provider))
    with instrumented(budgets=guard), pytest.raises(genledger.BudgetExceeded):
        await now(make(provider))


async def test_a_tier_function_decides_which_limit_a_tenant_has(provider: Provider) -> None:
    reply, make = CALLS["chat"]
    rule = budget(tenant="each", requests={"starter": 1, "pro": 2}, per="day")
    with instrumented(budgets=[rule], budget_store="memory:", tier_of={"acme": "pro"}.get):
        for tenant, allowed in (("acme", 2), ("zeta", 1)):
            with genledger.attribution(tenant=tenant):
                for _ in range(allowed):
                    provider.will(reply)
                    await now(make(provider))
                with pytest.raises(genledger.BudgetExceeded):
                    await now(make(provider))
        assert len(provider.requests) == 3


def test_routes_in_code_choose_the_model() -> None:
    book = Rulebook(routes=(route(feature="summaries", model="gpt-4.1-nano"),))
    with instrumented(budgets=book, budget_store="memory:"):
        assert genledger.select_model("gpt-4.1", feature="summaries") == "gpt-4.1-nano"
        assert genledger.select_model("gpt-4.1", feature="chat") == "gpt-4.1"


@pytest.mark.parametrize(
    ("budgets", "complaint"),
    [
        pytest.param([5], "the path of a rule file, a list of `budget(...)`, or a Guard", id="no rules"),
        pytest.param(5, "the path of a rule file", id="no list"),
        pytest.param(
            [budget(requests=1, per="day")] * 2, "another budget is also named 'organization requests/day'", id="twice"
        ),
    ],
)
async def test_rules_in_code_that_make_no_sense_are_reported_once_and_calls_go_on(
    budgets: Any, complaint: str, provider: Provider
) -> None:
    reply, make = CALLS["chat"]
    with instrumented(budgets=budgets, budget_store="memory:") as telemetry:
        provider.will(reply)
        await now(make(provider))
        assert [complaint in text for text in telemetry.complaints.texts] == [True]


BROKEN = '[[budget]]\nname = "daily"\nrequests = "lots"\nper = "dya"\n'


async def test_a_broken_rule_file_is_reported_once_at_start_and_stops_no_kill_switch(
    provider: Provider, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    file, address = tmp_path / "budgets.toml", f"sqlite:///{tmp_path / 'budgets.db'}"
    file.write_text(f'store = "{address}"\n{BROKEN}')
    reply, make = CALLS["chat"]
    store = open_store(address)
    with instrumented(budgets=str(file)):
        for _ in range(2):
            provider.will(reply)
            await now(make(provider))
        assert [
            f"{file}:4: requests: expected" in message and f"{file}:5: per: 'dya'" in message
            for message in caplog.messages
            if "budgets" in message
        ] == [True]
    kill(store, {}, for_=None, why="a loop")
    with instrumented(budgets=str(file)), pytest.raises(genledger.BudgetExceeded, match="a loop"):
        await now(make(provider))
    store.close()


async def test_a_rule_file_that_changes_before_the_first_call_holds_for_it(provider: Provider, tmp_path: Path) -> None:
    options = rules(tmp_path, '[[budget]]\nrequests = 1\nper = "day"\n')
    _, make = CALLS["chat"]
    with instrumented(**options):
        rules(tmp_path, '[[budget]]\nname = "none"\nrequests = 0\nper = "day"\n')
        with pytest.raises(genledger.BudgetExceeded, match="none"):
            await now(make(provider))


async def test_a_rule_file_that_is_corrected_holds_without_a_restart(provider: Provider, tmp_path: Path) -> None:
    file = tmp_path / "budgets.toml"
    file.write_text(BROKEN)
    reply, make = CALLS["chat"]
    with instrumented(budgets=str(file), budget_store="memory:"):
        provider.will(reply)
        await now(make(provider))
        file.write_text('[[budget]]\nname = "daily"\nrequests = 0\nper = "day"\n')
        deadline = time.monotonic() + 60
        while True:
            provider.will(reply)
            try:
                await now(make(provider))
            except genledger.BudgetExceeded:
                break
            assert time.monotonic() < deadline
            await asyncio.sleep(0.05)


async def test_rules_that_were_in_force_stay_for_a_process_that_starts_with_a_broken_file(
    provider: Provider, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    options = rules(tmp_path, '[[budget]]\nname = "none"\nrequests = 0\nper = "day"\n')
    _, make = CALLS["chat"]
    for text in (None, BROKEN, "[[budget"):
        if text is not None:
            rules(tmp_path, text)
        with instrumented(**options), pytest.raises(genledger.BudgetExceeded, match="none"):
            await now(make(provider))
    said = [message for message in caplog.messages if message.startswith("genledger: budgets: ")]
    assert len(said) == 2
    assert all(message.endswith("; the previous rules stay in force until you correct the file") for message in said)


async def test_a_first_start_with_a_broken_file_lets_no_call_through_if_it_is_told_so(
    provider: Provider, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    options = rules(tmp_path, BROKEN)
    reply, make = CALLS["chat"]
    with instrumented(**options, on_invalid_rules="closed"):
        with pytest.raises(genledger.BudgetExceeded, match=r"until the file is corrected: .*budgets\.toml:3: requests"):
            await now(make(provider))
        (said,) = (message for message in caplog.messages if message.startswith("genledger: budgets: "))
        assert said.endswith("; every call is refused until you correct the file (on_invalid_rules=closed)")
        rules(tmp_path, '[[budget]]\nrequests = 9\nper = "day"\n')
        deadline = time.monotonic() + 60
        while True:
            provider.will(reply)
            try:
                await now(make(provider))
                break
            except genledger.BudgetExceeded:
                assert time.monotonic() < deadline
                await asyncio.sleep(0.05)


async def test_without_the_redis_client_one_line_says_that_no_budget_holds(
    provider: Provider, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setitem(sys.modules, "redis", None)
    file = tmp_path / "budgets.toml"
    file.write_text('store = "redis://127.0.0.1:1/0"\n[[budget]]\nrequests = 0\nper = "day"\n')
    reply, make = CALLS["chat"]
    for options in ({"budgets": str(file)}, {"budget_store": "redis://127.0.0.1:1/0"}):
        caplog.clear()
        with instrumented(**options):
            provider.will(reply)
            await now(make(provider))
        (said,) = (message for message in caplog.messages if "redis" in message)
        assert "pip install 'genledger[redis]'; no budget and no kill switch holds in this process" in said


async def test_of_several_rules_the_one_without_room_is_named(provider: Provider, tmp_path: Path) -> None:
    both = (
        '[[budget]]\nname = "wide"\nrequests = 100\nper = "day"\n'
        '[[budget]]\nname = "narrow"\ntenant = "acme"\nrequests = 1\nper = "hour"\n'
    )
    reply, make = CALLS["chat"]
    with instrumented(**rules(tmp_path, both)), genledger.attribution(tenant="acme"):
        provider.will(reply)
        await now(make(provider))
        with pytest.raises(genledger.BudgetExceeded) as refused:
            await now(make(provider))
        assert refused.value.rule == "narrow"


async def test_a_killed_feature_is_refused_until_it_is_revived(provider: Provider, tmp_path: Path) -> None:
    address = f"sqlite:///{tmp_path / 'budgets.db'}"
    store = open_store(address)
    reply, make = CALLS["chat"]
    kill(store, {"feature": "copilot"}, for_=None, why="a loop", who="on call")
    with instrumented(budget_store=address) as telemetry, genledger.attribution(feature="copilot"):
        with pytest.raises(genledger.BudgetExceeded, match="a loop"):
            await now(make(provider))
        assert not provider.requests
        assert outcomes(telemetry) == ["blocked"]
    revive(store, {"feature": "copilot"}, who="on call")
    with instrumented(budget_store=address) as telemetry, genledger.attribution(feature="copilot"):
        provider.will(reply)
        await now(make(provider))
        assert outcomes(telemetry) == ["success"]
    store.close()


async def test_an_image_is_refused_when_the_dearest_one_would_not_fit(provider: Provider, tmp_path: Path) -> None:
    # OpenAI's price list: gpt-image-1 is 40 USD per million tokens out, of which the dearest picture has 6,240.
    with instrumented(**rules(tmp_path, '[[budget]]\nusd = 0.40\nper = "day"\n')):
        images = provider.client("openai").images
        provider.will(answer(openai_format.images()))
        await now(images.generate(model="gpt-image-1", prompt="A cat"))
        with pytest.raises(genledger.BudgetExceeded):
            await now(images.generate(model="gpt-image-1", prompt="A cat", n=2))
        assert len(provider.requests) == 1


WAV = b"RIFF\0\0\0\0WAVEfmt \x10\0\0\0\1\0\1\0" + (16_000).to_bytes(4, "little") + (32_000).to_bytes(4, "little")
"""The head of a recording with 32,000 bytes a second."""

SEARCH = {"type": "web_search_20250305", "name": "web_search", "max_uses": 5}
DEAR: dict[str, tuple[str, str, Callable[[Any], Any]]] = {
    # OpenAI's and Anthropic's price lists: Whisper 0.006 USD a minute, searches 0.01 USD, gpt-3.5-turbo-instruct 2 USD
    # per million tokens out.
    "a recording": (
        "0.055",
        "openai",
        lambda client: client.audio.transcriptions.create(model="whisper-1", file=("a.wav", WAV + bytes(19_200_000))),
    ),
    "a recording in an open file": (
        "0.055",
        "openai",
        lambda client: client.audio.transcriptions.create(model="whisper-1", file=io.BytesIO(WAV + bytes(19_200_000))),
    ),
    "several prompts": (
        "0.035",
        "openai",
        lambda client: client.completions.create(
            model="gpt-3.5-turbo-instruct", prompt=["Hello"] * 20, max_tokens=1000
        ),
    ),
    "hosted searches": (
        "0.025",
        "openai",
        lambda client: client.responses.create(**RESPONSE, tools=[{"type": "web_search"}], max_tool_calls=3),
    ),
    "server searches": (
        "0.045",
        "anthropic",
        lambda client: client.messages.create(**anthropic_format.ASK, tools=[SEARCH]),
    ),
}


@pytest.mark.parametrize("dear", DEAR)
async def test_whatever_a_call_is_billed_by_is_set_aside(dear: str, provider: Provider, tmp_path: Path) -> None:
    limit, sdk, ask = DEAR[dear]
    with instrumented(**rules(tmp_path, f'[[budget]]\nusd = {limit}\nper = "day"\n')):
        with pytest.raises(genledger.BudgetExceeded):
            await now(ask(provider.client(sdk)))
        assert not provider.requests


async def test_a_batch_is_counted_with_the_most_that_its_requests_can_cost(provider: Provider, tmp_path: Path) -> None:
    # Anthropic's price list: claude-sonnet-4-5 is 15 USD per million tokens out, half of it in a batch.
    requests = [
        {"custom_id": str(number), "params": anthropic_format.ASK | {"max_tokens": 10_000}} for number in range(10)
    ]
    with instrumented(**rules(tmp_path, '[[budget]]\nusd = 1.20\nper = "day"\n')):
        batches = provider.client("anthropic").messages.batches
        provider.will(answer(anthropic_format.batch("in_progress", processing=10)))
        await now(batches.create(requests=requests))
        with pytest.raises(genledger.BudgetExceeded) as refused:
            await now(batches.create(requests=requests))
        assert len(provider.requests) == 1
        assert refused.value.spent == pytest.approx(0.75, abs=0.001)


async def test_a_degrading_rule_sends_the_cheaper_model_and_says_so(provider: Provider, tmp_path: Path) -> None:
    rule = (
        '[[budget]]\nname = "soft"\nrequests = 1\nper = "day"\nat_limit = "degrade"\n'
        'degrade = { model = "gpt-4.1-nano" }\n'
    )
    reply, make = CALLS["chat"]
    with instrumented(**rules(tmp_path, rule)) as telemetry:
        for _ in range(2):
            provider.will(reply)
            await now(make(provider))
        assert [body["model"] for body in provider.bodies] == ["gpt-4.1-mini", "gpt-4.1-nano"]
        attributes = telemetry.spans[1].attributes or {}
        assert attributes["genledger.model.requested"] == "gpt-4.1-mini"
        assert "soft" in str(attributes["genledger.model.reason"])
        assert attributes["genledger.budget.action"] == "degrade"


GATEWAYS = {
    "OpenRouter": ("https://openrouter.ai/api/v1", {"cost": 1e6}, {}),
    "a LiteLLM proxy": ("http://litellm.internal:4000", {}, {"x-litellm-response-cost": "1000000"}),
    "OpenAI": ("https://api.openai.com/v1", {"cost": 1e6}, {}),
    "xAI": ("https://api.x.ai/v1", {"cost_in_usd_ticks": 10**16}, {}),
    "a proxy that says infinity": ("http://proxy.internal/v1", {"cost": float("inf")}, {}),
    "OpenAI, with infinitely many tokens": (
        "https://api.openai.com/v1",
        {"prompt_tokens": float("inf"), "total_tokens": float("inf")},
        {},
    ),
}


@pytest.mark.parametrize("model", ["gpt-4.1-mini", "a-model-without-a-price"])
@pytest.mark.parametrize("gateway", GATEWAYS)
async def test_an_answer_that_claims_a_million_does_not_block_the_next_call(
    gateway: str, model: str, provider: Provider, tmp_path: Path
) -> None:
    base_url, claimed, headers = GATEWAYS[gateway]
    usage = openai_format.CHAT_USAGE | claimed
    with instrumented(**rules(tmp_path, '[[budget]]\nusd = 100\nper = "month"\n')) as telemetry:
        provider.will(answer(openai_format.chat(model=model, usage=usage), headers=headers))
        client = provider.openai(base_url=base_url)
        for _ in range(2):
            await now(client.chat.completions.create(**CHAT | {"model": model}))
        assert outcomes(telemetry) == ["success", "success"]
        for span in telemetry.spans:
            attributes = span.attributes or {}
            assert "genledger.cost.unpriced" in attributes or 0 < attributes["genledger.cost.amount"] < 0.01
        assert_clean(telemetry.spans, telemetry.metrics, telemetry.logs)
