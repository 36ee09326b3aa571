from __future__ import annotations

import contextlib
import itertools
import socket
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from genledger.budgets import BudgetRequest, Guard, Store, open_store
from genledger.context.attribution import Attribution

from ...standins.redis_server import RedisServer


@pytest.fixture(scope="session")
def redis_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RedisServer]:
    server = RedisServer(tmp_path_factory.mktemp("redis"))
    yield server
    server.kill()


@pytest.fixture
def own_redis(tmp_path: Path) -> Iterator[RedisServer]:
    """A Redis that the test may kill."""
    server = RedisServer(tmp_path, appendfsync="always")
    yield server
    server.kill()


_namespaces = itertools.count()


@pytest.fixture(params=["memory", "sqlite", "redis"])
def store(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Store]:
    """Each of the stores in turn, empty."""
    match request.param:
        case "memory":
            opened = open_store("memory")
        case "sqlite":
            opened = open_store(tmp_path / "budgets.db")
        case _:
            server = request.getfixturevalue("redis_server")
            opened = open_store(f"{server.url}?namespace=test{next(_namespaces)}")
    yield opened
    opened.close()


@pytest.fixture(params=["sqlite", "redis"])
def shared_url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """The URL of each store that several processes can share, empty."""
    if request.param == "sqlite":
        return f"sqlite:///{tmp_path / 'budgets.db'}"
    server = request.getfixturevalue("redis_server")
    return f"{server.url}?namespace=test{next(_namespaces)}"


@pytest.fixture
def until() -> Callable[[Callable[[], object]], None]:
    """Waits until a condition holds."""

    def wait(condition: Callable[[], object]) -> None:
        deadline = time.monotonic() + 120
        while not condition():
            assert time.monotonic() < deadline
            time.sleep(0.005)

    return wait


@pytest.fixture
def make_guard() -> Iterator[Callable[..., Guard]]:
    """Makes guards that are closed after the test."""
    made = []

    def make(*args: Any, **options: Any) -> Guard:
        made.append(Guard(*args, **options))
        return made[-1]

    yield make
    for guard in made:
        guard.close()


@pytest.fixture
def demand() -> Callable[..., BudgetRequest]:
    """Makes calls for tenant `acme` that may cost `usd`; keywords replace fields of the demand or attribution."""

    def make(usd: float | None = 1.0, **fields: Any) -> BudgetRequest:
        who = {name: fields.pop(name) for name in ("tenant", "feature", "user", "session") if name in fields}
        values: dict[str, Any] = {"provider": "openai", "operation": "chat", "model": "gpt-5", "cost_ceiling": usd}
        return BudgetRequest(**values | fields, attribution=Attribution(**{"tenant": "acme", **who}))

    return make


@pytest.fixture
def redis_pair(tmp_path: Path) -> Iterator[tuple[RedisServer, RedisServer]]:
    """A Redis and its replica, in step."""
    servers = []
    for name in ("one", "two"):
        (tmp_path / name).mkdir()
        servers.append(RedisServer(tmp_path / name))
    master, replica = servers
    with replica.client as client, master.client as at_master:
        client.execute_command("REPLICAOF", "127.0.0.1", str(master.port))
        deadline = time.monotonic() + 120
        while at_master.execute_command("WAIT", "1", "100") < 1:
            assert time.monotonic() < deadline, "the replica does not follow"
    yield master, replica
    for server in servers:
        server.kill()


class Forwarder:
    """Passes TCP connections on to `port`, which may change: what a virtual address does in a failover."""

    def __init__(self) -> None:
        self.port = 0
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.own_port = self._listener.getsockname()[1]
        threading.Thread(target=self._accept, daemon=True).start()

    def _accept(self) -> None:
        while True:
            try:
                near, _ = self._listener.accept()
            except OSError:
                return
            try:
                far = socket.create_connection(("127.0.0.1", self.port))
            except OSError:
                near.close()
                continue
            for source, sink in ((near, far), (far, near)):
                threading.Thread(target=self._pass_on, args=(source, sink), daemon=True).start()

    @staticmethod
    def _pass_on(source: socket.socket, sink: socket.socket) -> None:
        with contextlib.suppress(OSError):
            while data := source.recv(65536):
                sink.sendall(data)
        for end in (source, sink):
            with contextlib.suppress(OSError):
                end.shutdown(socket.SHUT_RDWR)
            end.close()

    def close(self) -> None:
        self._listener.close()


@pytest.fixture
def forwarder() -> Iterator[Forwarder]:
    forwarder = Forwarder()
    yield forwarder
    forwarder.close()
