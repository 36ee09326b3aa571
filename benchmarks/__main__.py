"""`python -m benchmarks`: make the environments, measure, print the tables, say which bars hold."""

from __future__ import annotations

import json
import os
import platform
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import Annotated

import typer
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

from benchmarks.clocks import clock
from benchmarks.contenders import BARE, CONTENDERS, Contender
from benchmarks.counting import CannotCount, Count, count
from benchmarks.environments import REQUIREMENTS, Environment, EnvironmentMissing
from benchmarks.processes import Process, ProcessFailed
from benchmarks.report import print_results
from benchmarks.results import OURS, REFERENCE, Added, Growth, Results
from benchmarks.sink import sink
from benchmarks.starting import STARTS, start_times
from benchmarks.telemetry import SETTINGS
from benchmarks.traffic import CASES

PARTS = ("instructions", "clocks", "start", "memory", "scale")
QUICK_CASES = ("chat", "stream_20", "message", "parsed_stream_20", "parsed_stream_200")


@dataclass(frozen=True)
class Effort:
    """How much of everything one run does."""

    calls: int
    seeds: tuple[int, ...]
    rounds: int
    clock_calls: int
    starts: int
    grown: int
    traced: int
    open_streams: tuple[int, ...]
    offered_s: float
    tenants: tuple[int, ...]
    tenant_calls: int


# Traced memory is looked at from the middle on: what is remembered of the last few thousand calls is full by then.
FULL = Effort(45, (0, 1, 2), 15, 40, 15, 50_000, 20_000, (1, 100, 1_000, 10_000), 10.0, (10, 1_000, 100_000), 5_000)
QUICK = Effort(30, (0,), 5, 20, 5, 5_000, 20_000, (1, 100, 1_000), 2.0, (10, 1_000), 1_000)


class Run:
    """One run of the benchmark: what to measure, how much, and what came of it."""

    def __init__(self, contenders: list[Contender], cases: list[str], settings: list[str], effort: Effort) -> None:
        self.contenders = contenders
        self.cases = cases
        self.settings = settings
        self.effort = effort
        self.results = Results(
            machine={"python": platform.python_version(), "machine": platform.platform(), "cpus": os.cpu_count()}
        )
        self.console = Console(stderr=True)

    def failed(self, contender: Contender | str, reason: str) -> None:
        """Note that something could not be measured; the run goes on."""
        name = contender if isinstance(contender, str) else contender.title
        self.results.missing[name] = reason

    @contextmanager
    def progress(self, title: str, steps: int) -> Iterator[Callable[[], None]]:
        """A bar that `steps` calls fill."""
        columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
        with Progress(*columns, console=self.console) as progress:
            task = progress.add_task(title, total=steps)
            yield lambda: progress.advance(task)

    def environments(self) -> None:
        """Make what is missing; contenders without their environment are left out."""
        names = dict.fromkeys(name for one in [BARE, *self.contenders] for name in (one.environment, one.bare))
        with self.progress("environments", len(names)) as step:
            for name in names:
                try:
                    Environment(name).make()
                except EnvironmentMissing as error:
                    self.contenders = [one for one in self.contenders if name not in (one.environment, one.bare)]
                    self.failed(name, str(error))
                step()

    def instructions(self) -> None:
        """Count what every contender adds, setting by setting.

        The reference and ours are counted with several hash seeds, the others with one: where objects lie changes
        a stream by a few hundredths of a million instructions.
        """
        chosen = [(one, setting) for setting in self.settings for one in self.contenders if setting in one.settings]
        seeds = {one.key: self.effort.seeds if one.key in (REFERENCE, OURS) else (0,) for one in self.contenders}
        processes = len({one.bare for one in self.contenders}) + len(self.effort.seeds) - 1
        processes += sum(len(seeds[one.key]) for one, _ in chosen)
        with self.progress("instructions", len(self.cases) * processes) as step:
            bare: dict[tuple[str, int], dict[str, Count]] = {}
            for one, setting in chosen:
                pairs: list[tuple[dict[str, Count], dict[str, Count]]] = []
                try:
                    for seed in seeds[one.key]:
                        if (one.bare, seed) not in bare:
                            bare[one.bare, seed] = self._count(BARE, "on", seed, step, one.bare)
                        pairs.append((self._count(one, setting, seed, step), bare[one.bare, seed]))
                except CannotCount as error:
                    return self.failed("instructions", str(error))
                except ProcessFailed as error:
                    self.failed(one, str(error))
                    continue
                for case in self.cases:
                    theirs = [(counted[case], nothing[case]) for counted, nothing in pairs]
                    self.results.added.append(_added(one, setting, case, theirs))
        return None

    def _count(
        self, one: Contender, setting: str, seed: int, step: Callable[[], None], environment: str | None = None
    ) -> dict[str, Count]:
        counted = {}
        for case, seen in count(one, setting, self.cases, self.effort.calls, seed=seed, environment=environment):
            counted[case] = seen
            step()
        return counted

    def clocks(self) -> None:
        """Time every contender, setting by setting."""
        for setting in self.settings:
            chosen = [one for one in self.contenders if setting in one.settings]
            with self.progress(f"clocks, {setting}", len(self.cases) * (self.effort.rounds + 1)) as step:
                self.results.added += clock(
                    chosen,
                    setting,
                    self.cases,
                    rounds=self.effort.rounds,
                    calls=self.effort.clock_calls,
                    failed=self.failed,
                    step=step,
                )

    def start(self) -> None:
        """Time starts."""
        keys = [
            "sdk",
            *(one.key for one in self.contenders if one.key in STARTS and one.key != "sdk"),
        ]
        with self.progress("start", self.effort.starts + 1) as step:
            self.results.starts += start_times(keys, self.effort.starts, failed=self.failed, step=step)

    def memory(self) -> None:
        """Watch memory grow, or not."""
        effort = self.effort
        chosen = [BARE, *(one for one in self.contenders if one.key in (REFERENCE, OURS))]
        with self.progress("memory", len(chosen)) as step:
            for one in chosen:
                with Process(one, "on") as process:
                    plain = process.ask("grow", case="message", calls=effort.grown, steps=10, trace=False)
                    traced = process.ask("grow", case="message", calls=effort.traced, steps=10, trace=True)
                self.results.growth.append(
                    Growth(
                        one.key,
                        effort.grown,
                        [point["resident"] for point in plain],
                        effort.traced,
                        [point["traced"] for point in traced],
                    )
                )
                with Process(one, "on") as process:
                    self.results.streams[one.key] = process.ask(
                        "open_streams", case="message_stream_20", numbers=list(effort.open_streams)
                    )
                step()

    def scale(self) -> None:
        """Offer more than can be done, to many tenants, over many streams, to several destinations."""
        ours = next((one for one in self.contenders if one.key == OURS), None)
        if ours is None:
            return
        effort, scale = self.effort, self.results.scale
        with tempfile.TemporaryDirectory(prefix="scale-bench-") as home:
            ledger = str(Path(home) / "ledger.db")
            variables = {
                "GENLEDGER_LEDGER": ledger,
                "GENLEDGER_SPOOL": str(Path(home) / "spool"),
                "OTEL_EXPORTER_OTLP_ENDPOINT": sink(),
                "LANGFUSE_BASE_URL": sink(),
                "LANGFUSE_PUBLIC_KEY": "pk-lf-none",
                "LANGFUSE_SECRET_KEY": "sk-lf-none",
            }
            with self.progress("scale", 7) as step:
                offered = scale["offered"] = {}
                flow = {"per_second": 50_000, "seconds": effort.offered_s}
                with Process(ours, "on", program="benchmarks.scale", variables=variables) as process:
                    offered["Genledger, 1 thread"] = process.ask("offer", threads=1, **flow)
                    step()
                    offered["Genledger, 8 threads"] = process.ask("offer", threads=8, **flow)
                    scale["books"] = process.ask("books", ledger=ledger)
                    step()
                    scale["tenants"] = process.ask("tenants", numbers=list(effort.tenants), calls=effort.tenant_calls)
                    step()
                    scale["streams"] = process.ask("streams", numbers=list(effort.open_streams))
                    step()
                with Process(BARE, "on", program="benchmarks.scale") as process:
                    took = offered["Genledger, 1 thread"]["median_us"]
                    title = "a loop of plain Python as long, 8 threads"
                    offered[title] = process.ask("offer", threads=8, plain_us=took, **flow)
                    scale["streams_bare"] = process.ask("streams", numbers=list(effort.open_streams))
                    step()
                with Process(ours, "on", program="benchmarks.scale", variables=variables) as process:
                    scale["destinations"] = process.ask(
                        "destinations",
                        names=[[], ["ledger"], ["ledger", "otlp"], ["ledger", "otlp", "langfuse"]],
                        calls=effort.tenant_calls,
                    )
                    step()
                with Process(ours, "on", program="benchmarks.scale", variables=variables) as process:
                    stuck = process.ask("offer", threads=8, stuck=True, **flow)
                    offered["Genledger, 8 threads, an exporter that hangs"] = stuck
                    step()


def _added(one: Contender, setting: str, case: str, pairs: list[tuple[Count, Count]]) -> Added:
    amounts = [counted.caller - nothing.caller for counted, nothing in pairs]
    blocks = max(counted.spread + nothing.spread for counted, nothing in pairs)
    return Added(
        "instructions",
        one.key,
        setting,
        case,
        median(amounts),
        max(blocks, max(amounts) - min(amounts)),
        median(nothing.caller for _, nothing in pairs),
        median(counted.export - nothing.export for counted, nothing in pairs),
        median(counted.others - nothing.others for counted, nothing in pairs),
        pairs[0][0].spans,
    )


def _choose(given: list[str] | None, known: list[str], what: str) -> list[str]:
    wrong = [name for name in given or () if name not in known]
    if wrong:
        raise typer.BadParameter(f"no such {what}: {', '.join(wrong)}; there are: {', '.join(known)}")
    return [name for name in known if name in given] if given else known


def main(
    quick: Annotated[bool, typer.Option(help="Few cases, fewer repetitions, content and metrics on only.")] = False,
    json_file: Annotated[
        Path | None, typer.Option("--json", help="Also write everything measured to this file.")
    ] = None,
    part: Annotated[list[str] | None, typer.Option(help=f"Only these parts: {', '.join(PARTS)}.")] = None,
    contender: Annotated[list[str] | None, typer.Option(help="Only these, besides the hand-written span.")] = None,
    case: Annotated[list[str] | None, typer.Option(help="Only these cases.")] = None,
    setting: Annotated[list[str] | None, typer.Option(help="Only these settings.")] = None,
) -> None:
    """Measure what instrumentation costs, and say which bars hold."""
    wanted = _choose(contender, [key for key in CONTENDERS if key != "nothing"], "contender")
    cases = _choose(case or (list(QUICK_CASES) if quick else None), list(CASES), "case")
    settings = _choose(setting or (["on"] if quick else None), list(SETTINGS), "setting")
    contenders = [CONTENDERS[key] for key in dict.fromkeys([REFERENCE, *wanted])]
    run = Run(contenders, cases, settings, QUICK if quick else FULL)
    run.environments()
    run.results.machine["environments"] = {one.environment: REQUIREMENTS[one.environment] for one in run.contenders}
    for name in _choose(part, list(PARTS), "part"):
        try:
            getattr(run, name)()
        except ProcessFailed as error:
            run.failed(name, str(error))
    # Rich takes 80 columns where there is no terminal, which cuts the names.
    console = Console()
    print_results(run.results, console if console.is_terminal else Console(width=140))
    if json_file is not None:
        json_file.write_text(json.dumps(run.results.as_json(), indent=1) + "\n")


if __name__ == "__main__":
    typer.run(main)
