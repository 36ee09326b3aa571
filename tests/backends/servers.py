"""Servers that are installed in environments of their own, under `.venvs`, and started on free ports."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[2]
WANTED = frozenset(os.environ.get("GENLEDGER_TEST_BACKENDS", "").split(","))


@dataclass
class Backend:
    """A server that runs. `ports` are by what they are for."""

    ports: dict[str, int]

    def url(self, port: str, path: str = "") -> str:
        return f"http://127.0.0.1:{self.ports[port]}{path}"

    def get(self, port: str, path: str) -> Any:
        with urllib.request.urlopen(self.url(port, path), timeout=30) as answer:
            body = answer.read()
        return json.loads(body) if body[:1] in (b"[", b"{") else body.decode()

    def post(self, port: str, path: str, content: Any) -> Any:
        request = urllib.request.Request(
            self.url(port, path), json.dumps(content).encode(), {"content-type": "application/json"}
        )
        with urllib.request.urlopen(request, timeout=60) as answer:
            return json.load(answer)


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def environment(name: str, package: str) -> Path:
    """The programs of a package installed in an environment of its own."""
    home = ROOT / ".venvs" / name
    ready = home / ".ready"
    if not ready.exists():
        subprocess.run([sys.executable, "-m", "venv", home], check=True)
        subprocess.run([home / "bin" / "pip", "install", "--quiet", package], check=True)
        ready.touch()
    return home / "bin"


def serve(
    command: list[Any], directory: Path, ports: dict[str, int], ready: str, **variables: str
) -> Iterator[Backend]:
    backend = Backend(ports)
    log = directory / "log"
    with log.open("w") as output:
        process = subprocess.Popen(
            command, cwd=directory, env={**os.environ, **variables}, stdout=output, stderr=subprocess.STDOUT
        )
        try:
            deadline = time.monotonic() + 300
            while True:
                try:
                    backend.get("http", ready)
                    break
                except OSError:
                    assert process.poll() is None, log.read_text()[-2000:]
                    assert time.monotonic() < deadline, log.read_text()[-2000:]
                    time.sleep(0.5)
            yield backend
        finally:
            process.terminate()
            process.wait(30)
