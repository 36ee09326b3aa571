"""What is told once, what ends, what is snoozed, and what becomes one message."""

from __future__ import annotations

import shlex
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from genledger.alerting.alert_book import NAME, AlertBook, snooze
from genledger.alerting.evaluator import run_round
from genledger.alerting.rules import alert
from genledger.budgets import BudgetRequest, Guard, Store, budget, open_store
from genledger.budgets.enforcement.kill_switch import Controls
from genledger.budgets.rules.rule import AlertTargets
from genledger.channels.message import Notice
from genledger.cli import app
from genledger.context.attribution import Attribution
from genledger.ledger import Ledger

from ..samples import a_call
from .conftest import NOW, a_file, at, calls_of_days


class Clock:
    """A store whose clock is set."""

    def __init__(self, store: Store, now: datetime = NOW) -> None:
        self._store = store
        self.at = now

    def now(self) -> float:
        return self.at.timestamp()

    def __getattr__(self, name: str) -> Any:
        return getattr(self._store, name)


@pytest.fixture
def clock(store: Store) -> Clock:
    return Clock(store)


def titles(notices: list[Notice]) -> list[str]:
    return [notice.title for notice in notices]


def spiked(ledger: Ledger, *tenants: str, usd: float = 41.0) -> None:
    for tenant in tenants:
        ledger.write(calls_of_days(35, 20, 10.0, tenant=tenant))
        who = Attribution(tenant=tenant, feature="copilot")
        ledger.write([a_call(usd, started_ns=at(NOW - timedelta(hours=1)), attribution=who)])


SPIKE = alert(kind="spike")


def test_an_alert_is_told_once_and_its_end_too(ledger: Ledger, clock: Clock) -> None:
    spiked(ledger, "acme")
    told = []
    for hours in (0, 1, 5, 13, 14, 40):
        clock.at = NOW + timedelta(hours=hours)
        told.append(titles(run_round(a_file(SPIKE), ledger, clock).notices))
    assert told == [["Alert spike: tenant=acme"], [], [], ["Resolved spike: tenant=acme"], [], []]


def test_the_end_has_the_id_of_the_beginning(ledger: Ledger, clock: Clock) -> None:
    spiked(ledger, "acme")
    (began,) = run_round(a_file(SPIKE), ledger, clock).notices
    clock.at = NOW + timedelta(hours=13)
    (ended,) = run_round(a_file(SPIKE), ledger, clock).notices
    assert (began.payload["state"], ended.payload["state"]) == ("firing", "resolved")
    assert began.payload["id"] == ended.payload["id"]


def test_each_threshold_is_told_once(ledger: Ledger, clock: Clock) -> None:
    rule = alert(kind="spend", above=[10, 20, 40], form="plain")
    ledger.write([a_call(15.0, started_ns=at(NOW - timedelta(hours=1)))])
    assert len(run_round(a_file(rule), ledger, clock).notices) == 1
    ledger.write([a_call(15.0, started_ns=at(NOW))])
    clock.at = NOW + timedelta(minutes=1)
    (second,) = run_round(a_file(rule), ledger, clock).notices
    assert second.payload["threshold"] == 20.0


def test_what_goes_on_in_a_rolling_window_is_one_alert(ledger: Ledger, clock: Clock) -> None:
    rule = alert(kind="unpriced", over="1h")
    told = []
    for minutes in range(0, 240, 20):
        clock.at = NOW + timedelta(minutes=minutes)
        if minutes < 120:
            ledger.write([a_call(None, started_ns=at(clock.at - timedelta(seconds=one))) for one in range(1, 30)])
        told += titles(run_round(a_file(rule), ledger, clock).notices)
    assert told == ["Alert unpriced: organization", "Resolved unpriced: organization"]


def test_many_scopes_are_one_message(ledger: Ledger, clock: Clock) -> None:
    spiked(ledger, *(f"t{number}" for number in range(5)))
    (digest,) = run_round(a_file(SPIKE), ledger, clock).notices
    assert digest.title == "Alert spike: 5 scopes"
    assert len(digest.payload["alerts"]) == 5
    assert len(digest.text.splitlines()) == 5
    clock.at = NOW + timedelta(hours=13)
    (ended,) = run_round(a_file(SPIKE), ledger, clock).notices
    assert (ended.title, ended.state) == ("Resolved spike: 5 scopes", "resolved")


def test_what_is_snoozed_is_told_when_the_snooze_is_over(ledger: Ledger, clock: Clock) -> None:
    spiked(ledger, "acme", "other")
    snooze(clock, "spike", "tenant=acme", clock.now() + 7200)
    assert titles(run_round(a_file(SPIKE), ledger, clock).notices) == ["Alert spike: tenant=other"]
    clock.at = NOW + timedelta(hours=3)
    assert titles(run_round(a_file(SPIKE), ledger, clock).notices) == ["Alert spike: tenant=acme"]
    assert AlertBook.read(clock.document(NAME)).snoozed == {}


def test_a_rule_that_was_taken_out_is_forgotten(ledger: Ledger, clock: Clock) -> None:
    spiked(ledger, "acme")
    run_round(a_file(SPIKE), ledger, clock)
    assert run_round(a_file(alert(kind="silence")), ledger, clock).notices == []
    assert AlertBook.read(clock.document(NAME)).alerts == {}


def test_a_rule_that_cannot_be_evaluated_stops_no_other_and_ends_nothing(ledger: Ledger, clock: Clock) -> None:
    spiked(ledger, "acme")
    broken = alert(name="broken", kind="growth").model_copy(update={"timezone": "Mars"})
    done = run_round(a_file(broken, SPIKE), ledger, clock)
    assert titles(done.notices) == ["Alert spike: tenant=acme"]
    (problem,) = done.problems
    assert problem.startswith("alert 'broken' cannot be evaluated: ")


def test_a_process_that_dies_after_it_noted_an_alert_leaves_the_message_to_the_next(
    ledger: Ledger, clock: Clock
) -> None:
    spiked(ledger, "acme")

    class Dies(Exception):
        pass

    class Dying(Clock):
        def owe(self, *words: object) -> None:
            raise Dies

    file = a_file(SPIKE, alerts=AlertTargets(to=("json://127.0.0.1:9/",)))
    with pytest.raises(Dies):
        run_round(file, ledger, Dying(clock))  # type: ignore[arg-type]
    assert clock.owed() == {}
    done = run_round(file, ledger, clock)
    assert done.notices == []  # it is noted already
    (body,) = clock.owed().values()
    assert Notice.load(body).title == "Alert spike: tenant=acme"
    assert AlertBook.read(clock.document(NAME)).pending == []


@pytest.mark.parametrize(
    ("keys", "command", "undo"),
    [
        (
            {"action": "throttle"},
            "genledger budgets set name='alert spike tenant=acme' tenant=acme usd=20/day --for 1d --why 'alert spike'",
            "genledger budgets unset 'alert spike tenant=acme'",
        ),
        (
            {"action": "degrade", "action_for": "2h", "degrade": {"model": "gpt-5-mini", "max_output_tokens": 200}},
            "genledger budgets set name='alert spike tenant=acme' tenant=acme usd=0/day at_limit=degrade "
            "degrade=gpt-5-mini max_output_tokens=200 --for 2h --why 'alert spike'",
            "genledger budgets unset 'alert spike tenant=acme'",
        ),
        (
            {"action": "kill", "action_for": "30m"},
            "genledger kill tenant=acme --for 30m --why 'alert spike'",
            "genledger revive tenant=acme",
        ),
    ],
)
def test_an_alert_acts_if_its_rule_says_so_and_names_the_command_and_its_undoing(
    ledger: Ledger, clock: Clock, keys: dict[str, Any], command: str, undo: str
) -> None:
    spiked(ledger, "acme")
    (notice,) = run_round(a_file(alert(kind="spike", **keys)), ledger, clock).notices
    (action,) = notice.payload["actions"]
    assert (action["command"], action["undo"], action["done"]) == (command, undo, True)
    controls = Controls.read(clock.document())
    assert len(controls.kills) + len(controls.budgets) == 1
    assert len(controls.until) == len(controls.budgets)
    assert len(controls.log) == 1
    clock.at = NOW + timedelta(minutes=10)
    run_round(a_file(alert(kind="spike", **keys)), ledger, clock)
    assert len(Controls.read(clock.document()).log) == 1


def test_the_commands_of_an_alert_work_as_they_are_written(
    ledger: Ledger, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("GENLEDGER_BUDGET_STORE", str(tmp_path / "commands.db"))
    store = open_store(tmp_path / "commands.db")
    spiked(ledger, "a b'c\"")
    rules = [
        SPIKE,
        alert(kind="spike", name="degrade", action="degrade", degrade={"model": "gpt-5-mini"}),
        alert(kind="spike", name="kill", action="kill"),
    ]
    notices = run_round(a_file(*rules), ledger, Clock(open_store("memory"))).notices
    assert len(notices) == 3
    for notice in notices:
        (action,) = notice.payload["actions"]
        for command, count in ((action["command"], 1), (action["undo"], 0)):
            done = CliRunner().invoke(app, shlex.split(command)[1:])
            assert done.exit_code == 0, done.output
            controls = Controls.read(store.document())
            assert len(controls.kills) + len(controls.budgets) == count


def test_keys_that_were_there_from_the_beginning_are_not_new(ledger: Ledger, clock: Clock) -> None:
    rule = alert(kind="new", watch="api_key")

    def call(key: str) -> None:
        guard = Guard([budget(api_key="each", usd=5, per="day")], clock)
        guard.admit(BudgetRequest("openai", "chat", "gpt-5", api_key=key, cost_ceiling=0.01)).settle(0.01, 1)
        guard.close(60)

    clock.at = datetime.now(UTC)
    ledger.write([a_call(started_ns=at(clock.at))])
    call("0a")
    assert run_round(a_file(rule), ledger, clock).notices == []
    call("1b")
    assert titles(run_round(a_file(rule), ledger, clock).notices) == ["Alert new api_key: organization api_key 1b"]
    assert run_round(a_file(rule), ledger, clock).notices == []


def test_a_rule_that_looks_at_a_week_is_not_evaluated_every_minute(ledger: Ledger, clock: Clock) -> None:
    rules = a_file(alert(kind="unpriced"), alert(kind="unpriced", name="long", over="7d"), SPIKE)
    ledger.write([a_call(started_ns=at(NOW))])
    clock.at = NOW + timedelta(seconds=1)
    found = []
    for minutes in (0, 1, 20, 70):
        clock.at = NOW + timedelta(minutes=minutes, seconds=1)
        done = run_round(rules, ledger, clock, every_rule=False)
        found.append([one.rule.name for one in done.findings if one.rule.kind == "unpriced"])
    assert found == [["unpriced", "long"], [], ["unpriced"], ["unpriced", "long"]]


def test_an_alert_that_only_notifies_does_nothing_and_names_what_would(ledger: Ledger, clock: Clock) -> None:
    spiked(ledger, "acme")
    (notice,) = run_round(a_file(SPIKE), ledger, clock).notices
    (action,) = notice.payload["actions"]
    assert action["command"].startswith("genledger budgets set ")
    assert not action["done"]
    assert clock.document() == ""


def test_the_message_says_which_form_decided_and_by_what(ledger: Ledger, clock: Clock) -> None:
    spiked(ledger, "acme")
    sound, plain = run_round(a_file(SPIKE, alert(kind="spike", form="plain", name="simple")), ledger, clock).notices
    assert "sound form: weekday profile, growth and robust deviation" in sound.text
    assert "plain form: more than 2 times the mean of the 7 days before" in plain.text
    assert "$41.00; expected $10.00 ($7.45 to $13.42); limit $20.00" in sound.text


def test_too_little_to_judge_by_is_said(ledger: Ledger, clock: Clock) -> None:
    ledger.write(calls_of_days(12, 20, 1.0))
    ledger.write([a_call(60.0, started_ns=at(NOW - timedelta(hours=1)))])
    (notice,) = run_round(a_file(SPIKE), ledger, clock).notices
    assert "not enough data (n = 12 days)" in notice.text


def test_names_are_text_on_one_line(ledger: Ledger, clock: Clock) -> None:
    spiked(ledger, "x\n<b>\x1b[2J`rm -rf`")
    (notice,) = run_round(a_file(SPIKE), ledger, clock).notices
    assert notice.title.isprintable()
    assert all(line.isprintable() for line in notice.text.split("\n"))
    assert len(notice.text.split("\n")) == 3
