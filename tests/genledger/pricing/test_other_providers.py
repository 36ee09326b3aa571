"""Providers that count or charge in ways of their own; each test names the page of its rule."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from genledger.pricing import Cost, read_usage
from genledger.pricing.price_rule import PriceRule
from genledger.pricing.providers import providers

CostOf = Callable[..., Cost | None]


def chat(model: str, prompt: int, completion: int, **usage: Any) -> dict[str, Any]:
    return {
        "model": model,
        "choices": [],
        "usage": {
            "prompt_tokens": prompt,
            "completion_tokens": completion,
            "total_tokens": prompt + completion,
            **usage,
        },
    }


def usd(cost: Cost | None) -> float:
    assert cost is not None
    return cost.amount


# xAI: https://docs.x.ai/developers/pricing


def test_xai_counts_reasoning_beside_the_completion(cost: CostOf) -> None:
    payload = chat("grok-4.7", 100, 50, total_tokens=1_150, completion_tokens_details={"reasoning_tokens": 1_000})
    assert usd(cost("x_ai", "chat", payload)) == pytest.approx((100 * 2 + 1_050 * 6) / 1e6)


def test_xai_reasoning_is_not_counted_twice_where_the_total_says_it_is_inside(cost: CostOf) -> None:
    payload = chat("grok-4.7", 100, 1_050, completion_tokens_details={"reasoning_tokens": 1_000})
    assert usd(cost("x_ai", "chat", payload)) == pytest.approx((100 * 2 + 1_050 * 6) / 1e6)


def test_xai_responses_count_reasoning_inside(cost: CostOf) -> None:
    payload = {
        "model": "grok-4.7",
        "usage": {"input_tokens": 100, "output_tokens": 1_050, "output_tokens_details": {"reasoning_tokens": 1_000}},
    }
    assert usd(cost("xai", "responses", payload)) == pytest.approx((100 * 2 + 1_050 * 6) / 1e6)


@pytest.mark.parametrize(("prompt", "rate"), [(199_999, 2), (200_000, 4)])
def test_xai_long_context_begins_at_200k(cost: CostOf, prompt: int, rate: float) -> None:
    assert usd(cost("x_ai", "chat", chat("grok-4.7", prompt, 0))) == pytest.approx(prompt * rate / 1e6)


def test_xai_long_context_looks_at_the_context_of_a_call_with_server_side_tools(cost: CostOf) -> None:
    payload = {
        "model": "grok-4.7",
        "usage": {"input_tokens": 300_000, "output_tokens": 0, "context_details": {"input_tokens": 120_000}},
    }
    assert usd(cost("x_ai", "responses", payload)) == pytest.approx(300_000 * 2e-6)


def test_xai_reports_its_bill_in_ticks(cost: CostOf) -> None:
    found = cost("x_ai", "chat", chat("grok-4.7", 100, 50, cost_in_usd_ticks=12_406_000))
    assert usd(found) == pytest.approx(0.0012406)
    assert found is not None
    assert (found.source, found.parts, found.table_date) == ("provider", (), None)


def test_xai_batch_is_a_fifth_off(cost: CostOf) -> None:
    """https://docs.x.ai/developers/pricing#batch-api-pricing"""
    assert usd(cost("x_ai", "batch", chat("grok-4.3", 1_000_000, 0, total_tokens=None))) == pytest.approx(2.0)
    assert usd(cost("x_ai", "batch", chat("grok-4.3", 100_000, 0))) == pytest.approx(0.1)


def test_xai_us_endpoint_costs_a_tenth_more(cost: CostOf) -> None:
    """https://docs.x.ai/developers/advanced-api-usage/regions"""
    payload = chat("grok-4.6", 100_000, 0)
    assert usd(cost("x_ai", "chat", payload, base_url="https://us.api.x.ai/v1")) == pytest.approx(0.22)
    assert usd(cost("x_ai", "chat", payload, base_url="https://api.x.ai/v1")) == pytest.approx(0.2)


def test_xai_tools_of_the_server(cost: CostOf) -> None:
    payload = chat("grok-4.7", 0, 100, server_side_tool_usage_details={"web_search_calls": 2, "x_search_calls": 1})
    assert usd(cost("x_ai", "chat", payload)) == pytest.approx(100 * 6e-6 + 3 * 0.005)


# DeepSeek: https://api-docs.deepseek.com/quick_start/pricing


@pytest.mark.parametrize(
    ("at", "rate"),
    [
        ("2026-11-20T02:30:00+00:00", 0.3),
        ("2026-11-20T00:59:59+00:00", 0.15),
        ("2026-11-20T01:00:00+00:00", 0.3),
        ("2026-11-20T04:00:00+00:00", 0.15),
        ("2026-11-20T09:59:59+00:00", 0.3),
        ("2026-11-20T17:30:00+08:00", 0.3),
        ("2026-11-21T02:30:00+00:00", 0.15),
        ("2026-11-22T07:00:00+00:00", 0.15),
        ("2026-10-01T02:30:00+00:00", 0.15),
        ("2026-09-25T02:30:00+00:00", 0.15),
        ("2026-09-24T02:30:00+00:00", 0.3),
    ],
    ids=lambda value: str(value),
)
def test_deepseek_peaks_on_working_days_in_china_only(cost: CostOf, at: str, rate: float) -> None:
    found = cost("deepseek", "chat", chat("deepseek-flash", 1_000_000, 0), at=at)
    assert usd(found) == pytest.approx(rate)


def test_deepseek_had_no_peak_before_august_2026(cost: CostOf) -> None:
    found = cost("deepseek", "chat", chat("deepseek-v4-pro", 1_000_000, 0), at="2026-07-01T02:30:00+00:00")
    assert usd(found) == pytest.approx(0.435)


def test_deepseek_names_cached_tokens_in_its_own_way(cost: CostOf) -> None:
    payload = chat("deepseek-flash", 10_000, 0, prompt_cache_hit_tokens=8_000, prompt_cache_miss_tokens=2_000)
    assert usd(cost("deepseek", "chat", payload)) == pytest.approx((2_000 * 0.15 + 8_000 * 0.003) / 1e6)


def test_a_retired_alias_is_priced_as_the_table_has_it_and_said_so(cost: CostOf) -> None:
    found = cost("deepseek", "chat", chat("deepseek-chat", 1_000, 0))
    assert found is not None
    assert any(note.startswith("name_ambiguous") for note in found.notes)


# Groq, Mistral, Cohere, Voyage


def test_groq_halves_cached_tokens(cost: CostOf) -> None:
    """https://console.groq.com/docs/prompt-caching"""
    payload = chat("openai/gpt-oss-120b", 10_000, 0, prompt_tokens_details={"cached_tokens": 4_000})
    payload["service_tier"] = "on_demand"
    assert usd(cost("groq", "chat", payload)) == pytest.approx((6_000 * 0.15 + 4_000 * 0.075) / 1e6)


def test_groq_bills_ten_seconds_at_least(cost: CostOf) -> None:
    """https://console.groq.com/docs/speech-to-text"""
    asked = {"model": "whisper-large-v3"}
    assert usd(cost("groq", "transcriptions", {"duration": 2.0, "text": "a"}, asked)) == pytest.approx(
        10 * 0.111 / 3600
    )
    assert usd(cost("groq", "transcriptions", {"duration": 60, "text": "a"}, asked)) == pytest.approx(60 * 0.111 / 3600)


def test_mistral_bills_cached_tokens_a_tenth_and_batches_a_half(cost: CostOf) -> None:
    """https://docs.mistral.ai/inference/conversations/advanced/prompt-caching"""
    payload = chat("mistral-large-2512", 10_000, 1_000, prompt_tokens_details={"cached_tokens": 4_000})
    whole = (6_000 * 0.5 + 4_000 * 0.05 + 1_000 * 1.5) / 1e6
    assert usd(cost("mistral_ai", "chat", payload)) == pytest.approx(whole)
    assert usd(cost("mistral", "batch", payload)) == pytest.approx(whole / 2)


def test_mistral_bills_audio_by_the_second_and_counts_its_tokens_beside_the_prompt(cost: CostOf) -> None:
    """https://docs.mistral.ai/inference/pricing"""
    payload = chat(
        "voxtral-small-latest",
        11,
        15,
        prompt_audio_seconds=5,
        total_tokens=401,
        prompt_tokens_details={"audio_tokens": 375},
    )
    found = cost("mistral", "chat", payload)
    assert usd(found) == pytest.approx(11 * 0.1e-6 + 15 * 0.4e-6 + 5 * 0.24 / 3600)
    assert found is not None
    assert sum(part.count for part in found.parts if part.bucket != "second") == 401


def test_mistral_ocr_bills_pages(cost: CostOf) -> None:
    """https://docs.mistral.ai/inference/pricing"""
    payload = {"model": "mistral-ocr-2512", "pages": [], "usage_info": {"pages_processed": 10, "doc_size_bytes": 9}}
    plain = usd(cost("mistral", "ocr", payload))
    annotated = usd(cost("mistral", "ocr", payload, {"document_annotation_format": {"type": "json_schema"}}))
    assert (plain, annotated) == (pytest.approx(0.02), pytest.approx(0.03))


def test_cohere_bills_its_billed_units(cost: CostOf) -> None:
    """https://docs.cohere.com/docs/how-does-cohere-pricing-work"""
    payload = {
        "usage": {"billed_units": {"input_tokens": 25.0, "output_tokens": 180.0}, "tokens": {"input_tokens": 560}}
    }
    found = cost("cohere", "chat", payload, {"model": "command-a-03-2025"})
    assert usd(found) == pytest.approx((25 * 2.5 + 180 * 10) / 1e6)


@pytest.mark.parametrize(
    ("model", "billed", "expected"),
    [
        ("embed-v4.0", {"input_tokens": 1_000, "image_tokens": 1_000}, (0.12 + 0.47) / 1e3),
        ("embed-english-v3.0", {"input_tokens": 1_000}, 0.1 / 1e3),
        ("embed-english-v3.0", {"images": 2}, 0.0002),
    ],
)
def test_cohere_embeddings(cost: CostOf, model: str, billed: dict[str, int], expected: float) -> None:
    payload = {"embeddings": [], "meta": {"billed_units": billed}}
    assert usd(cost("cohere", "embed", payload, {"model": model})) == pytest.approx(expected)


@pytest.mark.parametrize(("model", "fee"), [("rerank-v3.5", 0.002), ("rerank-v4.0-pro", 0.0025)])
def test_cohere_rerank_bills_searches(cost: CostOf, model: str, fee: float) -> None:
    payload = {"results": [], "meta": {"billed_units": {"search_units": 3}}}
    assert usd(cost("cohere", "rerank", payload, {"model": model})) == pytest.approx(3 * fee)


@pytest.mark.parametrize(
    ("api", "model", "rate"),
    [("embeddings", "voyage-3.5", 0.06), ("embed", "voyage-code-3", 0.18), ("rerank", "rerank-2.5", 0.05)],
)
@pytest.mark.parametrize("provider", ["voyageai", "voyage"])
def test_voyage_reports_a_total_only(cost: CostOf, provider: str, api: str, model: str, rate: float) -> None:
    """https://docs.voyageai.com/docs/pricing"""
    payload = {"object": "list", "data": [], "model": model, "usage": {"total_tokens": 1_000_000}}
    assert usd(cost(provider, api, payload)) == pytest.approx(rate)


# Reported costs


@pytest.mark.parametrize(
    ("model", "mode", "units"),
    [
        ("cohere.command-a-03-2025", "ON_DEMAND", {"character": 36.0}),
        ("meta.llama-3.3-70b-instruct", "ON_DEMAND", {"character": 36.0}),
        ("meta.llama-3.3-70b-instruct", "DEDICATED", {}),
        ("xai.grok-4", "ON_DEMAND", {}),
        ("xai.grok-4", None, {}),
    ],
)
def test_oracle_bills_characters_of_some_models(model: str, mode: str | None, units: dict[str, float]) -> None:
    """https://docs.oracle.com/en-us/iaas/Content/generative-ai/pay-on-demand.htm"""
    parts = [{"type": "text", "text": "four"}, {"type": "image_url", "image_url": {"url": "https://a.test/b.png"}}]
    said = [{"role": "system", "content": "Be brief."}, {"role": "user", "content": parts}]
    reading = read_usage(
        "oci", "chat", {**chat(model, 7, 5), "characters": 23}, {"messages": said, "serving_type": mode}
    )
    assert reading is not None
    assert (reading.usage.input, reading.usage.output, reading.usage.units) == (7, 5, units)


def test_oracle_counts_no_characters_of_an_answer_that_never_came() -> None:
    assert read_usage("oci", "chat", {}, {"prompt": "four", "serving_type": "ON_DEMAND"}) is None


def test_openrouter_says_what_it_charges(cost: CostOf) -> None:
    """https://openrouter.ai/docs/use-cases/usage-accounting"""
    payload = chat("anthropic/claude-sonnet-4.5", 194, 2, cost=0.0123, is_byok=False)
    payload["usage"]["cost_details"] = {"upstream_inference_cost": 0.0123}
    assert usd(cost("openrouter", "chat", payload)) == pytest.approx(0.0123)


def test_openrouter_with_the_customers_own_key_adds_what_the_upstream_charges(cost: CostOf) -> None:
    payload = chat("openai/gpt-5", 20, 1, cost=0.0001, is_byok=True)
    payload["usage"]["cost_details"] = {"upstream_inference_cost": 0.002}
    found = cost("openrouter", "chat", payload)
    assert usd(found) == pytest.approx(0.0021)
    assert found is not None
    assert found.notes == ("byok",)


def test_openrouter_free_models_cost_nothing_because_openrouter_says_so(cost: CostOf) -> None:
    found = cost("openrouter", "chat", chat("x/y:free", 20, 1, cost=0))
    assert found is not None
    assert (found.amount, found.source) == (0, "provider")


def test_openrouter_without_a_reported_cost_uses_the_table(cost: CostOf) -> None:
    found = cost("openrouter", "chat", chat("anthropic/claude-sonnet-4.5", 1_000_000, 0))
    assert found is not None
    assert found.source == "table"


@pytest.mark.parametrize("reported", [-1, "0.5", float("nan"), float("inf"), True, [1]])
def test_a_reported_cost_that_is_no_amount_is_not_believed(cost: CostOf, reported: Any) -> None:
    found = cost("x_ai", "chat", chat("grok-4.7", 1_000_000, 0, cost=reported, total_tokens=None))
    assert found is not None
    assert found.source == "table"


def test_perplexity_reports_its_total(cost: CostOf) -> None:
    """https://docs.perplexity.ai/api-reference/chat-completions-post"""
    payload = chat("sonar", 24, 16, cost={"input_tokens_cost": 2e-05, "request_cost": 0.005, "total_cost": 0.00504})
    assert usd(cost("perplexity", "chat", payload)) == pytest.approx(0.00504)


def test_dashscopes_input_has_its_cached_tokens_under_the_older_name() -> None:
    """https://www.alibabacloud.com/help/en/model-studio/context-cache"""
    details = {"prompt_tokens_details": {"cached_tokens": 300}, "output_tokens_details": {"reasoning_tokens": 20}}
    usage = {"input_tokens": 1_000, "output_tokens": 50, "total_tokens": 1_050, **details}
    reading = read_usage("alibaba", "chat", {"choices": [], "usage": usage}, {"model": "qwen-plus"})
    assert reading is not None
    found = reading.usage
    assert (found.input, found.cache_read, found.output, found.reasoning) == (700, 300, 30, 20)


COMPOUND: dict[str, Any] = {
    "model": "groq/compound",
    "choices": [{"message": {"content": "Paris.", "executed_tools": [{"index": 0, "type": "search"}]}}],
    "usage": {"prompt_tokens": 3_000, "completion_tokens": 300, "total_tokens": 3_300},
    "usage_breakdown": {
        "models": [
            {"model": "llama-3.3-70b-versatile", "usage": {"prompt_tokens": 500, "completion_tokens": 50}},
            {"model": "openai/gpt-oss-120b", "usage": {"prompt_tokens": 1_500, "completion_tokens": 150}},
            {"model": "llama-3.3-70b-versatile", "usage": {"prompt_tokens": 1_000, "completion_tokens": 100}},
        ]
    },
}
"""https://console.groq.com/docs/compound"""


def test_a_compound_system_of_groq_costs_what_its_models_and_tools_do(cost: CostOf) -> None:
    found = cost("groq", "chat", COMPOUND)
    models = (1_500 * 0.59 + 150 * 0.79 + 1_500 * 0.15 + 150 * 0.6) / 1e6
    assert usd(found) == pytest.approx(models + 0.005)
    reading = read_usage("groq", "chat", COMPOUND)
    assert reading is not None
    assert (reading.usage.input_tokens, reading.usage.output_tokens) == (3_000, 300)
    assert reading.usage.units == {"web_search": 1.0}


def test_a_compound_system_of_unknown_models_has_no_cost(cost: CostOf) -> None:
    unknown = {"models": [{"model": "unheard-of", "usage": {"prompt_tokens": 3_000, "completion_tokens": 300}}]}
    assert cost("groq", "chat", {**COMPOUND, "usage_breakdown": unknown}) is None
    for odd in ({"models": 7}, {"models": [7]}, [], "many"):
        assert cost("groq", "chat", {**COMPOUND, "usage_breakdown": odd}) is None


def test_perplexitys_zero_before_the_end_of_a_stream_is_no_report(cost: CostOf) -> None:
    """https://docs.perplexity.ai/api-reference/chat-completions-post"""
    payload = chat("sonar", 1_000, 1_000, cost={"input_tokens_cost": 0, "output_tokens_cost": 0, "total_cost": 0})
    assert usd(cost("perplexity", "chat", payload)) == pytest.approx(0.014)


def test_perplexitys_responses_have_cached_tokens_within_the_input_and_count_searches(cost: CostOf) -> None:
    """https://docs.perplexity.ai/api-reference/responses-post"""
    usage = {
        "input_tokens": 1_000,
        "output_tokens": 10,
        "total_tokens": 1_010,
        "input_tokens_details": {"cache_read_input_tokens": 300, "cache_creation_input_tokens": 200},
        "tool_calls_details": {"search_web": {"invocation": 2}, "fetch_url": {"invocation": 1}},
    }
    reading = read_usage("perplexity", "responses", {"model": "openai/gpt-5.2", "usage": usage})
    assert reading is not None
    found = reading.usage
    assert (found.input, found.cache_read, found.cache_write, found.output) == (500, 300, 200, 10)
    assert found.units == {"web_search": 2.0}


def test_perplexity_without_a_report_charges_per_request_too(cost: CostOf) -> None:
    found = cost("perplexity", "chat", chat("sonar", 1_000, 1_000))
    assert usd(found) == pytest.approx(0.002 + 0.012)
    assert found is not None
    assert ("request", 1) in {(part.bucket, part.count) for part in found.parts}


def test_litellm_proxy_reports_in_a_header(cost: CostOf) -> None:
    """https://docs.litellm.ai/docs/proxy/response_headers"""
    headers = {"x-litellm-response-cost": "7.1e-05"}
    found = cost("openai", "chat", chat("team-alias", 10, 10), headers=headers)
    assert usd(found) == pytest.approx(7.1e-05)
    assert found is not None
    assert (found.source, found.notes) == ("provider", ("gateway_estimate",))


@pytest.mark.parametrize("zero", ["0", "0.0", "None", ""])
def test_a_gateway_that_says_zero_is_not_believed(cost: CostOf, zero: str) -> None:
    payload = chat("gpt-4o-mini-2024-07-18", 1_000_000, 0)
    found = cost("openai", "chat", payload, headers={"X-LiteLLM-Response-Cost": zero})
    assert found is not None
    assert (found.amount, found.source) == (pytest.approx(0.15), "table")


def test_a_model_behind_litellm_is_priced_at_the_provider_its_name_says(cost: CostOf) -> None:
    assert usd(cost("litellm", "chat", chat("openai/gpt-4o-mini", 1_000_000, 0))) == pytest.approx(0.15)


def test_the_host_decides_who_sends_the_bill(cost: CostOf) -> None:
    payload = chat("openai/gpt-oss-120b", 1_000_000, 0)
    found = cost("openai", "chat", payload, base_url="https://api.groq.com/openai/v1")
    assert usd(found) == pytest.approx(0.15)


@pytest.mark.parametrize(
    ("model", "url", "notes"),
    [
        ("gpt-4o-mini", "https://api.openai.com/v1", ()),
        ("baidu/cobuddy", "https://api.novita.ai/v3/openai", ()),
        ("gpt-4o-mini", "http://localhost:8000/v1", ("unknown_host:localhost",)),
        ("gpt-4o-mini", None, ()),
    ],
)
def test_the_list_price_at_an_unknown_address_is_said_to_be_that(
    cost: CostOf, model: str, url: str | None, notes: tuple[str, ...]
) -> None:
    found = cost("openai", "chat", chat(model, 10, 10), base_url=url)
    assert found is not None
    assert found.notes == notes


@pytest.mark.parametrize("host", ["cn-hongkong.dashscope.aliyuncs.com", "ws1.ap-southeast-1.maas.aliyuncs.com"])
def test_a_gateway_of_a_region_or_a_workspace_is_alibabas(host: str) -> None:
    """https://www.alibabacloud.com/help/en/model-studio/regions"""
    seller = providers().at(host)
    assert seller is not None
    assert seller.name == "alibaba"


@pytest.mark.parametrize("provider", ["", "my-openai-proxy", "ollama", "unheard.of"])
def test_a_provider_that_only_resembles_a_known_one_has_no_prices(cost: CostOf, provider: str) -> None:
    assert cost(provider, "chat", chat("gpt-4o-mini", 10, 10)) is None


@pytest.mark.parametrize(
    ("provider", "model"),
    [
        ("together", "meta-llama/Llama-3.3-70B-Instruct-Turbo"),
        ("fireworks", "accounts/fireworks/models/gpt-oss-120b"),
        ("moonshot_ai", "kimi-k2.6"),
        ("cerebras", "gpt-oss-120b"),
        ("github_copilot", "gpt-5.4"),
    ],
)
def test_everyday_names_of_providers(cost: CostOf, provider: str, model: str) -> None:
    assert usd(cost(provider, "chat", chat(model, 1_000_000, 0))) > 0


@pytest.mark.parametrize(
    ("model", "request_", "found", "expected"),
    [
        ("nova-3", {}, {}, 60 * 0.0043 / 60),
        ("nova-3", {"language": "multi"}, {}, 60 * 0.0052 / 60),
        ("nova-2-medical", {}, {}, 60 * 0.0043 / 60),
        ("base-general", {}, {"channels": 2}, 2 * 60 * 0.0125 / 60),
        ("nova-3", {}, {"summary_info": {"input_tokens": 1000, "output_tokens": 100}}, 0.0043 + 0.0003 + 0.00006),
    ],
)
def test_deepgram_bills_each_channel_by_the_second(
    cost: CostOf, model: str, request_: dict[str, Any], found: dict[str, Any], expected: float
) -> None:
    """https://deepgram.com/pricing"""
    payload = {"metadata": {"duration": 60.0, "channels": 1, **found}}
    assert usd(cost("deepgram", "transcriptions", payload, {"model": model, **request_})) == pytest.approx(expected)


@pytest.mark.parametrize(("model", "rate"), [("aura-2-thalia-en", 30e-6), ("aura-asteria-en", 15e-6)])
def test_deepgram_bills_speech_by_the_character_that_a_header_counts(cost: CostOf, model: str, rate: float) -> None:
    """https://deepgram.com/pricing"""
    found = cost("deepgram", "speech", {}, {"model": model, "text": "Hello"}, headers={"dg-char-count": "7"})
    assert usd(found) == pytest.approx(7 * rate)


@pytest.mark.parametrize("metadata", ["many", {}, {"duration": "x", "channels": -1}, {"duration": -1.0}])
def test_a_transcript_of_unknown_shape_has_no_cost(cost: CostOf, metadata: Any) -> None:
    assert cost("deepgram", "transcriptions", {"metadata": metadata}, {"model": "nova-3"}) is None


@pytest.mark.parametrize(("model", "rate"), [("eleven_v3", 80e-6), ("eleven_flash_v2_5", 40e-6)])
def test_elevenlabs_bills_a_character_by_the_model_and_a_credit_alike(cost: CostOf, model: str, rate: float) -> None:
    """https://elevenlabs.io/pricing/api"""
    asked = {"model_id": model, "text": "Hello"}
    assert usd(cost("elevenlabs", "speech", {}, asked)) == pytest.approx(5 * rate)
    assert usd(cost("elevenlabs", "speech", {}, asked, headers={"character-cost": "3"})) == pytest.approx(3 * 80e-6)


@pytest.mark.parametrize("body", [{"audio_duration_secs": 36}, {"transcripts": [{"audio_duration_secs": 18}] * 2}])
def test_elevenlabs_bills_a_transcript_by_the_second(cost: CostOf, body: dict[str, Any]) -> None:
    """https://elevenlabs.io/pricing/api"""
    found = cost("elevenlabs", "transcriptions", body, {"model_id": "scribe_v2"})
    assert usd(found) == pytest.approx(36 * 0.22 / 3600)


@pytest.mark.parametrize(("model", "hour"), [("universal-2", 0.15), ("universal-3-pro", 0.21)])
def test_assemblyai_bills_a_transcript_by_the_second_and_counts_what_is_beside(
    cost: CostOf, model: str, hour: float
) -> None:
    """https://www.assemblyai.com/pricing"""
    found = cost("assemblyai", "transcriptions", {"duration": 36, "model": model}, {"speaker_labels": True})
    assert usd(found) == pytest.approx(36 * hour / 3600)
    assert found is not None
    assert "unpriced_unit:speaker_labels_second" in found.notes


def test_what_is_charged_for_each_second_of_a_feature_can_be_priced() -> None:
    rule = {"provider": "deepgram", "model": "nova-3", "per_unit": {"second": 0.001, "diarize_second": 0.002}}
    assert PriceRule.model_validate(rule).rates == {"second": 0.001, "diarize_second": 0.002}


def test_fal_counts_what_it_bills_and_only_the_user_has_its_prices(cost: CostOf) -> None:
    """https://docs.fal.ai: the unit is the model's own."""
    body = {"usage": {"billable_units": 2.5}}
    found = read_usage("fal", "fal", body, {"model": "fal-ai/flux/dev"})
    assert found is not None
    assert found.usage.units == {"billable_unit": 2.5}
    assert cost("fal", "fal", body, {"model": "fal-ai/flux/dev"}) is None


@pytest.mark.parametrize(
    ("provider", "model", "asked", "rate"),
    [
        ("deepgram", "nova-3", {}, 0.0077 / 60),
        ("deepgram", "nova-3", {"language": "multi"}, 0.0092 / 60),
        ("deepgram", "nova-2-meeting", {}, 0.0058 / 60),
        ("deepgram", "enhanced", {}, 0.0165 / 60),
        ("deepgram", "base-general", {}, 0.0145 / 60),
        ("deepgram", "flux-general-en", {}, 0.0077 / 60),
        ("assemblyai", "universal-streaming-english", {}, 0.15 / 3600),
        ("assemblyai", "universal-streaming-multilingual", {}, 0.15 / 3600),
    ],
)
def test_a_second_over_a_socket_has_a_price_of_its_own(
    cost: CostOf, provider: str, model: str, asked: dict[str, Any], rate: float
) -> None:
    """https://deepgram.com/pricing, https://www.assemblyai.com/pricing"""
    found = cost(provider, "live_transcriptions", {"duration": 90}, {"model": model, **asked})
    assert usd(found) == pytest.approx(90 * rate)


def test_a_model_without_a_price_for_sockets_is_unpriced_there(cost: CostOf) -> None:
    assert cost("elevenlabs", "live_transcriptions", {"duration": 90}, {"model": "scribe_v2"}) is None
    assert cost("assemblyai", "live_transcriptions", {"duration": 90}, {"model": "universal-3-5-pro"}) is None


@pytest.mark.parametrize("answer", [{}, {"duration": "long"}, {"duration": -1}, [], None])
def test_a_session_of_unknown_length_has_no_usage(answer: Any) -> None:
    assert read_usage("deepgram", "live_transcriptions", answer, {"model": "nova-3"}) is None


def test_speech_over_a_socket_is_billed_by_its_characters(cost: CostOf) -> None:
    """https://elevenlabs.io/pricing/api"""
    answer = {"usage": {"characters": 1000}}
    assert usd(cost("elevenlabs", "live_speech", answer, {"model": "eleven_flash_v2_5"})) == pytest.approx(0.04)
