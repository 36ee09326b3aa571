from __future__ import annotations

import http.server
import os
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from queue import SimpleQueue
from typing import Any

import orjson
import pytest
from typer.testing import CliRunner

from genledger.budgets import BudgetEvent, BudgetExceeded, BudgetRequest, Guard, Store, budget, open_store
from genledger.budgets.budget_alerts import Alerts, notice_of
from genledger.budgets.rules.rule_file import Rulebook
from genledger.channels.outbox import Targets
from genledger.cli.budgets import app

MakeGuard = Callable[..., Guard]
MakeDemand = Callable[..., BudgetRequest]


def spend(guard: Guard, demand: MakeDemand, usd: float) -> None:
    guard.admit(demand(usd)).settle(usd, 1)
    assert guard.flush(60)


def test_every_threshold_is_reported_once(store: Store, make_guard: MakeGuard, demand: MakeDemand) -> None:
    events: list[BudgetEvent] = []
    guard = make_guard([budget(name="b", tenant="each", usd=10, per="month")], store, on_event=events.append)
    for usd in (4.0, 1.0, 0.5, 2.0):
        spend(guard, demand, usd)
    spend(guard, demand, 1.5)
    with pytest.raises(BudgetExceeded):
        guard.admit(demand(5.0))
    with pytest.raises(BudgetExceeded):
        guard.admit(demand(5.0))
    guard.close(120)
    assert [(event.percent, event.spent) for event in events] == [(50, 5.0), (80, 9.0), (100, 9.0)]
    assert (events[0].rule, events[0].scope, events[0].limit, events[0].window) == ("b", "tenant=acme", 10.0, "month")
    assert events[0].text == "tenant=acme has used $5.00 of $10.00 per month (budget 'b', 50 %)."


def test_a_jump_over_two_thresholds_reports_both(make_guard: MakeGuard, demand: MakeDemand) -> None:
    events: list[BudgetEvent] = []
    guard = make_guard([budget(usd=10, per="month", alert_at=[10, 20, 90])], "memory", on_event=events.append)
    spend(guard, demand, 5.0)
    guard.close(120)
    assert [event.percent for event in events] == [10, 20]


PROGRAM = """
import os, sys
from genledger.budgets import BudgetRequest, Guard, budget, open_store
open_store(sys.argv[1])  # loads what the children need

def process():
    guard = Guard([budget(name="b", usd=10, per="month")], sys.argv[1], on_event=lambda event: print(event.percent))
    guard.admit(BudgetRequest("openai", "chat", "gpt-5", cost_ceiling=1.0)).settle(1.0, 1)
    guard.close(120)

for _ in range(4):
    children = []
    for _ in range(2):
        child = os.fork()
        if child == 0:
            process()
            sys.stdout.flush()
            os._exit(0)
        children.append(child)
    for child in children:
        os.waitpid(child, 0)
"""


def test_processes_and_restarts_report_a_threshold_once(shared_url: str) -> None:
    done = subprocess.run([sys.executable, "-c", PROGRAM, shared_url], capture_output=True, text=True, timeout=300)
    assert sorted(done.stdout.split(), key=int) == ["50", "80"], done.stderr


class Receiver:
    def __init__(self) -> None:
        self.bodies: SimpleQueue[Any] = SimpleQueue()
        self.status = 200
        receiver = self

        class Handler(http.server.BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["Content-Length"]))
                self.send_response(receiver.status)
                self.end_headers()
                receiver.bodies.put(orjson.loads(body))

            def log_message(self, *_: object) -> None:
                pass

        self.server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        threading.Thread(target=self.server.serve_forever, daemon=True).start()
        self.url = f"json://127.0.0.1:{self.server.server_port}/budgets"


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    receiver = Receiver()
    yield receiver
    receiver.server.shutdown()
    receiver.server.server_close()


def test_a_webhook_is_told(make_guard: MakeGuard, demand: MakeDemand, receiver: Receiver) -> None:
    pytest.importorskip("apprise")
    book = Rulebook((budget(name="b", usd=10, per="month"),), alerts=Targets((receiver.url,)))
    guard = make_guard(book, "memory")
    spend(guard, demand, 5.0)
    body = receiver.bodies.get(timeout=600)
    assert body["title"] == "Budget b: 50 %"
    assert body["message"] == "organization has used $5.00 of $10.00 per month (budget 'b', 50 %)."


def test_a_webhook_that_alerts_use_is_told_of_budgets_too(
    make_guard: MakeGuard, demand: MakeDemand, receiver: Receiver
) -> None:
    targets = Targets(webhooks=((receiver.url.replace("json://", "http://"), None),))
    guard = make_guard(Rulebook((budget(name="b", usd=10, per="month"),), alerts=targets), "memory")
    spend(guard, demand, 5.0)
    body = receiver.bodies.get(timeout=600)
    assert {
        key: body[key] for key in ("schema", "kind", "rule", "state", "scope", "value", "limit", "unit", "percent")
    } == {
        "schema": "genledger.alert/1",
        "kind": "budget",
        "rule": "b",
        "state": "firing",
        "scope": "organization",
        "value": 5.0,
        "limit": 10.0,
        "unit": "USD",
        "percent": 50,
    }


def test_an_alert_is_one_line_of_plain_text_whatever_things_are_called(
    make_guard: MakeGuard, demand: MakeDemand, receiver: Receiver
) -> None:
    pytest.importorskip("apprise")
    rule = budget(name="b\n<b>x</b>\x1b[2J", model="each", usd=10, per="month", alert_at=[50])
    guard = make_guard(Rulebook((rule,), alerts=Targets((f"{receiver.url}?format=html",))), "memory")
    guard.admit(demand(5.0, model="m\n<script>\u202e" + "x" * 100_000)).settle(5.0, 1)
    assert guard.flush(60)
    body = receiver.bodies.get(timeout=20)
    for text in (body["title"], body["message"]):
        assert text.isprintable()
        assert len(text) < 4000
    assert "&lt;script&gt;" in body["message"]


def test_an_alert_that_cannot_be_sent_is_tried_again_by_whoever_comes_next(
    make_guard: MakeGuard, demand: MakeDemand, receiver: Receiver, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("apprise")
    # The claim of a delivery that fails lasts a minute; here it is over at once.
    monkeypatch.setattr("genledger.channels.outbox.CLAIM_SECONDS", 0.001)
    book = Rulebook((budget(name="b", usd=10, per="month"),), alerts=Targets((receiver.url,)))
    guard = make_guard(book, "memory")
    receiver.status = 500
    spend(guard, demand, 5.0)
    receiver.bodies.get(timeout=600)
    receiver.status = 200
    while receiver.bodies.empty():
        spend(guard, demand, 0.001)
    guard.close(120)
    delivered = receiver.bodies.get()
    assert delivered["title"] == "Budget b: 50 %"


SHORT = """
import sys, time
from genledger.budgets import BudgetRequest, Guard, open_store
guard = Guard(sys.argv[1])
usd = 5.0 if "leave" in sys.argv else 0.1
guard.admit(BudgetRequest("openai", "chat", "gpt-5", cost_ceiling=usd)).settle(usd, 1)
guard.flush()
if "leave" in sys.argv:
    deadline = time.monotonic() + 120
    while not guard.store.owed():
        assert time.monotonic() < deadline
        time.sleep(0.01)
    guard.close(0)
"""
"""A process that ends soon; told to leave an alert, it uses up half of the budget, and ends when that is noted."""


@pytest.fixture
def rule_file(shared_url: str, receiver: Receiver, tmp_path: Path) -> Path:
    pytest.importorskip("apprise")
    path = tmp_path / "budgets.toml"
    path.write_text(
        f'store = "{shared_url}"\n[alerts]\nto = ["{receiver.url}"]\n'
        '[[budget]]\nname = "b"\nusd = 10\nper = "month"\nalert_at = [50]\n'
    )
    return path


def short(rule_file: Path, *words: str, path: str = "") -> subprocess.Popen[str]:
    environ = {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, [path, os.environ.get("PYTHONPATH")]))}
    command = [sys.executable, "-c", SHORT, str(rule_file), *words]
    return subprocess.Popen(command, env=environ, stderr=subprocess.PIPE, text=True)


def leave_one(rule_file: Path, tmp_path: Path) -> None:
    """Let a process end before it has loaded what sends alerts."""
    (tmp_path / "slow").mkdir()
    (tmp_path / "slow" / "apprise.py").write_text("import time\ntime.sleep(3600)\n")
    ended = short(rule_file, "leave", path=str(tmp_path / "slow"))
    assert ended.wait(120) == 0


def deliver_by_process(rule_file: Path) -> None:
    assert short(rule_file).wait(120) == 0


def deliver_by_command(rule_file: Path) -> None:
    assert CliRunner().invoke(app, ["--file", str(rule_file), "--json"]).exit_code == 0


@pytest.mark.parametrize("deliver", [deliver_by_process, deliver_by_command])
def test_what_a_process_could_not_deliver_is_delivered_once_by_the_next(
    deliver: Callable[[Path], None], rule_file: Path, receiver: Receiver, tmp_path: Path
) -> None:
    leave_one(rule_file, tmp_path)
    assert receiver.bodies.empty()
    deliver(rule_file)
    assert receiver.bodies.get(timeout=600)["title"] == "Budget b: 50 %"
    deliver(rule_file)
    assert receiver.bodies.empty()


def test_of_several_processes_that_come_next_one_delivers(rule_file: Path, receiver: Receiver, tmp_path: Path) -> None:
    leave_one(rule_file, tmp_path)
    together = [short(rule_file) for _ in range(3)]
    for process in together:
        assert process.wait(120) == 0
    assert receiver.bodies.get(timeout=600)["title"] == "Budget b: 50 %"
    assert receiver.bodies.empty()


def test_an_alert_about_a_window_that_is_long_over_is_forgotten(
    store: Store, receiver: Receiver, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("apprise")
    over = BudgetEvent(
        "b", "organization", "usd", 50, 5.0, 10.0, "day", None, datetime.now(UTC) - timedelta(days=2), "over"
    )
    store.owe("over|50", 3600.0, notice_of(over, store.now()).dump())
    assert Alerts(store, Targets((receiver.url,)), None).deliver()
    assert store.owed() == {}
    assert receiver.bodies.empty()


def test_a_listener_that_fails_harms_nothing(
    make_guard: MakeGuard, demand: MakeDemand, caplog: pytest.LogCaptureFixture
) -> None:
    def broken(event: BudgetEvent) -> None:
        raise ZeroDivisionError

    guard = make_guard([budget(usd=10, per="month")], open_store("memory"), on_event=broken)
    spend(guard, demand, 5.0)
    guard.admit(demand(1.0)).settle(1.0, 1)
    guard.close(120)
    assert "on_budget_event failed" in caplog.text
