"""A pytest plugin for the clients' own suites: writes how each test ends, and activates Genledger if it is told to.

`compare.py` gives it by `-p`, so that it is imported before the suite and its client.
"""

from __future__ import annotations

import json
import logging
import os
from pathlib import Path
from typing import Any

import pytest

OUTCOMES = Path(os.environ["FOREIGN_OUTCOMES"])


def write(kind: str, name: str, value: str) -> None:
    """Append one line; the workers of pytest-xdist write to the same file."""
    with OUTCOMES.open("a") as file:
        file.write(json.dumps([kind, name, value]) + "\n")


class _OurWarnings(logging.Handler):
    def emit(self, record: logging.LogRecord) -> None:
        if "internal error" in record.getMessage():
            write("warning", "genledger", record.getMessage())


if "FOREIGN_WITH_GENLEDGER" in os.environ:
    from opentelemetry.sdk.metrics import MeterProvider
    from opentelemetry.sdk.metrics.export import InMemoryMetricReader
    from opentelemetry.sdk.trace import TracerProvider
    from opentelemetry.sdk.trace.export import SimpleSpanProcessor
    from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

    import genledger

    provider = TracerProvider(shutdown_on_exit=False)
    provider.add_span_processor(SimpleSpanProcessor(InMemorySpanExporter()))
    genledger.instrument(tracer_provider=provider, meter_provider=MeterProvider([InMemoryMetricReader()]))
    logging.getLogger("genledger").addHandler(_OurWarnings(logging.WARNING))


def pytest_ignore_collect(collection_path: Path) -> bool | None:
    """Leave out the generated tests that need a mock server: they fail both ways, each after its retries."""
    generated = collection_path.name.startswith("test_") and "api_resources" in collection_path.parts
    return True if generated and "respx" not in collection_path.read_text() else None


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Leave them out where they are beside others."""
    items[:] = [item for item in items if "api_resources" not in item.nodeid or "respx" in " ".join(_fixtures(item))]


def _fixtures(item: pytest.Item) -> list[str]:
    return getattr(item, "fixturenames", [])


def pytest_collectreport(report: pytest.CollectReport) -> None:
    if report.failed:
        write("failed", report.nodeid, _reason(report))


def pytest_runtest_logreport(report: pytest.TestReport) -> None:
    if "PYTEST_XDIST_WORKER" not in os.environ and (report.when == "call" or not report.passed):
        write(report.outcome, report.nodeid, _reason(report))


def pytest_warning_recorded(warning_message: Any, nodeid: str) -> None:
    if "PYTEST_XDIST_WORKER" not in os.environ:
        write("warning", warning_message.category.__name__, str(warning_message.message))


def _reason(report: pytest.TestReport | pytest.CollectReport) -> str:
    crash = getattr(report.longrepr, "reprcrash", None)
    return str(crash.message if crash is not None else report.longrepr or "")
