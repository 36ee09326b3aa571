"""What holds for every answer and every usage, whatever they are."""

from __future__ import annotations

import math
from datetime import UTC, datetime
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from genledger.pricing import TOKEN_BUCKETS, Cost, Usage, cost_of_response, price, read_usage

AT = datetime(2026, 11, 21, 12, tzinfo=UTC)
AT_NS = int(AT.timestamp()) * 10**9

MODELS = [
    ("openai", "gpt-5.4-2026-03-05"),
    ("openai", "gpt-6.1-sol"),
    ("openai", "gpt-4o-audio-preview"),
    ("openai", "text-embedding-3-small"),
    ("anthropic", "claude-haiku-5-5"),
    ("anthropic", "claude-sonnet-4-5-20250929"),
    ("google", "gemini-2.5-pro"),
    ("google", "gemini-2.5-flash"),
    ("aws.bedrock", "us.amazon.nova-pro-v1:0"),
    ("deepseek", "deepseek-flash"),
    ("x_ai", "grok-4.7"),
    ("mistral", "mistral-large-2512"),
]
counts = st.integers(0, 10**7)
usages = st.builds(
    Usage,
    **dict.fromkeys(TOKEN_BUCKETS, counts),
    units=st.dictionaries(st.sampled_from(["web_search", "file_search"]), st.integers(0, 50).map(float)),
)
tiers = st.sampled_from([None, "batch", "flex", "priority", "fast"])

json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=8), inner, max_size=4),
    max_leaves=12,
)
# fmt: off
NAMES = [
    "usage", "usageMetadata", "model", "modelVersion", "modelId", "service_tier", "meta", "billed_units",
    "input_tokens", "output_tokens", "prompt_tokens", "completion_tokens", "total_tokens",
    "prompt_tokens_details", "cached_tokens", "audio_tokens", "completion_tokens_details",
    "reasoning_tokens", "promptTokenCount", "candidatesTokenCount", "promptTokensDetails", "modality",
    "tokenCount", "inputTokens", "outputTokens", "cacheDetails", "iterations", "cache_creation",
    "server_tool_use", "output", "type", "action", "tools", "tool_usage", "candidates", "groundingMetadata",
    "webSearchQueries", "cost", "cost_details", "cost_in_usd_ticks", "response", "body", "custom_id",
    "result", "message", "seconds", "data", "results", "search_units", "inputTextTokenCount", "embeddings",
    "statistics",
]
API_NAMES = [
    "chat", "responses", "completions", "embeddings", "embed", "images", "speech", "transcriptions",
    "moderations", "realtime", "batch", "messages", "generateContent", "embedContent", "converse",
    "invoke_model", "rerank",
]
# fmt: on
likely = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-10, 10**6)
    | st.floats()
    | st.sampled_from(["gpt-5", "search", "batch", "AUDIO"]),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(NAMES), inner, max_size=6),
    max_leaves=25,
)
providers = st.sampled_from(
    ["openai", "azure", "anthropic", "google", "gcp.vertex_ai", "aws.bedrock", "x_ai", "cohere", "mistral"]
)
apis = st.sampled_from(API_NAMES)


@given(providers | st.text(max_size=10), apis | st.text(max_size=10), likely | json_values, likely)
@settings(max_examples=400, deadline=None)
def test_no_answer_whatsoever_raises(provider: str, api: str, payload: Any, request: Any) -> None:
    reading = read_usage(provider, api, payload, request)
    if reading is not None:
        assert all(count >= 0 for _, count in reading.usage.buckets())
        assert all(getattr(reading.usage, bucket) >= 0 for bucket in TOKEN_BUCKETS)
        assert reading.reported is None or (reading.reported >= 0 and math.isfinite(reading.reported))
    cost = cost_of_response(provider=provider, api=api, payload=payload, request=request, at=AT)
    assert cost is None or (cost.amount >= 0 and math.isfinite(cost.amount))


@given(counts, counts, counts, counts, counts, counts)
@settings(deadline=None)
def test_chat_buckets_add_up_to_the_providers_totals(
    prompt: int, completion: int, cached: int, audio: int, reasoning: int, written: int
) -> None:
    usage = {
        "prompt_tokens": prompt,
        "completion_tokens": completion,
        "total_tokens": prompt + completion,
        "prompt_tokens_details": {"cached_tokens": cached, "audio_tokens": audio, "cache_write_tokens": written},
        "completion_tokens_details": {"reasoning_tokens": reasoning},
    }
    reading = read_usage("openai", "chat", {"model": "m", "usage": usage})
    assert reading is not None
    assert reading.usage.input_tokens == prompt
    assert reading.usage.output_tokens == completion
    assert all(getattr(reading.usage, bucket) >= 0 for bucket in TOKEN_BUCKETS)
    assert ("usage_inconsistent" in reading.notes) == (
        cached + written > prompt or audio > prompt or reasoning > completion
    )


@given(counts, counts, counts, counts, st.integers(0, 100))
@settings(deadline=None)
def test_anthropic_buckets_add_up_to_input_and_both_caches(
    read: int, write: int, into: int, out: int, share: int
) -> None:
    long = write * share // 100
    usage = {
        "input_tokens": into,
        "output_tokens": out,
        "cache_read_input_tokens": read,
        "cache_creation_input_tokens": write,
        "cache_creation": {"ephemeral_1h_input_tokens": long, "ephemeral_5m_input_tokens": write - long},
    }
    reading = read_usage("anthropic", "messages", {"usage": usage})
    assert reading is not None
    assert reading.usage.input_tokens == into + read + write
    assert reading.usage.cache_write_tokens == write
    assert reading.usage.output_tokens == out


@given(counts, counts, counts, counts, counts, counts)
@settings(deadline=None)
def test_gemini_buckets_add_up_to_prompt_tools_candidates_and_thoughts(
    prompt: int, tools: int, candidates: int, thoughts: int, cached: int, audio: int
) -> None:
    meta = {
        "promptTokenCount": prompt,
        "toolUsePromptTokenCount": tools,
        "candidatesTokenCount": candidates,
        "thoughtsTokenCount": thoughts,
        "cachedContentTokenCount": cached,
        "promptTokensDetails": [{"modality": "AUDIO", "tokenCount": audio}],
    }
    reading = read_usage("google", "generateContent", {"usageMetadata": meta})
    assert reading is not None
    if prompt:
        assert reading.usage.input_tokens == prompt + tools
    assert reading.usage.output_tokens == candidates + thoughts
    assert reading.usage.reasoning == thoughts


@pytest.mark.parametrize(("provider", "model"), MODELS)
@given(usage=usages, tier=tiers)
@settings(max_examples=40, deadline=None)
def test_a_cost_is_the_sum_of_its_parts(provider: str, model: str, usage: Usage, tier: str | None) -> None:
    cost = price(usage, provider=provider, model=model, tier=tier, at_ns=AT_NS)
    if isinstance(cost, str):
        assert cost in ("no_usage", "no_rate")
        return
    assert cost.amount == pytest.approx(sum(part.amount for part in cost.parts), rel=1e-12)
    assert all(part.amount == pytest.approx(part.count * part.rate, rel=1e-12) for part in cost.parts)
    whole = cost.input + cost.output + cost.cache_read + cost.cache_write + cost.other
    assert whole == pytest.approx(cost.amount, rel=1e-9)


@pytest.mark.parametrize(("provider", "model"), MODELS)
@given(usage=usages, bucket=st.sampled_from(TOKEN_BUCKETS), more=st.integers(1, 10**6))
@settings(max_examples=40, deadline=None)
def test_more_usage_never_costs_less(provider: str, model: str, usage: Usage, bucket: str, more: int) -> None:
    def amount(of: Usage) -> float:
        cost = price(of, provider=provider, model=model, at_ns=AT_NS)
        return cost.amount if isinstance(cost, Cost) else 0.0

    values = {name: getattr(usage, name) for name in TOKEN_BUCKETS}
    grown = Usage(**{**values, bucket: values[bucket] + more}, units=usage.units)
    assert amount(grown) >= amount(usage)


@given(usage=usages, tier=tiers, model=st.text(min_size=1, max_size=20).map(lambda name: "zz-" + name))
@settings(max_examples=60, deadline=None)
def test_the_unknown_stays_unknown(usage: Usage, tier: str | None, model: str) -> None:
    assert price(usage, provider="openai", model=model, tier=tier, at_ns=AT_NS) == "unknown_model"
    assert price(usage, provider=model, model="gpt-4o", tier=tier, at_ns=AT_NS) == "unknown_provider"
