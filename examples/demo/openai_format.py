"""OpenAI's wire format: chat completions, responses and embeddings, plain and streamed.

Sources: the API reference at https://platform.openai.com/docs/api-reference (chat, responses, embeddings,
streaming events) and the error and rate limit guides beside it.
"""

from __future__ import annotations

import base64
import hashlib
import itertools
import json
import math
import re
import time
from array import array
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from .answer import Answer, Event
from .scripted_model import SNAPSHOTS, Completion, Prompt, ScriptedModel, Tokens, Tool, tokenize

Body = Mapping[str, Any]

FINGERPRINT = "fp_5c1d0e7a42"
DIMENSIONS = {"text-embedding-3-large": 3072}


def _text(content: Any) -> str:
    if content is None:
        return ""
    if isinstance(content, str):
        return content
    return "\n".join(part["text"] if "text" in part else json.dumps(part) for part in content)


def _tools(body: Body) -> list[Tool]:
    """The functions on offer; chat nests them under `function`, responses does not."""
    if body.get("tool_choice") == "none":
        return []
    offered = [tool.get("function", tool) for tool in body.get("tools") or () if tool["type"] == "function"]
    return [Tool(function["name"], function.get("parameters") or {"type": "object"}) for function in offered]


def _asks_for_tools(messages: Sequence[Body], rounds: int) -> bool:
    """Return whether tools are to be called: the last message is the user's or a result, of fewer than `rounds`."""
    since = itertools.takewhile(lambda message: message["role"] != "user", reversed(messages))
    results = sum(message["role"] == "tool" for message in since)
    return messages[-1]["role"] in ("user", "tool") and results < rounds


def error(status: int, message: str, kind: str, code: str | None, headers: Mapping[str, str]) -> Answer:
    """An error in OpenAI's format."""
    return Answer(status, {"error": {"message": message, "type": kind, "param": None, "code": code}}, headers=headers)


def chat(body: Body, model: ScriptedModel, number: int) -> Answer:
    """POST /v1/chat/completions."""
    messages: Sequence[Body] = body["messages"]
    transcript = [f"{message['role']}: {_text(message.get('content'))}" for message in messages]
    transcript += [json.dumps(message["tool_calls"]) for message in messages if message.get("tool_calls")]
    transcript += [json.dumps(body["tools"])] if body.get("tools") else []
    form = body.get("response_format") or {}
    completion = model.complete(
        Prompt(
            model=body["model"],
            text="\n".join(transcript),
            question=next((_text(m["content"]) for m in reversed(messages) if m["role"] == "user"), ""),
            tools=_tools(body) if _asks_for_tools(messages, model.rounds) else (),
            schema=(form.get("json_schema") or form).get("schema"),
            max_tokens=body.get("max_completion_tokens") or body.get("max_tokens"),
        )
    )
    tokens = completion.tokens
    usage = {
        "prompt_tokens": tokens.input,
        "completion_tokens": tokens.output,
        "total_tokens": tokens.input + tokens.output,
        "prompt_tokens_details": {"cached_tokens": tokens.cache_read, "audio_tokens": 0},
        "completion_tokens_details": {
            "reasoning_tokens": tokens.reasoning,
            "audio_tokens": 0,
            "accepted_prediction_tokens": 0,
            "rejected_prediction_tokens": 0,
        },
    }
    served = SNAPSHOTS.get(body["model"], body["model"])
    common = {
        "id": f"chatcmpl-demo{number:08d}",
        "created": int(time.time()),
        "model": served,
        "service_tier": _served_tier(body),
        "system_fingerprint": FINGERPRINT,
    }
    if body.get("stream"):
        asked = bool((body.get("stream_options") or {}).get("include_usage"))
        events = _chat_chunks(completion, common, number, usage if asked else None)
        return Answer(200, events=events, usage=usage, model=served)
    message: dict[str, Any] = {"role": "assistant", "content": None, "refusal": None, "annotations": []}
    if completion.tool is None:
        message["content"] = completion.text
    else:
        message["tool_calls"] = [_tool_call(completion, number, completion.text)]
    choice = {"index": 0, "message": message, "logprobs": None, "finish_reason": _finish(completion)}
    whole = {**common, "object": "chat.completion", "choices": [choice], "usage": usage}
    return Answer(200, whole, usage=usage, model=served)


def _served_tier(body: Body) -> str:
    """The tier that served the request: `auto` is served as `default`."""
    asked = body.get("service_tier") or "auto"
    return "default" if asked == "auto" else asked


def _finish(completion: Completion) -> str:
    return "tool_calls" if completion.finish == "tool" else completion.finish


def _tool_call(completion: Completion, number: int, arguments: str) -> dict[str, Any]:
    function = {"name": completion.tool, "arguments": arguments}
    return {"id": f"call_demo{number:08d}", "type": "function", "function": function}


def _chat_chunks(completion: Completion, common: Body, number: int, usage: Body | None) -> Iterator[Event]:
    def chunk(choices: list[Body], used: Body | None = None) -> Event:
        data = {**common, "object": "chat.completion.chunk", "choices": choices}
        if usage is not None:
            data["usage"] = used
        return Event(None, data)

    def delta(content: Body, finish: str | None = None) -> Event:
        return chunk([{"index": 0, "delta": content, "logprobs": None, "finish_reason": finish}])

    if completion.tool is None:
        yield delta({"role": "assistant", "content": "", "refusal": None})
        for piece in completion.pieces:
            yield delta({"content": piece})
    else:
        call = {"index": 0, **_tool_call(completion, number, "")}
        yield delta({"role": "assistant", "content": None, "tool_calls": [call], "refusal": None})
        for piece in completion.pieces:
            yield delta({"tool_calls": [{"index": 0, "function": {"arguments": piece}}]})
    yield delta({}, _finish(completion))
    if usage is not None:
        yield chunk([], usage)
    yield Event(None, "[DONE]")


def responses(body: Body, model: ScriptedModel, number: int) -> Answer:
    """POST /v1/responses."""
    given = body["input"]
    items: Sequence[Body] = [{"role": "user", "content": given}] if isinstance(given, str) else given
    transcript = [body["instructions"]] if body.get("instructions") else []
    transcript += [
        f"{item['role']}: {_text(item['content'])}" if "role" in item else json.dumps(item) for item in items
    ]
    transcript += [json.dumps(body["tools"])] if body.get("tools") else []
    form = (body.get("text") or {}).get("format") or {}
    completion = model.complete(
        Prompt(
            model=body["model"],
            text="\n".join(transcript),
            question=next((_text(i["content"]) for i in reversed(items) if i.get("role") == "user"), ""),
            tools=_tools(body) if items[-1].get("role") == "user" else (),
            schema=form["schema"] if form.get("type") == "json_schema" else None,
            max_tokens=body.get("max_output_tokens"),
        )
    )
    usage = _response_usage(completion.tokens)
    served = SNAPSHOTS.get(body["model"], body["model"])
    cut = completion.finish == "length"
    begun = {
        "id": f"resp_demo{number:08d}",
        "object": "response",
        "created_at": int(time.time()),
        "status": "in_progress",
        "background": False,
        "error": None,
        "incomplete_details": None,
        "instructions": body.get("instructions"),
        "max_output_tokens": body.get("max_output_tokens"),
        "model": served,
        "output": [],
        "parallel_tool_calls": True,
        "previous_response_id": body.get("previous_response_id"),
        "reasoning": {"effort": "medium" if completion.tokens.reasoning else None, "summary": None},
        "service_tier": body.get("service_tier") or "auto",
        "store": True,
        "temperature": 1.0,
        "text": body.get("text") or {"format": {"type": "text"}},
        "tool_choice": body.get("tool_choice", "auto"),
        "tools": body.get("tools") or [],
        "top_p": 1.0,
        "truncation": "disabled",
        "usage": None,
        "user": None,
        "metadata": body.get("metadata") or {},
    }
    done = {
        **begun,
        "status": "incomplete" if cut else "completed",
        "incomplete_details": {"reason": "max_output_tokens"} if cut else None,
        "service_tier": _served_tier(body),
        "output": _output(completion, number),
        "usage": usage,
    }
    if body.get("stream"):
        return Answer(200, events=_response_events(completion, begun, done), usage=usage, model=served)
    return Answer(200, done, usage=usage, model=served)


def _response_usage(tokens: Tokens) -> dict[str, Any]:
    return {
        "input_tokens": tokens.input,
        "input_tokens_details": {"cached_tokens": tokens.cache_read, "cache_write_tokens": 0},
        "output_tokens": tokens.output,
        "output_tokens_details": {"reasoning_tokens": tokens.reasoning},
        "total_tokens": tokens.input + tokens.output,
    }


def _output(completion: Completion, number: int) -> list[dict[str, Any]]:
    """The finished output items; a reasoning model's thoughts come first, with nothing to read in them."""
    items: list[dict[str, Any]] = []
    if completion.tokens.reasoning:
        items.append({"id": f"rs_demo{number:08d}", "type": "reasoning", "summary": []})
    status = "incomplete" if completion.finish == "length" else "completed"
    if completion.tool is None:
        part = {"type": "output_text", "annotations": [], "logprobs": [], "text": completion.text}
        message = {"id": f"msg_demo{number:08d}", "type": "message", "status": status, "role": "assistant"}
        items.append({**message, "content": [part]})
    else:
        call = {"id": f"fc_demo{number:08d}", "type": "function_call", "status": status}
        name = {"call_id": f"call_demo{number:08d}", "name": completion.tool}
        items.append({**call, **name, "arguments": completion.text})
    return items


def _response_events(completion: Completion, begun: Body, done: Body) -> Iterator[Event]:
    count = 0

    def event(kind: str, **data: Any) -> Event:
        nonlocal count
        count += 1
        return Event(kind, {"type": kind, "sequence_number": count - 1, **data})

    yield event("response.created", response=begun)
    yield event("response.in_progress", response=begun)
    for index, item in enumerate(done["output"]):
        at = {"item_id": item["id"], "output_index": index}
        if item["type"] == "message":
            part = item["content"][0]
            at_part = {**at, "content_index": 0}
            fresh = {**item, "status": "in_progress", "content": []}
            yield event("response.output_item.added", output_index=index, item=fresh)
            yield event("response.content_part.added", **at_part, part={**part, "text": ""})
            for piece in completion.pieces:
                yield event("response.output_text.delta", **at_part, delta=piece, logprobs=[])
            yield event("response.output_text.done", **at_part, text=part["text"], logprobs=[])
            yield event("response.content_part.done", **at_part, part=part)
        elif item["type"] == "function_call":
            fresh = {**item, "status": "in_progress", "arguments": ""}
            yield event("response.output_item.added", output_index=index, item=fresh)
            for piece in completion.pieces:
                yield event("response.function_call_arguments.delta", **at, delta=piece)
            finished = {"name": item["name"], "arguments": item["arguments"]}
            yield event("response.function_call_arguments.done", **at, **finished)
        else:
            yield event("response.output_item.added", output_index=index, item=item)
        yield event("response.output_item.done", output_index=index, item=item)
    yield event(f"response.{done['status']}", response=done)


def embeddings(body: Body) -> Answer:
    """POST /v1/embeddings."""
    given = body["input"]
    inputs = [given] if isinstance(given, str) or (given and isinstance(given[0], int)) else given
    size = body.get("dimensions") or DIMENSIONS.get(body["model"], 1536)
    count = sum(len(tokenize(text)) if isinstance(text, str) else len(text) for text in inputs)
    data = []
    for index, text in enumerate(inputs):
        vector = embed(text if isinstance(text, str) else " ".join(map(str, text)), size)
        # The SDK asks for base64 unless told otherwise: little-endian floats of four bytes.
        coded = body.get("encoding_format") == "base64"
        values = base64.b64encode(vector.tobytes()).decode() if coded else list(vector)
        data.append({"object": "embedding", "index": index, "embedding": values})
    usage = {"prompt_tokens": count, "total_tokens": count}
    whole = {"object": "list", "data": data, "model": body["model"], "usage": usage}
    return Answer(200, whole, usage=usage, model=body["model"])


def embed(text: str, size: int) -> array[float]:
    """A unit vector of the words in `text`: texts that share words are near each other."""
    vector = [0.0] * size
    for word in re.findall(r"\w{2,}", text.lower()) or [text]:
        digest = hashlib.sha256(word[:6].encode()).digest()
        vector[int.from_bytes(digest[:4], "big") % size] += 1.0 if digest[4] % 2 else -1.0
    length = math.sqrt(sum(value * value for value in vector)) or 1.0
    return array("f", (value / length for value in vector))
