"""A real Redis of a test's own."""

from __future__ import annotations

import shutil
import subprocess
import time
from pathlib import Path

import redis

from .free_port import free_port


class RedisServer:
    """A Redis on a free port, that keeps its state across `kill` and `start`.

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
        """Start it, and wait until it answers."""
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
        _wait_for(self.port)

    def start_cluster(self) -> None:
        """Start as the only node of a cluster, which has all slots."""
        self.start("--cluster-enabled", "yes", "--cluster-port", str(free_port()))
        with self.client as client:
            client.execute_command("CLUSTER", "ADDSLOTSRANGE", 0, 16383)
            deadline = time.monotonic() + 120
            while b"cluster_state:ok" not in client.execute_command("CLUSTER", "INFO"):
                assert time.monotonic() < deadline
                time.sleep(0.01)

    def start_sentinel(self, name: str, master: RedisServer) -> None:
        """Start as the only sentinel of a master."""
        file = self._directory / "sentinel.conf"
        file.write_text(f"sentinel monitor {name} 127.0.0.1 {master.port} 1\n")
        self._process = subprocess.Popen(
            [self._program, str(file), "--sentinel", "--port", str(self.port), "--bind", "127.0.0.1"],
            stdout=subprocess.DEVNULL,
        )
        _wait_for(self.port)

    def kill(self) -> None:
        """End it as a crash would."""
        assert self._process is not None
        self._process.kill()
        self._process.wait()

    @property
    def client(self) -> redis.Redis:
        """A client of it."""
        return redis.Redis(port=self.port)


def _wait_for(port: int) -> None:
    with redis.Redis(port=port) as client:
        deadline = time.monotonic() + 120
        while True:
            try:
                client.ping()
                return
            except redis.ConnectionError:
                assert time.monotonic() < deadline, "redis-server does not answer"
                time.sleep(0.01)
