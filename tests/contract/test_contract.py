"""What every instrumentor promises, over the real client against a server on loopback."""

from __future__ import annotations

import asyncio
import gc
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from opentelemetry import trace
from opentelemetry.context import get_current
from tests.contract.conftest import Case, call, calls, of_each_client, recording
from tests.contract.server import Reply, json_reply
from tests.instrumentors.provider import items, now

import genledger


def text_of(value: Any) -> str:
    """A result in a form that can be compared."""
    if isinstance(value, dict):
        return repr(value)
    for name in ("model_dump", "dict", "to_dict"):
        method = getattr(value, name, None)
        if callable(method):
            return json.dumps(method(), default=str, sort_keys=True)
    return repr(vars(value)) if type(value).__repr__ is object.__repr__ else repr(value)


def priced(case: Case, attributes: dict[str, Any]) -> None:
    """The usage and cost that both answers have."""
    row = case.row
    assert attributes["gen_ai.operation.name"] == row.operation
    assert attributes["gen_ai.provider.name"] == row.provider
    assert attributes.get("gen_ai.request.model", "") == row.model
    assert attributes.get("gen_ai.usage.input_tokens", 0) == row.usage[0]
    assert attributes.get("gen_ai.usage.output_tokens", 0) == row.usage[1]
    assert attributes["genledger.cost.amount"] == pytest.approx(row.cost)
    assert attributes["genledger.outcome"] == "success"
    assert "genledger.usage.estimated" not in attributes
    assert attributes["server.address"] == "127.0.0.1"


async def test_a_whole_answer_is_one_priced_span(case: Case) -> None:
    case.server.will(case.row.whole)
    before = get_current()
    with recording(case.row) as telemetry:
        await case.whole(case.client())
        priced(case, call(telemetry))
    assert get_current() is before


async def test_a_streamed_answer_is_one_priced_span(case: Case) -> None:
    if not case.row.streams:
        pytest.skip("does not stream")
    case.server.will(case.row.streamed())
    before = get_current()
    with recording(case.row) as telemetry:
        await case.stream(case.client())
        attributes = call(telemetry)
        if case.row.stream_counts:
            priced(case, attributes)
        else:
            assert attributes["genledger.usage.estimated"] is True
            assert attributes["genledger.cost.amount"] > 0
            assert attributes["genledger.outcome"] == "success"
        assert attributes["gen_ai.request.stream"] is True
        assert attributes["gen_ai.response.time_to_first_chunk"] > 0
    assert get_current() is before


async def test_results_are_what_they_are_without_genledger(case: Case) -> None:
    async def all_results() -> list[str]:
        client = case.client()
        case.server.will(case.row.whole)
        found = [await case.whole(client)]
        if case.row.streams:
            case.server.will(case.row.streamed())
            found += await case.stream(client)
        return [type(one).__name__ + text_of(one) for one in found]

    without = await all_results()
    with recording(case.row):
        assert await all_results() == without
    assert await all_results() == without


async def test_a_stream_closed_early_settles_with_what_came(case: Case) -> None:
    if not case.row.streams or not case.row.closes:
        pytest.skip("does not stream, or cannot be closed early")
    case.server.will(case.row.begun(5))
    with recording(case.row) as telemetry:
        client = case.client()
        stream = await case.opened(client)
        await items(stream, 3)
        await case.close(stream)
        del stream
        for _ in range(100):  # a client's generators may end one another, each in a turn of the loop
            gc.collect()
            await asyncio.sleep(0)
            if calls(telemetry):
                break
        attributes = call(telemetry)
        assert attributes["genledger.outcome"] == "cancelled"
        assert attributes["genledger.usage.estimated"] is True
        assert attributes["genledger.cost.amount"] > 0
        if case.row.ends and hasattr(client, "close"):
            await now(client.close())


async def test_a_stream_that_breaks_off_keeps_what_came(case: Case) -> None:
    if not case.row.streams:
        pytest.skip("does not stream")
    case.server.will(case.row.streamed(4))
    with recording(case.row) as telemetry:
        client = case.client()
        try:
            await case.stream(client)
        except Exception:  # clients differ in whether they notice
            pass
        attributes = call(telemetry)
        assert attributes["genledger.usage.estimated"] is True
        assert attributes["genledger.cost.amount"] > 0


@pytest.mark.parametrize(("status", "outcome"), [(400, "error"), (500, "error"), (429, "rate_limited")])
async def test_a_refused_call_costs_nothing_and_keeps_its_exception(case: Case, status: int, outcome: str) -> None:
    if status == 429 and not case.row.throttled:
        pytest.skip("tries again until a deadline")

    async def failure(client: Any) -> tuple[str, str]:
        case.server.will(case.row.error(status))
        if not case.row.raises:
            return "", text_of(await case.whole(client))
        with pytest.raises(Exception, match=r".") as raised:
            await case.whole(client)
        return type(raised.value).__name__, str(raised.value)

    without = await failure(case.client())
    with recording(case.row) as telemetry:
        assert await failure(case.client()) == without
        attributes = call(telemetry)
        assert attributes["genledger.outcome"] == outcome
        assert attributes["error.type"]
        assert "genledger.cost.amount" not in attributes


async def test_a_retried_call_is_one_span_with_its_attempts(case: Case) -> None:
    if not case.row.retries:
        pytest.skip("does not retry")
    case.server.will(case.row.error(500), case.row.whole)
    with recording(case.row) as telemetry:
        await case.whole(case.client(retries=2))
        attributes = call(telemetry)
        priced(case, attributes)
        assert attributes["genledger.attempts"] == 2


async def test_a_budget_refuses_before_anything_is_sent(case: Case, tmp_path: Path) -> None:
    if not case.row.refused:
        pytest.skip("is free, or its model is not known before")
    case.server.will(case.row.whole)
    rules = tmp_path / "rules.toml"
    rules.write_text('[[budget]]\nname="none"\nusd=0.0000001\nper="day"\n')
    with recording(case.row, budgets=str(rules), budget_store="memory:") as telemetry:
        with pytest.raises(genledger.BudgetExceeded):
            await case.whole(case.client())
        assert case.server.requests == []
        assert call(telemetry)["genledger.outcome"] == "blocked"


async def test_a_degraded_call_is_sent_and_priced_as_degraded(case: Case, tmp_path: Path) -> None:
    if not case.row.cheaper:
        pytest.skip("has no cheaper model")
    case.server.will(case.row.whole)
    rules = tmp_path / "rules.toml"
    degrade = f'degrade = {{ model = "{case.row.cheaper}", max_output_tokens = 50 }}'
    rules.write_text(f'[[budget]]\nname="cheap"\nusd=0.0000001\nper="day"\nat_limit="degrade"\n{degrade}\n')
    with recording(case.row, budgets=str(rules), budget_store="memory:") as telemetry:
        await case.whole(case.client(), max_tokens=700)
        (request,) = case.server.requests
        assert case.row.sent_model(request) == case.row.cheaper
        attributes = call(telemetry)
        assert attributes["gen_ai.request.model"] == case.row.cheaper
        assert attributes["genledger.model.requested"] == case.row.model
        if case.row.limit is not None:
            assert case.row.limit(request) == 50
            assert attributes["gen_ai.request.max_tokens"] == 50


async def test_content_is_off_unless_asked_for(case: Case) -> None:
    row = case.row
    with recording(row) as telemetry:
        client = case.client()
        case.server.will(row.whole)
        await case.whole(client)
        if row.streams:
            case.server.will(row.streamed())
            await case.stream(client)
        seen = json.dumps([dict(span.attributes or {}) for span in telemetry.spans], default=str)
        assert not row.text or row.text not in seen
        assert row.prompt not in seen


async def test_content_is_recorded_when_asked_for(case: Case) -> None:
    row = case.row
    if not row.content:
        pytest.skip("has no content")
    with recording(row, content=True) as telemetry:
        client = case.client()
        case.server.will(row.whole)
        await case.whole(client)
        if row.streams:
            case.server.will(row.streamed())
            await case.stream(client)
        for attributes in calls(telemetry):
            asked = attributes.get("gen_ai.input.messages") or attributes["gen_ai.retrieval.query.text"]
            assert row.prompt in str(asked)
            assert not (row.says and row.text) or row.text in str(attributes["gen_ai.output.messages"])
            # What was not given is no content, whatever a client puts in its place.
            assert {"gen_ai.system_instructions", "gen_ai.tool.definitions"}.isdisjoint(attributes)


@pytest.mark.parametrize(
    "body", [b"{}", b"[]", b"null", b"not json", b'{"usage": "many", "choices": 7}'], ids=lambda body: body.decode()
)
async def test_an_answer_of_unknown_shape_is_an_unpriced_call(case: Case, body: bytes) -> None:
    async def outcome(client: Any) -> str:
        case.server.will(Reply(200, "application/json", (body,)))
        try:
            return text_of(await case.whole(client))
        except Exception as error:
            return type(error).__name__

    without = await outcome(case.client())
    with recording(case.row) as telemetry:
        assert await outcome(case.client()) == without
        attributes = call(telemetry)
        cost = attributes.get("genledger.cost.amount")
        if case.row.counted:
            assert cost is None or attributes["genledger.usage.estimated"] is True
            assert cost != 0
        else:
            assert cost is None or cost == pytest.approx(case.row.cost)


@of_each_client
async def test_a_call_belongs_to_the_step_and_attribution_around_it(case: Case) -> None:
    case.server.will(case.row.whole)
    with recording(case.row) as telemetry:
        client = case.client()
        with genledger.attribution(tenant="acme", feature="search"), genledger.observe("work", kind="agent") as run:
            await case.whole(client)
            assert run.spend().usd == pytest.approx(case.row.cost)
        attributes = call(telemetry)
        assert attributes["genledger.tenant.id"] == "acme"
        assert attributes["genledger.feature"] == "search"
        inner, outer = (span for span in telemetry.spans if "gen_ai.operation.name" in (span.attributes or {}))
        assert inner.parent is not None
        assert outer.context is not None
        assert inner.parent.span_id == outer.context.span_id
    assert trace.get_current_span() is trace.INVALID_SPAN


@of_each_client
async def test_nothing_is_recorded_after_uninstrument(case: Case) -> None:
    case.server.will(case.row.whole)
    client = case.client()
    with recording(case.row) as telemetry:
        await case.whole(client)
    await case.whole(client)
    assert len(calls(telemetry)) == 1


@of_each_client
async def test_concurrent_calls_keep_their_own_attribution(case: Case) -> None:
    case.server.will(case.row.whole)
    with recording(case.row) as telemetry:
        client = case.client()

        async def one(tenant: str) -> None:
            with genledger.attribution(tenant=tenant):
                await case.whole(client)

        await asyncio.gather(*(one(f"tenant-{number}") for number in range(8)))
        assert sorted(one["genledger.tenant.id"] for one in calls(telemetry)) == sorted(
            f"tenant-{number}" for number in range(8)
        )


@of_each_client
def test_instrument_imports_no_client(case: Case) -> None:
    program = f"import sys, genledger; genledger.instrument(destinations=[]); print({case.row.module!r} in sys.modules)"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout == "False\n"


@of_each_client
async def test_a_client_imported_before_instrument_is_recorded(case: Case) -> None:
    client = case.client()
    case.server.will(case.row.whole)
    with recording(case.row) as telemetry:
        await now(case.whole(client))
        priced(case, call(telemetry))


@of_each_client
def test_the_error_reply_of_the_row_is_an_error(case: Case) -> None:
    assert case.row.error(500) != json_reply({})
