"""OpenAI chat completions and legacy completions: one span each, with what the provider said."""

from __future__ import annotations

import json
from typing import Any

import openai
import pydantic
import pytest
from opentelemetry.trace import SpanKind, StatusCode

from .. import openai_format as wire
from ..provider import Provider, Within, answer, events, items, now
from ..telemetry import Telemetry, attributes_of, instrumented

CHAT: dict[str, Any] = {"model": "gpt-4o", "messages": wire.USER}


async def test_a_chat_completion_is_one_span_with_request_response_usage_and_cost(
    provider: Provider, telemetry: Telemetry
) -> None:
    provider.will(answer(wire.chat()))
    result = await now(
        provider.openai().chat.completions.create(
            **CHAT,
            max_completion_tokens=50,
            temperature=0.5,
            top_p=0.9,
            frequency_penalty=0.1,
            presence_penalty=0.2,
            seed=7,
            stop=["\n", "END"],
            reasoning_effort="low",
        )
    )
    assert result.choices[0].message.content == "Paris."
    span = telemetry.span
    assert span.name == "chat gpt-4o"
    assert span.kind is SpanKind.CLIENT
    assert span.status.status_code is StatusCode.UNSET
    expected = {
        "gen_ai.operation.name": "chat",
        "gen_ai.provider.name": "openai",
        "gen_ai.request.model": "gpt-4o",
        "gen_ai.request.max_tokens": 50,
        "gen_ai.request.temperature": 0.5,
        "gen_ai.request.top_p": 0.9,
        "gen_ai.request.frequency_penalty": 0.1,
        "gen_ai.request.presence_penalty": 0.2,
        "gen_ai.request.seed": 7,
        "gen_ai.request.stop_sequences": ("\n", "END"),
        "gen_ai.request.reasoning.level": "low",
        "gen_ai.response.id": "chatcmpl-1",
        "gen_ai.response.model": "gpt-4o-2024-08-06",
        "gen_ai.response.finish_reasons": ("stop",),
        "gen_ai.usage.input_tokens": 1200,
        "gen_ai.usage.output_tokens": 300,
        "gen_ai.usage.cache_read.input_tokens": 1024,
        "gen_ai.usage.reasoning.output_tokens": 128,
        "openai.api.type": "chat_completions",
        "openai.response.service_tier": "default",
        "openai.response.system_fingerprint": "fp_1",
        "server.address": "api.openai.com",
        "server.port": 443,
        "genledger.outcome": "success",
        "genledger.cost.source": "table",
    }
    attributes = telemetry.attributes
    assert {name: attributes.get(name) for name in expected} == expected
    assert attributes["genledger.cost.amount"] > 0
    assert "gen_ai.request.stream" not in attributes
    assert "gen_ai.response.time_to_first_chunk" not in attributes
    assert "genledger.usage.estimated" not in attributes


async def test_a_streamed_chat_has_the_usage_of_its_empty_last_chunk(provider: Provider, telemetry: Telemetry) -> None:
    provider.will(events(wire.chat_chunks()))
    stream = await now(
        provider.openai().chat.completions.create(**CHAT, stream=True, stream_options={"include_usage": True})
    )
    chunks = await items(stream)
    assert len(chunks) == 6
    assert chunks[-1].choices == []
    attributes = telemetry.attributes
    assert attributes["gen_ai.request.stream"] is True
    assert attributes["gen_ai.usage.input_tokens"] == 1200
    assert attributes["gen_ai.usage.output_tokens"] == 300
    assert attributes["gen_ai.response.finish_reasons"] == ("stop",)
    assert attributes["gen_ai.response.time_to_first_chunk"] >= 0
    assert attributes["genledger.cost.amount"] > 0
    assert "genledger.usage.estimated" not in attributes


async def test_a_stream_without_usage_is_estimated_marked_priced_and_asked_for_nothing(
    provider: Provider, telemetry: Telemetry
) -> None:
    provider.will(events(wire.chat_chunks(*["four"] * 50, usage=False)))
    stream = await now(provider.openai().chat.completions.create(**CHAT, stream=True))
    await items(stream)
    assert provider.bodies == [{**CHAT, "stream": True}]
    attributes = telemetry.attributes
    assert attributes["genledger.usage.estimated"] is True
    assert 1 <= attributes["gen_ai.usage.input_tokens"] <= 20
    assert 25 <= attributes["gen_ai.usage.output_tokens"] <= 100
    assert attributes["genledger.cost.amount"] > 0
    assert attributes["genledger.outcome"] == "success"


async def test_groq_style_usage_is_read_from_x_groq(provider: Provider, telemetry: Telemetry) -> None:
    chunks = wire.chat_chunks(usage=False)
    usage = {"prompt_tokens": 20, "completion_tokens": 5, "total_tokens": 25, "queue_time": 0.1}
    chunks[-1]["x_groq"] = {"id": "req_1", "usage": usage}
    provider.will(events(chunks))
    client = provider.openai(base_url="https://api.groq.com/openai/v1")
    await items(await now(client.chat.completions.create(**CHAT | {"model": "llama-3.3-70b-versatile"}, stream=True)))
    attributes = telemetry.attributes
    assert attributes["gen_ai.provider.name"] == "groq"
    assert attributes["gen_ai.usage.input_tokens"] == 20
    assert attributes["gen_ai.usage.output_tokens"] == 5
    assert "genledger.usage.estimated" not in attributes


async def test_usage_that_grows_from_chunk_to_chunk_is_counted_once(provider: Provider, telemetry: Telemetry) -> None:
    chunks = wire.chat_chunks("a", "b", "c", usage=False)
    for i, chunk in enumerate(chunks):
        chunk["usage"] = {"prompt_tokens": 9, "completion_tokens": i, "total_tokens": 9 + i}
    provider.will(events(chunks))
    await items(await now(provider.openai().chat.completions.create(**CHAT, stream=True)))
    assert telemetry.attributes["gen_ai.usage.input_tokens"] == 9
    assert telemetry.attributes["gen_ai.usage.output_tokens"] == 4


async def test_audio_tokens_are_told_apart(provider: Provider, telemetry: Telemetry) -> None:
    usage = {
        "prompt_tokens": 120,
        "completion_tokens": 60,
        "total_tokens": 180,
        "prompt_tokens_details": {"cached_tokens": 0, "audio_tokens": 100, "text_tokens": 20},
        "completion_tokens_details": {"reasoning_tokens": 0, "audio_tokens": 45, "text_tokens": 15},
    }
    provider.will(answer(wire.chat(model="gpt-4o-audio-preview-2025-06-03", usage=usage)))
    await now(
        provider.openai().chat.completions.create(
            model="gpt-4o-audio-preview",
            messages=wire.USER,
            modalities=["text", "audio"],
            audio={"voice": "alloy", "format": "wav"},
        )
    )
    attributes = telemetry.attributes
    assert attributes["gen_ai.usage.input_tokens"] == 120
    assert attributes["gen_ai.usage.output_tokens"] == 60
    assert attributes["gen_ai.usage.audio.input_tokens"] == 100
    assert attributes["gen_ai.usage.audio.output_tokens"] == 45


async def test_several_choices_give_several_finish_reasons(provider: Provider, telemetry: Telemetry) -> None:
    provider.will(answer(wire.chat(wire.message("Paris."), wire.message("Lyon."))))
    await now(provider.openai().chat.completions.create(**CHAT, n=2))
    assert telemetry.attributes["gen_ai.request.choice.count"] == 2
    assert telemetry.attributes["gen_ai.response.finish_reasons"] == ("stop", "stop")


async def test_streamed_choices_are_kept_apart(provider: Provider, capturing: Telemetry) -> None:
    def of(index: int, delta: dict[str, Any], finish: str | None = None) -> dict[str, Any]:
        return wire.chunk(choices=[{"index": index, "delta": delta, "finish_reason": finish}])

    provider.will(
        events(
            [
                of(1, {"role": "assistant", "content": "Ly"}),
                of(0, {"role": "assistant", "content": "Par"}),
                of(1, {"content": "on."}, "length"),
                of(0, {"content": "is."}, "stop"),
                wire.chunk(choices=[], usage=wire.CHAT_USAGE),
            ]
        )
    )
    await items(await now(provider.openai().chat.completions.create(**CHAT, n=2, stream=True)))
    assert capturing.attributes["gen_ai.response.finish_reasons"] == ("stop", "length")
    assert "Paris." in capturing.attributes["gen_ai.output.messages"]
    assert "Lyon." in capturing.attributes["gen_ai.output.messages"]


async def test_tool_calls_come_out_of_a_stream_whole(provider: Provider, capturing: Telemetry) -> None:
    def call(**function: str) -> dict[str, Any]:
        return {"tool_calls": [{"index": 0, "function": function}]}

    start = {"index": 0, "id": "call_1", "type": "function", "function": {"name": "weather", "arguments": ""}}
    provider.will(
        events(
            [
                wire.chunk({"role": "assistant", "content": None, "tool_calls": [start]}),
                wire.chunk(call(arguments='{"city": ')),
                wire.chunk(call(arguments='"Paris"}')),
                wire.chunk(finish="tool_calls"),
                wire.chunk(choices=[], usage=wire.CHAT_USAGE),
            ]
        )
    )
    await items(await now(provider.openai().chat.completions.create(**CHAT, tools=[wire.TOOL], stream=True)))
    attributes = capturing.attributes
    assert attributes["gen_ai.response.finish_reasons"] == ("tool_calls",)
    assert '"name":"weather"' in attributes["gen_ai.output.messages"].replace(": ", ":")
    assert '"city":"Paris"' in attributes["gen_ai.output.messages"].replace(": ", ":").replace("\\", "")
    assert "weather" in attributes["gen_ai.tool.definitions"]


@pytest.mark.parametrize("stream", [False, True], ids=["whole", "stream"])
async def test_the_function_of_old_is_a_tool(provider: Provider, capturing: Telemetry, stream: bool) -> None:
    asked = {"name": "lookup", "arguments": '{"city": "Paris"}'}
    if stream:
        deltas = ({"role": "assistant", "content": None, "function_call": {**asked, "arguments": ""}},)
        deltas += ({"function_call": {"arguments": asked["arguments"]}},)
        provider.will(events([*map(wire.chunk, deltas), wire.chunk(finish="function_call")]))
    else:
        message = {"role": "assistant", "content": None, "function_call": asked}
        choice = {"index": 0, "message": message, "finish_reason": "function_call"}
        provider.will(answer(wire.chat(choices=[choice])))
    before = [*CHAT["messages"], {"role": "assistant", "content": None, "function_call": asked}]
    result = await now(provider.openai().chat.completions.create(**{**CHAT, "messages": before}, stream=stream))
    if stream:
        await items(result)
        assert capturing.attributes["gen_ai.usage.output_tokens"] > 0
    call = {"type": "tool_call", "name": "lookup", "arguments": {"city": "Paris"}}
    (answered,) = json.loads(capturing.attributes["gen_ai.output.messages"])
    assert (answered["parts"], answered["finish_reason"]) == ([call], "tool_call")
    assert json.loads(capturing.attributes["gen_ai.input.messages"])[-1]["parts"] == [call]


async def test_a_refusal_is_a_success_whose_text_is_kept(provider: Provider, capturing: Telemetry) -> None:
    provider.will(answer(wire.chat(wire.message(None, refusal="I cannot help with that."))))
    result = await now(provider.openai().chat.completions.create(**CHAT))
    assert result.choices[0].message.refusal == "I cannot help with that."
    assert capturing.attributes["genledger.outcome"] == "success"
    assert "I cannot help with that." in capturing.attributes["gen_ai.output.messages"]


async def test_content_is_off_unless_asked_for(provider: Provider, telemetry: Telemetry) -> None:
    provider.will(answer(wire.chat()))
    await now(provider.openai().chat.completions.create(**CHAT))
    assert "Paris" not in str(telemetry.attributes)
    assert "capital" not in str(telemetry.attributes)
    assert not any("capital" in str(log.log_record.attributes) for log in telemetry.logs)


class Capital(pydantic.BaseModel):
    city: str


async def test_parse_gives_its_model_and_one_span(provider: Provider, telemetry: Telemetry) -> None:
    provider.will(answer(wire.chat(wire.message('{"city": "Paris"}'))))
    result = await now(provider.openai().chat.completions.parse(**CHAT, response_format=Capital))
    assert result.choices[0].message.parsed == Capital(city="Paris")
    assert telemetry.attributes["gen_ai.output.type"] == "json"
    assert telemetry.attributes["gen_ai.usage.output_tokens"] == 300


async def test_an_answer_that_parse_rejects_is_paid_for(provider: Provider, telemetry: Telemetry) -> None:
    provider.will(answer(wire.chat(wire.message('{"city": "Par'), finish="length")))
    with pytest.raises(openai.LengthFinishReasonError):
        await now(provider.openai().chat.completions.parse(**CHAT, response_format=Capital))
    attributes = telemetry.attributes
    assert attributes["gen_ai.usage.output_tokens"] == 300
    assert attributes["genledger.cost.amount"] > 0
    assert attributes["error.type"] == "openai.LengthFinishReasonError"


async def test_an_answer_that_does_not_fit_the_model_is_paid_for(provider: Provider, telemetry: Telemetry) -> None:
    provider.will(answer(wire.chat(wire.message('{"town": "Paris"}'))))
    with pytest.raises(pydantic.ValidationError):
        await now(provider.openai().chat.completions.parse(**CHAT, response_format=Capital))
    assert telemetry.attributes["gen_ai.usage.output_tokens"] == 300
    assert telemetry.attributes["genledger.cost.amount"] > 0


async def test_the_stream_helper_is_one_span(provider: Provider, telemetry: Telemetry) -> None:
    provider.will(events(wire.chat_chunks()))
    manager = provider.openai().chat.completions.stream(**CHAT, stream_options={"include_usage": True})
    async with Within(manager) as stream:
        kinds = {event.type for event in await items(stream)}
        final = await now(stream.get_final_completion())
    assert {"chunk", "content.delta", "content.done"} <= kinds
    assert final.choices[0].message.content == "Paris is the capital of France."
    attributes = telemetry.attributes
    assert attributes["gen_ai.usage.output_tokens"] == 300
    assert attributes["genledger.outcome"] == "success"


async def test_the_service_tier_asked_for_and_given(provider: Provider, telemetry: Telemetry) -> None:
    provider.will(answer(wire.chat(service_tier="flex", model="gpt-5-2025-08-07")))
    await now(provider.openai().chat.completions.create(**CHAT | {"model": "gpt-5"}, service_tier="flex"))
    assert telemetry.attributes["openai.request.service_tier"] == "flex"
    assert telemetry.attributes["openai.response.service_tier"] == "flex"


async def test_the_tier_of_the_response_sets_the_price(provider: Provider, telemetry: Telemetry) -> None:
    amounts = []
    for tier in ("default", "flex"):
        provider.will(answer(wire.chat(service_tier=tier, model="gpt-5-2025-08-07")))
        await now(provider.openai().chat.completions.create(**CHAT | {"model": "gpt-5"}, service_tier="auto"))
        amounts.append(attributes_of(telemetry.spans[-1])["genledger.cost.amount"])
    # OpenAI's price list: flex costs half of standard.
    assert amounts[1] == pytest.approx(amounts[0] / 2)


async def test_a_legacy_completion(provider: Provider, telemetry: Telemetry) -> None:
    provider.will(answer(wire.completion()))
    await now(provider.openai().completions.create(model="gpt-3.5-turbo-instruct", prompt="Capital of France?"))
    assert telemetry.span.name == "text_completion gpt-3.5-turbo-instruct"
    assert telemetry.attributes["gen_ai.usage.input_tokens"] == 10
    assert telemetry.attributes["gen_ai.usage.output_tokens"] == 4
    assert telemetry.attributes["gen_ai.response.finish_reasons"] == ("stop",)


async def test_a_streamed_legacy_completion(provider: Provider, telemetry: Telemetry) -> None:
    pieces = [wire.completion(usage=None), wire.completion(choices=[])]
    provider.will(events(pieces))
    stream = await now(
        provider.openai().completions.create(model="gpt-3.5-turbo-instruct", prompt="Capital?", stream=True)
    )
    await items(stream)
    assert telemetry.attributes["gen_ai.usage.input_tokens"] == 10
    assert telemetry.attributes["gen_ai.usage.output_tokens"] == 4


async def test_a_failed_request_is_one_span_with_its_error(provider: Provider, telemetry: Telemetry) -> None:
    provider.will(answer(wire.error(), 404))
    with pytest.raises(openai.NotFoundError):
        await now(provider.openai().chat.completions.create(**CHAT))
    assert telemetry.span.status.status_code is StatusCode.ERROR
    assert telemetry.attributes["error.type"] == "openai.NotFoundError"
    assert telemetry.attributes["genledger.outcome"] == "error"
    assert "genledger.cost.amount" not in telemetry.attributes


async def test_a_rate_limit_is_an_outcome_of_its_own(provider: Provider, telemetry: Telemetry) -> None:
    provider.will(answer(wire.error("Too many", "rate_limit_exceeded"), 429))
    with pytest.raises(openai.RateLimitError):
        await now(provider.openai().chat.completions.create(**CHAT))
    assert telemetry.attributes["genledger.outcome"] == "rate_limited"
    assert telemetry.attributes["error.type"] == "openai.RateLimitError"


async def test_retries_are_counted_on_the_one_span(provider: Provider, telemetry: Telemetry) -> None:
    provider.will(
        answer(wire.error("Too many", "rate_limit_exceeded"), 429, headers={"retry-after-ms": "1"}),
        answer(wire.error("Overloaded", None), 503, headers={"retry-after-ms": "1"}),
        answer(wire.chat()),
    )
    await now(provider.openai(max_retries=3).chat.completions.create(**CHAT))
    assert len(provider.requests) == 3
    assert telemetry.attributes["genledger.attempts"] == 3
    assert telemetry.attributes["genledger.retry.causes"] == ("429", "503")
    assert telemetry.attributes["genledger.outcome"] == "success"


async def test_usage_can_be_asked_for_and_its_chunk_stays_hidden(provider: Provider) -> None:
    kwargs: dict[str, Any] = {**CHAT, "stream": True}
    with instrumented(request_stream_usage=True) as telemetry:
        provider.will(events(wire.chat_chunks()))
        chunks = await items(await now(provider.openai().chat.completions.create(**kwargs)))
        assert provider.bodies[-1]["stream_options"] == {"include_usage": True}
        assert [len(chunk.choices) for chunk in chunks] == [1] * 5
        assert telemetry.attributes["gen_ai.usage.output_tokens"] == 300
        assert "genledger.usage.estimated" not in telemetry.attributes
    assert kwargs == {**CHAT, "stream": True}


async def test_usage_is_not_asked_for_where_its_chunk_could_not_be_hidden(provider: Provider) -> None:
    with instrumented(request_stream_usage=True):
        provider.will(events(wire.chat_chunks(usage=False)))
        method = provider.openai().chat.completions.with_streaming_response.create
        async with Within(method(**CHAT, stream=True)) as response:
            await items(response.iter_bytes())
        assert provider.bodies == [{**CHAT, "stream": True}]


async def test_an_application_that_asks_for_usage_itself_sees_its_chunk(provider: Provider) -> None:
    with instrumented(request_stream_usage=True):
        provider.will(events(wire.chat_chunks()))
        stream = await now(
            provider.openai().chat.completions.create(**CHAT, stream=True, stream_options={"include_usage": True})
        )
        assert (await items(stream))[-1].usage.total_tokens == 1500


def tool(identity: str | None = None, name: str = "", arguments: str = "", **more: Any) -> dict[str, Any]:
    """A delta of a tool call."""
    return {"id": identity, "type": "function", "function": {"name": name, "arguments": arguments}, **more}


OSLO, ZONE = tool("a", "weather", '{"city":"Oslo"}'), tool("b", "time", '{"zone":"CET"}')


@pytest.mark.parametrize(
    "deltas",
    [
        pytest.param([[OSLO], [ZONE]], id="without an index"),
        pytest.param([[OSLO, ZONE]], id="both in one delta"),
        pytest.param([[OSLO | {"index": 0}], [ZONE | {"index": 0}]], id="all with index 0"),
        pytest.param([[tool("a", "weather", '{"city":')], [tool(arguments='"Oslo"}')], [ZONE]], id="in pieces"),
    ],
)
async def test_a_delta_with_an_id_of_its_own_begins_a_tool_call(
    deltas: list[Any], provider: Provider, capturing: Telemetry
) -> None:
    chunks = [wire.chunk({"tool_calls": delta}) for delta in deltas]
    provider.will(events([wire.chunk({"role": "assistant"}), *chunks, wire.chunk(finish="tool_calls")]))
    await items(await now(provider.openai().chat.completions.create(**CHAT, stream=True)))
    (message,) = json.loads(capturing.attributes["gen_ai.output.messages"])
    called = [(part["id"], part["name"], part["arguments"]) for part in message["parts"]]
    assert called == [("a", "weather", {"city": "Oslo"}), ("b", "time", {"zone": "CET"})]


async def test_reasoning_and_text_in_one_chunk_are_both_kept(provider: Provider, capturing: Telemetry) -> None:
    both = wire.chunk({"content": " Yes.", "reasoning_content": " It is."})
    provider.will(events([wire.chunk({"role": "assistant", "content": "Hm."}), both, both, wire.chunk(finish="stop")]))
    await items(await now(provider.openai().chat.completions.create(**CHAT, stream=True)))
    (message,) = json.loads(capturing.attributes["gen_ai.output.messages"])
    assert [part["content"] for part in message["parts"]] == [" It is. It is.", "Hm. Yes. Yes."]


async def test_usage_in_the_last_choice_is_the_usage(provider: Provider, telemetry: Telemetry) -> None:
    last = wire.chunk(finish="stop")
    last["choices"][0]["usage"] = {"prompt_tokens": 1900, "completion_tokens": 130, "total_tokens": 2030}
    provider.will(events([wire.chunk({"role": "assistant", "content": "Hm."}), last]))
    await items(await now(provider.openai().chat.completions.create(**CHAT, stream=True)))
    assert telemetry.attributes["gen_ai.usage.input_tokens"] == 1900
    assert "genledger.usage.estimated" not in telemetry.attributes


async def test_half_a_character_costs_one_character(provider: Provider, capturing: Telemetry) -> None:
    said = wire.message("Nice day \ud83d and more; \ud83d\ude00 fine")
    provider.will(answer(wire.chat(said)))
    await now(provider.openai().chat.completions.create(**CHAT))
    assert "Nice day \ufffd and more; \U0001f600 fine" in capturing.attributes["gen_ai.output.messages"]


class Equal(openai.OpenAI):
    """A client that cannot be hashed."""

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Equal)


def test_a_client_that_cannot_be_hashed_is_a_client(telemetry: Telemetry) -> None:
    provider = Provider(asynchronous=False)
    provider.will(answer(wire.chat()))
    client = provider.openai()
    client.__class__ = Equal
    client.chat.completions.create(**CHAT)
    assert telemetry.attributes["genledger.cost.amount"] > 0


ASK: dict[str, Any] = {"model": "gpt-4o", "messages": wire.USER}
FIVE = {"prompt_tokens": 10, "completion_tokens": 5, "total_tokens": 15}


@pytest.mark.parametrize("stream", [False, True], ids=["whole", "stream"])
@pytest.mark.parametrize("where", ["usage", "x_groq", "choice"])
async def test_usage_is_read_wherever_a_provider_puts_it(
    provider: Provider, telemetry: Telemetry, where: str, stream: bool
) -> None:
    last = wire.chunk(finish="stop") if stream else wire.chat(usage=None)
    if where == "choice":
        last["choices"][0]["usage"] = FIVE
    elif where == "x_groq":
        last["x_groq"] = {"usage": FIVE}
    else:
        last["usage"] = FIVE
    if stream:
        provider.will(events([wire.chunk({"content": "Paris."}), last]))
        await items(await now(provider.openai().chat.completions.create(**ASK, stream=True)))
    else:
        provider.will(answer(last))
        await now(provider.openai().chat.completions.create(**ASK))
    attributes = telemetry.attributes
    assert (attributes["gen_ai.usage.input_tokens"], attributes["gen_ai.usage.output_tokens"]) == (10, 5)
    assert "genledger.usage.estimated" not in attributes


@pytest.mark.parametrize("last", [{"choices": None}, {}], ids=["null", "absent"])
async def test_the_chunk_with_the_usage_may_have_no_choices(
    provider: Provider, telemetry: Telemetry, last: dict[str, Any]
) -> None:
    usage = {name: value for name, value in wire.chunk(usage=FIVE).items() if name != "choices"} | last
    provider.will(events([wire.chunk({"content": "Paris."}), wire.chunk(finish="stop"), usage]))
    await items(await now(provider.openai().chat.completions.create(**ASK, stream=True)))
    assert telemetry.attributes["gen_ai.usage.output_tokens"] == 5


@pytest.mark.parametrize("usage", [{"prompt_tokens": 10}, {"total_tokens": 10}, dict.fromkeys(FIVE, 0)], ids=str)
async def test_usage_that_does_not_count_the_output_is_no_price(
    provider: Provider, telemetry: Telemetry, usage: dict[str, int]
) -> None:
    provider.will(answer(wire.chat(usage=usage)))
    await now(provider.openai().chat.completions.create(**ASK))
    assert telemetry.attributes["genledger.cost.unpriced"] == "no_usage"
    assert "genledger.cost.amount" not in telemetry.attributes


@pytest.mark.parametrize("usage", [{"prompt_tokens": 10}, dict.fromkeys(FIVE, 0)], ids=str)
async def test_a_stream_whose_usage_does_not_count_the_output_is_estimated(
    provider: Provider, telemetry: Telemetry, usage: dict[str, int]
) -> None:
    provider.will(events([wire.chunk({"content": "Paris is it. " * 20}), wire.chunk(finish="stop", usage=usage)]))
    await items(await now(provider.openai().chat.completions.create(**ASK, stream=True)))
    attributes = telemetry.attributes
    assert attributes["genledger.usage.estimated"] is True
    assert attributes["gen_ai.usage.output_tokens"] >= 40
    assert attributes["gen_ai.usage.input_tokens"] >= 8
    assert attributes["genledger.cost.amount"] > 0


async def test_an_output_that_the_total_shows_to_be_nothing_is_counted(
    provider: Provider, telemetry: Telemetry
) -> None:
    provider.will(answer(wire.chat(usage={"prompt_tokens": 10, "total_tokens": 10})))
    await now(provider.openai().chat.completions.create(**ASK))
    assert telemetry.attributes["genledger.cost.amount"] == pytest.approx(10 * 2.5e-6)


@pytest.mark.parametrize("missing", ["missing", "null"])
async def test_a_streamed_choice_without_an_index_is_the_first(
    provider: Provider, capturing: Telemetry, missing: str
) -> None:
    begun, ended = wire.chunk({"content": "Paris."}), wire.chunk(finish="stop", usage=FIVE)
    if missing == "missing":
        del begun["choices"][0]["index"]
    else:
        begun["choices"][0]["index"] = None
    provider.will(events([begun, ended]))
    await items(await now(provider.openai().chat.completions.create(**ASK, stream=True)))
    (choice,) = json.loads(capturing.attributes["gen_ai.output.messages"])
    assert choice["parts"] == [{"type": "text", "content": "Paris."}]
    assert capturing.attributes["gen_ai.response.finish_reasons"] == ("stop",)


@pytest.mark.parametrize(
    "path",
    [
        "/chat/completions",
        "chat/completions",
        "/chat/completions/",
        "chat/completions?api-version=1",
        "https://api.openai.com/v1/chat/completions",
    ],
)
async def test_a_path_that_the_application_writes_itself_is_the_endpoint(
    provider: Provider, telemetry: Telemetry, path: str
) -> None:
    provider.will(answer(wire.chat()))
    await now(provider.openai().post(path, body=ASK, cast_to=object))
    assert telemetry.attributes["gen_ai.operation.name"] == "chat"
    assert telemetry.attributes["genledger.cost.amount"] > 0


async def test_an_absolute_address_is_who_answers(provider: Provider, telemetry: Telemetry) -> None:
    provider.will(answer(wire.chat()))
    await now(provider.openai().post("https://api.groq.com/v1/chat/completions", body=ASK, cast_to=object))
    assert telemetry.attributes["gen_ai.provider.name"] == "groq"
    assert telemetry.attributes["server.address"] == "api.groq.com"
