"""Clients whose requests all pass one method: which of them are calls, and how often they are sent."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
from tests.instrumentation_clients import ANSWER, CHAT, PRICE
from tests.instrumentors.provider import now
from tests.instrumentors.telemetry import Telemetry, instrumented

from genledger.engine.operation import Endpoint
from genledger.instrumentation.adapters.methods import Methods
from genledger.instrumentation.adapters.wire import attempts
from genledger.instrumentation.patching import Patcher
from genledger_semconv.checker import assert_clean


class Refused(Exception):
    """An answer with an error status."""

    status_code = 503


class Client:
    """Sends a request until it is answered."""

    def __init__(self, failures: int) -> None:
        self.failures = failures

    def request(self, path: str, fields: dict[str, Any]) -> Any:
        """Send any request."""
        while True:
            try:
                return self.once(path)
            except Refused:
                continue

    def once(self, path: str) -> Any:
        """Make one attempt."""
        self.failures -= 1
        if self.failures >= 0:
            raise Refused("no")
        return ANSWER

    async def arequest(self, path: str, fields: dict[str, Any]) -> Any:
        """Send any request."""
        while True:
            try:
                return await self.aonce(path)
            except Refused:
                continue

    async def aonce(self, path: str) -> Any:
        """Make one attempt."""
        return self.once(path)


@pytest.fixture
def client() -> Iterator[type[Any]]:
    """The library, patched for a while."""
    names = ("__init__", "request", "once", "arequest", "aonce")
    cls = type("Client", (), {name: vars(Client)[name] for name in names})
    module: Any = ModuleType("requestlib")
    module.Client = cls
    sys.modules["requestlib"] = module
    methods = Methods(
        "requestlib",
        {"requestlib": "Client"},
        dict.fromkeys(("request", "arequest"), lambda given: CHAT if given["path"] == "/chat" else None),
        endpoint=lambda client: Endpoint("openai", "api.openai.com", 443, "https://api.openai.com/v1"),
        body=lambda client, given: given["fields"],
    )
    tried = [attempts("requestlib", "requestlib", f"Client.{name}") for name in ("once", "aonce")]
    patcher = Patcher([*methods.patches(), *tried])
    patcher.apply()
    try:
        yield cls
    finally:
        patcher.restore()
        del sys.modules["requestlib"]


@pytest.fixture
def telemetry(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Telemetry]:
    monkeypatch.setenv("GENLEDGER_LEDGER", str(tmp_path / "ledger.db"))
    with instrumented() as telemetry:
        yield telemetry
        assert_clean(telemetry.spans, telemetry.metrics, telemetry.logs)
        assert not telemetry.complaints.other


@pytest.mark.parametrize("name", ["request", "arequest"])
async def test_a_request_is_a_call_if_its_arguments_say_so(client: Any, telemetry: Telemetry, name: str) -> None:
    await now(getattr(client(0), name)("/models", {}))
    assert telemetry.spans == ()
    await now(getattr(client(0), name)("/chat", {"model": "gpt-4o"}))
    assert telemetry.attributes["genledger.cost.amount"] == pytest.approx(PRICE)
    assert "genledger.attempts" not in telemetry.attributes


@pytest.mark.parametrize("name", ["request", "arequest"])
async def test_every_attempt_at_a_request_is_counted(client: Any, telemetry: Telemetry, name: str) -> None:
    await now(getattr(client(2), name)("/chat", {"model": "gpt-4o"}))
    # The synchronous attempt inside the asynchronous one is the same.
    assert telemetry.attributes["genledger.attempts"] == 3
    assert telemetry.attributes["genledger.cost.amount"] == pytest.approx(PRICE)
