"""Entry points that `opentelemetry-instrument` loads."""

from __future__ import annotations

import os
from dataclasses import dataclass
from importlib.metadata import EntryPoint, entry_points

from genledger.doctor.findings import Findings

DISTRO, CONFIGURATOR = "opentelemetry_distro", "opentelemetry_configurator"
_DECIDED_BY = {DISTRO: "OTEL_PYTHON_DISTRO", CONFIGURATOR: "OTEL_PYTHON_CONFIGURATOR"}


@dataclass(slots=True, frozen=True)
class Choice:
    """Entry point that `opentelemetry-instrument` loads from one group. `chance`: the choice is undefined."""

    installed: dict[str, str]
    decided_by: str
    loaded: str | None
    chance: bool


def examine_choice(group: str, findings: Findings) -> Choice:
    """Return what the launcher loads: the named entry point, else the first one that it finds."""
    points: list[EntryPoint] = list(entry_points(group=group))
    kind, variable = group.removeprefix("opentelemetry_"), _DECIDED_BY[group]
    installed = {point.name: point.dist.name if point.dist is not None else point.value for point in points}
    named = os.environ.get(variable)
    chance = named is None and len(installed) > 1
    loaded = None if chance else named or next(iter(installed), None)
    if loaded not in installed:
        loaded = None
    if chance:
        findings.wrong(
            "launcher",
            f"the {kind} that opentelemetry-instrument loads is undefined: {_listed(installed)} are installed; "
            f"set {variable}=genledger",
        )
    elif named is not None and loaded is None:
        findings.wrong(
            "launcher", f"{variable}={named} is not an installed {kind}; installed are: {_listed(installed)}"
        )
    elif named is not None and loaded != "genledger":
        findings.note(
            "launcher",
            f"{variable}={named}: opentelemetry-instrument sets up another {kind}. Genledger's instrumentors "
            "(GENLEDGER_LIBRARIES, GENLEDGER_EXCLUDE) and its langfuse and ledger exporters (OTEL_TRACES_EXPORTER) "
            "work there; its other settings do not",
        )
    return Choice(installed, variable, loaded, chance)


def _listed(installed: dict[str, str]) -> str:
    return ", ".join(f"{name} ({distribution})" for name, distribution in installed.items()) or "none"
