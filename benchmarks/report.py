"""The tables that a person reads."""

from __future__ import annotations

from collections.abc import Sequence

from rich.console import Console
from rich.table import Table

from benchmarks.contenders import CONTENDERS
from benchmarks.results import OURS, REFERENCE, SLOPES, Added, Instrument, Results, bars
from benchmarks.telemetry import SETTINGS
from benchmarks.traffic import CASES

_TITLES = {
    **{case.key: case.title for case in CASES.values()},
    "chunk": "per further chunk",
    "message_event": "per further Anthropic event",
}
_UNITS: dict[Instrument, str] = {
    "instructions": "millions of instructions",
    "cpu": "microseconds of the caller's CPU",
    "wall": "microseconds by the wall clock",
}


def print_results(results: Results, console: Console) -> None:
    """Everything that was measured."""
    for instrument in _UNITS:
        if any(one.instrument == instrument for one in results.added):
            _contenders(results, instrument, console)
            _settings(results, instrument, console)
    _elsewhere(results, console)
    _starts(results, console)
    _memory(results, console)
    _scale(results, console)
    for name, reason in results.missing.items():
        console.print(f"[yellow]not measured:[/] {name}: {reason}")
    _bars(results, console)


def _table(title: str, first: str, columns: Sequence[str]) -> Table:
    table = Table(title=title, title_justify="left", header_style="bold")
    table.add_column(first)
    for column in columns:
        table.add_column(column, justify="right")
    return table


def _cases(results: Results) -> list[str]:
    measured = {one.case for one in results.added}
    cases = [key for key in CASES if key in measured and not key.startswith("parsed_")]
    return cases + [slope for slope, (short, long) in SLOPES.items() if {short, long} <= measured]


def _cell(results: Results, one: Added | None) -> str:
    if one is None or (one.spans == 0 and one.setting != "sampled out"):
        return "–"
    ratio = results.ratio(one)
    amount = f"{one.amount:.3f}" if one.instrument == "instructions" else f"{one.amount:,.0f}"
    if one.case in SLOPES:
        amount = f"{one.amount:.4f}" if one.instrument == "instructions" else f"{one.amount:.1f}"
    spread = "" if one.instrument == "instructions" else f" ±{one.spread / 2:,.0f}"
    return f"{amount}{spread}" + (f" [bold]({ratio:.1f})[/]" if ratio is not None else "")


def _contenders(results: Results, instrument: Instrument, console: Console) -> None:
    cases = _cases(results)
    keys = [key for key in CONTENDERS if any(one.contender == key for one in results.added)]
    title = f"Added to one call, content and metrics on: {_UNITS[instrument]} (ratio to the hand-written span)"
    table = _table(title, "", [CONTENDERS[key].title for key in keys])
    for case in cases:
        row = [_cell(results, results.find(instrument, key, "on", case)) for key in keys]
        if any(cell != "–" for cell in row):
            table.add_row(_TITLES[case], *row)
    console.print(table)


def _settings(results: Results, instrument: Instrument, console: Console) -> None:
    settings = [name for name in SETTINGS if any(one.setting == name for one in results.added)]
    if len(settings) < 2:
        return
    columns = [f"{CONTENDERS[key].title}, {name}" for name in settings for key in (REFERENCE, OURS)]
    table = _table(f"The same with parts switched off: {_UNITS[instrument]}", "", columns)
    for case in _cases(results):
        row = [
            _cell(results, results.find(instrument, key, name, case)) for name in settings for key in (REFERENCE, OURS)
        ]
        if any(cell != "–" for cell in row):
            table.add_row(_TITLES[case], *row)
    console.print(table)


def _elsewhere(results: Results, console: Console) -> None:
    counted = [one for one in results.added if one.instrument == "instructions" and one.setting == "on"]
    if not counted:
        return
    table = _table(
        "Where the work is done, content and metrics on: millions of instructions per chat call",
        "",
        ["caller", "other threads", "spans", "one flush of the queues"],
    )
    for one in counted:
        if one.case == "chat":
            row = (f"{one.amount:.3f}", f"{one.others:.3f}", f"{one.spans:.0f}", f"{one.export:.2f}")
            table.add_row(CONTENDERS[one.contender].title, *row)
    console.print(table)


def _starts(results: Results, console: Console) -> None:
    if not results.starts:
        return
    table = _table(
        "Start, over the OpenTelemetry SDK's own (OTLP/HTTP exporters for three signals)",
        "",
        ["ms CPU, floor", "median", "±", "ms wall", "modules", "+ ms", "+ modules", "clients imported", "heaviest"],
    )
    own = {one.client: one for one in results.starts if one.contender == "sdk"}
    for one in results.starts:
        base = own.get(one.client)
        name = "OpenTelemetry SDK" if one.contender == "sdk" else CONTENDERS[one.contender].title
        more = ("", "") if base is None else (f"{one.floor_ms - base.floor_ms:+.0f}", f"{one.modules - base.modules:+}")
        heaviest = " ".join(f"{package} {count}" for package, count in list(one.heaviest.items())[:5])
        table.add_row(
            name + (", then openai" if one.client else ""),
            f"{one.floor_ms:.0f}",
            f"{one.cpu_ms:.0f}",
            f"{one.spread_ms / 2:.0f}",
            f"{one.wall_ms:.0f}",
            str(one.modules),
            *more,
            " ".join(one.clients_imported),
            heaviest,
        )
    console.print(table)


def _memory(results: Results, console: Console) -> None:
    if results.growth:
        table = _table("Memory over many chat calls", "", ["calls", "resident, kB", "Python's, bytes per call"])
        for growth in results.growth:
            resident = (growth.resident_bytes[-1] - growth.resident_bytes[0]) / 1024
            table.add_row(
                CONTENDERS[growth.contender].title, f"{growth.calls:,}", f"{resident:+,.0f}", f"{growth.per_call:+.2f}"
            )
        console.print(table)
    if results.streams:
        numbers = [int(point["streams"]) for point in next(iter(results.streams.values()))]
        table = _table("Bytes that Python holds per open stream", "", [f"{number:,} open" for number in numbers])
        for contender, points in results.streams.items():
            table.add_row(CONTENDERS[contender].title, *(f"{point['bytes']:,.0f}" for point in points))
        console.print(table)


def _scale(results: Results, console: Console) -> None:
    scale = results.scale
    if not scale:
        return
    table = _table(
        "Calls offered in one process, content on",
        "",
        ["offered", "done", "median µs", "99 % µs", "waited, 99 % µs", "waited, most µs"],
    )
    for name, row in scale["offered"].items():
        numbers = ("offered", "done", "median_us", "p99_us", "waited_p99_us", "waited_max_us")
        table.add_row(name, *(f"{row[number]:,.0f}" for number in numbers))
    console.print(table)
    console.print(f"Books after that: {scale['books']}")
    for title, kind, unit in (
        ("by tenants", "tenants", "call"),
        ("by open streams", "streams", "chunk"),
        ("by open streams, nothing instrumented", "streams_bare", "chunk"),
    ):
        key = "streams" if kind == "streams_bare" else kind
        points = "  ".join(f"{point[key]:,.0f}: {point['cpu']:.1f}" for point in scale[kind])
        console.print(f"Microseconds of CPU per {unit}, {title}: {points}")
    table = _table("By destinations", "", ["caller, µs", "process, µs", "what they say"])
    for point in scale["destinations"]:
        table.add_row(
            point["destinations"], f"{point['cpu']:.0f}", f"{point['process']:.0f}", str(point["stats"]) or "–"
        )
    console.print(table)


def _bars(results: Results, console: Console) -> None:
    table = _table("Bars", "", ["bar", "measured", ""])
    for bar in bars(results):
        mark = {True: "[green]✓[/]", False: "[red]✗[/]", None: "–"}[bar.kept]
        table.add_row(bar.title, bar.limit, bar.measured, mark)
    console.print(table)
