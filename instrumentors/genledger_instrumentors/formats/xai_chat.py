"""xAI's chat over gRPC, as the chat completions that its HTTP API speaks.

Messages: https://github.com/xai-org/xai-proto/blob/main/proto/xai/api/v1/chat.proto (and `usage.proto`).
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

from genledger.engine.ceiling import text_length
from genledger.engine.operation import Body
from genledger.engine.to_json import plain

from .openai_chat import CHAT

_FINISHED = {
    "REASON_STOP": "stop",
    "REASON_MAX_LEN": "length",
    "REASON_MAX_CONTEXT": "length",
    "REASON_TOOL_CALLS": "tool_calls",
    "REASON_TIME_LIMIT": "time_limit",
}
_SERVER_TOOLS = {
    "SERVER_SIDE_TOOL_WEB_SEARCH": "web_search_calls",
    "SERVER_SIDE_TOOL_X_SEARCH": "x_search_calls",
    "SERVER_SIDE_TOOL_CODE_EXECUTION": "code_interpreter_calls",
    "SERVER_SIDE_TOOL_COLLECTIONS_SEARCH": "file_search_calls",
    "SERVER_SIDE_TOOL_ATTACHMENT_SEARCH": "document_search_calls",
}


def _word(name: Any, prefix: str) -> str:
    """Return the common name of an enum's value: `ROLE_USER`, `user`."""
    return str(name).removeprefix(prefix).lower()


def _part(content: Mapping[str, Any]) -> Any:
    if "image_url" in content:
        return {"type": "image_url", "image_url": {"url": content["image_url"].get("image_url", "")}}
    if "file" in content:
        file = content["file"]
        return {"type": "file", "file": {"file_id": file.get("file_id"), "file_url": file.get("url")}}
    return {"type": "text", "text": content.get("text", "")}


def _message(message: Mapping[str, Any]) -> dict[str, Any]:
    content = [_part(one) for one in message.get("content", ())]
    return {**message, "role": _word(message.get("role", "ROLE_USER"), "ROLE_"), "content": content}


def _tool(tool: Mapping[str, Any]) -> dict[str, Any]:
    kind = next(iter(tool), "function")
    return {"type": kind, kind: tool.get(kind)}


def read_request(message: Any) -> dict[str, Any]:
    """Return a `GetCompletionsRequest` as the body of a chat completion."""
    body: dict[str, Any] = plain(message)
    body["messages"] = [_message(one) for one in body.get("messages", ())]
    if "tools" in body:
        body["tools"] = [_tool(tool) for tool in body["tools"]]
    if "response_format" in body:
        body["response_format"] = {"type": _word(body["response_format"].get("format_type"), "FORMAT_TYPE_")}
    for name, prefix in (("reasoning_effort", "EFFORT_"), ("service_tier", "SERVICE_TIER_")):
        if name in body:
            body[name] = _word(body[name], prefix)
    return body


def _usage(usage: Mapping[str, Any]) -> dict[str, Any]:
    """Usage as the HTTP API has it: reasoning is not a part of the completion's tokens."""
    tools = Counter(_SERVER_TOOLS.get(tool) for tool in usage.get("server_side_tools_used", ()))
    return {
        "prompt_tokens": 0,
        "completion_tokens": 0,
        **usage,
        "prompt_tokens_details": {
            "cached_tokens": usage.get("cached_prompt_text_tokens", 0),
            "image_tokens": usage.get("prompt_image_tokens", 0),
        },
        "completion_tokens_details": {"reasoning_tokens": usage.get("reasoning_tokens", 0)},
        "server_side_tool_usage_details": {name: count for name, count in tools.items() if name is not None},
    }


def _choice(output: Mapping[str, Any]) -> dict[str, Any]:
    reason = output.get("finish_reason")
    message = output.get("message", {})
    return {
        "finish_reason": _FINISHED.get(reason) if reason is not None else None,
        "message": {**message, "role": _word(message.get("role", "ROLE_ASSISTANT"), "ROLE_")},
    }


def read_completion(message: Any) -> dict[str, Any]:
    """Return a `GetChatCompletionResponse`, or what the client makes of one, as a chat completion."""
    while isinstance(message, Sequence):  # several answers to one request, and an answer with what was parsed of it
        message = message[0]
    message = message if hasattr(message, "ListFields") else message.proto
    answer: dict[str, Any] = plain(message)
    if usage := answer.pop("usage", None):
        answer["usage"] = _usage(usage)
    if "service_tier" in answer:
        answer["service_tier"] = _word(answer["service_tier"], "SERVICE_TIER_")
    answer["choices"] = [_choice(output) for output in answer.pop("outputs", ())]
    return answer


class Answers:
    """A stream of the answer so far and its newest chunk: the client puts it together by itself."""

    def __init__(self, body: Body, keep: bool) -> None:
        self._last: Any = None
        self._read: Mapping[str, Any] | None = None

    def fold(self, chunks: Sequence[Any]) -> None:
        """Take in more chunks."""
        self._last = chunks[-1]
        self._read = None

    def response(self) -> Mapping[str, Any]:
        """Return what has been received, as a chat completion."""
        if self._read is None:
            self._read = read_completion(self._last) if self._last is not None else {}
        return self._read

    def text_length(self) -> int:
        """Return the bytes generated so far, in every choice."""
        return text_length([choice["message"] for choice in self.response().get("choices", ())])

    @property
    def complete(self) -> bool:
        """Return whether every choice has ended."""
        choices = self.response().get("choices", ())
        return bool(choices) and all(choice["finish_reason"] for choice in choices)

    @property
    def counted(self) -> bool:
        """Return whether the usage has come that counts the whole answer."""
        return self.complete and "usage" in self.response()


XAI_CHAT = CHAT._replace(accumulate=Answers, limit=("max_tokens",))
