from __future__ import annotations

from collections.abc import Callable, Iterator
from datetime import datetime
from typing import Any

import pytest

from genledger import pricing
from genledger.pricing import Cost, configure, cost_of_response

AT = "2026-11-21T12:00:00+00:00"


@pytest.fixture(autouse=True)
def _no_stored_table_and_no_prices_of_others(tmp_path: Any, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path / "data"))
    yield
    configure(None)


@pytest.fixture
def override() -> Iterator[Callable[..., Callable[[], None]]]:
    """Sets a price in code, until the test ends at the latest."""
    removals: list[Callable[[], None]] = []

    def add(**fields: Any) -> Callable[[], None]:
        removals.append(pricing.override(**fields))
        return removals[-1]

    yield add
    for remove in removals:
        remove()


@pytest.fixture
def cost() -> Callable[..., Cost | None]:
    """Prices one answer, by default on 2026-11-21 at noon UTC."""

    def price(
        provider: str,
        api: str,
        payload: Any,
        request: dict[str, Any] | None = None,
        *,
        at: str = AT,
        **options: Any,
    ) -> Cost | None:
        moment = datetime.fromisoformat(at)
        return cost_of_response(provider=provider, api=api, payload=payload, request=request, at=moment, **options)

    return price
