"""The destinations that the settings ask for: whether they answer, and what waits for them."""

from __future__ import annotations

import os
from collections.abc import Iterable
from dataclasses import dataclass, replace
from typing import Any

from genledger.destinations.delivery.remote_destination import DeliveryOptions, spool_directory
from genledger.doctor.findings import Findings
from genledger.setup.pipeline import connect
from genledger.setup.settings import Settings


@dataclass(slots=True, frozen=True)
class DestinationState:
    """A destination that the settings ask for. `answers` is `None` for one that cannot be checked."""

    name: str
    address: str
    answers: bool | None
    problem: str | None


@dataclass(slots=True, frozen=True)
class SpoolState:
    """Undelivered records on disk of one destination."""

    path: str | None
    records: int
    size_bytes: int


def examine_destination(name: str, settings: Settings, timeout: float, findings: Findings) -> DestinationState:
    """Connect a destination as `instrument()` would, but keep nothing on disk; ask it whether it answers."""
    pipeline = connect(replace(settings, spool="off", durable=False), (name,))
    for problem in pipeline.problems:
        findings.wrong("destinations", problem)
    destination: Any = pipeline.destinations.get(name)
    if destination is None:
        for processor in pipeline.processors:
            processor.shutdown()
        return DestinationState(name, "", False if pipeline.problems else None, "; ".join(pipeline.problems) or None)
    problem = destination.probe(timeout)
    destination.shutdown(0.0)
    if problem is not None:
        findings.wrong(name, problem)
    return DestinationState(name, destination.describe().partition("(")[2].rstrip(")"), problem is None, problem)


def check_twice(wanted: Iterable[str], findings: Findings) -> None:
    """Find a second path of the same spans to Langfuse: an OTLP endpoint."""
    if "langfuse" not in wanted:
        return
    endpoints = ("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", "OTEL_EXPORTER_OTLP_ENDPOINT")
    endpoint = next((os.environ[name] for name in endpoints if os.environ.get(name)), "")
    if "/api/public/otel" in endpoint and any(name.startswith("otlp") for name in wanted):
        findings.wrong("langfuse", "the OTLP endpoint is also Langfuse, so every span arrives twice; unset one of them")


def examine_spool(settings: Settings) -> SpoolState:
    """Count what waits in the spool directory, of all destinations together."""
    options: DeliveryOptions = {} if settings.spool is None else {"spool": settings.spool}
    directory = None if settings.spool == "off" else spool_directory(**options)
    if directory is None:
        return SpoolState(None, 0, 0)
    from genledger.destinations.delivery.spool import Spool

    spool = Spool(directory)
    _, records, size = spool.all_pending()
    return SpoolState(str(spool.path), records, size)
