"""Pricing one call: time, bounds of memory, warnings, ceilings and backfill."""

from __future__ import annotations

import logging
import subprocess
import sys
import tracemalloc
from collections.abc import Callable
from datetime import UTC, datetime
from threading import Thread

import pytest

from genledger.pricing import (
    UNPRICED_REASONS,
    Cost,
    Usage,
    backfill,
    max_price,
    price,
    warn_rejected,
    warn_unpriced,
)

Override = Callable[..., Callable[[], None]]


def at(text: str) -> int:
    return int(datetime.fromisoformat(text).replace(tzinfo=UTC).timestamp()) * 10**9


NOON = at("2026-11-20T12:00:00")
PEAK = at("2026-11-20T02:00:00")


def amount(cost: Cost | str) -> float:
    assert isinstance(cost, Cost), cost
    return cost.amount


def test_the_moment_within_a_day_decides_where_prices_have_hours() -> None:
    usage = Usage(input=1_000_000)
    assert amount(price(usage, provider="deepseek", model="deepseek-flash", at_ns=NOON)) == pytest.approx(0.15)
    assert amount(price(usage, provider="deepseek", model="deepseek-flash", at_ns=PEAK)) == pytest.approx(0.3)


def test_without_a_moment_it_is_now() -> None:
    assert isinstance(price(Usage(input=1), provider="openai", model="gpt-4o"), Cost)


@pytest.mark.parametrize(
    ("usage", "provider", "model", "reason"),
    [
        (Usage(input=1), "openai", "gpt-9", "unknown_model"),
        (Usage(input=1), "openai", None, "unknown_model"),
        (Usage(input=1), "nobody", "gpt-4o", "unknown_provider"),
        (Usage(), "openai", "gpt-4o", "no_usage"),
        (Usage(units={"second": 5}), "openai", "gpt-4o", "no_rate"),
        (Usage(input=5), "openai", "whisper-1", "no_rate"),
        (Usage(input=1), "openai", "g" * 100_000, "unknown_model"),
        ("not a usage", "openai", "gpt-4o", "error"),
    ],
    ids=["model", "no model", "provider", "usage", "unit", "tokens of a model billed by the second", "name", "fault"],
)
def test_a_call_without_a_cost_has_a_reason(usage: Usage, provider: str, model: str | None, reason: str) -> None:
    assert price(usage, provider=provider, model=model, at_ns=NOON) == reason
    assert reason in UNPRICED_REASONS


def test_the_model_asked_for_serves_where_the_answer_names_none() -> None:
    cost = price(Usage(input=1_000_000), provider="openai", model=None, requested="gpt-4o", at_ns=NOON)
    assert amount(cost) == pytest.approx(2.5)


def test_a_unit_without_a_rate_is_left_out_and_said() -> None:
    cost = price(Usage(input=1_000_000, units={"page": 3}), provider="openai", model="gpt-4o", at_ns=NOON)
    assert amount(cost) == pytest.approx(2.5)
    assert isinstance(cost, Cost)
    assert cost.notes == ("unpriced_unit:page",)


def test_the_date_of_the_table_is_recorded() -> None:
    cost = price(Usage(input=1), provider="openai", model="gpt-4o", at_ns=NOON)
    assert isinstance(cost, Cost)
    assert cost.table_date is not None
    assert "2026-10" < cost.table_date <= datetime.now(UTC).date().isoformat()


def test_resolved_prices_and_misses_are_bounded() -> None:
    def remembered(names: range) -> int:
        before, _ = tracemalloc.get_traced_memory()
        for number in names:
            price(Usage(input=1), provider="nobody", model=f"model-{number}", at_ns=NOON)
        return tracemalloc.get_traced_memory()[0] - before

    tracemalloc.start()
    try:
        filled = remembered(range(4_000))
        assert remembered(range(4_000, 8_000)) < filled / 10
    finally:
        tracemalloc.stop()


def test_the_table_does_not_remember_what_we_asked() -> None:
    from genai_prices.data_snapshot import get_snapshot

    snapshot = get_snapshot()
    before = [len(c) for c in (snapshot._lookup_cache, snapshot._provider_cache, snapshot._provider_misses)]
    for number in range(50):
        price(Usage(input=1), provider="openai", model=f"unheard-of-{number}", at_ns=NOON)
    after = [len(c) for c in (snapshot._lookup_cache, snapshot._provider_cache, snapshot._provider_misses)]
    assert after == before


def test_a_price_that_is_set_holds_at_once_and_no_longer_than_it_is_set(override: Override) -> None:
    assert amount(price(Usage(input=10**6), provider="openai", model="gpt-4o", at_ns=NOON)) == pytest.approx(2.5)
    remove = override(model="gpt-4o", per_million={"input": 1})
    assert amount(price(Usage(input=10**6), provider="openai", model="gpt-4o", at_ns=NOON)) == pytest.approx(1)
    remove()
    assert amount(price(Usage(input=10**6), provider="openai", model="gpt-4o", at_ns=NOON)) == pytest.approx(2.5)


def test_threads_may_price_while_prices_are_set(override: Override) -> None:
    wrong: list[Cost | str] = []

    def work() -> None:
        for _ in range(200):
            cost = price(Usage(input=10**6), provider="openai", model="gpt-4o", at_ns=NOON)
            if not isinstance(cost, Cost) or round(cost.amount, 6) not in (1.0, 2.5):
                wrong.append(cost)

    threads = [Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    for _ in range(20):
        override(model="gpt-4o", per_million={"input": 1})()
    for thread in threads:
        thread.join()
    assert wrong == []


def test_importing_loads_no_table_and_the_first_price_does() -> None:
    code = (
        "import sys\n"
        "import genledger.pricing as p\n"
        "before = 'genai_prices' in sys.modules\n"
        "p.price(p.Usage(input=1), provider='openai', model='gpt-4o')\n"
        "print(before, 'genai_prices' in sys.modules)"
    )
    out = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=600)
    assert out.stdout.split() == ["False", "True"]


def test_a_model_without_a_price_is_warned_about_once(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.WARNING, logger="genledger"):
        for _ in range(3):
            warn_unpriced("openai", "never-warned-about-1", "unknown_model")
        warn_unpriced("openai", "never-warned-about-2", "unknown_model")
    assert [record.getMessage().split(":")[0] for record in caplog.records] == [
        "No price for never-warned-about-1 at openai (unknown_model)",
        "No price for never-warned-about-2 at openai (unknown_model)",
    ]


def test_a_report_that_is_not_believed_is_warned_about_once(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.WARNING, logger="genledger"):
        for reported in ("1e+06", "2e+06"):
            warn_rejected("open_router", "never-warned-about-1", f"reported_rejected:{reported}")
        warn_unpriced("open_router", "never-warned-about-1", "unknown_model")
    assert [record.getMessage().partition(" (")[0] for record in caplog.records] == [
        "The cost that is reported for never-warned-about-1 at openrouter cannot be right",
        "No price for never-warned-about-1 at openrouter",
    ]


def test_warnings_end_before_they_flood() -> None:
    code = (
        "from genledger.pricing import warn_unpriced\n"
        "for number in range(2_000):\n"
        "    warn_unpriced('openai', f'gpt-{number}-x', 'unknown_model')\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=600)
    warnings = done.stderr.splitlines()
    assert len(warnings) == 512
    assert "stops warning" in warnings[-1]


def test_the_ceiling_is_the_dearest_that_can_apply() -> None:
    """Cache writes for an hour are Anthropic's dearest input; peak hours are DeepSeek's dearest time."""
    assert max_price("anthropic", "claude-opus-5", 1_000, 100, NOON) == pytest.approx((1_000 * 10 + 100 * 25) / 1e6)
    assert max_price("openai", "gpt-5.4", 272_001, 100, NOON) == pytest.approx((272_001 * 5 + 100 * 22.5) / 1e6)
    assert max_price("deepseek", "deepseek-flash", 10**6, 10**6, NOON) == pytest.approx(1.5)
    assert max_price("perplexity", "sonar", 1_000, 1_000, NOON) == pytest.approx(0.002 + 0.012)


def test_a_ceiling_of_what_has_no_price_is_unknown_and_of_what_is_free_is_zero(override: Override) -> None:
    assert max_price("openai", "gpt-9", 10, 10, NOON) is None
    override(provider="vllm", free=True)
    assert max_price("vllm", "m", 10, 10, NOON) == 0


@pytest.mark.parametrize("model", ["gpt-5.4", "gpt-6.1-sol", "gpt-4o"])
def test_no_text_call_costs_more_than_its_ceiling(model: str) -> None:
    ceiling = max_price("openai", model, 1_000, 500, NOON)
    assert ceiling is not None
    for usage in (Usage(input=1_000, output=500), Usage(cache_write=1_000, reasoning=500), Usage(cache_read=1_000)):
        assert amount(price(usage, provider="openai", model=model, at_ns=NOON)) <= ceiling * (1 + 1e-12)


def test_backfill_prices_what_was_recorded_at_its_own_time() -> None:
    rows = [
        ("openai", "o3-2025-04-16", {"input": 10**6}, None, at("2025-06-01T00:00:00")),
        ("openai", "o3-2025-04-16", {"input": 10**6}, None, NOON),
        ("openai", "gpt-4.1", {"input": 10**6, "web_search": 2}, "batch", NOON),
        ("openai", "gpt-9", {"input": 1}, None, NOON),
    ]
    found = list(backfill(rows))
    assert [cost if isinstance(cost, str) else round(cost.amount, 9) for cost in found] == [
        10,
        2,
        1.02,
        "unknown_model",
    ]
