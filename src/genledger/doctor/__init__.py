"""Checks of `genledger doctor`: which calls are recorded, what else records them, and where they go.

Everything is read from the installed packages, the environment and the files that the settings name. Keywords
of `instrument()` in the application's code are not seen from here.
"""

from __future__ import annotations

import os
import platform
from dataclasses import dataclass

from genledger.doctor.destinations import DestinationState, SpoolState, check_twice, examine_destinations, examine_spool
from genledger.doctor.files import BudgetState, LedgerState, PriceState, examine_budgets, examine_ledger, examine_prices
from genledger.doctor.findings import Finding, Findings
from genledger.doctor.launcher import CONFIGURATOR, DISTRO, Choice, examine_choice
from genledger.doctor.libraries import Library, Tracer, examine_libraries
from genledger.doctor.private_uses import PrivateState, examine_private_uses
from genledger.setup.pipeline import REMOTE, names_wanted
from genledger.setup.settings import Settings, read_settings
from genledger.shared.addresses import redacted
from genledger.shared.text import each_text
from genledger.version import __version__

__all__ = [
    "BudgetState", "Choice", "DestinationState", "Diagnosis", "Finding", "LedgerState", "Library", "PriceState",
    "PrivateState", "SpoolState", "Tracer", "diagnose", "wanted_destinations",
]  # fmt: skip

PROBE_TIMEOUT_S = 5.0
"""Seconds that a destination has to answer in."""


@dataclass(slots=True, frozen=True)
class Diagnosis:
    """Everything found; no address in it has credentials. `ok` is false when at least one finding is `wrong`."""

    genledger: str
    python: str
    ok: bool
    findings: list[Finding]
    libraries: list[Library]
    not_installed: list[str]
    distro: Choice
    configurator: Choice
    destinations: list[DestinationState]
    spool: SpoolState
    ledger: LedgerState
    prices: PriceState
    budgets: BudgetState
    private_uses: list[PrivateState]


def wanted_destinations(settings: Settings | None = None) -> list[str]:
    """Return the names of the destinations that the settings ask for (default: the environment's)."""
    settings = read_settings({})[0] if settings is None else settings
    return [name for name in names_wanted(settings, os.environ) if isinstance(name, str)]


def diagnose(*, import_libraries: bool = False, timeout: float = PROBE_TIMEOUT_S) -> Diagnosis:
    """Run all checks.

    Args:
        import_libraries: Import each client library, in a process of its own, to see the patches apply.
        timeout: Seconds that each destination has to answer in.
    """
    findings = Findings()
    settings, problems = read_settings({})
    for problem in problems:
        findings.wrong("settings", problem)
    if os.environ.get("OTEL_SDK_DISABLED", "").strip().lower() == "true":
        findings.wrong("settings", "OTEL_SDK_DISABLED=true: no call is recorded; unset it")
    libraries, absent = examine_libraries(settings, import_libraries, findings)
    distro, configurator = examine_choice(DISTRO, findings), examine_choice(CONFIGURATOR, findings)
    wanted = wanted_destinations(settings)
    ledger = examine_ledger(settings, "ledger" in wanted, findings)
    destinations = examine_destinations(wanted, settings, ledger, timeout, findings)
    check_twice(wanted, configurator, findings)
    spool = examine_spool(settings, not REMOTE.isdisjoint(wanted), findings)
    prices = examine_prices(settings, findings)
    budgets = examine_budgets(settings, findings)
    private_uses = examine_private_uses(findings)
    found = Diagnosis(
        genledger=__version__,
        python=platform.python_version(),
        ok=all(finding.level != "wrong" for finding in findings.found),
        findings=findings.found,
        libraries=libraries,
        not_installed=absent,
        distro=distro,
        configurator=configurator,
        destinations=destinations,
        spool=spool,
        ledger=ledger,
        prices=prices,
        budgets=budgets,
        private_uses=private_uses,
    )
    return each_text(found, redacted)
