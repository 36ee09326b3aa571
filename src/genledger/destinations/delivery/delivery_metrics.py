"""Delivery counters as metrics: the same numbers as `stats()`."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping

from opentelemetry.metrics import CallbackOptions, Meter, Observation

from genledger.destinations.delivery.remote_destination import Destination

RECORDS = "genledger.destination.records"
"""Records by destination, state (`accepted`, `sent`, `retried`, `spooled`, `dropped`) and, of those dropped,
reason."""


def observe_destinations(meter: Meter, destinations: Callable[[], Mapping[str, Destination]]) -> None:
    """Report what becomes of the records of `destinations`, which is asked at each collection."""

    def read(options: CallbackOptions) -> Iterable[Observation]:
        for name, destination in destinations().items():
            stats = destination.stats()
            for state in ("accepted", "sent", "retried", "spooled"):
                yield _observation(getattr(stats, state), name, state)
            for reason, count in stats.dropped.items():
                yield _observation(count, name, "dropped", reason)

    meter.create_observable_counter(
        RECORDS, callbacks=[read], unit="{record}", description="Records by destination and what became of them."
    )


def _observation(value: int, destination: str, state: str, reason: str | None = None) -> Observation:
    attributes = {"genledger.destination.name": destination, "genledger.destination.state": state}
    if reason is not None:
        attributes["genledger.destination.reason"] = reason
    return Observation(value, attributes)
