"""OpenAI's Responses API: created, parsed, streamed, run in the background, fetched and resumed."""

from __future__ import annotations

import contextlib
import json
import sqlite3
import subprocess
import sys
from pathlib import Path
from typing import Any

import openai
import pydantic
import pytest
from opentelemetry.trace import StatusCode
from tests.contract.server import Server, json_reply

import genledger

from .. import openai_format as wire
from ..provider import Provider, Within, answer, events, items, now
from ..telemetry import Telemetry, attributes_of, instrumented

ASK: dict[str, Any] = {"model": "gpt-4o", "input": "What is the capital of France?"}


async def test_a_response_is_one_span(provider: Provider, telemetry: Telemetry) -> None:
    provider.will(answer(wire.response()))
    result = await now(
        provider.openai().responses.create(
            **ASK,
            max_output_tokens=50,
            temperature=0.5,
            reasoning={"effort": "low"},
            previous_response_id="resp_0",
        )
    )
    assert result.output_text == "Paris."
    expected = {
        "gen_ai.operation.name": "chat",
        "gen_ai.provider.name": "openai",
        "gen_ai.request.model": "gpt-4o",
        "gen_ai.request.max_tokens": 50,
        "gen_ai.request.temperature": 0.5,
        "gen_ai.request.reasoning.level": "low",
        "gen_ai.request.previous_response.id": "resp_0",
        "gen_ai.response.id": "resp_1",
        "gen_ai.response.model": "gpt-4o-2024-08-06",
        "gen_ai.usage.input_tokens": 1200,
        "gen_ai.usage.output_tokens": 300,
        "gen_ai.usage.cache_read.input_tokens": 1024,
        "gen_ai.usage.reasoning.output_tokens": 128,
        "openai.api.type": "responses",
        "openai.response.service_tier": "default",
        "genledger.outcome": "success",
    }
    attributes = telemetry.attributes
    assert telemetry.span.name == "chat gpt-4o"
    assert {name: attributes.get(name) for name in expected} == expected
    assert attributes["genledger.cost.amount"] > 0


async def test_a_streamed_response_has_the_usage_of_its_last_event(provider: Provider, telemetry: Telemetry) -> None:
    provider.will(events(wire.response_events(), done=False))
    found = await items(await now(provider.openai().responses.create(**ASK, stream=True)))
    assert [event.type for event in found][-1] == "response.completed"
    attributes = telemetry.attributes
    assert attributes["gen_ai.request.stream"] is True
    assert attributes["gen_ai.response.id"] == "resp_1"
    assert attributes["gen_ai.usage.output_tokens"] == 300
    assert attributes["gen_ai.response.time_to_first_chunk"] >= 0
    assert attributes["genledger.outcome"] == "success"


async def test_a_stream_whose_last_event_has_no_items_has_those_that_came_before(provider: Provider) -> None:
    provider.will(events(wire.response_events(output=[]), done=False))
    with instrumented(capture_content="span") as telemetry:
        await items(await now(provider.openai().responses.create(**ASK, stream=True)))
        (answered,) = json.loads(telemetry.attributes["gen_ai.output.messages"])
    assert answered["parts"] == [{"type": "text", "content": "Paris."}]


@pytest.mark.parametrize("last", ["response.incomplete", "response.failed"])
async def test_a_stream_that_ends_short_still_has_its_usage(
    provider: Provider, telemetry: Telemetry, last: str
) -> None:
    provider.will(events(wire.response_events(last), done=False))
    await items(await now(provider.openai().responses.create(**ASK, stream=True)))
    assert telemetry.attributes["gen_ai.usage.output_tokens"] == 300
    assert "genledger.usage.estimated" not in telemetry.attributes


CUT: dict[str, tuple[dict[str, Any], list[dict[str, Any]], dict[str, Any]]] = {
    "text": (
        {"type": "message", "role": "assistant", "content": []},
        [{"type": "response.output_text.delta", "delta": piece} for piece in ("Par", "is")],
        {"type": "text", "content": "Paris"},
    ),
    "a refusal": (
        {"type": "message", "role": "assistant", "content": []},
        [{"type": "response.refusal.delta", "delta": "I can't"}],
        {"type": "text", "content": "I can't"},
    ),
    "thoughts": (
        {"type": "reasoning", "summary": []},
        [{"type": "response.reasoning_summary_text.delta", "delta": piece} for piece in ("Fra", "nce")],
        {"type": "reasoning", "content": "France"},
    ),
    "a tool call": (
        {"type": "function_call", "name": "weather", "call_id": "call_1", "arguments": ""},
        [{"type": "response.function_call_arguments.delta", "delta": '{"city":'}],
        {"type": "tool_call", "name": "weather", "id": "call_1", "arguments": '{"city":'},
    ),
}


@pytest.mark.parametrize("what", CUT)
async def test_a_stream_that_is_cut_keeps_what_came(provider: Provider, capturing: Telemetry, what: str) -> None:
    item, deltas, expected = CUT[what]
    done = {"type": "message", "id": "msg_0", "role": "assistant", "content": [{"type": "output_text", "text": "One."}]}
    sent = [
        wire.response_events()[0],
        {"type": "response.output_item.done", "output_index": 0, "item": {**done, "status": "completed"}},
        {"type": "response.output_item.added", "output_index": 1, "item": {**item, "id": "item_1"}},
        *({**delta, "output_index": 1, "item_id": "item_1", "content_index": 0} for delta in deltas),
    ]
    provider.will(events([{**event, "sequence_number": at} for at, event in enumerate(sent)], done=False))
    await items(await now(provider.openai().responses.create(**ASK, stream=True)))
    (answered,) = json.loads(capturing.attributes["gen_ai.output.messages"])
    assert answered["parts"] == [{"type": "text", "content": "One."}, expected]


async def test_a_response_that_failed_at_the_provider_is_an_error(provider: Provider, telemetry: Telemetry) -> None:
    failure = {"code": "server_error", "message": "The model failed."}
    provider.will(answer(wire.response(status="failed", error=failure, output=[], usage=None)))
    result = await now(provider.openai().responses.create(**ASK))
    assert result.status == "failed"
    assert telemetry.span.status.status_code is StatusCode.ERROR
    assert telemetry.attributes["genledger.outcome"] == "error"
    assert telemetry.attributes["error.type"] == "server_error"


class Capital(pydantic.BaseModel):
    city: str


async def test_parse_gives_its_model_and_one_span(provider: Provider, telemetry: Telemetry) -> None:
    provider.will(answer(wire.response(wire.output_message('{"city": "Paris"}'))))
    result = await now(provider.openai().responses.parse(**ASK, text_format=Capital))
    assert result.output_parsed == Capital(city="Paris")
    assert telemetry.attributes["gen_ai.output.type"] == "json"
    assert telemetry.attributes["gen_ai.usage.output_tokens"] == 300


async def test_an_answer_that_does_not_fit_the_model_is_paid_for(provider: Provider, telemetry: Telemetry) -> None:
    provider.will(answer(wire.response(wire.output_message('{"town": "Paris"}'))))
    with pytest.raises(pydantic.ValidationError):
        await now(provider.openai().responses.parse(**ASK, text_format=Capital))
    assert telemetry.attributes["gen_ai.usage.output_tokens"] == 300


async def test_the_stream_helper_is_one_span(provider: Provider, telemetry: Telemetry) -> None:
    provider.will(events(wire.response_events(), done=False))
    async with Within(provider.openai().responses.stream(**ASK)) as stream:
        assert [event.type for event in await items(stream)][-1] == "response.completed"
        final = await now(stream.get_final_response())
    assert final.output_text == "Paris."
    assert telemetry.attributes["gen_ai.usage.output_tokens"] == 300
    assert telemetry.attributes["genledger.outcome"] == "success"


async def test_a_fetched_response_speaks_of_no_usage(provider: Provider, telemetry: Telemetry) -> None:
    provider.will(answer(wire.response()))
    result = await now(provider.openai().responses.retrieve("resp_1"))
    assert result.usage.total_tokens == 1500
    attributes = telemetry.attributes
    assert telemetry.span.name == "fetch_response"
    assert attributes["gen_ai.operation.name"] == "fetch_response"
    assert attributes["gen_ai.response.id"] == "resp_1"
    assert attributes["gen_ai.response.model"] == "gpt-4o-2024-08-06"
    assert attributes["gen_ai.response.status"] == "completed"
    assert not any(name.startswith(("gen_ai.usage.", "genledger.cost.")) for name in attributes)


async def test_a_fetch_that_fails_still_names_its_response(provider: Provider, telemetry: Telemetry) -> None:
    provider.will(answer(wire.error(), 404))
    with pytest.raises(openai.NotFoundError):
        await now(provider.openai().responses.retrieve("resp_9"))
    assert telemetry.attributes["gen_ai.response.id"] == "resp_9"
    assert telemetry.attributes["error.type"] == "openai.NotFoundError"


QUEUED = wire.response(status="queued", usage=None, output=[], background=True)
FAILED = wire.response(
    status="failed", usage=None, output=[], background=True, error={"code": "server_error", "message": "Sorry."}
)


TOOL_CALLS: dict[str, dict[str, Any]] = {
    "function_call": {"name": "weather", "arguments": "{}", "call_id": "call_1"},
    "custom_tool_call": {"name": "sql", "input": "select 1", "call_id": "call_1"},
    "computer_call": {"action": {"type": "screenshot"}, "call_id": "call_1", "pending_safety_checks": []},
    "shell_call": {"action": {"commands": ["ls"]}, "call_id": "call_1"},
    "local_shell_call": {"action": {"type": "exec", "command": ["ls"], "env": {}}, "call_id": "call_1"},
    "apply_patch_call": {"operation": {"type": "delete_file", "path": "a"}, "call_id": "call_1"},
    "mcp_approval_request": {"name": "delete", "arguments": "{}", "server_label": "files"},
}


@pytest.mark.parametrize("kind", TOOL_CALLS)
@pytest.mark.parametrize("stream", [False, True])
async def test_an_answer_that_asks_the_application_to_act_ends_with_a_tool_call(
    provider: Provider, telemetry: Telemetry, kind: str, stream: bool
) -> None:
    call = {"type": kind, "id": "item_1", "status": "completed", **TOOL_CALLS[kind]}
    if stream:
        provider.will(events(wire.response_events(output=[call]), done=False))
        await items(await now(provider.openai().responses.create(**ASK, stream=True)))
    else:
        provider.will(answer(wire.response(output=[call])))
        await now(provider.openai().responses.create(**ASK))
    assert telemetry.attributes["gen_ai.response.finish_reasons"] == ("tool_call",)


async def test_a_tool_call_that_the_provider_answered_itself_is_no_end(
    provider: Provider, telemetry: Telemetry
) -> None:
    call = {"type": "shell_call", "id": "sh_1", "status": "completed", **TOOL_CALLS["shell_call"]}
    done = {"type": "shell_call_output", "id": "sho_1", "call_id": "call_1", "output": [], "status": "completed"}
    provider.will(answer(wire.response(output=[call, done])))
    await now(provider.openai().responses.create(**ASK))
    assert telemetry.attributes["gen_ai.response.finish_reasons"] == ("stop",)


COMPACTION = {"type": "compaction", "id": "cmp_1", "encrypted_content": "gAAA"}


@pytest.mark.parametrize("where", ["input", "output"])
async def test_a_conversation_of_which_a_part_is_compacted_is_marked(
    provider: Provider, telemetry: Telemetry, where: str
) -> None:
    asked = [COMPACTION, {"role": "user", "content": "And since when?"}] if where == "input" else ASK["input"]
    provider.will(answer(wire.response(**({"output": [COMPACTION]} if where == "output" else {}))))
    await now(provider.openai().responses.create(model="gpt-4o", input=asked))
    assert telemetry.attributes["gen_ai.conversation.compacted"] is True


async def test_a_conversation_that_is_whole_is_not_marked_as_compacted(
    provider: Provider, telemetry: Telemetry
) -> None:
    provider.will(answer(wire.response()))
    await now(provider.openai().responses.create(**ASK))
    assert "gen_ai.conversation.compacted" not in telemetry.attributes


async def in_background(provider: Provider, *replies: dict[str, Any], tenant: str = "acme") -> None:
    """Create a response in the background for a tenant, and fetch it by another."""
    client = provider.client("openai")
    provider.will(answer(QUEUED))
    with genledger.attribution(tenant=tenant):
        await now(client.responses.create(**ASK, background=True))
    with genledger.attribution(tenant="poller"):
        for reply in replies:
            provider.will(answer(reply))
            await now(client.responses.retrieve("resp_1"))
    assert genledger.flush(30)


async def test_a_background_response_is_paid_for_once_when_it_is_fetched_often(
    provider: Provider, telemetry: Telemetry
) -> None:
    await in_background(provider, QUEUED | {"status": "in_progress"}, wire.response(), wire.response())
    created = telemetry.attributes_of("chat gpt-4o")
    assert created["gen_ai.usage.output_tokens"] == 300
    assert created["genledger.cost.amount"] > 0
    assert created["genledger.tenant.id"] == "acme"
    assert created["genledger.outcome"] == "success"
    fetched = [attributes_of(span) for span in telemetry.spans if span.name == "fetch_response"]
    assert [a["gen_ai.response.status"] for a in fetched] == ["in_progress", "completed", "completed"]
    assert not any(name.startswith(("gen_ai.usage.", "genledger.cost.")) for a in fetched for name in a)


async def test_a_background_response_that_failed_is_its_creators_failure_and_no_failed_fetch(
    provider: Provider, telemetry: Telemetry
) -> None:
    await in_background(provider, FAILED)
    created, fetched = telemetry.attributes_of("chat gpt-4o"), telemetry.attributes_of("fetch_response")
    assert (created["genledger.outcome"], created["error.type"]) == ("error", "server_error")
    assert fetched["genledger.outcome"] == "success"
    assert "error.type" not in fetched
    assert fetched["gen_ai.response.status"] == "failed"


async def test_a_background_response_that_is_cancelled_costs_what_it_used(
    provider: Provider, telemetry: Telemetry
) -> None:
    await in_background(provider)
    provider.will(answer(wire.response(status="cancelled", background=True)))
    await now(provider.client("openai").responses.cancel("resp_1"))
    assert genledger.flush(30)
    created = telemetry.attributes_of("chat gpt-4o")
    assert created["genledger.outcome"] == "cancelled"
    assert created["gen_ai.usage.output_tokens"] == 300


async def test_a_background_stream_that_breaks_off_is_paid_for_when_it_is_resumed(
    provider: Provider, telemetry: Telemetry
) -> None:
    client = provider.client("openai")
    provider.will(events(wire.response_events()[:4], done=False))
    with genledger.attribution(tenant="acme"):
        stream = await now(client.responses.create(**ASK, background=True, stream=True))
    assert len(await items(stream, 3)) == 3
    await now(stream.close())
    assert not telemetry.spans
    provider.will(events(wire.response_events()[4:], done=False))
    await items(await now(client.responses.retrieve("resp_1", stream=True, starting_after=3)))
    assert genledger.flush(30)
    created = telemetry.attributes_of("chat gpt-4o")
    assert created["gen_ai.usage.output_tokens"] == 300
    assert "genledger.usage.estimated" not in created
    assert created["genledger.tenant.id"] == "acme"


CREATE = """
import sys, genledger, openai
genledger.instrument(destinations=["ledger"])
client = openai.OpenAI(api_key="test", base_url=sys.argv[1], max_retries=0)
with genledger.attribution(tenant="acme"):
    print(client.responses.create(model="gpt-4o", input="Hello", background=True).id)
"""
FETCH = """
import sys, genledger, openai
genledger.instrument(destinations=["ledger"])
client = openai.OpenAI(api_key="test", base_url=sys.argv[1], max_retries=0)
with genledger.attribution(tenant="poller"):
    for _ in range(2):
        print(client.responses.retrieve("resp_1").status)
"""


def test_what_another_process_fetches_is_paid_for_once_by_the_creator(server: Server, ledger: Path) -> None:
    def run(script: str) -> None:
        subprocess.run([sys.executable, "-c", script, f"{server.url}/v1"], check=True, timeout=600)

    def costs() -> list[tuple[Any, ...]]:
        with contextlib.closing(sqlite3.connect(ledger)) as connection:
            found = "SELECT tenant, unpriced, cost_usd > 0, output + reasoning FROM calls WHERE operation = 'chat'"
            return connection.execute(found).fetchall()

    server.will(json_reply(QUEUED))
    run(CREATE)
    assert costs() == [("acme", "pending", None, None)]
    server.will(json_reply(wire.response()))
    server.will(json_reply(wire.response()))
    run(FETCH)
    assert costs() == [("acme", None, 1, 300)]
    server.will(json_reply(wire.response()))
    server.will(json_reply(wire.response()))
    run(FETCH)
    assert costs() == [("acme", None, 1, 300)]


async def test_a_resumed_stream_is_a_fetch_with_its_cursor(provider: Provider, telemetry: Telemetry) -> None:
    provider.will(events(wire.response_events()[4:], done=False))
    stream = await now(provider.openai().responses.retrieve("resp_1", stream=True, starting_after=3))
    found = await items(stream)
    assert found[-1].type == "response.completed"
    attributes = telemetry.attributes
    assert attributes["gen_ai.operation.name"] == "fetch_response"
    assert attributes["gen_ai.response.id"] == "resp_1"
    assert attributes["gen_ai.request.stream_cursor"] == "3"
    assert attributes["gen_ai.response.status"] == "completed"
    assert not any(name.startswith("gen_ai.usage.") for name in attributes)


async def test_content_of_a_response(provider: Provider, capturing: Telemetry) -> None:
    call = {
        "id": "fc_1",
        "type": "function_call",
        "call_id": "call_1",
        "name": "weather",
        "arguments": '{"city": "Paris"}',
        "status": "completed",
    }
    reasoning = {"id": "rs_1", "type": "reasoning", "summary": [{"type": "summary_text", "text": "I think."}]}
    search = {"id": "ws_1", "type": "web_search_call", "status": "completed", "action": {"type": "search"}}
    provider.will(answer(wire.response(reasoning, search, wire.output_message(), call)))
    await now(
        provider.openai().responses.create(
            model="gpt-4o",
            instructions="Be brief.",
            input=[
                {"role": "user", "content": [{"type": "input_text", "text": "Weather?"}]},
                {"type": "function_call_output", "call_id": "call_0", "output": "sunny"},
            ],
            tools=[{"type": "function", **wire.TOOL["function"]}, {"type": "web_search"}],  # type: ignore[dict-item]
        )
    )
    attributes = capturing.attributes
    assert "Be brief." in attributes["gen_ai.system_instructions"]
    assert "Weather?" in attributes["gen_ai.input.messages"]
    assert "sunny" in attributes["gen_ai.input.messages"]
    for part in ("I think.", "Paris.", "weather", "web_search"):
        assert part in attributes["gen_ai.output.messages"]
    assert "weather" in attributes["gen_ai.tool.definitions"]


async def test_a_refused_response_keeps_its_refusal(provider: Provider, capturing: Telemetry) -> None:
    item = wire.output_message() | {"content": [{"type": "refusal", "refusal": "I cannot help."}]}
    provider.will(answer(wire.response(item)))
    await now(provider.openai().responses.create(**ASK))
    assert capturing.attributes["genledger.outcome"] == "success"
    assert "I cannot help." in capturing.attributes["gen_ai.output.messages"]


async def test_a_web_search_is_billed_beside_the_tokens(provider: Provider, telemetry: Telemetry) -> None:
    search = {"id": "ws_1", "type": "web_search_call", "status": "completed", "action": {"type": "search"}}
    amounts = []
    for output in ([wire.output_message()], [search, wire.output_message()]):
        provider.will(answer(wire.response(*output)))
        await now(provider.openai().responses.create(**ASK, tools=[{"type": "web_search"}]))
        amounts.append(attributes_of(telemetry.spans[-1])["genledger.cost.amount"])
    # OpenAI's price list: 10 USD per thousand web searches.
    assert amounts[1] - amounts[0] == pytest.approx(0.01)
    assert attributes_of(telemetry.spans[-1])["genledger.cost.other"] == pytest.approx(0.01)
