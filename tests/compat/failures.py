"""What every version of an SDK makes of a request that fails."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from ..instrumentors.provider import Provider, answer, now
from ..instrumentors.telemetry import Telemetry

Ask = Callable[[], Any]


async def counts_retries(provider: Provider, telemetry: Telemetry, limited: Any, whole: Any, ask: Ask) -> None:
    """One refusal for the rate, then the answer: one call of two attempts."""
    soon = {"retry-after": "0.01", "retry-after-ms": "1"}
    provider.will(answer(limited, 429, headers=soon), answer(whole))
    await now(ask())
    assert len(provider.requests) == 2
    assert telemetry.attributes["genledger.attempts"] == 2
    assert telemetry.attributes["genledger.retry.causes"] == ("429",)


async def records_error(telemetry: Telemetry, outcome: str, raised: type[Exception], ask: Ask) -> None:
    """The error is the application's own, and named on a span without a cost."""
    with pytest.raises(raised):
        await now(ask())
    assert telemetry.attributes["genledger.outcome"] == outcome
    assert telemetry.attributes["error.type"] == f"{raised.__module__}.{raised.__qualname__}"
    assert "genledger.cost.amount" not in telemetry.attributes
