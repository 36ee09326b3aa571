"""An answer from a cache is an event of its own and no call; what it saved is known or unknown, never too much."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from opentelemetry import trace

import genledger
from genledger.pricing import Usage
from genledger_semconv.checker import assert_clean

from ...instrumentation_clients import ANSWER, PRICE, library
from ...instrumentors.telemetry import Telemetry, attributes_of, instrumented
from ..applications import rows

GPT_4O = 1_000 * 2.5e-6 + 100 * 10e-6
"""USD of 1,000 input and 100 output tokens of gpt-4o, at OpenAI's published prices."""


@pytest.fixture
def ledger(tmp_path: Path) -> Path:
    return tmp_path / "ledger.db"


@pytest.fixture
def telemetry(ledger: Path) -> Iterator[Telemetry]:
    with instrumented(destinations=["ledger"], ledger=str(ledger)) as telemetry:
        yield telemetry
        assert_clean(telemetry.spans, telemetry.metrics, telemetry.logs)
        assert not telemetry.complaints.texts


def hits(ledger: Path) -> list[dict[str, Any]]:
    assert genledger.flush(60)
    return rows(ledger, "SELECT * FROM cache_hits ORDER BY rowid")


def points(telemetry: Telemetry, metric: str) -> list[tuple[dict[str, Any], float]]:
    assert genledger.flush(60)
    data = telemetry.metrics
    return [
        (dict(point.attributes or {}), point.value)  # type: ignore[union-attr]
        for resource in (data.resource_metrics if data is not None else ())
        for scope in resource.scope_metrics
        for one in scope.metrics
        if one.name == metric
        for point in one.data.data_points
    ]


def test_a_hit_is_a_row_two_points_and_an_event_and_no_call(telemetry: Telemetry, ledger: Path) -> None:
    with genledger.attribution(tenant="acme", feature="search", user="u1"), genledger.observe("answer"):
        here = trace.get_current_span().get_span_context()
        genledger.record_cache_hit(cache="redis", model="gpt-4o", input_tokens=1_000, output_tokens=100)
        assert genledger.spend().calls == 0
    (row,) = hits(ledger)
    assert (row["cache"], row["tenant"], row["feature"], row["user"]) == ("redis", "acme", "search", "u1")
    assert (row["model"], row["input"], row["output"]) == ("gpt-4o", 1_000, 100)
    assert row["saved_usd"] == pytest.approx(GPT_4O)
    assert row["trace_id"] == f"{here.trace_id:032x}"
    assert rows(ledger) == []
    labels = {
        "genledger.cache.name": "redis",
        "gen_ai.request.model": "gpt-4o",
        "genledger.tenant.id": "acme",
        "genledger.feature": "search",
    }
    assert points(telemetry, "genledger.cache.hits") == [(labels, 1)]
    assert points(telemetry, "genledger.cache.saved") == [(labels, pytest.approx(GPT_4O))]
    assert points(telemetry, "genledger.cost") == []
    (event,) = telemetry.logs
    assert event.log_record.event_name == "genledger.cache_hit"
    assert (event.log_record.trace_id, event.log_record.span_id) == (here.trace_id, here.span_id)
    attributes = dict(event.log_record.attributes or {})
    assert attributes["genledger.cache.saved"] == pytest.approx(GPT_4O)
    assert (attributes["gen_ai.usage.input_tokens"], attributes["gen_ai.usage.output_tokens"]) == (1_000, 100)


@pytest.mark.parametrize(
    ("given", "saved"),
    [
        ({}, None),
        ({"saved_usd": 0.02}, 0.02),
        ({"saved_usd": 0}, 0.0),
        ({"model": "gpt-4o"}, None),
        ({"input_tokens": 1_000, "output_tokens": 100}, None),
        ({"model": "a-model-of-nobody", "input_tokens": 1_000, "output_tokens": 100}, None),
        ({"model": "gpt-4o", "provider": "nobody", "input_tokens": 1_000}, None),
        ({"model": "gpt-4o", "input_tokens": 1_000}, 1_000 * 2.5e-6),
        (
            {"model": "gpt-4o", "usage": Usage(input=200, cache_read=800, output=100)},
            200 * 2.5e-6 + 800 * 1.25e-6 + 1e-3,
        ),
        ({"model": "gpt-4o", "provider": "openai", "usage": Usage(input=1_000, output=100)}, GPT_4O),
        ({"model": "text-embedding-3-small", "provider": "openai", "input_tokens": 1_000_000}, 0.02),
        ({"saved_usd": 0.001, "model": "gpt-4o", "input_tokens": 1_000, "output_tokens": 100}, 0.001),
    ],
)
def test_what_it_saved_is_what_is_known(
    telemetry: Telemetry, ledger: Path, given: dict[str, Any], saved: float | None
) -> None:
    genledger.record_cache_hit(**given)
    (row,) = hits(ledger)
    assert row["saved_usd"] == (None if saved is None else pytest.approx(saved))
    assert [value for _, value in points(telemetry, "genledger.cache.hits")] == [1]
    found = [value for _, value in points(telemetry, "genledger.cache.saved")]
    assert found == ([] if saved is None else [pytest.approx(saved)])


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"saved_usd": -1}, "saved_usd"),
        ({"saved_usd": float("nan")}, "saved_usd"),
        ({"saved_usd": "much"}, "saved_usd"),
        ({"cache": ""}, "cache"),
        ({"cache": 7}, "cache"),
        ({"input_tokens": -1}, "input_tokens"),
        ({"output_tokens": 1.5}, "output_tokens"),
        ({"usage": {"input": 1}}, "usage"),
    ],
)
def test_what_cannot_be_is_named(telemetry: Telemetry, ledger: Path, wrong: dict[str, Any], message: str) -> None:
    with pytest.raises((ValueError, TypeError), match=message):
        genledger.record_cache_hit(**wrong)
    assert hits(ledger) == []


def test_the_counters_have_what_the_ledger_has(telemetry: Telemetry, ledger: Path) -> None:
    for number in range(40):
        with genledger.attribution(tenant=f"t{number % 3}", prompt_version=f"v{number % 2}"):
            genledger.record_cache_hit(number / 1000 if number % 4 else None, cache=f"c{number % 2}", model="m")
    count: dict[Any, float] = {}
    saved: dict[Any, float] = {}
    for row in hits(ledger):
        who = (row["cache"], row["tenant"], row["prompt_version"])
        count[who] = count.get(who, 0) + 1
        if row["saved_usd"] is not None:
            saved[who] = saved.get(who, 0) + row["saved_usd"]
    names = ("genledger.cache.name", "genledger.tenant.id", "gen_ai.prompt.version")
    for metric, expected in (("genledger.cache.hits", count), ("genledger.cache.saved", saved)):
        found = {tuple(labels[name] for name in names): value for labels, value in points(telemetry, metric)}
        assert found == pytest.approx(expected)


def test_a_hit_of_a_clients_own_cache_is_no_call_and_has_saved_what_the_call_would_have_cost(ledger: Path) -> None:
    with (
        library() as cls,
        instrumented(destinations=["ledger"], ledger=str(ledger)) as telemetry,
        genledger.attribution(tenant="acme"),
    ):
        cls(lambda: dict(ANSWER)).over("gpt-4o")
        for _ in range(2):
            cls(lambda: {**ANSWER, "cached": True}).over("gpt-4o")
        found = hits(ledger)
        assert [(row["cache"], row["tenant"], row["model"]) for row in found] == [("clientlib", "acme", "gpt-4o")] * 2
        assert [row["saved_usd"] for row in found] == pytest.approx([PRICE, PRICE])
        assert [row["cost_usd"] for row in rows(ledger)] == [pytest.approx(PRICE)]
        assert [value for _, value in points(telemetry, "genledger.cost")] == [pytest.approx(PRICE)]
        assert [value for _, value in points(telemetry, "genledger.cache.saved")] == [pytest.approx(2 * PRICE)]
        _, *cached = telemetry.spans
        assert [row["span_id"] for row in found] == [f"{span.get_span_context().span_id:016x}" for span in cached]
        for span in cached:
            attributes = attributes_of(span)
            assert attributes["genledger.cache.name"] == "clientlib"
            assert not [name for name in attributes if "usage" in name or "cost" in name]
        assert_clean(telemetry.spans, telemetry.metrics, telemetry.logs)


def test_a_call_around_a_hit_is_neither_paid_for_nor_another_hit(ledger: Path) -> None:
    with library() as cls, instrumented(destinations=["ledger"], ledger=str(ledger)) as telemetry:
        inner = cls(lambda: {**ANSWER, "cached": True})
        cls(lambda: {**inner.over("gpt-4o"), "cached": False}).over("gpt-4o")
        assert [row["saved_usd"] for row in hits(ledger)] == [pytest.approx(PRICE)]
        assert rows(ledger) == []
        assert points(telemetry, "genledger.cost") == []


def test_a_hit_whose_answer_has_no_usage_has_saved_nobody_knows_what(ledger: Path) -> None:
    with library() as cls, instrumented(destinations=["ledger"], ledger=str(ledger)) as telemetry:
        cls(lambda: {"cached": True, "choices": []}).over("gpt-4o")
        (row,) = hits(ledger)
        assert (row["saved_usd"], row["input"]) == (None, None)
        assert points(telemetry, "genledger.cache.saved") == []
        assert rows(ledger) == []
