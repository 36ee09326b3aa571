from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from zoneinfo import ZoneInfo

import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from typer.testing import CliRunner, Result

from genledger.cli import app
from genledger.cli.output import count, digits_for, money
from genledger.context.attribution import Attribution
from genledger.engine.record import CallRecord, ProductEvent, StepRecord
from genledger.ledger import Ledger

MakeEntry = Callable[..., CallRecord]
Report = Callable[..., Result]


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "ledger.db"


@pytest.fixture
def run(path: Path, monkeypatch: pytest.MonkeyPatch) -> Report:
    """Runs `genledger` on the test's ledger, on a terminal of the width given."""
    monkeypatch.setenv("GENLEDGER_LEDGER", str(path))

    def invoke(*arguments: str, width: int = 80) -> Result:
        return CliRunner().invoke(app, list(arguments), env={"COLUMNS": str(width)}, prog_name="genledger")

    return invoke


@pytest.fixture
def filled(path: Path, make_entry: MakeEntry) -> Ledger:
    now = time.time_ns()
    ledger = Ledger(path)
    ledger.write(
        [
            make_entry(2.5, started_ns=now, attribution=Attribution(tenant="acme", feature="copilot")),
            make_entry(0.5, started_ns=now, attribution=Attribution(tenant="globex", feature="copilot")),
            make_entry(None, started_ns=now, attribution=Attribution(tenant="acme", feature="search")),
            make_entry(1.0, started_ns=now, attribution=Attribution(), outcome="timeout", error_type="timeout"),
            make_entry(1.0, started_ns=now - 8 * 86_400 * 10**9, attempts=2, retry_causes=("429",)),
        ],
        [ProductEvent("draft_accepted", now, Attribution(tenant="acme", feature="copilot"), None, None, 1.0)] * 2,
    )
    return ledger


def test_latency_is_the_mean_of_the_calls_that_succeeded(run: Report, path: Path, make_entry: MakeEntry) -> None:
    now = time.time_ns()
    Ledger(path).write(
        [
            make_entry(1.0, started_ns=now, duration_s=1.0),
            make_entry(1.0, started_ns=now, duration_s=2.0),
            make_entry(1.0, started_ns=now, duration_s=60.0, outcome="timeout", error_type="timeout"),
        ],
        [],
    )
    assert json.loads(run("report", "--json").stdout)["total"]["latency_s"] == 1.5
    assert "1.50 s" in run("report", width=120).stdout


@pytest.mark.usefixtures("filled")
def test_json_has_every_number(run: Report, path: Path) -> None:
    result = run("report", "--json", "--by", "feature", "--since", "7d")
    assert result.exit_code == 0
    found = json.loads(result.stdout)
    assert (found["ledger"], found["by"], found["until"], found["tenant"]) == (str(path), "feature", None, None)
    assert found["rows"][0] == {
        "key": "copilot",
        "calls": 2,
        "priced": 2,
        "unpriced": 0,
        "unpriced_reasons": {},
        "errors": 0,
        "succeeded": 2,
        "latency_s": 0.5,
        "input_tokens": 240,
        "output_tokens": 30,
        "cached_tokens": 40,
        "cost_usd": 3.0,
        "share": 0.75,
    }
    assert [row["key"] for row in found["rows"]] == ["copilot", None, "search"]
    assert found["rows"][2]["cost_usd"] is None
    assert found["rows"][2]["unpriced_reasons"] == {"unknown_model": 1}
    assert (found["total"]["cost_usd"], found["total"]["calls"], found["total"]["errors"]) == (4.0, 4, 1)
    (outcome,) = found["outcomes"]
    assert (outcome["name"], outcome["outcomes"], outcome["cost_per_outcome"]) == ("draft_accepted", 2, 1.5)
    assert found["retries"]["calls"] == 0


@pytest.mark.usefixtures("filled")
@pytest.mark.parametrize("width", [80, 140])
@pytest.mark.parametrize(
    "by", ["feature", "tenant", "model", "user", "session", "prompt_version", "provider", "day", "agent"]
)
def test_tables_fit_the_terminal_and_show_what_is_unpriced(run: Report, by: str, width: int) -> None:
    result = run("report", "--by", by, width=width)
    assert result.exit_code == 0
    assert max(map(len, result.stdout.splitlines())) <= width
    assert "1 call unpriced (unknown_model: 1)" in result.stdout
    total = next(line for line in result.stdout.splitlines() if line.startswith("total"))
    assert "$4.0000" in total
    assert "█" in result.stdout or width == 80


@pytest.mark.parametrize(("width", "columns"), [(140, {"cached", "errors"}), (90, {"errors"}), (80, set())])
def test_a_narrow_terminal_does_without_some_columns_before_it_breaks_names(
    run: Report, path: Path, make_entry: MakeEntry, width: int, columns: set[str]
) -> None:
    model = "claude-haiku-4-5-20251001-v1"
    Ledger(path).write([make_entry(response_model=model, started_ns=time.time_ns(), outcome="error")])
    lines = run("report", "--by", "model", width=width).stdout.splitlines()
    assert set(lines[1].split()) & {"cached", "errors"} == columns
    assert any(line.startswith(f"{model} ") for line in lines)


def test_a_terminal_without_block_characters_gets_none(path: Path, make_entry: MakeEntry) -> None:
    Ledger(path).write([make_entry(started_ns=time.time_ns())])
    script = f"import sys; sys.path[:0] = {sys.path!r}; from genledger.cli import main; main()"
    done = subprocess.run(
        [sys.executable, "-c", script, "report", "--ledger", str(path)],
        capture_output=True,
        check=True,
        env={**os.environ, "COLUMNS": "140", "PYTHONIOENCODING": "ascii"},
    )
    assert b"copilot" in done.stdout
    assert done.stdout.isascii()


@pytest.mark.usefixtures("filled")
def test_a_row_without_any_price_says_so(run: Report) -> None:
    lines = run("report").stdout.splitlines()
    (search,) = [line for line in lines if line.startswith("search")]
    assert "unpriced" in search
    assert "$" not in search


@pytest.mark.usefixtures("filled")
def test_the_cost_of_an_outcome_is_shown(run: Report) -> None:
    output = run("report", "--by", "tenant").stdout
    rows = [line.split() for line in output.splitlines() if line.startswith("draft_accepted")]
    assert rows == [
        ["draft_accepted", "copilot", "acme", "2", "0", "$2.5000", "$1.2500"],
        ["draft_accepted", "copilot", "globex", "0", "0", "$0.5000", "-"],
    ]


@pytest.mark.usefixtures("filled")
def test_retries_are_shown(run: Report) -> None:
    assert "1 call needed 1 retry (429: 1): $1.0000 and 0.5 s" in run("report", "--since", "all").stdout


@pytest.mark.usefixtures("filled")
def test_filters_and_period_choose_the_calls(run: Report) -> None:
    def calls(*options: str) -> int:
        return json.loads(run("report", "--json", *options).stdout)["total"]["calls"]

    assert calls("--since", "all") == 5
    assert calls("--since", "9d", "--until", "7d") == 1
    assert calls("--tenant", "acme") == 2
    assert calls("--tenant", "acme", "--feature", "search") == 1
    assert calls("--since", "1h", "--tenant", "nobody") == 0


@pytest.mark.usefixtures("filled")
def test_only_the_top_rows_are_shown_and_the_rest_announced(run: Report) -> None:
    shown = run("report", "--by", "tenant", "--top", "1").stdout
    assert "2 more rows" in shown
    assert "4.0000" in shown
    assert "further" not in run("report", "--by", "tenant", "--top", "0").stdout


@pytest.fixture
def only(monkeypatch: pytest.MonkeyPatch) -> None:
    """No destination is configured but what the test sets."""
    for name in list(os.environ):
        if name.startswith(("OTEL_", "LANGFUSE_", "GENLEDGER_DESTINATIONS")):
            monkeypatch.delenv(name)


ANYWHERE = pytest.mark.parametrize(
    ("variables", "advice"),
    [
        ({}, "call `genledger.instrument()` in it"),
        (
            {"OTEL_EXPORTER_OTLP_ENDPOINT": "http://collector:4318"},
            "calls go to otlp only. Set GENLEDGER_DESTINATIONS=otlp,ledger",
        ),
        ({"OTEL_TRACES_EXPORTER": "none"}, "calls go nowhere. Set GENLEDGER_DESTINATIONS=ledger"),
    ],
    ids=["ledger", "elsewhere", "nowhere"],
)


@pytest.mark.usefixtures("only")
@ANYWHERE
@pytest.mark.parametrize("command", [("report",), ("report", "--json"), ("trace", "last"), ("trace", "abc")])
def test_a_missing_ledger_is_an_error_with_advice_and_is_not_made(
    run: Report,
    path: Path,
    command: tuple[str, ...],
    variables: dict[str, str],
    advice: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    result = run(*command)
    assert (result.exit_code, result.stdout) == (1, "")
    assert f"error: there is no ledger at {path}. " in result.stderr
    assert advice in result.stderr
    assert not path.exists()


def test_a_missing_ledger_that_an_option_names_is_an_error_about_the_option(run: Report, tmp_path: Path) -> None:
    result = run("report", "--ledger", str(tmp_path / "none.db"))
    assert result.exit_code == 1
    assert "Check the path after --ledger" in result.stderr


@pytest.mark.usefixtures("only")
@ANYWHERE
def test_an_empty_ledger_says_where_the_calls_are(
    run: Report, path: Path, variables: dict[str, str], advice: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    Ledger(path).open()
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    result = run("report")
    assert result.exit_code == 0
    assert f"The ledger {path} has no calls yet. " in result.stdout
    assert advice in result.stdout
    assert json.loads(run("report", "--json").stdout)["rows"] == []
    last = run("trace", "last")
    assert last.exit_code == 1
    assert f"The ledger {path} has no calls yet. " in last.stderr


@pytest.mark.usefixtures("filled")
def test_a_period_without_calls_says_when_the_last_one_was(run: Report) -> None:
    result = run("report", "--since", "2999-01-01")
    assert result.exit_code == 0
    assert f"{datetime.now(UTC):%Y-%m-%d}" in result.stdout
    assert "--since all" in result.stdout


def test_a_file_that_is_no_ledger_is_an_error(run: Report, tmp_path: Path) -> None:
    other = tmp_path / "other.db"
    other.write_text("no database" * 100)
    result = run("report", "--ledger", str(other))
    assert result.exit_code == 1
    assert f"error: ledger {other}: file is not a database" in result.stderr


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (("--since", "soon"), "'soon' is neither a duration"),
        (("--since", "9" * 30 + "d"), "neither a duration"),
        (("--until", "7x"), "'7x' is neither"),
        (("--since", "1d", "--until", "2d"), "not before"),
        (("--by", "colour"), "Error: Invalid value for '--by': 'colour' is not one of 'feature', "),
        (("--top", "-1"), "--top"),
        (("--colour",), "--colour"),
        (("--tenant", "a", "--tenant", "b"), "Option '--tenant' is given 2 times; give it once."),
        (("--since=1d", "--since", "2d"), "Option '--since' is given 2 times"),
    ],
)
def test_a_bad_option_is_named(run: Report, options: tuple[str, ...], message: str) -> None:
    result = run("report", *options, width=200)
    assert result.exit_code == 2
    assert message in result.stderr


@given(st.floats(0, 1e12, exclude_min=True), st.floats(0, 1e12))
def test_money_that_is_not_zero_never_reads_as_zero(usd: float, largest: float) -> None:
    text = money(usd, digits_for(largest))
    assert any(digit in "123456789" for digit in text)
    assert float(text.lstrip("$").replace(",", "")) == pytest.approx(usd, rel=0.5, abs=1e-12)


@given(st.integers(0, 10**15))
@example(999_999)
def test_a_count_is_short_and_near_enough(number: int) -> None:
    text = count(number)
    assert len(text) <= 8
    assert not text.startswith("1000.0") or number >= 10**15
    size = {"k": 10**3, "M": 10**6, "G": 10**9, "T": 10**12}.get(text[-1], 1)
    assert float(text.rstrip("kMGT").replace(",", "")) * size == pytest.approx(number, abs=0.051 * size)


def runs_in(path: Path, make_entry: MakeEntry) -> None:
    now = time.time_ns()
    steps = [
        StepRecord(trace_id, span_id, parent, kind, name, now, 1.0, error, "acme", "copilot")
        for trace_id, span_id, parent, kind, name, error in (
            (5, 1, None, "workflow", "draft reply", None),
            (5, 2, 1, "agent", "writer", None),
            (5, 3, 2, "tool", "look_up", "KeyError"),
            (6, 1, None, "agent", "writer", None),
            (6, 2, 1, "tool", "look_up", None),
        )
    ]
    calls = [
        make_entry(3.0, trace_id=5, parent_span_id=2, started_ns=now),
        make_entry(1.0, trace_id=5, parent_span_id=2, started_ns=now),
        make_entry(1.0, started_ns=now),
    ]
    Ledger(path).write(calls, steps=steps)  # type: ignore[arg-type]


@pytest.mark.parametrize("width", [80, 140])
def test_the_runs_of_an_agent_are_shown_with_their_means(
    run: Report, path: Path, make_entry: MakeEntry, width: int
) -> None:
    runs_in(path, make_entry)
    spend, _, means = run("report", "--by", "agent", width=width).stdout.partition("Per run of an agent")
    assert [line.split()[:2] for line in spend.splitlines() if line[:1] in ("w", "(", "t")] == [
        ["writer", "2"],
        ["(none)", "1"],
        ["total", "3"],
    ]
    rows = [line.split() for line in means.splitlines() if line[:1] in ("w", "(", "t")]
    assert rows == [["writer", "2", "0", "1.0", "135", "$2.0000"], ["total", "2", "0", "1.0", "135", "$2.0000"]]
    assert max(map(len, (spend + means).splitlines())) <= width


def test_a_tool_without_calls_is_shown_with_its_failed_runs(run: Report, path: Path, make_entry: MakeEntry) -> None:
    runs_in(path, make_entry)
    spend, _, means = run("report", "--by", "tool").stdout.partition("Per run of a tool")
    assert "look_up" not in spend
    assert [line.split() for line in means.splitlines() if line.startswith("look_up")] == [
        ["look_up", "2", "1", "0.0", "0", "-"]
    ]
    assert "look_up" in run("report", "--by", "tool", "--tenant", "acme").stdout
    assert "look_up" not in run("report", "--by", "tool", "--tenant", "globex").stdout


def test_json_has_the_runs_and_their_means(run: Report, path: Path, make_entry: MakeEntry) -> None:
    runs_in(path, make_entry)
    found = json.loads(run("report", "--by", "workflow", "--json").stdout)
    assert [row["key"] for row in found["rows"]] == ["draft reply", None]
    means = ("runs", "failed_runs", "calls_per_run", "tokens_per_run", "cost_per_run")
    assert [found["rows"][0][name] for name in means] == [1, 0, 2.0, 270.0, 4.0]
    assert [found["rows"][1][name] for name in means] == [0, 0, None, None, None]
    assert [found["total"][name] for name in means] == [1, 0, 2.0, 270.0, 4.0]
    assert found["total"]["cost_usd"] == 5.0


def test_names_are_neither_markup_nor_emoji(run: Report, path: Path, make_entry: MakeEntry) -> None:
    name = "[red]x[/] [link=http://x]:warning:"
    Ledger(path).write([make_entry(response_model=name, started_ns=time.time_ns())])
    assert name in run("report", "--by", "model", width=140).stdout


@pytest.fixture
def varied(path: Path, make_entry: MakeEntry) -> None:
    now = time.time_ns()
    who = [
        (4.0, "acme", "copilot", ("red", "green"), "pro"),
        (2.0, "acme", "search", ("red",), "pro"),
        (1.0, "globex", "copilot", (), "free"),
        (0.5, "globex", "copilot", (), "free"),
    ]
    Ledger(path).write(
        [
            make_entry(
                usd,
                started_ns=now,
                response_model=f"model-{number % 2}",
                attribution=Attribution(tenant=tenant, feature=feature, tags=tags, metadata={"plan": plan}),
            )
            for number, (usd, tenant, feature, tags, plan) in enumerate(who)
        ]
    )


def table(result: Result) -> list[list[str]]:
    assert result.exit_code == 0, result.stderr
    return [line.split() for line in result.stdout.splitlines() if line.strip()]


@pytest.mark.usefixtures("varied")
def test_two_fields_are_a_matrix_that_adds_up(run: Report) -> None:
    title, _, heads, _, *lines = table(run("report", "--by", "tenant", "--by", "feature"))
    assert title == ["Cost", "by", "tenant,", "feature"]
    assert heads == ["tenant", "/", "feature", "copilot", "search", "total"]
    assert lines == [
        ["acme", "$4.0000", "$2.0000", "$6.0000"],
        ["globex", "$1.5000", "-", "$1.5000"],
        ["total", "$5.5000", "$2.0000", "$7.5000"],
    ]


@pytest.mark.usefixtures("varied")
def test_columns_of_a_matrix_that_do_not_fit_are_added_up(run: Report) -> None:
    lines = table(run("report", "--by", "tenant,trace", width=60))
    assert max(map(len, run("report", "--by", "tenant,trace", width=60).stdout.splitlines()[1:])) <= 60
    assert lines[2][-3:-1] == ["3", "others"]
    assert lines[-1][-1] == "$7.5000"


@pytest.mark.usefixtures("varied")
def test_a_day_may_be_one_of_two_fields(run: Report) -> None:
    _, _, heads, _, *lines = table(run("report", "--by", "day", "--by", "tenant", "--tz", "Asia/Kathmandu"))
    assert heads == ["day", "/", "tenant", "acme", "globex", "total"]
    assert lines[-1] == ["total", "$6.0000", "$1.5000", "$7.5000"]


@pytest.mark.usefixtures("varied")
def test_more_than_two_fields_are_a_table(run: Report) -> None:
    lines = table(run("report", "--by", "tenant,feature,model"))
    assert [line[:5] for line in lines[4:]] == [
        ["acme", "copilot", "model-0", "$4.0000", "1"],
        ["acme", "search", "model-1", "$2.0000", "1"],
        ["globex", "copilot", "model-0", "$1.0000", "1"],
        ["globex", "copilot", "model-1", "$0.5000", "1"],
        ["total", "$7.5000", "4", "100.0%"],
    ]
    found = json.loads(run("report", "--by", "tenant,model", "--tenant", "acme", "--json").stdout)
    assert [row["cost"] for row in found["rows"]] == [4.0, 2.0]


@pytest.mark.usefixtures("varied")
def test_a_call_counts_for_each_of_its_tags_and_once_in_the_total(run: Report) -> None:
    found = json.loads(run("report", "--by", "tag", "--json").stdout)
    assert {row["key"]: (row["cost_usd"], row["share"]) for row in found["rows"]} == {
        "red": (6.0, 0.8),
        "green": (4.0, pytest.approx(4 / 7.5)),
        None: (1.5, 0.2),
    }
    assert (found["total"]["cost_usd"], found["total"]["calls"]) == (7.5, 4)
    (total,) = [line for line in table(run("report", "--by", "tag")) if line[0] == "total"]
    assert "$7.5000" in total


@pytest.mark.usefixtures("varied")
def test_metadata_and_any_field_of_a_call_can_be_reported(run: Report) -> None:
    for field, keys in (("metadata.plan", ["pro", "free"]), ("operation", ["chat"]), ("outcome", ["success"])):
        found = json.loads(run("report", "--by", field, "--json").stdout)
        assert [row["key"] for row in found["rows"]] == keys
        assert found["by"] == field


def test_the_ten_dearest_traces_are_shown_whole(run: Report, path: Path, make_entry: MakeEntry) -> None:
    now = time.time_ns()
    entries = [make_entry(float(usd), started_ns=now) for usd in range(1, 13)]
    Ledger(path).write(entries)
    lines = table(run("report", "--by", "trace"))
    traces = [line[0] for line in lines if len(line[0]) == 32]
    assert traces == [f"{entry.trace_id:032x}" for entry in reversed(entries[2:])]
    assert "2 more rows" in run("report", "--by", "trace").stdout


@pytest.mark.usefixtures("varied")
def test_rows_are_sorted_by_a_column(run: Report) -> None:
    def keys(*options: str) -> list[str]:
        return [row["key"] for row in json.loads(run("report", *options, "--json").stdout)["rows"]]

    assert keys("--by", "tenant", "--sort", "cost") == ["globex", "acme"]
    assert keys("--by", "tenant", "--sort", "-tenant") == ["globex", "acme"]
    result = run("report", "--sort", "price")
    assert (result.exit_code, result.stderr.count("\n")) == (1, 1)
    assert "no column 'price' to sort by" in result.stderr


def test_a_named_period_and_a_day_are_cut_in_the_zone(run: Report, path: Path, make_entry: MakeEntry) -> None:
    zone = ZoneInfo("Asia/Kathmandu")  # five hours and three quarters ahead
    midnight = datetime.now(zone).replace(hour=0, minute=0, second=0, microsecond=0)
    times = (midnight - timedelta(minutes=1), midnight - timedelta(hours=23), midnight - timedelta(hours=25))
    Ledger(path).write([make_entry(1.0, started_ns=int(when.timestamp()) * 10**9) for when in times])
    options = ("report", "--since", "yesterday", "--by", "day", "--tz", "Asia/Kathmandu", "--json")
    found = json.loads(run(*options).stdout)
    assert [(row["key"], row["calls"]) for row in found["rows"]] == [(f"{midnight - timedelta(days=1):%Y-%m-%d}", 2)]
