from __future__ import annotations

import math
from decimal import ROUND_DOWN, Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from genledger.destinations.langfuse.langfuse_usage import cost_details, is_usage_key, usage_details

counts = st.integers(0, 10_000)


@given(counts, counts, counts, counts, counts, counts, counts, counts, counts)
def test_buckets_are_exclusive_whole_and_add_up_to_the_providers_totals(
    text, cached, written, hour, audio, output, reasoning, audio_out, image
) -> None:
    given = {
        "gen_ai.usage.input_tokens": text + cached + written + hour + audio + image,
        "gen_ai.usage.output_tokens": output + reasoning + audio_out,
        "gen_ai.usage.cache_read.input_tokens": cached,
        "gen_ai.usage.cache_write.input_tokens": written + hour,
        "genledger.usage.cache_write_1h": hour,
        "gen_ai.usage.audio.input_tokens": audio,
        "gen_ai.usage.image.input_tokens": image,
        "gen_ai.usage.audio.output_tokens": audio_out,
        "gen_ai.usage.reasoning.output_tokens": reasoning,
    }
    details = usage_details(given)
    assert details is not None
    assert {key: value for key, value in details.items() if value} == {
        key: value
        for key, value in {
            "input": text,
            "input_cached_tokens": cached,
            "input_cache_creation": written,
            "input_cache_creation_1h": hour,
            "input_audio_tokens": audio,
            "input_image_tokens": image,
            "output": output + reasoning,
            "output_audio_tokens": audio_out,
            "total": text + cached + written + hour + audio + image + output + reasoning + audio_out,
        }.items()
        if value
    }


@given(st.dictionaries(st.sampled_from([
    "gen_ai.usage.input_tokens", "gen_ai.usage.prompt_tokens", "gen_ai.usage.output_tokens",
    "gen_ai.usage.completion_tokens", "gen_ai.usage.cache_read.input_tokens", "llm.token_count.prompt",
    "gen_ai.usage.cache_creation_input_tokens", "gen_ai.usage.audio.input_tokens",
    "gen_ai.usage.image.input_tokens", "gen_ai.usage.audio.output_tokens", "genledger.usage.cache_write_1h",
    "llm.token_count.completion", "genledger.usage.input_audio", "gen_ai.usage.audio.cache_read.input_tokens",
]), st.integers(-5, 10_000) | st.floats() | st.text() | st.booleans() | st.none()))  # fmt: skip
def test_whatever_is_reported_the_buckets_are_whole_never_negative_and_add_up(given) -> None:
    details = usage_details(given)
    if details is None:
        return
    total = details.pop("total")
    assert all(isinstance(value, int) and value >= 0 for value in details.values())
    assert total == sum(details.values())


@pytest.mark.parametrize(
    ("input", "cached", "output"),
    [
        ("gen_ai.usage.input_tokens", "gen_ai.usage.cache_read.input_tokens", "gen_ai.usage.output_tokens"),
        ("gen_ai.usage.prompt_tokens", "gen_ai.usage.cache_read_input_tokens", "gen_ai.usage.completion_tokens"),
        ("llm.usage.prompt_tokens", "llm.usage.cache_read_input_tokens", "llm.usage.completion_tokens"),
        ("llm.token_count.prompt", "llm.token_count.prompt_details.cache_read", "llm.token_count.completion"),
    ],
)
def test_the_names_that_others_use_are_understood(input, cached, output) -> None:
    assert usage_details({input: 100, cached: 60, output: 9}) == {
        "input": 40,
        "input_cached_tokens": 60,
        "output": 9,
        "total": 109,
    }


def test_an_input_that_leaves_the_cached_tokens_out_is_not_made_negative() -> None:
    given = {
        "gen_ai.usage.input_tokens": 71,
        "gen_ai.usage.cache_read_input_tokens": 1049,
        "gen_ai.usage.output_tokens": 5,
    }
    assert usage_details(given) == {"input": 71, "input_cached_tokens": 1049, "output": 5, "total": 1125}


def test_no_usage_is_not_zero_usage() -> None:
    assert usage_details({"gen_ai.request.model": "gpt-4o"}) is None
    assert usage_details({"gen_ai.usage.input_tokens": 0}) == {"input": 0, "output": 0, "total": 0}


def test_cost_is_numbers_with_the_total_of_the_call() -> None:
    given = {
        "genledger.cost.amount": 0.875,
        "genledger.cost.input": 0.5,
        "genledger.cost.cache_read": 0.125,
        "genledger.cost.cache_write": 0.0,
        "genledger.cost.output": 0.25,
    }
    assert cost_details(given) == {"input": 0.5, "input_cached_tokens": 0.125, "output": 0.25, "total": 0.875}


@given(st.decimals(0, 10, places=12))
def test_no_digit_is_lost_where_langfuse_cuts_an_amount(amount) -> None:
    """Sums of floats end in 0.0012799999999999999, which Langfuse cuts to 12 decimals."""
    nearly = math.nextafter(float(amount), 0.0)
    details = cost_details({"genledger.cost.amount": nearly, "genledger.cost.input": nearly})
    assert details is not None
    for sent in details.values():
        assert Decimal(repr(sent)).quantize(Decimal("1e-12"), ROUND_DOWN) == amount


def test_a_total_alone_stays_a_total_and_unknown_stays_unknown() -> None:
    assert cost_details({"genledger.cost.amount": 0.5}) == {"total": 0.5}
    assert cost_details({"genledger.cost.unpriced": "unknown_model"}) is None
    assert cost_details({"genledger.cost.amount": "0.5"}) is None


@pytest.mark.parametrize("wrong", [float("nan"), float("inf"), -5, -0.01, True])
def test_a_cost_that_is_no_amount_is_unknown(wrong) -> None:
    assert cost_details({"genledger.cost.amount": wrong}) is None
    assert cost_details({"genledger.cost.amount": 0.5, "genledger.cost.input": wrong}) == {"total": 0.5}


@pytest.mark.parametrize(
    "key", ["gen_ai.usage.input_tokens", "gen_ai.usage.cost", "gen_ai.usage.anything_new", "llm.token_count.prompt"]
)
def test_every_name_that_langfuse_reads_as_usage_is_known(key) -> None:
    assert is_usage_key(key)
    assert not is_usage_key("gen_ai.request.model")
