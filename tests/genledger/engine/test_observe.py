"""Spans for the application's own agents and tools, and what they have cost so far."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncIterator, Iterator
from typing import Any

import pytest
from opentelemetry import trace
from opentelemetry.context import get_current
from opentelemetry.trace import SpanKind, StatusCode

import genledger
from genledger.context.totals import RunningTotal, Spend, TraceTotals, run_in
from genledger.pricing.cost import Cost
from genledger.pricing.usage import Usage
from genledger_semconv.checker import assert_clean

from ...instrumentors import openai_format as wire
from ...instrumentors.provider import Provider, answer
from ...instrumentors.telemetry import Telemetry, instrumented

COST = 176 * 2.5e-6 + 1024 * 1.25e-6 + 300 * 10e-6
"""Of one answer of `client`, at OpenAI's published prices for gpt-4o."""


@pytest.fixture
def telemetry() -> Iterator[Telemetry]:
    before = get_current()
    with instrumented() as telemetry:
        yield telemetry
        assert get_current() == before
        assert_clean(telemetry.spans, telemetry.metrics, telemetry.logs)
        assert not telemetry.open.spans


@pytest.fixture
def call() -> Any:
    provider = Provider(asynchronous=False)
    provider.will(answer(wire.chat()))
    client = provider.openai()
    return lambda model="gpt-4o": client.chat.completions.create(model=model, messages=wire.USER)


@pytest.mark.parametrize(
    ("kind", "name", "span_kind", "attributes"),
    [
        ("agent", "invoke_agent", SpanKind.INTERNAL, {"gen_ai.agent.name": "x"}),
        ("tool", "execute_tool", SpanKind.INTERNAL, {"gen_ai.tool.name": "x"}),
        ("retrieval", "retrieval", SpanKind.CLIENT, {"gen_ai.data_source.id": "x"}),
        ("workflow", "invoke_workflow", SpanKind.INTERNAL, {"gen_ai.workflow.name": "x"}),
        ("task", "", SpanKind.INTERNAL, {"genledger.operation.kind": "task"}),
    ],
)
def test_each_kind_is_a_span_of_the_conventions(
    kind: Any, name: str, span_kind: SpanKind, attributes: dict[str, str], telemetry: Telemetry
) -> None:
    with genledger.attribution(tenant="acme"), genledger.observe("x", kind=kind):
        pass
    operation = {"gen_ai.operation.name": name} if name else {}
    assert telemetry.span.name == f"{name} x".strip()
    assert telemetry.span.kind is span_kind
    assert telemetry.attributes == {"genledger.tenant.id": "acme", **operation, **attributes}


def test_an_unknown_kind_is_refused() -> None:
    with pytest.raises(ValueError, match=r"observe\(kind=…\) must be one of agent, tool"):
        genledger.observe(kind="agnet")  # type: ignore[call-overload]


def test_all_ways_of_decorating_name_the_span_after_the_function_unless_told(telemetry: Telemetry) -> None:
    @genledger.observe
    def bare() -> int:
        return 1

    @genledger.observe()
    def called() -> int:
        return 2

    @genledger.observe("given", kind="agent")
    def named() -> int:
        return 3

    assert (bare(), called(), named()) == (1, 2, 3)
    assert bare.__name__ == "bare"
    assert [span.name for span in telemetry.spans] == ["bare", "called", "invoke_agent given"]


async def test_coroutines_and_generators_are_observed_to_their_end(telemetry: Telemetry) -> None:
    @genledger.observe
    async def coroutine() -> str:
        await asyncio.sleep(0)
        return trace.get_current_span().name  # type: ignore[attr-defined]

    @genledger.observe
    def steps() -> Iterator[str]:
        yield trace.get_current_span().name  # type: ignore[attr-defined]
        yield trace.get_current_span().name  # type: ignore[attr-defined]

    @genledger.observe
    async def asteps() -> AsyncIterator[str]:
        yield trace.get_current_span().name  # type: ignore[attr-defined]
        await asyncio.sleep(0)
        yield trace.get_current_span().name  # type: ignore[attr-defined]

    assert await coroutine() == "coroutine"
    generator = steps()
    assert next(generator) == "steps"
    assert not trace.get_current_span().is_recording()
    assert [span.name for span in telemetry.spans] == ["coroutine"]
    assert list(generator) == ["steps"]
    assert [item async for item in asteps()] == ["asteps", "asteps"]
    assert [span.name for span in telemetry.spans] == ["coroutine", "steps", "asteps"]


def test_a_generator_broken_off_ends_its_span_without_an_error(telemetry: Telemetry) -> None:
    @genledger.observe
    def steps() -> Iterator[int]:
        yield 1
        yield 2

    for _ in steps():
        break
    assert telemetry.span.status.status_code is StatusCode.UNSET


def test_errors_pass_through_and_are_named_without_what_they_quote(telemetry: Telemetry) -> None:
    error = LookupError("no Ada Lovelace here")
    with pytest.raises(LookupError) as raised, genledger.observe("x", kind="tool"):
        raise error
    assert raised.value is error
    assert telemetry.span.status.status_code is StatusCode.ERROR
    assert telemetry.span.status.description is None
    assert telemetry.attributes["error.type"] == "LookupError"


def test_calls_inside_are_children_and_the_block_knows_what_they_cost(telemetry: Telemetry, call: Any) -> None:
    with genledger.observe("outer", kind="agent") as outer:
        call()
        with genledger.observe("inner", kind="agent") as inner:
            call()
            assert inner.spend() == Spend(pytest.approx(COST), 1, 0, 1500)  # type: ignore[arg-type]
            assert genledger.spend() == inner.spend()
        assert outer.spend() == Spend(pytest.approx(2 * COST), 2, 0, 3000)  # type: ignore[arg-type]
    call()
    assert outer.spend().calls == 2
    names = {span.context.span_id: span.name for span in telemetry.spans if span.context is not None}
    parents = [(span.name, names.get(span.parent.span_id) if span.parent else None) for span in telemetry.spans]
    assert parents == [
        ("chat gpt-4o", "invoke_agent outer"),
        ("chat gpt-4o", "invoke_agent inner"),
        ("invoke_agent inner", "invoke_agent outer"),
        ("invoke_agent outer", None),
        ("chat gpt-4o", None),
    ]


def test_spend_is_of_the_innermost_block_or_else_of_the_trace(telemetry: Telemetry, call: Any) -> None:
    assert genledger.spend() == (0.0, 0, 0, 0)
    with telemetry.tracer_provider.get_tracer("app").start_as_current_span("request"):
        call()
        call()
        assert genledger.spend().calls == 2
        with genledger.attribution(tenant="acme"):
            assert genledger.spend().calls == 0
            call()
            assert genledger.spend().calls == 1
        assert genledger.spend().calls == 3


def test_an_unpriced_call_is_counted_and_missing_from_the_money(telemetry: Telemetry) -> None:
    provider = Provider(asynchronous=False)
    provider.will(answer(wire.chat(model="brand-new-model")))
    with genledger.observe("x") as block:
        provider.openai().chat.completions.create(model="brand-new-model", messages=wire.USER)
        assert block.spend() == (0.0, 1, 1, 1500)


def test_runs_are_counted_in_depth_and_remember_the_tools_they_called(telemetry: Telemetry) -> None:
    @genledger.observe(kind="tool")
    def search(query: str) -> None:
        """A tool."""

    assert run_in(get_current()) is None
    with genledger.observe("outer", kind="agent"):
        outer = run_in(get_current())
        assert outer is not None
        search("a")
        search("a")
        search("b")
        with genledger.observe("inner", kind="workflow"), genledger.observe("t"):
            inner = run_in(get_current())
    assert inner is not None
    assert (outer.depth, inner.depth) == (0, 1)
    assert outer.id != inner.id
    first, again, other = outer.tool_calls
    assert first == again != other
    assert inner.tool_calls == []


def test_arguments_and_errors_that_cannot_be_shown_change_nothing(telemetry: Telemetry) -> None:
    class Shy(Exception):
        def __repr__(self) -> str:
            raise RuntimeError("not shown")

        __str__ = __repr__

    @genledger.observe(kind="tool")
    def tool(value: Shy) -> None:
        raise value

    shy = Shy()
    before = get_current()
    with genledger.observe("outer", kind="agent"), pytest.raises(Shy) as raised:
        tool(shy)
    assert raised.value is shy
    assert get_current() is before


async def test_one_observe_serves_many_tasks_at_once(telemetry: Telemetry) -> None:
    shared = genledger.observe("shared", kind="agent")
    gates = [asyncio.Event() for _ in range(3)]

    async def work(number: int) -> int:
        with shared as mine:
            if number:
                gates[number - 1].set()
            await gates[number].wait()  # left in the order of entering
            span = mine.span
            assert trace.get_current_span() is span
        assert not span.is_recording()
        if number + 1 < 3:
            gates[number + 1].set()
        return span.get_span_context().span_id

    gates[2].clear()
    ids = await asyncio.gather(*(work(number) for number in range(3)))
    assert len(set(ids)) == 3
    assert len(telemetry.spans) == 3


def test_without_instrument_a_block_runs_as_it_would_without_us() -> None:
    with genledger.observe("x", kind="agent") as block:
        assert block.spend() == (0.0, 0, 0, 0)
    assert genledger.observe(lambda: 5)() == 5


def test_a_spend_adds_up_from_many_threads() -> None:
    outer = RunningTotal()
    inner = RunningTotal(outer)
    usage = Usage(input=2, output=1)

    def add() -> None:
        for number in range(500):
            inner.add(None if number % 5 == 0 else Cost(0.5, "table"), usage, unpriced=number % 5 == 0)

    threads = [threading.Thread(target=add) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert inner.read() == outer.read() == Spend(800.0, 2000, 400, 6000)


def test_a_call_does_not_wait_for_whoever_is_reading_what_was_spent() -> None:
    spend = RunningTotal()
    reading, go_on = threading.Event(), threading.Event()

    class Slow(float):
        """An amount that takes a reader as long as the test likes."""

        def __radd__(self, other: float) -> float:
            reading.set()
            assert go_on.wait(30)
            return other + float(self)

    spend.add(Cost(Slow(0.5), "table"), None, unpriced=False)
    reader = threading.Thread(target=spend.read)
    reader.start()
    assert reading.wait(30)
    for _ in range(200):
        spend.add(Cost(0.5, "table"), None, unpriced=False)
    go_on.set()
    reader.join(30)
    assert spend.read() == Spend(100.5, 201, 0, 0)


def test_the_spend_of_old_traces_is_forgotten() -> None:
    traces = TraceTotals(limit=2)
    for trace_id in (1, 2, 3):
        traces.of(trace_id).add(Cost(1.0, "table"), None, unpriced=False)
    assert [traces.read(trace_id).calls for trace_id in (1, 2, 3)] == [0, 1, 1]
