"""Estimates against what public tokenizers count (o200k: OpenAI; Claude 2: Anthropic; DeepSeek V3)."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from genledger.pricing import estimate_tokens

ENGLISH = (
    "The platform engineer runs the application and never edits it. The developer adds one line, the on-call "
    "engineer wants an alert with a switch behind it, and finance asks what one accepted draft costs."
)
CODE = '''def total(prices: list[float], *, tax: float = 0.19) -> float:
    """Sum prices and add tax."""
    return round(sum(price for price in prices if price > 0) * (1 + tax), 2)
'''
JSON = '{"id": "chatcmpl-1", "usage": {"prompt_tokens": 1200, "completion_tokens": 350, "total_tokens": 1550}}'
CHINESE = (
    "人工智能模型的费用取决于输入和输出的词元数量，缓存命中的部分享受折扣。我们建议在部署之前先用少量请求验证账单。"
)
JAPANESE = "吾輩は猫である。名前はまだ無い。どこで生れたかとんと見当がつかぬ。"


@pytest.mark.parametrize(
    ("text", "provider", "counted"),
    [
        (ENGLISH, "openai", 39),
        (ENGLISH, "anthropic", 40),
        (CODE, "openai", 54),
        (CODE, "anthropic", 54),
        (JSON, "openai", 36),
        (CHINESE, "openai", 39),
        (CHINESE, "anthropic", 52),
        (CHINESE, "deepseek", 29),
        (JAPANESE, "openai", 32),
    ],
)
def test_an_estimate_is_within_a_fifth(text: str, provider: str, counted: int) -> None:
    assert estimate_tokens(text, provider, "") == pytest.approx(counted, rel=0.2)


def test_a_length_is_taken_as_that_of_english_code_or_json() -> None:
    assert estimate_tokens(3_600, "openai", "gpt-5") == 1_000
    assert estimate_tokens(0) == 0
    assert estimate_tokens(1) == 1


def test_a_claude_model_counts_as_anthropics_wherever_it_runs() -> None:
    assert estimate_tokens(ENGLISH, "aws.bedrock", "us.anthropic.claude-opus-5") == estimate_tokens(
        ENGLISH, "anthropic"
    )


def test_a_long_text_is_sampled() -> None:
    long = ENGLISH * 2_000
    assert estimate_tokens(long) == pytest.approx(2_000 * estimate_tokens(ENGLISH), rel=0.05)


@given(st.text(max_size=400))
def test_any_text_has_tokens_and_no_more_than_bytes(text: str) -> None:
    tokens = estimate_tokens(text)
    assert (tokens == 0) == (text == "")
    assert tokens <= max(1, len(text.encode("utf-8", "surrogatepass")))
