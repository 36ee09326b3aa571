"""Spans that others make: attributed, priced when nobody else priced the call, and never twice."""

from __future__ import annotations

import gc
import math
import time
import weakref
from collections.abc import Iterator
from typing import Any

import pytest
from opentelemetry.context import Context
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.trace import SpanKind, Status, StatusCode, Tracer, set_span_in_context

import genledger
from genledger.engine.foreign_spans.processor import MAX_OPEN, ForeignSpanProcessor
from genledger_instrumentors.frameworks.openai_agents import OpenAIAgentsInstrumentor
from genledger_instrumentors.frameworks.smolagents import SmolagentsInstrumentor
from genledger_instrumentors.providers.litellm import LitellmInstrumentor

from ....instrumentors import openai_format as wire
from ....instrumentors.destination import Destination
from ....instrumentors.provider import Provider, answer
from ....instrumentors.telemetry import Telemetry, instrumented

CALL: dict[str, Any] = {
    "gen_ai.operation.name": "chat",
    "gen_ai.provider.name": "openai",
    "gen_ai.request.model": "gpt-4o",
    "gen_ai.usage.input_tokens": 1_000_000,
    "gen_ai.usage.output_tokens": 100_000,
}
COST = 2.50 + 1.00
"""At OpenAI's published prices for gpt-4o: 2.50 and 10 USD per million tokens."""


@pytest.fixture
def destination() -> Destination:
    return Destination()


@pytest.fixture
def telemetry(destination: Destination) -> Iterator[Telemetry]:
    with instrumented(destinations=[destination]) as telemetry:
        yield telemetry
        assert not telemetry.complaints.other


@pytest.fixture
def theirs(telemetry: Telemetry) -> Tracer:
    return telemetry.tracer_provider.get_tracer("another.instrumentation")


@pytest.fixture
def client() -> Any:
    provider = Provider(asynchronous=False)
    provider.will(answer(wire.chat()))
    return provider.openai()


def foreign(tracer: Tracer, name: str = "chat gpt-4o", **replaced: Any) -> None:
    """A span whose attributes come as they come: some at the start, the usage at the end."""
    with tracer.start_as_current_span(name, kind=SpanKind.CLIENT) as span:
        span.set_attributes({**CALL, **{key.replace("__", "."): value for key, value in replaced.items()}})


def request_span(telemetry: Telemetry) -> Any:
    """A span of the application's, around all."""
    return telemetry.tracer_provider.get_tracer("an.application").start_as_current_span("request")


def by_scope(telemetry: Telemetry, scope: str = "another.instrumentation") -> list[dict[str, Any]]:
    return [
        dict(span.attributes or {})
        for span in telemetry.spans
        if span.instrumentation_scope is not None and span.instrumentation_scope.name == scope
    ]


def costs(spans: list[dict[str, Any]]) -> list[Any]:
    return [span.get("genledger.cost.amount") for span in spans]


def usage_names(spans: list[dict[str, Any]]) -> set[str]:
    return {name for span in spans for name in span if name.startswith(("gen_ai.usage.", "llm.", "ai.usage."))}


def test_a_call_that_only_they_recorded_is_priced_attributed_and_spent(telemetry: Telemetry, theirs: Tracer) -> None:
    with genledger.attribution(tenant="acme", feature="copilot"):
        foreign(theirs)
        assert genledger.spend() == (COST, 1, 0, 1_100_000)
    (span,) = by_scope(telemetry)
    assert span["genledger.cost.amount"] == pytest.approx(COST)
    assert span["genledger.cost.input"] == pytest.approx(2.5)
    assert span["genledger.cost.output"] == pytest.approx(1.0)
    assert span["genledger.cost.source"] == "table"
    assert span["genledger.outcome"] == "success"
    assert (span["genledger.tenant.id"], span["genledger.feature"]) == ("acme", "copilot")


@pytest.fixture
def litellm(telemetry: Telemetry) -> Iterator[None]:
    """Genledger records litellm, too."""
    instrumentor = LitellmInstrumentor()
    instrumentor.apply()
    yield
    instrumentor.uninstrument()


@pytest.mark.usefixtures("litellm")
def test_a_span_that_a_library_of_ours_makes_after_its_calls_is_a_copy(
    telemetry: Telemetry, destination: Destination
) -> None:
    with genledger.attribution(tenant="acme"):
        foreign(telemetry.tracer_provider.get_tracer("litellm"))
        assert genledger.spend().calls == 0
    assert costs(by_scope(telemetry, "litellm")) == [None]
    assert usage_names(by_scope(telemetry, "litellm")) == set()
    assert not destination.spans


NEIGHBOUR = "openinference.instrumentation.openai"


def test_a_neighbours_span_around_our_call_is_not_shown(
    telemetry: Telemetry, destination: Destination, client: Any
) -> None:
    tracer = telemetry.tracer_provider.get_tracer(NEIGHBOUR)
    with request_span(telemetry) as outer, tracer.start_as_current_span("ChatCompletion") as span:
        client.chat.completions.create(model="gpt-4o", messages=wire.USER)
        span.set_attributes(CALL)
    assert usage_names(by_scope(telemetry, NEIGHBOUR)) == set()
    assert [(span.name, parent(span)) for span in destination.spans] == [
        ("chat gpt-4o", outer.get_span_context().span_id),
        ("request", None),
    ]


def test_a_neighbours_call_that_we_did_not_see_is_priced_and_shown(
    telemetry: Telemetry, destination: Destination
) -> None:
    tracer = telemetry.tracer_provider.get_tracer(NEIGHBOUR)
    with genledger.attribution(tenant="acme"), request_span(telemetry) as outer:
        foreign(tracer)
        with tracer.start_as_current_span("an operation that Genledger does not know"):
            pass
        assert genledger.spend() == (COST, 1, 0, 1_100_000)
    assert [parent(span) for span in destination.spans] == [outer.get_span_context().span_id] * 2 + [None]


@pytest.mark.parametrize("name", ["openai.response", "streaming response from {model} took {duration}s"])
def test_a_neighbours_span_that_is_made_after_our_call_is_a_copy(
    telemetry: Telemetry, destination: Destination, client: Any, name: str
) -> None:
    vendor = "logfire.openai" if name.startswith("streaming") else "opentelemetry.instrumentation.openai.v1"
    with genledger.attribution(tenant="acme"), request_span(telemetry):
        before = time.time_ns()
        client.chat.completions.create(model="gpt-4o", messages=wire.USER)
        dated = None if vendor.startswith("logfire") else before
        telemetry.tracer_provider.get_tracer(vendor).start_span(name, attributes=CALL, start_time=dated).end()
        assert genledger.spend().calls == 1
    assert usage_names(by_scope(telemetry, vendor)) == set()
    assert [span.name for span in destination.spans] == ["chat gpt-4o", "request"]


def test_a_neighbours_call_after_ours_is_one_of_its_own(telemetry: Telemetry, client: Any) -> None:
    with genledger.attribution(tenant="acme"):
        client.chat.completions.create(model="gpt-4o", messages=wire.USER)
        foreign(telemetry.tracer_provider.get_tracer("opentelemetry.instrumentation.openai.v1"))
        assert genledger.spend().calls == 2


def test_a_span_is_structure_where_one_inside_of_it_was_given_a_parent_elsewhere(
    telemetry: Telemetry, theirs: Tracer, client: Any
) -> None:
    elsewhere = set_span_in_context(theirs.start_span("elsewhere"), Context())
    with genledger.attribution(tenant="acme"), theirs.start_as_current_span("chat gpt-4o") as outer:
        with theirs.start_as_current_span("inner", context=elsewhere):
            client.chat.completions.create(model="gpt-4o", messages=wire.USER)
        outer.set_attributes(CALL)
    assert costs(by_scope(telemetry)) == [None, None]
    assert usage_names(by_scope(telemetry)) == set()


@pytest.fixture
def openai_agents(telemetry: Telemetry) -> Iterator[Tracer]:
    """A neighbour's tracer of OpenAI's agents SDK, which Genledger records, too."""
    instrumentor = OpenAIAgentsInstrumentor()
    instrumentor.apply()
    yield telemetry.tracer_provider.get_tracer("openinference.instrumentation.openai_agents")
    instrumentor.uninstrument()


def test_a_call_of_a_model_without_a_client_of_ours_is_priced_once_by_a_neighbours_span_of_the_framework(
    telemetry: Telemetry, destination: Destination, openai_agents: Tracer
) -> None:
    with genledger.attribution(tenant="acme"), openai_agents.start_as_current_span("agent"):
        foreign(openai_agents, "generation")
        assert genledger.spend() == (COST, 1, 0, 1_100_000)
    assert [span.name for span in destination.spans] == ["generation"]


def test_a_neighbours_span_of_a_framework_is_structure_around_our_call(
    telemetry: Telemetry, destination: Destination, openai_agents: Tracer, client: Any
) -> None:
    with genledger.attribution(tenant="acme"), openai_agents.start_as_current_span("generation") as span:
        client.chat.completions.create(model="gpt-4o", messages=wire.USER)
        span.set_attributes(CALL)
    assert [span.name for span in destination.spans] == ["chat gpt-4o"]
    assert usage_names(by_scope(telemetry, "openinference.instrumentation.openai_agents")) == set()


def test_a_neighbours_spans_are_as_anothers_where_the_library_is_left_to_it(
    telemetry: Telemetry, destination: Destination
) -> None:
    foreign(telemetry.tracer_provider.get_tracer("openinference.instrumentation.litellm"))
    assert costs(by_scope(telemetry, "openinference.instrumentation.litellm")) == [pytest.approx(COST)]
    assert len(destination.spans) == 1


@pytest.mark.parametrize("spans", ["openinference.instrumentation.smolagents", "openlit.instrumentation.smolagents"])
def test_a_neighbours_structure_is_not_shown_beside_ours_and_its_sums_do_not_count(
    telemetry: Telemetry, destination: Destination, spans: str
) -> None:
    instrumentor = SmolagentsInstrumentor()
    instrumentor.apply()
    try:
        foreign(telemetry.tracer_provider.get_tracer(spans), gen_ai__operation__name="invoke_agent")
    finally:
        instrumentor.uninstrument()
    assert usage_names(by_scope(telemetry, spans)) == set()
    assert not destination.spans


def test_an_unknown_model_is_unpriced_and_not_free(telemetry: Telemetry, theirs: Tracer) -> None:
    with genledger.attribution(tenant="acme"):
        foreign(theirs, gen_ai__request__model="no-such-model")
        assert genledger.spend() == (0.0, 1, 1, 1_100_000)
    (span,) = by_scope(telemetry)
    assert "genledger.cost.amount" not in span
    assert span["genledger.cost.unpriced"]


CLAIM = "genledger.cost.amount"


def test_a_plausible_cost_on_their_span_is_the_cost(telemetry: Telemetry, theirs: Tracer) -> None:
    foreign(theirs, **{CLAIM: COST * 2, "genledger.cost.source": "override"})
    (span,) = by_scope(telemetry)
    assert (span[CLAIM], span["genledger.cost.source"]) == (COST * 2, "override")


@pytest.mark.parametrize("claim", [1e6, 1e308, math.inf, math.nan, -5.0])
@pytest.mark.parametrize("name", [CLAIM, "gen_ai.usage.cost", "llm.cost.total", "operation.cost"])
def test_an_impossible_cost_on_their_span_is_not(telemetry: Telemetry, theirs: Tracer, name: str, claim: float) -> None:
    with genledger.attribution(tenant="acme"):
        foreign(theirs, **{name: claim})
        assert genledger.spend().usd == pytest.approx(COST)
    (span,) = by_scope(telemetry)
    assert (span[CLAIM], span["genledger.cost.source"]) == (pytest.approx(COST), "table")


@pytest.mark.parametrize("claim", [1e6, math.inf])
def test_an_impossible_cost_of_a_model_without_a_price_is_taken_off_their_span(
    telemetry: Telemetry, theirs: Tracer, claim: float
) -> None:
    foreign(theirs, gen_ai__request__model="no-such-model", gen_ai__usage__output_tokens=10, **{CLAIM: claim})
    (span,) = by_scope(telemetry)
    assert {name for name in span if name.startswith("genledger.cost.")} == {"genledger.cost.unpriced"}


@pytest.mark.parametrize("count", [math.inf, math.nan, 1e300, -1.0])
def test_an_impossible_count_on_their_span_costs_nothing(telemetry: Telemetry, theirs: Tracer, count: float) -> None:
    foreign(theirs, gen_ai__usage__input_tokens=count, genledger__usage__web_search=count)
    (span,) = by_scope(telemetry)
    assert span[CLAIM] == pytest.approx(1.00)


def test_their_failed_call_without_usage_costs_nothing(telemetry: Telemetry, theirs: Tracer) -> None:
    with genledger.attribution(tenant="acme"):
        with theirs.start_as_current_span("chat gpt-4o") as span:
            span.set_attributes({"gen_ai.operation.name": "chat", "gen_ai.request.model": "gpt-4o"})
            span.set_status(Status(StatusCode.ERROR, "boom"))
        assert genledger.spend() == (0.0, 0, 0, 0)
    assert costs(by_scope(telemetry)) == [None]


def test_their_span_around_our_call_is_structure(telemetry: Telemetry, theirs: Tracer, client: Any) -> None:
    with genledger.attribution(tenant="acme"):
        with theirs.start_as_current_span("chat gpt-4o") as span:
            client.chat.completions.create(model="gpt-4o", messages=wire.USER)
            span.set_attributes(CALL)
        assert genledger.spend().calls == 1
    assert costs(by_scope(telemetry)) == [None]
    assert usage_names(by_scope(telemetry)) == set()
    assert by_scope(telemetry)[0]["genledger.tenant.id"] == "acme"
    assert len([cost for cost in costs(by_scope(telemetry, "genledger")) if cost]) == 1


def test_their_span_far_around_our_call_is_structure_too(telemetry: Telemetry, theirs: Tracer, client: Any) -> None:
    with genledger.attribution(tenant="acme"):
        with theirs.start_as_current_span("chat gpt-4o") as outer:
            with theirs.start_as_current_span("step"), theirs.start_as_current_span("step"):
                client.chat.completions.create(model="gpt-4o", messages=wire.USER)
            outer.set_attributes(CALL)
        assert genledger.spend().calls == 1
    assert costs(by_scope(telemetry)) == [None, None, None]
    assert usage_names(by_scope(telemetry)) == set()


def test_their_span_inside_our_call_is_structure(telemetry: Telemetry, theirs: Tracer) -> None:
    provider = Provider(asynchronous=False)
    provider.will(answer(wire.chat()))
    http = provider.http_client("openai")
    send = http.send

    def sending(*args: Any, **kwargs: Any) -> Any:
        foreign(theirs, "their own span")
        return send(*args, **kwargs)

    http.send = sending
    client = provider.openai()
    with genledger.attribution(tenant="acme"):
        client.chat.completions.create(model="gpt-4o", messages=wire.USER)
        assert genledger.spend().calls == 1
    (span,) = by_scope(telemetry)
    assert "genledger.cost.amount" not in span
    assert usage_names([span]) == set()
    ours = next(span for span in telemetry.spans if span.name == "chat gpt-4o")
    (inner,) = [span for span in telemetry.spans if span.name == "their own span"]
    assert parent(inner) == ours.context.span_id if ours.context else False


def parent(span: ReadableSpan) -> int | None:
    return span.parent.span_id if span.parent is not None else None


def test_of_two_of_their_spans_around_each_other_the_inner_one_is_the_call(
    telemetry: Telemetry, theirs: Tracer
) -> None:
    gateway = telemetry.tracer_provider.get_tracer("a.gateway")
    with genledger.attribution(tenant="acme"):
        with theirs.start_as_current_span("chat gpt-4o") as outer:
            foreign(gateway)
            outer.set_attributes(CALL)
        assert genledger.spend().calls == 1
    assert costs(by_scope(telemetry)) == [None]
    assert usage_names(by_scope(telemetry)) == set()
    assert costs(by_scope(telemetry, "a.gateway")) == [pytest.approx(COST)]
    assert usage_names(by_scope(telemetry, "a.gateway")) == {name for name in CALL if "usage" in name}


def test_two_of_their_calls_beside_each_other_are_two(telemetry: Telemetry, theirs: Tracer) -> None:
    with genledger.attribution(tenant="acme"), theirs.start_as_current_span("request"):
        foreign(theirs)
        foreign(theirs)
        assert genledger.spend() == (2 * COST, 2, 0, 2_200_000)


def test_a_call_after_ours_in_the_same_task_is_still_priced(telemetry: Telemetry, theirs: Tracer, client: Any) -> None:
    with genledger.attribution(tenant="acme"):
        client.chat.completions.create(model="gpt-4o", messages=wire.USER)
        foreign(theirs)
        assert genledger.spend().calls == 2


@pytest.mark.parametrize("operation", ["invoke_agent", "create_agent", "execute_tool", "invoke_workflow", "plan"])
def test_a_span_of_an_agent_is_never_priced(telemetry: Telemetry, theirs: Tracer, operation: str) -> None:
    with genledger.attribution(tenant="acme"):
        foreign(theirs, f"{operation} x", gen_ai__operation__name=operation)
        assert genledger.spend() == (0.0, 0, 0, 0)
    assert costs(by_scope(telemetry)) == [None]
    assert by_scope(telemetry)[0]["genledger.tenant.id"] == "acme"


def test_a_span_that_has_nothing_to_do_with_genai_is_only_attributed(telemetry: Telemetry, theirs: Tracer) -> None:
    with genledger.attribution(tenant="acme"), theirs.start_as_current_span("GET /"):
        pass
    with theirs.start_as_current_span("GET /"):
        pass
    assert by_scope(telemetry) == [{"genledger.tenant.id": "acme"}, {}]


def test_a_cost_that_they_wrote_is_kept(telemetry: Telemetry, theirs: Tracer) -> None:
    with genledger.attribution(tenant="acme"):
        foreign(theirs, genledger__cost__amount=7.5, genledger__cost__source="provider")
        assert genledger.spend() == (7.5, 1, 0, 1_100_000)
    (span,) = by_scope(telemetry)
    assert (span["genledger.cost.amount"], span["genledger.cost.source"]) == (7.5, "provider")


@pytest.mark.parametrize(
    "attributes",
    [
        {"gen_ai.system": "openai", "gen_ai.usage.prompt_tokens": 1_000_000, "gen_ai.usage.completion_tokens": 100_000},
        {"llm.provider": "openai", "llm.token_count.prompt": 1_000_000, "llm.token_count.completion": 100_000},
        {"gen_ai.system": "openai", "llm.usage.prompt_tokens": 1_000_000, "llm.usage.completion_tokens": 100_000},
    ],
    ids=["earlier conventions", "OpenInference", "Traceloop"],
)
def test_older_and_other_names_of_usage_are_read(
    telemetry: Telemetry, theirs: Tracer, attributes: dict[str, Any]
) -> None:
    names = {"openinference.span.kind": "LLM", "llm.model_name": "gpt-4o"}
    if "gen_ai.system" in attributes:
        names = {"gen_ai.operation.name": "chat", "gen_ai.request.model": "gpt-4o"}
    with genledger.attribution(tenant="acme"):
        theirs.start_span("llm", attributes=attributes | names).end()
        assert genledger.spend() == (COST, 1, 0, 1_100_000)


@pytest.mark.parametrize(
    "cached",
    ["gen_ai.usage.cache_read_input_tokens", "gen_ai.usage.input_cached_tokens", "llm.usage.cache_read_input_tokens"],
)
def test_cached_tokens_are_priced_as_such_under_whatever_name(
    telemetry: Telemetry, theirs: Tracer, cached: str
) -> None:
    foreign(theirs, **{cached.replace(".", "__"): 400_000})
    (span,) = by_scope(telemetry)
    # gpt-4o: 1.25 USD per million cached tokens.
    assert span["genledger.cost.cache_read"] == pytest.approx(0.5)
    assert span["genledger.cost.input"] == pytest.approx(1.5)


def test_embeddings_of_theirs_count_where_embeddings_count(telemetry: Telemetry, theirs: Tracer) -> None:
    foreign(
        theirs,
        "embeddings text-embedding-3-small",
        gen_ai__operation__name="embeddings",
        gen_ai__request__model="text-embedding-3-small",
        gen_ai__usage__output_tokens=0,
    )
    assert costs(by_scope(telemetry)) == [pytest.approx(0.02)]
    data = telemetry.metrics
    assert data is not None
    names = {m.name for r in data.resource_metrics for s in r.scope_metrics for m in s.metrics}
    assert "gen_ai.client.operation.duration" in names
    assert "gen_ai.client.inference.duration" not in names


def test_their_span_stays_closed_for_everybody_else(telemetry: Telemetry, theirs: Tracer) -> None:
    span = theirs.start_span("chat gpt-4o", attributes=CALL)
    span.end()
    span.set_attribute("late", 1)
    (written,) = by_scope(telemetry)
    assert "late" not in written
    assert telemetry.complaints.other == ["opentelemetry.sdk.trace: Setting attribute on ended span."]
    telemetry.complaints.records.clear()
    with pytest.raises(TypeError):
        telemetry.spans[0].attributes["late"] = 1  # type: ignore[index]


@pytest.mark.usefixtures("telemetry")
def test_spans_that_never_end_are_forgotten_and_later_ones_still_priced() -> None:
    processor, exporter = ForeignSpanProcessor("genledger"), InMemorySpanExporter()
    provider = TracerProvider(shutdown_on_exit=False)
    provider.add_span_processor(processor)
    provider.add_span_processor(SimpleSpanProcessor(exporter))
    tracer = provider.get_tracer("another.instrumentation")
    first = weakref.ref(tracer.start_span("left open"))
    for _ in range(MAX_OPEN + 10):
        tracer.start_span("left open")
    foreign(tracer)
    (ended,) = exporter.get_finished_spans()
    assert ended.attributes is not None
    assert ended.attributes["genledger.cost.amount"] == pytest.approx(COST)
    gc.collect()
    assert first() is None
