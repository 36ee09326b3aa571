from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from genledger_semconv.checker.numbers import check_cost, check_usage

USAGE = {
    "gen_ai.usage.input_tokens": 100,
    "gen_ai.usage.output_tokens": 50,
    "gen_ai.usage.cache_read.input_tokens": 60,
    "gen_ai.usage.cache_write.input_tokens": 40,
    "gen_ai.usage.reasoning.output_tokens": 50,
    "gen_ai.usage.text.input_tokens": 70,
    "gen_ai.usage.image.input_tokens": 20,
    "gen_ai.usage.audio.input_tokens": 10,
    "gen_ai.usage.text.output_tokens": 30,
    "gen_ai.usage.image.output_tokens": 15,
    "gen_ai.usage.audio.output_tokens": 5,
    "gen_ai.usage.text.cache_read.input_tokens": 45,
    "gen_ai.usage.image.cache_read.input_tokens": 10,
    "gen_ai.usage.audio.cache_read.input_tokens": 5,
    "genledger.usage.cache_write_1h": 40,
    "genledger.usage.second": 1.5,
}
COST = {
    "genledger.cost.amount": 0.6,
    "genledger.cost.input": 0.1,
    "genledger.cost.output": 0.2,
    "genledger.cost.cache_read": 0.05,
    "genledger.cost.cache_write": 0.15,
    "genledger.cost.other": 0.1,
    "genledger.cost.source": "table",
}


def found(check: Any, attributes: dict[str, Any]) -> list[tuple[str, str | None]]:
    reported: list[tuple[str, str | None]] = []
    check(attributes, lambda rule, message, attribute: reported.append((rule, attribute)))
    return reported


def test_usage_whose_parts_just_fill_their_totals_is_clean() -> None:
    assert found(check_usage, USAGE) == []


@pytest.mark.parametrize(
    ("part", "total"),
    [
        ("gen_ai.usage.cache_read.input_tokens", "gen_ai.usage.input_tokens"),
        ("gen_ai.usage.cache_write.input_tokens", "gen_ai.usage.input_tokens"),
        ("gen_ai.usage.reasoning.output_tokens", "gen_ai.usage.output_tokens"),
        ("gen_ai.usage.text.input_tokens", "gen_ai.usage.input_tokens"),
        ("gen_ai.usage.audio.output_tokens", "gen_ai.usage.output_tokens"),
        ("gen_ai.usage.image.cache_read.input_tokens", "gen_ai.usage.cache_read.input_tokens"),
    ],
)
def test_one_token_more_in_a_part_than_in_the_total_is_found(part: str, total: str) -> None:
    assert found(check_usage, {**USAGE, part: USAGE[part] + 1}) == [("usage", total)]


def test_more_cached_tokens_of_a_modality_than_tokens_of_it_are_found() -> None:
    attributes = {"gen_ai.usage.audio.input_tokens": 4, "gen_ai.usage.audio.cache_read.input_tokens": 5}
    assert found(check_usage, attributes) == [("usage", "gen_ai.usage.audio.input_tokens")]


def test_parts_without_their_total_are_no_contradiction() -> None:
    assert found(check_usage, {"gen_ai.usage.cache_read.input_tokens": 5}) == []


@pytest.mark.parametrize("name", ["gen_ai.usage.output_tokens", "genledger.usage.web_search"])
def test_negative_counts_are_found(name: str) -> None:
    assert found(check_usage, {name: -1}) == [("usage", name)]


@pytest.mark.parametrize(
    "attributes",
    [
        COST,
        {"genledger.cost.amount": 0.0, "genledger.cost.source": "override"},
        {
            "genledger.cost.amount": 1.25,
            "genledger.cost.source": "provider",
            "genledger.cost.notes": ["credits"],
        },
        {"genledger.cost.unpriced": "unknown_model"},
        {},
    ],
)
def test_calls_that_are_priced_or_unpriced_or_neither_are_clean(attributes: dict[str, Any]) -> None:
    assert found(check_cost, attributes) == []


@pytest.mark.parametrize(
    ("attributes", "attribute"),
    [
        ({**COST, "genledger.cost.amount": 0.600001}, "genledger.cost.amount"),
        ({"genledger.cost.amount": -0.1, "genledger.cost.source": "table"}, "genledger.cost.amount"),
        ({"genledger.cost.amount": float("nan"), "genledger.cost.source": "table"}, "genledger.cost.amount"),
        ({"genledger.cost.amount": 0.1}, "genledger.cost.source"),
        ({"genledger.cost.input": 0.1}, "genledger.cost.input"),
        ({"genledger.cost.unpriced": "no_rate", "genledger.cost.amount": 0.0}, "genledger.cost.amount"),
        ({"genledger.cost.unpriced": "no_rate", "genledger.cost.source": "table"}, "genledger.cost.source"),
        (
            {
                "genledger.cost.amount": 0.1,
                "genledger.cost.input": -0.1,
                "genledger.cost.output": 0.2,
                "genledger.cost.source": "table",
            },
            "genledger.cost.input",
        ),
    ],
)
def test_costs_that_contradict_themselves_are_found(attributes: dict[str, Any], attribute: str) -> None:
    assert found(check_cost, attributes) == [("cost", attribute)]


money = st.floats(min_value=0, max_value=1e6, allow_nan=False)


@settings(deadline=None)
@given(parts=st.tuples(money, money, money, money, money))
def test_parts_that_are_added_in_any_order_make_a_clean_amount(parts: tuple[float, ...]) -> None:
    names = ("input", "output", "cache_read", "cache_write", "other")
    attributes: dict[str, Any] = {f"genledger.cost.{name}": part for name, part in zip(names, parts, strict=True)}
    attributes |= {"genledger.cost.amount": sum(reversed(parts)), "genledger.cost.source": "table"}
    assert found(check_cost, attributes) == []


@settings(deadline=None)
@given(parts=st.tuples(money, money), missing=st.floats(min_value=1e-6, max_value=1))
def test_a_millionth_of_the_bill_that_is_missing_is_found(parts: tuple[float, float], missing: float) -> None:
    whole = sum(parts)
    attributes = {
        "genledger.cost.input": parts[0],
        "genledger.cost.output": parts[1],
        "genledger.cost.amount": whole + max(whole, 1e-6) * missing,
        "genledger.cost.source": "table",
    }
    assert found(check_cost, attributes) == [("cost", "genledger.cost.amount")]
