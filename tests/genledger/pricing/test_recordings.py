"""How much of recorded provider traffic is priced. `benchmarks/priced_share.py` prints the whole table."""

from __future__ import annotations

import importlib.util
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
from tests.replay import recordings

from genledger.pricing import UNPRICED_REASONS, Cost

ROOT = Path(__file__).resolve().parents[3]

pytestmark = [
    pytest.mark.recordings,
    pytest.mark.skipif(not recordings.available(), reason=recordings.ABSENT),
]


@pytest.fixture(scope="module")
def share() -> Any:
    """The benchmark."""
    spec = importlib.util.spec_from_file_location("priced_share", ROOT / "benchmarks" / "priced_share.py")
    assert spec is not None
    assert spec.loader is not None
    share = importlib.util.module_from_spec(spec)
    import sys

    sys.modules[spec.name] = share
    spec.loader.exec_module(share)
    return share


@pytest.fixture(scope="module")
def priced(share: Any) -> list[tuple[Any, Any, Cost | str]]:
    """Every successful, usage-bearing answer, what it reports, and its cost or why there is none."""
    found = ((answer, *share.priced(answer)) for answer in share.answers(recordings.FOLDER))
    return [(answer, reading, cost) for answer, reading, cost in found if reading is not None]


def test_every_answer_without_a_cost_has_a_reason(priced: list[Any]) -> None:
    assert len(priced) > 1_300
    assert {cost for _, _, cost in priced if isinstance(cost, str)} <= set(UNPRICED_REASONS) - {"error"}


def test_of_calls_to_providers_with_a_public_list_98_percent_are_priced(priced: list[Any], share: Any) -> None:
    whole = [
        (answer, cost)
        for answer, reading, cost in priced
        if cost != "no_usage" and not share.is_incomplete(answer, reading)
    ]
    listed = [cost for answer, cost in whole if answer.provider not in share.UNLISTED]
    assert sum(isinstance(cost, Cost) for _, cost in whole) / len(whole) > 0.9
    assert sum(isinstance(cost, Cost) for cost in listed) / len(listed) >= 0.98


@pytest.mark.parametrize(
    "provider", ["anthropic", "google", "vertex", "mistral", "deepseek", "azure", "x_ai", "openrouter"]
)
def test_all_of_the_large_providers_is_priced(priced: list[Any], provider: str) -> None:
    mine = [(answer.file, cost) for answer, _, cost in priced if answer.provider == provider]
    assert mine
    assert [(file, cost) for file, cost in mine if isinstance(cost, str)] == []


def test_buckets_add_up_to_the_totals_that_providers_report(priced: list[Any]) -> None:
    wrong: Counter[str] = Counter()
    for answer, reading, _ in priced:
        usage = answer.body.get("usage") or {}
        if answer.provider in ("openai", "azure", "deepseek", "groq", "openrouter", "cerebras", "together"):
            prompt = usage.get("prompt_tokens", usage.get("input_tokens"))
            completion = usage.get("completion_tokens", usage.get("output_tokens"))
            if isinstance(prompt, int) and reading.usage.input_tokens != prompt:
                wrong[answer.file] += 1
            if isinstance(completion, int) and reading.usage.output_tokens != completion:
                wrong[answer.file] += 1
        elif answer.provider == "bedrock" and "totalTokens" in usage:
            wrong[answer.file] += reading.usage.total_tokens != usage["totalTokens"]
        elif answer.provider == "google" and "usageMetadata" in answer.body:
            total = answer.body["usageMetadata"].get("totalTokenCount")
            wrong[answer.file] += total is not None and reading.usage.total_tokens != total
    assert +wrong == Counter()


def test_the_table_agrees_with_what_xai_reports(priced: list[Any]) -> None:
    """An independent witness: xAI's own bill, against rates × buckets."""
    from genledger.pricing import price

    compared = 0
    for answer, reading, _ in priced:
        if answer.provider != "x_ai" or reading.reported is None or not reading.usage.total_tokens:
            continue
        if answer.body["usage"].get("num_server_side_tools_used"):
            continue
        computed = price(reading.usage, provider="x_ai", model=reading.model)
        assert isinstance(computed, Cost)
        assert computed.amount == pytest.approx(reading.reported, rel=1e-6), answer.file
        compared += 1
    assert compared >= 10
