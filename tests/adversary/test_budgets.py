"""A budget holds against everything that can become of a call, judged by what the provider bills."""

from __future__ import annotations

import json
import os
import signal
import sqlite3
import subprocess
import sys
import time
import urllib.request
from collections import defaultdict
from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from ..standins.free_port import free_port
from ..standins.redis_server import RedisServer
from .conftest import Scale

HERE = Path(__file__).parent

CUT = {"stream": 1, "cut_early": 2, "cut_late": 2, "read_slowly": 1, "left_open": 1, "broken": 1, "cancelled": 2}
LOST = {"timed_out": 2, "overrun_lost": 1, "image_lost": 0.2, "cancelled": 1, "cancelled_while_lost": 2}
OVERRUN = {"overrun": 4, "whole": 1}
ANSWERED = {"whole": 2, "stream": 1}
FAILING = {"failing": 2, "refused_connection": 1}
EVERYTHING = {
    name: sum(kinds.get(name, 0) for kinds in (CUT, LOST, OVERRUN, FAILING, {"image": 0.2}))
    for name in {*CUT, *LOST, *OVERRUN, *FAILING, "image"}
}
CALL = 100e-6
"""USD that a call costs, about."""


@dataclass(frozen=True)
class Attack:
    """One way to attack a budget.

    Attributes:
        name: For the table.
        kinds: The kinds of calls, in proportion; see `spender.py`.
        redis: The budgets are in Redis, which is killed and started again twice; in SQLite otherwise.
        killed: Processes that are killed.
        on_crash: What the rule does with what a killed process held.
        calls: As many calls, about, does the limit have room for.
        long: Only in the long form.
    """

    name: str
    kinds: dict[str, float]
    redis: bool = False
    killed: int = 0
    on_crash: str = "spend"
    calls: tuple[int, int] = (500, 20_000)
    long: bool = False


ATTACKS = [
    Attack("everything, Redis killed", EVERYTHING, redis=True, killed=2),
    Attack("everything, SQLite", EVERYTHING, killed=2),
    Attack("overrun", OVERRUN, calls=(1800, 20_000)),
    Attack("cut", CUT, long=True),
    Attack("lost", LOST, long=True),
    Attack("answered, Redis killed", ANSWERED, redis=True, killed=2, long=True),
    Attack("answered, crashes forgiven", ANSWERED, killed=2, on_crash="release", long=True),
]


@dataclass
class Kind:
    """What became of the calls of one kind, in USD."""

    calls: int = 0
    refused: int = 0
    billed: float = 0.0
    settled: float = 0.0
    below: float = 0.0
    """Of the calls that were settled below their bill, by how much."""


@dataclass
class Result:
    """What became of a budget."""

    attack: Attack
    limit: float
    kinds: dict[str, Kind] = field(default_factory=lambda: defaultdict(Kind))
    billed: float = 0.0
    seconds: float = 0.0

    @property
    def over(self) -> float:
        """How far the bill exceeds the limit, as a share of it."""
        return self.billed / self.limit - 1

    def ratio(self, *kinds: str) -> float:
        """What was settled for what was billed."""
        return sum(self.kinds[kind].settled for kind in kinds) / sum(self.kinds[kind].billed for kind in kinds)

    @property
    def line(self) -> str:
        """A row of the table."""
        calls, refused = (sum(getattr(kind, name) for kind in self.kinds.values()) for name in ("calls", "refused"))
        return (
            f"{self.attack.name:30} {self.limit:9.4f} {self.billed:9.4f} {self.over:+8.2%} "
            f"{calls:7} {refused:7} {self.seconds:6.0f} s"
        )

    @property
    def causes(self) -> str:
        """Bill and settlement by kind of call."""
        lines = [f"  {'':22} {'calls':>6} {'billed':>9} {'settled':>9} {'ratio':>6} {'below':>9}"]
        for name, kind in sorted(self.kinds.items()):
            ratio = f"{kind.settled / kind.billed:6.2f}" if kind.billed else "      "
            lines.append(f"  {name:22} {kind.calls:6} {kind.billed:9.6f} {kind.settled:9.6f} {ratio} {kind.below:9.6f}")
        return "\n".join(lines)


HEAD = f"{'':30} {'limit':>9} {'billed':>9} {'over':>8} {'calls':>7} {'refused':>7}"


@pytest.fixture(scope="module")
def results() -> Iterator[list[Result]]:
    """What was found, for the table in the end."""
    found: list[Result] = []
    yield found
    print("\n\n" + "\n".join([HEAD, *(result.line for result in found)]))
    for result in found:
        print(f"\n{result.attack.name}, by kind of call\n{result.causes}")


@pytest.fixture
def programs() -> Iterator[Callable[..., subprocess.Popen[str]]]:
    """Starts programs of this directory, which end with the test."""
    started: list[subprocess.Popen[str]] = []

    def start(name: str, *args: str) -> subprocess.Popen[str]:
        command = [sys.executable, str(HERE / name), *args]
        environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
        started.append(
            subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=environment, start_new_session=True)
        )
        return started[-1]

    yield start
    for program in started:
        try:
            os.killpg(program.pid, signal.SIGKILL)
        except ProcessLookupError:
            pass
        program.wait()
        assert program.stdout is not None
        program.stdout.close()


class Provider:
    """The provider, seen from the test."""

    def __init__(self, program: subprocess.Popen[str]) -> None:
        assert program.stdout is not None
        self.port = int(program.stdout.readline())

    def get(self, path: str) -> dict[str, float]:
        """What it says."""
        with urllib.request.urlopen(f"http://127.0.0.1:{self.port}/{path}") as response:
            return json.load(response)

    def bill(self) -> dict[str, float]:
        """The bill by call, once everything is generated."""
        while self.get("usd")["busy"]:
            time.sleep(0.1)
        return self.get("bill")


def recorded(ledgers: Path) -> Iterator[tuple[str, str, str, float]]:
    """Name, kind, outcome and cost of every call that is in a ledger."""
    for path in ledgers.glob("[0-9]*.db"):
        with closing(sqlite3.connect(path)) as connection:
            yield from connection.execute("SELECT session, feature, outcome, ifnull(cost_usd, 0) FROM calls")


def compared(result: Result, bill: dict[str, float], ledgers: Path) -> None:
    """Put bill and ledgers together, call by call."""
    rest = dict(bill)
    for call, name, outcome, settled in recorded(ledgers):
        billed = rest.pop(call, 0.0)
        kind = result.kinds[name]
        kind.calls += 1
        kind.refused += outcome == "blocked"
        kind.billed += billed
        kind.settled += settled
        kind.below += max(0.0, billed - settled)
    if rest:
        result.kinds["of killed processes"] = Kind(len(rest), billed=sum(rest.values()))


@pytest.mark.parametrize("attack", ATTACKS, ids=lambda attack: attack.name)
def test_the_bill_stays_within_a_hundredth_of_the_limit(
    attack: Attack,
    scale: Scale,
    programs: Callable[..., subprocess.Popen[str]],
    results: list[Result],
    tmp_path: Path,
    request: pytest.FixtureRequest,
) -> None:
    if attack.long and not scale(0, 1):
        pytest.skip("only in the long form")
    started = time.monotonic()
    result = Result(attack, round(scale(*attack.calls) * CALL, 6))
    rules = tmp_path / "rules.toml"
    rules.write_text(
        f'[[budget]]\nname="tenants"\ntenant="each"\nusd={result.limit}\nper="month"\non_crash="{attack.on_crash}"\n'
    )
    provider = Provider(programs("billing_provider.py"))
    redis = RedisServer(tmp_path, appendfsync="always") if attack.redis else None
    if redis is not None:
        request.addfinalizer(redis.kill)
    plan = {
        "port": provider.port,
        "closed": free_port(),
        "rules": str(rules),
        "store": redis.url if redis is not None else f"sqlite:///{tmp_path / 'budgets.db'}",
        "ledgers": str(tmp_path),
        "kinds": attack.kinds,
        "processes": scale(3, 8),
        "threads": scale(8, 32),
        "slow": float(scale(1, 4)),
        "doomed": attack.killed,
        "longest": float(scale(40, 600)),
    }
    launcher = programs("spender.py", json.dumps(plan))
    assert launcher.stdout is not None
    children = [int(pid) for pid in launcher.stdout.readline().split()]
    blows = [lambda child=child: os.kill(child, signal.SIGKILL) for child in children[: attack.killed]]
    if redis is not None:
        blows += [lambda: (redis.kill(), redis.start())] * 2
        blows = blows[::2] + blows[1::2]
    for number, blow in enumerate(blows, 1):
        while provider.get("usd")["usd"] < result.limit * 0.5 * number / (len(blows) + 1):
            assert launcher.poll() is None, "the processes stopped before the budget was used up"
            time.sleep(0.05)
        blow()
    assert launcher.wait(scale(60, 700)) == 0
    bill = provider.bill()
    result.billed = sum(bill.values())
    result.seconds = time.monotonic() - started
    compared(result, bill, tmp_path)
    results.append(result)
    report = f"\n{HEAD}\n{result.line}\n{result.causes}"
    assert result.over <= 0.01, report
    assert result.over >= -0.5, report
    for kind in ("cut early", "cut late"):
        if kind in result.kinds:
            assert result.ratio(kind) >= 1, report
