"""The destinations that the settings ask for: whether they answer, and what waits for them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

from genledger.destinations.delivery.remote_destination import DeliveryOptions, spool_directory
from genledger.doctor.files import LedgerState
from genledger.doctor.findings import Findings
from genledger.doctor.launcher import Choice
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


def examine_destinations(
    wanted: Sequence[str], settings: Settings, ledger: LedgerState, timeout: float, findings: Findings
) -> list[DestinationState]:
    """Connect the destinations as `instrument()` would, but keep nothing on disk; ask each whether it answers."""
    pipeline = connect(
        replace(settings, spool="off", durable=False), tuple(name for name in wanted if name != "ledger")
    )
    for problem in pipeline.problems:
        findings.wrong("destinations", problem)
    states = []
    for name in wanted:
        if name == "ledger":
            states.append(DestinationState(name, ledger.path, ledger.problem is None, ledger.problem))
            continue
        destination: Any = pipeline.destinations.get(name)
        if destination is None:
            said = [problem for problem in pipeline.problems if problem.startswith(f"destination {name}:")]
            states.append(DestinationState(name, "", False, "; ".join(said) or None))
        elif not hasattr(destination, "probe"):
            states.append(DestinationState(name, "", None, None))
            destination.shutdown(0.0)
        else:
            problem = destination.probe(timeout)
            destination.shutdown(0.0)
            if problem is not None:
                findings.wrong(name, problem)
            address = destination.describe().partition("(")[2].rstrip(")")
            states.append(DestinationState(name, address, problem is None, problem))
    return states


def check_twice(wanted: Sequence[str], configurator: Choice, findings: Findings) -> None:
    """Find what else may send the same spans: the exporters of another configurator."""
    names = [name for name in wanted if name != "ledger"]
    if names and configurator.loaded not in (None, "genledger"):
        findings.note(
            "launcher",
            f"under opentelemetry-instrument, the configurator {configurator.loaded} sets up exporters of its own. "
            "If the application also calls genledger.instrument(), Genledger leaves to them what they send to the same "
            f"address as {', '.join(names)}: nothing is sent twice. Genledger's retries and spool do not cover it",
        )


def examine_spool(settings: Settings, wanted: bool, findings: Findings) -> SpoolState:
    """Count what waits in the spool directory, of all destinations together. Try a write if any is `wanted`."""
    options: DeliveryOptions = {} if settings.spool is None else {"spool": settings.spool}
    directory = None if settings.spool == "off" else spool_directory(**options)
    if directory is None:
        return SpoolState(None, 0, 0)
    from genledger.destinations.delivery.spool import Spool

    spool = Spool(directory)
    try:
        if wanted:
            spool.try_write()
    except OSError as error:
        findings.wrong(
            "spool",
            f"undelivered records cannot be kept on disk ({error}); set GENLEDGER_SPOOL to a directory on a disk with "
            "room, or to off",
        )
    _, records, size = spool.all_pending()
    spool.close()
    return SpoolState(str(spool.path), records, size)
