"""Every command that offers JSON prints it, about records with everything that they can hold."""

from __future__ import annotations

import json
import os
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from genledger.budgets import open_store
from genledger.budgets.enforcement.kill_switch import kill, set_budget
from genledger.cli import COMMANDS, app, load
from genledger.context.attribution import Attribution
from genledger.engine.record import CallRecord, ProductEvent, StepRecord
from genledger.ledger import Ledger
from genledger.pricing.cost import Cost, Part

WORDS: dict[str, tuple[str, ...]] = {
    "report": ("--since", "all"),
    "trace": ("last",),
    "prices show": ("gpt-5",),
    "prices backfill": (),
    "alerts list": (),
    "alerts run": (),
    "alerts test": ("--since", "2d"),
    "dashboards list": (),
    "doctor": (),
    "budgets": (),
    "budgets log": (),
}
"""Each command with `--json`, and what else it needs."""


def offering(name: str, command: Any) -> Iterator[str]:
    """The names of a command and of those below it that have the option."""
    if any("--json" in option.opts for option in command.params):
        yield name
    for below, one in getattr(command, "commands", {}).items():
        yield from offering(f"{name} {below}", one)


def test_every_command_with_json_is_tested() -> None:
    found = [name for top in COMMANDS for name in offering(top, load(top))]
    assert sorted(found) == sorted(WORDS)


@pytest.mark.parametrize("command", WORDS)
def test_what_is_printed_is_json(
    command: str, tmp_path: Path, make_entry: Callable[..., CallRecord], monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in list(os.environ):
        if name.startswith(("OTEL_", "GENLEDGER_", "LANGFUSE_")):
            monkeypatch.delenv(name)
    monkeypatch.setenv("GENLEDGER_LEDGER", str(tmp_path / "ledger.db"))
    monkeypatch.setenv("GENLEDGER_BUDGET_STORE", str(tmp_path / "budgets.db"))
    monkeypatch.setenv("GENLEDGER_SPOOL", "off")
    (tmp_path / "rules.toml").write_text('[[alert]]\nkind = "spend"\nabove = 0.001\n')
    monkeypatch.setenv("GENLEDGER_BUDGETS", str(tmp_path / "rules.toml"))
    who = Attribution(tenant="acme", tags=("a", "b"), metadata={"lines": 3, "x\n": True})
    parts = (Part("input", 80, 1e-6, 8e-5), Part("web_search", 1, 0.01, 0.01))
    cost = Cost(0.01008, "table", parts, "2026-11-09", ("unknown_host:x",))
    first = make_entry(attribution=who, cost=cost, started_ns=time.time_ns())
    trace_id = first.trace_id
    calls = [first, make_entry(None, trace_id=trace_id, retry_causes=("429", "timeout"), attempts=3)]
    steps = [StepRecord(trace_id, 2**64 - 1, None, "agent", "helper", first.started_ns, 1.5, "ValueError")]
    outcomes = [ProductEvent("draft_accepted", first.started_ns, who, trace_id, first.span_id, 1.0)]
    ledger = Ledger(tmp_path / "ledger.db")
    ledger.write(calls, outcomes, steps)
    ledger.close()
    store = open_store(tmp_path / "budgets.db")
    set_budget(store, {"tenant": "each", "usd": {"starter": 5, "pro": 50}, "per": "rolling 1h"})
    kill(store, {"tenant": "ac*"}, for_=3600, why="it loops")
    store.close()
    rules = tmp_path / "rules.toml"
    rules.write_text('[[alert]]\nkind = "spend"\nabove = 0.001\nform = "plain"\ntenant = "each"\n')
    if command.startswith("alerts"):
        monkeypatch.setenv("GENLEDGER_BUDGETS", str(rules))
    done = CliRunner().invoke(app, [*command.split(), *WORDS[command], "--json"])
    assert done.exception is None or isinstance(done.exception, SystemExit), done.exception
    assert json.loads(done.stdout)
