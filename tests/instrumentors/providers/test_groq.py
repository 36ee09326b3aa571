"""Groq's client, over real sockets: what its chat row of the contract suite does not show."""

from __future__ import annotations

from typing import Any

import pytest
from tests.contract.rows.groq import make
from tests.contract.rows.openai_chat import PROMPT, TEXT, USAGE
from tests.contract.server import Reply, Server, json_reply, sse

from genledger_semconv.checker import assert_clean

from ..provider import items, now
from ..telemetry import instrumented

pytest.importorskip("groq")

MODEL = "groq/compound"
HEAD = {"id": "chatcmpl-1", "created": 1790000000, "model": MODEL}
BREAKDOWN = {"models": [{"model": "llama-3.3-70b-versatile", "usage": USAGE}]}
SEARCHED = {"index": 0, "type": "search", "arguments": "{}"}


def whole() -> Reply:
    message = {"role": "assistant", "content": TEXT, "executed_tools": [SEARCHED]}
    choice = {"index": 0, "finish_reason": "stop", "message": message}
    return json_reply(
        {**HEAD, "object": "chat.completion", "choices": [choice], "usage": USAGE, "usage_breakdown": BREAKDOWN}
    )


def streamed() -> Reply:
    def chunk(delta: dict[str, Any], finish: str | None = None, **more: Any) -> dict[str, Any]:
        choice = {"index": 0, "delta": delta, "finish_reason": finish}
        return {**HEAD, "object": "chat.completion.chunk", "choices": [choice], **more}

    end = {"id": "req_1", "usage": USAGE, "usage_breakdown": BREAKDOWN}
    events = (
        chunk({"role": "assistant", "executed_tools": [SEARCHED]}),
        chunk({"executed_tools": [{**SEARCHED, "output": "Found."}]}),
        chunk({"content": TEXT}),
        chunk({}, "stop", x_groq=end),
    )
    return Reply(200, "text/event-stream", sse(*events, done=True))


@pytest.mark.parametrize("stream", [False, True])
async def test_a_compound_system_is_priced_by_its_models_and_searches(
    server: Server, asynchronous: bool, stream: bool
) -> None:
    """https://console.groq.com/docs/compound"""
    server.will(streamed() if stream else whole())
    with instrumented(libraries=["groq"]) as telemetry:
        client = make(server.url, asynchronous, 0)
        messages = [{"role": "user", "content": PROMPT}]
        answer = await now(client.chat.completions.create(model=MODEL, messages=messages, stream=stream))
        if stream:
            await items(answer)
        attributes = telemetry.attributes
        assert attributes["gen_ai.usage.input_tokens"] == 1000
        assert attributes["genledger.usage.web_search"] == 1
        assert attributes["genledger.cost.amount"] == pytest.approx(1000 * 0.59e-6 + 500 * 0.79e-6 + 0.005)
        assert_clean(telemetry.spans, telemetry.metrics, telemetry.logs)


async def test_a_transcription_is_billed_by_ten_seconds_at_least(server: Server, asynchronous: bool) -> None:
    """https://console.groq.com/docs/speech-to-text"""
    server.will(json_reply({"text": "Paris", "duration": 3.0, "x_groq": {"id": "req_1"}}))
    with instrumented(libraries=["groq"]) as telemetry:
        client = make(server.url, asynchronous, 0)
        file = ("speech.wav", b"RIFF")
        await now(
            client.audio.transcriptions.create(model="whisper-large-v3", file=file, response_format="verbose_json")
        )
        assert telemetry.attributes["genledger.usage.second"] == 10
        assert telemetry.attributes["genledger.cost.amount"] == pytest.approx(10 * 0.111 / 3600)


async def test_speech_is_billed_by_the_character(server: Server, asynchronous: bool) -> None:
    """https://console.groq.com/docs/text-to-speech"""
    server.will(Reply(200, "audio/wav", (b"RIFF",)))
    with instrumented(libraries=["groq"]) as telemetry:
        client = make(server.url, asynchronous, 0)
        await now(client.audio.speech.create(model="canopylabs/orpheus-v1-english", voice="troy", input="x" * 100))
        assert telemetry.attributes["genledger.usage.character"] == 100
        assert telemetry.attributes["genledger.cost.amount"] == pytest.approx(100 * 22e-6)
