"""`genledger query`: answers as tables, JSON, CSV and Parquet; bad input is one line."""

from __future__ import annotations

import csv
import io
import json
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from typer.testing import CliRunner, Result

from genledger.cli import app
from genledger.context.attribution import Attribution
from genledger.engine.record import CallRecord, ProductEvent
from genledger.ledger import Ledger
from genledger.ledger.fields import FIELDS, METRICS

Run = Callable[..., Result]
MakeEntry = Callable[..., CallRecord]

HOSTILE = [
    '=HYPERLINK("http://evil","x")',
    "+1",
    "-1+1",
    "@SUM(A1)",
    "\uff1d1",
    " =1",
    "\x1b[31mred",
    "a\r\nb",
    'q"u,o',
]


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "ledger.db"


@pytest.fixture
def run(path: Path, monkeypatch: pytest.MonkeyPatch) -> Run:
    monkeypatch.setenv("GENLEDGER_LEDGER", str(path))

    def invoke(*arguments: str, width: int = 80) -> Result:
        return CliRunner().invoke(app, ["query", *arguments], env={"COLUMNS": str(width)}, prog_name="genledger")

    return invoke


@pytest.fixture
def filled(path: Path, make_entry: MakeEntry) -> None:
    now = time.time_ns()
    hour = 3_600 * 10**9
    Ledger(path).write(
        [
            make_entry(3.0, started_ns=now, attribution=Attribution(tenant="acme", feature="copilot")),
            make_entry(1.0, started_ns=now, attribution=Attribution(tenant="acme", feature="search")),
            make_entry(0.5, started_ns=now - hour, attribution=Attribution(tenant="globex", feature="copilot")),
            make_entry(None, started_ns=now, attribution=Attribution(feature="search")),
            make_entry(2.0, started_ns=now - 30 * hour, attribution=Attribution(tenant="acme", feature="copilot")),
        ],
        [ProductEvent("draft_accepted", now, Attribution(tenant="acme", feature="copilot"), None, None, 1.0)],
    )


@pytest.mark.usefixtures("filled")
def test_a_table_has_rows_shares_and_the_whole(run: Run) -> None:
    result = run("-m", "cost", "--metric", "calls,error_rate", "--by", "tenant", "--by", "feature", "--since", "24h")
    assert result.exit_code == 0, result.stderr
    title, _, heading, _, *lines = result.stdout.splitlines()
    assert title.startswith("Cost, calls, error rate by tenant, feature")
    assert heading.split() == ["tenant", "feature", "cost", "calls", "error", "rate", "share"]
    words = [line.split() for line in lines if line.strip()]
    assert [line[:6] for line in words] == [
        ["acme", "copilot", "$3.0000", "1", "0.0%", "66.7%"],
        ["acme", "search", "$1.0000", "1", "0.0%", "22.2%"],
        ["globex", "copilot", "$0.5000", "1", "0.0%", "11.1%"],
        ["(none)", "search", "-", "1", "0.0%"],
        ["total", "$4.5000", "4", "0.0%", "100.0%"],
    ]


@pytest.mark.usefixtures("filled")
@pytest.mark.parametrize("width", [60, 80, 140])
@pytest.mark.parametrize(
    "options",
    [
        ("--by", "feature,model", "--every", "day"),
        ("-m", "cost,calls,cost_per_outcome", "--by", "feature", "--compare", "previous", "--since", "24h"),
        ("-m", "tokens,latency_p95,unpriced_share,users,outcome_value", "--every", "hour", "--since", "6h"),
    ],
)
def test_a_table_fits_the_terminal(run: Run, options: tuple[str, ...], width: int) -> None:
    result = run(*options, width=width)
    assert result.exit_code == 0, result.stderr
    table = [line for line in result.stdout.splitlines()[2:] if not line.startswith("compared with")]
    assert max(map(len, table)) <= width
    assert "…" not in "".join(table)


@pytest.mark.usefixtures("filled")
def test_a_comparison_shows_what_was_before(run: Run) -> None:
    output = run("-m", "cost", "--by", "tenant", "--compare", "previous", "--since", "24h").stdout
    rows = {line.split()[0]: line.split()[1:4] for line in output.splitlines()[4:] if line.strip()}
    assert rows["acme"] == ["$4.0000", "$2.0000", "+100.0%"]
    assert rows["globex"] == ["$0.5000", "-", "new"]
    assert rows["total"] == ["$4.5000", "$2.0000", "+125.0%"]


@pytest.mark.usefixtures("filled")
def test_json_has_every_row_and_what_was_asked(run: Run, path: Path) -> None:
    options = ("-m", "cost", "--by", "feature", "--where", "tenant=acme,globex", "--where", "feature!=search")
    found = json.loads(run(*options, "--since", "7d", "--tz", "Asia/Kolkata", "--json").stdout)
    assert found["rows"] == [{"feature": "copilot", "cost": 5.5}]
    assert (found["source"], found["tz"], found["metrics"]) == (str(path), "Asia/Kolkata", {"cost": "USD"})
    assert found["since"].endswith("+05:30")
    assert found["where"][0] == {"field": "tenant", "operator": "=", "values": ["acme", "globex"]}


@pytest.mark.usefixtures("filled")
def test_order_and_number_of_rows_are_as_asked(run: Run) -> None:
    found = json.loads(run("--by", "feature", "--sort", "-feature", "--top", "1", "--json").stdout)
    assert [row["feature"] for row in found["rows"]] == ["search"]
    assert "1 more row, included in the whole" in run("--by", "feature", "--top", "1").stdout


def test_no_name_is_a_formula_or_a_control_character_in_csv(run: Run, path: Path, make_entry: MakeEntry) -> None:
    now = time.time_ns()
    Ledger(path).write(
        [
            make_entry(1.0, started_ns=now, response_model=name, attribution=Attribution(metadata={"k\n=": "v"}))
            for name in HOSTILE
        ]
    )
    result = run("-m", "calls,unpriced_share", "--by", "model,metadata.k\n=", "--csv")
    assert result.exit_code == 0, result.stderr
    heading, *rows = csv.reader(io.StringIO(result.stdout))
    assert heading == ["model", r"metadata.k\n=", "calls", "unpriced_share"]
    assert len(rows) == len(HOSTILE)
    assert all(row[2:] == ["1", "0.0"] for row in rows)
    for row in rows:
        assert row[0].isprintable()
        assert row[0].lstrip()[0] not in "=+-@\uff1d\uff0b\uff0d\uff20"
    assert "'-1+1" in {row[0] for row in rows}


@pytest.mark.usefixtures("filled")
def test_what_is_unknown_is_empty_in_csv(run: Run) -> None:
    lines = run("-m", "cost,calls", "--by", "tenant", "--csv", "--since", "24h").stdout.splitlines()
    assert lines == ["tenant,cost,calls", "acme,4.0,2", "globex,0.5,1", ",,1"]


@pytest.mark.usefixtures("filled")
def test_a_parquet_file_has_types(run: Run, tmp_path: Path) -> None:
    parquet = pytest.importorskip("pyarrow.parquet")
    file = tmp_path / "spend.parquet"
    options = ("-m", "cost,calls", "--by", "tenant,stream", "--every", "day", "--tz", "Europe/Berlin")
    result = run(*options, "--parquet", str(file))
    assert (result.exit_code, result.stderr) == (0, "")
    assert "rows written to" in result.stdout
    table = parquet.read_table(file)
    assert {name: str(kind) for name, kind in zip(table.schema.names, table.schema.types, strict=True)} == {
        "time": "timestamp[us, tz=Europe/Berlin]",
        "tenant": "string",
        "stream": "string",
        "cost": "double",
        "calls": "int64",
    }
    assert sum(table.column("calls").to_pylist()) == 5
    again = run(*options, "--parquet", str(tmp_path))
    assert again.exit_code == 1
    assert again.stderr.startswith(f"error: {tmp_path} cannot be written: ")


@pytest.mark.usefixtures("filled")
def test_without_pyarrow_one_line_says_what_to_install(
    run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "pyarrow", None)  # type: ignore[arg-type]
    result = run("--parquet", str(tmp_path / "x.parquet"))
    assert result.exit_code == 1
    assert result.stderr == (
        "error: --parquet needs the package pyarrow, which is not installed; install genledger[analytics]\n"
    )


@pytest.mark.usefixtures("filled")
@pytest.mark.parametrize(
    ("options", "said"),
    [
        (("-m", "costs"), "error: there is no metric 'costs'; did you mean cost?"),
        (("--by", "colour"), "error: there is no field 'colour'"),
        (("--where", "tenant"), "error: 'tenant' is no condition"),
        (("--since", "soon"), "error: 'soon' is neither a duration"),
        (("--since", "1d", "--until", "2d"), "error: the period is empty"),
        (("--tz", "Nowhere"), "error: there is no time zone 'Nowhere'"),
        (("--every", "year"), "error: there is no time grain 'year'"),
        (("--compare", "last"), "error: there is no comparison with 'last'"),
        (("--sort", "price"), "error: order 'price' is none of"),
        (("--from", "excel"), "error: --from excel is neither ledger nor langfuse"),
        (("--json", "--csv"), "error: --json, --csv and --parquet"),
        (("--every", "hour", "--since", "1990-01-01"), "error: the period has more than"),
        (("--by", "\x1b[31m"), r"error: there is no field '\x1b[31m'"),
    ],
)
def test_bad_input_is_one_line_and_a_nonzero_exit(run: Run, options: tuple[str, ...], said: str) -> None:
    result = run(*options)
    assert (result.exit_code, result.stdout) == (1, "")
    assert result.stderr.startswith(said)
    assert result.stderr.count("\n") == 1


def test_a_ledger_that_is_missing_empty_or_foreign_is_an_error(run: Run, path: Path, tmp_path: Path) -> None:
    missing = run("--since", "all")
    assert missing.stderr.startswith(f"error: there is no ledger at {path}. ")
    Ledger(path).open()
    empty = run("--since", "all", "--json")
    assert empty.stderr.startswith(f"error: The ledger {path} has no calls yet. ")
    other = tmp_path / "other.db"
    other.write_text("no database" * 100)
    foreign = run("--ledger", str(other))
    assert foreign.stderr.startswith(f"error: ledger {other}: file is not a database")
    assert {missing.exit_code, empty.exit_code, foreign.exit_code} == {1}
    assert {one.stderr.count("\n") for one in (missing, empty, foreign)} == {1}


@pytest.mark.usefixtures("filled")
def test_no_match_is_said(run: Run) -> None:
    result = run("--where", "tenant=nobody")
    assert result.exit_code == 0
    assert result.stdout.startswith("No calls match in ")


def test_help_teaches_by_examples_and_names_every_metric_and_field(run: Run) -> None:
    text = run("--help").stdout
    words = set(text.replace(",", " ").replace(".", " ").split())
    assert set(METRICS) <= words
    assert set(FIELDS) <= words
    assert text.count("genledger query") >= 7
    assert max(map(len, text.splitlines())) <= 84
