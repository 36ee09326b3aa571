"""Calls whose parent is a framework's step, or a wrapper's span, that nobody made current."""

from __future__ import annotations

from typing import Any

import pytest
from opentelemetry.context import get_current

import genledger
from genledger.engine.parents import add_resolver, remove_resolver
from genledger.engine.steps import start_step

from ...instrumentors import openai_format as wire
from ...instrumentors.provider import Provider, answer
from ...instrumentors.telemetry import Telemetry, attributes_of, instrumented


def ask(telemetry: Telemetry, model: str = "gpt-4o") -> None:
    provider = Provider(asynchronous=False)
    provider.will(answer(wire.chat()))
    before = get_current()
    provider.openai().chat.completions.create(model=model, messages=wire.USER)
    assert get_current() is before, "what runs next is not inside of it"


def test_a_call_inside_a_frameworks_step_leaves_the_context_as_it_was() -> None:
    with instrumented() as telemetry:
        step = start_step("agent", "helper")
        resolver = lambda: step  # noqa: E731
        add_resolver(resolver)
        try:
            ask(telemetry)
        finally:
            remove_resolver(resolver)
            step.end()
        (call, agent) = telemetry.spans
        assert call.parent == agent.context


def test_ids_that_a_framework_knows_attribute_its_step_and_what_is_in_it_where_the_application_gave_none() -> None:
    with instrumented() as telemetry:
        with genledger.attribution(tenant="acme", session="s-1"):
            step = start_step("agent", "helper", user=7, session="t-1")
            inner = start_step("tool", "weather", parent=step.inside(get_current()))
        resolver = lambda: inner  # noqa: E731
        add_resolver(resolver)
        try:
            ask(telemetry)
            with genledger.attribution(user="ada"):
                ask(telemetry)
        finally:
            remove_resolver(resolver)
            inner.end()
            step.end()
        users = [attributes_of(span).get("user.id") for span in telemetry.spans]
        sessions = [attributes_of(span).get("session.id") for span in telemetry.spans]
        assert users == ["7", "ada", "7", "7"]
        assert sessions == ["s-1"] * 4


def test_an_id_that_no_attribution_may_have_is_left_out() -> None:
    with instrumented() as telemetry:
        start_step("agent", "helper", user="x" * 1000, session="two\nlines").end()
        assert not {"user.id", "session.id"} & set(attributes_of(telemetry.span))


WRAPPER = {"langfuse.observation.type": "generation", "langfuse.observation.model.name": "gpt-4o"}
PRICED = {"langfuse.observation.usage_details": '{"input":1}', "langfuse.observation.cost_details": '{"total":1}'}


def wrapper(telemetry: Telemetry, **more: Any) -> Any:
    """Start a span as Langfuse's wrapper does: attributes come after the start, and nobody makes it current."""
    span = telemetry.tracer_provider.get_tracer("langfuse-sdk").start_span("OpenAI-generation")
    span.set_attributes({**WRAPPER, **more})
    return span


def test_a_call_is_below_the_span_that_a_wrapper_started_for_it_and_priced_instead_of_it() -> None:
    with instrumented() as telemetry:
        link = {"langfuse.observation.prompt.name": "draft", "langfuse.observation.prompt.version": 4}
        span = wrapper(telemetry, **link)
        ask(telemetry)
        span.set_attributes(PRICED)
        span.end()
        call, around = telemetry.spans
        assert call.parent == around.context
        assert link.items() <= dict(call.attributes or {}).items(), "the cost counts for the prompt"
        assert "genledger.cost.amount" in (call.attributes or {})
        assert dict(around.attributes or {}) == {"langfuse.observation.type": "generation", **link}


@pytest.mark.parametrize("other", ["another model", "another kind of observation", "one that has ended", "a used one"])
def test_a_span_that_stands_for_something_else_is_left_alone(other: str) -> None:
    with instrumented() as telemetry:
        span = wrapper(
            telemetry,
            **({"langfuse.observation.type": "span"} if other == "another kind of observation" else {}),
        )
        if other == "a used one":
            ask(telemetry)
        if other == "one that has ended":
            span.end()
        ask(telemetry, "gpt-4.1" if other == "another model" else "gpt-4o")
        if other != "one that has ended":
            span.set_attributes(PRICED)
            span.end()
        calls = [span for span in telemetry.spans if span.name.startswith("chat")]
        assert calls[-1].parent is None
        assert len(calls) == (2 if other == "a used one" else 1)
