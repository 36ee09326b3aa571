"""The user's own prices: what they match, what they say, and how mistakes in them are reported."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from genledger.pricing import Cost, PriceFileError, configure, load_overrides

CostOf = Callable[..., Cost | None]
Override = Callable[..., Callable[[], None]]
PROFILE = "arn:aws:bedrock:eu-west-1:123456789012:application-inference-profile/k7"


def chat(
    model: str = "gpt-4o-2024-08-06", prompt: int = 1_000_000, completion: int = 0, **usage: Any
) -> dict[str, Any]:
    return {"model": model, "usage": {"prompt_tokens": prompt, "completion_tokens": completion, **usage}}


def usd(cost: Cost | None) -> float:
    assert cost is not None
    return cost.amount


@pytest.fixture
def prices(tmp_path: Path) -> Callable[[str], Path]:
    def write(text: str) -> Path:
        path = tmp_path / "prices.toml"
        path.write_text(text, encoding="utf-8")
        return path

    return write


@pytest.mark.parametrize(
    "where",
    [
        {"model": "gpt-4o-2024-08-06"},
        {"model": "GPT-4o-2024-08-06"},
        {"model": "gpt-4o*"},
        {"model": "gpt-?o-2024-*"},
        {"model": r"/^gpt-4o-\d{4}/"},
        {"model": ["gpt-5", "gpt-4o*"]},
        {"provider": "openai"},
        {"provider": "open*", "model": "gpt-4o*"},
        {"deployment": "prod-*"},
        {"base_url": "https://llm.internal/*"},
    ],
    ids=str,
)
def test_a_price_matches_by_name_glob_or_regex(cost: CostOf, where: dict[str, Any], override: Override) -> None:
    override(**where, per_million={"input": 7})
    found = cost("openai", "chat", chat(), {"model": "prod-chat"}, base_url="https://llm.internal/v1")
    assert usd(found) == pytest.approx(7)
    assert found is not None
    assert (found.source, found.table_date) == ("override", None)


@pytest.mark.parametrize(
    "where",
    [
        {"model": "gpt-4o"},
        {"model": "gpt-4o-2024-08-06", "provider": "azure"},
        {"deployment": "prod"},
        {"base_url": "https://llm.internal"},
        {"profile": "*"},
        {"model": "*", "tier": "batch"},
        {"model": "*", "region": "*"},
        {"model": "*", "valid_from": "2026-11-22"},
        {"model": "*", "valid_until": "2026-11-21"},
    ],
    ids=str,
)
def test_a_price_that_is_about_other_calls_does_not_apply(
    cost: CostOf, where: dict[str, Any], override: Override
) -> None:
    override(**where, per_million={"input": 7})
    found = cost("openai", "chat", chat(), {"model": "prod-chat"}, base_url="https://llm.internal/v1")
    assert usd(found) == pytest.approx(2.5)


@pytest.mark.parametrize("name", ["azure", "azure.ai.openai", "azure_openai"])
def test_a_provider_is_meant_under_all_its_names(cost: CostOf, name: str, override: Override) -> None:
    override(provider=name, per_million={"input": 7})
    assert usd(cost("az.ai.openai", "chat", chat())) == pytest.approx(7)
    assert usd(cost("openai", "chat", chat())) == pytest.approx(2.5)


def test_a_model_is_meant_by_the_name_it_was_asked_for_too(cost: CostOf, override: Override) -> None:
    override(model="gpt-4o", per_million={"input": 7})
    assert usd(cost("openai", "chat", chat(), {"model": "gpt-4o"})) == pytest.approx(7)
    assert usd(cost("azure", "chat", chat("gpt-4.1-2025-04-14"), {"model": "gpt-4o"})) == pytest.approx(2)


def test_every_bucket_and_unit_can_have_a_rate(cost: CostOf, override: Override) -> None:
    override(
        model="claude-opus-5",
        per_million={"input": 1, "cache_read": 2, "cache_write": 3, "cache_write_1h": 4, "output": 5},
        per_unit={"web_search": 0.5, "request": 0.25},
    )
    usage = {
        "input_tokens": 10**6,
        "output_tokens": 10**6,
        "cache_read_input_tokens": 10**6,
        "cache_creation_input_tokens": 2 * 10**6,
        "cache_creation": {"ephemeral_5m_input_tokens": 10**6, "ephemeral_1h_input_tokens": 10**6},
        "server_tool_use": {"web_search_requests": 2},
    }
    found = cost("anthropic", "messages", {"model": "claude-opus-5", "usage": usage})
    assert usd(found) == pytest.approx(1 + 2 + 3 + 4 + 5 + 1 + 0.25)


def test_what_readers_count_beside_tokens_can_have_a_rate(cost: CostOf, override: Override) -> None:
    rates = {"upscaled_image": 0.5, "cached_token_hour": 1e-6, "4k_second": 0.25, "silent_second": 0.125}
    override(provider="google", model="mine", per_unit=rates)
    enlarged = {"predictions": [{"bytesBase64Encoded": "cGl4ZWxz"}]}
    request = {"model": "mine", "parameters": {"mode": "upscale"}}
    assert usd(cost("google", "images", enlarged, request)) == pytest.approx(0.5)
    kept = {"createTime": "2026-06-01T10:00:00Z", "expireTime": "2026-06-01T12:00:00Z"}
    cached = {**kept, "usageMetadata": {"totalTokenCount": 500_000}}
    assert usd(cost("google", "cachedContents", cached, {"model": "mine"})) == pytest.approx(1)


def test_rates_stand_alone_what_is_not_named_is_billed_like_what_it_is_a_kind_of(
    cost: CostOf, override: Override
) -> None:
    override(model="gpt-4o*", per_million={"input": 1, "output": 2})
    payload = chat(completion=10**6, prompt_tokens_details={"cached_tokens": 500_000})
    assert usd(cost("openai", "chat", payload)) == pytest.approx(3)


def test_a_factor_multiplies_what_the_table_says(cost: CostOf, override: Override) -> None:
    override(provider="openai", factor=0.85, note="enterprise agreement")
    found = cost("openai", "chat", chat(completion=10**6))
    assert usd(found) == pytest.approx(0.85 * 12.5)
    assert found is not None
    assert found.source == "override"
    assert found.table_date is not None
    assert "enterprise agreement" in found.notes


def test_a_factor_can_spare_what_is_not_a_token(cost: CostOf, override: Override) -> None:
    override(provider="anthropic", factor={"tokens": 0.5})
    usage = {"input_tokens": 10**6, "output_tokens": 0, "server_tool_use": {"web_search_requests": 1}}
    assert usd(cost("anthropic", "messages", {"model": "claude-opus-5", "usage": usage})) == pytest.approx(2.5 + 0.01)


def test_an_alias_prices_a_deployment_as_the_model_it_serves(cost: CostOf, override: Override) -> None:
    override(provider="azure", deployment="prod-chat", alias="gpt-4.1-mini")
    found = cost("azure", "chat", chat(""), {"model": "prod-chat"})
    assert usd(found) == pytest.approx(0.4)
    assert found is not None
    assert "alias:gpt-4.1-mini" in found.notes


def test_an_alias_follows_tiers_dates_and_a_factor(cost: CostOf, override: Override) -> None:
    override(provider="azure", deployment="prod-chat", alias="gpt-4.1-mini", factor=0.5)
    asked = {"model": "prod-chat", "batch": True}
    assert usd(cost("azure", "chat", chat(""), asked)) == pytest.approx(0.1)


def test_an_alias_may_name_another_providers_model(cost: CostOf, override: Override) -> None:
    override(provider="my-gateway", model="fast", alias="claude-haiku-4-5")
    assert usd(cost("my-gateway", "chat", chat("fast"))) == pytest.approx(1)
    override(provider="my-gateway", model="eu", alias="mistral-large-2512", alias_provider="mistral_ai")
    assert usd(cost("my-gateway", "chat", chat("eu"))) == pytest.approx(0.5)


def test_an_azure_deployment_is_known_from_the_url_too(cost: CostOf, override: Override) -> None:
    override(deployment="prod-chat", alias="gpt-4.1-mini")
    url = "https://acme.openai.azure.com/openai/deployments/prod-chat/chat/completions?api-version=1"
    assert usd(cost("azure", "chat", chat(""), base_url=url)) == pytest.approx(0.4)


def test_a_bedrock_inference_profile(cost: CostOf, override: Override) -> None:
    override(profile=PROFILE, alias="eu.anthropic.claude-sonnet-4-5-20250929-v1:0", factor=0.9)
    payload = {"modelId": PROFILE, "usage": {"inputTokens": 10**6, "outputTokens": 0}}
    assert usd(cost("aws.bedrock", "converse", payload)) == pytest.approx(3.3 * 0.9)


def test_free_on_purpose_is_a_cost_of_zero_and_not_unpriced(cost: CostOf, override: Override) -> None:
    assert cost("vllm", "chat", chat("qwen3-8b")) is None
    override(provider="vllm", free=True)
    found = cost("vllm", "chat", chat("qwen3-8b", completion=5))
    assert found is not None
    assert (found.amount, found.source) == (0, "override")
    assert {part.bucket for part in found.parts} == {"input", "output"}


@pytest.mark.parametrize(
    ("rates", "expected"),
    [
        ({"per_hour": 2.5}, 2.5 / 2),
        ({"per_unit": {"item": 0.0001}}, 0.01),
        ({"per_million": {"input": 3, "output": 1}}, 3.0),
        ({"per_hour": 2.5, "per_unit": {"item": 0.0001}}, 2.5 / 2 + 0.01),
        ({"per_hour": 0}, 0.0),
        ({"free": True}, 0.0),
    ],
    ids=str,
)
def test_a_model_in_the_process_is_priced_by_the_hour_the_item_or_the_token(
    cost: CostOf, override: Override, rates: dict[str, Any], expected: float
) -> None:
    override(provider="transformers", model="tiny", **rates)
    measured = {"genledger.measured": {"device_second": 1800.0, "item": 100}}
    found = cost("transformers", "chat", {**chat("tiny"), **measured})
    assert usd(found) == pytest.approx(expected)
    assert found is not None
    assert found.notes == ()


def test_what_was_measured_alone_is_no_usage_of_tokens(cost: CostOf, override: Override) -> None:
    override(provider="fastembed", per_million={"input": 1})
    assert cost("fastembed", "embeddings", {"model": "m", "genledger.measured": {"item": 3}}) is None


@pytest.mark.parametrize("measured", [7, [], {"item": "many"}, {"device_second": -1}, {"request": 3}], ids=str)
def test_what_cannot_have_been_measured_is_left_out(cost: CostOf, override: Override, measured: object) -> None:
    override(provider="transformers", per_hour=1, per_million={"input": 1}, per_unit={"item": 1})
    assert usd(cost("transformers", "chat", {**chat("m"), "genledger.measured": measured})) == pytest.approx(1)


def test_a_rate_of_zero_is_free_too(cost: CostOf, override: Override) -> None:
    override(base_url="http://gpu-*/v1", per_million={"input": 0, "output": 0})
    found = cost("openai", "chat", chat("llama-3"), base_url="http://gpu-7/v1")
    assert found is not None
    assert found.amount == 0


def test_an_endpoint_that_does_not_name_its_model_has_the_price_of_its_address(
    cost: CostOf, override: Override
) -> None:
    override(base_url="http://gpu-*", per_million={"input": 1, "output": 2})
    nameless = {"usage": {"prompt_tokens": 10**6, "completion_tokens": 10**6}}
    assert usd(cost("huggingface", "chat", nameless, base_url="http://gpu-7/v1")) == pytest.approx(3)
    assert cost("huggingface", "chat", nameless, base_url="http://cpu-7/v1") is None


def test_validity_is_from_a_day_until_before_a_day(cost: CostOf, override: Override) -> None:
    override(model="gpt-4o*", per_million={"input": 7}, valid_from="2026-07-01", valid_until="2026-08-01")
    days = {"2026-06-30": 2.5, "2026-07-01": 7, "2026-07-31": 7, "2026-08-01": 2.5}
    for day, expected in days.items():
        assert usd(cost("openai", "chat", chat(), at=f"{day}T12:00:00+00:00")) == pytest.approx(expected)


def test_a_price_for_a_tier(cost: CostOf, override: Override) -> None:
    override(model="gpt-4o*", per_million={"input": 4})
    override(model="gpt-4o*", tier="batch", per_million={"input": 1})
    assert usd(cost("openai", "chat", chat(), {"batch": True})) == pytest.approx(1)
    assert usd(cost("openai", "chat", chat())) == pytest.approx(4)


def test_a_price_without_a_tier_says_that_it_does_not_know_the_tier(cost: CostOf, override: Override) -> None:
    override(model="gpt-4o*", per_million={"input": 4})
    found = cost("openai", "batch", chat())
    assert usd(found) == pytest.approx(4)
    assert found is not None
    assert "tier_not_applied:batch" in found.notes


def test_rates_above_a_prompt_size(cost: CostOf, override: Override) -> None:
    override(model="m", per_million={"input": 1, "output": 1}, above=1_000, per_million_above={"input": 2, "output": 3})
    assert usd(cost("x", "chat", chat("m", 1_000, 0))) == pytest.approx(0.001)
    assert usd(cost("x", "chat", chat("m", 1_001, 1))) == pytest.approx((1_001 * 2 + 3) / 1e6)


def test_the_first_price_in_the_file_wins_and_code_goes_before_it(
    cost: CostOf, prices: Callable[[str], Path], override: Override
) -> None:
    configure(
        prices(
            """
            [[price]]
            model = "gpt-4o*"
            per_million = { input = 1 }

            [[price]]
            model = "*"
            per_million = { input = 2 }
            """
        )
    )
    assert usd(cost("openai", "chat", chat())) == pytest.approx(1)
    remove = override(model="gpt-4o*", per_million={"input": 3})
    assert usd(cost("openai", "chat", chat())) == pytest.approx(3)
    remove()
    assert usd(cost("openai", "chat", chat())) == pytest.approx(1)
    configure(None)
    assert usd(cost("openai", "chat", chat())) == pytest.approx(2.5)


def test_what_the_provider_reported_goes_before_the_users_price(cost: CostOf, override: Override) -> None:
    override(provider="openrouter", per_million={"input": 7})
    assert usd(cost("openrouter", "chat", chat("x/y", cost=0.001))) == pytest.approx(0.001)


@pytest.mark.parametrize(
    ("text", "line", "expected"),
    [
        ('[[price]]\nmodel = "m"\nper_milion = { input = 1 }\n', 3, "did you mean 'per_million'?"),
        ('[[price]]\nmodel = "m"\n\nper_million = { inptu = 1 }\n', 4, "expected one of input"),
        ('[[price]]\nmodel = "m"\nper_million = { input = -1 }\n', 3, "zero or more"),
        ('[[price]]\nmodel = "m"\nper_million = { input = "2" }\n', 3, "a number, zero or more, got '2'"),
        (
            '[[price]]\nmodel = "m"\nfree = true\n\n[[price]]\nmodel = "n"\nfactor = "half"\n',
            7,
            "a number, zero or more",
        ),
        ("# mine\n[[price]]\nper_million = { input = 1 }\n", 2, "at least one of provider"),
        ('[[price]]\nmodel = "m"\n', 1, "at least one of per_million"),
        ('[[price]]\nmodel = "/gpt-(/"\nfree = true\n', 2, "regular expression"),
        ('[[price]]\nmodel = "m"\nvalid_from = "soon"\nfree = true\n', 3, "date like"),
        ('[[price]]\nmodel = "m"\nfree = true\nvalid_from = 2026-02-01\nvalid_until = 2026-01-01\n', 5, "after"),
        ('[[price]]\nmodel = "m"\nfree = true\nfactor = 0.5\n', 3, "free: cannot be combined"),
        ('[[price]]\nmodel = "m"\n[price.per_million]\noutput = 1\ninputs = 2\n', 5, "inputs"),
        ('[[price]]\nmodel = "m"\nper_million = { input = 1\n', 3, "TOML"),
        ('[price]\nmodel = "m"\n', 1, "two brackets"),
        ('[[prices]]\nmodel = "m"\n', 1, "did you mean 'price'?"),
        ("[[price]]\nmodel = 3\nfree = true\n", 2, "model: expected a name"),
        ('[[price]]\nmodel = "m"\nfree = "yes"\n', 3, "true or false"),
        (
            '[[price]]\nmodel = "m"\nper_million = { input = 1 }\nabove = 10\n',
            4,
            "above: goes together with per_million_above",
        ),
        ('[[price]]\nmodel = "m"\nper_unit = { web_serch = 1 }\n', 3, "web_search"),
        ('[[price]]\nmodel = "m"\nper_hour = -1\n', 3, "zero or more"),
    ],
)
def test_a_mistake_names_the_file_the_line_and_what_was_expected(
    prices: Callable[[str], Path], text: str, line: int, expected: str
) -> None:
    path = prices(text)
    with pytest.raises(PriceFileError) as caught:
        load_overrides(path)
    assert str(caught.value).startswith(f"{path}:{line}: ")
    assert expected in str(caught.value)
    assert [mistake.line for mistake in caught.value.mistakes] == [line]


def test_all_mistakes_are_named_at_once_in_the_order_of_the_file(prices: Callable[[str], Path]) -> None:
    path = prices(
        '[[price]]\nmodel = ["m", 3]\nper_million = { input = -1, inptu = 2 }\nabove = 0\n\n'
        '[[price]]\nfree = "yes"\n[price.factor]\noutptu = 1\n'
    )
    with pytest.raises(PriceFileError) as caught:
        load_overrides(path)
    assert [line.removeprefix(f"{path}:").split(": ")[:2] for line in caught.value.lines] == [
        ["2", "model"],
        ["3", "per_million.input"],
        ["3", "per_million.inptu"],
        ["4", "above"],
        ["4", "above"],
        ["6", "price"],
        ["7", "free"],
        ["9", "factor.outptu"],
    ]


def test_all_mistakes_of_a_price_in_code_are_named_at_once(override: Override) -> None:
    with pytest.raises(ValueError, match=r"tier: expected .*; per_million.inptu: is not .*; alias_provider: goes"):
        override(model="m", tier="", per_million={"inptu": 1}, alias_provider="openai")


def test_a_file_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(PriceFileError, match=r"nowhere\.toml: cannot be read"):
        configure(tmp_path / "nowhere.toml")


def test_a_broken_file_leaves_the_prices_as_they_were(cost: CostOf, prices: Callable[[str], Path]) -> None:
    configure(prices('[[price]]\nmodel = "gpt-4o*"\nper_million = { input = 1 }\n'))
    with pytest.raises(PriceFileError):
        configure(prices("[[price]]\n"))
    assert usd(cost("openai", "chat", chat())) == pytest.approx(1)


def test_the_example_in_the_documentation_is_valid(tmp_path: Path) -> None:
    text = (Path(__file__).resolve().parents[3] / "docs" / "pricing.md").read_text(encoding="utf-8")
    example = text.split("```toml\n")[1].split("```")[0]
    path = tmp_path / "prices.toml"
    path.write_text(example, encoding="utf-8")
    assert len(load_overrides(path)) == example.count("[[price]]")
