"""Answers as JSON and as the SDKs' objects; tier, region, model and oddities of usage."""

from __future__ import annotations

import sys
from dataclasses import fields
from enum import Enum
from types import SimpleNamespace
from typing import Any

import anthropic
import openai
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import BaseModel, ConfigDict

from genledger.pricing import Reading, Usage, read_usage
from genledger.pricing.getters import label

CHAT = {
    "id": "chatcmpl-1",
    "object": "chat.completion",
    "created": 1,
    "model": "gpt-5-2025-08-07",
    "service_tier": "flex",
    "choices": [{"index": 0, "finish_reason": "stop", "message": {"role": "assistant", "content": "hi"}}],
    "usage": {
        "prompt_tokens": 100,
        "completion_tokens": 40,
        "total_tokens": 140,
        "prompt_tokens_details": {"cached_tokens": 60, "audio_tokens": 0},
        "completion_tokens_details": {"reasoning_tokens": 30, "audio_tokens": 0},
    },
}
MESSAGE = {
    "id": "msg_1",
    "type": "message",
    "role": "assistant",
    "model": "claude-opus-5",
    "content": [{"type": "text", "text": "hi"}],
    "stop_reason": "end_turn",
    "stop_sequence": None,
    "usage": {
        "input_tokens": 10,
        "output_tokens": 20,
        "cache_read_input_tokens": 30,
        "cache_creation_input_tokens": 40,
        "cache_creation": {"ephemeral_5m_input_tokens": 15, "ephemeral_1h_input_tokens": 25},
        "server_tool_use": {"web_search_requests": 2, "web_fetch_requests": 0},
        "service_tier": "standard",
        "inference_geo": "us",
        "speed": "fast",
    },
}


def reading(*args: Any, **options: Any) -> Reading:
    found = read_usage(*args, **options)
    assert found is not None
    return found


def test_an_openai_object_reads_like_its_json() -> None:
    completion = pytest.importorskip("openai.types.chat").ChatCompletion.model_validate(CHAT)
    found = reading("openai", "chat", completion)
    assert found == reading("openai", "chat", CHAT)
    assert found.usage == Usage(input=40, cache_read=60, output=10, reasoning=30, units={})
    assert (found.model, found.tier) == ("gpt-5-2025-08-07", "flex")


def test_an_openai_response_object_reads_like_its_json() -> None:
    body = {
        "id": "resp_1",
        "object": "response",
        "created_at": 1,
        "model": "gpt-6.1-sol",
        "output": [
            {
                "type": "web_search_call",
                "id": "ws_1",
                "status": "completed",
                "action": {"type": "search", "query": "q"},
            },
            {
                "type": "web_search_call",
                "id": "ws_2",
                "status": "completed",
                "action": {"type": "open_page", "url": "u"},
            },
        ],
        "parallel_tool_calls": True,
        "tool_choice": "auto",
        "tools": [{"type": "web_search"}],
        "usage": {
            "input_tokens": 100,
            "input_tokens_details": {"cached_tokens": 10, "cache_write_tokens": 20},
            "output_tokens": 30,
            "output_tokens_details": {"reasoning_tokens": 5},
            "total_tokens": 130,
        },
    }
    response = pytest.importorskip("openai.types.responses").Response.construct(**body)
    found = reading("openai", "responses", response)
    assert found == reading("openai", "responses", body)
    assert found.usage == Usage(
        input=70, cache_read=10, cache_write=20, output=25, reasoning=5, units={"web_search": 1.0}
    )


def test_an_anthropic_object_reads_like_its_json() -> None:
    message = pytest.importorskip("anthropic.types").Message.model_validate(MESSAGE)
    found = reading("anthropic", "messages", message)
    assert found == reading("anthropic", "messages", MESSAGE)
    assert found.usage == Usage(
        input=10, cache_read=30, cache_write=15, cache_write_1h=25, output=20, units={"web_search": 2}
    )
    assert (found.tier, found.region) == ("fast", "us")


def test_objects_with_snake_case_read_like_geminis_json() -> None:
    meta = SimpleNamespace(
        prompt_token_count=100,
        candidates_token_count=10,
        thoughts_token_count=5,
        cached_content_token_count=40,
        prompt_tokens_details=[SimpleNamespace(modality=SimpleNamespace(value="AUDIO"), token_count=30)],
    )
    found = reading("google", "generateContent", SimpleNamespace(usage_metadata=meta, model_version="gemini-2.5-pro"))
    assert found.usage == Usage(input=30, input_audio=30, cache_read=40, output=10, reasoning=5, units={})
    assert found.model == "gemini-2.5-pro"


class Hostile:
    """Every attribute raises."""

    def __getattr__(self, name: str) -> Any:
        raise RuntimeError(name)


@pytest.mark.parametrize(
    "payload",
    [None, 1, "text", b"\x00", [], {}, {"usage": None}, {"usage": []}, Hostile(), {"usage": Hostile()}],
    ids=range(10),
)
def test_an_answer_that_says_nothing_about_usage_reads_as_nothing(payload: Any) -> None:
    assert read_usage("openai", "chat", payload) is None


@pytest.mark.parametrize("wrong", [-5, 1.5, float("nan"), float("inf"), 10**30, "12", True, [3], {"n": 3}])
def test_a_count_that_cannot_be_right_is_left_out_and_said_so(wrong: Any) -> None:
    found = reading("openai", "chat", {"model": "m", "usage": {"prompt_tokens": wrong, "completion_tokens": 7}})
    assert found.usage == Usage(output=7, units={})
    assert "usage_inconsistent" in found.notes


@pytest.mark.parametrize(
    "usage",
    [
        {"prompt_tokens": 10, "completion_tokens": 5, "prompt_tokens_details": {"cached_tokens": 50}},
        {"prompt_tokens": 10, "completion_tokens": 5, "completion_tokens_details": {"reasoning_tokens": 50}},
        {"input_tokens": 10, "output_tokens": 5, "input_tokens_details": {"cached_tokens": 8, "cache_write_tokens": 8}},
    ],
)
def test_a_part_larger_than_its_whole_is_clamped_and_said_so(usage: dict[str, Any]) -> None:
    found = reading("openai", "responses", {"model": "m", "usage": usage})
    assert (found.usage.input_tokens, found.usage.output_tokens) == (10, 5)
    assert found.notes == ("usage_inconsistent",)


def test_cached_media_is_not_counted_twice() -> None:
    usage = {
        "prompt_tokens": 100,
        "completion_tokens": 0,
        "prompt_tokens_details": {"cached_tokens": 90, "audio_tokens": 40},
    }
    found = reading("openai", "chat", {"model": "m", "usage": usage})
    assert found.usage == Usage(input_audio=10, cache_read=60, cache_read_audio=30, units={})
    assert found.notes == ()


def test_anthropic_without_a_total_of_writes_takes_their_lifetimes() -> None:
    usage = {"input_tokens": 1, "output_tokens": 1, "cache_creation": {"ephemeral_1h_input_tokens": 9}}
    assert reading("anthropic", "messages", {"usage": usage}).usage.cache_write_1h == 9


def test_the_model_that_answered_goes_before_the_one_that_was_asked_for() -> None:
    usage = {"prompt_tokens": 1, "completion_tokens": 1}
    found = reading("openai", "chat", {"model": "gpt-4o-2024-08-06", "usage": usage}, {"model": "gpt-4o"})
    assert (found.model, found.requested) == ("gpt-4o-2024-08-06", "gpt-4o")
    found = reading("cohere", "chat", {"usage": usage}, {"model": "command-a-03-2025"})
    assert found.model == "command-a-03-2025"


def test_the_closing_event_of_a_stream_is_unwrapped() -> None:
    inner = {"model": "gpt-5", "service_tier": "priority", "usage": {"input_tokens": 3, "output_tokens": 4}}
    found = reading("openai", "responses", {"type": "response.completed", "response": inner})
    assert (found.model, found.tier, found.usage.total_tokens) == ("gpt-5", "priority", 7)


def test_anthropic_through_others_keeps_its_exclusive_counts() -> None:
    usage = {"input_tokens": 5, "output_tokens": 1, "cache_read_input_tokens": 95}
    body = {"model": "claude-sonnet-4-5", "usage": usage}
    assert reading("aws.bedrock", "invoke_model", body).usage.input_tokens == 100
    assert reading("gcp.vertex_ai", "messages", body).usage.input_tokens == 100


def test_ollama_counts_in_its_own_words() -> None:
    body = {"model": "llama3", "prompt_eval_count": 11, "eval_count": 22}
    assert reading("ollama", "chat", body).usage == Usage(input=11, output=22)


@pytest.mark.parametrize(
    ("details", "usage", "notes"),
    [
        ({"generated_tokens": 22, "input_length": 11}, Usage(input=11, output=22), ()),
        ({"generated_tokens": 22, "prefill": [{}] * 11, "tokens": []}, Usage(input=11, output=22), ()),
        (
            {"generated_tokens": 22, "input_length": 11, "best_of_sequences": [{"generated_tokens": 20}]},
            Usage(input=11, output=42),
            (),
        ),
        ({"generated_tokens": 22, "prefill": []}, Usage(output=22), ("usage_inconsistent",)),
    ],
    ids=["stream", "prefill", "best of", "no input"],
)
def test_text_generation_inference_counts_in_its_details(
    details: dict[str, Any], usage: Usage, notes: tuple[str, ...]
) -> None:
    found = reading("huggingface", "text_generation", {"generated_text": "x", "details": details})
    assert (found.usage, found.notes) == (usage, notes)


@pytest.mark.parametrize(
    ("api", "body", "usage"),
    [
        (
            "text_generation",
            {"results": [{"input_token_count": 11, "generated_token_count": 22, "stop_reason": "eos_token"}]},
            Usage(input=11, output=22),
        ),
        (
            "text_generation",
            {"results": [{"generated_token_count": 2}, {"input_token_count": 11, "generated_token_count": 20}]},
            Usage(input=11, output=22),
        ),
        ("embeddings", {"results": [{"embedding": [0.1]}], "input_token_count": 11}, Usage(input=11)),
        ("rerank", {"results": [{"index": 0, "score": 0.9}], "input_token_count": 11}, Usage(input=11)),
    ],
)
def test_watsonx_counts_in_its_results_or_beside_them(api: str, body: dict[str, Any], usage: Usage) -> None:
    """https://cloud.ibm.com/apidocs/watsonx-ai"""
    found = reading("ibm.watsonx.ai", api, {"model_id": "ibm/granite-3-8b-instruct", "model_version": "1.1.0", **body})
    assert (found.usage, found.model) == (usage, "ibm/granite-3-8b-instruct")


@pytest.mark.parametrize("body", [{}, {"results": "many"}, {"results": [7]}, {"results": [{"generated_text": "x"}]}])
def test_an_answer_of_watsonx_without_counts_has_no_usage(body: dict[str, Any]) -> None:
    assert read_usage("ibm.watsonx.ai", "text_generation", body) is None


def test_voyage_bills_text_by_tokens_and_images_by_pixels() -> None:
    text = {"usage": {"total_tokens": 11}}
    both = {"usage": {"text_tokens": 11, "image_pixels": 560_000, "video_pixels": 5_600, "total_tokens": 1021}}
    assert reading("voyageai", "embeddings", text).usage == Usage(input=11)
    assert reading("voyageai", "embeddings", both).usage == Usage(input=11, units={"pixel": 565_600})


def test_what_mistrals_connectors_add_is_a_part_of_the_prompt() -> None:
    counts = {"prompt_tokens": 188, "completion_tokens": 55, "connector_tokens": 7112, "total_tokens": 7355}
    answer = {"outputs": [{"model": "mistral-small"}], "usage": {**counts, "connectors": {"web_search": 1}}}
    found = reading("mistral_ai", "conversations", answer)
    assert found.usage == Usage(input=7300, output=55, units={"connector_web_search": 1.0})
    assert found.model == "mistral-small"


@pytest.mark.parametrize(
    ("asked", "megapixels"),
    [
        ({"model": "FLUX.1-schnell", "width": 1000, "height": 1000, "steps": 4}, 1.0),
        ({"model": "FLUX.1-schnell", "width": 1000, "height": 1000, "steps": 12}, 3.0),
        ({"model": "FLUX.1-dev", "width": 1000, "height": 1000, "steps": 14}, 1.0),
        ({"model": "another", "width": 1000, "height": 2000, "steps": 50}, 2.0),
        ({"model": "another", "width": "wide", "steps": -1}, 1.048576),
    ],
)
def test_together_bills_images_by_the_megapixel_and_by_more_steps_than_usual(
    asked: dict[str, Any], megapixels: float
) -> None:
    """https://www.together.ai/pricing"""
    found = reading("together", "images", {"data": [{}]}, asked)
    assert found.usage.units == {"megapixel": pytest.approx(megapixels)}


@pytest.mark.parametrize(
    ("api", "usage", "expected"),
    [
        ("videos", {"video_duration": 5, "video_count": 1}, Usage(units={"second": 5.0})),
        ("videos", {"duration": 5, "SR": 1080}, Usage(units={"1080p_second": 5.0})),
        ("transcriptions", {"duration": 12}, Usage(units={"second": 12.0})),
        ("images", {"image_count": 2}, Usage(units={"image": 2.0})),
        ("speech", {"characters": 12}, Usage(units={"character": 12.0})),
        ("embeddings", {"input_tokens": 10, "image_tokens": 896}, Usage(input=10, input_image=896)),
        ("chat", {"input_tokens": 10, "image_tokens": 4, "output_tokens": 5}, Usage(input=10, output=5)),
    ],
)
def test_alibaba_bills_media_by_what_its_answers_count(api: str, usage: dict[str, Any], expected: Usage) -> None:
    assert reading("alibaba", api, {"usage": usage}).usage == expected


@pytest.mark.parametrize("video_result", [None, [], "many"])
def test_a_video_that_was_not_made_is_not_billed(video_result: Any) -> None:
    assert read_usage("zai", "videos", {"video_result": video_result}) is None
    assert reading("zai", "videos", {"video_result": [{}, {}]}).usage.units == {"video": 2.0}


ORDINARY = [
    ("openai", "chat", {**CHAT, "service_tier": "default"}, "https://api.openai.com/v1"),
    (
        "anthropic",
        "messages",
        {**MESSAGE, "usage": {"input_tokens": 9, "output_tokens": 8}},
        "https://api.anthropic.com",
    ),
    (
        "anthropic",
        "messages",
        {
            **MESSAGE,
            "usage": {
                "input_tokens": 9,
                "output_tokens": 8,
                "cache_read_input_tokens": 7,
                "cache_creation_input_tokens": 11,
                "cache_creation": {"ephemeral_5m_input_tokens": 5, "ephemeral_1h_input_tokens": 6},
                "service_tier": "standard",
                "inference_geo": "global",
            },
        },
        "https://api.anthropic.com",
    ),
]


UNHEARD_OF = "an endpoint of tomorrow"


@pytest.mark.parametrize(("provider", "api", "body", "url"), ORDINARY)
def test_a_known_format_is_read_the_same_behind_an_unknown_endpoint(
    provider: str, api: str, body: Any, url: str
) -> None:
    found = reading(provider, api, body, {"model": "m"}, base_url=url)
    assert found == reading(provider, UNHEARD_OF, body, {"model": "m"}, base_url=url)


RESPONSE = {
    "id": "resp_1",
    "object": "response",
    "created_at": 1,
    "model": "gpt-4.1-mini",
    "output": [],
    "parallel_tool_calls": True,
    "tool_choice": "auto",
    "tools": [],
    "usage": {
        "input_tokens": 9,
        "input_tokens_details": {"cached_tokens": 4},
        "output_tokens": 8,
        "output_tokens_details": {"reasoning_tokens": 3},
        "total_tokens": 17,
    },
}


class Answered(BaseModel):
    """An answer of a client that is older than most of what providers say today."""

    model_config = ConfigDict(extra="allow")
    model: str
    usage: Any
    output: list[Any] = []


def test_a_typed_answer_reads_like_its_json_with_what_goes_beyond_its_type() -> None:
    beyond = {"billing": {"payer": "developer"}, "frequency_penalty": 0.0, "presence_penalty": 0.0, "store": True}
    answer = openai.types.responses.Response.construct(**RESPONSE, **beyond)
    url = "https://api.openai.com/v1"
    found = reading("openai", "responses", answer, {"model": "m"}, base_url=url)
    assert found == reading("openai", "responses", RESPONSE | beyond, {"model": "m"}, base_url=url)
    assert found.usage == Usage(input=5, cache_read=4, output=5, reasoning=3)


EXTRAS: dict[str, Any] = {
    "service_tier": "flex",
    "serviceTier": {"type": "priority"},
    "copilot_usage": {"total_nano_aiu": 10**9},
    "meta": {"billed_units": {"input_tokens": 3}},
    "usageMetadata": {"promptTokenCount": 3},
    "tool_usage": {"image_gen": {"input_tokens": 3, "output_tokens": 4, "total_tokens": 7}},
    "object": "batch",
    "billing": {"payer": "developer"},
    "store": True,
    "a_field_of_tomorrow": 1,
}


@given(st.sets(st.sampled_from(sorted(EXTRAS))), st.sampled_from(["chat", "responses", "messages"]))
@settings(deadline=None, max_examples=200)
def test_a_typed_answer_reads_like_its_json_whatever_its_type_has_no_field_for(names: set[str], api: str) -> None:
    counted = {"chat": CHAT, "responses": RESPONSE, "messages": MESSAGE}[api]["usage"]
    body = {"model": "m", "usage": counted, **{name: EXTRAS[name] for name in names}}
    provider = "anthropic" if api == "messages" else "openai"
    url = f"https://api.{provider}.com/"
    typed = read_usage(provider, api, Answered.model_validate(body), {"model": "m"}, base_url=url)
    assert typed == read_usage(provider, api, body, {"model": "m"}, base_url=url)


@given(st.sets(st.sampled_from(sorted(EXTRAS))), st.sampled_from(["chat", "responses", "messages"]))
@settings(deadline=None, max_examples=100)
def test_an_object_of_attributes_reads_like_its_json(names: set[str], api: str) -> None:
    counted = {"chat": CHAT, "responses": RESPONSE, "messages": MESSAGE}[api]["usage"]
    body = {"model": "m", "usage": counted, **{name: EXTRAS[name] for name in names}}
    provider = "anthropic" if api == "messages" else "openai"
    assert read_usage(provider, api, attributes_of(body)) == read_usage(provider, api, body)


def attributes_of(value: Any) -> Any:
    if isinstance(value, dict):
        return SimpleNamespace(**{name: attributes_of(inner) for name, inner in value.items()})
    return value


def test_a_placeholder_of_the_client_is_not_taken_for_something_asked_for() -> None:
    usage = {"input_tokens": 9, "output_tokens": 8, "service_tier": "standard"}
    answer = anthropic.types.Message.construct(**MESSAGE | {"usage": usage})
    url = "https://api.anthropic.com"
    plain = reading("anthropic", "messages", answer, {"model": "m"}, base_url=url)
    for absent in (anthropic.NOT_GIVEN, anthropic.omit):
        request = {"model": "m", "service_tier": absent, "inference_geo": absent}
        assert reading("anthropic", "messages", answer, request, base_url=url) == plain
    asked = {"model": "m", "inference_geo": "us"}
    assert reading("anthropic", "messages", answer, asked, base_url=url).region == "us"


token_counts = st.integers(-2, 50) | st.none()


@given(st.data())
@settings(deadline=None, max_examples=200)
def test_formats_are_known_by_their_signs_as_well_as_by_their_endpoint(data: st.DataObject) -> None:
    def some(*names: str) -> dict[str, Any]:
        return {name: data.draw(token_counts) for name in names if data.draw(st.booleans())}

    tier = data.draw(st.sampled_from([None, "default", "flex", "standard", "batch"]))
    request = {"model": "m", **data.draw(st.sampled_from([{}, {"batch": True}, {"service_tier": "flex"}]))}
    prompt, completion = data.draw(st.integers(0, 60)), data.draw(st.integers(0, 60))
    chat = {
        "model": "m",
        "service_tier": tier,
        "usage": {
            "prompt_tokens": prompt,
            "completion_tokens": completion,
            "total_tokens": prompt + completion,
            "prompt_tokens_details": some("cached_tokens", "audio_tokens", "cache_write_tokens"),
            "completion_tokens_details": some("reasoning_tokens", "audio_tokens", "accepted_prediction_tokens"),
        },
    }
    message = {
        "model": "m",
        "usage": {
            "input_tokens": prompt,
            "output_tokens": completion,
            "service_tier": tier,
            "cache_creation": some("ephemeral_5m_input_tokens", "ephemeral_1h_input_tokens"),
            "output_tokens_details": some("thinking_tokens"),
            **some("cache_read_input_tokens", "cache_creation_input_tokens"),
            **data.draw(st.sampled_from([{}, {"speed": "fast"}, {"inference_geo": "us"}])),
        },
    }
    for provider, api, body, url in (
        ("openai", "chat", chat, "https://api.openai.com/v1"),
        ("anthropic", "messages", message, "https://api.anthropic.com"),
    ):
        found = reading(provider, api, body, request, base_url=url)
        assert found == reading(provider, UNHEARD_OF, body, request, base_url=url)


def test_every_field_of_a_reading_is_an_argument_of_price() -> None:
    from inspect import signature

    from genledger.pricing import price

    names = {field.name for field in fields(Reading)} - {"usage"}
    assert names <= set(signature(price).parameters)


def test_reading_needs_neither_the_price_table_nor_pydantic() -> None:
    import subprocess

    code = (
        "import sys; before = set(sys.modules)\n"
        "from genledger.pricing import read_usage\n"
        "read_usage('openai', 'chat', {'usage': {'prompt_tokens': 1}})\n"
        "print(sorted(m for m in ('genai_prices', 'pydantic', 'httpx2') if m in set(sys.modules) - before))"
    )
    out = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=600)
    assert out.stdout.strip() == "[]"


TIER: Any = Enum("Tier", {"BATCH": "batch"}, type=str)
"""An enumeration as clients write one: a member is a text, and is not written as its value."""


def test_an_enumeration_that_is_a_text_is_read_by_its_value() -> None:
    assert label(SimpleNamespace(status=TIER.BATCH), "status") == "batch"
    assert label({"status": SimpleNamespace(value="batch")}, "status") == "batch"
