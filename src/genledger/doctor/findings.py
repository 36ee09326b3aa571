"""Problems and notes found by `genledger doctor`."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal


@dataclass(slots=True, frozen=True)
class Finding:
    """Something to know: `wrong` is to be put right, a `note` is to be decided. `about` is the part it concerns."""

    level: Literal["wrong", "note"]
    about: str
    message: str


@dataclass(slots=True)
class Findings:
    """The findings so far."""

    found: list[Finding] = field(default_factory=list)

    def wrong(self, about: str, *messages: object) -> None:
        """Something has to be put right."""
        self.found.extend(Finding("wrong", about, str(message)) for message in messages)

    def note(self, about: str, message: str) -> None:
        """Something has to be decided."""
        self.found.append(Finding("note", about, message))
