"""A store that does not answer: each rule acts as it says, it is said once, and it heals."""

from __future__ import annotations

import contextlib
import sqlite3
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from genledger.budgets import BudgetExceeded, BudgetRequest, Guard, StoreDown, budget, open_store
from genledger.budgets.budget_status import read_status

MakeGuard = Callable[..., Guard]
MakeDemand = Callable[..., BudgetRequest]
Until = Callable[[Callable[[], object]], None]

DOWN = "The budget store is down; rules follow their on_store_down until it recovers: "
BACK = "The budget store has recovered."


def guard_on(make_guard: MakeGuard, url: str, policy: str, **fields: Any) -> Guard:
    return make_guard([budget(name=policy, usd=100, per="month", on_store_down=policy, **fields)], url)


def test_an_open_rule_lets_calls_through_and_counts_them_later(
    own_redis: Any, make_guard: MakeGuard, demand: MakeDemand, until: Until, caplog: pytest.LogCaptureFixture
) -> None:
    guard = guard_on(make_guard, own_redis.url, "open")
    guard.admit(demand(1.0)).settle(1.0, 1)
    own_redis.kill()
    for _ in range(200):
        guard.admit(demand(1.0)).settle(1.0, 1)
    assert guard.failures >= 1
    own_redis.start()
    until(lambda: guard.flush() and BACK in caplog.messages)
    assert [status.settled for status in read_status(guard.store)] == [201.0]
    with pytest.raises(BudgetExceeded) as caught:
        guard.admit(demand(1.0))
    assert caught.value.spent == 201.0
    assert len(caplog.messages) == 2
    assert caplog.messages[0].startswith(f"{DOWN}Redis")
    assert caplog.messages[1] == BACK


def test_a_closed_rule_lets_no_call_through(
    own_redis: Any, make_guard: MakeGuard, demand: MakeDemand, until: Until, caplog: pytest.LogCaptureFixture
) -> None:
    guard = guard_on(make_guard, own_redis.url, "closed")
    for _ in range(5):
        guard.admit(demand(1.0)).settle(1.0, 1)
    own_redis.kill()
    until(lambda: DOWN in caplog.text)
    with pytest.raises(
        BudgetExceeded, match=r"'closed' .* the budget store is down, and on_store_down is 'closed'"
    ) as caught:
        guard.admit(demand(0.001))
    assert caught.value.retry_after == 5.0
    own_redis.start()
    until(lambda: BACK in caplog.messages)
    guard.admit(demand(1.0)).settle(1.0, 1)


def test_a_store_that_was_never_there_is_not_said_to_have_granted_a_lease(
    make_guard: MakeGuard, demand: MakeDemand
) -> None:
    guard = guard_on(make_guard, "redis://127.0.0.1:1/0", "lease")
    with pytest.raises(BudgetExceeded, match="it has granted this process nothing yet; check that the store runs"):
        guard.admit(demand(0.01))


def test_a_lease_rule_lets_calls_through_until_its_slice_is_used_up(
    own_redis: Any, make_guard: MakeGuard, demand: MakeDemand
) -> None:
    guard = guard_on(make_guard, own_redis.url, "lease")
    for _ in range(10):
        guard.admit(demand(0.01)).settle(0.01, 1)
    own_redis.kill()
    admitted = 0
    with contextlib.suppress(BudgetExceeded):
        while True:
            guard.admit(demand(0.01)).settle(0.01, 1)
            admitted += 1
    with pytest.raises(BudgetExceeded, match="the budget store is down, and the last lease is used up"):
        guard.admit(demand(0.01))
    assert 0 < admitted <= 5_000  # A slice is at most half of what is left.


def test_a_rule_that_only_warns_never_blocks(own_redis: Any, make_guard: MakeGuard, demand: MakeDemand) -> None:
    warns = guard_on(make_guard, own_redis.url, "closed", at_limit="warn")
    blocks = guard_on(make_guard, own_redis.url, "closed")
    own_redis.kill()
    warns.admit(demand(1.0)).settle(1.0, 1)
    with pytest.raises(BudgetExceeded):
        blocks.admit(demand(1.0))


def test_no_call_waits_for_a_store_that_is_known_to_be_down(
    make_guard: MakeGuard, demand: MakeDemand, monkeypatch: pytest.MonkeyPatch
) -> None:
    guard = guard_on(make_guard, "memory", "open")
    asked = []

    def fail(*arguments: object) -> None:
        asked.append(arguments)
        raise StoreDown("gone")

    monkeypatch.setattr(guard.store, "exchange", fail)
    for _ in range(100):
        guard.admit(demand(1.0)).settle(1.0, 1)
    # Once for the first call; the rest is the background's looking whether it is back.
    assert len(asked) < 20


def test_a_store_that_answers_but_takes_nothing_is_down_and_said_so_once(
    own_redis: Any, make_guard: MakeGuard, demand: MakeDemand, until: Until, caplog: pytest.LogCaptureFixture
) -> None:
    guard = guard_on(make_guard, own_redis.url, "open")
    guard.admit(demand(1.0)).settle(1.0, 1)
    with own_redis.client as client:
        client.execute_command("REPLICAOF", "127.0.0.1", "1")
        guard.admit(demand(50.0)).settle(50.0, 1)
        failures = guard.failures
        until(lambda: guard.failures > failures + 1)
        client.execute_command("REPLICAOF", "NO", "ONE")
    until(lambda: guard.flush())
    assert [status.settled for status in read_status(guard.store)] == [51.0]
    assert len(caplog.records) == 2


def test_a_redis_that_was_emptied_learns_again_what_was_spent(
    own_redis: Any, make_guard: MakeGuard, demand: MakeDemand
) -> None:
    guard = guard_on(make_guard, own_redis.url, "open")
    guard.admit(demand(60.0)).settle(60.0, 1)
    assert guard.flush(60)
    with own_redis.client as client:
        client.flushall()
    guard.admit(demand(30.0)).settle(30.0, 1)
    assert guard.flush(60)
    assert [status.settled for status in read_status(guard.store)] == [90.0]


def test_a_file_that_another_program_locks_is_a_store_that_is_down(
    tmp_path: Path,
    make_guard: MakeGuard,
    demand: MakeDemand,
    until: Until,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    monkeypatch.setattr("genledger.budgets.stores.sqlite.BUSY_TIMEOUT", 0.01)
    path = tmp_path / "budgets.db"
    guard = guard_on(make_guard, str(path), "closed")
    guard.admit(demand(1.0)).settle(1.0, 1)
    other = sqlite3.connect(path, isolation_level=None)
    other.execute("BEGIN EXCLUSIVE")
    with pytest.raises(BudgetExceeded, match="the budget store is down"):
        guard.admit(demand(90.0))
    other.execute("ROLLBACK")
    other.close()
    until(lambda: BACK in caplog.messages)
    guard.admit(demand(90.0)).settle(90.0, 1)


def test_a_store_that_cannot_be_opened_does_not_bother_who_has_no_budgets(
    tmp_path: Path, make_guard: MakeGuard, demand: MakeDemand, monkeypatch: pytest.MonkeyPatch, caplog: Any
) -> None:
    (tmp_path / "file").write_text("not a directory")
    monkeypatch.setattr("platformdirs.user_state_path", lambda *_: tmp_path / "file" / "inside")
    guard = make_guard()
    guard.admit(demand(1.0)).settle(1.0, 1)
    assert not caplog.records
    with pytest.raises(StoreDown):
        open_store().now()
