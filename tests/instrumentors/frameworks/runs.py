"""A framework's run: the tools in it, a budget around it, and what it left behind in spans."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterable, Awaitable, Callable, Iterable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager, contextmanager
from typing import Any, NamedTuple

import openai
import pytest
from examples.demo.provider import DemoProvider
from examples.frameworks.traced import REPLIES
from opentelemetry.context import get_current
from opentelemetry.sdk.trace import ReadableSpan
from tests.instrumentors.telemetry import Telemetry, attributes_of

from genledger.budgets import budget

_INPUT = (
    "gen_ai.usage.input_tokens",
    "gen_ai.usage.prompt_tokens",
    "llm.token_count.prompt",
    "llm.usage.prompt_tokens",
)
_OUTPUT = (
    *("gen_ai.usage.output_tokens", "gen_ai.usage.completion_tokens"),
    *("llm.token_count.completion", "llm.usage.completion_tokens"),
)
_COST = ("genledger.cost.amount", "gen_ai.usage.cost", "operation.cost", "llm.cost.total")


Record = Callable[..., AbstractContextManager[Telemetry]]
"""Genledger beside a framework: `instrumented` or `native`, with its libraries. Takes more options of theirs."""


class Framework(NamedTuple):
    """A row of `test_promises.py`."""

    record: Record
    run: Callable[[DemoProvider, int], Awaitable[Any]]
    """Asks `QUESTION` so many times at once."""
    tree: str
    """What each run leaves behind."""
    kept: Callable[[ReadableSpan], bool] = lambda span: True
    """Which spans are in the tree."""
    replies: Mapping[str, str] = REPLIES
    """What the model says."""
    hook: Callable[[], Any] = lambda: None
    """What is patched or registered while Genledger is there, as it is now."""
    stream: Callable[[DemoProvider], Awaitable[Any]] | None = None
    """Asks `QUESTION` once, and reads the answer as it comes: the tree is the same."""
    alone: Record | None = None
    """Genledger beside a framework that records its own work, where nobody listens to that: there are calls only."""


class Totals(NamedTuple):
    """Tokens that were billed, or that spans show."""

    input: int
    output: int


def tree(
    spans: Iterable[ReadableSpan],
    shown: Callable[[ReadableSpan], str] = lambda span: span.name,
    kept: Callable[[ReadableSpan], bool] = lambda span: True,
) -> str:
    """Return the spans as an indented text, in the order that they began; orphans are at the margin.

    Those that are not kept are left out, and what is inside of them belongs to what is around them.
    """
    known = {span.context.span_id: span for span in spans if span.context is not None}

    def depth(span: ReadableSpan) -> int:
        around = known.get(span.parent.span_id) if span.parent is not None else None
        return 0 if around is None else kept(around) + depth(around)

    ordered = sorted(filter(kept, known.values()), key=lambda span: span.start_time or 0)
    return "".join(f"{'  ' * depth(span)}{shown(span)}\n" for span in ordered)


def trees(spans: Iterable[ReadableSpan], kept: Callable[[ReadableSpan], bool] = lambda span: True) -> list[str]:
    """Return the tree of each trace."""
    by_trace: dict[int, list[ReadableSpan]] = {}
    for span in spans:
        if span.context is not None:
            by_trace.setdefault(span.context.trace_id, []).append(span)
    return [found for one in by_trace.values() if (found := tree(one, kept=kept))]


def indented(text: str, levels: int) -> str:
    """Return a tree as it is within another."""
    return "".join(f"{'  ' * levels}{line}" for line in text.splitlines(keepends=True))


def parents(spans: Iterable[ReadableSpan]) -> list[tuple[str, str]]:
    """Return the name of each span that has a parent, and the parent's: of runs whose parts begin in any order."""
    known = {span.context.span_id: span for span in spans if span.context is not None}
    return sorted((span.name, known[span.parent.span_id].name) for span in known.values() if span.parent is not None)


def is_step_or_call(span: ReadableSpan) -> bool:
    """Return whether a span is in the conventions' words, or in ours: the rest is a framework's plumbing."""
    return not {"gen_ai.operation.name", "genledger.operation.kind"}.isdisjoint(span.attributes or {})


def ours(spans: Iterable[ReadableSpan]) -> list[ReadableSpan]:
    """Return the spans that Genledger made."""
    return [
        span
        for span in spans
        if span.instrumentation_scope is not None and span.instrumentation_scope.name.startswith("genledger")
    ]


def traces(spans: Iterable[ReadableSpan]) -> int:
    """Return how many traces there are."""
    return len({span.context.trace_id for span in spans if span.context is not None})


def _first(attributes: dict[str, Any], names: tuple[str, ...]) -> Any:
    return next((attributes[name] for name in names if name in attributes), 0)


def shown(spans: Iterable[ReadableSpan]) -> Totals:
    """Return the tokens over all spans, in whichever instrumentation's words: what a naive backend adds up."""
    found = [attributes_of(span) for span in spans]
    return Totals(sum(_first(one, _INPUT) for one in found), sum(_first(one, _OUTPUT) for one in found))


def cost_shown(spans: Iterable[ReadableSpan]) -> float:
    """Return the USD over all spans, likewise."""
    return float(sum(_first(attributes_of(span), _COST) for span in spans))


def billed(provider: DemoProvider) -> Totals:
    """Return the tokens that the provider charged for, whichever of its formats it was asked in."""
    used = [request.usage for request in provider.requests if request.usage is not None]
    return Totals(
        sum(one.get("prompt_tokens") or one.get("input_tokens") or one.get("promptTokenCount") or 0 for one in used),
        sum(
            one.get("completion_tokens") or one.get("output_tokens") or one.get("candidatesTokenCount") or 0
            for one in used
        ),
    )


def assert_billed_once(telemetry: Telemetry, provider: DemoProvider) -> None:
    """Assert that the spans show what the provider billed, and that each billed request has one cost."""
    assert shown(telemetry.spans) == billed(provider)
    priced = [span for span in telemetry.spans if "genledger.cost.amount" in attributes_of(span)]
    assert len(priced) == len([request for request in provider.requests if request.usage is not None])
    assert all(cost_shown([span]) > 0 for span in priced)
    assert cost_shown(telemetry.spans) == pytest.approx(cost_shown(priced))


def calls(telemetry: Telemetry) -> list[dict[str, Any]]:
    """Return what is said of each call that a budget could refuse."""
    return [found for span in telemetry.spans if "genledger.outcome" in (found := attributes_of(span))]


def outcomes(telemetry: Telemetry) -> list[str]:
    """Return how each call ended."""
    return [call["genledger.outcome"] for call in calls(telemetry)]


def errors(telemetry: Telemetry) -> dict[str, Any]:
    """Return the type of the error of each span that has one."""
    found = {span.name: attributes_of(span).get("error.type") for span in telemetry.spans}
    return {name: error for name, error in found.items() if error is not None}


def tenants(spans: Iterable[ReadableSpan]) -> set[str | None]:
    """Return whom the spans are attributed to."""
    return {attributes_of(span).get("genledger.tenant.id") for span in spans}


@contextmanager
def nothing_left(telemetry: Telemetry) -> Iterator[None]:
    """Assert that no span stays open, that the context is as it was, and that we had nothing to complain about."""
    before = get_current()
    yield
    assert get_current() is before
    assert not telemetry.open.spans
    assert not telemetry.complaints.other


RULE = "429, rate limit"
"""The name of the budget of `refusing`. Clients and frameworks that go by an error's text would try again."""


@contextmanager
def refusing(record: Record, **limits: Any) -> Iterator[Telemetry]:
    """Record with one budget, such as `requests=1, per="day"`, and assert that a refusal leaves nothing behind."""
    with record(budgets=[budget(name=RULE, **limits)], budget_store="memory:") as telemetry, nothing_left(telemetry):
        yield telemetry


def weather(city: str) -> str:
    """Say what the weather is like in a city."""
    return f"sunny in {city}"


def broken(city: str) -> str:
    """Fail."""
    raise ValueError("the tool's own")


async def slow(city: str) -> str:
    """Wait until the run is cancelled."""
    await asyncio.sleep(3600)
    return city


def asking(provider: DemoProvider, model: str = "gpt-4.1-mini") -> Callable[[str], str]:
    """Return a tool that asks a model by itself."""

    def weather(city: str) -> str:
        """Say what the weather is like in a city."""
        with openai.OpenAI(base_url=provider.openai_url, api_key="k", max_retries=0) as client:
            return client.responses.create(model=model, input=city).output_text

    return weather


def asking_async(provider: DemoProvider) -> Callable[[str], Awaitable[str]]:
    """Return the same tool as a coroutine function."""

    async def weather(city: str) -> str:
        """Say what the weather is like in a city."""
        async with openai.AsyncOpenAI(base_url=provider.openai_url, api_key="k", max_retries=0) as client:
            return (await client.responses.create(model="gpt-4.1-mini", input=city)).output_text

    return weather


def in_thread(act: Callable[[], Any]) -> Any:
    """Do something in a thread of its own."""
    with ThreadPoolExecutor(1) as threads:
        return threads.submit(act).result()


async def read(stream: AsyncIterable[Any]) -> list[Any]:
    """Read a stream, whose reader keeps its own context."""
    before, items = get_current(), []
    async for item in stream:
        assert get_current() is before
        items.append(item)
    return items


async def together(*runs: Awaitable[Any]) -> None:
    """Await runs at the same time."""
    await asyncio.gather(*runs)


async def until(begun: Callable[[], Any]) -> None:
    """Wait until something has begun."""
    async with asyncio.timeout(60):
        while not begun():  # noqa: ASYNC110
            await asyncio.sleep(0.01)


async def cancelled(run: Awaitable[Any], begun: Callable[[], Any]) -> None:
    """Cancel a run once something has begun, and assert that it ends with that."""
    task = asyncio.ensure_future(run)
    await until(begun)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task


def is_open(telemetry: Telemetry, name: str) -> Callable[[], bool]:
    """Return what tells whether a span of this name has begun and not ended."""
    return lambda: name in telemetry.open.spans.values()
