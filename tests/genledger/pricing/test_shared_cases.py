"""The price cases that came with the project, each at its own date."""

from __future__ import annotations

import json
from collections.abc import Callable
from datetime import datetime
from pathlib import Path
from typing import Any

import pytest

from genledger.pricing import Cost, cost_of_response

CASES = Path(__file__).resolve().parents[4] / "shared" / "data" / "pricing_cases.json"
cases = json.loads(CASES.read_text(encoding="utf-8")) if CASES.exists() else []


@pytest.mark.skipif(not cases, reason="the price cases beside the repository are absent")
@pytest.mark.parametrize("case", [pytest.param(case, id=case["id"]) for case in cases])
def test_case_costs_what_the_documented_rule_says(case: dict[str, Any]) -> None:
    cost = cost_of_response(
        provider=case["provider"],
        api=case["api"],
        payload=case["usage_payload"],
        request=case["request"],
        at=datetime.fromisoformat(case["date_used"]),
    )
    expected = case["expected_cost_usd"]
    if expected is None:
        assert cost is None
        return
    assert cost is not None
    assert cost.amount == pytest.approx(expected, rel=1e-6)


@pytest.mark.skipif(not cases, reason="the price cases beside the repository are absent")
def test_the_breakdown_of_every_priced_case_agrees(cost: Callable[..., Cost | None]) -> None:
    for case in cases:
        parts = {part["unit"]: part for part in case["breakdown"]}
        if case["expected_cost_usd"] is None or "provider_reported" in parts:
            continue
        found = cost(case["provider"], case["api"], case["usage_payload"], case["request"], at=case["date_used"])
        assert found is not None
        assert sorted(round(p["usd"], 12) for p in parts.values()) == pytest.approx(_grouped(found), rel=1e-6)


def _grouped(cost: Cost) -> list[float]:
    """Our parts with reasoning folded into output, as the cases have them."""
    by: dict[str, float] = {}
    for part in cost.parts:
        bucket = "output" if part.bucket == "reasoning" else part.bucket
        by[bucket] = by.get(bucket, 0.0) + part.amount
    return sorted(by.values())
