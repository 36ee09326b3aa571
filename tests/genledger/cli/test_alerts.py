from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from typer.testing import CliRunner, Result

from genledger.cli.alerts import app
from genledger.ledger import Ledger

from ..alerting.conftest import at, calls_of_days
from ..samples import a_call

RULES = """
[[alert]]
kind = "spike"
[[alert]]
name = "simple"
kind = "spike"
form = "plain"
"""


@pytest.fixture(autouse=True)
def _own_files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GENLEDGER_LEDGER", str(tmp_path / "ledger.db"))
    monkeypatch.setenv("GENLEDGER_BUDGETS", str(tmp_path / "budgets.toml"))
    monkeypatch.setenv("GENLEDGER_BUDGET_STORE", str(tmp_path / "budgets.db"))
    (tmp_path / "budgets.toml").write_text(RULES)


@pytest.fixture
def ledger(tmp_path: Path) -> Ledger:
    """A ledger with a runaway of the tenant acme ten days ago."""
    now = datetime.now(UTC)
    ledger = Ledger(tmp_path / "ledger.db")
    ledger.write(calls_of_days(40, 20, 10.0, until=now))
    ledger.write(calls_of_days(40, 2, 0.1, tenant="tiny", until=now))
    ledger.write([a_call(90.0, started_ns=at(now - timedelta(days=10)))])
    return ledger


def run(*words: str) -> Result:
    return CliRunner().invoke(app, list(words), env={"COLUMNS": "200"})


def test_the_past_is_tried_and_nothing_is_told_or_noted(ledger: Ledger, tmp_path: Path) -> None:
    done = run("test", "--since", "20d")
    assert done.exit_code == 0, done.output
    day = f"{datetime.now(UTC) - timedelta(days=10):%Y-%m-%d}"
    rows = [line for line in done.output.splitlines() if day in line and "tenant=acme" in line]
    assert [row.split()[3] for row in rows] == ["simple", "spike"]
    assert "$100.00" in rows[0]
    assert "spike: not enough data (n = 2 calls a day) for 1 of 2 scopes" in done.output
    assert json.loads(run("list", "--json").output)["alerts"] == {}


def test_the_past_as_json(ledger: Ledger) -> None:
    found = json.loads(run("test", "--since", "20d", "--rule", "spike", "--json").output)
    assert [(one["scope"], one["schema"]) for one in found] == [({"tenant": "acme"}, "genledger.alert/1")]


def test_a_quiet_ledger_has_nothing_new(ledger: Ledger) -> None:
    done = run("run", "--once")
    assert (done.exit_code, done.output) == (0, "Nothing new in 8 checks.\n")


def test_an_alert_is_printed_and_listed(ledger: Ledger) -> None:
    ledger.write([a_call(90.0, started_ns=at(datetime.now(UTC) - timedelta(seconds=2)))])
    printed = run("run").output
    assert "Alert spike: tenant=acme\n" in printed
    assert "To do: limit tenant=acme" in printed
    listed = run("list").output
    assert "Alert spike: tenant=acme (since " in listed
    assert "Nothing new" in run("run").output


def test_a_snooze_is_listed_and_ended(ledger: Ledger) -> None:
    assert run("snooze", "spike", "--for", "2h").output.startswith("Alert spike is snoozed until ")
    assert set(json.loads(run("list", "--json").output)["snoozed"]) == {"spike"}
    assert run("snooze", "spike", "--off").output == "Alert spike is on again.\n"
    assert json.loads(run("list", "--json").output)["snoozed"] == {}
    run("snooze", "spike", "tenant=acme", "--for", "2h")
    assert set(json.loads(run("list", "--json").output)["snoozed"]) == {"spike|tenant=acme"}


@pytest.mark.parametrize(
    ("words", "problem"),
    [
        (("run",), "there is no ledger at "),
        (("test", "--since", "yesterdayish"), "'yesterdayish' is neither a duration"),
        (("test", "--since", "2d", "--until", "3d"), "is not before"),
        (("test", "--rule", "spik"), "there is no alert 'spik'; there are 'spike', 'simple'"),
        (("run", "--once", "--watch", "5"), "exclude each other"),
        (("snooze", "spike"), "give either --for TIME or --off"),
        (("snooze", "spike", "--for", "soon"), "'soon' is not a duration"),
        (("snooze", "spike", "acme", "--for", "2h"), "'acme' is not KEY=VALUE"),
        (("--file", "nowhere.toml", "list"), "nowhere.toml: cannot be read"),
        (("--store", "off", "run"), "name a store with --store"),
        (("--store", "http://x", "run"), "budget store 'http://x'"),
    ],
)
def test_bad_input_is_one_line_and_a_failure(words: tuple[str, ...], problem: str) -> None:
    done = run(*words)
    assert done.exit_code != 0
    assert problem in " ".join(done.output.split())


def test_mistakes_in_the_rules_are_named_with_their_lines(tmp_path: Path) -> None:
    (tmp_path / "budgets.toml").write_text('[[alert]]\nkind = "spend"\n[[alert]]\nkind = "x"\n')
    done = run("list")
    assert done.exit_code == 1
    assert [line.split(": ", 2)[1].rsplit(":", 1)[1] for line in done.output.splitlines()] == ["1", "4"]


@pytest.mark.parametrize("content", ["", '[[budget]]\nusd = 5\nper = "day"\n'])
def test_a_file_without_alerts_is_named(tmp_path: Path, content: str) -> None:
    (tmp_path / "budgets.toml").write_text(content)
    done = run("list")
    assert done.exit_code == 1
    assert "has no [[alert]] table" in done.output


def test_a_ledger_that_is_something_else_is_refused(tmp_path: Path) -> None:
    (tmp_path / "ledger.db").write_text("not a ledger, but a text that is long enough to be looked at" * 20)
    done = run("run")
    assert done.exit_code == 1
    assert done.output.startswith("error: ledger ")
    assert len(done.output.splitlines()) == 1
