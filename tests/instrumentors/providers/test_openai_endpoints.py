"""OpenAI beyond chat: embeddings, images, audio, moderations, batches, and what is no call of a model."""

from __future__ import annotations

import io
import json
from collections.abc import Callable
from typing import Any

import openai
import pytest

from ...replay.transport import Reply
from .. import openai_format as wire
from ..provider import Provider, Within, answer, events, items, now
from ..telemetry import Telemetry, attributes_of

AUDIO = ("speech.wav", b"RIFF....WAVEfmt ")


async def test_embeddings_have_input_tokens_only(provider: Provider, telemetry: Telemetry) -> None:
    provider.will(answer(wire.embeddings()))
    result = await now(
        provider.openai().embeddings.create(
            model="text-embedding-3-small", input=["one", "two"], dimensions=3, encoding_format="float"
        )
    )
    assert result.data[1].embedding == [0.5, -0.5, 0.25]
    attributes = telemetry.attributes
    assert telemetry.span.name == "embeddings text-embedding-3-small"
    assert attributes["gen_ai.usage.input_tokens"] == 8
    assert "gen_ai.usage.output_tokens" not in attributes
    assert attributes["gen_ai.embeddings.dimension.count"] == 3
    assert attributes["gen_ai.request.encoding_formats"] == ("float",)
    assert attributes["gen_ai.response.model"] == "text-embedding-3-small"
    # OpenAI's price list: 0.02 USD per million tokens.
    assert attributes["genledger.cost.amount"] == pytest.approx(8 * 0.02e-6)


async def test_decisions_are_priced_by_their_tokens(provider: Provider, telemetry: Telemetry) -> None:
    decisions = getattr(provider.openai(), "decisions", None)
    if decisions is None:
        pytest.skip("this version has no decisions")
    usage = {
        "input_tokens": 100,
        "input_tokens_details": {"cache_write_tokens": 0, "cached_tokens": 40},
        "output_tokens": 6,
        "output_tokens_details": {"reasoning_tokens": 0},
        "total_tokens": 106,
    }
    answers = [{"type": "predicate", "name": "spam", "probability": 0.9}]
    provider.will(answer({"answers": answers, "model": "gpt-6-luna", "usage": usage}))
    questions = [{"type": "predicate", "name": "spam", "instructions": "Is it spam?"}]
    found = await now(decisions.create(model="gpt-6-luna", input="Buy now!", questions=questions))
    assert found.answers[0].probability == 0.9
    attributes = telemetry.attributes
    assert telemetry.span.name == "generate_content gpt-6-luna"
    assert attributes["gen_ai.usage.input_tokens"] == 100
    assert attributes["gen_ai.usage.cache_read.input_tokens"] == 40
    assert attributes["gen_ai.usage.output_tokens"] == 6
    assert ("genledger.cost.amount" in attributes) != ("genledger.cost.unpriced" in attributes)


async def test_generated_images(provider: Provider, telemetry: Telemetry) -> None:
    provider.will(answer(wire.images()))
    await now(provider.openai().images.generate(model="gpt-image-1", prompt="A cat", n=1))
    attributes = telemetry.attributes
    assert telemetry.span.name == "image_generation gpt-image-1"
    assert attributes["gen_ai.output.type"] == "image"
    assert attributes["gen_ai.usage.input_tokens"] == 50
    assert attributes["gen_ai.usage.image.input_tokens"] == 40
    assert attributes["gen_ai.usage.output_tokens"] == 1056
    assert attributes["gen_ai.usage.image.output_tokens"] == 1056
    # OpenAI's price list for gpt-image-1: text in 5, image in 10, image out 40 USD per million.
    assert attributes["genledger.cost.amount"] == pytest.approx((10 * 5 + 40 * 10 + 1056 * 40) * 1e-6)


async def test_edited_images(provider: Provider, telemetry: Telemetry) -> None:
    provider.will(answer(wire.images()))
    await now(provider.openai().images.edit(model="gpt-image-1", prompt="A dog", image=("cat.png", b"\x89PNG....")))
    assert telemetry.span.name == "image_generation gpt-image-1"
    assert telemetry.attributes["gen_ai.usage.output_tokens"] == 1056


async def test_images_without_usage_are_priced_or_said_to_be_unpriced(provider: Provider, telemetry: Telemetry) -> None:
    provider.will(answer({"created": 1760000000, "data": [{"url": "https://example.com/a.png"}]}))
    await now(provider.openai().images.generate(model="dall-e-3", prompt="A cat", size="1024x1024"))
    attributes = telemetry.attributes
    assert ("genledger.cost.amount" in attributes) != ("genledger.cost.unpriced" in attributes)


async def test_streamed_images(provider: Provider, telemetry: Telemetry) -> None:
    usage = wire.images()["usage"]
    partial = {"type": "image_generation.partial_image", "b64_json": "aGk=", "partial_image_index": 0}
    done = {"type": "image_generation.completed", "b64_json": "aGVsbG8=", "usage": usage}
    provider.will(events([partial, done], done=False))
    stream = await now(
        provider.openai().images.generate(model="gpt-image-1", prompt="A cat", stream=True, partial_images=1)
    )
    assert len(await items(stream)) == 2
    assert telemetry.attributes["gen_ai.usage.output_tokens"] == 1056
    assert telemetry.attributes["gen_ai.response.time_to_first_chunk"] >= 0


async def test_speech(provider: Provider, telemetry: Telemetry) -> None:
    provider.will(Reply(200, {"content-type": "audio/mpeg"}, [b"ID3", b"\x00\x01"]))
    result = await now(provider.openai().audio.speech.create(model="tts-1", voice="alloy", input="Hello, how are you?"))
    assert result.content == b"ID3\x00\x01"
    attributes = telemetry.attributes
    assert telemetry.span.name == "speech tts-1"
    assert attributes["gen_ai.output.type"] == "speech"
    # OpenAI's price list: tts-1 costs 15 USD per million characters.
    assert attributes["genledger.cost.amount"] == pytest.approx(19 * 15e-6)


async def test_speech_read_piece_by_piece(provider: Provider, telemetry: Telemetry) -> None:
    provider.will(Reply(200, {"content-type": "audio/mpeg"}, [b"ID3", b"\x00\x01"]))
    method = provider.openai().audio.speech.with_streaming_response.create
    async with Within(method(model="tts-1", voice="alloy", input="Hello")) as response:
        assert not telemetry.spans
        assert b"".join(await items(response.iter_bytes())) == b"ID3\x00\x01"
    assert telemetry.span.name == "speech tts-1"
    assert telemetry.attributes["genledger.outcome"] == "success"


async def test_speech_that_is_not_read_to_its_end_is_cancelled_and_paid(
    provider: Provider, telemetry: Telemetry
) -> None:
    provider.will(Reply(200, {"content-type": "audio/mpeg"}, [b"ID3", b"\x00\x01"]))
    method = provider.openai().audio.speech.with_streaming_response.create
    async with Within(method(model="tts-1", voice="alloy", input="Hello")) as response:
        await items(response.iter_bytes(), 1)
    assert telemetry.attributes["genledger.outcome"] == "cancelled"
    assert telemetry.attributes["genledger.cost.amount"] == pytest.approx(5 * 15e-6)


async def test_a_transcription_billed_by_tokens(provider: Provider, telemetry: Telemetry) -> None:
    usage = {
        "type": "tokens",
        "input_tokens": 14,
        "input_token_details": {"text_tokens": 4, "audio_tokens": 10},
        "output_tokens": 45,
        "total_tokens": 59,
    }
    provider.will(answer({"text": "Hello.", "usage": usage}))
    result = await now(provider.openai().audio.transcriptions.create(model="gpt-4o-transcribe", file=AUDIO))
    assert result.text == "Hello."
    attributes = telemetry.attributes
    assert telemetry.span.name == "transcription gpt-4o-transcribe"
    assert attributes["gen_ai.usage.input_tokens"] == 14
    assert attributes["gen_ai.usage.audio.input_tokens"] == 10
    assert attributes["gen_ai.usage.output_tokens"] == 45
    assert attributes["genledger.cost.amount"] > 0


async def test_a_transcription_billed_by_time(provider: Provider, telemetry: Telemetry) -> None:
    provider.will(answer({"text": "Hello.", "usage": {"type": "duration", "seconds": 60}}))
    await now(provider.openai().audio.transcriptions.create(model="whisper-1", file=AUDIO))
    # OpenAI's price list: whisper-1 costs 0.006 USD per minute.
    assert telemetry.attributes["genledger.cost.amount"] == pytest.approx(0.006)


async def test_a_transcription_as_plain_text(provider: Provider, telemetry: Telemetry) -> None:
    provider.will(Reply(200, {"content-type": "text/plain"}, [b"Hello.\n"]))
    result = await now(
        provider.openai().audio.transcriptions.create(model="whisper-1", file=AUDIO, response_format="text")
    )
    assert result == "Hello.\n"
    assert telemetry.attributes["genledger.cost.unpriced"] == "no_usage"


async def test_a_streamed_transcription(provider: Provider, telemetry: Telemetry) -> None:
    usage = {
        "type": "tokens",
        "input_tokens": 14,
        "input_token_details": {"text_tokens": 4, "audio_tokens": 10},
        "output_tokens": 45,
        "total_tokens": 59,
    }
    provider.will(
        events(
            [
                {"type": "transcript.text.delta", "delta": "Hel"},
                {"type": "transcript.text.delta", "delta": "lo."},
                {"type": "transcript.text.done", "text": "Hello.", "usage": usage},
            ],
            done=False,
        )
    )
    stream = await now(
        provider.openai().audio.transcriptions.create(model="gpt-4o-transcribe", file=AUDIO, stream=True)
    )
    assert len(await items(stream)) == 3
    assert telemetry.attributes["gen_ai.usage.output_tokens"] == 45
    assert telemetry.attributes["genledger.outcome"] == "success"


async def test_a_translation(provider: Provider, telemetry: Telemetry) -> None:
    provider.will(answer({"text": "Hello."}))
    await now(provider.openai().audio.translations.create(model="whisper-1", file=AUDIO))
    assert telemetry.span.name == "translation whisper-1"


async def test_a_moderation(provider: Provider, telemetry: Telemetry) -> None:
    result = {"flagged": False, "categories": {}, "category_scores": {}}
    provider.will(answer({"id": "modr-1", "model": "omni-moderation-latest", "results": [result]}))
    await now(provider.openai().moderations.create(model="omni-moderation-latest", input="Hello"))
    attributes = telemetry.attributes
    assert telemetry.span.name == "moderation omni-moderation-latest"
    # OpenAI's price list: moderations are free of charge, which is not the same as unpriced.
    assert attributes["genledger.cost.amount"] == 0
    assert "genledger.cost.unpriced" not in attributes


BATCH: dict[str, Any] = {
    "id": "batch_1",
    "object": "batch",
    "endpoint": "/v1/chat/completions",
    "input_file_id": "file-1",
    "completion_window": "24h",
    "status": "validating",
    "created_at": 1760000000,
    "request_counts": {"total": 0, "completed": 0, "failed": 0},
}


async def test_batches_cost_nothing_until_their_results_are_read(provider: Provider, telemetry: Telemetry) -> None:
    batches = provider.openai().batches
    provider.will(answer(BATCH))
    await now(batches.create(input_file_id="file-1", endpoint="/v1/chat/completions", completion_window="24h"))
    usage = {"input_tokens": 100, "output_tokens": 10, "total_tokens": 110}
    provider.will(answer(BATCH | {"status": "completed", "output_file_id": "file-2", "usage": usage}))
    await now(batches.retrieve("batch_1"))
    await now(batches.cancel("batch_1"))
    assert [span.name for span in telemetry.spans] == ["batch"] * 3
    for span in telemetry.spans:
        attributes = attributes_of(span)
        assert attributes["gen_ai.operation.name"] == "batch"
        assert "gen_ai.usage.output_tokens" not in attributes
        assert "genledger.cost.amount" not in attributes


async def test_a_page_of_batches_is_the_page_it_was(provider: Provider, telemetry: Telemetry) -> None:
    provider.will(answer({"object": "list", "data": [BATCH], "has_more": False}))
    page = provider.openai().batches.list()
    found = [batch.id for batch in await items(page)]
    assert found == ["batch_1"]
    assert [span.name for span in telemetry.spans] == ["batch"]


async def test_what_is_no_call_of_a_model_has_no_usage_and_no_cost(provider: Provider, telemetry: Telemetry) -> None:
    client = provider.openai()
    provider.will(answer({"object": "list", "data": []}))
    await items(client.models.list())
    provider.will(answer({"id": "file-1", "object": "file", "purpose": "batch", "filename": "a.jsonl"}))
    await now(client.files.create(file=io.BytesIO(json.dumps({}).encode()), purpose="batch"))
    provider.will(answer({"id": "resp_1", "object": "response", "deleted": True}))
    await now(client.responses.delete("resp_1"))
    for span in telemetry.spans:
        assert not any(name.startswith(("gen_ai.usage.", "genledger.cost.")) for name in span.attributes or ())


async def test_a_failed_request_of_any_kind_is_one_span(provider: Provider, telemetry: Telemetry) -> None:
    client = provider.openai()
    provider.will(answer(wire.error(), 404))
    attempts: list[Callable[[], Any]] = [
        lambda: client.embeddings.create(model="none", input="a"),
        lambda: client.images.generate(model="none", prompt="a"),
        lambda: client.audio.speech.create(model="none", voice="alloy", input="a"),
        lambda: client.audio.transcriptions.create(model="none", file=AUDIO),
        lambda: client.moderations.create(model="none", input="a"),
        lambda: client.batches.retrieve("batch_9"),
    ]
    for attempt in attempts:
        telemetry.clear()
        with pytest.raises(openai.NotFoundError):
            await now(attempt())
        assert telemetry.attributes["error.type"] == "openai.NotFoundError"
        assert telemetry.attributes["genledger.outcome"] == "error"
