"""What an error says leaves redacted and bounded on every way there is, also while content is off."""

from __future__ import annotations

import json
import logging
import sqlite3
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import openai
import pydantic
import pytest
from opentelemetry import trace
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.trace import Status, StatusCode

import genledger
from genledger.engine.content.redaction import MAX_MESSAGE
from genledger.shared import internal_errors

from ..genledger.applications import run
from ..standins.receivers import Collector, Langfuse
from . import openai_format as wire
from .provider import Provider, answer, events, items, now
from .telemetry import Telemetry, instrumented

MAIL = "bob@example.com"
TOKEN = "9f8e7d6c5b4a39281706f5e4d3c2b1a0"
KEY = "sk-proj-" + "a1B2c3D4" * 4
SAID = f"No access for {MAIL}: Authorization: Bearer {TOKEN} and key {KEY} are not known"
REDACTED = "No access for [email]: Authorization: Bearer [key] and key [key] are not known"
CODE = f"invalid_key_{KEY}"


def leaks(*said: Any) -> list[str]:
    text = " ".join(said if isinstance(one, str) else repr(one) for one in said for said in (one,))
    return [secret for secret in (MAIL, TOKEN, KEY) if secret in text]


def everything(telemetry: Telemetry) -> str:
    """All that the spans, the metrics, the details events and our own log lines say."""
    spans = [(span.name, dict(span.attributes or {}), span.status.description, span.events) for span in telemetry.spans]
    spans = [(*some, [dict(event.attributes or {}) for event in found]) for *some, found in spans]
    logs = [(log.log_record.body, dict(log.log_record.attributes or {})) for log in telemetry.logs]
    metrics = telemetry.metrics.to_json() if telemetry.metrics is not None else ""
    return f"{spans} {logs} {metrics} {telemetry.complaints.texts}"


@pytest.fixture
def lines(caplog: pytest.LogCaptureFixture) -> pytest.LogCaptureFixture:
    """The log line of each call."""
    caplog.set_level(logging.INFO, "genledger.calls")
    return caplog


@pytest.fixture
def telemetry(ledger: Path) -> Iterator[Telemetry]:
    with instrumented(destinations=["ledger"]) as telemetry:
        yield telemetry


async def ask(provider: Provider, **options: Any) -> Any:
    return await now(provider.openai().chat.completions.create(model="gpt-4o", messages=wire.USER, **options))


def in_file(path: Path) -> str:
    assert genledger.flush(60)
    connection = sqlite3.connect(path)
    try:
        return repr([connection.execute(f"select * from {table}").fetchall() for table in ("calls", "steps")])
    finally:
        connection.close()


async def test_an_answer_that_is_an_error(
    provider: Provider, telemetry: Telemetry, lines: pytest.LogCaptureFixture, ledger: Path
) -> None:
    provider.will(answer(wire.error(SAID, CODE), 400))
    with pytest.raises(openai.BadRequestError) as raised:
        await ask(provider)
    assert MAIL in str(raised.value), "the application gets what the provider said"
    assert REDACTED in str(telemetry.span.status.description)
    assert not leaks(everything(telemetry), lines.text, in_file(ledger))


PROMPT = "My name is Kari Nordmann, born 01015012345. I live in Uranienborgveien."
ECHOES = {
    "in quotes": "Invalid value: 'born'. Supported values are: 'text'.",
    "words in a row": "Rejected: my name is Kari Nordmann, sorry",
    "two words": "Nobody is called Kari Nordmann here",
    "a number": "01015012345 is no valid id",
    "one long word": "Uranienborgveien is unknown",
    "escaped": 'Rejected: "My name is \\"Kari\\" Nordmann, born 01015012345."',
}


@pytest.mark.parametrize("said", ECHOES.values(), ids=ECHOES)
@pytest.mark.parametrize("stream", [False, True], ids=["whole", "stream"])
async def test_words_of_the_prompt_in_an_error_do_not_leave_while_content_is_off(
    provider: Provider, telemetry: Telemetry, said: str, stream: bool
) -> None:
    @genledger.observe
    async def work() -> None:
        messages = [{"role": "user", "content": PROMPT}]
        asked = {"model": "gpt-4o", "messages": messages, "stream": stream}
        with pytest.raises(openai.APIError):
            await items(await now(provider.openai().chat.completions.create(**asked)))
        raise LookupError(said)

    failed = wire.error(said, "invalid_request_error")
    provider.will(events([wire.chunk("Hel"), failed], done=False) if stream else answer(failed, 400))
    with pytest.raises(LookupError):
        await work()
    assert "[content]" in everything(telemetry)
    for word in ("Kari", "Nordmann", "01015012345", "Uranienborgveien", "'born'"):
        assert word not in everything(telemetry)


async def test_an_error_that_quotes_nothing_is_kept_and_so_is_what_the_steps_around_say_of_it(
    provider: Provider, telemetry: Telemetry
) -> None:
    @genledger.observe
    async def work() -> None:
        await ask(provider)

    provider.will(answer(wire.error("The model `gpt-4o` is overloaded in France", "overloaded"), 503))
    with pytest.raises(openai.APIError):
        await work()
    descriptions = [str(span.status.description) for span in telemetry.spans]
    assert len(descriptions) == 2
    assert all("The model `gpt-4o` is overloaded in France" in said for said in descriptions)


async def test_with_a_prompt_too_long_to_compare_the_error_has_its_type_only(
    provider: Provider, telemetry: Telemetry
) -> None:
    provider.will(answer(wire.error("Too long: " + "so many words " * 40, "context_length_exceeded"), 400))
    messages = [{"role": "user", "content": "word " * 100_000}]
    with pytest.raises(openai.APIError):
        await now(provider.openai().chat.completions.create(model="gpt-4o", messages=messages))
    assert telemetry.span.status.description is None
    assert telemetry.attributes["error.type"] == "openai.BadRequestError"


async def test_an_error_in_a_stream(
    provider: Provider, telemetry: Telemetry, lines: pytest.LogCaptureFixture, ledger: Path
) -> None:
    said = {"error": {"message": SAID, "type": "server_error", "code": CODE}}
    provider.will(events([wire.chunk("Hel"), said], done=False))
    with pytest.raises(openai.APIError):
        await items(await ask(provider, stream=True))
    assert telemetry.span.status.status_code is StatusCode.ERROR
    assert not leaks(everything(telemetry), lines.text, in_file(ledger))


async def test_a_refusal_that_the_application_reads_by_itself(
    provider: Provider, telemetry: Telemetry, lines: pytest.LogCaptureFixture, ledger: Path
) -> None:
    said = {"error": {"message": SAID, "type": "server_error", "code": CODE}}
    provider.will(events([wire.chunk("Hel"), said], done=False))
    client = provider.openai().chat.completions.with_raw_response
    raw = await now(client.create(model="gpt-4o", messages=wire.USER, stream=True))
    response = raw.http_response
    await now(response.aread() if provider.asynchronous else response.read())
    assert telemetry.attributes["error.type"] == "invalid_key_[key]"
    assert telemetry.span.status.description == REDACTED
    assert not leaks(everything(telemetry), lines.text, in_file(ledger))
    assert "invalid_key_[key]" in lines.text
    assert "invalid_key_[key]" in in_file(ledger)


async def test_an_answer_that_says_it_failed(
    provider: Provider, telemetry: Telemetry, lines: pytest.LogCaptureFixture, ledger: Path
) -> None:
    provider.will(answer(wire.response(status="failed", error={"code": CODE, "message": SAID}, output=[])))
    await now(provider.openai().responses.create(model="gpt-4o", input="hi"))
    assert telemetry.attributes["error.type"] == "invalid_key_[key]"
    assert not leaks(everything(telemetry), lines.text, in_file(ledger))


async def test_a_result_of_a_batch(
    provider: Provider, telemetry: Telemetry, lines: pytest.LogCaptureFixture, ledger: Path
) -> None:
    job = {"id": "batch_1", "object": "batch", "endpoint": "/v1/chat/completions", "status": "completed"}
    job |= {"input_file_id": "file-in", "output_file_id": "file-out", "completion_window": "24h", "created_at": 1}
    failed = {"id": "r", "custom_id": "a", "response": None, "error": {"code": CODE, "message": SAID}}
    provider.will(answer(job), answer(json.dumps(failed).encode() + b"\n"))
    client = provider.openai()
    await now(client.batches.retrieve("batch_1"))
    content = await now(client.files.content("file-out"))
    await now(content.aread() if provider.asynchronous else content.read())
    assert "invalid_key_[key]" in in_file(ledger)
    assert not leaks(everything(telemetry), lines.text, in_file(ledger))


@pytest.mark.parametrize(
    ("content", "said"),
    [("span", REDACTED), ("off", None), (None, None)],
    ids=["content on", "content off", "not instrumented"],
)
def test_a_block_of_the_application_is_quoted_only_while_content_is_on(
    content: str | None, said: str | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    exporter = InMemorySpanExporter()
    provider = TracerProvider(shutdown_on_exit=False)
    provider.add_span_processor(SimpleSpanProcessor(exporter))
    if content is not None:
        genledger.instrument(libraries=[], destinations=[], tracer_provider=provider, capture_content=content)
    else:
        monkeypatch.setattr(trace, "get_tracer", lambda *names, **options: provider.get_tracer("app"))
    try:
        with pytest.raises(ValueError, match="No access"), genledger.observe("work", kind="tool"):
            raise ValueError(SAID)
    finally:
        genledger.uninstrument()
    (span,) = exporter.get_finished_spans()
    assert span.status.description == said


async def test_a_parser_that_quotes_the_answer_is_not_quoted_while_content_is_off(
    provider: Provider, telemetry: Telemetry
) -> None:
    class Answer(pydantic.BaseModel):
        age: int

    provider.will(answer(wire.chat(content='{"age": "a secret"}')))
    with pytest.raises(pydantic.ValidationError):
        await now(provider.openai().chat.completions.parse(model="gpt-4o", messages=wire.USER, response_format=Answer))
    assert telemetry.span.status.status_code is StatusCode.ERROR
    assert "a secret" not in everything(telemetry)


def test_an_exception_that_cannot_say_what_it_is_reaches_the_application(telemetry: Telemetry) -> None:
    class Mute(Exception):
        def __str__(self) -> str:
            raise RuntimeError(SAID)

    with pytest.raises(Mute), genledger.observe("work"):
        raise Mute
    assert telemetry.span.status.status_code is StatusCode.ERROR
    assert not leaks(everything(telemetry))


async def test_a_fault_of_our_own_that_quotes_what_it_read(
    provider: Provider, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def failing(text: str) -> str:
        raise ValueError(f"cannot redact {text} of {SAID}")

    monkeypatch.setattr(internal_errors, "INTERVAL_S", 0.0)
    caplog.set_level(logging.DEBUG, "genledger")
    with instrumented(redactor=failing, capture_content="both") as telemetry:
        provider.will(answer(wire.error(SAID), 400))
        with pytest.raises(openai.BadRequestError):
            await ask(provider)
        assert "internal error while redacting (ValueError" in caplog.text
        assert not leaks(everything(telemetry), caplog.text)


def test_a_setting_that_cannot_be_used(caplog: pytest.LogCaptureFixture) -> None:
    with instrumented(budgets="redis://:hunter2@db.example.com/1", request_stream_usage="redis://:hunter2@h"):
        assert "hunter2" not in caplog.text
        assert "redis://" in caplog.text


async def test_a_long_error_is_cut(provider: Provider, telemetry: Telemetry) -> None:
    provider.will(answer(wire.error(f"{SAID}: " + "日本語 " * 100_000), 400))
    with pytest.raises(openai.BadRequestError):
        await ask(provider)
    said = telemetry.span.status.description
    assert said is not None
    assert REDACTED in said
    assert MAX_MESSAGE - 300 < len(said.encode()) <= MAX_MESSAGE


@pytest.fixture
def receivers(monkeypatch: pytest.MonkeyPatch) -> Iterator[tuple[Langfuse, Collector]]:
    with Langfuse() as langfuse, Collector() as collector:
        monkeypatch.setenv("LANGFUSE_PUBLIC_KEY", langfuse.public_key)
        monkeypatch.setenv("LANGFUSE_SECRET_KEY", langfuse.secret_key)
        monkeypatch.setenv("LANGFUSE_BASE_URL", langfuse.base_url)
        monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", collector.base_url)
        # Their global providers would go on after the test.
        monkeypatch.setenv("OTEL_METRICS_EXPORTER", "none")
        monkeypatch.setenv("OTEL_LOGS_EXPORTER", "none")
        yield langfuse, collector


def foreign(tracer: trace.Tracer) -> None:
    """A call as another instrumentation records it when it fails."""
    attributes: dict[str, Any] = {"gen_ai.operation.name": "chat", "gen_ai.provider.name": "openai"}
    attributes |= {"gen_ai.usage.input_tokens": 5, "error.type": CODE, "error.message": SAID}
    span = tracer.start_span("chat", attributes=attributes)
    try:
        raise ValueError(SAID)
    except ValueError as error:
        span.record_exception(error)
    span.set_status(Status(StatusCode.ERROR, f"ValueError: {SAID}"))
    span.end()


def step(tracer: trace.Tracer) -> None:
    """A step as another instrumentation records it when it fails, without a status of its own."""
    span = tracer.start_span("work", attributes={"gen_ai.operation.name": "invoke_agent", "error.type": CODE})
    span.record_exception(ValueError(SAID))
    span.set_status(StatusCode.ERROR)
    span.end()


def test_spans_of_others_on_their_way_to_every_destination(
    receivers: tuple[Langfuse, Collector], ledger: Path, lines: pytest.LogCaptureFixture
) -> None:
    exporter = InMemorySpanExporter()
    provider = TracerProvider(shutdown_on_exit=False)
    provider.add_span_processor(SimpleSpanProcessor(exporter))
    destinations = ["langfuse", "otlp", "ledger"]
    genledger.instrument(libraries=[], destinations=destinations, spool="off", tracer_provider=provider)
    try:
        tracer = provider.get_tracer("another.instrumentation")
        foreign(tracer)
        step(tracer)
        assert genledger.flush(20)
    finally:
        genledger.uninstrument()
    for receiver in receivers:
        sent = receiver.spans()
        assert len(sent) == 2
        for one in sent:
            said = one.span.SerializeToString()
            assert not [secret for secret in (MAIL, TOKEN, KEY) if secret.encode() in said]
            assert REDACTED.encode() in said
    messages = [one.attributes["langfuse.observation.status_message"] for one in receivers[0].spans()]
    assert messages == [f"ValueError: {REDACTED}"] * 2
    assert not leaks(lines.text, in_file(ledger))
    # The application's own exporters get their spans as they are.
    assert all(SAID in repr(dict(span.events[0].attributes or {})) for span in exporter.get_finished_spans())


def test_spans_of_others_on_their_way_to_an_exporter_of_others(tmp_path: Path) -> None:
    done = run(
        tmp_path,
        f"""
import genledger
from opentelemetry import trace
genledger.instrument(libraries=[], destinations=["console"])
span = trace.get_tracer("another.instrumentation").start_span("work")
span.record_exception(ValueError({SAID!r}))
span.end()
genledger.shutdown(10)
""",
    )
    assert REDACTED in done.stdout
    assert not leaks(done.stdout, done.stderr)
