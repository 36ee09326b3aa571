"""What a call costs whose answer never came: what left may be billed, what was refused or never left is not."""

from __future__ import annotations

import asyncio
import contextlib
import json
import subprocess
import sys
import textwrap
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import anthropic
import httpx2
import openai
import pytest

import genledger
from genledger.budgets import BudgetExceeded

from . import openai_format
from .provider import EVENTS, JSON, Provider, Reply, Within, answer, events, items, now
from .telemetry import Telemetry, attributes_of, instrumented

MESSAGES = [{"role": "user", "content": "What is the capital of France? " * 10}]
CALL = {"model": "gpt-4.1-mini", "max_tokens": 1000, "messages": MESSAGES}
CEILING = 1000 * 1.6e-6
"""USD of the output tokens that a call may use at most; gpt-4.1-mini has 1.60 USD per million."""


def broken(error: Exception | asyncio.Event) -> Reply:
    """An answer whose body breaks off before its first byte."""
    return Reply(200, EVENTS, [error])


class Failing(httpx2.BaseTransport, httpx2.AsyncBaseTransport):
    """A transport whose first requests fail with `errors`, and whose later ones are answered by `reply`."""

    def __init__(self, errors: list[Exception], reply: dict[str, Any] | None = None) -> None:
        self.errors = errors
        self.reply = reply if reply is not None else openai_format.chat()
        self.requests = 0

    def handle_request(self, request: httpx2.Request) -> httpx2.Response:
        self.requests += 1
        if self.errors:
            raise self.errors.pop(0)
        return httpx2.Response(200, json=self.reply)

    async def handle_async_request(self, request: httpx2.Request) -> httpx2.Response:
        return self.handle_request(request)


@pytest.fixture(params=["sync", "async"])
def client_of(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Any:
    """Makes a client, synchronous or not, on a transport; it does not wait between its tries."""

    def make(transport: Failing, retries: int = 0) -> Any:
        if request.param == "sync":
            return openai.OpenAI(api_key="k", max_retries=retries, http_client=httpx2.Client(transport=transport))
        return openai.AsyncOpenAI(api_key="k", max_retries=retries, http_client=httpx2.AsyncClient(transport=transport))

    monkeypatch.setattr("openai._base_client.BaseClient._calculate_retry_timeout", lambda *_: 0.0)
    return make


@pytest.fixture
def budgeted(tmp_path: Path) -> Iterator[Telemetry]:
    """Genledger with a budget of one cent a day and tenant, and of five steps and requests a run."""
    rules = tmp_path / "rules.toml"
    rules.write_text(
        '[[budget]]\nname="day"\ntenant="acme"\nusd=0.01\nper="day"\n'
        '[[budget]]\nname="loop"\ntenant="loops"\nsteps=5\nper="run"\n'
        '[[budget]]\nname="rate"\ntenant="asks"\nrequests=5\nper="day"\n'
    )
    with instrumented(budgets=str(rules), budget_store="memory:") as telemetry:
        yield telemetry


@pytest.mark.parametrize("error", [httpx2.ReadTimeout, httpx2.RemoteProtocolError, httpx2.ReadError])
async def test_a_request_that_was_sent_and_never_answered_costs_its_ceiling(
    client_of: Any, telemetry: Telemetry, error: type[Exception]
) -> None:
    with pytest.raises(openai.APIConnectionError):
        await now(client_of(Failing([error("gone")])).chat.completions.create(**CALL))
    assert telemetry.attributes["genledger.usage.estimated"] is True
    assert telemetry.attributes["gen_ai.usage.output_tokens"] == 1000
    assert telemetry.attributes["genledger.cost.amount"] >= CEILING


@pytest.mark.parametrize("error", [httpx2.ConnectError, httpx2.ConnectTimeout, httpx2.PoolTimeout])
async def test_a_request_that_never_left_costs_nothing(
    client_of: Any, telemetry: Telemetry, error: type[Exception]
) -> None:
    with pytest.raises(openai.APIConnectionError):
        await now(client_of(Failing([error("nobody there")])).chat.completions.create(**CALL))
    assert "genledger.cost.amount" not in telemetry.attributes
    assert "gen_ai.usage.output_tokens" not in telemetry.attributes


async def test_an_argument_that_cannot_be_sent_costs_nothing(provider: Provider, telemetry: Telemetry) -> None:
    with pytest.raises(TypeError):
        await now(provider.openai().chat.completions.create(**{**CALL, "messages": [{"content": object()}]}))
    assert "genledger.cost.amount" not in telemetry.attributes


@pytest.mark.parametrize(("status", "billed"), [(400, False), (429, False), (500, False), (408, True), (504, True)])
async def test_a_refusal_costs_nothing_and_a_gateway_that_gave_up_may(
    provider: Provider, telemetry: Telemetry, status: int, billed: bool
) -> None:
    provider.will(answer({"error": {"message": "no"}}, status))
    with pytest.raises(openai.APIStatusError):
        await now(provider.openai().chat.completions.create(**CALL))
    assert ("genledger.cost.amount" in telemetry.attributes) is billed


async def test_each_attempt_that_may_have_been_billed_is_added_to_the_answer(
    client_of: Any, telemetry: Telemetry
) -> None:
    transport = Failing([httpx2.ReadTimeout("slow"), httpx2.ConnectError("down"), httpx2.ReadTimeout("slow")])
    await now(client_of(transport, retries=3).chat.completions.create(**CALL))
    assert transport.requests == 4
    answered = openai_format.chat()["usage"]
    attributes = telemetry.attributes
    assert attributes["gen_ai.usage.output_tokens"] == answered["completion_tokens"] + 2 * 1000
    assert attributes["genledger.usage.estimated"] is True
    assert attributes["genledger.cost.amount"] >= 2 * CEILING
    assert attributes["genledger.attempts"] == 4


async def test_retries_after_lost_attempts_are_refused_when_the_budget_has_no_room(
    client_of: Any, budgeted: Telemetry
) -> None:
    transport = Failing([httpx2.ReadTimeout("slow") for _ in range(50)])
    client = client_of(transport, retries=20)
    with genledger.attribution(tenant="acme"), pytest.raises(BudgetExceeded):
        await now(client.chat.completions.create(**CALL))
    assert 1 < transport.requests <= 0.01 / CEILING
    attributes = attributes_of(budgeted.spans[-1])
    assert attributes["genledger.outcome"] == "blocked"
    assert attributes["genledger.cost.amount"] >= transport.requests * CEILING


async def test_timeouts_use_up_a_budget(client_of: Any, budgeted: Telemetry) -> None:
    transport = Failing([httpx2.ReadTimeout("slow") for _ in range(50)])
    client = client_of(transport)
    refused = 0
    with genledger.attribution(tenant="acme"):
        for _ in range(20):
            try:
                await now(client.chat.completions.create(**CALL))
            except openai.APITimeoutError:
                pass
            except BudgetExceeded:
                refused += 1
    assert transport.requests <= 0.01 / CEILING
    assert refused == 20 - transport.requests


@pytest.mark.parametrize("tenant", ["loops", "asks"])
@pytest.mark.parametrize("status", [400, 500])
async def test_a_failed_call_is_a_step_and_a_request(
    provider: Provider, budgeted: Telemetry, tenant: str, status: int
) -> None:
    provider.will(answer({"error": {"message": "no"}}, status))
    client = provider.openai()
    refused = 0

    @genledger.observe(kind="agent")
    async def run() -> None:
        nonlocal refused
        for _ in range(30):
            try:
                await now(client.chat.completions.create(**CALL))
            except openai.APIStatusError:
                pass
            except BudgetExceeded:
                refused += 1

    with genledger.attribution(tenant=tenant):
        await run()
    assert len(provider.requests) == 5
    assert refused == 25


async def test_a_task_cancelled_while_it_waits_for_the_answer_costs_the_ceiling(telemetry: Telemetry) -> None:
    waiting = asyncio.Event()

    class Silent(httpx2.AsyncBaseTransport):
        async def handle_async_request(self, request: httpx2.Request) -> httpx2.Response:
            waiting.set()
            await asyncio.Event().wait()
            raise AssertionError

    client = openai.AsyncOpenAI(api_key="k", max_retries=0, http_client=httpx2.AsyncClient(transport=Silent()))
    task = asyncio.create_task(client.chat.completions.create(**CALL))
    await waiting.wait()
    task.cancel()
    with contextlib.suppress(asyncio.CancelledError):
        await task
    assert telemetry.attributes["genledger.outcome"] == "cancelled"
    assert telemetry.attributes["genledger.cost.amount"] >= CEILING
    assert telemetry.attributes["genledger.usage.estimated"] is True


async def test_a_task_cancelled_while_it_connects_costs_nothing(telemetry: Telemetry) -> None:
    connecting = asyncio.Event()

    class Never:
        async def connect_tcp(self, *_: Any, **__: Any) -> Any:
            connecting.set()
            await asyncio.Event().wait()

    transport = httpx2.AsyncHTTPTransport()
    transport._pool._network_backend = Never()  # type: ignore[assignment]
    client = openai.AsyncOpenAI(api_key="k", max_retries=0, http_client=httpx2.AsyncClient(transport=transport))
    task = asyncio.create_task(client.chat.completions.create(**CALL))
    await connecting.wait()
    task.cancel()
    with contextlib.suppress(asyncio.CancelledError):
        await task
    assert telemetry.attributes["genledger.outcome"] == "cancelled"
    assert "genledger.cost.amount" not in telemetry.attributes


async def test_a_cut_stream_counts_at_least_one_token_for_each_chunk_and_what_follows(
    provider: Provider, telemetry: Telemetry
) -> None:
    provider.will(events(openai_format.chat_chunks(*["a"] * 200)))
    stream = await now(provider.openai().chat.completions.create(**CALL, stream=True))
    await items(stream, 100)
    await now(stream.close())
    assert 100 < telemetry.attributes["gen_ai.usage.output_tokens"] <= 150


async def test_a_cut_stream_never_counts_more_than_the_request_allows(provider: Provider, telemetry: Telemetry) -> None:
    provider.will(events(openai_format.chat_chunks(*["word "] * 30)))
    stream = await now(provider.openai().chat.completions.create(**{**CALL, "max_tokens": 40}, stream=True))
    await items(stream, 20)
    await now(stream.close())
    assert telemetry.attributes["gen_ai.usage.output_tokens"] == 40


async def test_text_without_spaces_is_not_underestimated(provider: Provider, telemetry: Telemetry) -> None:
    said = "東京は日本の首都です。" * 10
    provider.will(events(openai_format.chat_chunks(said, "x", "y")))
    stream = await now(provider.openai().chat.completions.create(**CALL, stream=True))
    await items(stream, 2)
    await now(stream.close())
    # The public o200k vocabulary has 7 tokens for the sentence.
    assert telemetry.attributes["gen_ai.usage.output_tokens"] >= 70


SCRIPT = """
    import json, httpx2, openai, genledger
    chunk = {"id": "1", "object": "chat.completion.chunk", "created": 1, "model": "gpt-4.1-mini", "choices":
             [{"index": 0, "delta": {"content": "word "}, "finish_reason": None}]}
    def body():
        for _ in range(10):
            yield f"data: {json.dumps(chunk)}\\n\\n".encode()
    reply = lambda request: httpx2.Response(200, headers={"content-type": "text/event-stream"}, content=body())
    http = httpx2.Client(transport=httpx2.MockTransport(reply))
    client = openai.OpenAI(api_key="k", http_client=http)
    genledger.instrument(destinations=["ledger"])
    asked = dict(model="gpt-4.1-mini", messages=[{"role": "user", "content": "x"}], stream=True)
    stream = client.chat.completions.create(**asked)
    for item in stream:
        break
    raw = client.chat.completions.with_streaming_response.create(**asked).__enter__()
    for line in raw.iter_lines():
        break
    unread = client.chat.completions.with_streaming_response.create(**asked).__enter__()
"""


def test_streams_left_open_at_the_end_of_a_script_are_settled(ledger: Path) -> None:
    # Python 3.13.0 crashes after such a script, with or without Genledger: `datetime` ends before the stream does.
    crashes = sys.version_info[:3] == (3, 13, 0)
    subprocess.run([sys.executable, "-c", textwrap.dedent(SCRIPT)], check=not crashes)
    import sqlite3

    with sqlite3.connect(ledger) as connection:
        found = connection.execute("SELECT outcome, cost_usd > 0, usage_estimated FROM calls").fetchall()
    assert found == [("cancelled", 1, 1)] * 3


def test_anthropics_client_is_judged_alike(telemetry: Telemetry) -> None:
    client = anthropic.Anthropic(
        api_key="k", max_retries=0, http_client=httpx2.Client(transport=Failing([httpx2.ReadTimeout("slow")]))
    )
    with pytest.raises(anthropic.APITimeoutError):
        client.messages.create(model="claude-sonnet-5", max_tokens=100, messages=[{"role": "user", "content": "x"}])
    assert telemetry.attributes["gen_ai.usage.output_tokens"] == 100
    assert telemetry.attributes["genledger.usage.estimated"] is True


class Clock:
    """A clock that moves when it is told to."""

    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


class Paced(httpx2.BaseTransport, httpx2.AsyncBaseTransport):
    """Streams a token every `pace` seconds of a clock, from the first on; none waits for its reader."""

    def __init__(self, clock: Clock, pace: float) -> None:
        self._clock = clock
        self._pace = pace

    def _events(self) -> Iterator[bytes]:
        began = self._clock.now
        for number, chunk in enumerate(openai_format.chat_chunks(*["a"] * 900)):
            self._clock.now = max(self._clock.now, began + number * self._pace)
            yield f"data: {json.dumps(chunk)}\n\n".encode()

    async def _later(self) -> AsyncIterator[bytes]:
        for event in self._events():
            yield event

    def handle_request(self, request: httpx2.Request) -> httpx2.Response:
        return httpx2.Response(200, headers=EVENTS, content=self._events())

    async def handle_async_request(self, request: httpx2.Request) -> httpx2.Response:
        return httpx2.Response(200, headers=EVENTS, content=self._later())


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    """The clock of the process."""
    clock = Clock()
    monkeypatch.setattr("time.perf_counter", clock)
    return clock


async def read(stream: Any, chunks: int, clock: Clock, hold: float) -> None:
    """Read some chunks and keep each for `hold` seconds."""
    for _ in range(chunks):
        await items(stream, 1)
        clock.now += hold


@pytest.mark.parametrize("raw", [False, True], ids=["typed", "raw"])
@pytest.mark.parametrize("hold", [0.0, 0.01, 0.5], ids=["at-once", "in-time", "too-late"])
async def test_a_cut_stream_counts_what_came_while_the_application_did_not_read(
    client_of: Any, telemetry: Telemetry, clock: Clock, hold: float, raw: bool
) -> None:
    completions = client_of(Paced(clock, 0.05)).chat.completions
    if raw:
        async with Within(completions.with_streaming_response.create(**CALL, stream=True)) as response:
            began, lines = clock.now, response.iter_lines()
            await read(lines, 60, clock, hold / 2)  # an event is two lines
    else:
        stream = await now(completions.create(**CALL, stream=True))
        began = clock.now
        await read(stream, 30, clock, hold)
        await now(stream.close())
    generated = (clock.now - began) / 0.05
    # Half a second more than was generated, by the pace that was seen, if any was.
    most = 1.1 * (generated + 10) if hold < 0.05 else 1000
    assert generated <= telemetry.attributes["gen_ai.usage.output_tokens"] <= most


async def test_a_stream_that_is_left_open_counts_what_came_since(
    client_of: Any, telemetry: Telemetry, clock: Clock
) -> None:
    stream = await now(client_of(Paced(clock, 0.05)).chat.completions.create(**CALL, stream=True))
    await read(stream, 30, clock, 0.0)
    clock.now += 20
    await now(stream.close())
    assert 430 <= telemetry.attributes["gen_ai.usage.output_tokens"] <= 500


async def test_an_answer_that_breaks_off_costs_the_ceiling(provider: Provider, telemetry: Telemetry) -> None:
    provider.will(Reply(200, JSON, [b'{"id": "1", "object"', httpx2.RemoteProtocolError("gone")]))
    with pytest.raises(openai.APIConnectionError):
        await now(provider.openai().chat.completions.create(**CALL))
    assert telemetry.attributes["gen_ai.usage.output_tokens"] == 1000


async def test_an_answer_that_breaks_off_while_the_application_reads_it_costs_the_ceiling(
    provider: Provider, telemetry: Telemetry
) -> None:
    provider.will(Reply(200, JSON, [b'{"id": "1", "object"', httpx2.RemoteProtocolError("gone")]))
    with pytest.raises(httpx2.RemoteProtocolError):
        async with Within(provider.openai().chat.completions.with_streaming_response.create(**CALL)) as response:
            await now(response.read())
    assert telemetry.attributes["gen_ai.usage.output_tokens"] == 1000


PARTS = [{"type": "text", "text": "What is this?"}, {"type": "image_url", "image_url": {"url": "https://x/y.png"}}]
PARAMETERS = {"type": "object", "properties": {f"parameter_{number}": {"type": "string"} for number in range(100)}}


@pytest.mark.parametrize(
    ("request_", "least", "most"),
    [
        # Two tokens a number in the public o200k vocabulary: its digits, and the space before it.
        ({"messages": [{"role": "user", "content": "123 " * 500}]}, 1000, 1100),
        # 1024 x 1024 at GPT-4.1 mini: 1024 patches x 1.62.
        ({"messages": [{"role": "user", "content": PARTS}]}, 1659, 2600),
        (
            {
                "messages": MESSAGES,
                "tools": [{"type": "function", "function": {"name": "f", "parameters": PARAMETERS}}],
            },
            300,
            600,
        ),
    ],
    ids=["numbers", "image", "tools"],
)
async def test_the_input_of_a_lost_attempt_is_looked_at(
    client_of: Any, telemetry: Telemetry, request_: dict[str, Any], least: int, most: int
) -> None:
    with pytest.raises(openai.APITimeoutError):
        await now(client_of(Failing([httpx2.ReadTimeout("slow")])).chat.completions.create(**{**CALL, **request_}))
    assert least <= telemetry.attributes["gen_ai.usage.input_tokens"] <= most


async def test_tokens_that_the_application_made_itself_are_counted(client_of: Any, telemetry: Telemetry) -> None:
    client = client_of(Failing([httpx2.ReadTimeout("slow")]))
    with pytest.raises(openai.APITimeoutError):
        await now(client.embeddings.create(model="text-embedding-3-small", input=[[1] * 500, [2] * 500]))
    assert 1000 <= telemetry.attributes["gen_ai.usage.input_tokens"] <= 1020


async def test_a_retry_settles_the_lost_attempt_before_at_what_it_is_taken_for(
    client_of: Any, budgeted: Telemetry
) -> None:
    numbers = [{"role": "user", "content": "123 " * 500}]
    transport = Failing([httpx2.ReadTimeout("slow")])
    with genledger.attribution(tenant="acme"):
        await now(client_of(transport, retries=1).chat.completions.create(**{**CALL, "messages": numbers}))
    assert genledger.flush(60)
    cost = attributes_of(budgeted.spans[-1])["genledger.cost.amount"]
    assert used(budgeted) * 0.01 == pytest.approx(cost)


def used(telemetry: Telemetry) -> float:
    """The settled share of the only budget that was used."""
    assert telemetry.metrics is not None
    metrics = [m for r in telemetry.metrics.resource_metrics for s in r.scope_metrics for m in s.metrics]
    (metric,) = [metric for metric in metrics if metric.name == "genledger.budget.used"]
    (point,) = metric.data.data_points
    return point.value
