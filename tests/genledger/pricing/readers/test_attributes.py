"""Usage in the attributes of spans."""

from __future__ import annotations

from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from genledger.engine.priced_usage import usage_attributes
from genledger.pricing import TOKEN_BUCKETS, Usage
from genledger.pricing.readers.attributes import usage_from_attributes

counts = st.integers(0, 10_000)


@given(st.fixed_dictionaries(dict.fromkeys(TOKEN_BUCKETS, counts)), st.sampled_from([{}, {"web_search": 2.0}]))
def test_what_is_written_on_a_span_is_read_back(tokens: dict[str, int], units: dict[str, float]) -> None:
    usage = Usage(**tokens, units=units)
    attributes: dict[str, Any] = {}
    usage_attributes(usage, attributes, generates=True)
    assert usage_from_attributes(attributes) == usage


def test_an_input_that_leaves_the_cached_tokens_out_is_what_was_not_cached() -> None:
    span = {"gen_ai.usage.input_tokens": 71, "gen_ai.usage.cache_read_input_tokens": 1049}
    assert usage_from_attributes(span) == Usage(input=71, cache_read=1049)


def test_a_span_that_says_nothing_of_usage_has_none() -> None:
    assert usage_from_attributes({"gen_ai.request.model": "gpt-4o"}) is None
    assert usage_from_attributes({"gen_ai.usage.input_tokens": "many"}) is None


@given(st.dictionaries(st.sampled_from([
    "gen_ai.usage.input_tokens", "llm.usage.prompt_tokens", "gen_ai.usage.output_tokens", "genledger.usage.image",
    "gen_ai.usage.cache_read.input_tokens", "gen_ai.usage.cache_creation_input_tokens",
    "gen_ai.usage.audio.input_tokens", "gen_ai.usage.audio.cache_read.input_tokens",
    "gen_ai.usage.reasoning.output_tokens", "genledger.usage.cache_write_1h",
]), st.integers(-5, 10_000) | st.floats() | st.text() | st.booleans() | st.none()))  # fmt: skip
def test_whatever_a_span_says_no_bucket_is_negative(span: dict[str, Any]) -> None:
    usage = usage_from_attributes(span)
    assert usage is None or all(amount > 0 for _, amount in usage.buckets())
