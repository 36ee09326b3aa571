from __future__ import annotations

from typing import Any

import pytest
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import InMemoryMetricReader
from opentelemetry.sdk.metrics.view import ExponentialBucketHistogramAggregation, View

from genledger_semconv import SCHEMA_URL
from genledger_semconv import metrics as M
from genledger_semconv.checker import check
from genledger_semconv.checker.deviation import MetricNames
from genledger_semconv.registry import registry

Metering = tuple[MeterProvider, InMemoryMetricReader]

CALL = {
    "gen_ai.operation.name": "chat",
    "gen_ai.provider.name": "openai",
    "gen_ai.request.model": "gpt-5",
    "server.address": "api.openai.com",
    "server.port": 443,
    "genledger.feature": "copilot",
    "genledger.tenant.id": "acme",
    "genledger.outcome": "success",
}
EMBED = {**CALL, "gen_ai.operation.name": "embeddings"}
TOKENS = {**CALL, "gen_ai.token.modality": "unknown"}


def record(
    metering: Metering,
    name: str,
    value: float,
    attributes: dict[str, Any],
    *,
    instrument: str | None = None,
    unit: str | None = None,
    buckets: tuple[float, ...] | None = None,
    scope: str = "genledger",
    schema_url: str | None = SCHEMA_URL,
) -> None:
    """Record one value, as the registry says where the test does not say otherwise."""
    declared = registry().metrics.get(name)
    meter = metering[0].get_meter(scope, schema_url=schema_url)
    unit = unit if unit is not None else declared.unit if declared else "1"
    instrument = instrument or (declared.instrument if declared else "counter")
    if instrument == "counter":
        meter.create_counter(name, unit).add(value, attributes)
    elif instrument == "updowncounter":
        meter.create_up_down_counter(name, unit).add(value, attributes)
    elif instrument == "gauge":
        meter.create_gauge(name, unit).set(value, attributes)
    else:
        boundaries = buckets if buckets is not None else M.BUCKETS[name]
        meter.create_histogram(name, unit, explicit_bucket_boundaries_advisory=boundaries).record(value, attributes)


def found(metering: Metering, **options: Any) -> list[tuple[str, str, str | None]]:
    deviations = check(metrics=metering[1].get_metrics_data(), **options)
    return [(deviation.name, deviation.rule, deviation.attribute) for deviation in deviations]


def test_metrics_as_the_registry_wants_them_are_clean(metering: Metering) -> None:
    record(metering, M.GEN_AI_CLIENT_INFERENCE_DURATION, 0.5, {**CALL, "error.type": "timeout"})
    record(metering, M.GEN_AI_CLIENT_INFERENCE_TIME_TO_FIRST_CHUNK, 0.1, CALL)
    record(metering, M.GEN_AI_CLIENT_INFERENCE_USAGE_INPUT_TOKENS, 100, TOKENS)
    record(metering, M.GEN_AI_CLIENT_INFERENCE_OPERATION_INPUT_TOKENS, 100, CALL)
    record(metering, M.GEN_AI_CLIENT_OPERATION_DURATION, 0.5, EMBED)
    record(metering, M.GEN_AI_INVOKE_AGENT_TOOL_CALLS, 3, {"gen_ai.agent.name": "Math"})
    record(
        metering,
        M.DB_CLIENT_OPERATION_DURATION,
        0.5,
        {"db.system.name": "chroma", "db.operation.name": "query"},
    )
    record(metering, M.GENLEDGER_COST, 0.01, {**CALL, "genledger.cost.source": "table"})
    record(metering, M.GENLEDGER_UNPRICED_CALLS, 1, {**CALL, "genledger.cost.unpriced": "no_rate"})
    record(metering, M.GENLEDGER_LABELS_OVERFLOW, 1, {"genledger.label.name": "genledger.feature"})
    assert found(metering) == []


def without(attributes: dict[str, Any], name: str) -> dict[str, Any]:
    return {key: value for key, value in attributes.items() if key != name}


DEVIATING: dict[str, tuple[str, float, dict[str, Any], dict[str, Any], str, str | None]] = {
    "unknown GenAI metric of another library": (
        "gen_ai.client.cost",
        1,
        {},
        {"scope": "other"},
        "unknown-name",
        None,
    ),
    "unknown metric of ours": ("calls", 1, {}, {}, "unknown-name", None),
    "counter as an updowncounter": (
        M.GENLEDGER_UNPRICED_CALLS,
        1,
        CALL,
        {"instrument": "updowncounter"},
        "instrument",
        None,
    ),
    "counter as a gauge": (M.GENLEDGER_COST, 1.0, CALL, {"instrument": "gauge"}, "instrument", None),
    "histogram as a counter": (
        M.GEN_AI_CLIENT_INFERENCE_DURATION,
        1.0,
        CALL,
        {"instrument": "counter"},
        "instrument",
        None,
    ),
    "milliseconds": (M.GEN_AI_CLIENT_INFERENCE_DURATION, 1.0, CALL, {"unit": "ms"}, "unit", None),
    "default buckets": (
        M.GEN_AI_CLIENT_INFERENCE_DURATION,
        1.0,
        CALL,
        {"buckets": (0, 5, 10)},
        "buckets",
        None,
    ),
    "double tokens in a counter": (
        M.GEN_AI_CLIENT_INFERENCE_USAGE_INPUT_TOKENS,
        5.0,
        TOKENS,
        {},
        "value-type",
        None,
    ),
    "double tokens in a histogram": (
        M.GEN_AI_CLIENT_INFERENCE_OPERATION_INPUT_TOKENS,
        5.0,
        CALL,
        {},
        "value-type",
        None,
    ),
    "int dollars": (M.GENLEDGER_COST, 1, CALL, {}, "value-type", None),
    "user as a label": (
        M.GENLEDGER_COST,
        1.0,
        {**CALL, "user.id": "u1"},
        {},
        "undeclared-attribute",
        "user.id",
    ),
    "session as a label": (
        M.GEN_AI_CLIENT_INFERENCE_DURATION,
        1.0,
        {**CALL, "session.id": "s1"},
        {},
        "undeclared-attribute",
        "session.id",
    ),
    "label of no namespace": (
        M.GEN_AI_CLIENT_INFERENCE_DURATION,
        1.0,
        {**CALL, "model": "gpt-5"},
        {},
        "unknown-attribute",
        "model",
    ),
    "no modality": (
        M.GEN_AI_CLIENT_INFERENCE_USAGE_OUTPUT_TOKENS,
        5,
        CALL,
        {},
        "required-attribute",
        "gen_ai.token.modality",
    ),
    "modality that nobody declared": (
        M.GEN_AI_CLIENT_INFERENCE_USAGE_OUTPUT_TOKENS,
        5,
        {**CALL, "gen_ai.token.modality": "video"},
        {},
        "attribute-value",
        "gen_ai.token.modality",
    ),
    "modality on a histogram": (
        M.GEN_AI_CLIENT_INFERENCE_OPERATION_INPUT_TOKENS,
        5,
        TOKENS,
        {},
        "undeclared-attribute",
        "gen_ai.token.modality",
    ),
    "no provider": (
        M.GEN_AI_CLIENT_INFERENCE_DURATION,
        1.0,
        without(CALL, "gen_ai.provider.name"),
        {},
        "required-attribute",
        "gen_ai.provider.name",
    ),
    "no port beside the address": (
        M.GEN_AI_CLIENT_INFERENCE_DURATION,
        1.0,
        without(CALL, "server.port"),
        {},
        "required-attribute",
        "server.port",
    ),
    "inference as any operation": (
        M.GEN_AI_CLIENT_OPERATION_DURATION,
        1.0,
        CALL,
        {},
        "metric-operation",
        "gen_ai.operation.name",
    ),
    "embeddings as inference": (
        M.GEN_AI_CLIENT_INFERENCE_DURATION,
        1.0,
        EMBED,
        {},
        "metric-operation",
        "gen_ai.operation.name",
    ),
    "no schema URL": (
        M.GEN_AI_CLIENT_INFERENCE_DURATION,
        1.0,
        CALL,
        {"schema_url": None},
        "schema-url",
        None,
    ),
}


@pytest.mark.parametrize("case", DEVIATING)
def test_one_deviation_is_found_as_the_only_one(metering: Metering, case: str) -> None:
    name, value, attributes, how, rule, attribute = DEVIATING[case]
    record(metering, name, value, attributes, **how)
    assert found(metering) == [(name, rule, attribute)]


def test_metrics_of_the_application_are_its_own_business(metering: Metering) -> None:
    record(metering, "http.server.request.duration", 1, {"http.route": "/"}, scope="app", schema_url=None)
    record(metering, "db.client.connection.count", 1, {}, scope="app", schema_url=None)
    assert found(metering) == []


def test_a_view_with_exponential_buckets_has_no_boundaries_to_be_wrong() -> None:
    reader = InMemoryMetricReader()
    view = View(instrument_name="*", aggregation=ExponentialBucketHistogramAggregation())
    provider = MeterProvider([reader], views=[view], shutdown_on_exit=False)
    record((provider, reader), M.GEN_AI_CLIENT_INFERENCE_DURATION, 0.5, CALL)
    assert found((provider, reader)) == []
    provider.shutdown()


def test_allowed_names_are_left_alone(metering: Metering) -> None:
    record(metering, "gen_ai.client.cost", 1, {})
    record(metering, M.GENLEDGER_COST, 1.0, {**CALL, "region": "eu"})
    assert found(metering, allow=["gen_ai.client.cost", "reg*"]) == []


def record_v141(metering: Metering) -> None:
    record(metering, M.GEN_AI_CLIENT_OPERATION_DURATION, 0.5, CALL)
    record(metering, M.GEN_AI_CLIENT_TOKEN_USAGE, 100, {**CALL, "gen_ai.token.type": "input"})
    record(metering, M.GEN_AI_CLIENT_OPERATION_TIME_TO_FIRST_CHUNK, 0.1, CALL)


def record_newest(metering: Metering) -> None:
    record(metering, M.GEN_AI_CLIENT_INFERENCE_DURATION, 0.5, CALL)
    record(metering, M.GEN_AI_CLIENT_INFERENCE_USAGE_INPUT_TOKENS, 100, TOKENS)


def record_either(metering: Metering) -> None:
    record(metering, M.GENLEDGER_COST, 0.5, CALL)
    record(metering, M.GEN_AI_INVOKE_AGENT_TOOL_CALLS, 1, {})


@pytest.mark.parametrize("names", ["v1.41", "both"])
def test_v141_names_are_clean_when_asked_for(metering: Metering, names: MetricNames) -> None:
    record_v141(metering)
    record_either(metering)
    assert found(metering, metric_names=names) == []


def test_both_sets_of_names_are_clean_when_asked_for(metering: Metering) -> None:
    record_v141(metering)
    record_newest(metering)
    assert found(metering, metric_names="both") == []


def test_v141_names_are_found_when_the_newest_are_asked_for(metering: Metering) -> None:
    record_v141(metering)
    assert found(metering) == [
        (M.GEN_AI_CLIENT_OPERATION_DURATION, "metric-operation", "gen_ai.operation.name"),
        (M.GEN_AI_CLIENT_TOKEN_USAGE, "unknown-name", None),
        (M.GEN_AI_CLIENT_OPERATION_TIME_TO_FIRST_CHUNK, "unknown-name", None),
    ]


def test_the_newest_names_are_found_when_v141_is_asked_for(metering: Metering) -> None:
    record_newest(metering)
    assert found(metering, metric_names="v1.41") == [
        (M.GEN_AI_CLIENT_INFERENCE_DURATION, "unknown-name", None),
        (M.GEN_AI_CLIENT_INFERENCE_USAGE_INPUT_TOKENS, "unknown-name", None),
    ]


def test_token_usage_of_v141_needs_the_direction(metering: Metering) -> None:
    record(metering, M.GEN_AI_CLIENT_TOKEN_USAGE, 100, CALL)
    assert found(metering, metric_names="v1.41") == [
        (M.GEN_AI_CLIENT_TOKEN_USAGE, "required-attribute", "gen_ai.token.type")
    ]
