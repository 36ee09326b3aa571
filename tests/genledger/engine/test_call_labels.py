"""What a call's metrics say about where it was made: in which agent, with which prompt, by which release."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import httpx2
import openai
import pytest
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import TracerProvider

import genledger
from genledger_semconv.checker import assert_clean

from ...instrumentation_clients import ANSWER, library
from ...instrumentors.telemetry import Telemetry, instrumented
from ..applications import rows, run


def points(telemetry: Telemetry, name: str) -> list[Any]:
    assert genledger.flush(60)
    data = telemetry.metrics
    assert data is not None
    return [
        point
        for resource in data.resource_metrics
        for scope in resource.scope_metrics
        for metric in scope.metrics
        if metric.name == name
        for point in metric.data.data_points
    ]


def labels(telemetry: Telemetry, label: str) -> list[Any]:
    return [(point.attributes or {}).get(label) for point in points(telemetry, "genledger.cost")]


def test_a_call_has_the_name_of_the_nearest_agent_around_it() -> None:
    with library() as cls, instrumented() as telemetry:
        client = cls(lambda: dict(ANSWER))
        client.over("gpt-4o")
        with genledger.observe("writer", kind="agent"):
            client.over("gpt-4o")
            with genledger.observe("plan", kind="workflow"), genledger.observe("look_up", kind="tool"):
                client.over("gpt-4o")
            with genledger.observe("critic", kind="agent"):
                client.over("gpt-4o")
        with genledger.observe("plan", kind="workflow"):
            client.over("gpt-4o")
        assert sorted(labels(telemetry, "gen_ai.agent.name"), key=str) == [None, "critic", "writer"]


@pytest.mark.parametrize(
    ("resource", "variables", "release"),
    [
        ({"service.version": "1.4.2"}, {"LANGFUSE_RELEASE": "r7"}, "1.4.2"),
        ({}, {"LANGFUSE_RELEASE": "r7", "GIT_COMMIT": "0a1b2c"}, "r7"),
        ({}, {"GIT_COMMIT": "0a1b2c"}, "0a1b2c"),
        ({}, {}, None),
    ],
)
def test_calls_have_the_release_of_the_application_in_metrics_and_ledger(
    tmp_path: Path, resource: dict[str, str], variables: dict[str, str], release: str | None, monkeypatch: Any
) -> None:

    for name in ("LANGFUSE_RELEASE", "GIT_COMMIT", "GITHUB_SHA", "CI_COMMIT_SHA", "CIRCLE_SHA1", "TRAVIS_COMMIT"):
        monkeypatch.delenv(name, raising=False)
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    ledger = tmp_path / "ledger.db"
    with library() as cls, instrumented(destinations=["ledger"], ledger=str(ledger)) as telemetry:
        genledger.instrument(
            tracer_provider=TracerProvider(resource=Resource(resource), shutdown_on_exit=False),
            meter_provider=telemetry.meter_provider,
            destinations=["ledger"],
            ledger=str(ledger),
            libraries=[],
        )
        cls(lambda: dict(ANSWER)).over("gpt-4o")
        assert labels(telemetry, "service.version") == [release]
        assert [row["release"] for row in rows(ledger)] == [release]


def test_tokens_of_embeddings_are_counted_as_the_ledger_has_them(tmp_path: Path) -> None:
    answer = {
        "object": "list",
        "model": "text-embedding-3-small",
        "data": [{"object": "embedding", "index": 0, "embedding": [0.1]}],
        "usage": {"prompt_tokens": 700, "total_tokens": 700},
    }
    transport = httpx2.MockTransport(lambda _: httpx2.Response(200, json=answer))
    client = openai.OpenAI(api_key="k", http_client=httpx2.Client(transport=transport))
    ledger = tmp_path / "ledger.db"
    with instrumented(destinations=["ledger"], ledger=str(ledger)) as telemetry:
        for tenant in ("acme", "acme", "globex"):
            with genledger.attribution(tenant=tenant):
                client.embeddings.create(model="text-embedding-3-small", input="Hello")
        found = points(telemetry, "genledger.embeddings.tokens")
        assert_clean(telemetry.spans, telemetry.metrics, telemetry.logs)
    counted = {(point.attributes or {})["genledger.tenant.id"]: point.value for point in found}
    booked = rows(ledger, "SELECT tenant, sum(input) AS tokens FROM calls GROUP BY 1")
    assert counted == {row["tenant"]: row["tokens"] for row in booked} == {"acme": 1_400, "globex": 700}


def test_the_standard_variable_names_the_release(tmp_path: Path) -> None:
    ledger = tmp_path / "ledger.db"
    code = """
import genledger
genledger.instrument()
genledger.record_cache_hit(0.5)
genledger.record_outcome("kept")
"""
    run(tmp_path, code, GENLEDGER_LEDGER=str(ledger), OTEL_RESOURCE_ATTRIBUTES="service.version=1.4.2")
    assert [row["release"] for row in rows(ledger, "SELECT * FROM cache_hits")] == ["1.4.2"]
    assert [row["release"] for row in rows(ledger, "SELECT * FROM outcomes")] == ["1.4.2"]
