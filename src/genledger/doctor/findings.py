"""Problems and notes found by `genledger doctor`."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal


@dataclass(slots=True, frozen=True)
class Finding:
    """A finding: `wrong` is a problem to fix, `note` a decision to make. `about` is the part it concerns."""

    level: Literal["wrong", "note"]
    about: str
    message: str


@dataclass(slots=True)
class Findings:
    """The findings so far."""

    found: list[Finding] = field(default_factory=list)

    def wrong(self, about: str, *messages: object) -> None:
        """Add problems to fix."""
        self.found.extend(Finding("wrong", about, str(message)) for message in messages)

    def note(self, about: str, message: str) -> None:
        """Add a decision to make."""
        self.found.append(Finding("note", about, message))
