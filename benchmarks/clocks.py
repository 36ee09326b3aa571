"""What a call costs by the clock: interleaved rounds, so that a busy moment of the machine hits everybody.

The caller's CPU time leaves out what waits for other processes; wall time is what the application sees.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack
from statistics import median, quantiles

from benchmarks.contenders import BARE, Contender
from benchmarks.processes import Process, ProcessFailed
from benchmarks.results import Added, Instrument
from benchmarks.traffic import CASES


def clock(
    contenders: Sequence[Contender],
    setting: str,
    cases: Sequence[str],
    *,
    rounds: int,
    calls: int,
    failed: Callable[[Contender, str], None],
    step: Callable[[], None],
) -> Iterator[Added]:
    """Time every case of every contender, and of nothing, in turns; what each adds is taken round by round."""
    with ExitStack() as stack:
        bare: dict[str, Process] = {}
        running: dict[str, Process] = {}
        for contender in contenders:
            try:
                if contender.bare not in bare:
                    bare[contender.bare] = stack.enter_context(Process(BARE, setting, environment=contender.bare))
                running[contender.key] = stack.enter_context(Process(contender, setting))
            except ProcessFailed as error:
                failed(contender, str(error))
        processes = [*bare.values(), *running.values()]
        seen: dict[tuple[int, str], list[dict[str, float]]] = {}
        order = random.Random(0)
        for case in cases:
            for process in processes:
                process.ask("time", case=case, calls=max(2, calls // CASES[case].weight))
            step()
        for _ in range(rounds):
            for case in cases:
                for process in order.sample(processes, len(processes)):
                    times = process.ask("time", case=case, calls=max(2, calls // CASES[case].weight))
                    seen.setdefault((id(process), case), []).append(times)
                step()
        for contender in contenders:
            if contender.key not in running:
                continue
            spans = running[contender.key].ask("traced", cases=list(cases))
            for case in cases:
                theirs = seen[id(running[contender.key]), case]
                nothing = seen[id(bare[contender.bare]), case]
                yield _added("cpu", contender, setting, case, theirs, nothing, spans[case])
                yield _added("wall", contender, setting, case, theirs, nothing, spans[case])


def _added(
    instrument: Instrument,
    contender: Contender,
    setting: str,
    case: str,
    theirs: list[dict[str, float]],
    nothing: list[dict[str, float]],
    spans: float,
) -> Added:
    added = [one[instrument] - bare[instrument] for one, bare in zip(theirs, nothing, strict=True)]
    low, _, high = quantiles(added, n=4) if len(added) > 1 else (added[0], added[0], added[0])
    bare_median = median(one[instrument] for one in nothing)
    return Added(instrument, contender.key, setting, case, median(added), high - low, bare_median, spans=spans)
