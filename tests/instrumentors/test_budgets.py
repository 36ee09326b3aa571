"""Budgets in the path of the real clients: refused calls reach no provider, and money is set aside before."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import genledger
from genledger.budgets import budget, kill, open_store, revive
from genledger_semconv.checker import assert_clean

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


async def test_rules_and_a_store_made_in_code_hold_for_calls(provider: Provider) -> None:
    reply, make = CALLS["chat"]
    provider.will(reply)
    store = open_store("memory:")
    rule = budget(name="once", tenant="each", requests={"free": 1, "pro": 2}, per="day")
    plans = {"acme": "free", "globex": "pro"}
    with instrumented(budgets=[rule], budget_store=store, tier_of=plans.get):
        for tenant, admitted in (("acme", 1), ("globex", 2)):
            with genledger.attribution(tenant=tenant):
                for _ in range(admitted):
                    await now(make(provider))
                with pytest.raises(genledger.BudgetExceeded) as refused:
                    await now(make(provider))
                assert (refused.value.rule, refused.value.limit) == ("once", admitted)
        assert len(provider.requests) == 3
        genledger.flush()
        assert len(store.counters()) == 2


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
