"""Faults in our own code, at every stage: the application gets what it would have got, and one warning is logged."""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import Any

import pytest
from opentelemetry.sdk.trace import Span, TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor, SpanExporter

from genledger import pricing
from genledger.engine import priced_usage, recorder, settling
from genledger.engine.content import capture
from genledger.engine.operation import Operation
from genledger.engine.signals import call_log, details_event, metrics
from genledger.shared import internal_errors

from ..replay.observation import difference, seen
from . import anthropic_format, openai_format
from .provider import Provider, Within, answer, events, items, now
from .telemetry import Telemetry, instrumented

Break = Callable[[pytest.MonkeyPatch], None]


def boom(*args: Any, **kwargs: Any) -> Any:
    raise RuntimeError("a fault of our own")


class Hopeless:
    """Stands for anything, and fails at everything."""

    def __getattribute__(self, name: str) -> Any:
        raise RuntimeError("a fault of our own")

    def __bool__(self) -> bool:
        raise RuntimeError("a fault of our own")


def attribute(owner: Any, name: str, broken: Any = boom) -> Break:
    """Break one function."""
    return lambda patch: patch.setattr(owner, name, broken)


def reader(field: str, broken: Any = boom) -> Break:
    """Break one reader of every operation."""
    return attribute(Operation, field, property(lambda operation: broken))


class BrokenGathering:
    """Can be made, and fails at everything else."""

    def __init__(self, *args: Any) -> None:
        pass

    def __getattr__(self, name: str) -> Any:
        raise RuntimeError("a fault of our own")


STAGES: dict[str, Break] = {
    "the request's fields": reader("fields", {"model": ("gen_ai.request.model", boom)}),
    "the request reader": reader("request"),
    "the response reader": reader("response"),
    "the making of a gathering": reader("accumulate"),
    "the chunk reader": reader("accumulate", BrokenGathering),
    "the reader of input": reader("input"),
    "the reader of output": reader("output"),
    "usage": attribute(pricing, "read_usage"),
    "price": attribute(pricing, "price_reading"),
    "estimate": attribute(pricing, "estimate_tokens"),
    "attribution": attribute(recorder, "current"),
    "the attributes of a request": attribute(recorder, "read_request"),
    "the attributes of usage": attribute(priced_usage, "usage_attributes"),
    "the attributes of cost": attribute(priced_usage, "cost_attributes"),
    "the outcome": attribute(settling, "outcome_of"),
    "the error's name": attribute(settling, "error_type"),
    "the capture of content": attribute(capture.Capture, "write"),
    "the details event": attribute(details_event.DetailsEvent, "emit"),
    "the log line": attribute(call_log.CallLog, "write"),
    "the metrics": attribute(metrics.Metrics, "record"),
    "the start of a span": attribute(TracerProvider, "get_tracer", lambda *a, **k: Hopeless()),
    "the attributes of a span": attribute(Span, "set_attributes"),
    "the status of a span": attribute(Span, "set_status"),
    "the end of a span": attribute(Span, "end"),
    "the settling": attribute(recorder.Recorder, "settle"),
}


@pytest.fixture(params=STAGES, ids=lambda name: name.replace(" ", "-"))
def stage(request: pytest.FixtureRequest) -> str:
    return request.param


@pytest.fixture(autouse=True)
def fresh(monkeypatch: pytest.MonkeyPatch) -> None:
    """Every fault is warned about, also one that an earlier test met."""
    monkeypatch.setattr(internal_errors, "INTERVAL_S", 0.0)


async def use(provider: Provider) -> list[Any]:
    """What an application gets from calls of every shape."""
    found: list[Any] = []
    chat = provider.client("openai").chat.completions
    ask: dict[str, Any] = {"model": "gpt-4o", "messages": openai_format.USER}
    provider.will(answer(openai_format.chat()))
    found.append(await now(chat.create(**ask)))
    raw = await now(chat.with_raw_response.create(**ask))
    found.append(await now(raw.parse()))
    provider.will(events(openai_format.chat_chunks()))
    found += await items(await now(chat.create(**ask, stream=True)))
    found += await items(await now(chat.create(**ask, stream=True)), 2)
    async with Within(chat.with_streaming_response.create(**ask, stream=True)) as response:
        found += await items(response.iter_lines())
    async with Within(chat.stream(**ask)) as stream:
        found += await items(stream)
    provider.will(answer(openai_format.error(), 404))
    try:
        await now(chat.create(**ask))
    except Exception as error:
        found.append(error)
    messages = provider.client("anthropic").messages
    provider.will(answer(anthropic_format.message()))
    found.append(await now(messages.create(**anthropic_format.ASK)))
    provider.will(events(anthropic_format.message_events(), done=False))
    found += await items(await now(messages.create(**anthropic_format.ASK, stream=True)))
    async with Within(messages.stream(**anthropic_format.ASK)) as stream:
        found += await items(stream)
    return [seen(item) for item in found]


async def test_the_application_does_not_notice(provider: Provider, stage: str, monkeypatch: pytest.MonkeyPatch) -> None:
    bare = await use(provider)
    STAGES[stage](monkeypatch)
    with instrumented(capture_content="both") as telemetry:
        broken = await use(provider)
        again = await use(provider)
        warnings = [r for r in telemetry.complaints.records if r.name == "genledger"]
    assert difference(broken, bare) is None
    assert difference(again, bare) is None
    if stage in ("estimate", "the error's name"):
        return  # a stage that most calls do without
    assert warnings, "the fault was not reported"
    stages = [record.args[0] for record in warnings if isinstance(record.args, tuple)]
    assert len(stages) == len(set(stages)), f"reported more than once: {stages}"
    assert all(record.levelno == logging.WARNING for record in warnings)
    assert "RuntimeError" in warnings[0].getMessage()


class BrokenExporter(SpanExporter):
    """An exporter that raises whatever it is asked."""

    export = shutdown = force_flush = boom


async def test_an_exporter_that_raises_is_not_noticed(provider: Provider) -> None:
    bare = await use(provider)
    with instrumented() as telemetry:
        telemetry.tracer_provider.add_span_processor(SimpleSpanProcessor(BrokenExporter()))
        broken = await use(provider)
        telemetry.tracer_provider._active_span_processor._span_processors = ()
    assert difference(broken, bare) is None


@pytest.mark.parametrize("redactor", [boom, lambda text: None, lambda text: 7], ids=["raises", "none", "number"])
async def test_a_redactor_that_fails_replaces_the_value_and_nothing_leaks(
    provider: Provider, redactor: Callable[[str], Any]
) -> None:
    bare = await use(provider)
    with instrumented(capture_content="both", redactor=redactor) as telemetry:
        broken = await use(provider)
        everything = "".join(str(span.attributes) + str(span.status.description) for span in telemetry.spans)
        everything += "".join(str(log.log_record.attributes) for log in telemetry.logs)
    assert difference(broken, bare) is None
    assert "capital" not in everything
    assert "Paris" not in everything
    assert telemetry.spans


@pytest.mark.parametrize("spoiled", ["usage", "choices", "model", "id"])
async def test_one_unreadable_field_costs_only_what_it_says(
    provider: Provider, telemetry: Telemetry, spoiled: str
) -> None:
    whole = openai_format.chat()
    provider.will(answer(whole | {spoiled: {"unexpected": [1, {"deep": None}]}}))
    await now(provider.openai().chat.completions.create(model="gpt-4o", messages=openai_format.USER))
    attributes = telemetry.attributes
    assert attributes["genledger.outcome"] == "success"
    if spoiled != "usage":
        assert attributes["gen_ai.usage.output_tokens"] == 300
        assert attributes["genledger.cost.amount"] > 0
    if spoiled != "id":
        assert attributes["gen_ai.response.id"] == "chatcmpl-1"


async def test_a_chunk_that_cannot_be_read_does_not_lose_the_others(provider: Provider, telemetry: Telemetry) -> None:
    chunks = openai_format.chat_chunks("a", "b", "c")
    chunks[2] = openai_format.chunk(choices=[{"index": "zero", "delta": 5, "finish_reason": {}}])
    provider.will(events(chunks))
    ask: dict[str, Any] = {"model": "gpt-4o", "messages": openai_format.USER, "stream": True}
    await items(await now(provider.openai().chat.completions.create(**ask)))
    assert telemetry.attributes["gen_ai.usage.output_tokens"] == 300
