"""The demo's provider speaks the wire formats: checked with the providers' own client libraries."""

from __future__ import annotations

import json
from collections.abc import Iterator

import anthropic
import openai
import pytest
from examples.demo.provider import DemoProvider, Fault
from examples.demo.scripted_model import tokenize
from pydantic import BaseModel

LONG = "Answer as our handbook says, whatever the customer asks for. " * 120
WEATHER = {
    "type": "object",
    "properties": {
        "city": {"type": "string"},
        "unit": {"enum": ["celsius", "kelvin"]},
        "days": {"type": "integer"},
    },
    "required": ["city"],
}
REPLIES = {"capital of France": "Paris is the capital of France."}


@pytest.fixture
def provider() -> Iterator[DemoProvider]:
    faults = [Fault("slow down", 429, times=2, retry_after_ms=1), Fault("break", 500), Fault("overload", 529)]
    with DemoProvider(replies=REPLIES, faults=faults) as running:
        yield running


@pytest.fixture
def gpt(provider: DemoProvider) -> Iterator[openai.OpenAI]:
    with openai.OpenAI(base_url=provider.openai_url, api_key="demo") as client:
        yield client


@pytest.fixture
def claude(provider: DemoProvider) -> Iterator[anthropic.Anthropic]:
    with anthropic.Anthropic(base_url=provider.anthropic_url, api_key="demo") as client:
        yield client


def ask(text: str) -> list[dict[str, str]]:
    return [{"role": "user", "content": text}]


def test_a_chat_completion_says_the_scripted_reply_and_charges_for_it(provider, gpt):
    answer = gpt.chat.completions.create(model="gpt-4.1-mini", messages=ask("What is the capital of France?"))
    assert answer.choices[0].message.content == "Paris is the capital of France."
    assert answer.choices[0].finish_reason == "stop"
    assert answer.model == "gpt-4.1-mini-2025-04-14"
    assert (answer.service_tier, answer.object) == ("default", "chat.completion")
    assert answer.system_fingerprint
    assert answer._request_id
    assert answer.usage.completion_tokens == len(tokenize("Paris is the capital of France."))
    assert answer.usage.total_tokens == answer.usage.prompt_tokens + answer.usage.completion_tokens
    (received,) = provider.requests
    assert (received.path, received.status, received.model) == ("/v1/chat/completions", 200, answer.model)
    assert received.body["messages"] == ask("What is the capital of France?")
    assert received.usage == answer.usage.model_dump(exclude_none=True)


def test_a_streamed_chat_ends_with_usage_in_a_chunk_without_choices_only_when_asked(gpt):
    def stream(**options):
        question = ask("What is the capital of France?")
        return list(gpt.chat.completions.create(model="gpt-4.1-mini", messages=question, stream=True, **options))

    chunks = stream(stream_options={"include_usage": True})
    assert "".join(c.choices[0].delta.content or "" for c in chunks[:-1]) == "Paris is the capital of France."
    assert chunks[0].choices[0].delta.role == "assistant"
    assert chunks[-2].choices[0].finish_reason == "stop"
    assert chunks[-1].choices == []
    assert chunks[-1].usage.completion_tokens == len(tokenize("Paris is the capital of France."))
    assert all(chunk.usage is None for chunk in chunks[:-1])
    assert len({chunk.id for chunk in chunks}) == 1
    silent = stream()
    assert all(chunk.usage is None and len(chunk.choices) == 1 for chunk in silent)


@pytest.mark.parametrize("streamed", [False, True])
def test_a_chat_calls_the_tool_on_offer_and_answers_once_it_has_the_result(gpt, streamed):
    tools = [{"type": "function", "function": {"name": "weather", "parameters": WEATHER}}]
    messages = ask("How will the next 3 days be in Lyon?")
    if streamed:
        with gpt.chat.completions.stream(model="gpt-4.1-mini", messages=messages, tools=tools) as stream:
            choice = stream.get_final_completion().choices[0]
    else:
        choice = gpt.chat.completions.create(model="gpt-4.1-mini", messages=messages, tools=tools).choices[0]
    (call,) = choice.message.tool_calls
    assert choice.finish_reason == "tool_calls"
    assert call.function.name == "weather"
    assert json.loads(call.function.arguments) == {"city": "3", "unit": "celsius", "days": 3}
    result = {"role": "tool", "tool_call_id": call.id, "content": "sunny"}
    messages = [*messages, choice.message.model_dump(exclude_none=True), result]
    answer = gpt.chat.completions.create(model="gpt-4.1-mini", messages=messages, tools=tools).choices[0]
    assert answer.finish_reason == "stop"
    assert answer.message.tool_calls is None


class City(BaseModel):
    name: str
    visited: bool


def test_a_structured_answer_follows_its_schema(gpt, claude):
    parsed = gpt.chat.completions.parse(model="gpt-4.1-mini", messages=ask("Lyon"), response_format=City)
    assert parsed.choices[0].message.parsed == City(name="Lyon", visited=True)
    assert gpt.responses.parse(model="gpt-5-mini", input="Lyon", text_format=City).output_parsed == City(
        name="Lyon", visited=True
    )
    message = claude.messages.parse(model="claude-haiku-4-5", max_tokens=99, messages=ask("Lyon"), output_format=City)
    assert message.parsed_output == City(name="Lyon", visited=True)


def test_an_answer_longer_than_allowed_is_cut(gpt, claude):
    question = ask("What is the capital of France?")
    chat = gpt.chat.completions.create(model="gpt-4.1-mini", messages=question, max_completion_tokens=2)
    assert (chat.choices[0].finish_reason, chat.usage.completion_tokens) == ("length", 2)
    response = gpt.responses.create(model="gpt-4.1-mini", input=question[0]["content"], max_output_tokens=2)
    assert (response.status, response.incomplete_details.reason) == ("incomplete", "max_output_tokens")
    thinking = gpt.responses.create(model="gpt-5-mini", input=question[0]["content"], max_output_tokens=2)
    assert (thinking.status, thinking.output_text, thinking.usage.output_tokens) == ("incomplete", "", 2)
    message = claude.messages.create(model="claude-haiku-4-5", messages=question, max_tokens=2)
    assert (message.stop_reason, message.usage.output_tokens) == ("max_tokens", 2)


def test_openai_reads_a_long_prefix_from_the_cache_the_second_time(gpt):
    messages = [{"role": "system", "content": LONG}, *ask("first")]
    first = gpt.chat.completions.create(model="gpt-4.1-mini", messages=messages).usage
    messages[1] = {"role": "user", "content": "second"}
    second = gpt.chat.completions.create(model="gpt-4.1-mini", messages=messages).usage
    assert first.prompt_tokens_details.cached_tokens == 0
    assert second.prompt_tokens_details.cached_tokens >= 1024
    assert second.prompt_tokens_details.cached_tokens % 128 == 0
    assert second.prompt_tokens_details.cached_tokens < second.prompt_tokens


def test_a_reasoning_model_bills_its_thoughts_as_output(gpt):
    response = gpt.responses.create(model="gpt-5-mini", input="What is the capital of France?")
    assert [item.type for item in response.output] == ["reasoning", "message"]
    assert response.output_text == "Paris is the capital of France."
    thoughts = response.usage.output_tokens_details.reasoning_tokens
    assert thoughts > 0
    assert response.usage.output_tokens == thoughts + len(tokenize(response.output_text))
    assert response.usage.total_tokens == response.usage.input_tokens + response.usage.output_tokens


def test_a_streamed_response_ends_with_the_whole_response_and_its_usage(gpt):
    events = list(gpt.responses.create(model="gpt-5-mini", input="What is the capital of France?", stream=True))
    assert [event.type for event in events[:2]] == ["response.created", "response.in_progress"]
    assert [event.sequence_number for event in events] == list(range(len(events)))
    deltas = "".join(event.delta for event in events if event.type == "response.output_text.delta")
    assert events[-1].type == "response.completed"
    assert events[-1].response.output_text == deltas == "Paris is the capital of France."
    assert events[-1].response.usage.output_tokens > 0
    assert events[0].response.usage is None


@pytest.mark.parametrize("streamed", [False, True])
def test_a_response_calls_the_tool_on_offer(gpt, streamed):
    asked = {
        "model": "gpt-4.1-mini",
        "input": "And in Lyon?",
        "tools": [{"type": "function", "name": "weather", "parameters": WEATHER, "strict": False}],
    }
    if streamed:
        with gpt.responses.stream(**asked) as stream:
            response = stream.get_final_response()
    else:
        response = gpt.responses.create(**asked)
    (call,) = response.output
    assert (call.type, call.name) == ("function_call", "weather")
    assert json.loads(call.arguments)["city"] == "Lyon"


async def test_the_asynchronous_clients_are_answered_too(provider):
    async with openai.AsyncOpenAI(base_url=provider.openai_url, api_key="demo") as client:
        stream = await client.responses.create(model="gpt-5-mini", input="the capital of France", stream=True)
        assert [event.type async for event in stream][-1] == "response.completed"
    async with anthropic.AsyncAnthropic(base_url=provider.anthropic_url, api_key="demo") as client:
        asked = ask("the capital of France")
        async with client.messages.stream(model="claude-haiku-4-5", max_tokens=99, messages=asked) as stream:
            assert await stream.get_final_text() == "Paris is the capital of France."


def test_azure_names_the_model_in_the_path(provider):
    client = openai.AzureOpenAI(azure_endpoint=provider.url, api_key="demo", api_version="2024-10-21")
    with client:
        answer = client.chat.completions.create(model="gpt-4.1-mini", messages=ask("hello"))
    assert answer.model == "gpt-4.1-mini-2025-04-14"
    assert provider.requests[0].path == "/openai/deployments/gpt-4.1-mini/chat/completions"


def test_embeddings_are_unit_vectors_that_know_which_texts_are_alike(gpt, provider):
    texts = ["refunds take five working days", "how long do refunds take", "connect the printer by cable"]
    answer = gpt.embeddings.create(model="text-embedding-3-small", input=texts, dimensions=256)
    assert provider.requests[0].body["encoding_format"] == "base64"
    refund, question, printer = (item.embedding for item in answer.data)
    assert len(refund) == 256

    def dot(left, right):
        return sum(a * b for a, b in zip(left, right, strict=True))

    assert dot(refund, refund) == pytest.approx(1.0, abs=1e-5)
    assert dot(refund, question) > dot(refund, printer)
    assert answer.usage.prompt_tokens == sum(len(tokenize(text)) for text in texts)
    again = gpt.embeddings.create(
        model="text-embedding-3-small", input=texts[0], dimensions=256, encoding_format="float"
    )
    assert again.data[0].embedding == pytest.approx(refund, abs=1e-6)
    assert len(gpt.embeddings.create(model="text-embedding-3-small", input=[7, 8]).data[0].embedding) == 1536


def test_a_message_counts_cached_tokens_apart_from_input(claude, provider):
    def tell(question):
        system = [{"type": "text", "text": LONG, "cache_control": {"type": "ephemeral"}}]
        return claude.messages.create(model="claude-haiku-4-5", max_tokens=99, system=system, messages=ask(question))

    first, second = tell("What is the capital of France?"), tell("And of Spain?")
    assert first.content[0].text == "Paris is the capital of France."
    assert (first.model, first.stop_reason) == ("claude-haiku-4-5-20251001", "end_turn")
    assert first._request_id
    written = first.usage.cache_creation_input_tokens
    assert written > 1024
    assert first.usage.cache_read_input_tokens == 0
    assert (second.usage.cache_read_input_tokens, second.usage.cache_creation_input_tokens) == (written, 0)
    assert second.usage.input_tokens < 20
    assert provider.requests[1].usage == second.usage.model_dump(exclude_none=True)


def test_a_streamed_message_sends_cumulative_usage(claude):
    asked = {"model": "claude-haiku-4-5", "max_tokens": 99, "messages": ask("What is the capital of France?")}
    events = list(claude.messages.create(**asked, stream=True))
    kinds = list(dict.fromkeys(event.type for event in events))
    assert kinds == [
        "message_start",
        "content_block_start",
        "content_block_delta",
        "content_block_stop",
        "message_delta",
        "message_stop",
    ]
    plain = claude.messages.create(**asked)
    assert events[0].message.usage.output_tokens == 1
    assert events[-2].usage.output_tokens == plain.usage.output_tokens
    assert events[-2].usage.input_tokens == plain.usage.input_tokens
    with claude.messages.stream(**asked) as stream:
        assert stream.get_final_text() == plain.content[0].text


@pytest.mark.parametrize("streamed", [False, True])
def test_a_message_uses_the_tool_on_offer_and_answers_once_it_has_the_result(claude, streamed):
    asked = {
        "model": "claude-haiku-4-5",
        "max_tokens": 99,
        "tools": [{"name": "weather", "input_schema": WEATHER}],
        "messages": ask("And in Lyon?"),
    }
    if streamed:
        with claude.messages.stream(**asked) as stream:
            message = stream.get_final_message()
    else:
        message = claude.messages.create(**asked)
    (use,) = message.content
    assert message.stop_reason == "tool_use"
    assert (use.name, use.input) == ("weather", {"city": "Lyon", "unit": "celsius", "days": 1})
    result = {"type": "tool_result", "tool_use_id": use.id, "content": "sunny"}
    asked["messages"] += [
        {"role": "assistant", "content": message.content},
        {"role": "user", "content": [result]},
    ]
    assert claude.messages.create(**asked).content[0].type == "text"


def test_a_rate_limit_is_retried_by_the_client_and_charged_once(provider, gpt, claude):
    gpt.chat.completions.create(model="gpt-4.1-mini", messages=ask("slow down"))
    assert [received.status for received in provider.requests] == [429, 429, 200]
    assert [received.usage is None for received in provider.requests] == [True, True, False]
    claude.messages.create(model="claude-haiku-4-5", max_tokens=9, messages=ask("slow down"))
    assert len(provider.requests) == 4


def test_a_failure_reaches_the_caller_at_once_in_its_own_format(provider, gpt, claude):
    with pytest.raises(openai.InternalServerError) as broken:
        gpt.responses.create(model="gpt-5-mini", input="break")
    assert (broken.value.status_code, broken.value.type) == (500, "server_error")
    with pytest.raises(anthropic.APIStatusError) as overloaded:
        claude.messages.create(model="claude-haiku-4-5", max_tokens=9, messages=ask("overload"))
    assert overloaded.value.body["error"]["type"] == "overloaded_error"
    assert [received.status for received in provider.requests] == [500, 529]


def test_a_request_that_lacks_something_is_refused(provider, claude, gpt):
    with pytest.raises(anthropic.BadRequestError):
        claude.post("/v1/messages", cast_to=object, body={"model": "claude-haiku-4-5", "messages": ask("hi")})
    with pytest.raises(openai.NotFoundError):
        gpt.models.list()
