from __future__ import annotations

import contextlib
import itertools
import shutil
import socket
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import redis

from genledger.attribution import Attribution
from genledger.budgets import Demand, Guard, Store, open_store


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


class RedisServer:
    """A real Redis of the test's own, on a free port, that keeps its state across `kill` and `start`.

    With `appendfsync everysec`, its default, an answered write may not be in the file yet when the disk is busy.
    """

    def __init__(self, directory: Path, appendfsync: str = "everysec") -> None:
        program = shutil.which("redis-server")
        assert program is not None, "these tests need redis-server on PATH (apt-get install redis-server)"
        self._program = program
        self._directory = directory
        self._appendfsync = appendfsync
        self.port = free_port()
        self.url = f"redis://127.0.0.1:{self.port}/0"
        self._process: subprocess.Popen[bytes] | None = None
        self.start()

    def start(self, *options: str) -> None:
        self._process = subprocess.Popen(
            [
                self._program,
                *("--port", str(self.port), "--bind", "127.0.0.1", "--dir", str(self._directory)),
                *(
                    "--save",
                    "",
                    "--appendonly",
                    "yes",
                    "--appendfsync",
                    self._appendfsync,
                    "--repl-diskless-sync-delay",
                    "0",
                ),
                *("--loglevel", "warning"),
                *options,
            ],
            stdout=subprocess.DEVNULL,
        )
        with redis.Redis(port=self.port) as client:
            deadline = time.monotonic() + 120
            while True:
                try:
                    client.ping()
                    return
                except redis.ConnectionError:
                    assert time.monotonic() < deadline, "redis-server does not answer"
                    time.sleep(0.01)

    def start_cluster(self) -> None:
        """Start as the only node of a cluster."""
        self.start("--cluster-enabled", "yes", "--cluster-port", str(free_port()))

    def kill(self) -> None:
        assert self._process is not None
        self._process.kill()
        self._process.wait()

    @property
    def client(self) -> redis.Redis:
        return redis.Redis(port=self.port)


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
def demand() -> Callable[..., Demand]:
    """Makes calls for tenant `acme` that may cost `usd`; keywords replace fields of the demand or attribution."""

    def make(usd: float | None = 1.0, **fields: Any) -> Demand:
        who = {name: fields.pop(name) for name in ("tenant", "feature", "user", "session") if name in fields}
        values: dict[str, Any] = {"provider": "openai", "operation": "chat", "model": "gpt-5", "cost_ceiling": usd}
        return Demand(**values | fields, attribution=Attribution(**{"tenant": "acme", **who}))

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
