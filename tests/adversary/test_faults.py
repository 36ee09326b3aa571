"""Faults at random places of our own work: the application gets what it would have got, and keeps its context."""

from __future__ import annotations

import asyncio
import gc
import os
import random
from collections import Counter
from collections.abc import Awaitable, Callable, Iterator
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path
from types import CodeType
from typing import Any

import httpx2
import pytest
from opentelemetry.context import get_current
from opentelemetry.sdk.trace import Span, SpanProcessor
from opentelemetry.trace import NoOpTracer, SpanKind, Tracer

import genledger

from ..instrumentors import anthropic_format, openai_format
from ..instrumentors.provider import Provider, Within, answer, events, items, now
from ..instrumentors.telemetry import Telemetry, instrumented
from ..replay.observation import difference, seen
from .conftest import Scale
from .injection import Entered, Fault, failing, functions_with, injected

# Python prints what a finalizer or a thread of ours raises, and goes on: the application gets nothing of it.
pytestmark = [
    pytest.mark.filterwarnings("default::pytest.PytestUnraisableExceptionWarning"),
    pytest.mark.filterwarnings("default::pytest.PytestUnhandledThreadExceptionWarning"),
]


@pytest.fixture(autouse=True)
def nothing_is_left_for_other_tests() -> Iterator[None]:
    """Collect what a fault has broken here: finalizers may raise, and would otherwise do so in a later test."""
    yield
    gc.collect()


CHAT: dict[str, Any] = {"model": "gpt-4o", "messages": openai_format.USER, "max_tokens": 100}


@dataclass(frozen=True)
class Application:
    """What a scenario works with."""

    provider: Provider
    tracer: Tracer

    @property
    def openai(self) -> Any:
        """The client, always the same."""
        return self.provider.client("openai")

    @property
    def anthropic(self) -> Any:
        """The client, always the same."""
        return self.provider.client("anthropic")


Scenario = Callable[[Application], Awaitable[Any]]


async def whole(app: Application) -> Any:
    app.provider.will(answer(openai_format.chat()))
    return await now(app.openai.chat.completions.create(**CHAT))


async def raw(app: Application) -> Any:
    app.provider.will(answer(openai_format.chat()))
    response = await now(app.openai.chat.completions.with_raw_response.create(**CHAT))
    return await now(response.parse())


async def stream(app: Application) -> Any:
    app.provider.will(events(openai_format.chat_chunks(*"abcdef")))
    return await items(await now(app.openai.chat.completions.create(**CHAT, stream=True)))


async def cut(app: Application) -> Any:
    app.provider.will(events(openai_format.chat_chunks(*"abcdef")))
    opened = await now(app.openai.chat.completions.create(**CHAT, stream=True))
    found = await items(opened, 3)
    await now(opened.close())
    return found


async def dropped(app: Application) -> Any:
    app.provider.will(events(openai_format.chat_chunks(*"abcdef")))
    return await items(await now(app.openai.chat.completions.create(**CHAT, stream=True)), 3)


async def lines(app: Application) -> Any:
    app.provider.will(events(openai_format.chat_chunks(*"abcdef")))
    streaming = app.openai.chat.completions.with_streaming_response
    async with Within(streaming.create(**CHAT, stream=True)) as response:
        return await items(response.iter_lines())


async def helper(app: Application) -> Any:
    app.provider.will(events(openai_format.chat_chunks(*"abcdef")))
    async with Within(app.openai.chat.completions.stream(**CHAT)) as opened:
        return await items(opened)


async def refused(app: Application) -> Any:
    app.provider.will(answer(openai_format.error(), 404))
    return await now(app.openai.chat.completions.create(**CHAT))


async def retried(app: Application) -> Any:
    slow = events([], then=httpx2.ReadTimeout("slow"))
    soon = {"retry-after-ms": "1"}
    app.provider.will(answer(openai_format.error(), 500, soon), slow, answer(openai_format.chat()))
    return await now(app.openai.with_options(max_retries=3).chat.completions.create(**CHAT))


async def broken(app: Application) -> Any:
    chunks = openai_format.chat_chunks(*"abcdef")[:4]
    app.provider.will(events(chunks, then=httpx2.ReadError("gone")))
    return await items(await now(app.openai.chat.completions.create(**CHAT, stream=True)))


async def interrupted(app: Application) -> Any:
    app.provider.will(events(openai_format.chat_chunks(*"abcdef")[:4], then=KeyboardInterrupt()))
    return await items(await now(app.openai.chat.completions.create(**CHAT, stream=True)))


async def message(app: Application) -> Any:
    app.provider.will(answer(anthropic_format.message()))
    return await now(app.anthropic.messages.create(**anthropic_format.ASK))


async def message_stream(app: Application) -> Any:
    app.provider.will(events(anthropic_format.message_events(), done=False))
    async with Within(app.anthropic.messages.stream(**anthropic_format.ASK)) as opened:
        return await items(opened)


async def responses(app: Application) -> Any:
    app.provider.will(events(openai_format.response_events(), done=False))
    return await items(await now(app.openai.responses.create(model="gpt-4o", input="Hello", stream=True)))


async def embeddings(app: Application) -> Any:
    app.provider.will(answer(openai_format.embeddings()))
    return await now(app.openai.embeddings.create(model="text-embedding-3-small", input=["one", "two"]))


async def observed(app: Application) -> Any:
    app.provider.will(answer(openai_format.chat()))

    @genledger.observe(kind="tool")
    def look_up(city: str) -> str:
        return f"{city} is a city"

    @genledger.observe(kind="agent")
    async def answer_it() -> Any:
        with genledger.attribution(tenant="other", tags=["one"]), genledger.observe("part"):
            said = await now(app.openai.chat.completions.create(**CHAT))
        look_up("Paris")
        raise LookupError(said.choices[0].message.content)

    try:
        return await answer_it()
    except LookupError as error:
        return error.args


async def foreign(app: Application) -> Any:
    """A span of somebody else's instrumentation, around and instead of a call."""
    app.provider.will(answer(openai_format.chat()))
    about = {"gen_ai.operation.name": "chat", "gen_ai.provider.name": "openai", "gen_ai.request.model": "gpt-4o"}
    with app.tracer.start_as_current_span("chat gpt-4o", attributes=about) as span:
        found = await now(app.openai.chat.completions.create(**CHAT))
    with app.tracer.start_as_current_span("chat gpt-4o", attributes=about) as span:
        span.set_attributes({"gen_ai.usage.input_tokens": 10, "gen_ai.usage.output_tokens": 5})
    return found


SCENARIOS: dict[str, Scenario] = {
    scenario.__name__: scenario
    for scenario in (
        whole, raw, stream, cut, dropped, lines, helper, refused, retried, broken, interrupted, message,
        message_stream, responses, embeddings, observed, foreign,
    )
}  # fmt: skip


class Started(SpanProcessor):
    """Counts the spans of calls that were started."""

    def __init__(self) -> None:
        self.count = 0

    def on_start(self, span: Span, parent_context: Any = None) -> None:
        self.count += span.kind is SpanKind.CLIENT


async def outcome(scenario: Scenario, provider: Application) -> Any:
    """What the application gets."""
    try:
        return seen(await scenario(provider))
    except BaseException as error:
        return seen(error)


@pytest.fixture
def telemetry(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Telemetry]:
    """Everything on: content, redaction, budgets, the ledger and two destinations that nobody answers."""
    rules = tmp_path / "rules.toml"
    rules.write_text('[[budget]]\nname="day"\ntenant="each"\nusd=1000\nper="day"\n[[budget]]\nsteps=9999\nper="run"\n')
    monkeypatch.setenv("GENLEDGER_LEDGER", str(tmp_path / "ledger.db"))
    with instrumented(
        capture_content="both", budgets=str(rules), budget_store="memory:", destinations=["ledger"]
    ) as telemetry:
        yield telemetry


@pytest.fixture
async def uninstrumented(monkeypatch: pytest.MonkeyPatch) -> dict[tuple[str, Provider], Any]:
    """What an application gets without Genledger, by scenario and provider's end."""
    monkeypatch.setattr("openai._base_client.BaseClient._calculate_retry_timeout", lambda *_: 0.0)
    providers = [Provider(asynchronous=False), Provider(asynchronous=True)]
    return {
        (name, provider): await outcome(scenario, Application(provider, NoOpTracer()))
        for name, scenario in SCENARIOS.items()
        for provider in providers
    }


FAULTS = (RuntimeError, MemoryError, RecursionError)
SEED = int(os.environ.get("GENLEDGER_TEST_SEED", "1"))


class Target:
    """Genledger at work, and what an application gets without it."""

    def __init__(self, telemetry: Telemetry, uninstrumented: dict[tuple[str, Provider], Any]) -> None:
        self._telemetry = telemetry
        self._expected = uninstrumented
        self._started = Started()
        telemetry.tracer_provider.add_span_processor(self._started)
        self._tracer = telemetry.tracer_provider.get_tracer("other")
        self.ways = list(uninstrumented)

    async def run(self, way: tuple[str, Provider], watching: AbstractContextManager[None], fault: Fault) -> str | None:
        """Go one way; returns what the application could notice, or what is wrong with the spans."""
        scenario, provider = way
        spans = self._telemetry.open.spans
        self._started.count = 0
        spans.clear()
        before = get_current()
        with watching:
            found = await outcome(SCENARIOS[scenario], Application(provider, self._tracer))
        if spans:
            gc.collect()
            for _ in range(5):  # The event loop closes a dropped generator in a task of its own.
                await asyncio.sleep(0)
        if (unlike := difference(found, self._expected[way])) is not None:
            return unlike
        if get_current() is not before:
            return "another context is current than before"
        if self._started.count > 1:
            return f"{self._started.count} spans were started"
        if spans and not fault.ending:
            return f"the span was not ended: {spans}"
        return None


@pytest.fixture
def target(uninstrumented: dict[tuple[str, Provider], Any], telemetry: Telemetry) -> Iterator[Target]:
    """Genledger at work, within somebody's attribution."""
    with genledger.attribution(tenant="acme", feature="answers"):
        yield Target(telemetry, uninstrumented)


def report(noticed: Counter[str]) -> str:
    """What was noticed, the most frequent first."""
    lines = [f"{times} x {what}" for what, times in noticed.most_common()]
    return "\n".join([f"{len(noticed)} faults were noticed:", *lines])


async def test_a_fault_anywhere_in_our_work_is_not_noticed(target: Target, scale: Scale) -> None:
    chance = random.Random(SEED)
    sizes: dict[tuple[str, Provider], int] = {}
    for way in target.ways * 2:  # The first times, some things are made that are there from then on.
        counting = Fault(-1)
        assert await target.run(way, injected(counting), counting) is None, way
        sizes[way] = counting.seen
    noticed: Counter[str] = Counter()
    struck = 0
    for _ in range(scale(300, 5000)):
        way = chance.choice(target.ways)
        fault = Fault(chance.randrange(sizes[way]), chance.choice(FAULTS))
        complaint = await target.run(way, injected(fault), fault)
        struck += fault.place is not None
        if complaint is not None:
            noticed[f"{fault.place}\n    {way[0]}: {complaint}"] += 1
    print(f"\n{struck} faults, at {sum(sizes.values())} places")
    assert not noticed, report(noticed)
    assert struck > scale(250, 4000)


async def test_a_function_of_ours_that_always_fails_is_not_noticed(target: Target, scale: Scale) -> None:
    chance = random.Random(SEED)
    used: dict[CodeType, list[tuple[str, Provider]]] = {}
    for way in target.ways:
        entered = Entered()
        await target.run(way, injected(entered), Fault(-1))
        for code in entered.codes:
            used.setdefault(code, []).append(way)
    functions = sorted(functions_with(used), key=lambda function: (function.__module__, function.__qualname__))
    noticed: Counter[str] = Counter()
    for function in chance.sample(functions, min(len(functions), scale(60, 10_000))):
        ways = used[function.__code__]
        for way in chance.sample(ways, min(len(ways), scale(2, 50))):
            for kind in (RuntimeError, MemoryError):
                complaint = await target.run(way, failing(function, kind), Fault(-1))
                if complaint is not None:
                    noticed[f"{function.__module__}.{function.__qualname__}\n    {way[0]}: {complaint}"] += 1
    print(f"\n{len(functions)} functions")
    assert not noticed, report(noticed)
