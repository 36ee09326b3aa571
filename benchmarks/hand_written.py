"""The reference: what a careful engineer would write by hand, once per method, and nothing more.

The client's method is replaced by a plain function: one `start_span` with the attributes known before the call,
one `set_attributes` with the rest, twelve in all; a duration and two token histogram points; one generator frame
under a stream; with content on, one JSON encoding each of the input and the output, as two attributes more.
It knows neither errors, nor async, nor raw responses, nor prices: it is the practical limit, not a product.
"""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from typing import Any

from opentelemetry import metrics, trace
from opentelemetry.trace import SpanKind

from benchmarks.telemetry import Setting

INPUT = "gen_ai.input.messages"
OUTPUT = "gen_ai.output.messages"


class _Recorder:
    """The tracer and the two histograms, or none of them where metrics are off."""

    def __init__(self, setting: Setting) -> None:
        self.content = setting.content
        self.start_span = trace.get_tracer("benchmarks.hand_written").start_span
        meter = metrics.get_meter("benchmarks.hand_written")
        self.metrics = setting.metrics
        self.duration = meter.create_histogram("gen_ai.client.operation.duration", "s")
        self.tokens = meter.create_histogram("gen_ai.client.token.usage", "{token}")

    def points(self, before: dict[str, Any], model: str, seconds: float, input_tokens: int, output_tokens: int) -> None:
        labels = {
            "gen_ai.operation.name": before["gen_ai.operation.name"],
            "gen_ai.provider.name": before["gen_ai.provider.name"],
            "gen_ai.request.model": before["gen_ai.request.model"],
            "gen_ai.response.model": model,
            "server.address": before["server.address"],
        }
        self.duration.record(seconds, labels)
        self.tokens.record(input_tokens, {**labels, "gen_ai.token.type": "input"})
        self.tokens.record(output_tokens, {**labels, "gen_ai.token.type": "output"})


def trace_chat(setting: Setting) -> None:
    """Replace `chat.completions.create` of the OpenAI client."""
    from openai.resources.chat.completions import Completions

    record = _Recorder(setting)
    original = Completions.create

    def create(self: Any, **request: Any) -> Any:
        started = time.perf_counter()
        before = {
            "gen_ai.operation.name": "chat",
            "gen_ai.provider.name": "openai",
            "gen_ai.request.model": request["model"],
            "gen_ai.request.max_tokens": request["max_tokens"],
            "gen_ai.request.temperature": request["temperature"],
            "server.address": "api.openai.com",
            "server.port": 443,
        }
        if record.content:
            before[INPUT] = json.dumps(request["messages"])
        span = record.start_span(f"chat {request['model']}", None, SpanKind.CLIENT, before)
        reply: Any = original(self, **request)
        if request.get("stream"):
            reply._iterator = chunks(reply._iterator, span, before, started)
            return reply
        usage, choice = reply.usage, reply.choices[0]
        after = {
            "gen_ai.response.model": reply.model,
            "gen_ai.response.id": reply.id,
            "gen_ai.response.finish_reasons": (choice.finish_reason,),
            "gen_ai.usage.input_tokens": usage.prompt_tokens,
            "gen_ai.usage.output_tokens": usage.completion_tokens,
        }
        if record.content:
            after[OUTPUT] = json.dumps([{"role": "assistant", "content": choice.message.content}])
        span.set_attributes(after)
        span.end()
        if record.metrics:
            seconds = time.perf_counter() - started
            record.points(before, reply.model, seconds, usage.prompt_tokens, usage.completion_tokens)
        return reply

    def chunks(iterator: Iterator[Any], span: Any, before: dict[str, Any], started: float) -> Iterator[Any]:
        texts: list[str] = []
        finish = usage = chunk = None
        for chunk in iterator:
            if chunk.choices:
                choice = chunk.choices[0]
                if choice.delta.content:
                    texts.append(choice.delta.content)
                if choice.finish_reason:
                    finish = choice.finish_reason
            if chunk.usage:
                usage = chunk.usage
            yield chunk
        assert chunk is not None
        assert usage is not None
        after = {
            "gen_ai.response.model": chunk.model,
            "gen_ai.response.id": chunk.id,
            "gen_ai.response.finish_reasons": (finish,),
            "gen_ai.usage.input_tokens": usage.prompt_tokens,
            "gen_ai.usage.output_tokens": usage.completion_tokens,
        }
        if record.content:
            after[OUTPUT] = json.dumps([{"role": "assistant", "content": "".join(texts)}])
        span.set_attributes(after)
        span.end()
        if record.metrics:
            seconds = time.perf_counter() - started
            record.points(before, chunk.model, seconds, usage.prompt_tokens, usage.completion_tokens)

    Completions.create = create  # type: ignore[method-assign]


def trace_responses(setting: Setting) -> None:
    """Replace `responses.create` of the OpenAI client."""
    from openai.resources.responses import Responses

    record = _Recorder(setting)
    original = Responses.create

    def create(self: Any, **request: Any) -> Any:
        started = time.perf_counter()
        before = {
            "gen_ai.operation.name": "chat",
            "gen_ai.provider.name": "openai",
            "gen_ai.request.model": request["model"],
            "gen_ai.request.max_tokens": request["max_output_tokens"],
            "gen_ai.request.temperature": request["temperature"],
            "server.address": "api.openai.com",
            "server.port": 443,
        }
        if record.content:
            before[INPUT] = json.dumps([request["instructions"], request["input"]])
        span = record.start_span(f"chat {request['model']}", None, SpanKind.CLIENT, before)
        reply: Any = original(self, **request)
        usage = reply.usage
        after = {
            "gen_ai.response.model": reply.model,
            "gen_ai.response.id": reply.id,
            "gen_ai.response.finish_reasons": (reply.status,),
            "gen_ai.usage.input_tokens": usage.input_tokens,
            "gen_ai.usage.output_tokens": usage.output_tokens,
        }
        if record.content:
            texts = [part.text for item in reply.output for part in item.content]
            after[OUTPUT] = json.dumps([{"role": "assistant", "content": texts}])
        span.set_attributes(after)
        span.end()
        if record.metrics:
            seconds = time.perf_counter() - started
            record.points(before, reply.model, seconds, usage.input_tokens, usage.output_tokens)
        return reply

    Responses.create = create  # type: ignore[method-assign]


def trace_embeddings(setting: Setting) -> None:
    """Replace `embeddings.create` of the OpenAI client. Vectors are no content; one token histogram point."""
    from openai.resources.embeddings import Embeddings

    record = _Recorder(setting)
    original = Embeddings.create

    def create(self: Any, **request: Any) -> Any:
        started = time.perf_counter()
        before = {
            "gen_ai.operation.name": "embeddings",
            "gen_ai.provider.name": "openai",
            "gen_ai.request.model": request["model"],
            "server.address": "api.openai.com",
            "server.port": 443,
        }
        if record.content:
            before[INPUT] = json.dumps(request["input"])
        span = record.start_span(f"embeddings {request['model']}", None, SpanKind.CLIENT, before)
        reply: Any = original(self, **request)
        tokens = reply.usage.prompt_tokens
        span.set_attributes(
            {
                "gen_ai.response.model": reply.model,
                "gen_ai.usage.input_tokens": tokens,
                "gen_ai.embeddings.dimension.count": len(reply.data[0].embedding),
            }
        )
        span.end()
        if record.metrics:
            labels = {
                "gen_ai.operation.name": "embeddings",
                "gen_ai.provider.name": "openai",
                "gen_ai.request.model": request["model"],
                "gen_ai.response.model": reply.model,
                "server.address": "api.openai.com",
            }
            record.duration.record(time.perf_counter() - started, labels)
            record.tokens.record(tokens, {**labels, "gen_ai.token.type": "input"})
        return reply

    Embeddings.create = create  # type: ignore[method-assign]


def trace_messages(setting: Setting) -> None:
    """Replace `messages.create` of the Anthropic client."""
    from anthropic.resources.messages import Messages

    record = _Recorder(setting)
    original = Messages.create

    def create(self: Any, **request: Any) -> Any:
        started = time.perf_counter()
        before = {
            "gen_ai.operation.name": "chat",
            "gen_ai.provider.name": "anthropic",
            "gen_ai.request.model": request["model"],
            "gen_ai.request.max_tokens": request["max_tokens"],
            "gen_ai.request.stop_sequences": tuple(request["stop_sequences"]),
            "server.address": "api.anthropic.com",
            "server.port": 443,
        }
        if record.content:
            before[INPUT] = json.dumps([request["system"], *request["messages"]])
        span = record.start_span(f"chat {request['model']}", None, SpanKind.CLIENT, before)
        reply: Any = original(self, **request)
        if request.get("stream"):
            reply._iterator = events(reply._iterator, span, before, started)
            return reply
        usage = reply.usage
        input_tokens = usage.input_tokens + usage.cache_read_input_tokens + usage.cache_creation_input_tokens
        after = {
            "gen_ai.response.model": reply.model,
            "gen_ai.response.id": reply.id,
            "gen_ai.response.finish_reasons": (reply.stop_reason,),
            "gen_ai.usage.input_tokens": input_tokens,
            "gen_ai.usage.output_tokens": usage.output_tokens,
        }
        if record.content:
            after[OUTPUT] = json.dumps([{"role": "assistant", "content": [part.text for part in reply.content]}])
        span.set_attributes(after)
        span.end()
        if record.metrics:
            record.points(before, reply.model, time.perf_counter() - started, input_tokens, usage.output_tokens)
        return reply

    def events(iterator: Iterator[Any], span: Any, before: dict[str, Any], started: float) -> Iterator[Any]:
        texts: list[str] = []
        message = last = None
        for event in iterator:
            kind = event.type
            if kind == "content_block_delta":
                texts.append(event.delta.text)
            elif kind == "message_start":
                message = event.message
            elif kind == "message_delta":
                last = event
            yield event
        assert message is not None
        assert last is not None
        usage, output_tokens = message.usage, last.usage.output_tokens
        input_tokens = usage.input_tokens + usage.cache_read_input_tokens + usage.cache_creation_input_tokens
        after = {
            "gen_ai.response.model": message.model,
            "gen_ai.response.id": message.id,
            "gen_ai.response.finish_reasons": (last.delta.stop_reason,),
            "gen_ai.usage.input_tokens": input_tokens,
            "gen_ai.usage.output_tokens": output_tokens,
        }
        if record.content:
            after[OUTPUT] = json.dumps([{"role": "assistant", "content": "".join(texts)}])
        span.set_attributes(after)
        span.end()
        if record.metrics:
            record.points(before, message.model, time.perf_counter() - started, input_tokens, output_tokens)

    Messages.create = create  # type: ignore[method-assign]
