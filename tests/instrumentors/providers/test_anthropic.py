"""Anthropic messages: created, streamed, parsed, beta, run with tools, counted and batched."""

from __future__ import annotations

import json
from typing import Any

import anthropic
import pydantic
import pytest
from anthropic.lib.tools import beta_async_tool, beta_tool
from opentelemetry.trace import SpanKind, StatusCode

from ...replay.transport import Reply
from .. import anthropic_format as wire
from ..provider import JSON, Provider, Within, answer, events, items, now
from ..telemetry import Telemetry, attributes_of


async def test_a_message_is_one_span_with_request_response_usage_and_cost(
    provider: Provider, telemetry: Telemetry
) -> None:
    provider.will(answer(wire.message()))
    result = await now(
        provider.anthropic().messages.create(
            **wire.ASK,
            stop_sequences=["END"],
            extra_body={"temperature": 0.5, "top_p": 0.9, "top_k": 3},
        )
    )
    assert result.content[0].text == "Paris."
    span = telemetry.span
    assert span.name == "chat claude-sonnet-4-5"
    assert span.kind is SpanKind.CLIENT
    assert span.status.status_code is StatusCode.UNSET
    expected = {
        "gen_ai.operation.name": "chat",
        "gen_ai.provider.name": "anthropic",
        "gen_ai.request.model": "claude-sonnet-4-5",
        "gen_ai.request.max_tokens": 100,
        "gen_ai.request.temperature": 0.5,
        "gen_ai.request.top_p": 0.9,
        "gen_ai.request.top_k": 3,
        "gen_ai.request.stop_sequences": ("END",),
        "gen_ai.response.id": "msg_1",
        "gen_ai.response.model": "claude-sonnet-4-5-20250929",
        "gen_ai.response.finish_reasons": ("end_turn",),
        "gen_ai.usage.input_tokens": 131,
        "gen_ai.usage.output_tokens": 7,
        "gen_ai.usage.cache_read.input_tokens": 100,
        "gen_ai.usage.cache_write.input_tokens": 20,
        "server.address": "api.anthropic.com",
        "server.port": 443,
        "genledger.outcome": "success",
    }
    attributes = telemetry.attributes
    assert {name: attributes.get(name) for name in expected} == expected
    # Anthropic's price list for Claude Sonnet 4.5, USD per million: 3 in, 15 out, 0.30 read, 3.75 written.
    cost = (11 * 3 + 100 * 0.30 + 20 * 3.75 + 7 * 15) * 1e-6
    assert attributes["genledger.cost.amount"] == pytest.approx(cost)
    assert attributes["genledger.cost.cache_read"] == pytest.approx(100 * 0.30e-6)
    assert attributes["genledger.cost.cache_write"] == pytest.approx(20 * 3.75e-6)


async def test_a_streamed_message(provider: Provider, telemetry: Telemetry) -> None:
    provider.will(events(wire.message_events(), done=False))
    stream = await now(provider.anthropic().messages.create(**wire.ASK, stream=True))
    found = await items(stream)
    assert found[-1].type == "message_stop"
    attributes = telemetry.attributes
    assert attributes["gen_ai.request.stream"] is True
    assert attributes["gen_ai.usage.input_tokens"] == 131
    assert attributes["gen_ai.usage.output_tokens"] == 7
    assert attributes["gen_ai.response.finish_reasons"] == ("end_turn",)
    assert attributes["gen_ai.response.time_to_first_chunk"] >= 0
    assert "genledger.usage.estimated" not in attributes


async def test_the_stream_helper_is_one_span(provider: Provider, telemetry: Telemetry) -> None:
    provider.will(events(wire.message_events(), done=False))
    async with Within(provider.anthropic().messages.stream(**wire.ASK)) as stream:
        text = "".join(await items(stream.text_stream))
        final = await now(stream.get_final_message())
    assert text == final.content[0].text == "Paris."
    assert telemetry.attributes["gen_ai.usage.output_tokens"] == 7
    assert telemetry.attributes["genledger.outcome"] == "success"


@pytest.mark.parametrize("name", ["get_final_message", "get_final_text", "until_done"])
async def test_the_stream_helper_drained_for_us(provider: Provider, telemetry: Telemetry, name: str) -> None:
    provider.will(events(wire.message_events(), done=False))
    async with Within(provider.anthropic().messages.stream(**wire.ASK)) as stream:
        await now(getattr(stream, name)())
        assert len(telemetry.spans) == 1
    assert telemetry.attributes["gen_ai.usage.input_tokens"] == 131
    assert telemetry.attributes["genledger.outcome"] == "success"


class Capital(pydantic.BaseModel):
    city: str


async def test_parse_gives_its_model_and_one_span(provider: Provider, telemetry: Telemetry) -> None:
    provider.will(answer(wire.message(wire.text('{"city": "Paris"}'))))
    result = await now(provider.anthropic().messages.parse(**wire.ASK, output_format=Capital))
    assert result.parsed_output == Capital(city="Paris")
    assert telemetry.attributes["gen_ai.output.type"] == "json"
    assert telemetry.attributes["gen_ai.usage.output_tokens"] == 7


async def test_an_answer_that_does_not_fit_the_model_is_paid_for(provider: Provider, telemetry: Telemetry) -> None:
    provider.will(answer(wire.message(wire.text('{"town": "Paris"}'))))
    with pytest.raises(pydantic.ValidationError):
        await now(provider.anthropic().messages.parse(**wire.ASK, output_format=Capital))
    assert telemetry.attributes["gen_ai.usage.output_tokens"] == 7


async def test_the_beta_api_is_the_same_call(provider: Provider, telemetry: Telemetry) -> None:
    client = provider.anthropic()
    provider.will(answer(wire.message()))
    await now(client.beta.messages.create(**wire.ASK, betas=["token-efficient-tools-2025-02-19"]))
    provider.will(events(wire.message_events(), done=False))
    await items(await now(client.beta.messages.create(**wire.ASK, stream=True)))
    provider.will(events(wire.message_events(), done=False))
    async with Within(client.beta.messages.stream(**wire.ASK)) as stream:
        await items(stream)
    assert [span.name for span in telemetry.spans] == ["chat claude-sonnet-4-5"] * 3
    for span in telemetry.spans:
        assert attributes_of(span)["gen_ai.usage.output_tokens"] == 7


async def test_the_tool_runner_has_one_span_per_request(provider: Provider, telemetry: Telemetry) -> None:
    asked: list[str] = []
    runs: dict[str, Any] = {}

    @beta_tool
    def weather(city: str) -> str:
        """The weather in a city.

        Args:
            city: Its name.
        """
        asked.append(city)
        return "sunny"

    @beta_async_tool
    async def aweather(city: str) -> str:
        """The weather in a city.

        Args:
            city: Its name.
        """
        return weather(city)

    aweather.name = "weather"
    runs["tools"] = [aweather if provider.asynchronous else weather]
    provider.will(answer(wire.message(wire.tool_use(), stop_reason="tool_use")), answer(wire.message()))
    runner = provider.anthropic().beta.messages.tool_runner(**wire.ASK, **runs)
    final = await now(runner.until_done())
    assert asked == ["Paris"]
    assert final.content[0].text == "Paris."
    assert [span.name for span in telemetry.spans] == ["chat claude-sonnet-4-5"] * 2
    reasons = [attributes_of(span)["gen_ai.response.finish_reasons"] for span in telemetry.spans]
    assert reasons == [("tool_use",), ("end_turn",)]


async def test_counting_tokens_costs_nothing(provider: Provider, telemetry: Telemetry) -> None:
    provider.will(answer({"input_tokens": 14}))
    count = await now(provider.anthropic().messages.count_tokens(model="claude-sonnet-4-5", messages=wire.USER))
    assert count.input_tokens == 14
    assert telemetry.span.name == "count_tokens claude-sonnet-4-5"
    assert not any(n.startswith(("gen_ai.usage.", "genledger.cost.")) for n in telemetry.attributes)


BATCH: dict[str, Any] = {
    "id": "msgbatch_1",
    "type": "message_batch",
    "processing_status": "ended",
    "request_counts": {"processing": 0, "succeeded": 1, "errored": 0, "canceled": 0, "expired": 0},
    "created_at": "2025-10-09T08:53:20Z",
    "expires_at": "2025-10-10T08:53:20Z",
    "results_url": "https://api.anthropic.com/v1/messages/batches/msgbatch_1/results",
}


async def test_a_batch_from_its_making_to_its_results(provider: Provider, telemetry: Telemetry) -> None:
    batches = provider.anthropic().messages.batches
    provider.will(answer(BATCH))
    await now(batches.create(requests=[{"custom_id": "a", "params": wire.ASK}]))
    assert telemetry.attributes["gen_ai.operation.name"] == "batch"
    line = {"custom_id": "a", "result": {"type": "succeeded", "message": wire.message()}}
    jsonl = Reply(200, {"content-type": "application/x-jsonl"}, [json.dumps(line).encode() + b"\n"])
    provider.will(answer(BATCH), jsonl)
    results = await items(await now(batches.results("msgbatch_1")))
    assert results[0].result.message.content[0].text == "Paris."
    assert {span.attributes["gen_ai.operation.name"] for span in telemetry.spans} == {"batch"}  # type: ignore[index]


async def test_thinking_server_tools_and_citations(provider: Provider, capturing: Telemetry) -> None:
    search = {"type": "server_tool_use", "id": "srv_1", "name": "web_search", "input": {"query": "Paris"}}
    found = {
        "type": "web_search_tool_result",
        "tool_use_id": "srv_1",
        "content": [{"type": "web_search_result", "url": "https://a.example", "title": "A", "encrypted_content": "x"}],
    }
    citation = {
        "type": "web_search_result_location",
        "url": "https://a.example",
        "title": "A",
        "cited_text": "Paris",
        "encrypted_index": "y",
    }
    usage = wire.USAGE | {"server_tool_use": {"web_search_requests": 2, "web_fetch_requests": 0}}
    thinking = {"type": "thinking", "thinking": "Let me see.", "signature": "sig"}
    hidden = {"type": "redacted_thinking", "data": "opaque"}
    provider.will(answer(wire.message(thinking, hidden, search, found, wire.text(citations=[citation]), usage=usage)))
    await now(
        provider.anthropic().messages.create(
            **wire.ASK,
            system=[{"type": "text", "text": "Be brief."}],
            thinking={"type": "enabled", "budget_tokens": 1024},
            tools=[{"type": "web_search_20250305", "name": "web_search"}],
        )
    )
    attributes = capturing.attributes
    for part in ("Let me see.", "web_search", "Paris."):
        assert part in attributes["gen_ai.output.messages"]
    assert "Be brief." in attributes["gen_ai.system_instructions"]
    assert "web_search" in attributes["gen_ai.tool.definitions"]
    # Anthropic's price list: 10 USD per thousand web searches.
    assert attributes["genledger.cost.other"] == pytest.approx(0.02)


async def test_a_streamed_tool_call_is_kept_whole(provider: Provider, capturing: Telemetry) -> None:
    def delta(json_piece: str) -> dict[str, Any]:
        piece = {"type": "input_json_delta", "partial_json": json_piece}
        return {"type": "content_block_delta", "index": 0, "delta": piece}

    start, *_, stop, end, last = wire.message_events()
    begin = {"type": "content_block_start", "index": 0, "content_block": {**wire.tool_use(), "input": {}}}
    end["delta"]["stop_reason"] = "tool_use"
    provider.will(events([start, begin, delta('{"ci'), delta('ty": "Paris"}'), stop, end, last], done=False))
    await items(await now(provider.anthropic().messages.create(**wire.ASK, stream=True)))
    output = capturing.attributes["gen_ai.output.messages"].replace(": ", ":").replace("\\", "")
    assert '"name":"weather"' in output
    assert '"city":"Paris"' in output


async def test_an_hour_in_the_cache_costs_more_than_five_minutes(provider: Provider, telemetry: Telemetry) -> None:
    for lifetime in ("ephemeral_5m_input_tokens", "ephemeral_1h_input_tokens"):
        written = {"ephemeral_5m_input_tokens": 0, "ephemeral_1h_input_tokens": 0, lifetime: 20}
        provider.will(answer(wire.message(usage=wire.USAGE | {"cache_creation": written})))
        await now(provider.anthropic().messages.create(**wire.ASK))
    found = [attributes_of(span) for span in telemetry.spans]
    assert [a["gen_ai.usage.cache_write.input_tokens"] for a in found] == [20, 20]
    assert [a["gen_ai.usage.input_tokens"] for a in found] == [131, 131]
    # Anthropic's price list: writing costs 1.25 times the input for five minutes, twice for an hour.
    assert found[0]["genledger.cost.cache_write"] == pytest.approx(20 * 3.75e-6)
    assert found[1]["genledger.cost.cache_write"] == pytest.approx(20 * 6e-6)


async def test_fast_mode_is_priced_as_such(provider: Provider, telemetry: Telemetry) -> None:
    amounts = []
    for speed in ("standard", "fast"):
        usage = wire.USAGE | {"speed": speed}
        provider.will(answer(wire.message(model="claude-opus-5-5", usage=usage)))
        client = provider.anthropic()
        await now(
            client.beta.messages.create(
                **wire.ASK | {"model": "claude-opus-5-5"}, speed=speed, betas=["fast-mode-2026-02-01"]
            )
        )
        amounts.append(attributes_of(telemetry.spans[-1])["genledger.cost.amount"])
    # Anthropic's price list: fast mode doubles every rate of Claude Opus 5.5.
    assert amounts[1] == pytest.approx(2 * amounts[0])


async def test_a_failed_request_is_one_span_with_its_error(provider: Provider, telemetry: Telemetry) -> None:
    provider.will(answer(wire.error(), 400))
    with pytest.raises(anthropic.BadRequestError):
        await now(provider.anthropic().messages.create(**wire.ASK))
    assert telemetry.span.status.status_code is StatusCode.ERROR
    assert telemetry.attributes["error.type"] == "anthropic.BadRequestError"
    assert telemetry.attributes["genledger.outcome"] == "error"


async def test_retries_are_counted_on_the_one_span(provider: Provider, telemetry: Telemetry) -> None:
    provider.will(
        answer(wire.error("overloaded_error", "Overloaded"), 529, headers={"retry-after-ms": "1"}),
        answer(wire.error("rate_limit_error", "Too many"), 429, headers={"retry-after-ms": "1"}),
        answer(wire.message()),
    )
    await now(provider.anthropic(max_retries=3).messages.create(**wire.ASK))
    assert telemetry.attributes["genledger.attempts"] == 3
    assert telemetry.attributes["genledger.retry.causes"] == ("529", "429")
    assert telemetry.attributes["genledger.outcome"] == "success"


async def test_raw_and_streaming_responses(provider: Provider, telemetry: Telemetry) -> None:
    client = provider.anthropic()
    provider.will(answer(wire.message()))
    raw = await now(client.messages.with_raw_response.create(**wire.ASK))
    assert (await now(raw.parse())).content[0].text == "Paris."
    provider.will(events(wire.message_events(), done=False))
    raw = await now(client.messages.with_raw_response.create(**wire.ASK, stream=True))
    await items(await now(raw.parse()))
    provider.will(answer(wire.message()))
    async with Within(client.messages.with_streaming_response.create(**wire.ASK)) as response:
        await now(response.read())
    provider.will(events(wire.message_events(), done=False))
    async with Within(client.messages.with_streaming_response.create(**wire.ASK, stream=True)) as response:
        await items(response.iter_lines())
    assert len(telemetry.spans) == 4
    for span in telemetry.spans:
        attributes = attributes_of(span)
        assert attributes["gen_ai.usage.input_tokens"] == 131
        assert attributes["gen_ai.usage.output_tokens"] == 7
        assert attributes["genledger.outcome"] == "success"


PLATFORMS: list[tuple[str, dict[str, Any], str]] = [
    ("Bedrock", {"aws_region": "us-east-1", "api_key": "test"}, "aws.bedrock"),
    ("Vertex", {"region": "us-east5", "project_id": "p", "access_token": "t"}, "gcp.vertex_ai"),
    ("Foundry", {"resource": "example", "api_key": "test"}, "azure.ai"),
]


@pytest.mark.parametrize(("platform", "options", "name"), PLATFORMS, ids=[p[0] for p in PLATFORMS])
async def test_the_platforms_are_providers_of_their_own(
    provider: Provider, telemetry: Telemetry, platform: str, options: dict[str, Any], name: str
) -> None:
    provider.will(Reply(200, JSON, [json.dumps(wire.message()).encode()]))
    kind = getattr(anthropic, f"{'Async' if provider.asynchronous else ''}Anthropic{platform}")
    client = kind(**options, max_retries=0, http_client=provider.http_client("anthropic"))
    result = await now(client.messages.create(**wire.ASK))
    assert result.content[0].text == "Paris."
    assert telemetry.attributes["gen_ai.provider.name"].startswith(name)
    assert telemetry.attributes["gen_ai.request.model"] == "claude-sonnet-4-5"
    assert telemetry.attributes["gen_ai.usage.input_tokens"] == 131


async def test_a_stream_broken_off_before_its_first_text_is_an_estimate(
    provider: Provider, telemetry: Telemetry
) -> None:
    provider.will(events(wire.message_events(), done=False))
    stream = await now(provider.anthropic().messages.create(**wire.ASK, stream=True))
    (first,) = await items(stream, 1)
    assert first.type == "message_start"
    await now(stream.close())
    attributes = telemetry.attributes
    assert attributes["genledger.usage.estimated"] is True
    assert attributes["gen_ai.usage.input_tokens"] == 131


COMPACTION = {"type": "compaction", "content": "They spoke about France."}


@pytest.mark.parametrize("where", ["request", "answer", "stream"])
async def test_a_conversation_of_which_a_part_is_compacted_is_marked(
    provider: Provider, telemetry: Telemetry, where: str
) -> None:
    asked = {**wire.ASK}
    if where == "stream":
        begun = {"type": "content_block_start", "index": 0, "content_block": {"type": "compaction", "content": None}}
        told = {
            "type": "content_block_delta",
            "index": 0,
            "delta": {"type": "compaction_delta", "content": COMPACTION["content"]},
        }
        first = wire.message_events(stop=False)[0]
        provider.will(events([first, begun, told], done=False))
        await items(await now(provider.anthropic().beta.messages.create(**asked, stream=True)))
    else:
        if where == "request":
            asked["messages"] = [{"role": "assistant", "content": [COMPACTION]}, *wire.USER]
        provider.will(answer(wire.message(*([COMPACTION] if where == "answer" else []))))
        await now(provider.anthropic().beta.messages.create(**asked))
    assert telemetry.attributes["gen_ai.conversation.compacted"] is True
