"""Real servers that load an application once and fork: the calls of every process arrive, and are counted, once.

A span waits for others for longer than these servers live: what the parent recorded is still in its queue when it
forks, and a worker delivers while it shuts down or not at all.
"""

from __future__ import annotations

import http.client
import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import pytest
from celery import Celery
from examples.demo.provider import DemoProvider
from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import ExportMetricsServiceRequest

from standins.receivers import Receiver

from ..applications import environment

DEADLINE_S = 30

APPLICATION = """
import os
import genledger
genledger.instrument()
import openai

def ask():
    with openai.OpenAI() as client:
        answer = client.chat.completions.create(model="gpt-4.1-mini", messages=[{"role": "user", "content": "Hello"}])
    return {"process": os.getpid(), "call": answer.id}

loaded = ask()
"""
"""Makes its first call while it is loaded, in the parent of all workers."""

WEB = """
import json

def application(environ, start_response):
    body = json.dumps({**ask(), "loaded": loaded}).encode()
    start_response("200 OK", [("Content-Type", "application/json"), ("Content-Length", str(len(body)))])
    return [body]
"""

TASKS = """
import celery
from settings import SETTINGS

app = celery.Celery("application")
app.conf.update(SETTINGS)

@app.task(name="ask")
def task():
    return {**ask(), "loaded": loaded}
"""


@pytest.fixture
def variables(collector, langfuse_server, tmp_path: Path) -> Iterator[dict[str, str]]:
    """The environment of an application that sends to both receivers and talks to a provider on loopback."""
    with DemoProvider() as provider:
        yield environment(
            tmp_path,
            OPENAI_API_KEY="demo",
            OPENAI_BASE_URL=provider.openai_url,
            OTEL_EXPORTER_OTLP_ENDPOINT=collector.base_url,
            OTEL_BSP_SCHEDULE_DELAY="60000",
            LANGFUSE_PUBLIC_KEY=langfuse_server.public_key,
            LANGFUSE_SECRET_KEY=langfuse_server.secret_key,
            LANGFUSE_BASE_URL=langfuse_server.base_url,
            GENLEDGER_SPOOL="off",
        )


@contextmanager
def serving(directory: Path, variables: dict[str, str], *command: str) -> Iterator[Callable[[], str]]:
    """Run a server; what is yielded stops it the way an operator does, and returns what it wrote to stderr."""
    command = (sys.executable, "-m", *command)
    with (directory / "stderr").open("wb") as errors:
        process = subprocess.Popen(command, env=variables, cwd=directory, stderr=errors, start_new_session=True)

    def stop() -> str:
        process.send_signal(signal.SIGTERM)
        status = process.wait(DEADLINE_S)
        written = (directory / "stderr").read_text()
        assert status == 0, written
        return written

    try:
        yield stop
    finally:
        with suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()
        print((directory / "stderr").read_text())


def get(path: str) -> dict[str, Any]:
    """What the server behind a socket answers, once it listens."""
    deadline = time.monotonic() + DEADLINE_S
    while True:
        with socket.socket(socket.AF_UNIX) as connection:
            connection.settimeout(DEADLINE_S)
            try:
                connection.connect(path)
            except OSError:
                assert time.monotonic() < deadline, "nobody listens"
                time.sleep(0.02)
                continue
            client = http.client.HTTPConnection("localhost")
            client.sock = connection
            client.request("GET", "/", headers={"Connection": "close"})
            return json.loads(client.getresponse().read())


def counted(receiver: Receiver) -> int:
    """The calls in the last metrics that each process has sent."""
    calls: dict[str, int] = {}
    for request in receiver.requests:
        if request.path != "/v1/metrics":
            continue
        for resource in ExportMetricsServiceRequest.FromString(request.content).resource_metrics:
            (process,) = (
                one.value.string_value for one in resource.resource.attributes if one.key == "service.instance.id"
            )
            metrics = (metric for scope in resource.scope_metrics for metric in scope.metrics)
            for metric in metrics:
                if metric.name == "gen_ai.client.inference.duration":
                    calls[process] = sum(point.count for point in metric.histogram.data_points)
    return sum(calls.values())


def assert_delivered_once(answers: list[dict[str, Any]], *receivers: Receiver) -> None:
    """Every call of which the workers told, and the one their parent made, is at each receiver exactly once."""
    (parent,) = {answer["loaded"]["process"] for answer in answers}
    assert parent not in {answer["process"] for answer in answers}
    made = Counter({answer["call"] for answer in answers} | {answers[0]["loaded"]["call"]})
    assert len(made) == len(answers) + 1
    first, *others = receivers
    assert Counter(sent.attributes.get("gen_ai.response.id") for sent in first.spans()) == made
    for other in others:
        assert other.counts() == first.counts()
    assert counted(first) == len(made)


def test_workers_of_a_preloaded_gunicorn_deliver_every_call_once(
    collector, langfuse_server, variables, tmp_path, monkeypatch
) -> None:
    (tmp_path / "application.py").write_text(APPLICATION + WEB)
    monkeypatch.chdir(tmp_path)  # the path of a socket must be short
    arguments = ("--preload", "--workers", "2", "--worker-class", "sync", "--bind", "unix:socket", "application")
    with serving(tmp_path, variables, "gunicorn", *arguments) as stop, ThreadPoolExecutor(4) as threads:
        answers = list(threads.map(get, ["socket"] * 12))
        written = stop()
    assert "genledger:" not in written
    assert_delivered_once(answers, collector, langfuse_server)


def test_the_forked_pool_of_celery_delivers_every_call_once(collector, langfuse_server, variables, tmp_path) -> None:
    for name in ("queue", "control", "results"):
        (tmp_path / name).mkdir()
    folders = {"data_folder_in": "queue", "data_folder_out": "queue", "control_folder": "control"}
    settings = {
        "broker_url": "filesystem://localhost",
        "broker_transport_options": {key: str(tmp_path / name) for key, name in folders.items()},
        "result_backend": (tmp_path / "results").as_uri(),
    }
    (tmp_path / "settings.py").write_text(f"SETTINGS = {settings!r}\n")
    (tmp_path / "application.py").write_text(APPLICATION + TASKS)
    alone = ("--without-mingle", "--without-gossip", "--without-heartbeat")
    arguments = ("--app", "application", "worker", "--pool", "prefork", "--concurrency", "2", *alone)
    with Celery(set_as_current=False) as client:
        client.conf.update(settings)
        # Sent before there is a worker: this broker could read a message that is only half written.
        tasks = [client.send_task("ask") for _ in range(6)]
        with serving(tmp_path, variables, "celery", *arguments) as stop:
            answers = [task.get(timeout=DEADLINE_S, interval=0.02) for task in tasks]
            written = stop()
    assert "genledger:" not in written
    assert_delivered_once(answers, collector, langfuse_server)
