"""Anthropic, also through Bedrock and Vertex AI. Rates: https://platform.claude.com/docs/en/about-claude/pricing."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from genledger.pricing import Cost

CostOf = Callable[..., Cost | None]


def message(model: str, into: int, out: int, **usage: Any) -> dict[str, Any]:
    return {
        "id": "msg_1",
        "type": "message",
        "model": model,
        "content": [],
        "usage": {"input_tokens": into, "output_tokens": out, "service_tier": "standard", **usage},
    }


def usd(cost: Cost | None) -> float:
    assert cost is not None
    return cost.amount


def test_cache_reads_and_writes_come_on_top_of_input(cost: CostOf) -> None:
    payload = message(
        "claude-sonnet-4-5-20250929", 100, 50, cache_read_input_tokens=2_000, cache_creation_input_tokens=300
    )
    found = cost("anthropic", "messages", payload)
    assert usd(found) == pytest.approx((100 * 3 + 2_000 * 0.3 + 300 * 3.75 + 50 * 15) / 1e6)


def test_cache_writes_are_priced_by_lifetime(cost: CostOf) -> None:
    payload = message(
        "claude-sonnet-4-5-20250929",
        0,
        0,
        cache_creation_input_tokens=1_000,
        cache_creation={"ephemeral_5m_input_tokens": 400, "ephemeral_1h_input_tokens": 600},
    )
    found = cost("anthropic", "messages", payload)
    assert usd(found) == pytest.approx((400 * 3.75 + 600 * 6) / 1e6)
    assert found is not None
    assert {part.bucket: part.count for part in found.parts} == {"cache_write": 400, "cache_write_1h": 600}


def test_thinking_is_part_of_output(cost: CostOf) -> None:
    payload = message("claude-sonnet-5", 0, 1_000, output_tokens_details={"thinking_tokens": 700})
    found = cost("anthropic", "messages", payload)
    assert usd(found) == pytest.approx(1_000 * 10e-6)
    assert found is not None
    assert {part.bucket: part.count for part in found.parts} == {"output": 300, "reasoning": 700}


@pytest.mark.parametrize("api", ["messages", "batch"])
def test_batch_is_half_price_on_every_token_class_but_not_on_searches(cost: CostOf, api: str) -> None:
    usage = {
        "cache_read_input_tokens": 1_000,
        "cache_creation_input_tokens": 1_000,
        "server_tool_use": {"web_search_requests": 1},
    }
    payload = message("claude-opus-5", 1_000, 1_000, **usage)
    payload["usage"]["service_tier"] = "batch"
    expected = 0.5 * 1_000 * (5 + 0.5 + 6.25 + 25) / 1e6 + 0.01
    assert usd(cost("anthropic", api, payload)) == pytest.approx(expected)


def test_a_batch_line_is_priced_whole(cost: CostOf) -> None:
    body = message("claude-sonnet-4-5-20250929", 1_000, 1_000)
    line = {"custom_id": "a", "result": {"type": "succeeded", "message": body}}
    assert usd(cost("anthropic", "batch", line)) == pytest.approx(0.009)
    assert cost("anthropic", "batch", {"custom_id": "a", "result": {"type": "expired"}}) is None
    assert cost("anthropic", "batch", {"custom_id": "a", "result": {"type": "errored", "error": {}}}) is None


def test_batch_was_half_price_long_before_the_table_says_so(cost: CostOf) -> None:
    """https://platform.claude.com/docs/en/build-with-claude/batch-processing: half price since the API began."""
    body = message("claude-3-5-sonnet-20241022", 1_000, 1_000)
    assert usd(cost("anthropic", "batch", body, at="2025-01-15T00:00:00+00:00")) == pytest.approx(0.009)
    body = message("claude-opus-4-5-20251101", 1_000, 1_000)
    found = cost("anthropic", "batch", body, at="2026-01-15T00:00:00+00:00")
    assert usd(found) == pytest.approx(0.015)
    assert found is not None
    assert found.notes == ("tier_backdated:batch",)


@pytest.mark.parametrize(("model", "into"), [("claude-opus-5-5", 8), ("claude-opus-5", 10), ("claude-fable-5-2", 16)])
def test_fast_mode(cost: CostOf, model: str, into: float) -> None:
    assert usd(cost("anthropic", "messages", message(model, 1_000_000, 0, speed="fast"))) == pytest.approx(into)


def test_fast_mode_where_there_is_none_is_said(cost: CostOf) -> None:
    found = cost("anthropic", "messages", message("claude-haiku-4-5-20251001", 1_000_000, 0, speed="fast"))
    assert usd(found) == pytest.approx(1)
    assert found is not None
    assert "tier_not_applied:fast" in found.notes


@pytest.mark.parametrize(
    ("model", "factor"),
    [
        ("claude-opus-4-6", 1.1),
        ("claude-sonnet-4-6", 1.1),
        ("claude-haiku-5-5", 1.1),
        ("claude-opus-4-5-20251101", 1.0),
    ],
)
def test_inference_in_the_us_costs_a_tenth_more_from_46_on(cost: CostOf, model: str, factor: float) -> None:
    usage = {"cache_read_input_tokens": 100, "cache_creation_input_tokens": 100}
    plain = usd(cost("anthropic", "messages", message(model, 1_000, 500, **usage, inference_geo="global")))
    in_us = cost("anthropic", "messages", message(model, 1_000, 500, **usage, inference_geo="us"))
    assert usd(in_us) == pytest.approx(plain * factor)
    assert in_us is not None
    assert ("region:us" in in_us.notes) == (factor != 1.0)


def test_the_us_premium_does_not_touch_searches(cost: CostOf) -> None:
    payload = message("claude-opus-5", 0, 1_000, inference_geo="us", server_tool_use={"web_search_requests": 2})
    assert usd(cost("anthropic", "messages", payload)) == pytest.approx(1_000 * 25e-6 * 1.1 + 0.02)


@pytest.mark.parametrize(("read", "into", "cached"), [(99_000, 0.1, 0.01), (99_001, 0.5, 0.05)])
def test_haiku_55_looks_at_the_whole_prompt_cache_included(cost: CostOf, read: int, into: float, cached: float) -> None:
    payload = message("claude-haiku-5-5", 1_000, 0, cache_read_input_tokens=read)
    assert usd(cost("anthropic", "messages", payload)) == pytest.approx((1_000 * into + read * cached) / 1e6)


@pytest.mark.parametrize(
    ("at", "into", "out"),
    [("2026-02-25T12:00:00+00:00", 6, 22.5), ("2026-03-13T00:00:00+00:00", 3, 15)],
)
def test_sonnet_46_had_a_long_context_premium_until_2026_03_13(cost: CostOf, at: str, into: float, out: float) -> None:
    found = cost("anthropic", "messages", message("claude-sonnet-4-6", 350_000, 1_000), at=at)
    assert usd(found) == pytest.approx((350_000 * into + 1_000 * out) / 1e6)


def iteration(kind: str, into: int, out: int, **more: Any) -> dict[str, Any]:
    return {"type": kind, "input_tokens": into, "output_tokens": out, **more}


def test_a_compaction_is_billed_beside_the_totals(cost: CostOf) -> None:
    """https://platform.claude.com/docs/en/build-with-claude/compaction: the totals leave the compaction out."""
    payload = message(
        "claude-sonnet-5", 220, 8, iterations=[iteration("compaction", 55_196, 125), iteration("message", 220, 8)]
    )
    assert usd(cost("anthropic", "messages", payload)) == pytest.approx((55_416 * 2 + 133 * 10) / 1e6)


def test_an_advisor_is_billed_at_its_own_models_rates(cost: CostOf) -> None:
    payload = message(
        "claude-sonnet-5",
        2_390,
        121,
        iterations=[
            iteration("message", 1_128, 110),
            iteration("advisor_message", 2_518, 22, model="claude-opus-4-8"),
            iteration("message", 1_262, 11),
        ],
    )
    found = cost("anthropic", "messages", payload)
    assert usd(found) == pytest.approx((2_390 * 2 + 121 * 10 + 2_518 * 5 + 22 * 25) / 1e6)
    assert found is not None
    assert "includes_model:claude-opus-4-8" in found.notes


def test_several_samplings_do_not_add_up_to_a_long_prompt(cost: CostOf) -> None:
    payload = message(
        "claude-haiku-5-5", 160_000, 0, iterations=[iteration("message", 80_000, 0), iteration("message", 80_000, 0)]
    )
    assert usd(cost("anthropic", "messages", payload)) == pytest.approx(160_000 * 0.1e-6)


def test_claude_on_vertex_global_regional_and_in_batch(cost: CostOf) -> None:
    """https://cloud.google.com/vertex-ai/generative-ai/pricing#claude-models"""
    payload = message("claude-opus-4-5@20251101", 1_000_000, 0)
    assert usd(cost("gcp.vertex_ai", "messages", payload)) == pytest.approx(5)
    assert usd(cost("gcp.vertex_ai", "messages", payload, {"location": "us-east5"})) == pytest.approx(5.5)
    assert usd(cost("gcp.vertex_ai", "messages", payload, {"location": "global"})) == pytest.approx(5)
    assert usd(cost("gcp.vertex_ai", "messages", payload, {"batch": True})) == pytest.approx(2.5)
    url = "https://europe-west1-aiplatform.googleapis.com/v1/projects/p/locations/europe-west1"
    assert usd(cost("anthropic", "messages", payload, base_url=url)) == pytest.approx(5.5)
    url = "https://aiplatform.googleapis.com/v1/projects/p/locations/global"
    assert usd(cost("anthropic", "messages", payload, base_url=url)) == pytest.approx(5)


def test_claude_that_is_not_known_has_no_cost(cost: CostOf) -> None:
    assert cost("anthropic", "messages", message("claude-opus-6-20270101", 1_000, 1_000)) is None


RUN: dict[str, Any] = {
    "model": "claude-sonnet-4-5",
    "usage": {"input_tokens": 3_000, "output_tokens": 300},
    "usage_breakdown": {
        "models": [
            {"model": "claude-sonnet-4-5", "usage": {"input_tokens": 1_000, "output_tokens": 100}},
            {"model": "claude-haiku-4-5", "usage": {"input_tokens": 2_000, "output_tokens": 200}},
        ]
    },
}
"""What an agent's run consumed, of two models."""


def test_a_run_of_an_agent_costs_what_its_models_do(cost: CostOf) -> None:
    models = (1_000 * 3 + 100 * 15 + 2_000 * 1 + 200 * 5) / 1e6
    assert usd(cost("anthropic", "messages", RUN)) == pytest.approx(models)


@pytest.mark.parametrize("reported", [0.02, 0.0])
def test_a_run_of_claude_code_costs_what_it_reports(cost: CostOf, reported: float) -> None:
    """https://docs.claude.com/en/api/agent-sdk/cost-tracking"""
    found = cost("anthropic", "messages", {**RUN, "claude_agent_sdk": {"total_cost_usd": reported}})
    assert found is not None
    assert (found.amount, found.source) == (reported, "provider")
