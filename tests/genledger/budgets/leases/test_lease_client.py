"""Leases: what processes hold between them, in any order of events."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from genledger.budgets import Rule, Store, budget
from genledger.budgets.enforcement.reservation import Reservation
from genledger.budgets.leases.lease_client import LeaseClient, StaleWindow
from genledger.budgets.leases.local_lease import CounterKey, Hold

_runs = itertools.count()


class Process:
    """A process without threads: reserves in every rule at once, reports when told to."""

    def __init__(self, store: Store, rules: Sequence[Rule], *, ttl: float = 1000.0) -> None:
        self.rules = rules
        self.lease_client = LeaseClient(store, lambda account: None, ttl=ttl)
        self.calls: list[tuple[Reservation, int]] = []

    def admit(self, amount: int) -> bool:
        while True:
            books, now = self.lease_client.books, self.lease_client.now()
            with books.lock:
                holds: list[Hold] = [
                    (books.open(CounterKey.of(rule, "organization", rule.limit(None), now), now), amount)
                    for rule in self.rules
                ]
            try:
                if self.lease_client.reserve(holds):
                    return False
            except StaleWindow:
                continue
            self.calls.append((Reservation(books, holds), amount))
            return True

    @property
    def unused(self) -> int:
        """What it was granted in the first rule and uses for nothing."""
        books = self.lease_client.books
        with books.lock:
            books.drain()
            return sum(account.allowance - account.used for account in list(books.accounts.values())[:1])


def rules(*limits: int) -> list[Rule]:
    run = next(_runs)
    return [
        budget(name=f"{run}-{index}", tokens=limit, per="month", on_crash="spend") for index, limit in enumerate(limits)
    ]


OPERATIONS = st.lists(
    st.tuples(
        st.integers(0, 2),
        st.sampled_from(["admit", "admit", "admit", "settle", "overrun", "release", "report", "leave", "crash"]),
        st.integers(1, 40),
    ),
    max_size=60,
)


@settings(
    max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow]
)
@given(operations=OPERATIONS)
def test_the_bill_never_exceeds_a_limit_whatever_processes_do(
    operations: list[tuple[int, str, int]], store: Store
) -> None:
    limits = rules(100, 150)
    processes = [Process(store, limits) for _ in range(3)]
    bill = excess = 0
    for who, operation, amount in operations:
        process = processes[who]
        if operation == "admit":
            process.admit(amount)
        elif operation in ("settle", "overrun") and process.calls:
            reservation, reserved = process.calls.pop(0)
            actual = reserved + amount if operation == "overrun" else min(amount, reserved)
            reservation.settle(0.0, actual)
            bill += actual
            excess += max(0, actual - reserved)
        elif operation == "release" and process.calls:
            process.calls.pop(0)[0].release()
        elif operation in ("report", "leave"):
            process.lease_client.sync(leave=operation == "leave")
        elif operation == "crash":
            # Its calls under way reached the provider all the same.
            bill += sum(reserved for _, reserved in process.calls)
            processes[who] = Process(store, limits)
        under_way = sum(reserved for process in processes for _, reserved in process.calls)
        assert bill + under_way <= 100 + excess
        for counter in store.counters().values():
            if counter.meta.startswith(f'{{"rule":"{limits[0].name}"'):
                held = sum(lease.held for lease in counter.leases.values())
                assert counter.settled + held <= 100 + excess


def test_an_exhausted_budget_leaves_no_process_more_than_one_slice(store: Store) -> None:
    limit = rules(10_000)
    processes = [Process(store, limit) for _ in range(4)]
    turn = itertools.cycle(processes)
    biggest = 0
    while True:
        process = next(turn)
        admitted = process.admit(7)
        if not admitted:
            break
        process.calls.pop()[0].settle(0.0, 7)
        biggest = max(biggest, *(each.unused for each in processes))
    unused = [each.unused for each in processes]
    assert biggest > 100, "while there is plenty, slices are large"
    assert all(each < 100 for each in unused), "when it runs out, small"
    for each in processes:
        each.lease_client.sync()
    settled = sum(counter.settled for key, counter in store.counters().items() if key.startswith(limit[0].name))
    assert settled + sum(unused) + 7 > 10_000, "nothing else is left over"


def test_a_process_serves_most_calls_from_its_slice(store: Store) -> None:
    process = Process(store, rules(1_000_000))
    asked = 0
    exchange = store.exchange

    def counting(*arguments: object) -> object:
        nonlocal asked
        asked += 1
        return exchange(*arguments)  # type: ignore[arg-type]

    store.exchange = counting  # type: ignore[method-assign,assignment]
    for _ in range(5000):
        assert process.admit(10)
        process.calls.pop()[0].settle(0.0, 10)
    assert asked < 50


def test_what_a_process_does_not_use_it_gives_back(store: Store) -> None:
    limit = rules(1000)
    first, second = Process(store, limit), Process(store, limit)
    assert first.admit(900)
    assert not second.admit(900)
    first.calls.pop()[0].settle(0.0, 10)
    assert not second.admit(900), "it is still leased to the first"
    first.lease_client.sync(leave=True)
    assert second.admit(900)


def test_reports_return_what_large_reservations_leave_over(store: Store) -> None:
    process = Process(store, rules(10_000))
    for _ in range(50):
        assert process.admit(100)
    for reservation, _ in process.calls:
        reservation.settle(0.0, 1)
    process.lease_client.sync()
    account = next(iter(process.lease_client.books.accounts.values()))
    assert process.unused <= account.slice
    assert account.standing.settled == 50


@pytest.mark.parametrize(("on_crash", "free"), [("release", 900), ("spend", 0)])
def test_a_crash_releases_or_spends_what_was_reserved(store: Store, on_crash: str, free: int) -> None:
    limit = [budget(name=f"crash {next(_runs)}", tokens=900, per="month", on_crash=on_crash)]
    gone = Process(store, limit, ttl=-1.0)
    assert gone.admit(900)
    alive = Process(store, limit)
    assert alive.admit(900) is (free == 900)


def test_a_call_under_way_keeps_its_reservation_however_long_it_takes(store: Store) -> None:
    process = Process(store, rules(1000), ttl=30.0)
    assert process.admit(10)
    (counter,) = store.counters()

    def requests() -> int:
        (lease,) = store.counters()[counter].leases.values()
        return lease.number

    before = requests()
    process.lease_client.sync()
    assert requests() == before, "there is nothing to report yet"
    process.lease_client.offset += 15
    process.lease_client.sync()
    assert requests() == before + 1
    assert [lease.held for lease in store.counters()[counter].leases.values()] == [10]


def test_a_lease_that_ran_out_is_not_used(store: Store) -> None:
    limit = [budget(name=f"late {next(_runs)}", tokens=1000, per="month")]
    asleep = Process(store, limit, ttl=-1.0)
    assert asleep.admit(10)
    assert asleep.admit(10)
    assert asleep.unused >= 10
    assert Process(store, limit).admit(980)
    assert not asleep.admit(10)


def test_nobody_uses_an_account_that_is_being_given_up(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    process = Process(store, rules(1000))
    assert process.admit(10)
    process.calls.pop()[0].settle(0.0, 10)
    books = process.lease_client.books
    (account,) = books.accounts.values()
    exchange = store.exchange

    def meanwhile(*arguments: Any) -> Any:
        with books.lock:
            assert not books.take([(account, 0)], process.lease_client.now())
        return exchange(*arguments)

    monkeypatch.setattr(store, "exchange", meanwhile)
    process.lease_client.sync(leave=True)
    assert not books.accounts
    with pytest.raises(StaleWindow):
        process.lease_client.reserve([(account, 1)])


def test_what_a_free_call_turns_out_to_cost_counts_after_its_account_was_given_up(store: Store) -> None:
    process = Process(store, rules(1000))
    assert process.admit(0)
    process.lease_client.sync(leave=True)
    assert not process.lease_client.books.accounts
    process.calls.pop()[0].settle(0.0, 7)
    process.lease_client.sync()
    assert sum(counter.settled for counter in store.counters().values()) == 7
