from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest
from typer.testing import CliRunner, Result

from genledger.budgets import BudgetExceeded, BudgetRequest, Guard, open_store
from genledger.budgets.enforcement.kill_switch import Controls
from genledger.budgets.rules.rule_file import RuleFileError, WatchedRules
from genledger.cli.budgets import app, kill_app, revive_app
from genledger.context.attribution import Attribution

RULES = """
[[budget]]
name = "tenants"
tenant = "each"
usd = 50
per = "day"

[[budget]]
name = "idle"
feature = "mail"
requests = 1000
per = "rolling 1h"
"""

Run = Callable[..., Result]
APPS = {"budgets": app, "kill": kill_app, "revive": revive_app}


@pytest.fixture
def run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Run:
    """Runs `genledger` with a rule file and a store of the test's own."""
    (tmp_path / "budgets.toml").write_text(RULES)
    monkeypatch.setenv("GENLEDGER_BUDGETS", str(tmp_path / "budgets.toml"))
    monkeypatch.setenv("GENLEDGER_BUDGET_STORE", str(tmp_path / "budgets.db"))
    monkeypatch.setenv("COLUMNS", "200")

    def run(command: str, *words: str) -> Result:
        return CliRunner().invoke(APPS[command], list(words))

    return run


@pytest.fixture
def store_path(tmp_path: Path) -> str:
    return str(tmp_path / "budgets.db")


def spend(tmp_path: Path, usd: float, reserved: float = 0.0) -> None:
    guard = Guard(tmp_path / "budgets.toml", tmp_path / "budgets.db")
    for cost, settle in ((usd, True), (reserved, False)):
        demand = BudgetRequest("openai", "chat", "gpt-5", Attribution(tenant="acme"), cost_ceiling=cost)
        reservation = guard.admit(demand)
        if settle:
            reservation.settle(cost, 1)
    assert guard.flush(60)
    guard.close()


def test_the_table_shows_limit_settled_reserved_left_and_a_bar(run: Run, tmp_path: Path) -> None:
    spend(tmp_path, 25.0, reserved=10.0)
    shown = run("budgets")
    assert shown.exit_code == 0, shown.output
    row = next(line for line in shown.output.splitlines() if "tenant=acme" in line)
    assert row.count("█") == 10
    assert row.count("▒") == 4
    for text in ("50%", "$50.00", "$25.00", "$10.00", "$15.00"):
        assert text in row
    assert "feature=mail" in shown.output
    assert "1,000 requests" in shown.output
    assert "per rolling 1h" in shown.output


def test_json_has_everything(run: Run, tmp_path: Path) -> None:
    spend(tmp_path, 25.0)
    run("kill", "feature=copilot", "--why", "it loops", "--who", "Ada")
    shown = json.loads(run("budgets", "--json").output)
    acme, idle = shown["budgets"]
    assert (acme["rule"], acme["scope"], acme["settled"], acme["used"]) == ("tenants", "tenant=acme", 25.0, 0.5)
    assert (idle["rule"], idle["scope"], idle["settled"], idle["resets_at"]) == ("idle", "feature=mail", 0, None)
    assert shown["kills"][0]["scope"] == {"feature": "copilot"}


def test_set_takes_effect_and_unset_takes_it_back(run: Run, tmp_path: Path) -> None:
    assert run("budgets", "set", "tenant=acme", "usd=0.5/day", "at_limit=block", "alert_at=90").exit_code == 0
    with pytest.raises(BudgetExceeded, match="tenant=acme usd/day"):
        spend(tmp_path, 1.0)
    assert run("budgets", "unset", "tenant=acme usd/day").exit_code == 0
    spend(tmp_path, 1.0)


def test_set_understands_every_action(run: Run, store_path: str) -> None:
    words = ("tenant=acme", "usd=5/month", "at_limit=degrade", "degrade=gpt-5-mini", "max_output_tokens=500")
    assert run("budgets", "set", *words).exit_code == 0
    assert (
        run("budgets", "set", "user=each", "requests=60/rolling 1m", "at_limit=queue", "queue_seconds=2.5").exit_code
        == 0
    )
    degrade, queue = Controls.read(open_store(store_path).document()).rules()
    assert degrade.degrade is not None
    assert (degrade.degrade.model, degrade.degrade.max_output_tokens) == ("gpt-5-mini", 500)
    assert (str(queue.window), queue.queue_seconds) == ("rolling 1m", 2.5)


def test_a_tenant_can_be_given_a_tier(run: Run, store_path: str) -> None:
    assert run("budgets", "set", "tenant=acme", "tier=pro").exit_code == 0
    assert Controls.read(open_store(store_path).document()).tiers == {"acme": "pro"}


def test_kill_stops_calls_and_revive_lifts_it_and_both_are_logged(run: Run, tmp_path: Path) -> None:
    assert run("kill", "tenant=ac*", "--for", "2h", "--why", "it loops", "--who", "Ada").exit_code == 0
    with pytest.raises(BudgetExceeded, match=r"stopped by Ada until .*: it loops"):
        spend(tmp_path, 1.0)
    assert "stopped: tenant=ac*" in run("budgets").output
    assert run("revive", "tenant=ac*", "--why", "fixed", "--who", "Ben").exit_code == 0
    spend(tmp_path, 1.0)
    entries = json.loads(run("budgets", "log", "--json").output)
    assert [(entry["did"], entry["who"], entry["why"]) for entry in entries] == [
        ("kill", "Ada", "it loops"),
        ("revive", "Ben", "fixed"),
    ]
    assert "it loops" in run("budgets", "log").output


def test_the_log_says_from_which_amount_to_which(run: Run) -> None:
    run("budgets", "set", "tenant=acme", "usd=0.5/day", "alert_at=80,90", "--who", "Ada")
    run("budgets", "set", "tenant=acme", "usd=7/day", "degrade=gpt-5-mini", "at_limit=degrade", "--who", "Ben")
    run("budgets", "unset", "tenant=acme usd/day", "--who", "Cem")
    run("budgets", "set", "tenant=acme", "tier=starter")
    run("budgets", "set", "tenant=acme", "tier=pro")
    run("kill", "tenant=acme", "--why", "it loops", "--for", "2h")
    entries = json.loads(run("budgets", "log", "--json").output)
    amounts = [{key: (entry.get(key) or {}).get("usd") for key in ("was", "to")} for entry in entries[:3]]
    assert amounts == [{"was": None, "to": 0.5}, {"was": 0.5, "to": 7}, {"was": 7, "to": None}]
    lines = run("budgets", "log").output.splitlines()[2:]
    for line, part in zip(
        lines,
        (
            "tenant=acme usd/day: tenant=acme usd=0.5 per=day alert_at=[80,90]",
            "usd=7 per=day",
            "unset  tenant=acme usd/day (was tenant=acme usd=7 per=day",
            "tier   acme: starter",
            "tier   acme: pro (was starter)",
            "kill   tenant=acme until 20",
        ),
        strict=True,
    ):
        assert part in line


@pytest.mark.parametrize(
    ("command", "words", "message"),
    [
        ("kill", ("tenant=acme", "tenant=globex", "--why", "y"), "'tenant' is given twice: 'acme' and 'globex'"),
        ("budgets", ("set", "tenant=acme", "usd=5/day", "usd=6/day"), "'usd' is given twice"),
        ("budgets", ("set", "tenant=acme", "usd=lots/day"), "expected a number"),
        ("budgets", ("set", "tenant=acme", "usd=5/fortnight"), "is not a window"),
        ("budgets", ("set", "tenant"), "is not KEY=VALUE"),
        ("budgets", ("unset", "nothing"), "no budget 'nothing' is set"),
        ("budgets", ("--file", "nowhere.toml"), "nowhere.toml: cannot be read"),
        ("budgets", ("--store", "mysql://host"), "expected memory"),
        ("kill", ("feature=x",), "--why"),
        ("kill", ("feature=x", "--why", "y", "--for", "soon"), "is not a duration"),
        ("kill", ("colour=red", "--why", "y"), "use one of tenant"),
        ("revive", ("feature=x",), "no kill switch is set for feature=x"),
    ],
)
def test_what_makes_no_sense_fails_with_one_clear_message(
    run: Run, command: str, words: tuple[str, ...], message: str
) -> None:
    result = run(command, *words)
    assert result.exit_code != 0
    assert message in " ".join(result.output.replace("│", " ").split())


def test_calls_can_be_stopped_while_the_rule_file_has_mistakes(run: Run, tmp_path: Path, store_path: str) -> None:
    (tmp_path / "budgets.toml").write_text('[[budget]]\nusd = "lots"\nper = "day"\n')
    shown = run("kill", "feature=copilot", "--why", "it loops")
    assert shown.exit_code == 0
    assert "budgets.toml:2: usd: expected" in "".join(shown.output.split("\n"))
    store = open_store(store_path)
    assert "it loops" in store.document()
    store.close()
    assert run("budgets").exit_code == 1


@pytest.mark.parametrize(
    "text",
    [
        None,
        "store = ",
        "store = 5",
        'store = "mysql://host"\n',
        "[[budget\nusd = 1\n",
        '[[budget]]\nusd = "lots"\nper = "day"\n',
        "\0",
    ],
)
def test_a_kill_stops_a_process_that_starts_with_any_rule_file_or_none(
    text: str | None, run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("GENLEDGER_BUDGET_STORE")
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    file = tmp_path / "budgets.toml"
    file.unlink() if text is None else file.write_text(text)
    shown = run("kill", "tenant=acme", "--why", "it loops")
    assert shown.exit_code == 0
    assert "budgets.toml" in shown.output
    assert str(tmp_path / "state" / "genledger" / "budgets.db") in "".join(shown.output.split("\n"))
    rules = WatchedRules(file)
    with pytest.raises(RuleFileError):
        rules.read()
    guard = Guard(rules)
    with pytest.raises(BudgetExceeded, match="it loops"):
        guard.admit(BudgetRequest("openai", "chat", "gpt-5", Attribution(tenant="acme")))
    guard.close()


def test_a_kill_goes_to_the_store_that_the_file_named_before_it_was_broken(
    run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("GENLEDGER_BUDGET_STORE")
    file = tmp_path / "budgets.toml"
    file.write_text(f'store = "{tmp_path / "named.db"}"\n{RULES}')
    WatchedRules(file).read()
    file.write_text("store = ")
    assert run("kill", "tenant=acme", "--why", "it loops").exit_code == 0
    store = open_store(tmp_path / "named.db")
    assert "it loops" in store.document()
    store.close()


def test_watch_goes_on_showing_until_it_is_interrupted(
    run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    spend(tmp_path, 25.0)
    waits = []

    def interrupt(seconds: float) -> None:
        waits.append(seconds)
        if len(waits) == 2:
            raise KeyboardInterrupt

    monkeypatch.setattr("genledger.cli.budgets.time.sleep", interrupt)
    shown = run("budgets", "--watch")
    assert shown.exit_code == 0
    assert waits == [1, 1]
    assert shown.output.count("tenant=acme") == 2  # in a pipe, each one is written when it is read


def test_a_store_that_cannot_be_reached_is_said(run: Run) -> None:
    shown = run("budgets", "--store", "redis://127.0.0.1:1/0")
    assert shown.exit_code == 1
    assert "error: Redis: Error 111 connecting to 127.0.0.1:1" in " ".join(shown.output.split())


def test_without_budgets_the_way_to_set_one_is_shown(tmp_path: Path) -> None:
    result = CliRunner().invoke(app, ["--store", str(tmp_path / "empty.db")], env={"GENLEDGER_BUDGETS": ""})
    assert "genledger budgets set tenant=acme usd=50/day" in result.output
