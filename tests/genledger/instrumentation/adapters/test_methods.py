"""Ordinary functions and methods as calls: every kind of function, what budgets change, and calls inside calls."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
from opentelemetry import trace
from opentelemetry.context import get_current
from tests.instrumentation_clients import ANSWER, CHAT, PRICE, Client, Elsewhere, Stream, library
from tests.instrumentors import openai_format as wire
from tests.instrumentors.provider import Provider, answer, now
from tests.instrumentors.telemetry import Telemetry, attributes_of, instrumented

import genledger
from genledger.engine.operation import Endpoint
from genledger.instrumentation.adapters.methods import Methods
from genledger.instrumentation.adapters.retries import attempts
from genledger.instrumentation.patching import Patcher
from genledger_semconv.checker import assert_clean


@pytest.fixture
def telemetry(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Telemetry]:
    monkeypatch.setenv("GENLEDGER_LEDGER", str(tmp_path / "ledger.db"))
    with instrumented() as telemetry:
        yield telemetry
        assert_clean(telemetry.spans, telemetry.metrics, telemetry.logs)
        assert not telemetry.complaints.other


@pytest.fixture
def client() -> Iterator[Client]:
    with library() as cls:
        yield cls()


async def read(result: Any) -> list[Any]:
    """Everything that a result gives, however it comes."""
    if hasattr(result, "__anext__"):
        return [item async for item in result]
    if hasattr(result, "__next__"):
        return list(result)
    return [await now(result)]


@pytest.mark.parametrize("name", ["chat", "achat", "stream", "astream", "iterator"])
async def test_every_kind_of_function_is_one_priced_call(client: Client, telemetry: Telemetry, name: str) -> None:
    before = get_current()
    await read(getattr(client, name)("gpt-4o"))
    assert get_current() is before
    assert telemetry.span.name == "chat gpt-4o"
    assert telemetry.attributes["genledger.cost.amount"] == pytest.approx(PRICE)


@pytest.mark.parametrize("name", ["stream", "astream"])
async def test_a_generator_that_is_never_read_sends_nothing_and_is_no_call(
    client: Client, telemetry: Telemetry, name: str
) -> None:
    result = getattr(client, name)("gpt-4o")
    del result
    assert not telemetry.spans
    assert not client.asked


@pytest.mark.parametrize("name", ["stream", "astream", "iterator"])
async def test_a_stream_that_is_dropped_settles_at_once_and_marked(
    client: Client, telemetry: Telemetry, name: str
) -> None:
    stream = getattr(client, name)("gpt-4o")
    await (anext(stream) if hasattr(stream, "__anext__") else now(next(stream)))
    if hasattr(stream, "aclose"):
        await stream.aclose()
    del stream
    assert telemetry.attributes["genledger.outcome"] == "cancelled"
    assert telemetry.attributes["genledger.usage.estimated"] is True


def test_a_generator_belongs_to_who_called_it_not_to_who_reads_it(client: Client, telemetry: Telemetry) -> None:
    with genledger.attribution(tenant="maker"):
        stream = client.stream("gpt-4o")
    with genledger.attribution(tenant="reader"):
        list(stream)
    assert telemetry.attributes["genledger.tenant.id"] == "maker"


@pytest.mark.parametrize("asynchronous", [False, True])
async def test_a_stream_object_is_the_clients_own_and_one_priced_call(
    client: Client, telemetry: Telemetry, asynchronous: bool
) -> None:
    stream = client.object("gpt-4o")
    assert type(stream) is Stream
    assert [item async for item in stream] if asynchronous else list(stream) == [{"text": "Hello"}, {"text": " there"}]
    assert telemetry.attributes["genledger.outcome"] == "success"
    assert telemetry.attributes["genledger.cost.amount"] == pytest.approx(PRICE)
    assert "genledger.usage.estimated" not in telemetry.attributes


@pytest.mark.parametrize("read", [False, True])
def test_a_stream_object_may_have_another_object_as_its_iterator(
    client: Client, telemetry: Telemetry, read: bool
) -> None:
    stream = client.object("elsewhere")
    chunks = iter(stream)
    first = next(chunks)
    if read:
        assert [first, *chunks] == [{"text": "Hello"}, {"text": " there"}]
    del chunks
    assert telemetry.attributes["genledger.outcome"] == ("success" if read else "cancelled")


@pytest.mark.parametrize("closed", [False, True])
def test_a_stream_object_that_is_closed_or_dropped_settles_with_what_came(
    client: Client, telemetry: Telemetry, closed: bool
) -> None:
    stream = client.object("gpt-4o")
    next(stream)
    assert not telemetry.spans
    if closed:
        stream.close()
    else:
        del stream
    assert telemetry.attributes["genledger.outcome"] == "cancelled"
    assert telemetry.attributes["genledger.usage.estimated"] is True


def test_a_stream_object_that_an_outer_call_gives_on_is_priced_once(telemetry: Telemetry) -> None:
    with library() as cls:
        inner = cls()
        list(cls(lambda: inner.object("gpt-4o")).over("gpt-4o"))
    first, second = (attributes_of(span) for span in telemetry.spans)
    assert first["genledger.cost.amount"] == pytest.approx(PRICE)
    assert first["genledger.outcome"] == second["genledger.outcome"] == "success"
    assert not [name for name in second if "usage" in name or "cost" in name]


def test_the_class_of_a_stream_object_is_put_back() -> None:
    def attributes() -> list[int]:
        return [id(value) for kind in (Stream, Elsewhere) for value in vars(kind).values()]

    before = attributes()
    with library() as cls, instrumented():
        list(cls().object("gpt-4o"))
        list(cls().object("elsewhere"))
        assert attributes() != before
    assert attributes() == before


def test_what_a_clients_own_cache_answers_is_neither_priced_nor_held_against_a_budget(tmp_path: Path) -> None:
    rules = tmp_path / "rules.toml"
    rules.write_text('[[budget]]\nname="day"\nrequests=1\nper="day"\n')
    with library() as cls, instrumented(budgets=str(rules), budget_store="memory:") as telemetry:
        client = cls(lambda: {**ANSWER, "cached": True})
        for _ in range(3):
            client.over("gpt-4o")
    for span in telemetry.spans:
        assert attributes_of(span)["genledger.outcome"] == "success"
        assert not [name for name in attributes_of(span) if "usage" in name or "cost" in name]


@pytest.mark.parametrize("name", ["chat", "achat", "stream", "astream", "iterator"])
async def test_what_a_budget_changes_is_what_is_sent_and_priced(tmp_path: Path, client: Client, name: str) -> None:
    rules = tmp_path / "rules.toml"
    rules.write_text(
        '[[budget]]\nname="cheap"\nusd=0.000001\nper="day"\nat_limit="degrade"\n'
        'degrade = { model = "gpt-4o-mini", max_output_tokens = 50 }\n'
    )
    with instrumented(budgets=str(rules), budget_store="memory:") as telemetry:
        await read(getattr(client, name)("gpt-4o", 400))
        assert client.asked == [{"model": "gpt-4o-mini", "max_tokens": 50}]
        attributes = telemetry.attributes
        assert attributes["gen_ai.request.model"] == "gpt-4o-mini"
        assert attributes["gen_ai.request.max_tokens"] == 50
        assert attributes["genledger.budget.action"] == "degrade"


@pytest.mark.parametrize("asynchronous", [False, True])
async def test_a_call_inside_a_call_is_priced_once_and_admitted_once(tmp_path: Path, asynchronous: bool) -> None:
    provider = Provider(asynchronous=asynchronous)
    provider.will(answer(wire.chat()))
    rules = tmp_path / "rules.toml"
    rules.write_text('[[budget]]\nname="day"\nrequests=1\nper="day"\n')
    with library() as cls, instrumented(budgets=str(rules), budget_store="memory:") as telemetry:
        inner = provider.openai()
        client = cls(lambda: inner.chat.completions.create(model="gpt-4o", messages=wire.USER))
        if asynchronous:
            await client.over("gpt-4o")
        else:
            client.over("gpt-4o")
        assert genledger.flush(60)
        with pytest.raises(genledger.BudgetExceeded):
            await now(inner.chat.completions.create(model="gpt-4o", messages=wire.USER))
        priced = [span for span in telemetry.spans if "genledger.cost.amount" in attributes_of(span)]
        assert len(priced) == 1


def test_the_outer_call_is_structure_without_usage(telemetry: Telemetry) -> None:
    provider = Provider(asynchronous=False)
    provider.will(answer(wire.chat()))
    inner = provider.openai()
    with library() as cls:
        cls(lambda: inner.chat.completions.create(model="gpt-4o", messages=wire.USER)).over("gpt-4o")
    first, second = telemetry.spans
    assert second.context is not None
    assert first.parent is not None
    assert first.parent.span_id == second.context.span_id
    assert "genledger.cost.amount" in attributes_of(first)
    kept = [name for name in attributes_of(second) if "usage" in name or "cost" in name]
    assert kept == []


@pytest.mark.parametrize(
    ("url", "provider"), [("http://gateway.internal/v1", "openai"), ("https://api.groq.com/openai/v1", "groq")]
)
def test_who_answers_at_an_address_that_nobody_knows_is_what_the_outer_call_was_told(
    telemetry: Telemetry, url: str, provider: str
) -> None:
    upstream = Provider(asynchronous=False)
    upstream.will(answer(wire.chat()))
    inner = upstream.azure(azure_endpoint=None, base_url=url) if provider == "openai" else upstream.openai(base_url=url)
    with library() as cls:
        cls(lambda: inner.chat.completions.create(model="gpt-4o", messages=wire.USER)).over("gpt-4o")
    assert attributes_of(telemetry.spans[0])["gen_ai.provider.name"] == provider


def test_what_generates_is_one_call_whatever_the_endpoint_inside_is(telemetry: Telemetry) -> None:
    provider = Provider(asynchronous=False)
    provider.will(answer({**ANSWER, "object": "text_completion"}))
    inner = provider.openai()
    with library() as cls:
        cls(lambda: inner.completions.create(model="gpt-4o", prompt="Hello")).over("gpt-4o")
    names = [attributes_of(span)["gen_ai.operation.name"] for span in telemetry.spans]
    assert names == ["text_completion", "chat"]
    assert ["genledger.cost.amount" in attributes_of(span) for span in telemetry.spans] == [True, False]


def test_an_inner_call_without_usage_leaves_the_outer_one_priced(telemetry: Telemetry) -> None:
    provider = Provider(asynchronous=False)
    provider.will(answer({"error": {"message": "no"}}, 500))
    inner = provider.openai()

    def attempt() -> Any:
        try:
            inner.chat.completions.create(model="gpt-4o", messages=wire.USER)
        except Exception:
            return {"model": "gpt-4o", "usage": {"prompt_tokens": 1000, "completion_tokens": 500}}

    with library() as cls:
        cls(attempt).over("gpt-4o")
    outer = telemetry.spans[-1]
    assert attributes_of(outer)["genledger.cost.amount"] == pytest.approx(PRICE)
    assert trace.get_current_span() is trace.INVALID_SPAN


@pytest.mark.parametrize("name", ["find", "afind"])
async def test_a_search_that_the_client_makes_by_another_search_is_one_span(
    client: Client, telemetry: Telemetry, name: str
) -> None:
    assert await now(getattr(client, name)()) == ["found"]
    assert [attributes_of(span)["db.operation.name"] for span in telemetry.spans] == ["load", name]


async def test_a_search_after_another_one_is_a_span_of_its_own(client: Client, telemetry: Telemetry) -> None:
    client.nearest()
    client.nearest()
    assert [attributes_of(span)["db.operation.name"] for span in telemetry.spans] == ["load", "nearest"] * 2


class Throttled(Exception):
    """What a client raises at a status."""

    def __init__(self, http_status: int) -> None:
        super().__init__("no")
        self.http_status = http_status


class Repeating:
    """Sends its requests by another method, up to three times."""

    def __init__(self, *fails: int) -> None:
        self.fails = list(fails)

    def send(self, model: str) -> Any:
        if self.fails:
            raise Throttled(self.fails.pop(0))
        return {**ANSWER, "model": model}

    async def asend(self, model: str) -> Any:
        return Repeating.send(self, model)

    def chat(self, model: str) -> Any:
        for left in (2, 1, 0):
            try:
                return self.send(model)
            except Throttled:
                if not left:
                    raise
        return None

    async def achat(self, model: str) -> Any:
        for left in (2, 1, 0):
            try:
                return await self.asend(model)
            except Throttled:
                if not left:
                    raise
        return None


@pytest.fixture
def repeating(telemetry: Telemetry, monkeypatch: pytest.MonkeyPatch) -> Iterator[type[Repeating]]:
    module = ModuleType("repeating")
    module.Repeating = Repeating  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "repeating", module)
    methods = Methods(
        "repeating",
        {"repeating": "Repeating"},
        dict.fromkeys(("chat", "achat"), CHAT),
        endpoint=lambda client, given: Endpoint.at("openai", "https://api.openai.com/v1"),
        body=lambda client, given: None if given["model"] == "local" else given,
    )
    sending = [attempts("repeating", "repeating", f"Repeating.{name}") for name in ("send", "asend")]
    patcher = Patcher([*methods.patches(), *sending])
    patcher.apply()
    yield Repeating
    patcher.restore()


@pytest.mark.parametrize("name", ["chat", "achat"])
async def test_attempts_below_a_method_are_one_call(
    repeating: type[Repeating], telemetry: Telemetry, name: str
) -> None:
    await now(getattr(repeating(429, 503), name)("gpt-4o"))
    assert telemetry.attributes["genledger.attempts"] == 3
    assert telemetry.attributes["genledger.retry.causes"] == ("429", "503")
    assert telemetry.attributes["genledger.cost.amount"] == pytest.approx(PRICE)


@pytest.mark.parametrize("name", ["chat", "achat"])
async def test_the_last_attempt_that_fails_is_how_the_call_ends(
    repeating: type[Repeating], telemetry: Telemetry, name: str
) -> None:
    with pytest.raises(Throttled):
        await now(getattr(repeating(503, 503, 429), name)("gpt-4o"))
    assert telemetry.attributes["genledger.attempts"] == 3
    assert telemetry.attributes["genledger.outcome"] == "rate_limited"
    assert "genledger.cost.amount" not in telemetry.attributes


def test_a_request_without_a_body_is_no_call(repeating: type[Repeating], telemetry: Telemetry) -> None:
    assert repeating().chat("local") == {**ANSWER, "model": "local"}
    assert telemetry.spans == ()


class Sender:
    def send(self, path: str, model: str) -> Any:
        return ANSWER


def test_what_a_function_is_may_depend_on_its_arguments(telemetry: Telemetry, monkeypatch: pytest.MonkeyPatch) -> None:
    module = ModuleType("sender")
    module.Sender = Sender  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "sender", module)
    methods = Methods(
        "sender",
        {"sender": "Sender"},
        {"send": lambda given: CHAT if given["path"] == "/chat" else None},
        endpoint=lambda client, given: Endpoint.at("openai", "https://api.openai.com/v1"),
    )
    patcher = Patcher(methods.patches())
    patcher.apply()
    assert Sender().send("/models", "gpt-4o") == ANSWER
    assert telemetry.spans == ()
    assert Sender().send("/chat", "gpt-4o") == ANSWER
    assert telemetry.attributes["genledger.cost.amount"] == pytest.approx(PRICE)
    patcher.restore()
