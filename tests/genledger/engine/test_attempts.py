"""What became of an attempt, by where its error comes from."""

from __future__ import annotations

import asyncio
import warnings
from types import SimpleNamespace
from typing import Any

import pytest

from genledger.engine.attempts import fate_of, status_of
from genledger.engine.outcome import outcome_of


async def start() -> None:
    """Wait for the head of an answer, as aiohttp's response does."""
    await asyncio.sleep(60)


async def readany() -> None:
    """Wait for the body of an answer, as aiohttp's stream does."""
    await asyncio.sleep(60)


async def connect() -> None:
    """Wait for a connection, as aiohttp's connector does."""
    await asyncio.sleep(60)


@pytest.mark.parametrize(("step", "fate"), [(start, "lost"), (readany, "lost"), (connect, "unsent")])
async def test_an_attempt_that_timed_out_may_be_billed_once_it_was_sent(step: Any, fate: str) -> None:
    async def ask() -> None:
        async with asyncio.timeout(0.01):
            await step()

    with pytest.raises(TimeoutError) as raised:
        await ask()
    assert fate_of(raised.value) == fate


class Said(Exception):
    """An error inside a stream, as Google's client raises it: its response began well."""

    def __init__(self, code: Any) -> None:
        super().__init__("no")
        self.code = code
        self.response = SimpleNamespace(status_code=200)


@pytest.mark.parametrize(("code", "status"), [(429, 429), (503, 503), (1006, 200), ("429", 200), (None, 200)])
def test_an_error_inside_a_stream_has_the_status_that_it_says(code: Any, status: int) -> None:
    assert status_of(Said(code)) == status


def test_a_throttled_stream_is_rate_limited() -> None:
    assert outcome_of(Said(429)) == "rate_limited"
    assert outcome_of(Said(500)) == "error"


class DeadlineExceeded(Exception):
    """The client's own deadline, as Google's clients raise it: with the status of a gateway's."""

    code = 504


def test_a_deadline_that_passed_is_a_timeout_that_may_be_billed() -> None:
    assert outcome_of(DeadlineExceeded()) == "timeout"
    assert fate_of(DeadlineExceeded()) == "lost"


def test_the_code_that_closed_a_socket_is_no_status_and_is_not_asked_for() -> None:
    from websockets.exceptions import ConnectionClosedError
    from websockets.frames import Close

    error = ConnectionClosedError(Close(1011, "broken"), None)
    with warnings.catch_warnings():
        warnings.simplefilter("error")  # newer versions deprecate the attribute
        assert status_of(error) is None
        assert fate_of(error) == "unsent"
