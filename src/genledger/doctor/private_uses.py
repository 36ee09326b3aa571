"""The private attributes of other packages that Genledger uses, and whether the installed versions have them."""

from __future__ import annotations

from dataclasses import dataclass

from genledger.doctor.findings import Findings
from genledger.doctor.libraries import installed_version
from genledger.shared.private_attributes import USES


@dataclass(slots=True, frozen=True)
class PrivateState:
    """One use. `works`: the self-test passes; else the public way that does less is taken."""

    package: str
    version: str
    attributes: str
    purpose: str
    works: bool


def examine_private_uses(findings: Findings) -> list[PrivateState]:
    """Run the self-test of every use whose package is installed."""
    installed = [use for use in USES if installed_version(use.package) is not None]
    for use in installed:
        if not use.works:
            findings.note(
                use.package, f"{use.attributes} does not work as expected: {use.otherwise}. Please report this version"
            )
    return [
        PrivateState(use.package, installed_version(use.package) or "", use.attributes, use.purpose, use.works)
        for use in installed
    ]
