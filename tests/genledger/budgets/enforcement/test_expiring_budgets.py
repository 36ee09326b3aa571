from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path

import pytest
from typer.testing import CliRunner

from genledger.budgets import BudgetExceeded, BudgetRequest, Guard, RuleError, Store, open_store, set_budget
from genledger.budgets.enforcement.kill_switch import Controls
from genledger.cli.budgets import app


def test_a_budget_that_was_set_for_a_time_ends_by_itself(store: Store, demand: Callable[..., BudgetRequest]) -> None:
    set_budget(store, {"tenant": "acme", "usd": 1, "per": "day"}, for_=1.0, why="a spike")
    guard = Guard((), store)
    try:
        with pytest.raises(BudgetExceeded):
            guard.admit(demand(5.0))
        deadline = time.monotonic() + 60
        while True:
            try:
                guard.admit(demand(5.0)).release()
                break
            except BudgetExceeded:
                assert time.monotonic() < deadline
                time.sleep(0.05)
    finally:
        guard.close(60)


def test_the_log_has_its_end_and_its_reason(tmp_path: Path) -> None:
    path = str(tmp_path / "budgets.db")
    done = CliRunner().invoke(app, ["--store", path, "set", "tenant=a", "usd=1/day", "--for", "2h", "--why", "spike"])
    assert done.exit_code == 0, done.output
    controls = Controls.read(open_store(path).document())
    (entry,) = controls.log
    assert entry["why"] == "spike"
    assert entry["until"] == pytest.approx(entry["at"] + 7200)
    assert controls.until == {"tenant=a usd/day": entry["until"]}


def test_setting_it_again_without_an_end_makes_it_stay(store: Store) -> None:
    set_budget(store, {"name": "b", "usd": 1, "per": "day"}, for_=60.0)
    set_budget(store, {"name": "b", "usd": 2, "per": "day"})
    assert Controls.read(store.document()).until == {}


@pytest.mark.parametrize("seconds", [0.0, -1.0])
def test_an_end_that_is_past_is_refused(store: Store, seconds: float) -> None:
    with pytest.raises(RuleError, match="for: expected seconds above 0"):
        set_budget(store, {"usd": 1, "per": "day"}, for_=seconds)
