"""One log line per call, and the details event: what they say, and to whom."""

from __future__ import annotations

import json
import logging
from collections.abc import Callable

import pytest

import genledger
from genledger.context.attribution import Attribution
from genledger.engine.record import CallRecord
from genledger.engine.signals.call_log import CallLog
from genledger_semconv.checker import assert_clean

from ....instrumentors import openai_format as wire
from ....instrumentors.provider import Provider, answer
from ....instrumentors.telemetry import instrumented

MakeEntry = Callable[..., CallRecord]


@pytest.fixture(autouse=True)
def listening(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO, "genledger.calls")


def lines(caplog: pytest.LogCaptureFixture) -> list[str]:
    return [record.getMessage() for record in caplog.records if record.name == "genledger.calls"]


def test_a_json_line_says_who_what_how_much_and_how_it_ended(
    make_entry: MakeEntry, caplog: pytest.LogCaptureFixture
) -> None:
    entry = make_entry(attribution=Attribution("acme", "copilot", "u1"), attempts=3, retry_causes=("429", "timeout"))
    CallLog(json=True).write(entry)
    (line,) = lines(caplog)
    assert json.loads(line) == {
        "feature": "copilot",
        "tenant": "acme",
        "user": "u1",
        "operation": "chat",
        "provider": "openai",
        "model": "gpt-4o-mini-2024-07-18",
        "input_tokens": 120,
        "output_tokens": 15,
        "cache_read_tokens": 20,
        "reasoning_tokens": 5,
        "cost_usd": 0.25,
        "latency_ms": 500.0,
        "outcome": "success",
        "attempts": 3,
        "request_id": entry.response_id,
        "trace_id": f"{entry.trace_id:032x}",
    }


def test_a_plain_line_says_the_same_and_is_one_line(make_entry: MakeEntry, caplog: pytest.LogCaptureFixture) -> None:
    who = Attribution('acme "north" ltd', "copilot")
    CallLog().write(make_entry(usd=0.0000001, attribution=who, error_type="E", outcome="error"))
    (line,) = lines(caplog)
    assert 'tenant="acme \\"north\\" ltd"' in line
    assert "cost_usd=0.0000001 " in line
    assert "outcome=error error=E" in line
    assert "\n" not in line


@pytest.mark.parametrize(
    "model",
    [
        "x\nfeature=billing\ttenant=victim",
        "x tenant=victim",
        "x\u00a0tenant=victim",
        "x=y",
        'x"y',
        "x\x1b[2J",
        "株 \u2028",
    ],
)
def test_a_value_that_looks_like_more_is_one_quoted_value(
    make_entry: MakeEntry, caplog: pytest.LogCaptureFixture, model: str
) -> None:
    CallLog().write(make_entry(response_model=model))
    (line,) = lines(caplog)
    assert len(line.splitlines()) == 1
    quoted = line[line.index("model=") + 6 : line.index(" input_tokens=")]
    assert json.loads(quoted) == model


def test_an_absurdly_long_value_is_cut(make_entry: MakeEntry, caplog: pytest.LogCaptureFixture) -> None:
    entry = make_entry(request_model="x" * 1_000_000, response_model="\n" * 1_000_000, error_type="é" * 1_000_000)
    for written in (CallLog(), CallLog(json=True)):
        written.write(entry)
    assert all(len(line) < 5000 for line in lines(caplog))


def test_an_unpriced_call_says_so_and_has_no_cost(make_entry: MakeEntry, caplog: pytest.LogCaptureFixture) -> None:
    CallLog(json=True).write(make_entry(usd=None))
    said = json.loads(lines(caplog)[0])
    assert "cost_usd" not in said
    assert said["unpriced"] == "unknown_model"


def test_users_are_hashed_when_asked_for(make_entry: MakeEntry, caplog: pytest.LogCaptureFixture) -> None:
    written = CallLog(json=True, hash_users=True)
    for user in ("anna", "anna", "otto"):
        written.write(make_entry(attribution=Attribution(user=user)))
    users = [json.loads(line)["user"] for line in lines(caplog)]
    assert users[0] == users[1] != users[2]
    assert "anna" not in "".join(lines(caplog))
    assert all(len(user) == 16 for user in users)


def test_nothing_is_written_when_nobody_listens(make_entry: MakeEntry, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.WARNING, "genledger.calls")
    CallLog().write(make_entry())
    assert lines(caplog) == []


def test_every_call_of_an_application_is_one_line(caplog: pytest.LogCaptureFixture) -> None:
    provider = Provider(asynchronous=False)
    provider.will(answer(wire.chat()))
    with instrumented(log="json", log_hash_users=True) as telemetry, genledger.attribution(tenant="acme", user="u1"):
        provider.openai().chat.completions.create(model="gpt-4o", messages=wire.USER)
        span = telemetry.span
    (line,) = lines(caplog)
    said = json.loads(line)
    assert said["tenant"] == "acme"
    assert said["user"] != "u1"
    assert span.context is not None
    assert said["trace_id"] == f"{span.context.trace_id:032x}"


@pytest.mark.parametrize(
    ("capture", "emit", "events", "content"),
    [
        ("off", "", 0, False),
        ("span", "", 0, False),
        ("event", "", 1, True),
        ("both", "", 1, True),
        ("off", "true", 1, False),
        ("span", "TRUE", 1, False),
        ("event", "false", 0, False),
        ("both", "False", 0, False),
    ],
)
def test_the_details_event_comes_with_its_content_or_as_the_switch_for_it_says(
    capture: str, emit: str, events: int, content: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OTEL_INSTRUMENTATION_GENAI_EMIT_EVENT", emit)
    provider = Provider(asynchronous=False)
    provider.will(answer(wire.chat()))
    with instrumented(capture_content=capture) as telemetry:
        provider.openai().chat.completions.create(model="gpt-4o", messages=wire.USER)
        assert len(telemetry.logs) == events
        for log in telemetry.logs:
            record = log.log_record
            attributes = dict(record.attributes or {})
            assert record.event_name == "gen_ai.client.inference.operation.details"
            assert (record.trace_id, record.span_id) == (
                telemetry.span.context.trace_id if telemetry.span.context else None,
                telemetry.span.context.span_id if telemetry.span.context else None,
            )
            assert attributes["gen_ai.usage.input_tokens"] == 1200
            assert attributes["genledger.cost.amount"] == telemetry.attributes["genledger.cost.amount"]
            assert ("gen_ai.input.messages" in attributes) is content
            assert ("gen_ai.output.messages" in attributes) is content
        assert ("gen_ai.input.messages" in telemetry.attributes) is (capture in ("span", "both"))
        assert_clean(telemetry.spans, telemetry.metrics, telemetry.logs, capture_content=capture != "off")
