"""Several processes, one after the other and together, tell an alert once."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

import genledger
from genledger.alerting.alert_book import NAME, AlertBook
from genledger.budgets import open_store
from genledger.ledger import Ledger

from ...standins.alert_receiver import AlertReceiver
from ...standins.redis_server import RedisServer
from ..samples import a_call
from .conftest import at, calls_of_days

RULES = """
store = "{store}"
[[alerts.webhook]]
url = "http://{address}/hook"
[[alert]]
kind = "spike"
[[alert]]
kind = "spend"
above = [15, 30, 100000]
form = "plain"
"""


@pytest.fixture
def receiver() -> Iterator[AlertReceiver]:
    server = AlertReceiver()
    yield server
    server.close()


@pytest.fixture
def rule_file(tmp_path: Path, receiver: AlertReceiver) -> Path:
    path = tmp_path / "budgets.toml"
    path.write_text(RULES.format(store=f"sqlite:///{tmp_path / 'budgets.db'}", address=receiver.address))
    return path


@pytest.fixture
def spiked(ledger: Ledger) -> Ledger:
    """A ledger in which the tenant acme has a spike today."""
    now = datetime.now(UTC)
    ledger.write(calls_of_days(35, 20, 10.0, until=now))
    ledger.write([a_call(90.0, started_ns=at(now - timedelta(seconds=2)))])
    return ledger


def command(rule_file: Path, ledger: Ledger, *words: str) -> subprocess.Popen[str]:
    start = [sys.executable, "-c", "from genledger.cli import main; main()", "alerts", "--file", str(rule_file), *words]
    environ = {**os.environ, "GENLEDGER_LEDGER": str(ledger.path)}
    return subprocess.Popen(start, env=environ, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


@pytest.mark.parametrize("kind", ["sqlite", "redis"])
def test_processes_together_and_one_after_the_other_tell_each_alert_once(
    spiked: Ledger, rule_file: Path, receiver: AlertReceiver, kind: str, request: pytest.FixtureRequest
) -> None:
    if kind == "redis":
        server: RedisServer = request.getfixturevalue("redis_server")
        rule_file.write_text(RULES.format(store=f"{server.url}?namespace=processes", address=receiver.address))
    for _ in range(2):
        for process in [command(rule_file, spiked, "run") for _ in range(3)]:
            process.communicate(timeout=300)
    last = command(rule_file, spiked, "run")
    assert last.wait(300) == 0, last.communicate()
    told = [(post.json["rule"], post.json["threshold"]) for post in receiver.taken()]
    assert sorted(told) == [("spend", 15.0), ("spend", 30.0), ("spike", 2.0)]


def test_a_receiver_that_is_down_gets_it_from_a_later_process(
    spiked: Ledger, rule_file: Path, receiver: AlertReceiver
) -> None:
    receiver.status = 503
    first = command(rule_file, spiked, "run")
    _, complaint = first.communicate(timeout=300)
    assert first.returncode == 1
    assert "not every channel has taken every message" in complaint
    receiver.status = 200
    assert command(rule_file, spiked, "run").wait(300) == 0
    assert len(receiver.taken()) == 3


def test_an_application_evaluates_its_rules(
    spiked: Ledger,
    rule_file: Path,
    receiver: AlertReceiver,
    until: Callable[[Callable[[], object]], None],
) -> None:
    genledger.instrument(
        destinations=["ledger"], ledger=spiked.path, budgets=rule_file, alerts_every=1, libraries=["openai"]
    )
    try:
        until(lambda: receiver.posts.qsize() == 3)
    finally:
        genledger.uninstrument()


def test_an_application_without_alert_rules_has_no_thread_for_them(
    ledger: Ledger, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import threading

    path = tmp_path / "budgets.toml"
    path.write_text(f'store = "sqlite:///{tmp_path / "budgets.db"}"\n[[budget]]\nusd = 5\nper = "day"\n')
    genledger.instrument(destinations=["ledger"], ledger=ledger.path, budgets=path, libraries=["openai"])
    try:
        assert "genledger-alert-rules" not in {thread.name for thread in threading.enumerate()}
    finally:
        genledger.uninstrument()


def test_records_that_an_application_lost_are_noted_for_every_evaluation(tmp_path: Path, ledger: Ledger) -> None:
    from genledger.alerting.background import AlertThread

    path = tmp_path / "budgets.toml"
    store = open_store(tmp_path / "budgets.db")
    path.write_text('[[alert]]\nkind = "dropped"\n')
    ledger.write([a_call()])
    lost = iter([5, 5, 12, 12, 12, 12])
    thread = AlertThread(str(path), ledger.path, store, every=0.05, lost=lambda: next(lost, 12))
    thread.start()
    deadline = time.monotonic() + 60
    while sum(AlertBook.read(store.document(NAME)).lost.values()) < 12:
        assert time.monotonic() < deadline
        time.sleep(0.01)
    assert thread.shutdown(60)
    assert sum(AlertBook.read(store.document(NAME)).lost.values()) == 12
