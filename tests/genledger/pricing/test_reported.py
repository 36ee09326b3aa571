"""Whose word on a cost counts: only of those who report costs in that field."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from genledger.pricing import Cost, read_usage

CostOf = Callable[..., Cost | None]

COST = 0.0123

USAGE = {"prompt_tokens": 1_000, "completion_tokens": 100, "total_tokens": 1_100}


def answer(usage: Any = None, **body: Any) -> dict[str, Any]:
    return {"model": "some-model", "usage": USAGE | (usage or {}), **body}


FIELDS: dict[str, tuple[str, str, dict[str, Any], dict[str, str]]] = {
    # https://docs.x.ai/developers/cost-tracking
    "xai": ("x_ai", "https://api.x.ai/v1", answer({"cost_in_usd_ticks": 123_000_000}), {}),
    # https://openrouter.ai/docs/use-cases/usage-accounting
    "openrouter": ("openrouter", "https://openrouter.ai/api/v1", answer({"cost": COST}), {}),
    # https://docs.perplexity.ai/api-reference/chat-completions-post
    "perplexity": ("perplexity", "https://api.perplexity.ai", answer({"cost": {"total_cost": COST}}), {}),
    # https://docs.venice.ai/api-reference/endpoint/chat/completions
    "venice": ("venice", "https://api.venice.ai/api/v1", answer(cost={"usd": 0.0100, "diem": 0.0023}), {}),
    # Nano credits of a cent each.
    "copilot": (
        "github_copilot",
        "https://api.githubcopilot.com",
        answer(copilot_usage={"total_nano_aiu": 1_230_000_000}),
        {},
    ),
}
GATEWAYS: dict[str, tuple[dict[str, Any], dict[str, str]]] = {
    # https://docs.litellm.ai/docs/proxy/response_headers
    "litellm's header": (answer(), {"x-litellm-response-cost": str(COST)}),
    # LiteLLM's proxy in streams, with `include_cost_in_streaming_usage`
    "litellm's stream": (answer({"cost": COST}), {}),
    # https://github.com/pydantic/pydantic-ai-gateway
    "pydantic": (answer({"pydantic_ai_gateway": {"cost_estimate": COST}}), {}),
}
EVERY_FIELD = {name: (body, headers) for name, (_, _, body, headers) in FIELDS.items()} | GATEWAYS

OTHERS = [
    ("openai", "https://api.openai.com/v1"),
    ("openai", "https://eu.api.openai.com/v1"),
    ("azure", "https://resource.services.ai.azure.com/models"),
    ("anthropic", "https://api.anthropic.com"),
    ("mistral", "https://api.mistral.ai/v1"),
    ("groq", "https://api.groq.com/openai/v1"),
    ("deepseek", "https://api.deepseek.com"),
    ("google", "https://generativelanguage.googleapis.com/v1beta/openai/"),
]


def said(provider: str, base_url: str | None, body: Any, headers: Any = None) -> float | None:
    reading = read_usage(provider, "chat", body, base_url=base_url, headers=headers)
    assert reading is not None
    return reading.reported


@pytest.mark.parametrize(
    ("provider", "base_url"), [*OTHERS, ("openai", "http://litellm.internal:4000"), ("cohere", None)]
)
def test_what_litellms_library_works_out_is_about_its_call_whoever_answers(provider: str, base_url: str | None) -> None:
    """https://docs.litellm.ai/docs/completion/output"""
    assert said(provider, base_url, answer(_hidden_params={"response_cost": COST})) == pytest.approx(COST)
    assert said(provider, base_url, answer(_hidden_params={"response_cost": 0.0})) is None
    assert said(provider, base_url, answer(_hidden_params={"response_cost": None})) is None
    assert said(provider, base_url, answer(_hidden_params="nothing")) is None


@pytest.mark.parametrize("name", FIELDS)
def test_a_provider_that_defines_a_cost_field_is_believed(name: str) -> None:
    provider, base_url, body, headers = FIELDS[name]
    assert said(provider, base_url, body, headers) == pytest.approx(COST)
    assert said(provider, None, body, headers) == pytest.approx(COST)
    assert said("openai", base_url, body, headers) == pytest.approx(COST)


@pytest.mark.parametrize(("provider", "base_url"), OTHERS)
@pytest.mark.parametrize("name", EVERY_FIELD)
def test_a_provider_that_defines_none_is_not(name: str, provider: str, base_url: str) -> None:
    body, headers = EVERY_FIELD[name]
    assert said(provider, base_url, body, headers) is None


@pytest.mark.parametrize("name", FIELDS)
@pytest.mark.parametrize("whose", FIELDS)
def test_a_cost_field_of_another_provider_says_nothing(name: str, whose: str) -> None:
    provider, base_url, _, _ = FIELDS[name]
    _, _, body, headers = FIELDS[whose]
    assert (said(provider, base_url, body, headers) is not None) == (name == whose)


def test_without_an_address_a_providers_name_decides() -> None:
    assert said("openai", None, answer({"cost": COST})) is None
    assert said("litellm", None, answer({"cost": COST})) == COST


@pytest.mark.parametrize("name", EVERY_FIELD)
def test_at_an_address_that_nobody_sells_from_a_gateway_passes_on_what_it_was_told(name: str) -> None:
    body, headers = EVERY_FIELD[name]
    assert said("openai", "http://llm.internal:4000/v1", body, headers) == pytest.approx(COST)


@pytest.mark.parametrize("base_url", ["https://api.novita.ai/v3/openai", "https://api.z.ai/api/paas/v4"])
def test_a_seller_that_only_the_price_table_knows_is_no_gateway(base_url: str) -> None:
    assert said("openai", base_url, answer({"cost": COST})) is None


def test_a_field_that_bears_a_gateways_name_is_that_gateways_wherever_it_runs() -> None:
    on_modal = "https://acme--litellm.modal.run/v1"
    assert said("openai", on_modal, *GATEWAYS["litellm's header"]) == pytest.approx(COST)
    assert said("openai", on_modal, answer({"cost": COST})) is None


@pytest.mark.parametrize("base_url", [None, "https://api.portkey.ai/v1", "http://gateway.internal:8787/v1"])
def test_an_answer_from_portkeys_cache_is_free(base_url: str | None) -> None:
    """https://portkey.ai/docs/api-reference/inference-api/response-schema"""
    assert said("openai", base_url, answer(), {"x-portkey-cache-status": "SEMANTIC HIT"}) == 0
    assert said("openai", base_url, answer(), {"x-portkey-cache-status": "MISS"}) is None
    assert said("openai", "https://api.openai.com/v1", answer(), {"x-portkey-cache-status": "HIT"}) is None


NO_AMOUNTS = [-1, -1e-9, float("nan"), float("inf"), float("-inf"), 10**400, -(10**400)]


@pytest.mark.parametrize("wrong", NO_AMOUNTS, ids=range(len(NO_AMOUNTS)))
@pytest.mark.parametrize("name", ["xai", "openrouter", "perplexity", "venice", "copilot"])
def test_a_number_that_is_no_amount_is_left_out_and_said_so(name: str, wrong: Any) -> None:
    provider, base_url, _, _ = FIELDS[name]
    body = {
        "xai": answer({"cost_in_usd_ticks": wrong}),
        "openrouter": answer({"cost": wrong}),
        "perplexity": answer({"cost": {"total_cost": wrong}}),
        "venice": answer(cost={"usd": wrong, "diem": 0}),
        "copilot": answer(copilot_usage={"total_nano_aiu": wrong}),
    }[name]
    reading = read_usage(provider, "chat", body, base_url=base_url)
    assert reading is not None
    assert reading.reported is None
    assert [note.partition(":")[0] for note in reading.notes] == ["reported_rejected"]


@pytest.mark.parametrize("wrong", ["1e400", "-1", "nan", "inf"])
def test_a_header_that_is_no_amount_is_left_out_and_said_so(wrong: str) -> None:
    reading = read_usage("openai", "chat", answer(), headers={"x-litellm-response-cost": wrong})
    assert reading is not None
    assert reading.reported is None
    assert [note.partition(":")[0] for note in reading.notes] == ["reported_rejected"]


@pytest.mark.parametrize("upstream", [-0.5, float("inf"), float("nan"), 10**400])
def test_a_part_that_is_no_amount_spoils_the_sum(upstream: Any) -> None:
    body = answer({"cost": 0.001, "is_byok": True, "cost_details": {"upstream_inference_cost": upstream}})
    reading = read_usage("openrouter", "chat", body)
    assert reading is not None
    assert reading.reported is None
    assert "byok" not in reading.notes
    assert said("venice", None, answer(cost={"usd": 0.001, "diem": upstream})) is None


@pytest.mark.parametrize("nothing", ["0.5", "1e400", True, [1], {"n": 1}, None, b"1"])
def test_what_is_no_number_reports_nothing(nothing: Any) -> None:
    reading = read_usage("openrouter", "chat", answer({"cost": nothing}))
    assert reading is not None
    assert (reading.reported, reading.notes) == (None, ())


def test_an_answer_of_azure_with_the_zero_of_a_model_of_xai_is_priced_by_the_table(cost: CostOf) -> None:
    body = answer({"cost_in_usd_ticks": 0}) | {"model": "grok-4-1-fast-non-reasoning"}
    found = cost("azure", "chat", body, base_url="https://resource.services.ai.azure.com/models")
    assert found is not None
    assert found.source == "table"
    assert found.amount > 0


@pytest.mark.parametrize("zero", [0, 0.0])
def test_a_zero_is_believed_of_a_seller_and_of_no_gateway(zero: float) -> None:
    body = answer({"cost": zero})
    assert said("openrouter", "https://openrouter.ai/api/v1", body) == 0
    assert said("openrouter", None, body) == 0
    assert said("litellm", "http://litellm.internal:4000/v1", body) is None
    assert said("openai", "http://litellm.internal:4000/v1", body) is None
