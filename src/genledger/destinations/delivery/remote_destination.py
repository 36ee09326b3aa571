"""Base of remote destinations: one span processor, and one delivery for each receiver behind it."""

from __future__ import annotations

import hashlib
import os
import re
from collections.abc import Callable, Iterable
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Literal, Protocol, TypedDict, Unpack

from opentelemetry.sdk.trace import ReadableSpan, SpanProcessor

from genledger.destinations.delivery.delivery_stats import Limits, Stats
from genledger.destinations.delivery.export_worker import ExportWorker, begin_together, shutdown_together
from genledger.destinations.delivery.http_exporter import Sender
from genledger.destinations.delivery.time_source import SYSTEM_CLOCK, Clock
from genledger.destinations.selection.open_spans import OpenSpans
from genledger.destinations.selection.span_processor import FinishedSpan, SelectingSpanProcessor
from genledger.destinations.selection.strip_content import without_secrets

if TYPE_CHECKING:
    from genledger.destinations.selection.sampling import SamplingOptions


class DeliveryOptions(TypedDict, total=False):
    """How a destination delivers; keywords of every remote destination.

    Keys:
        limits: Bounds of queue, batches and time.
        spool: The directory for what cannot be delivered, in which each user has one of its own; `None`
            keeps nothing on disk. Default: `spool` in the user's state directory (`GENLEDGER_SPOOL`).
        spool_bytes: Bytes on disk per receiver; default 256 MiB.
        spool_age_s: Seconds after which a record that is still not taken is dropped; default 7 days.
        durable: Whether a record is on disk before the call returns to the application; `"fsync"` for one
            that survives a loss of power, too (`GENLEDGER_DURABLE`). Needs `spool`.
        clock: The time; for tests.
        threaded: Whether to run threads; for tests.
    """

    limits: Limits
    spool: Path | str | None
    spool_bytes: int
    spool_age_s: float
    durable: bool | Literal["fsync"]
    clock: Clock
    threaded: bool


def open_delivery(
    name: str,
    identity: str,
    sender: Sender,
    translate: Callable[[FinishedSpan], ReadableSpan],
    sampling: SamplingOptions | None = None,
    **options: Unpack[DeliveryOptions],
) -> ExportWorker:
    """The delivery for one receiver.

    `identity` says who the receiver is: what was kept on disk for one is never sent to another.
    """
    clock = options.get("clock", SYSTEM_CLOCK)
    durable = options.get("durable", False)
    directory = spool_directory(**options)
    spool = None
    if directory is not None:
        from genledger.destinations.delivery.spool import MAX_AGE_S, MAX_BYTES, Spool

        label = re.sub(r"[^a-z0-9]+", "-", name.lower())
        spool = Spool(
            directory,
            f"{label}-{hashlib.sha256(identity.encode()).hexdigest()[:16]}",
            max_bytes=options.get("spool_bytes", MAX_BYTES),
            max_age_s=options.get("spool_age_s", MAX_AGE_S),
            fsync=durable == "fsync",
            clock=clock,
        )
    sampler = None
    if sampling is not None:
        from genledger.destinations.selection.allowance import Allowance
        from genledger.destinations.selection.sampling import TraceSampling

        sampler = TraceSampling(
            Allowance(sampling.units_per_month, spool, clock), rate=sampling.rate, keep=sampling.keep
        )
    return ExportWorker(
        name,
        sender,
        lambda item: translate(replace(item, span=without_secrets(item.span))),
        limits=options.get("limits"),
        spool=spool,
        durable=bool(durable),
        sampling=sampler,
        clock=clock,
        threaded=options.get("threaded", True),
    )


def spool_directory(**options: Unpack[DeliveryOptions]) -> Path | None:
    """The directory of this user's spool; `None` when nothing is kept on disk."""
    given = options.get("spool", "")
    if given is None:
        return None
    if given:
        common = Path(given)
    else:
        import platformdirs

        common = platformdirs.user_state_path("genledger") / "spool"
    # The one that was given may belong to others, or to several users.
    return common / f"user-{getattr(os, 'geteuid', int)()}"


class Receivers(Protocol):
    """The deliveries behind one destination."""

    def take(self, item: FinishedSpan) -> None:
        """Hand a span to the delivery it goes to."""
        ...

    def all(self) -> Iterable[ExportWorker]:
        """Every delivery there is at this moment."""
        ...

    def release(self) -> None:
        """Hand on everything held back."""
        ...

    def stats(self) -> Stats:
        """Return the delivery counters of all receivers together."""
        ...


class OneReceiver:
    """The same delivery for every span."""

    def __init__(self, delivery: ExportWorker) -> None:
        self.delivery = delivery
        self.take = delivery.offer

    def all(self) -> Iterable[ExportWorker]:
        """The one delivery."""
        return (self.delivery,)

    def release(self) -> None:
        """Nothing is held back."""

    def stats(self) -> Stats:
        """The delivery's own."""
        return self.delivery.stats()


class Destination:
    """One place that spans go to.

    Attributes:
        name: What logs, metrics and `genledger doctor` call it.
        processor: To be added to the tracer provider.
    """

    name: str
    processor: SpanProcessor

    def __init__(
        self,
        name: str,
        receivers: Receivers,
        *,
        select: bool,
        tells_ends: bool,
        lineage: bool,
        make_processor: Callable[..., SelectingSpanProcessor] = SelectingSpanProcessor,
    ) -> None:
        self.name = name
        self._receivers = receivers
        self.processor = make_processor(
            receivers.take,
            select=select,
            lineage=OpenSpans() if lineage else None,
            tells_ends=tells_ends,
            shutdown=self.shutdown,
            flush=self.flush,
        )

    def deliveries(self) -> list[ExportWorker]:
        """The deliveries there are at this moment, one for each receiver."""
        return list(self._receivers.all())

    def flush(self, timeout: float = 5.0) -> bool:
        """Deliver everything accepted so far within `timeout` seconds; whether that was done."""
        deliveries = self.deliveries()
        begun = [delivery.begin_flush() for delivery in deliveries]
        deadline = SYSTEM_CLOCK.now() + timeout
        flushed = [delivery.finish_flush(deadline) for delivery in deliveries]
        return all(begun) and all(flushed)

    def begin_shutdown(self, timeout: float) -> None:
        """Take no more spans, and let the threads deliver what there is; `shutdown` comes after it."""
        self._receivers.release()
        begin_together(self.deliveries(), timeout)

    def shutdown(self, timeout: float | None = None) -> bool:
        """Deliver what can be delivered within `timeout` seconds (default: the limit's), spool the rest, stop."""
        self._receivers.release()
        deliveries = self.deliveries()
        default = max((one.limits.exit_s for one in deliveries), default=0.0)
        return shutdown_together(deliveries, default if timeout is None else timeout)

    def stats(self) -> Stats:
        """Return the delivery counters so far, of all receivers together."""
        return self._receivers.stats()

    def describe(self) -> str:
        """Name and address, without credentials."""
        return f"{self.name} ({', '.join(sorted({one.sender.endpoint for one in self._receivers.all()}))})"

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self.describe()!r})"

    def probe(self, timeout: float = 5.0) -> str | None:
        """Check that the receiver answers and accepts the credentials. Return `None`, or the problem.

        Sends a request without spans.
        """
        for one in self._receivers.all():
            answer = one.sender.send(b"", timeout)
            if answer.verdict != "delivered":
                return f"{one.sender.endpoint}: {answer.detail or answer.reason}"
        return None
