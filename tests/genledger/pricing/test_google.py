"""Gemini and Vertex AI. Rates: https://ai.google.dev/gemini-api/docs/pricing."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from genledger.pricing import Cost, read_usage

CostOf = Callable[..., Cost | None]


def generated(
    model: str, prompt: int, candidates: int = 0, queries: list[str] | None = None, **meta: Any
) -> dict[str, Any]:
    candidate: dict[str, Any] = {"content": {"parts": [{"text": "…"}], "role": "model"}, "finishReason": "STOP"}
    if queries is not None:
        candidate["groundingMetadata"] = {"webSearchQueries": queries}
    total = prompt + candidates + meta.get("thoughtsTokenCount", 0) + meta.get("toolUsePromptTokenCount", 0)
    return {
        "candidates": [candidate],
        "modelVersion": model,
        "usageMetadata": {
            "promptTokenCount": prompt,
            "candidatesTokenCount": candidates,
            "totalTokenCount": total,
            **meta,
        },
    }


def usd(cost: Cost | None) -> float:
    assert cost is not None
    return cost.amount


@pytest.mark.parametrize("provider", ["google", "gemini", "gcp.gemini", "gcp.gen_ai", "gcp.vertex_ai"])
def test_thoughts_are_output_beside_the_candidates(cost: CostOf, provider: str) -> None:
    payload = generated("gemini-2.5-pro", 1_000, 200, thoughtsTokenCount=800)
    found = cost(provider, "generateContent", payload)
    assert usd(found) == pytest.approx((1_000 * 1.25 + 1_000 * 10) / 1e6)
    assert found is not None
    assert {part.bucket: part.count for part in found.parts} == {"input": 1_000, "output": 200, "reasoning": 800}


def test_tool_prompts_are_extra_input(cost: CostOf) -> None:
    payload = generated("gemini-2.5-flash", 1_000, 0, toolUsePromptTokenCount=500)
    assert usd(cost("google", "generateContent", payload)) == pytest.approx(1_500 * 0.3e-6)


def test_cached_tokens_are_part_of_the_prompt(cost: CostOf) -> None:
    payload = generated("gemini-2.5-flash", 10_000, 0, cachedContentTokenCount=8_000)
    assert usd(cost("google", "generateContent", payload)) == pytest.approx((2_000 * 0.3 + 8_000 * 0.03) / 1e6)


@pytest.mark.parametrize(("prompt", "into", "out"), [(200_000, 1.25, 10), (200_001, 2.5, 15)])
def test_long_prompts_are_strictly_above_200k(cost: CostOf, prompt: int, into: float, out: float) -> None:
    found = cost("google", "generateContent", generated("gemini-2.5-pro", prompt, 1_000))
    assert usd(found) == pytest.approx((prompt * into + 1_000 * out) / 1e6)


def test_tool_prompts_count_towards_the_long_context(cost: CostOf) -> None:
    payload = generated("gemini-2.5-pro", 199_000, 0, toolUsePromptTokenCount=2_000)
    assert usd(cost("google", "generateContent", payload)) == pytest.approx(201_000 * 2.5e-6)


def test_audio_image_and_text_of_the_prompt(cost: CostOf) -> None:
    details = [
        {"modality": "TEXT", "tokenCount": 100},
        {"modality": "AUDIO", "tokenCount": 600},
        {"modality": "IMAGE", "tokenCount": 300},
    ]
    payload = generated("gemini-2.5-flash", 1_000, 0, promptTokensDetails=details)
    assert usd(cost("google", "generateContent", payload)) == pytest.approx((400 * 0.3 + 600 * 1.0) / 1e6)


def test_image_output_has_a_rate_of_its_own(cost: CostOf) -> None:
    details = [{"modality": "IMAGE", "tokenCount": 1_120}]
    payload = generated("gemini-3-pro-image-preview", 100, 1_200, candidatesTokensDetails=details)
    found = cost("google", "generateContent", payload)
    assert usd(found) == pytest.approx((100 * 2 + 1_120 * 120 + 80 * 12) / 1e6)


def test_gemini_3_bills_every_query_and_gemini_2_every_prompt(cost: CostOf) -> None:
    three = generated("gemini-3.1-pro-preview", 0, 100, ["a", "b", ""])
    assert usd(cost("google", "generateContent", three)) == pytest.approx(100 * 12e-6 + 2 * 0.014)
    two = generated("gemini-2.5-flash", 0, 100, ["a", "b"])
    assert usd(cost("google", "generateContent", two)) == pytest.approx(100 * 2.5e-6 + 0.035)


def test_grounding_without_a_query_is_not_billed(cost: CostOf) -> None:
    payload = generated("gemini-3.1-pro-preview", 0, 100, [])
    assert usd(cost("google", "generateContent", payload)) == pytest.approx(100 * 12e-6)


def test_maps_grounding(cost: CostOf) -> None:
    payload = generated("gemini-2.5-flash", 0, 100)
    payload["candidates"][0]["groundingMetadata"] = {
        "groundingChunks": [{"maps": {"uri": "x"}}, {"maps": {"uri": "y"}}]
    }
    assert usd(cost("google", "generateContent", payload)) == pytest.approx(100 * 2.5e-6 + 0.025)


@pytest.mark.parametrize(
    ("model", "cached_rate"),
    [("gemini-2.5-flash", 0.03), ("gemini-3.8-flash", 0.0375)],
    ids=["caching stays at the standard rate", "caching is halved too"],
)
def test_batch_halves_input_and_output(cost: CostOf, model: str, cached_rate: float) -> None:
    into, out = {"gemini-2.5-flash": (0.3, 2.5), "gemini-3.8-flash": (0.75, 3.75)}[model]
    payload = generated(model, 2_000, 100, cachedContentTokenCount=1_000)
    expected = (1_000 * into / 2 + 1_000 * cached_rate + 100 * out / 2) / 1e6
    assert usd(cost("google", "generateContent", payload, {"batch": True})) == pytest.approx(expected)


@pytest.mark.parametrize(
    ("meta", "factor"),
    [
        ({"serviceTier": "flex"}, 0.5),
        ({"serviceTier": "priority"}, 1.8),
        ({"serviceTier": "standard"}, 1.0),
        ({"trafficType": "ON_DEMAND_FLEX"}, 0.5),
        ({"trafficType": "ON_DEMAND_PRIORITY"}, 1.8),
        ({"trafficType": "ON_DEMAND"}, 1.0),
    ],
)
def test_flex_and_priority(cost: CostOf, meta: dict[str, str], factor: float) -> None:
    payload = generated("gemini-2.5-flash", 1_000, 1_000, **meta)
    assert usd(cost("google", "generateContent", payload)) == pytest.approx(factor * 1_000 * 2.8e-6)


@pytest.mark.parametrize(("at", "into"), [("2026-11-30T23:59:59+00:00", 2), ("2026-12-02T00:00:00+00:00", 4)])
def test_a_price_that_is_announced_takes_effect_on_its_day(cost: CostOf, at: str, into: float) -> None:
    found = cost("google", "generateContent", generated("gemini-4-argon", 1_000_000, 0), at=at)
    assert usd(found) == pytest.approx(into)


@pytest.mark.parametrize("name", ["models/gemini-2.5-flash", "publishers/google/models/gemini-2.5-flash"])
def test_paths_before_a_models_name_are_no_part_of_it(cost: CostOf, name: str) -> None:
    assert usd(cost("gcp.vertex_ai", "generateContent", generated(name, 1_000_000, 0))) == pytest.approx(0.3)


def test_regional_endpoints_cost_a_tenth_more_from_gemini_3_on(cost: CostOf) -> None:
    """https://cloud.google.com/vertex-ai/generative-ai/pricing"""
    url = "https://us-central1-aiplatform.googleapis.com"
    new = generated("gemini-3.8-flash", 1_000_000, 0)
    old = generated("gemini-2.5-flash", 1_000_000, 0)
    assert usd(cost("gcp.vertex_ai", "generateContent", new, base_url=url)) == pytest.approx(0.825)
    assert usd(cost("gcp.vertex_ai", "generateContent", old, base_url=url)) == pytest.approx(0.3)


def test_embeddings(cost: CostOf) -> None:
    gemini = {"embedding": {"values": []}, "usageMetadata": {"promptTokenCount": 1_000_000}}
    assert usd(cost("google", "embedContent", gemini, {"model": "models/gemini-embedding-001"})) == pytest.approx(0.15)
    vertex = {
        "embeddings": [{"values": [], "statistics": {"tokenCount": 400_000}}, {"statistics": {"tokenCount": 600_000}}]
    }
    assert usd(cost("gcp.vertex_ai", "embedContent", vertex, {"model": "text-embedding-005"})) == pytest.approx(0.1)
    batch = cost("google", "embedContent", gemini, {"model": "gemini-embedding-001", "batch": True})
    assert usd(batch) == pytest.approx(0.075)


def test_a_line_of_a_batch_result(cost: CostOf) -> None:
    line = {"key": "a", "response": generated("gemini-2.5-flash", 1_000_000, 0)}
    assert usd(cost("google", "batch", line)) == pytest.approx(0.15)


def test_interactions(cost: CostOf) -> None:
    payload = {
        "model": "gemini-2.5-flash",
        "usage": {
            "total_input_tokens": 100,
            "total_output_tokens": 10,
            "total_thought_tokens": 90,
            "total_tokens": 200,
        },
    }
    assert usd(cost("google", "interactions", payload)) == pytest.approx((100 * 0.3 + 100 * 2.5) / 1e6)


def test_the_openai_compatible_endpoint_leaves_thoughts_out_of_the_completion(cost: CostOf) -> None:
    payload = {
        "model": "gemini-2.5-flash",
        "usage": {"prompt_tokens": 100, "completion_tokens": 10, "total_tokens": 200},
    }
    assert usd(cost("google", "chat", payload)) == pytest.approx((100 * 0.3 + 100 * 2.5) / 1e6)


def test_searches_of_an_interaction_are_counted_in_its_usage(cost: CostOf) -> None:
    usage = {"total_input_tokens": 100, "total_output_tokens": 10}
    counted = [{"type": "google_search", "count": 2}, {"type": "google_maps", "count": 3}]
    three = {"model": "gemini-3.1-pro-preview", "usage": {**usage, "grounding_tool_count": counted}}
    expected = (100 * 2 + 10 * 12) / 1e6 + 2 * 0.014 + 0.014
    assert usd(cost("google", "interactions", three)) == pytest.approx(expected)


def test_images_that_a_filter_took_are_not_billed(cost: CostOf) -> None:
    made = {"mimeType": "image/png", "bytesBase64Encoded": "cGl4ZWxz"}
    stored = {"mimeType": "image/png", "gcsUri": "gs://bucket/a.png"}
    payload = {"predictions": [made, stored, {"raiFilteredReason": "blocked"}]}
    request = {"model": "imagen-4.0-fast-generate-001"}
    assert usd(cost("gcp.vertex_ai", "images", payload, request)) == pytest.approx(2 * 0.02)
    assert cost("gcp.vertex_ai", "images", {"predictions": [{"raiFilteredReason": "blocked"}]}, request) is None


def test_an_image_that_is_enlarged_costs_not_what_a_new_one_does(cost: CostOf) -> None:
    payload = {"predictions": [{"mimeType": "image/png", "bytesBase64Encoded": "cGl4ZWxz"}]}
    request = {"model": "imagen-3.0-generate-002", "parameters": {"mode": "upscale"}}
    reading = read_usage("gcp.vertex_ai", "images", payload, request)
    assert reading is not None
    assert reading.usage.units == {"upscaled_image": 1}
    assert cost("gcp.vertex_ai", "images", payload, request) is None


@pytest.mark.parametrize("answered", ["gemini", "vertex"])
@pytest.mark.parametrize(
    ("parameters", "price"),
    [
        ({}, 2 * 8 * 0.4),
        ({"durationSeconds": 4, "resolution": "1080p"}, 2 * 4 * 0.4),
        ({"durationSeconds": 8, "resolution": "4k", "generateAudio": True}, 2 * 8 * 0.6),
    ],
)
def test_videos_are_billed_by_their_seconds(
    cost: CostOf, answered: str, parameters: dict[str, object], price: float
) -> None:
    videos = {"videos": [{"gcsUri": "gs://b/1"}, {"gcsUri": "gs://b/2"}], "raiMediaFilteredCount": 1}
    samples = {"generateVideoResponse": {"generatedSamples": [{"video": {"uri": "a"}}, {"video": {"uri": "b"}}]}}
    payload = {"name": "o", "done": True, "response": videos if answered == "vertex" else samples}
    request = {"model": "veo-3.1-generate-preview", "parameters": parameters}
    assert usd(cost("gcp.vertex_ai", "generate_videos", payload, request)) == pytest.approx(price)
    assert read_usage("gcp.gemini", "generate_videos", {"name": "o", "done": True, "response": {}}, request) is None
    # Who asked is not known to another process that learns of the end: neither is the length.
    assert read_usage("gcp.gemini", "generate_videos", payload) is None


def test_seconds_without_sound_are_counted_apart() -> None:
    request = {"model": "veo-3.1-generate-001", "parameters": {"generateAudio": False, "resolution": "4K"}}
    reading = read_usage("vertex", "generate_videos", {"response": {"videos": [{}]}}, request)
    assert reading is not None
    assert reading.usage.units == {"silent_4k_second": 8}


@pytest.mark.parametrize("ends", ["2026-06-01T10:30:00.123456789Z", "2026-06-01T12:30:00+02:00"])
def test_a_cache_is_counted_by_its_tokens_and_hours(ends: str) -> None:
    payload = {
        "createTime": "2026-06-01T10:00:00Z",
        "expireTime": ends,
        "usageMetadata": {"totalTokenCount": 4000},
    }
    reading = read_usage("google", "cachedContents", payload, {"model": "gemini-2.5-flash"})
    assert reading is not None
    assert reading.usage.total_tokens == 0
    assert reading.usage.units == {"cached_token_hour": pytest.approx(2000, rel=0.001)}


@pytest.mark.parametrize("ends", [None, "soon", 7, "2026-06-01T09:00:00Z"])
def test_a_cache_that_does_not_say_how_long_it_is_kept_has_no_usage(ends: object) -> None:
    payload = {"createTime": "2026-06-01T10:00:00Z", "expireTime": ends, "usageMetadata": {"totalTokenCount": 4000}}
    assert read_usage("google", "cachedContents", payload, {"model": "gemini-2.5-flash"}) is None
