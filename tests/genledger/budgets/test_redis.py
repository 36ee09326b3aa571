"""What is particular to Redis: clusters, scripts that are forgotten, clients of other kinds."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import redis

from genledger.budgets import BudgetExceeded, BudgetRequest, Guard, budget, open_store
from genledger.budgets.stores.redis import RedisStore

MakeDemand = Callable[..., BudgetRequest]

RULES = [
    budget(name="organization", usd=10, per="month"),
    budget(name="tenant", tenant="each", usd=5, per="month"),
    budget(name="loop {x}", repeats=3),
]


def use(guard: Guard, demand: MakeDemand) -> None:
    guard.admit(demand(3.0, run="r", tool_calls=("f({a})",))).settle(3.0, 1)
    with pytest.raises(BudgetExceeded, match="'tenant'"):
        guard.admit(demand(3.0, run="r"))
    guard.kill(feature="mail", why="x")
    with pytest.raises(BudgetExceeded, match="stopped"):
        guard.admit(demand(0.0, feature="mail"))
    assert guard.flush(60)
    assert sorted(counter.settled for counter in guard.store.counters().values()) == [1, 3_000_000_000, 3_000_000_000]


@pytest.fixture
def cluster(own_redis: Any) -> Iterator[Any]:
    own_redis.kill()
    own_redis.start_cluster()
    connected = redis.RedisCluster("127.0.0.1", own_redis.port)
    yield connected
    connected.close()


def test_a_cluster_takes_every_request(cluster: Any, make_guard: Callable[..., Guard], demand: MakeDemand) -> None:
    use(make_guard(RULES, RedisStore(cluster)), demand)
    slots = {cluster.keyslot(key) for key in cluster.scan_iter()}
    assert len(slots) == 1


@pytest.mark.parametrize("options", [{}, {"decode_responses": True}, {"protocol": 3}])
def test_any_client_will_do(
    own_redis: Any, make_guard: Callable[..., Guard], demand: MakeDemand, options: dict[str, Any]
) -> None:
    client = redis.Redis(port=own_redis.port, **options)
    use(make_guard(RULES, RedisStore(client)), demand)
    client.close()


def test_a_server_that_forgot_the_scripts_is_told_them_again(
    redis_server: Any, make_guard: Callable[..., Guard], demand: MakeDemand
) -> None:
    guard = make_guard(RULES, f"{redis_server.url}?namespace=forgot")
    guard.admit(demand(0.5)).settle(0.5, 1)
    with redis_server.client as client:
        client.script_flush()
    for _ in range(3):
        guard.admit(demand(1.0)).settle(1.0, 1)
    assert guard.flush(60)


def test_every_exchange_is_one_round_trip(
    own_redis: Any, make_guard: Callable[..., Guard], demand: MakeDemand, monkeypatch: pytest.MonkeyPatch
) -> None:
    guard = make_guard(RULES, own_redis.url)
    guard.admit(demand(0.001)).settle(0.001, 1)
    exchange, exchanges = guard.store.exchange, []

    def counted(*asked: Any) -> Any:
        exchanges.append(asked)
        return exchange(*asked)

    monkeypatch.setattr(guard.store, "exchange", counted)
    with own_redis.client as client:
        client.config_resetstat()
        for _ in range(10):
            guard.admit(demand(0.001)).settle(0.001, 1)
            assert guard.flush(60)
        guard.close()
        statistics = client.info("commandstats")
    assert len(exchanges) >= 10
    assert statistics["cmdstat_evalsha"]["calls"] == len(exchanges)
    assert "cmdstat_eval" not in statistics


def test_the_options_of_the_url_reach_the_client(redis_server: Any) -> None:
    store = RedisStore.from_url(f"{redis_server.url}?namespace=mine&client_name=budgets")
    assert store.replace_document("", "x")
    with redis_server.client as client:
        assert client.get("{mine}:document") == b"x"
        assert "budgets" in {connection["name"] for connection in client.client_list()}
    store.close()


def test_a_grant_that_too_few_replicas_have_does_not_count(
    redis_server: Any, make_guard: Callable[..., Guard], demand: MakeDemand
) -> None:
    guard = make_guard(
        [budget(name="closed", usd=1, per="month", on_store_down="closed")],
        f"{redis_server.url}?namespace=alone&replicas=1",
    )
    with pytest.raises(BudgetExceeded, match="the budget store is down"):
        guard.admit(demand(0.5))


def test_without_the_client_the_error_says_what_to_install() -> None:
    code = (
        "import sys; sys.modules['redis'] = None\n"
        "from genledger.budgets import open_store; open_store('redis://localhost/0')\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=600)
    assert done.stderr.splitlines()[-1].startswith("ModuleNotFoundError: ")
    assert "pip install 'genledger[redis]'" in done.stderr


@pytest.mark.parametrize("url", ["memory", "memory:", "memory://"])
def test_memory_is_named_in_any_of_its_ways(url: str) -> None:
    assert type(open_store(url)).__name__ == "MemoryStore"


@pytest.mark.parametrize("form", ["{}", "sqlite:{}", "sqlite:///{}"])
def test_sqlite_is_named_in_any_of_its_ways(tmp_path: Path, form: str) -> None:
    path = tmp_path / "deep" / "budgets.db"
    store = open_store(form.format(path))
    assert store.replace_document("", "x")
    store.close()
    assert path.exists()


def test_another_scheme_is_refused() -> None:
    with pytest.raises(ValueError, match="expected memory"):
        open_store("mysql://host/db")
