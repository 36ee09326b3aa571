"""What the span of a step shows of the calls inside."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.sampling import ALWAYS_OFF

import genledger
from genledger.engine.record import CallRecord, StepRecord
from genledger.ledger import Ledger, traces
from genledger_semconv.checker import assert_clean

from ...instrumentors import openai_format as wire
from ...instrumentors.provider import Provider, answer
from ...instrumentors.telemetry import Telemetry, attributes_of, instrumented

COST = 176 * 2.5e-6 + 1024 * 1.25e-6 + 300 * 10e-6
"""Of one answer of `openai_format.chat`, at OpenAI's published prices for gpt-4o."""


@pytest.fixture
def telemetry() -> Iterator[Telemetry]:
    with instrumented() as telemetry:
        yield telemetry
        assert_clean(telemetry.spans, telemetry.metrics, telemetry.logs)


def call(model: str = "gpt-4o", **more: Any) -> Any:
    provider = Provider(asynchronous=False)
    provider.will(answer(wire.chat(model=model)))
    return provider.openai().chat.completions.create(model=model, messages=wire.USER, **more)


def totals(telemetry: Telemetry) -> dict[str, dict[str, Any]]:
    """The totals on each span that has any."""
    found = {
        span.name: {
            key.removeprefix("genledger.total."): value
            for key, value in attributes_of(span).items()
            if key.startswith("genledger.total.")
        }
        for span in telemetry.spans
    }
    return {name: values for name, values in found.items() if values}


@pytest.mark.parametrize("kind", ["agent", "tool", "retrieval", "workflow", "task"])
def test_a_step_shows_what_the_calls_inside_cost(telemetry: Telemetry, kind: Any) -> None:
    with genledger.observe("x", kind=kind):
        call()
        call()
    (found,) = totals(telemetry).values()
    assert found == {"calls": 2, "tokens": 3000, "cost": pytest.approx(2 * COST, abs=1e-12)}


def test_a_step_around_another_includes_it(telemetry: Telemetry) -> None:
    with genledger.observe("flow", kind="workflow"):
        call()
        with genledger.observe("helper", kind="agent"):
            call()
    found = totals(telemetry)
    assert [found[name]["calls"] for name in ("invoke_workflow flow", "invoke_agent helper")] == [2, 1]


def test_what_has_no_price_is_counted_and_is_no_cost(telemetry: Telemetry) -> None:
    with genledger.observe("mixed"):
        call()
        with genledger.observe("unknown"):
            call("brand-new-model")
    assert totals(telemetry) == {
        "unknown": {"calls": 1, "tokens": 1500, "unpriced": 1},
        "mixed": {"calls": 2, "tokens": 3000, "unpriced": 1, "cost": pytest.approx(COST, abs=1e-12)},
    }


def test_a_trace_that_is_not_sampled_keeps_its_shape_in_the_ledger(tmp_path: Path) -> None:
    path = tmp_path / "ledger.db"
    provider = TracerProvider(sampler=ALWAYS_OFF)
    genledger.instrument(libraries=["openai"], tracer_provider=provider, destinations=["ledger"], ledger=path)
    try:
        with genledger.attribution(tenant="acme"), genledger.observe("helper", kind="agent"):
            call()
            with pytest.raises(KeyError), genledger.observe("look_up", kind="tool"):
                raise KeyError("missing")
    finally:
        genledger.uninstrument()
    with Ledger(path).reading() as connection:
        agent, chat, tool = traces.trace(connection, traces.last_trace(connection) or "")
    assert isinstance(agent, StepRecord)
    assert isinstance(chat, CallRecord)
    assert isinstance(tool, StepRecord)
    assert (agent.kind, agent.name, agent.tenant, agent.error_type) == ("agent", "helper", "acme", None)
    assert (tool.kind, tool.name, tool.error_type) == ("tool", "look_up", "KeyError")
    assert chat.parent_span_id == tool.parent_span_id == agent.span_id


def test_a_step_without_calls_shows_no_totals(telemetry: Telemetry) -> None:
    with genledger.observe("look_up", kind="tool"):
        pass
    assert totals(telemetry) == {}


def test_a_backend_that_adds_up_usage_and_cost_finds_each_call_once(telemetry: Telemetry) -> None:
    with genledger.observe("flow", kind="workflow"), genledger.observe("helper", kind="agent"):
        call()
    found = [attributes_of(span) for span in telemetry.spans]
    assert sum(one.get("genledger.cost.amount", 0.0) for one in found) == pytest.approx(COST)
    assert sum(one.get("gen_ai.usage.input_tokens", 0) for one in found) == 1200
