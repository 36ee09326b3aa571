from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest
from typer.testing import CliRunner, Result

from genledger.cli import app
from genledger.engine.record import CallRecord, StepRecord
from genledger.ledger import Ledger
from genledger.pricing.cost import Cost, Part

MakeEntry = Callable[..., CallRecord]
Run = Callable[..., Result]
TRACE = 0xABCDEF << 104
LONG = "accounts/fireworks/models/llama-v3p1-405b-instruct"


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "ledger.db"


@pytest.fixture
def run(path: Path, monkeypatch: pytest.MonkeyPatch) -> Run:
    """Runs `genledger` on the test's ledger, on a terminal of the width given."""
    monkeypatch.setenv("GENLEDGER_LEDGER", str(path))

    def invoke(*arguments: str, width: int = 80) -> Result:
        return CliRunner().invoke(app, list(arguments), env={"COLUMNS": str(width)}, prog_name="genledger")

    return invoke


def lines(run: Run, width: int) -> list[str]:
    """The lines below the heading of the last trace."""
    done = run("trace", "last", width=width)
    assert done.exit_code == 0
    shown = [line.rstrip() for line in done.stdout.splitlines()]
    assert max(map(len, shown)) <= width
    return shown[1:] if width > 100 else shown[2:]


def test_a_trace_is_a_tree_with_the_cost_of_each_call(run: Run, path: Path, make_entry: MakeEntry) -> None:
    trace_id = 0xABCDEF << 104
    agent = StepRecord(trace_id, 1, 77, "agent", "helper", 100, 2.0, None)
    tool = StepRecord(trace_id, 2, 1, "tool", "look_up", 150, 1.0, "KeyError")
    calls = [
        make_entry(0.5, trace_id=trace_id, parent_span_id=1, started_ns=110),
        make_entry(0.25, trace_id=trace_id, parent_span_id=2, started_ns=160, attempts=2, retry_causes=("429",)),
        make_entry(None, trace_id=trace_id, parent_span_id=None, started_ns=170, outcome="timeout"),
    ]
    Ledger(path).write(calls, steps=[agent, tool])
    result = run("trace", "last", width=140)
    assert result.exit_code == 0
    heading, *tree = [line.rstrip() for line in result.stdout.splitlines()]
    assert heading.startswith(f"trace {trace_id:032x}")
    assert "3 calls  $0.7500  1 unpriced  acme / copilot" in heading
    assert [line[: line.index("─ ")] for line in tree] == ["├─", "│   ├─", "│   └─", "│       └─", "└─"]
    expected = (
        ("agent helper  $0.7500",),
        ("chat gpt-4o-mini-2024-07-18  $0.5000  120 in (20 cached), 15 out",),
        ("tool look_up  $0.2500", "KeyError"),
        ("$0.2500", "2 attempts (429)"),
        ("unpriced: unknown_model", "timeout"),
    )
    for line, parts in zip(tree, expected, strict=True):
        assert all(part in line for part in parts), line
    assert run("trace", "abcdef").stdout == run("trace", "last").stdout
    spans = json.loads(run("trace", "abcdef", "--json").stdout)
    assert [span["span_id"] for span in spans][:2] == [f"{1:016x}", f"{calls[0].span_id:016x}"]
    assert spans[1]["cost"]["amount"] == 0.5


def test_a_trace_in_json_has_the_parts_of_each_cost(run: Run, path: Path, make_entry: MakeEntry) -> None:
    cost = Cost(0.5, "table", (Part("input", 100, 0.005, 0.5),))
    Ledger(path).write([make_entry(cost=cost)])
    (call,) = json.loads(run("trace", "last", "--json").stdout)
    assert call["cost"]["parts"] == [{"bucket": "input", "count": 100, "rate": 0.005, "amount": 0.5}]


def test_every_step_shows_the_total_of_what_is_inside(run: Run, path: Path, make_entry: MakeEntry) -> None:
    steps = [
        StepRecord(TRACE, 1, None, "workflow", "flow", 100, 2.0, None),
        StepRecord(TRACE, 2, 1, "agent", "outer", 110, 1.0, None),
        StepRecord(TRACE, 3, 2, None, "", 120, 1.0, None),  # a span of the application
        StepRecord(TRACE, 4, 3, "agent", "inner", 130, 1.0, None),
        StepRecord(TRACE, 5, 99, "task", "orphan", 140, 1.0, None),
    ]
    calls = [
        make_entry(1.0, trace_id=TRACE, span_id=11, parent_span_id=2, started_ns=150),
        make_entry(2.0, trace_id=TRACE, parent_span_id=11, started_ns=160),  # inside a call
        make_entry(4.0, trace_id=TRACE, parent_span_id=4, started_ns=170),
        make_entry(8.0, trace_id=TRACE, parent_span_id=5, started_ns=180),
        make_entry(None, trace_id=TRACE, parent_span_id=5, started_ns=190),
        make_entry(16.0, trace_id=TRACE, parent_span_id=98, started_ns=200),
    ]
    Ledger(path).write(calls, steps=steps)
    shown = [line for line in lines(run, 140) if "chat" not in line]
    assert shown == [
        "├── workflow flow  $7.00  2.00 s",
        "│   └── agent outer  $7.00  1.00 s",
        "│       ├── agent inner  $4.00  1.00 s",
        "├── orphan  $8.00  1 unpriced  1.00 s",
    ]
    assert "6 calls  $31.00  1 unpriced" in run("trace", "last", width=140).stdout


def test_spans_that_go_in_a_circle_are_shown(run: Run, path: Path, make_entry: MakeEntry) -> None:
    circle = [StepRecord(TRACE, 1, 2, "agent", "a", 1, 1.0, None), StepRecord(TRACE, 2, 1, "agent", "b", 2, 1.0, None)]
    Ledger(path).write([make_entry(0.5, trace_id=TRACE, parent_span_id=2)], steps=circle)
    assert [line.split("  $")[0] for line in lines(run, 140)] == [
        "└── agent a",
        "    └── agent b",
        "        └── chat gpt-4o-mini-2024-07-18",
    ]


def test_a_line_that_is_too_long_breaks_between_its_parts(run: Run, path: Path, make_entry: MakeEntry) -> None:
    steps = [
        StepRecord(TRACE, 1, None, "workflow", "LangGraph", 100, 2.0, None),
        StepRecord(TRACE, 2, 1, "agent", "helper", 110, 1.0, None),
    ]
    calls = [
        make_entry(0.5, trace_id=TRACE, parent_span_id=2, started_ns=120, response_model=LONG),
        make_entry(0.5, trace_id=TRACE, parent_span_id=2, started_ns=130, attempts=2, retry_causes=("429",)),
    ]
    Ledger(path).write(calls, steps=steps)
    assert lines(run, 80) == [
        "└── workflow LangGraph  $1.0000  2.00 s",
        "    └── agent helper  $1.0000  1.00 s",
        f"        ├── chat {LONG}  $0.5000",
        "        │     120 in (20 cached), 15 out  0.50 s",
        "        └── chat gpt-4o-mini-2024-07-18  $0.5000  120 in (20 cached), 15 out",
        "              0.50 s  2 attempts (429)",
    ]


def test_a_deep_trace_is_whole_on_a_narrow_terminal(run: Run, path: Path, make_entry: MakeEntry) -> None:
    steps = [StepRecord(TRACE, at, at - 1 or None, "agent", f"agent_{at}", at, 1.0, None) for at in range(1, 41)]
    Ledger(path).write([make_entry(0.5, trace_id=TRACE, parent_span_id=40)], steps=steps)
    shown = lines(run, 80)
    for at in range(1, 41):
        assert any(f"agent agent_{at}  $0.5000  1.00 s" in line for line in shown)
    assert "chat gpt-4o-mini-2024-07-18" in shown[-2]
    assert "120 in (20 cached), 15 out  0.50 s" in shown[-1]


def test_a_trace_of_thousands_of_levels_is_cut_and_counted_whole(run: Run, path: Path, make_entry: MakeEntry) -> None:
    steps = [StepRecord(TRACE, at, at - 1 or None, "agent", f"agent_{at}", at, 1.0, None) for at in range(1, 2001)]
    Ledger(path).write([make_entry(0.5, trace_id=TRACE, span_id=9999, parent_span_id=2000)], steps=steps)
    for width in (80, 400):
        shown = lines(run, width)
        assert len(shown) == 61
        assert "agent agent_60  $0.5000" in shown[-2]
        assert shown[-1].endswith("… 1,941 deeper levels left out")


def test_a_name_is_neither_markup_nor_emoji(run: Run, path: Path, make_entry: MakeEntry) -> None:
    name = "[red]x[/] [link=http://x]:warning:"
    call = make_entry(response_model=name, trace_id=TRACE, parent_span_id=1)
    Ledger(path).write([call], steps=[StepRecord(TRACE, 1, None, "tool", name, 1, 1.0, None)])
    step, shown = lines(run, 200)
    assert f"tool {name}" in step
    assert f"chat {name}" in shown


def test_a_trace_that_is_not_there_or_not_the_only_one_is_an_error(run: Run, path: Path, make_entry: MakeEntry) -> None:
    assert "no ledger at" in run("trace", "last").stderr
    Ledger(path).write([make_entry(trace_id=0xA1 << 120), make_entry(trace_id=0xA2 << 120)])
    several = run("trace", "a")
    assert (several.exit_code, "several traces" in several.stderr) == (1, True)
    missing = run("trace", "ff")
    assert (missing.exit_code, "no call of trace 'ff'" in missing.stderr) == (1, True)
