from __future__ import annotations

import asyncio
import gc
import os
import pickle
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from contextlib import closing
from datetime import datetime
from pathlib import Path
from zoneinfo import ZoneInfo

import pytest

from genledger.budgets import BudgetExceeded, BudgetRequest, Guard, Reservation, Store, budget, open_store
from genledger.budgets.budget_status import read_status
from genledger.budgets.enforcement.reservation import UNGUARDED

MakeGuard = Callable[..., Guard]
MakeDemand = Callable[..., BudgetRequest]
Until = Callable[[Callable[[], object]], None]


def spent(guard: Guard) -> dict[str, float]:
    assert guard.flush(60)
    return {status.rule: status.settled for status in read_status(guard.store)}


def test_a_budget_admits_until_it_is_spent(store: Store, make_guard: MakeGuard, demand: MakeDemand) -> None:
    guard = make_guard([budget(name="b", tenant="each", usd=1, per="month")], store)
    for _ in range(4):
        guard.admit(demand(0.25)).settle(0.25, 10)
    with pytest.raises(BudgetExceeded):
        guard.admit(demand(0.01))
    guard.admit(demand(0.25, tenant="other")).settle(0.25, 10)


def test_what_is_reserved_counts_until_it_is_settled_or_released(
    store: Store, make_guard: MakeGuard, demand: MakeDemand
) -> None:
    guard = make_guard([budget(usd=1, per="month")], store)
    first = guard.admit(demand(0.6))
    with pytest.raises(BudgetExceeded):
        guard.admit(demand(0.6))
    first.settle(0.1, 10)
    second = guard.admit(demand(0.6))
    second.release()
    guard.admit(demand(0.9)).settle(0.9, 10)
    with pytest.raises(BudgetExceeded):
        guard.admit(demand(0.01))


def test_the_refusal_says_everything(store: Store, make_guard: MakeGuard, demand: MakeDemand) -> None:
    guard = make_guard([budget(name="acme", tenant="acme", usd=1, per="month", timezone="Asia/Tokyo")], store)
    guard.admit(demand(0.75)).settle(0.75, 10)
    guard.admit(demand(0.125))
    with pytest.raises(BudgetExceeded) as caught:
        guard.admit(demand(0.5))
    error = caught.value
    assert isinstance(error, RuntimeError)
    assert (error.scope, error.rule, error.measure, error.status_code) == ("tenant=acme", "acme", "usd", 429)
    assert (error.spent, error.limit) == (0.75, 1.0)
    assert 0.125 <= error.reserved <= 0.25
    tokyo = datetime.now(ZoneInfo("Asia/Tokyo"))
    first = datetime(tokyo.year + tokyo.month // 12, tokyo.month % 12 + 1, 1, tzinfo=ZoneInfo("Asia/Tokyo"))
    assert error.resets_at == first
    assert error.retry_after is not None
    assert 0 < error.retry_after <= 31 * 86400
    assert "\n" not in str(error)
    for part in ("'acme'", "tenant=acme", "$0.75", "$1.00", "$0.50", "per month", first.isoformat()):
        assert part in str(error)


def test_the_refusal_survives_pickling(make_guard: MakeGuard, demand: MakeDemand) -> None:
    guard = make_guard([budget(usd=0, per="day")], "memory")
    with pytest.raises(BudgetExceeded) as caught:
        guard.admit(demand())
    again = pickle.loads(pickle.dumps(caught.value))
    assert (type(again), str(again), again.__dict__) == (BudgetExceeded, str(caught.value), caught.value.__dict__)


def test_only_calls_under_way_in_the_way_means_try_again_soon(make_guard: MakeGuard, demand: MakeDemand) -> None:
    guard = make_guard([budget(usd=1, per="month")], "memory")
    guard.admit(demand(0.9))
    with pytest.raises(BudgetExceeded) as caught:
        guard.admit(demand(0.9))
    assert caught.value.retry_after == 1.0


def test_a_call_larger_than_the_whole_limit_need_not_come_back(make_guard: MakeGuard, demand: MakeDemand) -> None:
    guard = make_guard([budget(usd=1, per="day")], "memory")
    with pytest.raises(BudgetExceeded, match="exceeds the whole budget") as caught:
        guard.admit(demand(2.0))
    assert caught.value.retry_after is None


def test_the_tightest_of_several_rules_decides_and_the_others_keep_nothing(
    store: Store, make_guard: MakeGuard, demand: MakeDemand
) -> None:
    guard = make_guard(
        [
            budget(name="organization", usd=10, per="month"),
            budget(name="tenant", tenant="each", usd=4, per="day"),
            budget(name="feature", feature="chat", tokens=1000, per="hour"),
        ],
        store,
    )
    guard.admit(demand(3.5, feature="chat", max_output_tokens=500)).settle(3.5, 400)
    with pytest.raises(BudgetExceeded) as caught:
        guard.admit(demand(1.0, feature="chat", max_output_tokens=700))
    assert caught.value.rule == "tenant"
    guard.admit(demand(0.25, feature="chat", max_output_tokens=600)).settle(0.25, 600)
    assert spent(guard) == {"organization": 3.75, "tenant": 3.75, "feature": 1000}


@pytest.mark.parametrize("order", [("a", "b"), ("b", "a")])
def test_among_rules_that_refuse_the_one_with_the_least_left_is_named(
    make_guard: MakeGuard, demand: MakeDemand, order: tuple[str, str]
) -> None:
    limits = {"a": 10.0, "b": 100.0}
    both = [budget(name=name, usd=limits[name], per="month") for name in order]
    guard = make_guard(both, "memory")
    guard.admit(demand(8.0)).settle(8.0, 1)
    with pytest.raises(BudgetExceeded) as caught:
        guard.admit(demand(95.0))
    assert caught.value.rule == "a"


def test_a_new_window_begins_when_the_old_one_ends(
    make_guard: MakeGuard, demand: MakeDemand, monkeypatch: pytest.MonkeyPatch
) -> None:
    guard = make_guard([budget(requests=100, per="day")], "memory", lease_ttl=1e6)
    for _ in range(10):
        guard.admit(demand()).settle(0.0, 1)
    assert guard.flush(60)
    wall, clock = time.time, time.monotonic
    monkeypatch.setattr(time, "time", lambda: wall() + 86400)
    monkeypatch.setattr(time, "monotonic", lambda: clock() + 86400)
    for _ in range(5):
        guard.admit(demand()).settle(0.0, 1)
    assert guard.flush(60)
    assert sorted(counter.settled for counter in guard.store.counters().values()) == [5, 10]


def test_a_stream_that_runs_past_its_estimate_is_settled_to_the_truth_and_counts_at_once(
    store: Store, make_guard: MakeGuard, demand: MakeDemand
) -> None:
    guard = make_guard([budget(name="b", usd=1, per="month")], store)
    guard.admit(demand(0.1)).settle(5.0, 1000)
    with pytest.raises(BudgetExceeded) as caught:
        guard.admit(demand(0.01))
    assert caught.value.spent == 5.0
    assert spent(guard) == {"b": 5.0}


@pytest.mark.parametrize("end", ["settle", "release"])
def test_only_the_first_end_of_a_call_counts(make_guard: MakeGuard, demand: MakeDemand, end: str) -> None:
    guard = make_guard([budget(name="b", usd=1, per="month")], "memory")
    reservation = guard.admit(demand(0.5))
    if end == "settle":
        reservation.settle(0.25, 1)
        reservation.release()
    else:
        reservation.release()
        reservation.settle(0.25, 1)
    reservation.settle(0.5, 1)
    assert spent(guard) == {"b": 0.25 if end == "settle" else 0.0}


def test_a_call_that_ends_with_unknown_cost_counts_what_was_reserved(make_guard: MakeGuard, demand: MakeDemand) -> None:
    guard = make_guard([budget(name="usd", usd=1, per="month"), budget(name="t", tokens=100, per="month")], "memory")
    guard.admit(demand(0.5, max_output_tokens=60)).settle(None, None)
    assert spent(guard) == {"usd": 0.5, "t": 60}


def test_calls_may_end_in_a_finaliser_that_interrupts_the_guard_itself(
    make_guard: MakeGuard, demand: MakeDemand
) -> None:
    guard = make_guard([budget(name="b", requests=10_000, per="month")], "memory")

    class Stream:
        def __init__(self) -> None:
            self.reservation = guard.admit(demand())
            self.cycle = self

        def __del__(self) -> None:
            self.reservation.settle(0.0, 1)

    before = gc.get_threshold()
    gc.set_threshold(2, 2, 2)
    try:
        for _ in range(300):
            Stream()
    finally:
        gc.set_threshold(*before)
    gc.collect()
    assert spent(guard) == {"b": 300}


def test_a_call_that_no_rule_is_for_gets_the_shared_admission(
    store: Store, make_guard: MakeGuard, demand: MakeDemand
) -> None:
    guard = make_guard([budget(tenant="other", usd=1, per="day")], store)
    assert guard.admit(demand()) is guard.admit(demand()) is UNGUARDED
    UNGUARDED.settle(1.0, 1)
    UNGUARDED.release()


def test_a_guard_without_rules_becomes_inactive_once_it_knows(make_guard: MakeGuard, demand: MakeDemand) -> None:
    guard = make_guard([], "memory")
    assert guard.active
    assert guard.admit(demand()) is UNGUARDED
    assert not guard.active


def test_loop_caps_end_a_runaway_agent(store: Store, make_guard: MakeGuard, demand: MakeDemand) -> None:
    guard = make_guard(
        [
            budget(name="steps", steps=3, per="run"),
            budget(name="session", tokens=1000, per="session"),
            budget(name="loop", repeats=2),
            budget(name="deep", depth=2),
        ],
        store,
    )
    for _ in range(3):
        guard.admit(demand(run="r1")).settle(0.0, 1)
    with pytest.raises(BudgetExceeded) as caught:
        guard.admit(demand(run="r1"))
    assert (caught.value.rule, caught.value.scope) == ("steps", "run=r1")
    assert (caught.value.resets_at, caught.value.retry_after) == (None, None)

    guard.admit(demand(session="s1", max_output_tokens=800)).settle(0.0, 800)
    with pytest.raises(BudgetExceeded, match="'session'"):
        guard.admit(demand(session="s1", max_output_tokens=300))
    guard.admit(demand(session="s2", max_output_tokens=300)).settle(0.0, 300)

    for _ in range(2):
        guard.admit(demand(run="r2", steps=0, tool_calls=("search(x)", "read(y)"))).settle(0.0, 1)
    with pytest.raises(BudgetExceeded, match="'loop'") as caught:
        guard.admit(demand(run="r2", steps=0, tool_calls=("search(x)",)))
    assert caught.value.scope == "run=r2 tool_call=search(x)"
    guard.admit(demand(run="r2", steps=0, tool_calls=("search(z)",))).settle(0.0, 1)

    guard.admit(demand(run="r3", depth=2)).settle(0.0, 1)
    with pytest.raises(BudgetExceeded, match="nested 3 deep, more than 2"):
        guard.admit(demand(run="r3", depth=3))


def test_rate_limits_count_requests_and_tokens(store: Store, make_guard: MakeGuard, demand: MakeDemand) -> None:
    guard = make_guard(
        [
            budget(name="rpm", user="each", requests=2, per="rolling 1m"),
            budget(name="tpm", api_key="each", tokens=100, per="rolling 1m"),
        ],
        store,
    )
    for _ in range(2):
        guard.admit(demand(user="u")).settle(0.0, 1)
    with pytest.raises(BudgetExceeded) as caught:
        guard.admit(demand(user="u"))
    assert caught.value.rule == "rpm"
    assert caught.value.retry_after is not None
    assert 0 < caught.value.retry_after <= 62
    guard.admit(demand(api_key="k", input_tokens=60)).settle(0.0, 60)
    with pytest.raises(BudgetExceeded, match="'tpm'"):
        guard.admit(demand(api_key="k", input_tokens=20, max_output_tokens=30))


def test_an_unknown_price_is_let_through_or_refused_as_the_rule_says(make_guard: MakeGuard, demand: MakeDemand) -> None:
    allow = make_guard([budget(name="b", usd=1, per="month")], "memory")
    allow.admit(demand(None)).settle(0.5, 1)
    assert spent(allow) == {"b": 0.5}
    block = make_guard([budget(usd=1, per="month", unpriced="block")], "memory")
    with pytest.raises(BudgetExceeded, match="model 'gpt-5' has no known price"):
        block.admit(demand(None))
    block.admit(demand(0.5)).settle(0.5, 1)
    with pytest.raises(BudgetExceeded, match="no known price"):
        block.admit(demand(None))


def test_an_exhausted_budget_refuses_unknown_prices_but_not_free_calls(
    make_guard: MakeGuard, demand: MakeDemand
) -> None:
    guard = make_guard([budget(usd=1, per="month")], "memory")
    guard.admit(demand(1.0)).settle(1.0, 1)
    with pytest.raises(BudgetExceeded):
        guard.admit(demand(None))
    guard.admit(demand(0.0)).settle(0.0, 1)


def test_limits_follow_the_plan_tier(tmp_path: Path, make_guard: MakeGuard, demand: MakeDemand) -> None:
    path = tmp_path / "budgets.toml"
    path.write_text(
        'store = "memory"\n[tiers]\ndefault = "starter"\ntenants = { acme = "pro" }\n'
        '[[budget]]\ntenant = "each"\nusd = { starter = 1, pro = 10 }\nper = "day"\n'
    )
    guard = make_guard(path)
    guard.admit(demand(5.0, tenant="acme"))
    with pytest.raises(BudgetExceeded):
        guard.admit(demand(5.0, tenant="zeta"))
    by_function = make_guard(path, tier_of={"zeta": "pro"}.get)
    by_function.admit(demand(5.0, tenant="zeta"))


def test_a_tier_function_that_fails_leaves_the_next_source(make_guard: MakeGuard, demand: MakeDemand) -> None:
    def broken(tenant: str) -> str:
        raise LookupError(tenant)

    guard = make_guard([budget(tenant="each", usd={"starter": 1, "pro": 10}, per="day")], "memory", tier_of=broken)
    guard.admit(demand(1.0)).settle(1.0, 1)
    with pytest.raises(BudgetExceeded):
        guard.admit(demand(1.0))


async def test_async_admission_reserves_and_refuses_the_same(
    store: Store, make_guard: MakeGuard, demand: MakeDemand
) -> None:
    guard = make_guard([budget(name="b", usd=1, per="month")], store)
    admissions = await asyncio.gather(*(guard.admit_async(demand(0.01)) for _ in range(150)), return_exceptions=True)
    admitted = [each for each in admissions if isinstance(each, Reservation)]
    assert len(admitted) == 100
    assert all(isinstance(each, (Reservation, BudgetExceeded)) for each in admissions)
    for reservation in admitted:
        reservation.release()
    (await guard.admit_async(demand(1.0))).settle(1.0, 1)
    assert spent(guard) == {"b": 1.0}


async def test_async_admission_never_blocks_the_event_loop(make_guard: MakeGuard, demand: MakeDemand) -> None:
    asked, answer = threading.Event(), threading.Event()
    guard = make_guard([budget(usd=1, per="month")], "memory")
    exchange = guard.store.exchange

    def slow(*arguments: object) -> object:
        asked.set()
        assert answer.wait(120)
        return exchange(*arguments)  # type: ignore[arg-type]

    guard.store.exchange = slow  # type: ignore[method-assign,assignment]
    waiting = asyncio.create_task(guard.admit_async(demand(0.1)))
    assert await asyncio.to_thread(asked.wait, 120)
    assert not waiting.done()
    answer.set()
    assert isinstance(await waiting, Reservation)


async def test_cancelling_an_admission_gives_back_what_it_reserves(make_guard: MakeGuard, demand: MakeDemand) -> None:
    asked, answer = threading.Event(), threading.Event()
    guard = make_guard([budget(usd=1, per="month")], "memory")
    exchange = guard.store.exchange

    def slow(*arguments: object) -> object:
        asked.set()
        assert answer.wait(120)
        return exchange(*arguments)  # type: ignore[arg-type]

    guard.store.exchange = slow  # type: ignore[method-assign,assignment]
    waiting = asyncio.create_task(guard.admit_async(demand(1.0)))
    assert await asyncio.to_thread(asked.wait, 120)
    waiting.cancel()
    with pytest.raises(asyncio.CancelledError):
        await waiting
    answer.set()
    for _ in range(1000):
        try:
            (await guard.admit_async(demand(1.0))).release()
            return
        except BudgetExceeded:
            await asyncio.sleep(0)
    pytest.fail("it is still reserved")


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
@pytest.mark.filterwarnings("ignore:This process.*multi-threaded:DeprecationWarning")
def test_a_forked_child_has_leases_of_its_own(shared_url: str, make_guard: MakeGuard, demand: MakeDemand) -> None:
    guard = make_guard([budget(name="b", requests=100, per="month")], shared_url)
    for _ in range(20):
        guard.admit(demand()).settle(0.0, 1)
    child = os.fork()
    if child == 0:
        done = 0
        try:
            while True:
                guard.admit(demand()).settle(0.0, 1)
                done += 1
        except BudgetExceeded:
            guard.close()
        finally:
            os._exit(done)
    admitted_by_child = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    admitted = 20 + admitted_by_child
    try:
        while True:
            guard.admit(demand()).settle(0.0, 1)
            admitted += 1
    except BudgetExceeded:
        pass
    assert admitted_by_child > 0
    assert admitted == 100
    assert spent(guard) == {"b": 100}


AT_THE_END = """
import asyncio, atexit, sys, threading
from genledger.budgets import BudgetExceeded, BudgetRequest, Guard, budget
rules = [budget(name="b", requests=2, per="month")]
guard = Guard(rules, sys.argv[1], tier_of=lambda tenant: "free", on_event=print)
def refuse(thread):
    raise RuntimeError("can't create new thread at interpreter shutdown")
def call(number):
    return BudgetRequest(provider="openai", operation="chat", model="gpt-5")
def late():
    threading.Thread.start = refuse  # as Python 3.12 does once the process has begun to end
    guard.admit(call(1)).settle(0.0, 1)
    asyncio.run(guard.admit_async(call(2))).settle(0.0, 1)
    for admit in (guard.admit, lambda request: asyncio.run(guard.admit_async(request))):
        try:
            admit(call(3))
        except BudgetExceeded:
            print("refused")
    print(guard.flush())
atexit.register(late)
"""


def test_a_budget_that_is_first_asked_while_the_process_ends_refuses_what_exceeds_it(tmp_path: Path) -> None:
    store = str(tmp_path / "budgets.db")
    done = subprocess.run([sys.executable, "-c", AT_THE_END, store], capture_output=True, text=True, timeout=600)
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.split() == ["refused", "refused", "True"]
    with closing(open_store(store)) as kept:
        assert len(kept.owed()) == 3  # for the next process to report: 50, 80 and 100 %


def test_rules_can_change_while_calls_run(
    tmp_path: Path, make_guard: MakeGuard, demand: MakeDemand, until: Until, caplog: pytest.LogCaptureFixture
) -> None:
    path = tmp_path / "budgets.toml"

    def write(text: str) -> None:
        before = guard.rules
        path.write_text(text)
        until(lambda: guard.rules != before)

    path.write_text('store = "memory"\n[[budget]]\nname = "b"\nusd = 1\nper = "day"\n')
    guard = make_guard(path)
    guard.admit(demand(0.75)).settle(0.75, 1)
    with pytest.raises(BudgetExceeded):
        guard.admit(demand(0.75))
    write('[[budget]]\nname = "b"\nusd = 2.5\nper = "day"\n')
    guard.admit(demand(0.75)).settle(0.75, 1)
    with pytest.raises(BudgetExceeded) as caught:
        guard.admit(demand(1.25))
    assert (caught.value.spent, caught.value.limit) == (1.5, 2.5)
    path.write_text('[[budget]]\nname = "b"\nusd = "lots"\nper = "day"\n')
    until(lambda: caplog.records)
    assert [f"{path}:3: usd: expected a number" in record.message for record in caplog.records] == [True]
    guard.admit(demand(0.75)).settle(0.75, 1)
    with pytest.raises(BudgetExceeded):
        guard.admit(demand(0.75))
