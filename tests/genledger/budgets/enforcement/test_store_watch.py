"""Processes without rules: no file, no thread, and a kill switch that stops them all the same."""

from __future__ import annotations

import os
import time
from pathlib import Path

import pytest
from examples.demo.provider import DemoProvider

from genledger.budgets import kill, open_store, revive
from genledger.budgets.enforcement.kill_switch import set_budget
from genledger.budgets.enforcement.store_watch import StoreWatch

from ...applications import run

APPLICATION = """
import pathlib, subprocess, sys, threading, time
import openai, genledger

genledger.instrument(libraries=["openai"], destinations=[])
client = openai.OpenAI(max_retries=0)

def call():
    client.chat.completions.create(model="gpt-4.1-mini", messages=[{"role": "user", "content": "Say hello."}])

def ours():
    return sorted(thread.name for thread in threading.enumerate() if thread.name.startswith("genledger-"))

call()
time.sleep(1.1)
call()
print("threads", ours())
print("files", sorted(str(path.name) for path in pathlib.Path.home().rglob("*budgets*")))
print("models of rules", "genledger.budgets.rules.rule" in sys.modules)
genledger_command = [sys.executable, "-c", "from genledger.cli import main; main()"]
subprocess.run([*genledger_command, "kill", "model=gpt-*", "--why", "a loop"], check=True, stdout=subprocess.DEVNULL)
deadline = time.monotonic() + 60
try:
    while time.monotonic() < deadline:
        call()
except genledger.BudgetExceeded as error:
    print("stopped", "a loop" in str(error))
"""


def test_a_process_without_rules_has_no_budget_file_and_no_thread_and_can_be_killed(tmp_path: Path) -> None:
    with DemoProvider() as provider:
        done = run(tmp_path, APPLICATION, OPENAI_API_KEY="test", OPENAI_BASE_URL=provider.openai_url)
    assert done.stdout.splitlines() == [
        "threads []",
        "files []",
        "models of rules False",
        "stopped True",
    ]


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "budgets.db"


def in_use_before_long(watch: StoreWatch) -> bool:
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline:
        if watch.in_use():
            return True
        time.sleep(0.02)
    return False


def test_a_file_that_does_not_exist_is_not_made(path: Path) -> None:
    assert not StoreWatch(str(path)).in_use()
    assert list(path.parent.iterdir()) == []


@pytest.mark.parametrize("another_has_it_open", [True, False])
def test_a_kill_switch_is_seen_in_a_file_that_was_there_before(path: Path, another_has_it_open: bool) -> None:
    store = open_store(path)
    store.now()
    watch = StoreWatch(str(path))
    assert not watch.in_use()
    kill(store, {"feature": "copilot"}, for_=None, why="a loop")
    if not another_has_it_open:
        store.close()
    assert in_use_before_long(watch)
    store.close()


def test_a_budget_set_for_everybody_is_seen(path: Path) -> None:
    watch = StoreWatch(str(path))
    assert not watch.in_use()
    store = open_store(path)
    set_budget(store, {"usd": 5, "per": "day"})
    store.close()
    assert in_use_before_long(watch)


def test_what_is_lifted_or_over_does_not_count(path: Path) -> None:
    store = open_store(path)
    kill(store, {}, for_=None, why="a loop")
    revive(store, {})
    kill(store, {}, for_=0.001, why="a loop")
    time.sleep(0.01)
    assert not StoreWatch(str(path)).in_use()
    store.close()


def test_a_file_that_did_not_change_is_not_read_again(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    store = open_store(path)
    store.now()
    store.close()
    hour_ago = time.time() - 3600
    os.utime(path, (hour_ago, hour_ago))
    watch = StoreWatch(str(path))
    assert not watch.in_use()
    kept = path.read_bytes()
    path.write_bytes(b"not a database" * 100)
    os.truncate(path, len(kept))
    os.utime(path, (hour_ago, hour_ago))
    clock = time.monotonic
    monkeypatch.setattr(time, "monotonic", lambda: clock() + 5)
    assert not watch.in_use()  # of a named file that cannot be read, the guard would have to tell


def test_a_file_that_cannot_be_read_counts_when_the_user_named_it(path: Path) -> None:
    path.write_bytes(b"not a database" * 100)
    assert StoreWatch(str(path)).in_use()


def test_a_store_that_is_no_file_counts(path: Path) -> None:
    assert StoreWatch("redis://127.0.0.1:1/0").in_use()
