"""No number in an answer makes a call cost what it cannot have cost."""

from __future__ import annotations

import math
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from genledger.pricing import Cost, Usage, cost_of_response, price, read_usage
from genledger.pricing.plausibility import MOST_UNCOUNTED, MULTIPLE, SURCHARGE

CostOf = Callable[..., Cost | None]
Override = Callable[..., Callable[[], None]]

AT = datetime(2026, 11, 21, 12, tzinfo=UTC)
AT_NS = int(AT.timestamp()) * 10**9
HOME = "https://openrouter.ai/api/v1"
THOUSAND = Usage(input=1_000, output=1_000)
LISTED = 0.002
"""USD for a thousand tokens in and out of gpt-4.1-mini, at OpenAI's list price of 0.40 and 1.60 per million."""


def priced(reported: float | None, usage: Usage = THOUSAND, model: str | None = "openai/gpt-4.1-mini") -> Cost | str:
    return price(usage, provider="openrouter", model=model, base_url=HOME, at_ns=AT_NS, reported=reported)


def cost_at(found: Cost | str) -> float:
    assert isinstance(found, Cost), found
    return found.amount


@pytest.mark.parametrize("times", [0.3, 1, 2.9, MULTIPLE])
def test_a_report_near_the_known_price_is_the_cost(times: float) -> None:
    found = priced(LISTED * times)
    assert found == Cost(LISTED * times, "provider")


@pytest.mark.parametrize("fee", [0.005, 0.007, 0.02, SURCHARGE])
def test_a_fee_per_request_on_top_of_few_tokens_is_the_cost(fee: float) -> None:
    """Searches: recorded answers of OpenRouter cost up to 22 times their tokens."""
    assert priced(fee, Usage(input=10, output=10)) == Cost(fee, "provider")


@pytest.mark.parametrize("times", [100, 1e6, 1e300, math.inf])
def test_a_report_far_from_the_known_price_is_not_and_the_cost_says_so(times: float) -> None:
    found = priced(LISTED * times)
    assert isinstance(found, Cost)
    assert (found.amount, found.source) == (pytest.approx(LISTED), "table")
    assert [note.partition(":")[0] for note in found.notes] == ["reported_rejected"]


def test_the_note_has_the_amount() -> None:
    found = priced(1e6)
    assert isinstance(found, Cost)
    assert found.notes == ("reported_rejected:1e+06",)


@pytest.mark.parametrize("wrong", [-1.0, -1e-9, math.nan, math.inf, -math.inf])
def test_no_caller_can_make_a_cost_of_what_is_no_amount(wrong: float) -> None:
    assert cost_at(priced(wrong)) == pytest.approx(LISTED)


def test_the_users_own_price_is_a_known_price_too(override: Override) -> None:
    remove = override(provider="openrouter", model="mine", per_million={"input": 1, "output": 1})
    try:
        assert cost_at(priced(0.02, model="mine")) == 0.02
        found = priced(1e6, model="mine")
        assert isinstance(found, Cost)
        assert (found.amount, found.source) == (pytest.approx(0.002), "override")
    finally:
        remove()


def test_of_a_model_without_a_price_the_dearest_models_price_is_the_measure() -> None:
    """OpenAI's list price of o1-pro, the dearest model there is: 150 and 600 USD per million tokens."""
    dearest = (1_000 * 150 + 1_000 * 600) / 1e6
    assert priced(dearest, model="a/new-model") == Cost(dearest, "provider")
    assert priced(dearest * MULTIPLE * 1.1, model="a/new-model") == "reported_rejected"
    assert priced(dearest, model=None) == Cost(dearest, "provider")
    assert priced(1e6, model=None) == "reported_rejected"


def test_an_answer_that_counts_nothing_may_have_been_a_video_but_no_more() -> None:
    assert priced(MOST_UNCOUNTED, Usage()) == Cost(MOST_UNCOUNTED, "provider")
    assert priced(MOST_UNCOUNTED + 0.01, Usage()) == "reported_rejected"


def test_what_nobody_has_a_price_for_is_bounded_like_what_is_not_counted() -> None:
    clips = Usage(units={"clip": 1.0})
    assert priced(6.0, clips) == Cost(6.0, "provider")
    assert priced(1e6, clips, model="a/new-model") == "reported_rejected"


def test_a_price_that_leaves_out_a_unit_is_no_measure_of_the_whole() -> None:
    """The table's price of the text says nothing about the picture made beside it."""
    picture = Usage(input=10, output=10, units={"image_of_a_new_size": 1.0})
    assert cost_at(priced(0.25, picture)) == 0.25
    assert cost_at(priced(1e6, picture)) < 0.001


def test_notes_on_a_report_go_with_it(cost: CostOf) -> None:
    usage = {"prompt_tokens": 1_000, "completion_tokens": 1_000, "total_tokens": 2_000, "cost": 1e6, "is_byok": True}
    found = cost("openrouter", "chat", {"model": "openai/gpt-4.1-mini", "usage": usage})
    assert found is not None
    assert found.notes == ("reported_rejected:1e+06",)
    found = cost(
        "openai", "chat", {"model": "gpt-4.1-mini", "usage": usage}, headers={"x-litellm-response-cost": "9e9"}
    )
    assert found is not None
    assert found.notes == ("reported_rejected:9e+09",)


@pytest.mark.parametrize(
    ("provider", "body", "headers"),
    [
        ("openrouter", {"usage": {"cost": 1e6}}, {}),
        ("x_ai", {"usage": {"cost_in_usd_ticks": 10**16}}, {}),
        ("perplexity", {"usage": {"cost": {"total_cost": 1e6}}}, {}),
        ("github_copilot", {"copilot_usage": {"total_nano_aiu": 10**17}}, {}),
        ("venice", {"cost": {"usd": 1e6, "diem": 0}}, {}),
        ("litellm", {}, {"x-litellm-response-cost": "1000000"}),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_a_million_in_an_answer_without_usage_costs_nothing_known(
    provider: str, body: dict[str, Any], headers: dict[str, str]
) -> None:
    reading = read_usage(provider, "chat", {"model": "some-model", **body}, headers=headers)
    assert reading is not None
    assert reading.reported == pytest.approx(1e6)
    found = price(reading.usage, provider=provider, model=reading.model, reported=reading.reported, notes=reading.notes)
    assert found == "reported_rejected"


numbers = st.floats() | st.integers() | st.integers(-(10**400), 10**400) | st.sampled_from([1e6, 1e308, 0, -5])
anything = numbers | st.text(max_size=6) | st.booleans() | st.none() | st.lists(numbers, max_size=2)
reports = st.fixed_dictionaries(
    {},
    optional={
        "cost": anything | st.fixed_dictionaries({"total_cost": anything}),
        "cost_in_usd_ticks": anything,
        "is_byok": st.booleans(),
        "cost_details": st.fixed_dictionaries({"upstream_inference_cost": anything}),
        "pydantic_ai_gateway": st.fixed_dictionaries({"cost_estimate": anything}),
    },
)
beside = st.fixed_dictionaries(
    {},
    optional={
        "cost": st.fixed_dictionaries({"usd": anything, "diem": anything}),
        "copilot_usage": st.fixed_dictionaries({"total_nano_aiu": anything}),
    },
)
headers_of_gateways = st.fixed_dictionaries(
    {}, optional={"x-litellm-response-cost": numbers.map(str) | st.text(max_size=6) | st.just("1e400")}
)
places = st.sampled_from(
    [
        ("openai", "https://api.openai.com/v1"),
        ("openrouter", HOME),
        ("x_ai", "https://api.x.ai/v1"),
        ("perplexity", "https://api.perplexity.ai"),
        ("venice", "https://api.venice.ai/api/v1"),
        ("github_copilot", "https://api.githubcopilot.com"),
        ("openai", "http://llm.internal:4000/v1"),
        ("litellm", None),
    ]
)
tokens = st.integers(0, 10**6)


@given(places, st.sampled_from(["gpt-4.1-mini", "openai/gpt-4.1-mini", "new-model"]), tokens, tokens, st.data())
@settings(deadline=None, max_examples=500)
def test_nothing_that_is_reported_makes_a_cost_impossible(
    place: tuple[str, str | None], model: str, prompt: int, completion: int, data: st.DataObject
) -> None:
    provider, base_url = place
    counted = {"prompt_tokens": prompt, "completion_tokens": completion, "total_tokens": prompt + completion}
    body = {"model": model, "usage": counted | data.draw(reports), **data.draw(beside)}

    def cost(payload: Any, headers: Any) -> Cost | None:
        return cost_of_response(
            provider=provider, api="chat", payload=payload, base_url=base_url, headers=headers, at=AT
        )

    found = cost(body, data.draw(headers_of_gateways))
    known = cost({"model": model, "usage": counted}, {})
    assert found is None or (math.isfinite(found.amount) and found.amount >= 0)
    if known is not None:
        assert found is not None
        assert found.amount <= MULTIPLE * known.amount + SURCHARGE
        assert found.source == "provider" or found.amount == known.amount
    elif found is not None:
        dearest = (prompt * 150 + completion * 600) / 1e6
        assert found.amount <= (MULTIPLE * dearest + SURCHARGE if prompt + completion else MOST_UNCOUNTED) * (1 + 1e-9)


@given(reports, beside, headers_of_gateways, st.sampled_from(["chat", "responses", "messages"]), st.data())
@settings(deadline=None, max_examples=300)
def test_who_reports_no_costs_is_not_believed_about_them(
    report: dict[str, Any], more: dict[str, Any], headers: dict[str, str], api: str, data: st.DataObject
) -> None:
    names = ("prompt_tokens", "completion_tokens") if api == "chat" else ("input_tokens", "output_tokens")
    counted = {name: data.draw(tokens | numbers) for name in names}
    whole = all(isinstance(count, int) for count in counted.values())
    total = data.draw(st.just(sum(counted.values())) if whole else numbers)
    body = {"model": "m", "usage": counted | {"total_tokens": total} | report, **more}
    provider = "anthropic" if api == "messages" else "openai"
    base_url = data.draw(st.sampled_from([f"https://api.{provider}.com", f"https://api.{provider}.com/v1/"]))
    found = read_usage(provider, api, body, {"model": "m"}, base_url=base_url, headers=headers)
    assert found is None or found.reported is None
