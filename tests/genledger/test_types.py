"""What a type checker tells the users of the public API."""

from __future__ import annotations

import re
from dataclasses import fields
from pathlib import Path

from mypy import api

from genledger.setup.settings import Options, Settings

from .applications import REPOSITORY

APPLICATION = """
import genledger
from genledger.budgets import budget
from genledger.budgets import Rulesbook  # wrong

genledger.instrument(
    exclude=["openai"],
    destinations="ledger",
    budgets=[budget(usd=1.0, per="day")],
    capture_content=True,
    durable="fsync",
)
genledger.instrument(libraries=None, ledger=None)
genledger.instrument(exlude=["openai"])  # wrong
genledger.instrument(durable="always")  # wrong
genledger.instrument(redact=["kyes"])  # wrong
genledger.atribution(tenant="acme")  # wrong


def cost_of(step: genledger.Observation) -> float:
    spent: genledger.Spend = step.spend()
    return spent.usd


def of(tenant: str) -> genledger.AttributionBlock:
    return genledger.attribution(tenant=tenant)


block: genledger.ObservedBlock = genledger.observe("answer", kind="agent")
with of("acme"), block as answer:
    cost_of(answer)
cost_of(block)  # wrong
genledger.observe(kind="agnet")  # wrong


@genledger.observe
def ask(question: str) -> str:
    return question


try:
    ask(1)  # wrong
except genledger.BudgetExceeded as error:
    print(error.rule.upper())
"""
"""Lines with mistakes end in `# wrong`."""


def test_a_checker_finds_wrong_options_and_knows_the_types_of_what_is_returned(tmp_path: Path) -> None:
    file = tmp_path / "application.py"
    file.write_text(APPLICATION)
    said, complained, _ = api.run(
        ["--config-file", str(REPOSITORY / "pyproject.toml"), "--cache-dir", str(REPOSITORY / ".mypy_cache"), str(file)]
    )
    wrong = [number for number, line in enumerate(APPLICATION.splitlines(), 1) if line.endswith("# wrong")]
    found = [int(number) for number in re.findall(r"application\.py:(\d+): error", said)]
    assert (found, complained) == (wrong, ""), said


def test_every_option_has_a_type_for_the_keyword() -> None:
    assert set(Options.__annotations__) == {option.name for option in fields(Settings)}
