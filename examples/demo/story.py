"""Story of the demo: a help desk for three companies, and the scripted answers of the models."""

from __future__ import annotations

import tomllib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from .provider import Fault

_HERE = Path(__file__).parent

HANDBOOK = (_HERE / "handbook.txt").read_text("utf-8")
"""The system prompt; long, as real ones are, so that providers cache it."""


@dataclass(frozen=True, slots=True)
class Ticket:
    """A customer's letter; what the records hold for the reference it names; what becomes of it."""

    number: str
    text: str
    summary: str
    draft: str
    accepted: bool
    reference: str | None = None
    record: str | None = None


@dataclass(frozen=True, slots=True)
class Question:
    """A question to the search, and the answer."""

    text: str
    answer: str


@dataclass(frozen=True, slots=True)
class Tenant:
    """A company that uses the help desk. `prompt_version` is the version of the draft prompt it is on."""

    name: str
    plan: str
    prompt_version: str
    passages: Sequence[str]
    tickets: Sequence[Ticket]
    questions: Sequence[Question]


def _tenant(data: dict[str, Any]) -> Tenant:
    tickets = [Ticket(**ticket) for ticket in data.pop("tickets")]
    questions = [Question(**question) for question in data.pop("questions")]
    return Tenant(**data, tickets=tickets, questions=questions)


TENANTS = [_tenant(data) for data in tomllib.loads((_HERE / "story.toml").read_text("utf-8"))["tenants"]]

REPLIES = {
    **{f"Summarise letter {ticket.number}": ticket.summary for tenant in TENANTS for ticket in tenant.tickets},
    **{f"Answer letter {ticket.number}": ticket.draft for tenant in TENANTS for ticket in tenant.tickets},
    **{f"Compare: {ticket.text}": ticket.summary for tenant in TENANTS for ticket in tenant.tickets},
    **{f"Question: {question.text}": question.answer for tenant in TENANTS for question in tenant.questions},
}
"""What the models say, by a part of the question."""

FAULTS = (
    Fault("Summarise letter 2017", status=429, retry_after_ms=150),
    Fault("Question: When is a removed seat", status=500),
    Fault("Compare: ", status=503, path=":generateContent"),
    Fault("Compare: ", status=429, path="/converse"),
)
"""Rate limits, which clients retry, and failures, which the application has to live with."""
