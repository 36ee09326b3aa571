"""What every remote destination is: one span processor, and one delivery for each receiver behind it."""

from __future__ import annotations

import hashlib
import re
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Protocol

import platformdirs
from opentelemetry.sdk.trace import ReadableSpan, SpanProcessor

from .clock import SYSTEM_CLOCK, Clock
from .intake import Intake
from .journal import Journal
from .lineage import Line, Lineage
from .pipeline import Delivery, Stats, shutdown_together
from .spool import CAN_LOCK, Spool


@dataclass(slots=True, frozen=True)
class Storage:
    """Where records wait on disk, and how many.

    Attributes:
        directory: The common directory; each receiver has one of its own in it. `None`: the user's state
            directory, as the system defines it (`GENLEDGER_SPOOL_DIR`).
        max_bytes: Bytes per receiver; 0 keeps nothing on disk (`GENLEDGER_SPOOL_BYTES`).
        max_age_s: Seconds (`GENLEDGER_SPOOL_AGE`).
        durable: Whether a record is on disk before the call returns to the application
            (`GENLEDGER_DURABLE=1`).
        fsync: With `durable`: whether it is safe from a power loss, too (`GENLEDGER_DURABLE=fsync`).
    """

    directory: Path | None = None
    max_bytes: int = 256 * 1024 * 1024
    max_age_s: float = 7 * 86_400.0
    durable: bool = False
    fsync: bool = False

    def open(self, name: str, identity: str, clock: Clock = SYSTEM_CLOCK) -> tuple[Spool | None, Journal | None]:
        """Spool and journal of one receiver.

        `identity` says who the receiver is: what was kept for one is never sent to another.
        """
        if not CAN_LOCK or self.max_bytes <= 0:
            return None, None
        common = self.directory or platformdirs.user_state_path("genledger") / "spool"
        label = re.sub(r"[^a-z0-9]+", "-", name.lower())
        own = common / f"{label}-{hashlib.sha256(identity.encode()).hexdigest()[:16]}"
        spool = Spool(own, max_bytes=self.max_bytes, max_age_s=self.max_age_s, clock=clock)
        return spool, Journal(own, fsync=self.fsync, clock=clock) if self.durable else None


class Receivers(Protocol):
    """The deliveries behind one destination."""

    def route(self, span: ReadableSpan, line: Line | None) -> Delivery | None:
        """The delivery that a span goes to; `None` when it goes nowhere."""
        ...

    def all(self) -> Iterable[Delivery]:
        """Every delivery there is at this moment."""
        ...


@dataclass(slots=True, frozen=True)
class OneReceiver:
    """The same delivery for every span."""

    delivery: Delivery

    def route(self, span: ReadableSpan, line: Line | None) -> Delivery | None:
        """The one delivery."""
        return self.delivery

    def all(self) -> Iterable[Delivery]:
        """The one delivery."""
        return (self.delivery,)


class Destination:
    """One place that spans go to.

    Attributes:
        name: What logs, metrics and `genledger doctor` call it.
        processor: To be added to the tracer provider.
    """

    name: str
    processor: SpanProcessor

    def __init__(self, name: str, receivers: Receivers, *, select: bool, tells_ends: bool, lineage: bool) -> None:
        self.name = name
        self._receivers = receivers
        self._clock = SYSTEM_CLOCK
        self.processor = Intake(
            receivers.route,
            select=select,
            lineage=Lineage() if lineage else None,
            tells_ends=tells_ends,
            shutdown=self.shutdown,
            flush=self.flush,
        )

    def flush(self, timeout: float = 5.0) -> bool:
        """Deliver everything accepted so far within `timeout` seconds; whether that was done."""
        deadline = self._clock.now() + timeout
        flushed = [one.flush(max(0.0, deadline - self._clock.now())) for one in self._receivers.all()]
        return all(flushed)

    def shutdown(self, timeout: float | None = None) -> bool:
        """Deliver what can be delivered within `timeout` seconds (default: the limit's), spool the rest, stop."""
        deliveries = list(self._receivers.all())
        default = max((one.limits.exit_s for one in deliveries), default=0.0)
        return shutdown_together(deliveries, default if timeout is None else timeout)

    def stats(self) -> Stats:
        """What became of the spans so far, all receivers together."""
        total = Stats()
        for one in self._receivers.all():
            total = _sum(total, one.stats())
        return total

    def describe(self) -> str:
        """Name and address, without credentials."""
        return f"{self.name} ({', '.join(sorted({one.sender.endpoint for one in self._receivers.all()}))})"

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self.describe()!r})"

    def probe(self, timeout: float = 5.0) -> str | None:
        """Whether the receiver answers and takes our credentials: `None`, or what is wrong.

        Sends a request without spans.
        """
        for one in self._receivers.all():
            answer = one.sender.send(b"", timeout)
            if answer.verdict != "delivered":
                return f"{one.sender.endpoint}: {answer.detail or answer.reason}"
        return None


def _sum(one: Stats, other: Stats) -> Stats:
    values: dict[str, object] = {}
    for field in fields(Stats):
        a, b = getattr(one, field.name), getattr(other, field.name)
        if isinstance(a, dict):
            values[field.name] = dict(Counter(a) + Counter(b))
        elif field.name == "problem":
            values[field.name] = a or b
        else:
            values[field.name] = a + b
    return Stats(**values)  # type: ignore[arg-type]


def together(destinations: Iterable[Destination]) -> list[Delivery]:
    """The deliveries of several destinations, for `shutdown_together`."""
    return [delivery for destination in destinations for delivery in destination._receivers.all()]
