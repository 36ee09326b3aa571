"""Handlers on platforms that freeze the process: everything is delivered when they return."""

from __future__ import annotations

import inspect
from typing import Any

import pytest

import genledger

from ...instrumentors.telemetry import instrumented


class Receiver:
    """A destination that keeps what it gets until it is flushed, as a queue does."""

    def __init__(self) -> None:
        self.waiting: list[Any] = []
        self.delivered: list[Any] = []
        self.timeouts: list[float] = []

    def accept(self, record: Any) -> None:
        """Queue a record."""
        self.waiting.append(record)

    def flush(self, timeout: float) -> bool:
        """Deliver what waits."""
        self.timeouts.append(timeout)
        self.delivered += self.waiting
        self.waiting.clear()
        return True

    def shutdown(self, timeout: float) -> bool:
        """Nothing to stop."""
        return self.flush(timeout)


def test_a_handler_returns_after_everything_was_delivered() -> None:
    receiver = Receiver()

    @genledger.flush_after
    def handler(event: dict[str, str], context: object) -> str:
        """Answer."""
        genledger.record_outcome("answered")
        assert not receiver.delivered
        return event["question"].upper()

    with instrumented(destinations=[receiver]):
        assert handler({"question": "why"}, None) == "WHY"
        assert len(receiver.delivered) == 1
    assert (handler.__name__, handler.__doc__) == ("handler", "Answer.")


def test_a_handler_that_fails_delivers_too_and_fails_as_it_did() -> None:
    receiver = Receiver()

    @genledger.flush_after(timeout=1.5)
    def handler() -> None:
        genledger.record_outcome("gave up")
        raise ValueError("no answer")

    with instrumented(destinations=[receiver]):
        with pytest.raises(ValueError, match="no answer"):
            handler()
        assert len(receiver.delivered) == 1
        assert 0 < receiver.timeouts[0] <= 1.5


async def test_an_asynchronous_handler_stays_one() -> None:
    receiver = Receiver()

    @genledger.flush_after
    async def handler() -> int:
        genledger.record_outcome("answered")
        return 7

    assert inspect.iscoroutinefunction(handler)
    with instrumented(destinations=[receiver]):
        assert await handler() == 7
        assert len(receiver.delivered) == 1


def test_without_instrument_the_handler_just_runs() -> None:
    assert genledger.flush_after(lambda: 3)() == 3
