"""What every instrumentor promises of sockets, over the real client against a server on loopback."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from opentelemetry import trace
from opentelemetry.context import get_current
from tests.contract.conftest import call, calls, recording
from tests.contract.sockets.conftest import SocketCase

import genledger

NOTHING = '[[budget]]\nname="none"\nusd=0.0000001\nper="day"\n'


def priced(case: SocketCase, attributes: dict[str, Any]) -> None:
    """The usage and cost that a whole session has."""
    row = case.row
    assert attributes["gen_ai.operation.name"] == row.operation
    assert attributes["gen_ai.provider.name"] == row.provider
    assert attributes["gen_ai.request.model"] == row.model
    for name, count in row.usage.items():
        (found,) = (value for key, value in attributes.items() if key.endswith(f"usage.{name}"))
        assert found == pytest.approx(count)
    if row.cost is None:
        assert attributes["genledger.cost.unpriced"] in ("unknown_model", "unknown_provider")
    else:
        assert attributes["genledger.cost.amount"] == pytest.approx(row.cost)
    assert attributes["genledger.outcome"] == "success"
    assert attributes["server.address"] == "127.0.0.1"


async def test_a_whole_answer_is_one_priced_span(socket_case: SocketCase) -> None:
    before = get_current()
    with recording(socket_case.row) as telemetry:
        assert await socket_case.talk()
        priced(socket_case, call(telemetry))
    assert get_current() is before


async def test_results_are_what_they_are_without_genledger(socket_case: SocketCase) -> None:
    without = [repr(one) for one in await socket_case.talk()]
    with recording(socket_case.row):
        assert [repr(one) for one in await socket_case.talk()] == without
    assert [repr(one) for one in await socket_case.talk()] == without


async def test_a_connection_that_breaks_keeps_what_came(socket_case: SocketCase) -> None:
    async def failure() -> str:
        try:
            return repr(await socket_case.talk())
        except Exception as error:
            return f"{type(error).__name__} {error}"

    socket_case.server.breaks = 1
    without = await failure()
    with recording(socket_case.row) as telemetry:
        assert await failure() == without
        attributes = call(telemetry)
        assert attributes["genledger.outcome"] == "error"
        assert "ConnectionClosedError" in attributes["error.type"]
        assert attributes.get("genledger.cost.amount") != 0


async def test_a_session_that_the_application_leaves_is_settled(socket_case: SocketCase) -> None:
    with recording(socket_case.row) as telemetry:
        await socket_case.talk(1)
        attributes = call(telemetry)
        assert attributes["genledger.outcome"] == socket_case.row.early
        assert "error.type" not in attributes


async def test_a_budget_refuses_before_anything_is_sent(socket_case: SocketCase, tmp_path: Path) -> None:
    rules = tmp_path / "rules.toml"
    rules.write_text(NOTHING if socket_case.row.cost is not None else NOTHING.replace("usd=0.0000001", "requests=0"))
    with recording(socket_case.row, budgets=str(rules), budget_store="memory:") as telemetry:
        with pytest.raises(genledger.BudgetExceeded):
            await socket_case.talk()
        assert socket_case.server.connections == (1 if socket_case.row.asked else 0)
        assert call(telemetry)["genledger.outcome"] == "blocked"


async def test_content_is_off_unless_asked_for(socket_case: SocketCase) -> None:
    with recording(socket_case.row) as telemetry:
        await socket_case.talk()
        seen = json.dumps([dict(span.attributes or {}) for span in telemetry.spans], default=str)
        assert not socket_case.row.text or socket_case.row.text not in seen


async def test_content_is_recorded_when_asked_for(socket_case: SocketCase) -> None:
    if not socket_case.row.text:
        pytest.skip("says nothing")
    with recording(socket_case.row, content=True) as telemetry:
        await socket_case.talk()
        found = call(telemetry)
        messages = [found.get(f"gen_ai.{name}.messages", "") for name in ("input", "output")]
        assert socket_case.row.text in "".join(messages)


async def test_a_call_belongs_to_the_step_and_attribution_around_it(socket_case: SocketCase) -> None:
    with recording(socket_case.row) as telemetry:
        with genledger.attribution(tenant="acme", feature="voice"), genledger.observe("work", kind="agent"):
            await socket_case.talk()
        attributes = call(telemetry)
        assert attributes["genledger.tenant.id"] == "acme"
        assert attributes["genledger.feature"] == "voice"
        inner, outer = (span for span in telemetry.spans if "gen_ai.operation.name" in (span.attributes or {}))
        assert inner.parent is not None
        assert outer.context is not None
        assert inner.parent.span_id == outer.context.span_id
    assert trace.get_current_span() is trace.INVALID_SPAN


async def test_nothing_is_recorded_after_uninstrument(socket_case: SocketCase) -> None:
    with recording(socket_case.row) as telemetry:
        await socket_case.talk()
    await socket_case.talk()
    assert len(calls(telemetry)) == 1
