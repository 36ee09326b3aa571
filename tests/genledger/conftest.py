from __future__ import annotations

from collections.abc import Callable

import pytest

from genledger.engine.record import CallRecord

from .samples import a_call


@pytest.fixture
def make_entry() -> Callable[..., CallRecord]:
    """Makes priced calls, each with ids of its own; keywords replace fields, `usd` sets the whole cost."""
    return a_call
