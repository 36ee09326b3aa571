from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from genledger.alerting.rules import AlertFile, AlertRule
from genledger.budgets import Store, open_store
from genledger.context.attribution import Attribution
from genledger.engine.record import CallRecord
from genledger.ledger import Ledger

from ...standins.redis_server import RedisServer
from ..samples import a_call

NOW = datetime(2026, 11, 30, 12, 0, tzinfo=UTC)
"""A Monday at noon."""


def at(when: datetime) -> int:
    """Return nanoseconds since the epoch."""
    return int(when.timestamp() * 1e9)


def calls_of_days(
    days: int, calls: int, usd: float, tenant: str = "acme", until: datetime = NOW, **fields: Any
) -> list[CallRecord]:
    """Return so many calls on each day before `until`'s, evenly from 8 to 20 o'clock; a day costs `usd` in all."""
    midnight = until.replace(hour=0, minute=0)
    return [
        a_call(
            usd / calls,
            started_ns=at(midnight - timedelta(days=day) + timedelta(hours=8 + 12 * number / calls)),
            attribution=fields.pop("attribution", None) or Attribution(tenant=tenant, feature="copilot"),
            **fields,
        )
        for day in range(1, days + 1)
        for number in range(calls)
    ]


def a_file(*rules: AlertRule, **keys: Any) -> AlertFile:
    """Return what a rule file with these rules would hold."""
    return AlertFile.model_construct(**{"alert": list(rules), **keys})


@pytest.fixture
def ledger(tmp_path: Path) -> Ledger:
    return Ledger(tmp_path / "ledger.db")


@pytest.fixture(scope="session")
def redis_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RedisServer]:
    server = RedisServer(tmp_path_factory.mktemp("redis"))
    yield server
    server.kill()


_namespaces = itertools.count()


@pytest.fixture(params=["memory", "sqlite", "redis"])
def store(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Store]:
    """Each of the stores in turn, empty."""
    if request.param == "redis":
        server = request.getfixturevalue("redis_server")
        opened = open_store(f"{server.url}?namespace=alerts{next(_namespaces)}")
    else:
        opened = open_store("memory" if request.param == "memory" else tmp_path / "budgets.db")
    yield opened
    opened.close()


@pytest.fixture
def until() -> Callable[[Callable[[], object]], None]:
    """Waits until a condition holds."""
    import time

    def wait(condition: Callable[[], object]) -> None:
        deadline = time.monotonic() + 120
        while not condition():
            assert time.monotonic() < deadline
            time.sleep(0.01)

    return wait
