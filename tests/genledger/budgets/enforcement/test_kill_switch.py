from __future__ import annotations

import subprocess
import sys
import threading
import time
from collections.abc import Callable

import pytest

from genledger.budgets import BudgetExceeded, BudgetRequest, Guard, RuleError, Store, budget
from genledger.budgets.enforcement import kill_switch
from genledger.budgets.enforcement.kill_switch import Controls

MakeGuard = Callable[..., Guard]
MakeDemand = Callable[..., BudgetRequest]
Until = Callable[[Callable[[], object]], None]


def admits(guard: Guard, request: BudgetRequest) -> bool:
    """Make a call, and tell whether it was let through."""
    try:
        guard.admit(request).settle(0.0, 1)
    except BudgetExceeded:
        return False
    return True


def test_a_kill_switch_stops_what_matches_and_nothing_else(
    store: Store, make_guard: MakeGuard, demand: MakeDemand
) -> None:
    guard = make_guard([], store)
    guard.admit(demand(feature="copilot"))
    guard.kill(feature="copilot", tenant="ac*", why="it loops", who="Ada")
    with pytest.raises(BudgetExceeded, match="were stopped by Ada until it is revived: it loops") as caught:
        guard.admit(demand(feature="copilot"))
    assert (caught.value.scope, caught.value.rule) == ("tenant=ac* feature=copilot", "kill switch")
    assert (caught.value.resets_at, caught.value.retry_after) == (None, None)
    guard.admit(demand(feature="copilot", tenant="zeta"))
    guard.admit(demand(feature="mail"))
    guard.revive(feature="copilot", tenant="ac*", who="Ada")
    guard.admit(demand(feature="copilot"))


def test_a_kill_switch_says_when_it_lifts_itself(make_guard: MakeGuard, demand: MakeDemand) -> None:
    guard = make_guard([], "memory")
    guard.kill(for_=3600, why="pause")
    with pytest.raises(BudgetExceeded) as caught:
        guard.admit(demand())
    assert caught.value.retry_after is not None
    assert 3590 < caught.value.retry_after <= 3600
    assert caught.value.resets_at is not None


def test_a_kill_switch_lifts_itself(make_guard: MakeGuard, demand: MakeDemand) -> None:
    guard = make_guard([], "memory")
    guard.kill(for_=0.001, why="pause")
    deadline = time.monotonic() + 120
    while True:
        try:
            guard.admit(demand())
            break
        except BudgetExceeded:
            assert time.monotonic() < deadline


def test_killing_and_reviving_are_recorded_with_who_and_why(store: Store) -> None:
    kill_switch.kill(store, {"feature": "copilot"}, for_=60, why="it loops", who="Ada")
    kill_switch.revive(store, {"feature": "copilot"}, why="fixed", who="Ben")
    first, second = Controls.read(store.document()).log
    assert (first["did"], first["scope"], first["who"], first["why"]) == ("kill", "feature=copilot", "Ada", "it loops")
    assert first["until"] == pytest.approx(first["at"] + 60)
    assert (second["did"], second["who"], second["why"]) == ("revive", "Ben", "fixed")


def test_what_makes_no_sense_is_refused(store: Store) -> None:
    with pytest.raises(RuleError, match="why"):
        kill_switch.kill(store, {}, for_=None, why=" ")
    with pytest.raises(RuleError, match="above 0"):
        kill_switch.kill(store, {}, for_=0, why="x")
    with pytest.raises(RuleError, match="no kill switch is set for tenant=x; set are: none"):
        kill_switch.revive(store, {"tenant": "x"})
    with pytest.raises(RuleError, match="no budget 'x' is set"):
        kill_switch.unset_budget(store, "x")


def test_every_process_stops(shared_url: str, make_guard: MakeGuard, demand: MakeDemand) -> None:
    """Calls already go on in this process when another one kills them."""
    guard = make_guard([budget(usd=1000, per="month")], shared_url)
    guard.admit(demand(0.0, feature="copilot")).release()
    program = (
        "import sys; from genledger.budgets import kill, open_store;"
        "kill(open_store(sys.argv[1]), {'feature': 'copilot'}, for_=None, why='x')"
    )
    subprocess.run([sys.executable, "-c", program, shared_url], check=True)
    deadline = time.monotonic() + 60
    while True:
        try:
            guard.admit(demand(0.0, feature="copilot")).release()
        except BudgetExceeded:
            break
        assert time.monotonic() < deadline


def test_a_process_that_starts_after_the_kill_makes_no_call(
    shared_url: str, make_guard: MakeGuard, demand: MakeDemand
) -> None:
    killer = make_guard([], shared_url)
    killer.kill(why="x")
    with pytest.raises(BudgetExceeded):
        make_guard([], shared_url).admit(demand())


def test_a_budget_set_in_the_store_holds_everywhere_and_wins_over_the_file(
    store: Store, make_guard: MakeGuard, demand: MakeDemand, until: Until
) -> None:
    guard = make_guard([budget(name="tenant=acme usd/day", tenant="acme", usd=1, per="day")], store)
    kill_switch.set_budget(store, {"tenant": "acme", "usd": 5, "per": "day"})
    kill_switch.set_tier(store, "acme", "pro")
    guard.admit(demand(4.0)).settle(4.0, 1)
    with pytest.raises(BudgetExceeded) as caught:
        guard.admit(demand(4.0))
    assert caught.value.limit == 5
    assert Controls.read(store.document()).tiers == {"acme": "pro"}
    kill_switch.unset_budget(store, "tenant=acme usd/day")
    until(lambda: [rule.limits[""] for rule in guard.rules] == [1_000_000_000])


def test_changes_made_at_the_same_time_are_all_kept(store: Store) -> None:
    threads = [
        threading.Thread(target=kill_switch.set_tier, args=(store, f"tenant-{number}", "pro")) for number in range(16)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    controls = Controls.read(store.document())
    assert len(controls.tiers) == len(controls.log) == 16


def test_a_document_that_cannot_be_read_leaves_what_was_known(
    make_guard: MakeGuard, demand: MakeDemand, until: Until, caplog: pytest.LogCaptureFixture
) -> None:
    guard = make_guard([budget(usd=1, per="day")], "memory")
    guard.admit(demand(0.1)).settle(0.1, 1)
    guard.kill(why="x")
    assert guard.store.replace_document(guard.store.document(), "{broken")
    until(lambda: caplog.records)
    with pytest.raises(BudgetExceeded, match="x"):
        guard.admit(demand(0.1))
    assert guard.store.replace_document("{broken", "")
    until(lambda: admits(guard, demand(0.1)))
    assert len(caplog.records) == 1


def test_a_kill_switch_works_when_what_is_set_cannot_be_read(
    store: Store, make_guard: MakeGuard, demand: MakeDemand
) -> None:
    assert store.replace_document("", '{"kills": "half a docu')
    guard = make_guard([], store)
    guard.kill(why="it loops", who="Ada")
    assert not admits(guard, demand())
    assert [entry["did"] for entry in Controls.read(store.document()).log] == ["start over", "kill"]
    guard.revive()
    assert admits(guard, demand())
