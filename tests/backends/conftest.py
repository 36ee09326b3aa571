"""Real backends: large, so they take part only when named in `GENLEDGER_TEST_BACKENDS=ddapm,phoenix,mlflow`."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parents[1]))

from backends.servers import WANTED, Backend, environment, free_port, serve

collect_ignore = [
    name
    for name, backends in (("test_ddapm.py", {"ddapm"}), ("test_cost_oracles.py", {"phoenix", "mlflow"}))
    if not backends & WANTED
]


@pytest.fixture(scope="module")
def ddapm(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Backend]:
    ports = {"http": free_port(), "otlp": free_port(), "grpc": free_port()}
    programs = environment("ddapm", "ddapm-test-agent>=1.69,<2")
    command = [programs / "ddapm-test-agent", "-p", ports["http"], "--otlp-http-port", ports["otlp"],
               "--otlp-grpc-port", ports["grpc"]]  # fmt: skip
    yield from serve([str(word) for word in command], tmp_path_factory.mktemp("ddapm"), ports, "/info")


@pytest.fixture(scope="module")
def phoenix(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Backend]:
    ports = {"http": free_port(), "grpc": free_port()}
    directory = tmp_path_factory.mktemp("phoenix")
    yield from serve(
        [environment("phoenix", "arize-phoenix>=20,<21") / "phoenix", "serve"],
        directory,
        ports,
        "/healthz",
        PHOENIX_HOST="127.0.0.1",
        PHOENIX_PORT=str(ports["http"]),
        PHOENIX_GRPC_PORT=str(ports["grpc"]),
        PHOENIX_WORKING_DIR=str(directory),
        PHOENIX_TELEMETRY_ENABLED="false",
    )


@pytest.fixture(scope="module")
def mlflow(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Backend]:
    ports = {"http": free_port()}
    directory = tmp_path_factory.mktemp("mlflow")
    programs = environment("mlflow", "mlflow>=3.17,<4")
    command = [programs / "mlflow", "server", "--host", "127.0.0.1", "--port", str(ports["http"])]
    command += ["--workers", "1", "--backend-store-uri", "sqlite:///m.db"]
    command += ["--default-artifact-root", str(directory / "artifacts")]
    path = f"{programs}{os.pathsep}{os.environ['PATH']}"
    yield from serve(command, directory, ports, "/health", MLFLOW_SERVER_ENABLE_JOB_EXECUTION="false", PATH=path)
