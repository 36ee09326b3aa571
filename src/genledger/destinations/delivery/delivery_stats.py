"""The bounds of a delivery, and the account of it."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import NamedTuple

from genledger.destinations.delivery.errors import ConfigurationError


class Limits(NamedTuple):
    """The bounds of one delivery.

    Attributes:
        queue_spans: FinishedSpan spans waiting for the thread; one more is dropped and counted
            (`OTEL_BSP_MAX_QUEUE_SIZE`).
        batch_spans: Spans in one request (`OTEL_BSP_MAX_EXPORT_BATCH_SIZE`).
        batch_bytes: Bytes of one request before compression. Langfuse Cloud takes 5 MB.
        memory_bytes: Bytes of requests that wait in memory when the disk does not take them.
        delay_s: Seconds that a span waits for others to share a request (`OTEL_BSP_SCHEDULE_DELAY`).
        timeout_s: Seconds that an attempt may take in all.
        exit_s: Seconds that shutting down may take when the caller does not say.
    """

    queue_spans: int = 10_000
    batch_spans: int = 512
    batch_bytes: int = 4_500_000
    memory_bytes: int = 32 * 1024 * 1024
    delay_s: float = 1.0
    timeout_s: float = 10.0
    exit_s: float = 5.0

    @classmethod
    def from_environment(cls, environ: Mapping[str, str] = os.environ) -> Limits:
        """The bounds that the `OTEL_BSP_*` variables of the OpenTelemetry specification set, else the defaults.

        Raises:
            ConfigurationError: A variable is not a positive number.
        """
        default = cls()
        return cls(
            queue_spans=int(positive(environ, "OTEL_BSP_MAX_QUEUE_SIZE", default.queue_spans)),
            batch_spans=int(positive(environ, "OTEL_BSP_MAX_EXPORT_BATCH_SIZE", default.batch_spans)),
            delay_s=positive(environ, "OTEL_BSP_SCHEDULE_DELAY", default.delay_s * 1000) / 1000,
        )


def positive(environ: Mapping[str, str], name: str, default: float) -> float:
    """The positive number that a variable holds, or `default` when it is not set.

    Raises:
        ConfigurationError: It holds something else.
    """
    value = environ.get(name)
    if not value:
        return default
    try:
        number = float(value)
    except ValueError:
        number = 0.0
    if not 0 < number < float("inf"):
        raise ConfigurationError(f"{name}={value!r} is not a positive number")
    return number


@dataclass(slots=True, frozen=True)
class Stats:
    """Delivery counters of one destination, in spans.

    `accepted` = `sent` + the sum of `dropped` + those still waiting, here or in the spool; spans that a
    former process left in the spool are counted in `sent` only. `retried` counts a span once for every
    attempt that failed. `dropped` is by reason. `spool_requests` and `spool_bytes` are what waits on disk now.
    `units` are the units that Langfuse bills (traces, observations) of this month, all processes of
    the machine together. `problem` is what is wrong at the moment.
    """

    accepted: int = 0
    sent: int = 0
    retried: int = 0
    spooled: int = 0
    dropped: dict[str, int] = field(default_factory=dict)
    waiting: int = 0
    spool_requests: int = 0
    spool_bytes: int = 0
    units: int = 0
    problem: str | None = None

    def __add__(self, other: Stats) -> Stats:
        return Stats(
            self.accepted + other.accepted,
            self.sent + other.sent,
            self.retried + other.retried,
            self.spooled + other.spooled,
            dict(Counter(self.dropped) + Counter(other.dropped)),
            self.waiting + other.waiting,
            self.spool_requests + other.spool_requests,
            self.spool_bytes + other.spool_bytes,
            self.units + other.units,
            self.problem or other.problem,
        )
