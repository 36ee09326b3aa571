"""What happens at the limit, other than blocking."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable

import pytest

from genledger.budgets import BudgetExceeded, BudgetRequest, Guard, Reservation, Store, budget
from genledger.budgets.budget_status import read_status

MakeGuard = Callable[..., Guard]
MakeDemand = Callable[..., BudgetRequest]

SMALL = {"model": "gpt-5-mini", "max_output_tokens": 100}


def test_a_degraded_call_gets_another_model_and_fewer_tokens(
    store: Store, make_guard: MakeGuard, demand: MakeDemand
) -> None:
    guard = make_guard([budget(name="soft", usd=1, per="month", at_limit="degrade", degrade=SMALL)], store)
    first = guard.admit(demand(1.0, max_output_tokens=500))
    assert (first.model, first.max_output_tokens, first.action) == (None, None, None)
    first.settle(1.0, 500)
    second = guard.admit(demand(1.0, max_output_tokens=500))
    assert (second.model, second.max_output_tokens) == ("gpt-5-mini", 100)
    assert (second.action, second.rule) == ("degrade", "soft")
    assert second.reason is not None
    assert second.reason.startswith("budget 'soft' (organization, $1.00 per month) degraded the call: spent $1.00")
    small = guard.admit(demand(1.0, model="gpt-5-mini", max_output_tokens=50))
    assert (small.model, small.max_output_tokens, small.action) == (None, None, "degrade")


def test_a_degraded_call_counts_in_every_other_rule_at_its_own_price(make_guard: MakeGuard, demand: MakeDemand) -> None:
    guard = make_guard(
        [
            budget(name="soft", usd=1, per="month", at_limit="degrade", degrade=SMALL),
            budget(name="hard", usd=2, per="month"),
            budget(name="small", model="gpt-5-mini", requests=100, per="month"),
        ],
        "memory",
    )
    asked = []

    def reprice(model: str | None, tokens: int | None) -> float:
        asked.append((model, tokens))
        return 0.25

    guard.admit(demand(1.0)).settle(1.0, 1)
    guard.admit(demand(1.0, max_output_tokens=400, reprice=reprice)).settle(0.25, 1)
    guard.admit(demand(1.0, max_output_tokens=90, reprice=reprice)).settle(0.25, 1)
    assert asked == [("gpt-5-mini", 100), ("gpt-5-mini", None)]
    with pytest.raises(BudgetExceeded, match="'hard'"):
        guard.admit(demand(1.0, reprice=lambda model, tokens: 0.75))
    assert guard.flush(60)
    settled = {status.rule: status.settled for status in read_status(guard.store)}
    assert settled == {"soft": 1.0, "hard": 1.5, "small": 2}


def test_a_call_waits_in_the_queue_until_there_is_room(
    store: Store, make_guard: MakeGuard, demand: MakeDemand, monkeypatch: pytest.MonkeyPatch
) -> None:
    guard = make_guard([budget(name="q", usd=1, per="month", at_limit="queue", queue_seconds=30)], store)
    first = guard.admit(demand(1.0))
    sleep, waits = time.sleep, threading.Event()

    def wait(seconds: float) -> None:
        waits.set()
        sleep(seconds)

    monkeypatch.setattr(time, "sleep", wait)
    admitted: list[Reservation] = []
    waiting = threading.Thread(target=lambda: admitted.append(guard.admit(demand(1.0))))
    waiting.start()
    assert waits.wait(120)
    assert not admitted
    first.settle(0.0, 1)
    waiting.join(120)
    assert (admitted[0].action, admitted[0].rule) == ("queue", "q")
    assert admitted[0].reason is not None
    assert "made the call wait" in admitted[0].reason


async def test_an_async_call_waits_in_the_queue_too(make_guard: MakeGuard, demand: MakeDemand) -> None:
    guard = make_guard([budget(usd=1, per="month", at_limit="queue", queue_seconds=0.05)], "memory")
    first = await guard.admit_async(demand(1.0))
    with pytest.raises(BudgetExceeded):
        await guard.admit_async(demand(1.0))
    first.release()
    (await guard.admit_async(demand(1.0))).release()


def test_nobody_waits_for_a_window_that_resets_too_late(make_guard: MakeGuard, demand: MakeDemand) -> None:
    guard = make_guard([budget(usd=1, per="month", at_limit="queue", queue_seconds=3600)], "memory")
    guard.admit(demand(1.0)).settle(1.0, 1)
    with pytest.raises(BudgetExceeded):
        guard.admit(demand(1.0))


def test_a_rule_that_blocks_wins_over_one_that_queues(make_guard: MakeGuard, demand: MakeDemand) -> None:
    guard = make_guard(
        [
            budget(name="q", usd=1, per="month", at_limit="queue", queue_seconds=2),
            budget(name="b", requests=1, per="month"),
        ],
        "memory",
    )
    guard.admit(demand(1.0))
    with pytest.raises(BudgetExceeded, match="'b'"):
        guard.admit(demand(1.0))


def test_a_rule_that_warns_lets_everything_through_and_says_so_once(
    store: Store, make_guard: MakeGuard, demand: MakeDemand, caplog: pytest.LogCaptureFixture
) -> None:
    guard = make_guard([budget(name="w", usd=1, per="month", at_limit="warn")], store)
    guard.admit(demand(1.0)).settle(1.0, 1)
    assert not caplog.records
    for _ in range(3):
        reservation = guard.admit(demand(1.0))
        assert (reservation.action, reservation.rule) == ("warn", "w")
        reservation.settle(1.0, 1)
    assert len(caplog.records) == 1
    assert "budget 'w' (organization" in caplog.records[0].message
    assert guard.flush(60)
    assert [counter.settled for counter in store.counters().values()] == [4_000_000_000]


def test_a_depth_that_only_warns_lets_the_call_through(make_guard: MakeGuard, demand: MakeDemand) -> None:
    guard = make_guard([budget(name="d", depth=1, at_limit="warn")], "memory")
    reservation = guard.admit(demand(run="r", depth=2))
    assert (reservation.action, reservation.rule) == ("warn", "d")
