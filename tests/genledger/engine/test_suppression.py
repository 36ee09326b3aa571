"""OpenTelemetry's own switch, thrown by the application and by another instrumentation of the same client."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from opentelemetry.context import get_current, get_value
from opentelemetry.instrumentation.utils import suppress_instrumentation

import genledger
from genledger.budgets import budget

from ...instrumentors import openai_format as wire
from ...instrumentors.destination import Destination
from ...instrumentors.provider import Provider, answer
from ...instrumentors.telemetry import Telemetry, instrumented

NEIGHBOUR = "logfire.openai"
KEY = "suppress_instrumentation"


@pytest.fixture
def destination() -> Destination:
    return Destination()


@pytest.fixture
def telemetry(destination: Destination) -> Iterator[Telemetry]:
    with instrumented(destinations=[destination]) as telemetry:
        yield telemetry
        assert not telemetry.complaints.other


def client(seen: list[Any]) -> Any:
    """A client that notes the switch as it is while the request is sent."""
    provider = Provider(asynchronous=False)
    provider.will(answer(wire.chat()))
    http = provider.http_client("openai")
    send = http.send

    def sending(*args: Any, **kwargs: Any) -> Any:
        seen.append(get_value(KEY))
        return send(*args, **kwargs)

    http.send = sending
    return provider.openai()


def ask(seen: list[Any]) -> None:
    client(seen).chat.completions.create(model="gpt-4o", messages=wire.USER)


def test_a_call_is_not_recorded_where_the_application_throws_it(telemetry: Telemetry) -> None:
    with suppress_instrumentation():
        ask([])
    assert not telemetry.spans


def test_a_call_is_recorded_where_a_neighbour_throws_it_inside_of_its_span_and_others_see_it_thrown(
    telemetry: Telemetry, destination: Destination
) -> None:
    seen: list[Any] = []
    theirs = telemetry.tracer_provider.get_tracer(NEIGHBOUR).start_as_current_span("Chat Completion")
    with theirs, suppress_instrumentation():
        before = get_current()
        ask(seen)
        assert get_current() is before
    assert seen == [True]
    assert [span.name for span in destination.spans] == ["chat gpt-4o"]
    assert not telemetry.open.spans


def test_the_applications_wish_holds_inside_of_a_neighbours_span(telemetry: Telemetry) -> None:
    theirs = telemetry.tracer_provider.get_tracer(NEIGHBOUR).start_as_current_span("Chat Completion")
    with suppress_instrumentation(), theirs:
        ask([])
    assert [span.name for span in telemetry.spans] == ["Chat Completion"]


def test_a_budget_refuses_a_call_that_a_neighbour_keeps_others_out_of() -> None:
    limits = [budget(name="none", requests=0, per="day")]
    with instrumented(budgets=limits, budget_store="memory:") as telemetry:
        theirs = telemetry.tracer_provider.get_tracer(NEIGHBOUR).start_as_current_span("Chat Completion")
        with theirs, suppress_instrumentation(), pytest.raises(genledger.BudgetExceeded):
            ask([])
