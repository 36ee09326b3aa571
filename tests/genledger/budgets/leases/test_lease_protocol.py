"""The stores' one rule: what they grant, and that all three do the same."""

from __future__ import annotations

import itertools
import time
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from genledger.budgets.leases.lease_protocol import Ask, Counter, Standing, exchange
from genledger.budgets.stores import Store, open_store
from genledger.budgets.stores.memory import MemoryStore

FAR = 4e9
_counters = itertools.count()


def ask(lease: str, counter: str, limit: int, **fields: Any) -> Ask:
    values: dict[str, Any] = {
        "total": 0,
        "hold": 0,
        "need": 0,
        "want": 0,
        "start": 0.0,
        "end": FAR,
        "span": 0.0,
        "part": 0.0,
        "kept": 60.0,
        "firm": True,
        "charge": False,
        "leave": False,
        "meta": "{}",
    }
    return Ask(counter, lease, limit, **values | fields)


class Holder:
    """A process as the store sees it: what it settled and holds in each counter."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.number = 0
        self.total: dict[str, int] = {}
        self.held: dict[str, int] = {}

    def request(self, lines: list[tuple[str, int, int, int, int]]) -> list[Ask]:
        """Lines of (counter, limit, settle at most, need, want)."""
        self.number += 1
        asks = []
        for counter, limit, settle, need, want in lines:
            settled = min(settle, self.held.get(counter, 0))
            self.total[counter] = self.total.get(counter, 0) + settled
            self.held[counter] = self.held.get(counter, 0) - settled
            asks.append(
                ask(self.name, counter, limit, total=self.total[counter], hold=self.held[counter], need=need, want=want)
            )
        return asks

    def heard(self, asks: list[Ask], standings: tuple[Standing, ...]) -> None:
        for line, standing in zip(asks, standings, strict=True):
            self.held[line.counter] = standing.held


AMOUNTS = st.integers(min_value=0, max_value=40)
LINES = st.lists(
    st.tuples(st.integers(0, 2), AMOUNTS, AMOUNTS, AMOUNTS), min_size=1, max_size=3, unique_by=lambda line: line[0]
)
STEPS = st.lists(st.tuples(st.integers(0, 3), LINES, st.booleans()), max_size=30)
LIMITS = (100, 60, 30)


@pytest.mark.parametrize("kind", ["memory", "sqlite", "redis"])
@settings(
    max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow]
)
@given(steps=STEPS)
def test_nothing_is_ever_granted_beyond_a_limit(kind: str, steps: Any, stores: dict[str, Store]) -> None:
    store = stores[kind]
    names = [f"c{next(_counters)}" for _ in LIMITS]
    holders = [Holder(f"h{index}") for index in range(4)]
    twin = MemoryStore()
    for who, lines, lost in steps:
        holder = holders[who]
        asks = holder.request([(names[at], LIMITS[at], settle, need, want) for at, settle, need, want in lines])
        before = {name: holder.held.get(name, 0) for name in names}
        reply = store.exchange(holder.number, 1000.0, asks)
        same = twin.exchange(holder.number, 1000.0, asks)
        assert (reply.granted, reply.stale, reply.standings) == (same.granted, same.stale, same.standings)
        for line, standing in zip(asks, reply.standings, strict=True):
            assert standing.settled + standing.others + standing.held <= line.limit
            if reply.granted:
                assert standing.held >= before[line.counter] + line.need
            else:
                assert standing.held == before[line.counter]
        # A lost answer leaves the holder with what it knew; the store may think that it holds more.
        if not lost:
            holder.heard(asks, reply.standings)
    settled = {name: sum(holder.total.get(name, 0) for holder in holders) for name in names}
    assert {name: counter.settled for name, counter in store.counters().items() if name in names} == {
        name: settled[name] for name in names if any(name in holder.total for holder in holders)
    }


@pytest.fixture(scope="module")
def stores(redis_server: Any, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Store]:
    return {
        "memory": MemoryStore(),
        "sqlite": open_store(tmp_path_factory.mktemp("exchange") / "budgets.db"),
        "redis": open_store(f"{redis_server.url}?namespace=exchange"),
    }


def test_a_request_that_is_repeated_changes_nothing(store: Store) -> None:
    request = [ask("h", "c", 100, total=30, hold=10, need=20, want=20)]
    first = store.exchange(1, 60.0, request)
    assert store.exchange(1, 60.0, request).standings == first.standings
    assert store.counters()["c"].settled == 30


def test_a_request_that_arrives_late_is_ignored(store: Store) -> None:
    store.exchange(1, 60.0, [ask("h", "c", 100, need=50)])
    store.exchange(3, 60.0, [ask("h", "c", 100, total=20, hold=0)])
    late = store.exchange(2, 60.0, [ask("h", "c", 100, hold=50)])
    assert late.standings == ()
    assert not late.granted
    counter = store.counters()["c"]
    assert (counter.settled, counter.leases["h"].held) == (20, 0)


def test_one_rule_without_room_leaves_every_other_untouched(store: Store) -> None:
    reply = store.exchange(1, 60.0, [ask("h", "roomy", 100, need=50), ask("h", "tight", 10, need=50)])
    assert not reply.granted
    assert [standing.refused for standing in reply.standings] == [False, True]
    assert [counter.leases["h"].held for counter in store.counters().values()] == [0, 0]


def test_what_settles_beyond_what_was_held_counts_at_once(store: Store) -> None:
    store.exchange(1, 60.0, [ask("a", "c", 100, need=50)])
    reply = store.exchange(2, 60.0, [ask("a", "c", 100, total=130)])
    assert reply.standings[0].settled == 130
    assert store.exchange(1, 60.0, [ask("b", "c", 100, need=1)]).standings[0].refused


def test_a_rule_that_only_warns_counts_beyond_its_limit(store: Store) -> None:
    reply = store.exchange(1, 60.0, [ask("h", "c", 10, need=50, want=50, firm=False)])
    assert reply.granted
    assert reply.standings[0].held == 50


def test_slices_shrink_as_the_budget_runs_out(store: Store) -> None:
    slices = []
    for number in range(12):
        reply = store.exchange(1, 60.0, [ask(f"h{number}", "c", 1000, need=1, want=1000)])
        slices.append(reply.standings[0].held)
    assert slices == sorted(slices, reverse=True)
    assert slices[0] == 500
    assert sum(slices) < 1000


@pytest.mark.parametrize(("charge", "settled"), [(False, 0), (True, 40)])
def test_the_lease_of_a_process_that_vanished_is_taken_back_or_counted_as_spent(
    store: Store, charge: bool, settled: int
) -> None:
    # A lease that lasts a negative time has run out already.
    store.exchange(1, -1.0, [ask("gone", "c", 100, need=40, charge=charge)])
    reply = store.exchange(1, 60.0, [ask("alive", "c", 100, need=1)])
    assert (reply.standings[0].settled, reply.standings[0].others) == (settled, 0)
    assert store.exchange(1, 60.0, [ask("third", "c", 100)]).standings[0].settled == settled


def test_a_process_that_was_only_asleep_is_not_counted_twice(store: Store) -> None:
    store.exchange(1, -1.0, [ask("sleeper", "c", 100, total=30, hold=20)])
    store.exchange(1, 60.0, [ask("other", "c", 100, need=10)])
    store.exchange(2, 60.0, [ask("sleeper", "c", 100, total=45, hold=5)])
    assert store.counters()["c"].settled == 45


def test_a_lease_that_is_given_up_twice_counts_once(store: Store) -> None:
    store.exchange(1, 60.0, [ask("h", "c", 100, need=40)])
    for _ in range(2):
        store.exchange(2, 60.0, [ask("h", "c", 100, total=25, leave=True)])
    store.exchange(3, 60.0, [ask("h", "c", 100, total=25, leave=True)])
    counter = store.counters()["c"]
    assert (counter.settled, [lease.held for lease in counter.leases.values()]) == (25, [0])


def test_a_lease_that_was_given_up_is_forgotten_a_minute_later() -> None:
    counters: dict[str, Counter] = {}
    exchange(counters, 1, 60.0, [ask("h", "c", 100, total=25, leave=True)], 1000.0, 0.0)
    exchange(counters, 1, 60.0, [ask("i", "c", 100)], 1059.0, 59.0)
    assert set(counters["c"].leases) == {"h", "i"}
    exchange(counters, 2, 60.0, [ask("i", "c", 100)], 1060.0, 60.0)
    assert set(counters["c"].leases) == {"i"}


def test_a_lease_long_expired_is_forgotten(store: Store) -> None:
    store.exchange(1, -4000.0, [ask("gone", "c", 100, need=40)])
    store.exchange(1, 60.0, [ask("alive", "c", 100)])
    assert set(store.counters()["c"].leases) == {"alive"}


@pytest.mark.parametrize("bounds", [(0.0, 1.0), (FAR, FAR + 1)])
def test_a_window_that_is_not_the_stores_current_one_grants_nothing_but_takes_reports(
    store: Store, bounds: tuple[float, float]
) -> None:
    start, end = bounds
    reply = store.exchange(1, 60.0, [ask("h", "c", 100, total=7, need=1, start=start, end=end, kept=FAR)])
    assert (reply.granted, reply.stale) == (False, True)
    assert store.counters()["c"].settled == 7


def test_spending_leaves_a_rolling_window(store: Store) -> None:
    rolling = {"end": 0.0, "span": 0.05, "part": 0.05 / 60}
    store.exchange(1, 60.0, [ask("h", "c", 100, total=100, **rolling)])
    frees_at = store.exchange(1, 60.0, [ask("i", "c", 100, **rolling)]).standings[0].frees_at
    _until(lambda: store.exchange(2, 60.0, [ask("h", "c", 100, total=100, need=100, **rolling)]).granted)
    assert store.now() >= frees_at


def _until(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 120
    while not condition():
        assert time.monotonic() < deadline


@given(
    st.lists(st.tuples(st.floats(0, 200), st.integers(1, 30)), min_size=1, max_size=40),
    st.floats(min_value=0, max_value=200),
)
def test_no_span_of_a_rolling_window_ever_holds_more_than_the_limit(
    calls: list[tuple[float, int]], begin: float
) -> None:
    span, limit = 60.0, 100
    counters: dict[str, Counter] = {}
    spent: list[tuple[float, int]] = []
    total = 0
    for number, (moment, amount) in enumerate(sorted(calls), 1):
        line = ask("h", "c", limit, total=total, need=amount, end=0.0, span=span, part=span / 60)
        if exchange(counters, 2 * number, 1000.0, [line], moment).granted:
            total += amount
            spent.append((moment, amount))
            exchange(counters, 2 * number + 1, 1000.0, [line._replace(total=total, need=0)], moment)
    assert sum(amount for moment, amount in spent if begin < moment <= begin + span) <= limit


def test_the_document_is_replaced_only_by_those_who_read_it_last(store: Store) -> None:
    assert store.document() == ""
    assert store.replace_document("", "one")
    assert not store.replace_document("", "two")
    assert store.replace_document("one", "three")
    assert store.document() == "three"


def test_a_mark_is_set_by_one(store: Store) -> None:
    assert store.mark("m", 60.0)
    assert not store.mark("m", 60.0)
    assert store.mark("m", 60.0, again=True)
    assert store.mark("brief", 0.001)
    _until(lambda: store.mark("brief", 60.0))


def test_a_mark_of_no_time_is_gone(store: Store) -> None:
    assert store.mark("m", 60.0)
    store.mark("m", 0.0, again=True)
    assert store.mark("m", 60.0)


def test_an_event_is_owed_once_until_it_is_delivered(store: Store) -> None:
    assert store.owed() == {}
    store.owe("b|50", 60.0, "first")
    store.owe("b|50", 60.0, "second")
    store.owe("b|80", 60.0, "third")
    assert store.owed() == {"b|50": "first", "b|80": "third"}
    store.forget_owed("b|50")
    store.owe("b|50", 60.0, "again")
    assert store.owed() == {"b|80": "third"}
    assert not store.mark("b|50", 60.0)


def test_a_counter_is_forgotten_after_its_time(store: Store) -> None:
    store.exchange(1, 60.0, [ask("h", "brief", 10, total=5, end=0.0, kept=0.001)])
    _until(lambda: "brief" not in store.counters())
