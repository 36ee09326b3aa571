"""Requests that a client sends again by itself, after a pause."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
from tests.instrumentation_clients import ANSWER, CHAT
from tests.instrumentors.provider import now
from tests.instrumentors.telemetry import Telemetry, instrumented

from genledger.engine.operation import Endpoint
from genledger.instrumentation.adapters.request_method import Request, RequestClient
from genledger.instrumentation.adapters.retries import pausing
from genledger.instrumentation.patching import Patcher

MODULE = "pausing_client"


def again(status_code: int) -> bool:
    return status_code >= 500


def pause(seconds: float) -> None:
    """Wait."""


async def apause(seconds: float) -> None:
    """Wait."""


class Client:
    """Tries three times; each attempt fails with a status or an exception, or is answered."""

    def __init__(self, *attempts: Any) -> None:
        self._attempts = list(attempts)
        self.module: Any = sys.modules[MODULE]

    def _attempt(self, count: int) -> tuple[Any, bool]:
        status = self._attempts.pop(0)
        if isinstance(status, Exception):
            raise status
        return (ANSWER, False) if not self.module.again(status) else (status, count < 2)

    def request(self, body: dict[str, Any]) -> Any:
        for count in range(3):
            try:
                answer, repeats = self._attempt(count)
            except ConnectionError:
                self.module.pause(0)
                continue
            if not repeats:
                return answer
            self.module.pause(0)
        return None

    async def arequest(self, body: dict[str, Any]) -> Any:
        for count in range(3):
            try:
                answer, repeats = self._attempt(count)
            except ConnectionError:
                await self.module.apause(0)
                continue
            if not repeats:
                return answer
            await self.module.apause(0)
        return None


@pytest.fixture
def telemetry(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Telemetry]:
    monkeypatch.setenv("GENLEDGER_LEDGER", str(tmp_path / "ledger.db"))
    module = ModuleType(MODULE)
    for name, found in (("Client", Client), ("again", again), ("pause", pause), ("apause", apause)):
        setattr(module, name, found)
    monkeypatch.setitem(sys.modules, MODULE, module)
    client = RequestClient(
        library="pausing",
        methods=((MODULE, "Client.request"), (MODULE, "Client.arequest")),
        request=lambda client, args, kwargs: Request(CHAT, Endpoint("openai"), args[0], streamed=False),
        write=lambda args, kwargs, changes: (args, kwargs),
    )
    patcher = Patcher([*client.patches(), *pausing("pausing", MODULE, "again", ("pause", "apause"))])
    with instrumented() as telemetry:
        patcher.apply()
        yield telemetry
        patcher.restore()
        assert not telemetry.complaints.other


METHODS = pytest.mark.parametrize("method", ["request", "arequest"])
BODY = {"model": "gpt-4o"}


@METHODS
async def test_each_attempt_before_a_pause_has_its_cause(telemetry: Telemetry, method: str) -> None:
    try:
        raise TimeoutError("the application's own")
    except TimeoutError:
        await now(getattr(Client(503, ConnectionError(), 200), method)(BODY))
    assert telemetry.attributes["genledger.attempts"] == 3
    assert telemetry.attributes["genledger.retry.causes"] == ("503", "connection")


@METHODS
async def test_no_attempt_follows_the_last_one(telemetry: Telemetry, method: str) -> None:
    await now(getattr(Client(503, 500, 502), method)(BODY))
    assert telemetry.attributes["genledger.retry.causes"] == ("503", "500")


@METHODS
async def test_a_call_that_is_answered_at_once_has_one_attempt(telemetry: Telemetry, method: str) -> None:
    assert await now(getattr(Client(200), method)(BODY)) is ANSWER
    assert "genledger.attempts" not in telemetry.attributes
