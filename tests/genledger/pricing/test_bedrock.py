"""Amazon Bedrock. Rates: https://aws.amazon.com/bedrock/pricing/."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import pytest

from genledger.pricing import Cost, read_usage

CostOf = Callable[..., Cost | None]
Override = Callable[..., Callable[[], None]]
ARN = "arn:aws:bedrock:us-east-1:123456789012:"


def converse(model: str, into: int, out: int = 0, **usage: Any) -> dict[str, Any]:
    return {
        "modelId": model,
        "stopReason": "end_turn",
        "usage": {"inputTokens": into, "outputTokens": out, "totalTokens": into + out, **usage},
    }


def usd(cost: Cost | None) -> float:
    assert cost is not None
    return cost.amount


@pytest.mark.parametrize(
    ("model", "into"),
    [
        ("us.anthropic.claude-haiku-4-5-20251001-v1:0", 1.1),
        ("eu.anthropic.claude-haiku-4-5-20251001-v1:0", 1.1),
        ("apac.anthropic.claude-haiku-4-5-20251001-v1:0", 1.1),
        ("jp.anthropic.claude-haiku-4-5-20251001-v1:0", 1.1),
        ("global.anthropic.claude-haiku-4-5-20251001-v1:0", 1.0),
        ("us.amazon.nova-pro-v1:0", 0.8),
        ("amazon.nova-pro-v1:0", 0.8),
        (f"{ARN}inference-profile/us.anthropic.claude-haiku-4-5-20251001-v1:0", 1.1),
        (f"{ARN}inference-profile/global.anthropic.claude-haiku-4-5-20251001-v1:0", 1.0),
        ("arn:aws:bedrock:us-east-1::foundation-model/anthropic.claude-3-haiku-20240307-v1:0", 0.25),
        ("arn%3Aaws%3Abedrock%3Aus-east-1%3A%3Afoundation-model%2Famazon.nova-pro-v1%3A0", 0.8),
        ("mistral.mistral-large-2407-v1:0", 2.0),
        ("cohere.command-r-plus-v1:0", 3.0),
    ],
)
@pytest.mark.parametrize("provider", ["aws.bedrock", "bedrock"])
def test_geographic_prefixes_and_arns(cost: CostOf, provider: str, model: str, into: float) -> None:
    assert usd(cost(provider, "converse", converse(model, 1_000_000))) == pytest.approx(into)


@pytest.mark.parametrize(
    "model",
    [
        f"{ARN}application-inference-profile/abc123def456",
        f"{ARN}provisioned-model/abc123def456",
        f"{ARN}custom-model/amazon.titan-text-lite-v1:0:4k/abc123",
        f"{ARN}imported-model/abc123",
    ],
)
def test_what_only_its_owner_knows_has_no_price_until_the_owner_gives_one(
    cost: CostOf, model: str, override: Override
) -> None:
    payload = converse(model, 1_000_000)
    assert cost("aws.bedrock", "converse", payload) is None
    override(profile=model, alias="us.anthropic.claude-haiku-4-5-20251001-v1:0")
    assert usd(cost("aws.bedrock", "converse", payload)) == pytest.approx(1.1)


def test_the_profile_that_was_asked_for_decides_not_the_bare_model_of_the_answer(cost: CostOf) -> None:
    payload = {
        "model": "claude-haiku-4-5-20251001",
        "usage": {"input_tokens": 1_000_000, "output_tokens": 0, "cache_read_input_tokens": 0},
    }
    asked = {"modelId": "global.anthropic.claude-haiku-4-5-20251001-v1:0"}
    assert usd(cost("aws.bedrock", "invoke_model", payload, asked)) == pytest.approx(1.0)


def test_cache_comes_on_top_of_input_and_writes_have_lifetimes(cost: CostOf) -> None:
    payload = converse(
        "us.anthropic.claude-sonnet-4-5-20250929-v1:0",
        100,
        10,
        cacheReadInputTokens=5_000,
        cacheWriteInputTokens=3_000,
        cacheDetails=[{"ttl": "5m", "inputTokens": 1_000}, {"ttl": "1h", "inputTokens": 2_000}],
    )
    expected = (100 * 3.3 + 5_000 * 0.33 + 1_000 * 4.125 + 2_000 * 6.6 + 10 * 16.5) / 1e6
    assert usd(cost("aws.bedrock", "converse", payload)) == pytest.approx(expected)


@pytest.mark.parametrize(("tier", "factor"), [("flex", 0.5), ("priority", 1.75), ("default", 1.0)])
def test_service_tiers(cost: CostOf, tier: str, factor: float) -> None:
    """https://docs.aws.amazon.com/bedrock/latest/userguide/service-tiers-inference.html"""
    payload = {**converse("amazon.nova-pro-v1:0", 1_000_000), "serviceTier": {"type": tier}}
    assert usd(cost("aws.bedrock", "converse", payload)) == pytest.approx(0.8 * factor)


@pytest.mark.parametrize(
    ("model", "body", "expected"),
    [
        ("amazon.titan-embed-text-v2:0", {"embedding": [], "inputTextTokenCount": 1_000_000}, 0.02),
        (
            "amazon.titan-text-express-v1",
            {"inputTextTokenCount": 1_000_000, "results": [{"tokenCount": 1_000_000}]},
            0.8,
        ),
        ("meta.llama3-70b-instruct-v1:0", {"prompt_token_count": 1_000_000, "generation_token_count": 1_000_000}, 6.15),
        ("amazon.nova-lite-v1:0", {"usage": {"inputTokens": 1_000_000, "outputTokens": 1_000_000}}, 0.3),
        (
            "anthropic.claude-3-haiku-20240307-v1:0",
            {
                "type": "message_stop",
                "amazon-bedrock-invocationMetrics": {"inputTokenCount": 10**6, "outputTokenCount": 10**6},
            },
            1.5,
        ),
    ],
)
def test_invoke_model_bodies_in_their_own_words(
    cost: CostOf, model: str, body: dict[str, Any], expected: float
) -> None:
    assert usd(cost("aws.bedrock", "invoke_model", body, {"modelId": model})) == pytest.approx(expected)


def test_invoke_model_counts_in_headers(cost: CostOf) -> None:
    headers = {"X-Amzn-Bedrock-Input-Token-Count": "1000000", "x-amzn-bedrock-output-token-count": "0"}
    body = {"embeddings": [[0.1]], "texts": ["a"]}
    asked = {"modelId": "cohere.embed-english-v3"}
    assert usd(cost("aws.bedrock", "invoke_model", body, asked, headers=headers)) == pytest.approx(0.1)
    response = {"body": object(), "ResponseMetadata": {"HTTPHeaders": headers}}
    assert usd(cost("aws.bedrock", "invoke_model", response, asked)) == pytest.approx(0.1)


def test_a_count_that_a_guardrail_took_out_of_the_body_is_in_the_headers(cost: CostOf) -> None:
    headers = {"x-amzn-bedrock-input-token-count": "1000000", "x-amzn-bedrock-output-token-count": "1000000"}
    body = {"usage": {"inputTokens": 1_000_000}, "amazon-bedrock-guardrailAction": "INTERVENED"}
    asked = {"modelId": "amazon.nova-lite-v1:0"}
    assert usd(cost("aws.bedrock", "converse", body, asked, headers=headers)) == pytest.approx(0.06 + 0.24)


@pytest.mark.parametrize(("documents", "searches"), [(1, 1), (100, 1), (101, 2)])
def test_rerank_bills_a_search_per_hundred_documents(cost: CostOf, documents: int, searches: int) -> None:
    """https://docs.aws.amazon.com/bedrock/latest/userguide/rerank-pricing.html"""
    answer = {"results": [{"index": 0, "relevanceScore": 0.9}]}
    asked = {
        "queries": [{}],
        "sources": [{}] * documents,
        "rerankingConfiguration": {
            "bedrockRerankingConfiguration": {
                "modelConfiguration": {"modelArn": "arn:aws:bedrock:us-west-2::foundation-model/cohere.rerank-v3-5:0"}
            }
        },
    }
    assert usd(cost("aws.bedrock", "rerank", answer, asked)) == pytest.approx(0.002 * searches)
    body = json.dumps({"query": "q", "documents": ["d"] * documents})
    invoked = {"modelId": "amazon.rerank-v1:0", "body": body}
    assert usd(cost("aws.bedrock", "invoke_model", answer, invoked)) == pytest.approx(0.001 * searches)


def test_images_are_billed_each(cost: CostOf) -> None:
    answer = {"images": ["aGk=", "aGk="]}
    assert usd(cost("aws.bedrock", "invoke_model", answer, {"modelId": "amazon.nova-canvas-v1:0"})) == pytest.approx(
        0.08
    )


def test_an_image_is_embedded_at_its_own_price(cost: CostOf) -> None:
    asked = {"modelId": "amazon.titan-embed-image-v1", "inputText": "a cat", "inputImage": "aGk="}
    answer = {"embedding": [0.1], "inputTextTokenCount": 1_000_000}
    assert usd(cost("aws.bedrock", "invoke_model", answer, asked)) == pytest.approx(0.8 + 0.00006)


@pytest.mark.parametrize("model", ["amazon.nova-canvas-v1:0", "amazon.titan-image-generator-v2:0"])
def test_an_image_of_a_quality_without_a_price_is_not_the_cheapest(cost: CostOf, model: str) -> None:
    asked = {"modelId": model, "imageGenerationConfig": {"quality": "ultra"}}
    assert cost("aws.bedrock", "invoke_model", {"images": ["aGk="]}, asked) is None


@pytest.mark.parametrize(
    ("asked", "seconds"),
    [({"videoGenerationConfig": {"durationSeconds": 12}}, 12), ({"videoGenerationConfig": {}}, 6)],
)
def test_a_video_is_billed_by_its_seconds(cost: CostOf, asked: dict[str, Any], seconds: int) -> None:
    request = {"modelId": "amazon.nova-reel-v1:0", "modelInput": asked}
    assert usd(cost("aws.bedrock", "async_invoke", {"status": "Completed"}, request)) == pytest.approx(seconds * 0.08)
    assert cost("aws.bedrock", "async_invoke", {"status": "InProgress"}, request) is None


def test_rates_of_every_model_price_none_that_is_unknown(cost: CostOf) -> None:
    usage = {"contentPolicyUnits": 1}
    guarded = {"trace": {"guardrail": {"inputAssessment": {"g": {"invocationMetrics": {"usage": usage}}}}}}
    assert cost("aws.bedrock", "converse", {**converse("acme.unknown-v1:0", 1_000), **guarded}) is None


def test_each_model_of_an_agent_is_priced(cost: CostOf) -> None:
    invocations = [
        {"model": "amazon.nova-pro-v1:0", "inputTokens": 1_000_000, "outputTokens": 0},
        {"model": "amazon.nova-lite-v1:0", "inputTokens": 1_000_000, "outputTokens": 0},
    ]
    answer = {"model": "amazon.nova-pro-v1:0", "usage": {"invocations": invocations}}
    assert usd(cost("aws.bedrock", "invoke_agent", answer)) == pytest.approx(0.8 + 0.06)


@pytest.mark.parametrize("answer", [{"generated": [{"details": {}}]}, {"details": None}, {}])
def test_a_text_generation_without_counts_has_no_tokens(answer: dict[str, Any]) -> None:
    reading = read_usage("aws.sagemaker", "text_generation", answer)
    assert reading is None or reading.usage.total_tokens == 0


def test_a_text_generation_that_counts_no_input_says_so() -> None:
    reading = read_usage("aws.sagemaker", "text_generation", {"generated": [{"details": {"generated_tokens": 5}}]})
    assert reading is not None
    assert (reading.usage.output, reading.notes) == (5, ("usage_inconsistent",))
