from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from opentelemetry._logs import LogRecord, SeverityNumber
from opentelemetry.sdk._logs import ReadableLogRecord

from genledger_semconv import events as E
from genledger_semconv.checker import check

MakeLog = Callable[..., ReadableLogRecord]

DETAILS = {
    "gen_ai.operation.name": "chat",
    "gen_ai.provider.name": "openai",
    "gen_ai.request.model": "gpt-5",
    "gen_ai.usage.input_tokens": 5,
    "genledger.tenant.id": "acme",
    "genledger.outcome": "success",
}
MESSAGES = [{"role": "user", "parts": [{"type": "text", "content": "Hello"}]}]
DEBUG = SeverityNumber.DEBUG
WARN = SeverityNumber.WARN


def found(record: LogRecord | ReadableLogRecord, **options: Any) -> list[tuple[str, str | None]]:
    return [(deviation.rule, deviation.attribute) for deviation in check(logs=[record], **options)]


def details(attributes: dict[str, Any], **fields: Any) -> LogRecord:
    fields = {"severity_number": DEBUG, **fields}
    return LogRecord(event_name=E.GEN_AI_CLIENT_INFERENCE_OPERATION_DETAILS, attributes=attributes, **fields)


@pytest.mark.parametrize(
    "record",
    [
        details(DETAILS),
        LogRecord(
            event_name=E.GEN_AI_CLIENT_OPERATION_EXCEPTION,
            severity_number=WARN,
            attributes={"exception.message": "no"},
        ),
        LogRecord(
            event_name=E.GEN_AI_EVALUATION_RESULT,
            attributes={"gen_ai.evaluation.name": "tone", "gen_ai.evaluation.score.value": 0.5},
        ),
    ],
    ids=["details", "exception", "evaluation"],
)
def test_events_as_the_registry_wants_them_are_clean(make_log: MakeLog, record: LogRecord) -> None:
    assert found(make_log(record)) == []


DEVIATING: dict[str, tuple[LogRecord, dict[str, Any], str, str | None]] = {
    "old message event": (LogRecord(event_name="gen_ai.user.message"), {}, "unknown-name", None),
    "unknown event of ours": (LogRecord(event_name="genledger.done"), {}, "unknown-name", None),
    "no severity": (details(DETAILS, severity_number=None), {}, "severity", None),
    "severity INFO": (details(DETAILS, severity_number=SeverityNumber.INFO), {}, "severity", None),
    "a body": (details(DETAILS, body="chat"), {}, "body", None),
    "no schema URL": (details(DETAILS), {"schema_url": None}, "schema-url", None),
    "no provider": (
        details({name: value for name, value in DETAILS.items() if name != "gen_ai.provider.name"}),
        {},
        "required-attribute",
        "gen_ai.provider.name",
    ),
    "no port beside the address": (
        details({**DETAILS, "server.address": "localhost"}),
        {},
        "required-attribute",
        "server.port",
    ),
    "exception without type and message": (
        LogRecord(event_name=E.GEN_AI_CLIENT_OPERATION_EXCEPTION, severity_number=WARN),
        {},
        "required-attribute",
        "exception.type",
    ),
    "unknown attribute": (details({**DETAILS, "model": "gpt-5"}), {}, "unknown-attribute", "model"),
    "attribute of another event": (
        details({**DETAILS, "gen_ai.evaluation.name": "tone"}),
        {},
        "undeclared-attribute",
        "gen_ai.evaluation.name",
    ),
    "wrong type": (
        details({**DETAILS, "gen_ai.usage.output_tokens": "5"}),
        {},
        "attribute-type",
        "gen_ai.usage.output_tokens",
    ),
    "usage that contradicts itself": (
        details({**DETAILS, "gen_ai.usage.cache_read.input_tokens": 6}),
        {},
        "usage",
        "gen_ai.usage.input_tokens",
    ),
    "priced and unpriced": (
        details({**DETAILS, "genledger.cost.unpriced": "no_rate", "genledger.cost.amount": 0.1}),
        {},
        "cost",
        "genledger.cost.amount",
    ),
    "content with capture off": (
        details({**DETAILS, "gen_ai.input.messages": MESSAGES}),
        {},
        "content-captured",
        "gen_ai.input.messages",
    ),
    "content on a plain record with capture off": (
        LogRecord(body="sent", attributes={"gen_ai.input.messages": "[]"}),
        {},
        "content-captured",
        "gen_ai.input.messages",
    ),
}


@pytest.mark.parametrize("case", DEVIATING)
def test_one_deviation_is_found_as_the_only_one(make_log: MakeLog, case: str) -> None:
    record, how, rule, attribute = DEVIATING[case]
    assert found(make_log(record, **how)) == [(rule, attribute)]


def test_structured_content_is_clean_when_capture_is_on(make_log: MakeLog) -> None:
    record = make_log(details({**DETAILS, "gen_ai.input.messages": MESSAGES}))
    assert found(record, capture_content=True) == []


def test_json_in_a_string_is_found_on_an_event(make_log: MakeLog) -> None:
    record = make_log(details({**DETAILS, "gen_ai.input.messages": "[]"}))
    assert found(record, capture_content=True) == [("content-schema", "gen_ai.input.messages")]


def test_records_of_the_application_are_its_own_business(make_log: MakeLog) -> None:
    record = LogRecord(body="chat took 2 s", severity_number=SeverityNumber.INFO, attributes={"cost_usd": 0.1})
    assert found(make_log(record, scope="genledger.calls", schema_url=None)) == []
    assert found(make_log(LogRecord(event_name="app.started"), scope="app", schema_url=None)) == []


def test_a_bare_log_record_is_checked_too() -> None:
    assert found(details(DETAILS, severity_number=WARN)) == [("severity", None)]


def test_an_allowed_event_is_left_alone(make_log: MakeLog) -> None:
    assert found(make_log(LogRecord(event_name="genledger.done")), allow=["genledger.done"]) == []
