"""What was measured, and what follows from it: slopes per chunk, ratios to the reference, the bars."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import asdict, dataclass, field
from typing import Any, Literal

Instrument = Literal["instructions", "cpu", "wall"]

REFERENCE = "hand-written"
OURS = "genledger"

SLOPES = {
    "chunk": ("parsed_stream_20", "parsed_stream_200"),
    "message_event": ("parsed_message_stream_20", "parsed_message_stream_200"),
}
"""Derived cases: what one further chunk adds, from a stream of 20 and one of 200."""
_FURTHER = 180


@dataclass(frozen=True)
class Added:
    """What a contender adds to one call: millions of instructions, or microseconds.

    `amount` is on the caller's own thread. With instructions, `others` is all other threads, for one call, and
    `export` is flushing once what a block of calls queued.
    """

    instrument: Instrument
    contender: str
    setting: str
    case: str
    amount: float
    spread: float
    bare: float
    export: float = 0.0
    others: float = 0.0
    spans: float = 1.0


@dataclass(frozen=True)
class Start:
    """Milliseconds and modules of one way to start a process: medians with the quartiles' distance, and the floor.

    The floor, the quickest of all runs, is what a start costs where nothing else runs; the bar is on it.
    """

    contender: str
    client: bool
    floor_ms: float
    cpu_ms: float
    wall_ms: float
    spread_ms: float
    modules: int
    clients_imported: list[str]
    heaviest: dict[str, int]
    """Modules that the OpenTelemetry SDK's own start does not import, by top-level package."""


@dataclass(frozen=True)
class Growth:
    """Memory over many calls: resident bytes and bytes that Python holds, after each share of the calls."""

    contender: str
    calls: int
    resident_bytes: list[int]
    traced_calls: int
    traced_bytes: list[int]

    @property
    def per_call(self) -> float:
        """Bytes that Python holds more for each call, over the second half."""
        half = len(self.traced_bytes) // 2
        shares = len(self.traced_bytes) - 1
        return (self.traced_bytes[-1] - self.traced_bytes[half]) / (self.traced_calls * (shares - half) / shares)


@dataclass
class Results:
    """Everything one run measured."""

    machine: dict[str, Any] = field(default_factory=dict)
    added: list[Added] = field(default_factory=list)
    starts: list[Start] = field(default_factory=list)
    growth: list[Growth] = field(default_factory=list)
    streams: dict[str, list[dict[str, float]]] = field(default_factory=dict)
    scale: dict[str, Any] = field(default_factory=dict)
    missing: dict[str, str] = field(default_factory=dict)

    def find(self, instrument: str, contender: str, setting: str, case: str) -> Added | None:
        """One measurement; slopes are derived from their two streams."""
        if case in SLOPES:
            short, long = (self.find(instrument, contender, setting, one) for one in SLOPES[case])
            if short is None or long is None:
                return None
            return Added(
                long.instrument,
                contender,
                setting,
                case,
                (long.amount - short.amount) / _FURTHER,
                (long.spread + short.spread) / _FURTHER,
                (long.bare - short.bare) / _FURTHER,
                others=(long.others - short.others) / _FURTHER,
                spans=min(long.spans, short.spans),
            )
        for one in self.added:
            if (one.instrument, one.contender, one.setting, one.case) == (instrument, contender, setting, case):
                return one
        return None

    def ratio(self, one: Added) -> float | None:
        """How many times the hand-written span, in the same setting and case."""
        reference = self.find(one.instrument, REFERENCE, one.setting, one.case)
        return one.amount / reference.amount if reference is not None and reference.amount > 0 else None

    def as_json(self) -> dict[str, Any]:
        """Plain data, with the bars."""
        return {**asdict(self), "bars": [asdict(bar) for bar in bars(self)]}


@dataclass(frozen=True)
class Bar:
    """One promise about speed, and whether this run keeps it; `kept` is `None` where it was not measured."""

    title: str
    limit: str
    measured: str
    kept: bool | None


_RATIOS = (
    ("chat call", "on", "chat", 1.5),
    ("stream of 20 chunks", "on", "stream_20", 1.5),
    ("Anthropic message", "on", "message", 1.5),
    ("per further chunk of a chat stream", "on", "chunk", 1.2),
    ("100 kB prompt, content off", "content off", "prompt_100k", 1.5),
    ("1 MB image, content off", "content off", "image_1m", 1.5),
)
START_MS = 60.0
GROWTH_BYTES = 8.0
"""Bytes per call that count as no growth: half of the smallest Python object, so nothing at all is kept per call."""
SIZE_FREE = 1.25
"""How far a large request may be from a small one with content off: independent of size, within this factor."""


def bars(results: Results) -> Iterator[Bar]:
    """The bars, from instructions where they were counted."""
    for title, setting, case, limit in _RATIOS:
        one = results.find("instructions", OURS, setting, case) or results.find("cpu", OURS, setting, case)
        ratio = results.ratio(one) if one is not None else None
        measured = f"{ratio:.2f} ({one.instrument})" if ratio is not None and one is not None else "–"
        yield Bar(title, f"≤ {limit}", measured, None if ratio is None else ratio <= limit)
    yield _independent_of_size(results)
    yield from _start(results.starts)
    for growth in results.growth:
        if growth.contender == OURS:
            measured = f"{growth.per_call:+.2f} B per call"
            yield Bar(f"memory over {growth.calls:,} calls", "no growth", measured, growth.per_call < GROWTH_BYTES)
    if results.scale:
        yield _exact(results.scale["books"])


def _exact(books: dict[str, Any]) -> Bar:
    """Counter, histogram and ledger agree about every call, those that the ledger says it dropped included."""
    counted, rows, dropped = books["counters"].get("genledger.cost", 0.0), books["ledger_rows"], books["ledger_dropped"]
    # A chat call is three histogram values: its duration, its input and its output tokens. All calls cost the same.
    calls = books["histogram_values"] / 3
    apart = abs(counted * rows / calls - books["ledger_usd"])
    kept = apart < 1e-6 and rows + dropped == calls
    measured = f"{calls:,.0f} calls, {counted:.5f} USD; {dropped:,} dropped by the ledger, the rest {apart:.0e} apart"
    return Bar("metrics and ledger after 50,000 calls/s offered", "agree", measured, kept)


def _independent_of_size(results: Results) -> Bar:
    small, large = (results.find("instructions", OURS, "content off", case) for case in ("chat", "image_1m"))
    title, limit = "1 MB image against a small prompt, content off", f"≤ {SIZE_FREE}"
    if small is None or large is None:
        return Bar(title, limit, "–", None)
    ratio = large.amount / small.amount
    return Bar(title, limit, f"{ratio:.2f} (instructions)", ratio <= SIZE_FREE)


def _start(starts: Iterable[Start]) -> Iterator[Bar]:
    by_contender = {one.contender: one for one in starts if not one.client}
    ours, own = by_contender.get(OURS), by_contender.get("sdk")
    if ours is None or own is None:
        yield Bar("start, no client imported", f"+ ≤ {START_MS:.0f} ms", "–", None)
        return
    more = ours.floor_ms - own.floor_ms
    yield Bar("start, no client imported", f"+ ≤ {START_MS:.0f} ms", f"{more:+.0f} ms (floor)", more <= START_MS)
    named = ", ".join(ours.clients_imported) or "none"
    yield Bar("client libraries that the start imports", "none", named, not ours.clients_imported)
