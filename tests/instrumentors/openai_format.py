"""OpenAI's wire format, as its API reference documents it: just enough of each object."""

from __future__ import annotations

from typing import Any

CHAT_USAGE = {
    "prompt_tokens": 1200,
    "completion_tokens": 300,
    "total_tokens": 1500,
    "prompt_tokens_details": {"cached_tokens": 1024, "audio_tokens": 0},
    "completion_tokens_details": {
        "reasoning_tokens": 128,
        "audio_tokens": 0,
        "accepted_prediction_tokens": 0,
        "rejected_prediction_tokens": 0,
    },
}
RESPONSE_USAGE = {
    "input_tokens": 1200,
    "input_tokens_details": {"cached_tokens": 1024},
    "output_tokens": 300,
    "output_tokens_details": {"reasoning_tokens": 128},
    "total_tokens": 1500,
}
USER = [{"role": "user", "content": "What is the capital of France?"}]
TOOL = {
    "type": "function",
    "function": {
        "name": "weather",
        "strict": True,
        "parameters": {
            "type": "object",
            "properties": {"city": {"type": "string"}},
            "required": ["city"],
            "additionalProperties": False,
        },
    },
}


def message(content: str | None = "Paris.", **more: Any) -> dict[str, Any]:
    """An assistant's message."""
    return {"role": "assistant", "content": content, "refusal": None, **more}


def tool_call(arguments: str = '{"city": "Paris"}') -> dict[str, Any]:
    """A call of the weather tool."""
    return {"id": "call_1", "type": "function", "function": {"name": "weather", "arguments": arguments}}


def chat(*messages: dict[str, Any], finish: str = "stop", **more: Any) -> dict[str, Any]:
    """A chat completion with one choice per message."""
    choices = [
        {"index": i, "message": m, "finish_reason": finish, "logprobs": None}
        for i, m in enumerate(messages or (message(),))
    ]
    return {
        "id": "chatcmpl-1",
        "object": "chat.completion",
        "created": 1760000000,
        "model": "gpt-4o-2024-08-06",
        "choices": choices,
        "usage": CHAT_USAGE,
        "service_tier": "default",
        "system_fingerprint": "fp_1",
        **more,
    }


def chunk(delta: dict[str, Any] | None = None, finish: str | None = None, **more: Any) -> dict[str, Any]:
    """One chunk of a streamed chat completion."""
    return {
        "id": "chatcmpl-1",
        "object": "chat.completion.chunk",
        "created": 1760000000,
        "model": "gpt-4o-2024-08-06",
        "service_tier": "default",
        "system_fingerprint": "fp_1",
        "choices": [{"index": 0, "delta": delta or {}, "finish_reason": finish, "logprobs": None}],
        "usage": None,
        **more,
    }


def chat_chunks(*texts: str, usage: bool = True) -> list[dict[str, Any]]:
    """A streamed chat completion; its usage comes in a last chunk without choices."""
    chunks = [chunk({"role": "assistant", "content": "", "refusal": None})]
    chunks += [chunk({"content": text}) for text in texts or ("Paris", " is the capital", " of France.")]
    chunks.append(chunk(finish="stop"))
    if usage:
        chunks.append(chunk(choices=[], usage=CHAT_USAGE))
    return chunks


def completion(**more: Any) -> dict[str, Any]:
    """A legacy completion."""
    return {
        "id": "cmpl-1",
        "object": "text_completion",
        "created": 1760000000,
        "model": "gpt-3.5-turbo-instruct",
        "choices": [{"index": 0, "text": "Paris.", "finish_reason": "stop", "logprobs": None}],
        "usage": {"prompt_tokens": 10, "completion_tokens": 4, "total_tokens": 14},
        **more,
    }


def output_message(text: str = "Paris.") -> dict[str, Any]:
    """A message among the output items of a response."""
    return {
        "id": "msg_1",
        "type": "message",
        "role": "assistant",
        "status": "completed",
        "content": [{"type": "output_text", "text": text, "annotations": [], "logprobs": []}],
    }


def response(*output: dict[str, Any], **more: Any) -> dict[str, Any]:
    """A response of the Responses API."""
    return {
        "id": "resp_1",
        "object": "response",
        "created_at": 1760000000,
        "status": "completed",
        "error": None,
        "incomplete_details": None,
        "instructions": None,
        "metadata": {},
        "model": "gpt-4o-2024-08-06",
        "output": list(output or (output_message(),)),
        "parallel_tool_calls": True,
        "temperature": 1.0,
        "tool_choice": "auto",
        "tools": [],
        "top_p": 1.0,
        "service_tier": "default",
        "usage": RESPONSE_USAGE,
        **more,
    }


def response_events(last: str = "response.completed", **more: Any) -> list[dict[str, Any]]:
    """The events of a streamed response, the last of which carries the whole response."""
    item = {**output_message(), "content": [], "status": "in_progress"}
    part = {"type": "output_text", "text": "", "annotations": []}
    place = {"item_id": "msg_1", "output_index": 0, "content_index": 0}
    bodies: list[dict[str, Any]] = [
        {"type": "response.created", "response": response(status="in_progress", usage=None, output=[])},
        {"type": "response.output_item.added", "output_index": 0, "item": item},
        {"type": "response.content_part.added", "part": part, **place},
        {"type": "response.output_text.delta", "delta": "Par", "logprobs": [], **place},
        {"type": "response.output_text.delta", "delta": "is.", "logprobs": [], **place},
        {"type": "response.output_text.done", "text": "Paris.", "logprobs": [], **place},
        {"type": "response.content_part.done", "part": {**part, "text": "Paris."}, **place},
        {"type": "response.output_item.done", "output_index": 0, "item": output_message()},
        {"type": last, "response": response(**{"status": last.removeprefix("response."), **more})},
    ]
    return [{**body, "sequence_number": i} for i, body in enumerate(bodies)]


def embeddings(**more: Any) -> dict[str, Any]:
    """Embeddings of two texts, in three dimensions."""
    return {
        "object": "list",
        "model": "text-embedding-3-small",
        "data": [{"object": "embedding", "index": i, "embedding": [0.5, -0.5, 0.25]} for i in range(2)],
        "usage": {"prompt_tokens": 8, "total_tokens": 8},
        **more,
    }


def images(**more: Any) -> dict[str, Any]:
    """Generated images with the usage that the gpt-image models report."""
    return {
        "created": 1760000000,
        "data": [{"b64_json": "aGVsbG8="}],
        "usage": {
            "input_tokens": 50,
            "input_tokens_details": {"image_tokens": 40, "text_tokens": 10},
            "output_tokens": 1056,
            "total_tokens": 1106,
        },
        **more,
    }


def error(message: str = "The model does not exist", code: str | None = "model_not_found") -> dict[str, Any]:
    """The body of a failed request."""
    return {"error": {"message": message, "type": "invalid_request_error", "param": None, "code": code}}
