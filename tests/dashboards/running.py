"""A Prometheus of a test's own, and the application that it scrapes."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple
from urllib.error import HTTPError, URLError
from urllib.parse import urlencode
from urllib.request import urlopen

from tests.standins.free_port import free_port

ROUNDS = 12
"""Rounds of the application's work before anything is asked: a new series has its amount one scrape after its 0."""

CONFIGURATION = """
global:
  scrape_interval: 1s
scrape_configs:
  - job_name: help-desk
    static_configs:
      - targets: ["127.0.0.1:{port}"]
        labels:
          cluster: eu
"""


def program(name: str) -> str:
    """Return the path of a program that the Debian package `prometheus` has."""
    found = shutil.which(name)
    assert found is not None, f"these tests need {name} on PATH (make services)"
    return found


class Prometheus(NamedTuple):
    """A server that has scraped a real application.

    Attributes:
        url: Of its API.
        ledger: The application's ledger.
        application: What it scrapes.
    """

    url: str
    ledger: Path
    application: subprocess.Popen[str]

    def finish(self) -> None:
        """Let the application end its work, with everything written; it goes on serving its metrics."""
        assert self.application.stdin is not None
        assert self.application.stdout is not None
        self.application.stdin.write("\n")
        self.application.stdin.flush()
        assert "finished\n" in self.application.stdout

    def get(self, path: str, **parameters: Any) -> Any:
        """Return what the API answers."""
        try:
            with urlopen(f"{self.url}/api/v1/{path}?{urlencode(parameters, doseq=True)}", timeout=60) as answer:
                return json.load(answer)["data"]
        except HTTPError as error:
            raise AssertionError(f"{error.read().decode()}: {parameters}") from error

    def instant(self, query: str) -> list[Mapping[str, Any]]:
        """Return the result of a query at this moment."""
        return self.get("query", query=query)["result"]

    def over_time(self, query: str, step_s: int) -> list[Mapping[str, Any]]:
        """Return the result of a query as a panel asks it, from the whole step that was a minute ago."""
        now = time.time()
        start = (now - 60) // step_s * step_s
        return self.get("query_range", query=query, start=start, end=now, step=step_s)["result"]


@contextmanager
def scraping(directory: Path) -> Iterator[Prometheus]:
    """Run the application and Prometheus until a dashboard has something to show."""
    port, listening = free_port(), free_port()
    ledger = directory / "ledger.db"
    configuration = directory / "prometheus.yml"
    configuration.write_text(CONFIGURATION.format(port=port))
    command = [sys.executable, "-m", "tests.dashboards.application", str(port), str(ledger)]
    application = subprocess.Popen(
        command, cwd=Path(__file__).parents[2], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    server = subprocess.Popen(
        [
            program("prometheus"),
            f"--config.file={configuration}",
            f"--storage.tsdb.path={directory / 'data'}",
            f"--web.listen-address=127.0.0.1:{listening}",
            "--log.level=error",
        ]
    )
    try:
        found = Prometheus(f"http://127.0.0.1:{listening}", ledger, application)
        _wait_for(found, server)
        assert application.stdout is not None
        scraped = 0
        for _ in application.stdout:
            scraped += bool(found.instant("genledger_cost_USD_total"))
            if scraped >= ROUNDS:
                break
        else:
            raise AssertionError("the application has ended")
        yield found
    finally:
        application.communicate()
        server.terminate()
        server.wait()


def _wait_for(found: Prometheus, server: subprocess.Popen[bytes]) -> None:
    deadline = time.monotonic() + 120
    while True:
        try:
            with urlopen(f"{found.url}/-/ready", timeout=10):
                return
        except (URLError, ConnectionError):
            assert server.poll() is None, "prometheus has ended"
            assert time.monotonic() < deadline, "prometheus does not answer"
            time.sleep(0.05)
