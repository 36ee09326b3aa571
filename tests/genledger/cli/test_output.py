"""What every command writes: on a terminal of 80 columns, in a pipe, without color, and as JSON."""

from __future__ import annotations

import io
import json
import re
import time
from collections.abc import Callable
from contextlib import redirect_stderr, redirect_stdout
from datetime import UTC, datetime
from itertools import pairwise
from pathlib import Path

import pytest
from rich.cells import cell_len

from genledger import cli
from genledger.budgets import BudgetRequest, Guard
from genledger.cli import app
from genledger.context.attribution import Attribution
from genledger.engine.record import CallRecord, ProductEvent, StepRecord
from genledger.ledger import Ledger

TENANT = "northwind-traders-international-holdings-gmbh"
OTHER = "日本語テナント株式会社-customer-7f3c9b1e-4a51-4d0e-9b55-7f54a3b2c001"
FEATURE = "support-ticket-summarization-for-enterprise-customers"
MODEL = "arn:aws:bedrock:us-east-1:123456789012:application-inference-profile/abcdefghijkl"
UNPRICED = "accounts/fireworks/models/llama-v3p1-405b-instruct-long-context-preview"
STEP = "draft_reply_for_enterprise_customers_of_the_second_region"
ERROR = "botocore.exceptions.ReadTimeoutErrorOfTheSecondRegion"
OUTCOME = "support_ticket_resolution_accepted_by_the_customer"
RULE = "daily-spend-of-every-tenant-on-the-enterprise-plan"
ALERT = "daily-spend-of-every-tenant-that-finance-asked-for"
WHY = "loops since the release of the new version of the agent; see the incident of last night"
WEEKLY = f"report weekly --week {datetime.now(UTC):%G-W%V}"

RULES = f"""
[[budget]]
name = "{RULE}"
tenant = "each"
usd = 5000
per = "day"

[[budget]]
feature = "{FEATURE}"
tenant = "each"
requests = 1_000_000
per = "rolling 24h"

[[alert]]
name = "{ALERT}"
kind = "spend"
tenant = "each"
above = [100, 1_000]
form = "plain"
"""

COMMANDS: dict[str, tuple[str, ...]] = {
    "": ("budgets",),
    "--help": ("budgets",),
    "report": (FEATURE, OUTCOME, "$1,234.57", "1 call unpriced"),
    "report --by tenant": (TENANT, OTHER, OUTCOME),
    "report --by model": (MODEL, UNPRICED),
    "report --tenant nobody": ("No calls match.", "--since all"),
    "report --by colour": ("'colour'", "prompt_version"),
    "report --help": ("--by", "prompt_version"),
    WEEKLY: (TENANT, OTHER, FEATURE, OUTCOME, "$1,234.57", UNPRICED),
    "report weekly --week 1": ("'1' is no week",),
    "query --by colour": ("error: there is no field 'colour'",),
    "query --help": ("--where", "prompt_version"),
    "trace last": (STEP, MODEL, UNPRICED, ERROR, f"{TENANT} / {FEATURE}"),
    f"trace {'f' * 32}": (f"error: no call of trace '{'f' * 32}'",),
    "budgets": (f"tenant={TENANT}", f"tenant={OTHER}", f"feature={FEATURE}", RULE, "$5,000.00", WHY),
    "budgets log": (f"tenant={TENANT} usd/day", f"tenant={OTHER} feature={FEATURE}", WHY),
    f"budgets set tenant={OTHER} usd=5/day": (f"tenant={OTHER} usd/day",),
    f"budgets unset {RULE}": (f"no budget '{RULE}' is set",),
    f"kill feature={FEATURE} tenant={TENANT} --why x": (f"feature={FEATURE} tenant={TENANT}",),
    f"revive feature={FEATURE} tenant={OTHER}": ("Calls unblocked.",),
    f"revive feature={FEATURE}": (f"tenant={OTHER} feature={FEATURE}",),
    "alerts list": (ALERT, "tenant=each", "100 USD, 1000 USD"),
    "alerts test --since 2d": (ALERT, f"tenant={TENANT}", "$1,234.57"),
    "alerts run": (f"Alert {ALERT}: tenant={TENANT}", "$1,234.57", "genledger budgets set"),
    f"alerts snooze {ALERT} tenant={TENANT} --for 2h": (f"Alert {ALERT} tenant={TENANT} is snoozed until",),
    "prices": ("backfill",),
    "prices show gpt-5.4": ("million tokens", "above 272,000 tokens"),
    f"prices show {MODEL}": (f"error: no price for {MODEL}",),
    "prices check prices.toml": ("prices.toml:3: input:",),
    "prices backfill --dry-run": (UNPRICED,),
    "dashboard --host 0.0.0.0": ("give readers a --token",),
    "dashboards list": ("What does each feature cost a day, and what is missing from that number?", "honeycomb"),
    "dashboards export datadog": ("Wrote 8 files to dashboards/datadog.",),
    "dashboards push langfuse": ("error: LANGFUSE_PUBLIC_KEY and LANGFUSE_SECRET_KEY not set",),
    "alerts export prometheus": ("Wrote ",),
    "prices push --help": ("--dry-run",),
    "doctor": ("private attributes of", "write the cost to spans of other instrumentations", UNPRICED),
}
"""Every command, and what it shows whole in a pipe."""

ANSWERS: dict[str, tuple[str, ...]] = {
    "report --by tenant --by model": (TENANT, OTHER, "$1,234.57"),
    "report --by tenant,feature,model": (TENANT, MODEL, UNPRICED, "$1,234.57"),
    "query --by tenant,model -m cost,calls,latency_p95": (TENANT, OTHER, MODEL, UNPRICED, "$1,234.57"),
    "query --by feature --every day --compare previous": (FEATURE, "$1,234.57", "new"),
}
"""Likewise, tables whose columns depend on the answer: a narrow terminal has other headings."""

AS_JSON = (
    "report", "report --by tenant", "report --by tenant,model", "query --by tenant,model", WEEKLY, "trace last",
    "budgets", "budgets log", "alerts list", "alerts run", "alerts test --since 2d", "prices show gpt-5.4",
    f"prices show {MODEL}", "prices backfill --dry-run", "dashboards list", "doctor",
)  # fmt: skip

Run = Callable[..., str]


class Stream(io.TextIOWrapper):
    """A terminal or a pipe that keeps what is written."""

    def __init__(self, *, terminal: bool, encoding: str = "utf-8") -> None:
        super().__init__(io.BytesIO(), encoding)
        self._terminal = terminal

    def isatty(self) -> bool:
        return self._terminal

    def text(self) -> str:
        self.seek(0)
        return self.read()


@pytest.fixture
def run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, make_entry: Callable[..., CallRecord]) -> Run:
    """Runs a command on long names, and returns what it writes."""
    monkeypatch.chdir(tmp_path)
    for name in ("COLUMNS", "NO_COLOR", "FORCE_COLOR", "GENLEDGER_PRICES", "GENLEDGER_BUDGET_STORE"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("TERM", "xterm-256color")
    monkeypatch.setenv("GENLEDGER_LEDGER", "ledger.db")
    monkeypatch.setenv("GENLEDGER_BUDGETS", "rules.toml")
    monkeypatch.setenv("GENLEDGER_SPOOL", "off")
    Path("rules.toml").write_text(f'store = "budgets.db"\n{RULES}')
    Path("prices.toml").write_text('[[price]]\nmodel = "m"\ninput = "dear"\n')
    _fill(make_entry)

    def run(
        command: str, *, terminal: bool = False, encoding: str = "utf-8", stdout_only: bool = False, **variables: str
    ) -> str:
        for name, value in variables.items():
            monkeypatch.setenv(name, value)
        out = Stream(terminal=terminal, encoding=encoding)
        errors = Stream(terminal=terminal, encoding=encoding) if stdout_only else out
        with redirect_stdout(out), redirect_stderr(errors), pytest.raises(SystemExit):
            app(_words(command), prog_name="genledger")
        return out.text()

    run(f"kill feature={FEATURE} tenant={OTHER} --for 2h --why '{WHY}'")
    run(f"budgets set tenant={TENANT} usd=50/day")
    return run


def _words(command: str) -> list[str]:
    return [word.strip("'") for word in re.findall(r"'[^']*'|\S+", command)]


def _fill(make_entry: Callable[..., CallRecord]) -> None:
    now = time.time_ns()
    trace_id = 0xABCDEF << 104
    ours, theirs = Attribution(tenant=TENANT, feature=FEATURE), Attribution(tenant=OTHER, feature=FEATURE)
    calls = [
        make_entry(
            1234.567, trace_id=trace_id, parent_span_id=1, response_model=MODEL, attribution=ours, started_ns=now,
            outcome="error", error_type=ERROR, attempts=3, retry_causes=("429", "503"),
        ),
        make_entry(None, trace_id=trace_id, parent_span_id=1, response_model=UNPRICED, attribution=theirs,
                   provider="fireworks", started_ns=now),
    ]  # fmt: skip
    outcomes = [ProductEvent(OUTCOME, now, ours, None, None, 1.0)]
    ledger = Ledger(Path("ledger.db"))
    ledger.write(calls, outcomes, steps=[StepRecord(trace_id, 1, None, "agent", STEP, now, 2.0, None)])
    ledger.close()
    guard = Guard("rules.toml", "budgets.db")
    for attribution in (ours, theirs):
        guard.admit(BudgetRequest("openai", "chat", "gpt-5", attribution, cost_ceiling=123.45)).settle(123.45, 1)
    assert guard.flush(60)
    guard.close()


def _headings(text: str) -> list[list[str]]:
    """Return the headings of each table: they stand above a line."""
    lines = text.splitlines()
    return [re.split(r"\s{2,}", above.strip()) for above, line in pairwise(lines) if line[:3] == "───"]


@pytest.mark.parametrize("command", {**COMMANDS, **ANSWERS})
def test_in_a_pipe_every_value_is_whole(run: Run, command: str) -> None:
    shown = run(command)
    for value in {**COMMANDS, **ANSWERS}[command]:
        assert value in shown
    assert "…" not in shown
    assert "..." not in shown.replace("]...", "").replace("{KEY=VALUE...}", "")
    assert "\x1b" not in shown


@pytest.mark.parametrize("variables", [{}, {"NO_COLOR": "1"}, {"TERM": "dumb"}], ids=str)
@pytest.mark.parametrize("command", COMMANDS)
def test_on_80_columns_tables_fit_and_can_be_read(run: Run, command: str, variables: dict[str, str]) -> None:
    wide = run(command, COLUMNS="400")
    whole = _headings(wide)
    shown = run(command, terminal=True, COLUMNS="80", **variables)
    if variables:
        assert not re.search(r"\x1b\[[0-9;]*3[0-9]", shown)
    plain = re.sub(r"\x1b\[[0-9;]*m", "", shown)
    tables = _headings(plain)
    assert len(tables) == len(whole)
    assert len(plain.splitlines()) <= 6 * len(wide.splitlines())  # a name is folded to a few lines at most
    for headings, all_headings in zip(tables, whole, strict=True):
        assert set(headings) <= set(all_headings) | {"budget"}
    if tables or command == "trace last":
        assert max(map(cell_len, plain.splitlines())) <= 80
    assert "…" not in plain


@pytest.mark.parametrize("command", ANSWERS)
def test_on_80_columns_answers_fit(run: Run, command: str) -> None:
    shown = run(command, terminal=True, COLUMNS="80", TERM="dumb")
    assert max(map(cell_len, shown.splitlines())) <= 80
    assert "$1,234.57" in shown


def test_on_80_columns_ordinary_budgets_show_every_amount(run: Run) -> None:
    Path("rules.toml").write_text(
        'store = "new.db"\n[[budget]]\nname = "daily"\ntenant = "each"\nusd = 5000\nper = "day"'
    )
    (headings,) = _headings(
        run("budgets", terminal=True, COLUMNS="80", NO_COLOR="1").replace("\x1b[1m", "").replace("\x1b[0m", "")
    )
    assert headings == ["budget", "used", "limit", "settled", "reserved", "left", "resets"]


@pytest.mark.parametrize("command", ["budgets", "report", "trace last"])
@pytest.mark.parametrize("terminal", [True, False])
def test_an_encoding_without_block_characters_gets_none(run: Run, command: str, terminal: bool) -> None:
    assert not re.search(r"\\u25|\\u2", run(command, terminal=terminal, encoding="ascii", COLUMNS="200"))


@pytest.mark.parametrize("command", AS_JSON)
@pytest.mark.parametrize("encoding", ["utf-8", "ascii"])
def test_json_is_valid(run: Run, command: str, encoding: str) -> None:
    assert json.loads(run(f"{command} --json", encoding=encoding, stdout_only=True))


def test_every_command_is_looked_at() -> None:
    def names(command: object, above: str) -> set[str]:
        below = getattr(command, "commands", {})
        return {name for each, one in below.items() for name in names(one, f"{above} {each}")} or {above}

    offered = {name for top in cli.COMMANDS for name in names(cli.load(top), top)}
    assert {name for name in offered if not any(one.startswith(name) for one in COMMANDS)} == {"prices update"}
