"""OpenAI and Azure OpenAI. Rates and rules: https://developers.openai.com/api/docs/pricing unless a case says else."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from genledger.pricing import Cost

CostOf = Callable[..., Cost | None]


def chat(model: str, prompt: int, completion: int, tier: str | None = "default", **details: Any) -> dict[str, Any]:
    return {
        "id": "chatcmpl-1",
        "object": "chat.completion",
        "model": model,
        "service_tier": tier,
        "choices": [],
        "usage": {
            "prompt_tokens": prompt,
            "completion_tokens": completion,
            "total_tokens": prompt + completion,
            "prompt_tokens_details": {
                "cached_tokens": details.get("cached", 0),
                "audio_tokens": details.get("audio", 0),
            },
            "completion_tokens_details": {
                "reasoning_tokens": details.get("reasoning", 0),
                "audio_tokens": details.get("audio_out", 0),
            },
        },
    }


def responses(
    model: str, into: int, out: int, output: list[dict[str, Any]] | None = None, **more: Any
) -> dict[str, Any]:
    return {
        "id": "resp_1",
        "object": "response",
        "model": model,
        "service_tier": "default",
        "output": output or [],
        "usage": {
            "input_tokens": into,
            "input_tokens_details": {"cached_tokens": 0},
            "output_tokens": out,
            "output_tokens_details": {"reasoning_tokens": 0},
            "total_tokens": into + out,
        },
        **more,
    }


def usd(cost: Cost | None) -> float:
    assert cost is not None
    return cost.amount


def test_cached_tokens_are_part_of_the_prompt_and_reasoning_of_the_completion(cost: CostOf) -> None:
    found = cost("openai", "chat", chat("gpt-5-2025-08-07", 10_000, 2_000, cached=8_000, reasoning=1_500))
    assert usd(found) == pytest.approx((2_000 * 1.25 + 8_000 * 0.125 + 2_000 * 10) / 1e6)
    assert found is not None
    assert {part.bucket: part.count for part in found.parts} == {
        "input": 2_000,
        "cache_read": 8_000,
        "output": 500,
        "reasoning": 1_500,
    }


@pytest.mark.parametrize(
    ("tier", "rate"),
    [("default", 1.0), ("flex", 0.5), ("priority", 2.0), ("auto", 1.0), (None, 1.0)],
)
def test_the_tier_of_the_answer_decides(cost: CostOf, tier: str | None, rate: float) -> None:
    found = cost("openai", "chat", chat("gpt-5-2025-08-07", 1_000, 1_000, tier))
    assert usd(found) == pytest.approx(rate * (1_000 * 1.25 + 1_000 * 10) / 1e6)


def test_priority_that_was_asked_for_but_not_served_costs_the_standard_rate(cost: CostOf) -> None:
    asked = {"model": "gpt-5", "service_tier": "priority"}
    assert usd(cost("openai", "chat", chat("gpt-5-2025-08-07", 1_000, 1_000, "default"), asked)) == pytest.approx(
        0.01125
    )


def test_a_tier_the_answer_does_not_mention_is_taken_from_the_request_and_said_so(cost: CostOf) -> None:
    payload = chat("gpt-5-2025-08-07", 1_000, 1_000)
    del payload["service_tier"]
    found = cost("openai", "chat", payload, {"service_tier": "flex"})
    assert usd(found) == pytest.approx(0.005625)
    assert found is not None
    assert "tier_from_request" in found.notes


def test_a_tier_without_a_price_is_charged_standard_and_said_so(cost: CostOf) -> None:
    found = cost("openai", "chat", chat("gpt-4o-2024-08-06", 1_000, 0, "scale"))
    assert usd(found) == pytest.approx(0.0025)
    assert found is not None
    assert "tier_not_applied:scale" in found.notes


def test_a_tier_from_before_the_table_checked_it_is_in_proportion_and_said_so(cost: CostOf) -> None:
    found = cost("openai", "chat", chat("gpt-5-2025-08-07", 1_000, 1_000, "flex"), at="2026-03-01T00:00:00+00:00")
    assert usd(found) == pytest.approx(0.005625)
    assert found is not None
    assert found.notes == ("tier_backdated:flex",)


@pytest.mark.parametrize(
    ("prompt", "into", "out"),
    [(272_000, 2.5, 15.0), (272_001, 5.0, 22.5)],
    ids=["at the threshold", "above it"],
)
def test_long_context_rates_apply_to_everything_strictly_above_272k(
    cost: CostOf, prompt: int, into: float, out: float
) -> None:
    found = cost("openai", "chat", chat("gpt-5.4-2026-03-05", prompt, 1_000))
    assert usd(found) == pytest.approx((prompt * into + 1_000 * out) / 1e6)


def test_cache_writes_are_billed_from_gpt_56_on(cost: CostOf) -> None:
    payload = responses("gpt-6.1-sol", 12_000, 0)
    payload["usage"]["input_tokens_details"] = {"cached_tokens": 8_000, "cache_write_tokens": 3_500}
    assert usd(cost("openai", "responses", payload)) == pytest.approx((500 * 2 + 8_000 * 0.1 + 3_500 * 2.5) / 1e6)


@pytest.mark.parametrize(
    ("model", "into", "out"),
    [
        ("ft:gpt-4.1-2025-04-14:acme::X1", 3.0, 12.0),
        ("ft:gpt-4.1-mini-2025-04-14:acme::X1", 0.8, 3.2),
        ("ft:gpt-4.1-nano-2025-04-14:acme::X1", 0.2, 0.8),
        ("ft:gpt-4o-2024-08-06:acme::X1", 3.75, 15.0),
        ("ft:gpt-4o-mini-2024-07-18:acme::X1", 0.3, 1.2),
        ("ft:gpt-3.5-turbo-0125:acme::X1", 3.0, 6.0),
        ("ft:o4-mini-2025-04-16:acme::X1", 4.0, 16.0),
    ],
)
def test_fine_tuned_models_have_rates_of_their_own(cost: CostOf, model: str, into: float, out: float) -> None:
    assert usd(cost("openai", "chat", chat(model, 1_000_000, 1_000_000))) == pytest.approx(into + out)


def test_a_fine_tuned_model_that_is_not_known_does_not_fall_back_on_its_base(cost: CostOf) -> None:
    assert cost("openai", "chat", chat("ft:gpt-6-sol:acme::X1", 10, 10)) is None


def test_fine_tuned_models_in_batch(cost: CostOf) -> None:
    payload = chat("ft:gpt-4.1-2025-04-14:acme::X1", 1_000_000, 1_000_000)
    assert usd(cost("openai", "chat", payload, {"batch": True})) == pytest.approx(7.5)


def test_audio_tokens_have_rates_of_their_own(cost: CostOf) -> None:
    payload = chat("gpt-4o-audio-preview-2025-06-03", 1_100, 500, audio=1_000, audio_out=400)
    expected = (100 * 2.5 + 1_000 * 40 + 100 * 10 + 400 * 80) / 1e6
    assert usd(cost("openai", "chat", payload)) == pytest.approx(expected)


def test_realtime_splits_cached_audio_from_cached_text(cost: CostOf) -> None:
    event = {
        "type": "response.done",
        "response": {
            "object": "realtime.response",
            "usage": {
                "total_tokens": 1_500,
                "input_tokens": 1_000,
                "output_tokens": 500,
                "input_token_details": {
                    "text_tokens": 400,
                    "audio_tokens": 600,
                    "cached_tokens": 500,
                    "cached_tokens_details": {"text_tokens": 300, "audio_tokens": 200},
                },
                "output_token_details": {"text_tokens": 100, "audio_tokens": 400},
            },
        },
    }
    expected = (100 * 4 + 400 * 32 + 300 * 0.4 + 200 * 0.4 + 100 * 16 + 400 * 64) / 1e6
    assert usd(cost("openai", "realtime", event, {"model": "gpt-realtime-2025-08-28"})) == pytest.approx(expected)


def search(kind: str | None) -> dict[str, Any]:
    return {"type": "web_search_call", "status": "completed", "action": {"type": kind}}


def test_web_searches_are_counted_from_the_output_and_opened_pages_are_not(cost: CostOf) -> None:
    output = [search("search"), search("search"), search("open_page"), {"type": "message", "content": []}]
    found = cost("openai", "responses", responses("gpt-5-2025-08-07", 1_000, 100, output))
    assert usd(found) == pytest.approx(1_000 * 1.25e-6 + 100 * 1e-5 + 2 * 0.01)


def test_the_count_of_searches_that_the_answer_carries_is_the_bill(cost: CostOf) -> None:
    output = [search("search"), search("search")]
    payload = responses("gpt-5-2025-08-07", 0, 100, output, tool_usage={"web_search": {"num_requests": 1}})
    assert usd(cost("openai", "responses", payload)) == pytest.approx(100 * 1e-5 + 0.01)


@pytest.mark.parametrize(("model", "fee"), [("gpt-4.1-2025-04-14", 0.025), ("gpt-5-2025-08-07", 0.01)])
def test_the_preview_search_tool_costs_more_with_models_that_do_not_reason(
    cost: CostOf, model: str, fee: float
) -> None:
    payload = responses(model, 0, 0, [search("search")], tools=[{"type": "web_search_preview"}])
    assert usd(cost("openai", "responses", payload)) == pytest.approx(fee)


def test_search_models_bill_one_search_per_chat(cost: CostOf) -> None:
    payload = chat("gpt-4o-search-preview-2025-03-11", 1_000, 0)
    assert usd(cost("openai", "chat", payload)) == pytest.approx(0.0025 + 0.025)


def test_file_searches_and_code_sessions(cost: CostOf) -> None:
    output = [
        {"type": "file_search_call"},
        {"type": "code_interpreter_call", "container_id": "cntr_1"},
        {"type": "code_interpreter_call", "container_id": "cntr_1"},
        {"type": "code_interpreter_call", "container_id": "cntr_own"},
    ]
    payload = responses(
        "gpt-5-2025-08-07", 0, 100, output, tools=[{"type": "code_interpreter", "container": "cntr_own"}]
    )
    found = cost("openai", "responses", payload)
    assert usd(found) == pytest.approx(100 * 1e-5 + 0.0025 + 0.03)


def test_the_image_tool_is_billed_at_its_own_models_rates(cost: CostOf) -> None:
    payload = responses(
        "gpt-5-2025-08-07",
        100,
        10,
        [{"type": "image_generation_call", "status": "completed"}],
        tools=[{"type": "image_generation", "model": "gpt-image-1"}],
        tool_usage={
            "image_gen": {
                "input_tokens": 60,
                "input_tokens_details": {"text_tokens": 60, "image_tokens": 0},
                "output_tokens": 4_160,
                "output_tokens_details": {"text_tokens": 0, "image_tokens": 4_160},
            }
        },
    )
    found = cost("openai", "responses", payload)
    assert usd(found) == pytest.approx((100 * 1.25 + 10 * 10 + 60 * 5 + 4_160 * 40) / 1e6)


def test_images_by_token(cost: CostOf) -> None:
    payload = {
        "created": 1,
        "data": [{}],
        "usage": {
            "input_tokens": 100,
            "input_tokens_details": {"text_tokens": 40, "image_tokens": 60},
            "output_tokens": 1_056,
            "total_tokens": 1_156,
        },
    }
    found = cost("openai", "images", payload, {"model": "gpt-image-1.5"})
    assert usd(found) == pytest.approx((40 * 5 + 60 * 8 + 1_056 * 32) / 1e6)


@pytest.mark.parametrize(
    ("model", "request_", "fee"),
    [
        ("dall-e-3", {}, 0.04),
        ("dall-e-3", {"quality": "hd", "size": "1024x1792"}, 0.12),
        ("dall-e-3", {"quality": "standard", "size": "1792x1024"}, 0.08),
        ("dall-e-2", {"size": "512x512"}, 0.018),
    ],
)
def test_images_by_the_piece(cost: CostOf, model: str, request_: dict[str, Any], fee: float) -> None:
    payload = {"created": 1, "data": [{"url": "a"}, {"url": "b"}]}
    assert usd(cost("openai", "images", payload, {"model": model, **request_})) == pytest.approx(2 * fee)


def test_embeddings_and_embeddings_in_batch(cost: CostOf) -> None:
    payload = {
        "object": "list",
        "model": "text-embedding-3-small",
        "usage": {"prompt_tokens": 1_000_000, "total_tokens": 1_000_000},
    }
    assert usd(cost("openai", "embeddings", payload)) == pytest.approx(0.02)
    assert usd(cost("openai", "embeddings", payload, {"batch": True})) == pytest.approx(0.01)
    assert usd(cost("openai", "batch", payload)) == pytest.approx(0.01)


def test_a_line_of_a_batch_result_is_priced_whole_or_unwrapped(cost: CostOf) -> None:
    body = chat("gpt-5-2025-08-07", 1_000, 1_000)
    line = {"id": "batch_req_1", "custom_id": "a", "response": {"status_code": 200, "body": body}, "error": None}
    assert usd(cost("openai", "batch", line)) == pytest.approx(0.005625)
    assert usd(cost("openai", "batch", body)) == pytest.approx(0.005625)


@pytest.mark.parametrize(
    "line",
    [
        {"id": "b", "custom_id": "a", "response": None, "error": {"code": "batch_expired"}},
        {"id": "b", "custom_id": "a", "response": {"status_code": 400, "body": {"error": {"message": "no"}}}},
        {"id": "batch_1", "object": "batch", "model": "gpt-5", "usage": {"input_tokens": 10, "output_tokens": 1}},
    ],
    ids=["expired", "refused", "the batch itself, whose lines are the bill"],
)
def test_what_is_not_a_result_has_no_cost(cost: CostOf, line: dict[str, Any]) -> None:
    assert cost("openai", "batch", line) is None


def test_transcription_by_second_and_by_token(cost: CostOf) -> None:
    seconds = {"text": "hello", "usage": {"type": "duration", "seconds": 90}}
    assert usd(cost("openai", "transcriptions", seconds, {"model": "whisper-1"})) == pytest.approx(90 * 0.0001)
    tokens = {
        "text": "hello",
        "usage": {
            "type": "tokens",
            "input_tokens": 110,
            "input_token_details": {"text_tokens": 10, "audio_tokens": 100},
            "output_tokens": 20,
            "total_tokens": 130,
        },
    }
    found = cost("openai", "transcriptions", tokens, {"model": "gpt-4o-transcribe"})
    assert usd(found) == pytest.approx((10 * 2.5 + 100 * 6 + 20 * 10) / 1e6)
    assert found is not None
    assert any(note.startswith("rate_disputed") for note in found.notes)


@pytest.mark.parametrize("duration", [30.0, "30.0", "30"])
def test_a_verbose_transcription_says_its_duration(cost: CostOf, duration: object) -> None:
    payload = {"task": "transcribe", "duration": duration, "text": "hello"}
    assert usd(cost("openai", "transcriptions", payload, {"model": "whisper-1"})) == pytest.approx(0.003)


def test_speech_is_billed_by_the_character_that_was_sent(cost: CostOf) -> None:
    assert usd(cost("openai", "speech", {}, {"model": "tts-1-hd", "input": "x" * 1_000})) == pytest.approx(0.03)


def test_moderation_is_free_which_is_a_known_cost(cost: CostOf) -> None:
    found = cost("openai", "moderations", {"id": "modr-1", "model": "omni-moderation-latest", "results": [{}]})
    assert found is not None
    assert found.amount == 0
    assert found.source == "table"


@pytest.mark.parametrize(
    ("model", "at", "into", "out"),
    [
        ("o3-2025-04-16", "2025-06-09T23:59:59+00:00", 10, 40),
        ("o3-2025-04-16", "2025-06-10T00:00:00+00:00", 2, 8),
        ("gpt-5.6-luna", "2026-07-29T12:00:00+00:00", 1, 6),
        ("gpt-5.6-luna", "2026-07-30T12:00:00+00:00", 0.2, 1.2),
    ],
)
def test_the_price_is_that_of_the_calls_own_day(cost: CostOf, model: str, at: str, into: float, out: float) -> None:
    found = cost("openai", "chat", chat(model, 100_000, 100_000), at=at)
    assert usd(found) == pytest.approx((into + out) / 10)


@pytest.mark.parametrize(
    ("model", "factor"),
    [("gpt-5.4-2026-03-05", 1.1), ("gpt-6.1-sol", 1.1), ("gpt-4.1-2025-04-14", 1.0)],
)
def test_data_residency_costs_a_tenth_more_for_models_since_march_2026(cost: CostOf, model: str, factor: float) -> None:
    """https://developers.openai.com/api/docs/guides/data-residency"""
    plain = usd(cost("openai", "chat", chat(model, 1_000, 1_000)))
    resident = usd(cost("openai", "chat", chat(model, 1_000, 1_000), base_url="https://eu.api.openai.com/v1"))
    assert resident == pytest.approx(plain * factor)


@pytest.mark.parametrize("provider", ["azure", "azure.ai.openai", "az.ai.openai", "azure.ai.inference"])
def test_azure_answers_name_the_model_and_serve_tiers(cost: CostOf, provider: str) -> None:
    payload = chat("gpt-4.1-2025-04-14", 1_000_000, 0)
    assert usd(cost(provider, "chat", payload, {"model": "prod-chat"})) == pytest.approx(2.0)
    payload["service_tier"] = "priority"
    assert usd(cost(provider, "chat", payload)) == pytest.approx(3.5)
    assert usd(cost(provider, "chat", payload, {"batch": True})) == pytest.approx(1.0)


def test_azure_data_zones_cost_a_tenth_more(cost: CostOf) -> None:
    payload = chat("gpt-5-2025-08-07", 1_000_000, 0)
    assert usd(cost("azure", "chat", payload, {"region": "us"})) == pytest.approx(1.375)
    payload["model"] = "eu/gpt-5-2025-08-07"
    assert usd(cost("azure", "chat", payload)) == pytest.approx(1.375)


def test_a_deployment_name_alone_is_not_a_model(cost: CostOf) -> None:
    payload = chat("", 10, 10)
    assert cost("azure", "chat", payload, {"model": "prod-chat"}) is None


@pytest.mark.parametrize(
    ("model", "into", "out"),
    [("Mistral-large-2411", 2, 6), ("mistral-large-2407", 2, 6), ("Llama-3.3-70B-Instruct", 0.71, 0.71)],
)
def test_azure_sells_other_peoples_models(cost: CostOf, model: str, into: float, out: float) -> None:
    """https://azure.microsoft.com/en-us/pricing/details/ai-foundry-models/"""
    found = cost("azure.ai.inference", "chat", chat(model, 1_000_000, 1_000_000, None))
    assert usd(found) == pytest.approx(into + out)


@pytest.mark.parametrize("model", ["gpt-9-future", "gpt-5.4-2027-01-01", "o9"])
def test_an_unknown_model_has_no_cost_even_when_its_tools_do(cost: CostOf, model: str) -> None:
    assert cost("openai", "responses", responses(model, 1_000, 1_000, [search("search")])) is None
