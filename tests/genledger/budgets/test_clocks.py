"""A clock that is set wrong deletes no spending, in any of the stores."""

from __future__ import annotations

import sqlite3
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import redis
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from genledger.budgets import Store
from genledger.budgets.leases.lease_protocol import LONGEST_PAUSE, MARGIN, Age, Ask, Counter, exchange
from genledger.budgets.stores.memory import CROWDED, MemoryStore
from genledger.budgets.stores.redis import FORGET_EVERY, RedisStore
from genledger.budgets.stores.sqlite import SQLiteStore

HOUR, DAY = 3600.0, 86400.0


NOTHING = Ask("", "", 1000, 0, 0, 0, 0, 0.0, 0.0, 0.0, 0.0, HOUR, True, False, False, "{}")


def ask(counter: str, lease: str, **fields: Any) -> Ask:
    return NOTHING._replace(counter=counter, lease=lease, **fields)


class Clocks:
    """What the clock on the wall and the stopwatch show, in every store that is opened here.

    `ahead` is by how many seconds the first is wrong, `passed` how many have passed beyond the test's own.
    """

    def __init__(self, open_store: Callable[[Clocks], Store], monkeypatch: pytest.MonkeyPatch) -> None:
        self.ahead = 0.0
        self.passed = 0.0
        self._open_store = open_store
        monotonic = time.monotonic
        monkeypatch.setattr("genledger.budgets.leases.lease_protocol.time.monotonic", lambda: monotonic() + self.passed)

    @property
    def offset(self) -> float:
        return self.ahead + self.passed

    def open(self) -> Store:
        """The one store, as a process has it."""
        return self._open_store(self)

    def run(self, store: Store, seconds: float) -> None:
        """Let time pass while the store is in use."""
        for _ in range(int(seconds // LONGEST_PAUSE) + 1):
            self.passed += LONGEST_PAUSE
            store.exchange(1, 60.0, ())


@pytest.fixture(params=["memory", "sqlite", "redis"])
def clocks(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Clocks:
    match request.param:
        case "memory":
            memory = MemoryStore()
            wall = time.time
            clocks = Clocks(lambda _: memory, monkeypatch)
            monkeypatch.setattr(time, "time", lambda: wall() + clocks.offset)
        case "sqlite":
            clocks = Clocks(lambda _: SQLiteStore(str(tmp_path / "budgets.db")), monkeypatch)
            connect, wall = sqlite3.connect, time.time

            def connect_wrongly(*arguments: Any, **options: Any) -> sqlite3.Connection:
                connection = connect(*arguments, **options)
                connection.create_function("julianday", 1, lambda _: 2440587.5 + (wall() + clocks.offset) / DAY)
                return connection

            monkeypatch.setattr(sqlite3, "connect", connect_wrongly)
        case _:
            server = request.getfixturevalue("own_redis")
            clocks = Clocks(lambda clocks: RedisStore(WrongRedis(server.port, clocks)), monkeypatch)
    return clocks


class WrongRedis(redis.Redis):
    """A Redis whose clock is wrong: it has its scripts run with another one."""

    def __init__(self, port: int, clocks: Clocks) -> None:
        super().__init__(port=port)
        self._clocks = clocks

    def execute_command(self, *words: Any, **options: Any) -> Any:
        if words[0] == "EVALSHA":
            raise redis.exceptions.NoScriptError
        if words[0] == "EVAL":
            skewed = f"{{ tostring(redis.call('TIME')[1] + {self._clocks.offset:.0f}), '0' }}"
            words = ("EVAL", words[1].replace("redis.call('TIME')", skewed), *words[2:])
        return super().execute_command(*words, **options)


def crowd(store: Store, name: str, **fields: Any) -> None:
    """Have more counters than a store in memory keeps without looking for those that are over."""
    for first in range(0, 4 * CROWDED, 64):
        store.exchange(1, 60.0, [ask(f"{name} {number}", "c", **fields) for number in range(first, first + 64)])


def settled(store: Store, counter: str, **fields: Any) -> int:
    """What the store would count if somebody asked now."""
    return store.exchange(1, -DAY, [ask(counter, f"reader {time.perf_counter_ns()}", **fields)]).standings[0].settled


def test_an_exchange_by_a_clock_two_days_ahead_deletes_no_window(clocks: Clocks) -> None:
    right = clocks.open()
    end = right.now() + HOUR
    right.exchange(1, 60.0, [ask("today", "a", total=70, end=end)])
    clocks.ahead = 2 * DAY
    crowd(clocks.open(), "in two days", total=5, end=end + 2 * DAY)
    clocks.ahead = 0.0
    assert settled(clocks.open(), "today", end=end) == 70
    assert right.counters()["today"].settled == 70


def test_nor_does_it_take_anything_out_of_a_rolling_window(clocks: Clocks) -> None:
    rolling = {"span": HOUR, "part": HOUR / 60, "kept": 2 * HOUR}
    store = clocks.open()
    store.exchange(1, 60.0, [ask("rolling", "a", total=70, **rolling)])
    clocks.ahead = 2 * DAY
    assert settled(clocks.open(), "rolling", **rolling) == 0
    wrong = clocks.open()
    for number in range(1, 60):
        wrong.exchange(number, 60.0, [ask("rolling", "b", total=number, **rolling)])
        clocks.ahead += rolling["part"]
    clocks.ahead = 0.0
    # What was spent by the wrong clock is in the window, too: it was spent just now.
    assert settled(clocks.open(), "rolling", **rolling) == 70 + 59


@pytest.mark.parametrize("window", [{"end": 4e9}, {"span": HOUR, "part": HOUR / 60}, {"kept": 7 * DAY}])
def test_nor_does_it_have_anything_counted_twice(clocks: Clocks, window: dict[str, Any]) -> None:
    store = clocks.open()
    store.exchange(1, 60.0, [ask("c", "a", total=70, hold=5, **window)])
    clocks.ahead = 2 * DAY
    clocks.open().exchange(1, 60.0, [ask("c", "b", **window)])
    clocks.ahead = 0.0
    store.exchange(2, 60.0, [ask("c", "a", total=71, hold=4, **window)])
    assert settled(clocks.open(), "c", **window) == 71


def test_a_clock_that_goes_back_and_forth_deletes_no_window(clocks: Clocks) -> None:
    right, end = clocks.open(), time.time() + HOUR
    right.exchange(1, 60.0, [ask("today", "a", total=70, end=end)])
    for ahead in (2, 400, -3, 30, 0, 2) * 3:
        clocks.ahead = ahead * DAY
        store = clocks.open()
        for number in range(3):
            store.exchange(number, 60.0, [ask(f"{ahead}", f"{number}", total=5, end=end + ahead * DAY)])
    clocks.ahead = 0.0
    assert settled(clocks.open(), "today", end=end) == 70


def test_a_window_that_is_over_by_both_clocks_is_forgotten(clocks: Clocks) -> None:
    store, end = clocks.open(), time.time() + HOUR
    store.exchange(1, 60.0, [ask("today", "a", total=70, end=end)])
    crowd(store, "today", total=70, end=end)
    clocks.run(store, 2 * HOUR + MARGIN + FORGET_EVERY)
    crowd(store, "tomorrow", total=5, end=end + DAY)
    assert settled(store, "today", end=end) == settled(store, "today 7", end=end) == 0


def test_a_window_is_kept_when_nobody_saw_the_time_pass(clocks: Clocks) -> None:
    store, end = clocks.open(), time.time() + HOUR
    store.exchange(1, 60.0, [ask("today", "a", total=70, end=end)])
    clocks.passed += 3 * DAY  # a machine that slept, or not
    crowd(clocks.open(), "in three days", total=5, end=end + 3 * DAY)
    clocks.passed -= 3 * DAY
    assert settled(clocks.open(), "today", end=end) == 70


@pytest.mark.parametrize("ahead", [2 * DAY, 20 * DAY])
def test_a_mark_that_was_set_stays_set(clocks: Clocks, ahead: float) -> None:
    store = clocks.open()
    assert store.mark("80 % of today", 2 * HOUR)
    clocks.ahead = ahead
    assert clocks.open().mark("80 % of another day", 2 * HOUR)
    clocks.ahead = 0.0
    assert not clocks.open().mark("80 % of today", 2 * HOUR)


requests = st.lists(st.tuples(st.integers(0, 3), st.floats(0, 5 * LONGEST_PAUSE)), min_size=1, max_size=60)


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow])
@given(requests=requests, pause=st.floats(0, 100 * LONGEST_PAUSE))
def test_the_age_of_a_store_never_runs_ahead_of_time(
    requests: list[tuple[int, float]], pause: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    now = 0.0
    monkeypatch.setattr("genledger.budgets.leases.lease_protocol.time.monotonic", lambda: now)
    processes = [Age() for _ in range(4)]
    age = 0.0
    ages = [(now, age)]
    for place, (who, seconds) in enumerate(requests):
        now += seconds + (pause if place == len(requests) // 2 else 0.0)
        age = processes[who].hear(age)
        ages.append((now, age))
    for place, (begin, before) in enumerate(ages):
        for end, after in ages[place:]:
            assert before <= after <= before + (end - begin) + LONGEST_PAUSE + 1e-6


def test_the_age_of_a_store_in_use_keeps_up_with_time(monkeypatch: pytest.MonkeyPatch) -> None:
    now = 0.0
    monkeypatch.setattr("genledger.budgets.leases.lease_protocol.time.monotonic", lambda: now)
    processes, age = [Age(), Age()], 0.0
    for _ in range(1000):
        now += 10.0
        for process in processes:
            age = process.hear(age)
    assert age == pytest.approx(now - 10.0)


@given(
    spending=st.lists(st.tuples(st.integers(0, 59), st.booleans()), max_size=130, unique=True),
    offset=st.integers(-10_000, 10_000),
)
def test_no_part_is_deleted_as_long_as_it_is_in_the_window_by_one_of_two_clocks(
    spending: list[tuple[int, bool]], offset: int
) -> None:
    """In every part of one window something is spent by the right clock, by a wrong one, or by both."""
    counters: dict[str, Counter] = {}
    span = 60.0
    for number, (part, wrong) in enumerate(sorted(spending), 1):
        line = ask("c", f"{wrong}", total=number, span=span, part=1.0)
        exchange(counters, number, 1000.0, [line], 1e6 + part + offset * wrong)
    right = exchange(counters, 10**6, 1000.0, [ask("c", "r", span=span, part=1.0)], 1e6 + 59.5)
    spent: dict[bool, int] = {False: 0, True: 0}
    by_right = 0
    for number, (_, wrong) in enumerate(sorted(spending), 1):
        if not wrong:
            by_right += number - spent[wrong]
        spent[wrong] = number
    assert right.standings[0].settled >= by_right
