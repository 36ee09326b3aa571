"""Phoenix and MLflow price the same spans by themselves, from tables of their own, and agree with ours."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from backends.servers import WANTED, Backend

CALLS = 7
APPLICATION = Path(__file__).with_name("application.py")


def run_application(url: str, *headers: str) -> dict[str, tuple[str, float, int]]:
    """Name, our cost in USD and tokens written to a cache, by trace id."""
    finished = subprocess.run(
        [sys.executable, "-W", "ignore", APPLICATION, url, *headers],
        env={**os.environ, "OTEL_METRICS_EXPORTER": "none", "OTEL_LOGS_EXPORTER": "none"},
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    assert finished.returncode == 0, finished.stderr
    return {trace: (name, cost, written) for trace, name, cost, written in json.loads(finished.stdout)}


def eventually(read: Callable[[], dict[str, Any]]) -> dict[str, Any]:
    deadline = time.monotonic() + 60
    while len(found := read()) < CALLS and time.monotonic() < deadline:
        time.sleep(0.5)
    assert len(found) == CALLS
    return found


@pytest.mark.skipif("phoenix" not in WANTED, reason="phoenix is not among GENLEDGER_TEST_BACKENDS")
def test_phoenix_agrees_with_our_costs(phoenix: Backend) -> None:
    ours = run_application(phoenix.url("http", "/v1/traces"))
    query = (
        "{projects{edges{node{spans(first:100){edges{node{context{traceId}"
        " costSummary{total{cost}} tokenCountTotal}}}}}}}"
    )

    def read() -> dict[str, Any]:
        data = phoenix.post("http", "/graphql", {"query": query})["data"]
        spans = [edge["node"] for project in data["projects"]["edges"] for edge in project["node"]["spans"]["edges"]]
        return {span["context"]["traceId"]: span["costSummary"] for span in spans}

    compared = 0
    for trace, summary in eventually(read).items():
        name, cost, written = ours[trace]
        if name.startswith("embeddings"):
            assert summary is None  # Phoenix prices no embeddings
        elif written:
            # It does not know the conventions' newest name for tokens written to a cache.
            assert summary["total"]["cost"] < cost
        else:
            assert summary["total"]["cost"] == pytest.approx(cost, rel=1e-9), name
            compared += 1
    assert compared == CALLS - 2


@pytest.mark.skipif("mlflow" not in WANTED, reason="mlflow is not among GENLEDGER_TEST_BACKENDS")
def test_mlflow_agrees_with_our_costs(mlflow: Backend) -> None:
    ours = run_application(mlflow.url("http", "/v1/traces"), "x-mlflow-experiment-id=0")
    search = {
        "locations": [{"type": "MLFLOW_EXPERIMENT", "mlflow_experiment": {"experiment_id": "0"}}],
        "max_results": 100,
    }

    def read() -> dict[str, Any]:
        traces = mlflow.post("http", "/api/3.0/mlflow/traces/search", search).get("traces", [])
        costs = {trace["trace_id"]: trace["trace_metadata"].get("mlflow.trace.cost") for trace in traces}
        return {trace.removeprefix("tr-"): json.loads(cost) for trace, cost in costs.items() if cost}

    for trace, theirs in eventually(read).items():
        name, cost, _ = ours[trace]
        assert theirs["total_cost"] == pytest.approx(cost, rel=1e-9), name
