"""Gemini's Live API, over a real socket: one span for each turn of the model, with its own usage."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from tests.contract.sockets.server import SocketServer, socket_server

import genledger
from genledger import BudgetExceeded
from genledger_semconv import attributes as A
from genledger_semconv.checker import assert_clean

from ..telemetry import Telemetry, attributes_of, instrumented

pytest.importorskip("google.genai")

from tests.contract.sockets.rows.google_genai import COMPLETE, COST, MODEL, USAGE, answers, client, content, sound


@pytest.fixture
def live() -> Iterator[Telemetry]:
    with recorded() as telemetry:
        yield telemetry


@contextmanager
def recorded(**options: Any) -> Iterator[Telemetry]:
    with instrumented(libraries=["google-genai"], **options) as telemetry:
        yield telemetry
        assert_clean(telemetry.spans, telemetry.metrics, telemetry.logs, capture_content="capture_content" in options)
        assert not telemetry.open.spans
        assert not telemetry.complaints.other


@contextmanager
def serving(*turns: list[Any]) -> Iterator[SocketServer]:
    """A provider that gives the next of `turns` to what asks for one."""
    left = list(turns)

    def script(message: Any) -> list[Any]:
        if message is None:
            return []
        if "setup" in message:
            return [{"setupComplete": {}}]
        return left.pop(0) if left else []

    with socket_server(script) as server:
        yield server


def connect(server: SocketServer) -> Any:
    return client(server.address, True).aio.live.connect(model=MODEL, config={"response_modalities": ["AUDIO"]})


async def heard(session: Any) -> list[Any]:
    return [message async for message in session.receive()]


async def test_each_turn_is_a_span_with_its_own_usage_by_modality(live: Telemetry) -> None:
    turn = [sound("Paris"), COMPLETE]
    with serving(turn, turn) as server:
        async with connect(server) as session:
            for tenant in ("one", "two"):
                with genledger.attribution(tenant=tenant):
                    await session.send_client_content(turns=content("Where?"))
                assert len(await heard(session)) == 2
    assert [span.name for span in live.spans] == [f"realtime {MODEL}"] * 2
    for span, tenant in zip(live.spans, ("one", "two"), strict=True):
        attributes = attributes_of(span)
        assert attributes["genledger.tenant.id"] == tenant
        assert attributes["gen_ai.usage.input_tokens"] == 1000
        assert attributes[A.GEN_AI_USAGE_AUDIO_INPUT_TOKENS] == 800
        assert attributes[A.GEN_AI_USAGE_AUDIO_OUTPUT_TOKENS] == 400
        assert attributes["gen_ai.response.finish_reasons"] == ("STOP",)
        assert attributes["genledger.cost.amount"] == pytest.approx(COST)
        assert "gen_ai.response.time_to_first_chunk" in attributes


async def test_a_turn_goes_on_over_its_tools_and_counts_both_of_its_generations(live: Telemetry) -> None:
    call = {"toolCall": {"functionCalls": [{"id": "f1", "name": "look_up", "args": {}}]}, "usageMetadata": USAGE}
    with serving([call], [sound("Paris"), COMPLETE]) as server:
        async with connect(server) as session:
            await session.send_client_content(turns=content("Where?"))
            async for message in session.receive():
                if message.tool_call:
                    answer = {"id": "f1", "name": "look_up", "response": {"found": "Paris"}}
                    await session.send_tool_response(function_responses=[answer])
    assert live.attributes["gen_ai.usage.input_tokens"] == 2000
    assert live.attributes["gen_ai.usage.output_tokens"] == 1000
    assert live.attributes["genledger.cost.amount"] == pytest.approx(2 * COST)
    assert live.attributes["genledger.outcome"] == "success"


async def test_an_interrupted_turn_is_cancelled_with_the_usage_that_it_had(live: Telemetry) -> None:
    with serving([sound("Par"), {"serverContent": {"interrupted": True}}, COMPLETE]) as server:
        async with connect(server) as session:
            await session.send_client_content(turns=content("Where?"))
            await heard(session)
    assert live.attributes["genledger.outcome"] == "cancelled"
    assert live.attributes["gen_ai.usage.output_tokens"] == 500
    assert "genledger.usage.estimated" not in live.attributes


async def test_a_turn_that_the_model_takes_by_itself_belongs_to_where_the_session_was_opened(live: Telemetry) -> None:
    heard_first = {"serverContent": {"inputTranscription": {"text": "Where"}}}
    with serving([heard_first, sound("Paris"), COMPLETE]) as server:
        with genledger.attribution(tenant="acme"):
            opened = connect(server)
            session = await opened.__aenter__()
        await session.send_realtime_input(audio={"data": b"sound", "mime_type": "audio/pcm"})
        await heard(session)
        await opened.__aexit__(None, None, None)
    assert live.attributes["genledger.tenant.id"] == "acme"
    assert live.attributes["gen_ai.usage.output_tokens"] == 500


async def test_a_connection_that_goes_away_within_a_turn_fails_it_with_what_came(live: Telemetry) -> None:
    with serving([{"goAway": {"timeLeft": "1s"}}, sound("Paris it is, and has been. " * 20), 1011]) as server:
        async with connect(server) as session:
            await session.send_client_content(turns=content("Where?"))
            with pytest.raises(Exception, match="1011"):
                await heard(session)
    assert live.attributes["error.type"] == "websockets.exceptions.ConnectionClosedError"
    assert live.attributes["genledger.usage.estimated"] is True
    assert live.attributes["gen_ai.usage.output_tokens"] > 50


async def test_a_turn_that_the_application_leaves_is_cancelled(live: Telemetry) -> None:
    with serving([sound("Paris it is, and has been. " * 20)]) as server:
        async with connect(server) as session:
            await session.send_client_content(turns=content("Where?"))
            async for _ in session.receive():
                break
    assert live.attributes["genledger.outcome"] == "cancelled"
    assert live.attributes["genledger.usage.estimated"] is True
    assert "error.type" not in live.attributes


async def test_a_budget_says_no_before_the_turn_is_sent(tmp_path: Path) -> None:
    rules = tmp_path / "budgets.toml"
    rules.write_text('[[budget]]\nrequests = 1\nper = "day"\n')
    turn = [sound("Paris"), COMPLETE]
    with recorded(budgets=str(rules), budget_store="memory:") as telemetry, serving(turn, turn) as server:
        async with connect(server) as session:
            await session.send_client_content(turns=content("Where?"))
            await heard(session)
            with pytest.raises(BudgetExceeded):
                await session.send_client_content(turns=content("And where?"))
            before = len(server.heard)
        outcomes = [attributes_of(span)["genledger.outcome"] for span in telemetry.spans]
        assert outcomes == ["success", "blocked"]
        assert before == 2  # what sets the session up, and the first turn


async def test_content_is_captured_when_it_is_on() -> None:
    with recorded(capture_content="span") as telemetry, socket_server(answers) as server:
        async with client(server.address, True).aio.live.connect(
            model=MODEL, config={"response_modalities": ["AUDIO"], "system_instruction": "Be brief."}
        ) as session:
            await session.send_client_content(turns=content("Where?"))
            await heard(session)
        assert "Where?" in telemetry.attributes["gen_ai.input.messages"]
        assert "Be brief." in telemetry.attributes["gen_ai.system_instructions"]
        assert "The capital of France is Paris." in telemetry.attributes["gen_ai.output.messages"]


async def test_a_message_of_unknown_shape_is_an_unpriced_turn(live: Telemetry) -> None:
    odd = {"serverContent": {"modelTurn": "Paris", "turnComplete": True}, "usageMetadata": "many"}

    def script(message: Any) -> list[Any]:
        return [] if message is None else [{"setupComplete": {}} if "setup" in message else odd]

    with socket_server(script) as server:
        async with connect(server) as session:
            await session.send_client_content(turns=content("Where?"))
            try:
                await heard(session)
            except Exception:  # newer versions read it strictly
                pass
    cost = live.attributes.get("genledger.cost.amount")
    assert cost is None or live.attributes["genledger.usage.estimated"] is True
    assert cost != 0


async def test_the_session_is_what_it_was() -> None:
    async def seen() -> list[Any]:
        with serving([sound("Paris"), COMPLETE]) as server:
            async with connect(server) as session:
                await session.send_client_content(turns=content("Where?"))
                return [type(session), vars(session).keys(), type(session._ws), *map(repr, await heard(session))]

    before = await seen()
    with recorded():
        during = await seen()
    assert during == before
