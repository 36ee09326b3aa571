"""Oracle's chats in each of its formats (its own, and both of Cohere's), and the older completions: read as OpenAI's.

https://docs.oracle.com/en-us/iaas/api/#/en/generative-ai-inference/20231130/ChatResult/Chat
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from genledger.engine.ceiling import DEFAULT_OUTPUT_TOKENS, choices
from genledger.engine.operation import Body, Content, listed, text
from genledger.pricing.getters import field, path
from genledger_semconv import attributes as A

from .oci_requests import plain, serving, wire
from .openai_chat import CHAT as OPENAI_CHAT
from .openai_chat import COMPLETIONS, read_output
from .openai_chat_stream import Chunks

_FINISH = {"COMPLETE": "stop", "STOP_SEQUENCE": "stop", "MAX_TOKENS": "length", "TOOL_CALL": "tool_call"}
_ROLES = {"chatbot": "assistant"}


def _lower(value: Any) -> Any:
    return value.lower() if isinstance(value, str) else value


def _part(item: Any) -> Any:
    """Return a part of a message's content."""
    if not isinstance(item, Mapping) or "type" not in item:
        return item
    kind = _lower(item.get("type"))
    if kind == "thinking":
        return {"type": kind, "thinking": [{"text": item.get("thinking")}]}
    return {**item, "type": "image_url" if kind == "image" else kind}


def _call(call: Any) -> dict[str, Any]:
    """Return a tool that a message asks for."""
    function = field(call, "function") or call
    arguments = field(function, "arguments") or field(function, "parameters")
    return {"id": field(call, "id"), "function": {"name": field(function, "name"), "arguments": arguments}}


def _message(message: Any) -> dict[str, Any]:
    content = field(message, "content") or field(message, "message")
    role = str(_lower(field(message, "role")) or "user")
    return {
        "role": _ROLES.get(role, role),
        "content": [_part(one) for one in content] if isinstance(content, list) else content,
        "reasoning_content": field(message, "reasoning_content") or field(message, "tool_plan"),
        "refusal": field(message, "refusal"),
        "tool_call_id": field(message, "tool_call_id"),
        "tool_calls": [_call(one) for one in listed(field(message, "tool_calls"))],
    }


def read_asked(details: Mapping[str, Any]) -> Body:
    """Return a request, as OpenAI's: all of its formats have the same names for how a model is to sample."""
    given = plain(details.get("chatRequest") or details.get("inferenceRequest") or details)
    given = given if isinstance(given, Mapping) else {}
    said = [*listed(given.get("chat_history")), *listed(given.get("messages"))]
    if (preamble := given.get("preamble_override")) is not None:
        said.insert(0, {"role": "system", "content": preamble})
    said += [
        {"role": "tool", "content": field(one, "outputs"), "tool_calls": [field(one, "call")]}
        for one in listed(given.get("tool_results"))
    ]
    if (asked := given.get("message")) is not None:
        said.append({"role": "user", "content": asked})
    return {
        **{name: value for name, value in given.items() if name not in ("input", "serving_mode", "compartment_id")},
        **serving(details),
        "messages": [_message(one) for one in said],
        "prompt": given.get("prompt") or given.get("input"),
        "n": given.get("num_generations"),
        "stop": given.get("stop") or given.get("stop_sequences"),
        "stream": given.get("is_stream"),
        "response_format": {"type": _lower(path(given, "response_format", "type"))},
        "tools": [{"type": "function", "function": field(one, "function") or one} for one in listed(given.get("tools"))]
        or None,
    }


def read_result(data: Any) -> Mapping[str, Any]:
    """Return an answer, as OpenAI's."""
    given = plain(wire(data))
    if not isinstance(given, Mapping):
        return {}
    answer = given.get("chat_response") or given.get("inference_response") or given
    found = listed(field(answer, "choices")) or listed(field(answer, "generated_texts"))
    if not found and isinstance(answer, Mapping) and not answer.keys().isdisjoint(("message", "text", "summary")):
        found = [answer]  # Cohere's
    made = [_choice(one) for one in found]
    return {
        "id": field(answer, "id"),
        "model": text(given.get("model_id")),
        "usage": field(answer, "usage"),
        "service_tier": field(answer, "service_tier"),
        "choices": made,
        "characters": sum(_characters(one) for one in made),
    }


def _choice(choice: Any) -> dict[str, Any]:
    message, said = field(choice, "message"), field(choice, "text") or field(choice, "summary")
    if message is None:
        message = {"content": said, "tool_calls": field(choice, "tool_calls")}
    found = _message({"role": "assistant", **message} if isinstance(message, Mapping) else message)
    reason = field(choice, "finish_reason") or ("stop" if field(choice, "summary") is not None else None)
    return {"message": found, "finish_reason": reason, "usage": field(choice, "usage")}


def _characters(choice: Mapping[str, Any]) -> int:
    """Return the characters of the text that a choice has."""
    content = choice["message"]["content"]
    texts = content if isinstance(content, list) else [content]
    return sum(len(said) for one in texts if (said := one if isinstance(one, str) else text(field(one, "text"))))


class Events(Chunks):
    """Puts the events of a stream together. Each has a piece of the message; Cohere's last one repeats it all."""

    def __init__(self, body: Body, keep: bool) -> None:
        super().__init__(body, keep)
        self._characters = 0

    def fold(self, chunks: Sequence[Any]) -> None:
        """Take in more events."""
        super().fold([self._chunk(plain(event)) for event in chunks if isinstance(event, Mapping)])

    def _chunk(self, event: Mapping[str, Any]) -> Mapping[str, Any]:
        if event.keys().isdisjoint(("message", "text", "finish_reason")):
            return {"choices": [], "usage": event.get("usage")}
        choice = _choice(event)
        message = choice.pop("message")
        content = message["content"]
        if isinstance(content, list):
            thoughts = [field(one, "thinking") for one in content]
            thought = "".join(said for one in thoughts for part in listed(one) if (said := text(field(part, "text"))))
            message["reasoning_content"] = thought or message["reasoning_content"]
            content = "".join(said for one in content if (said := text(field(one, "text"))))
        if event.get("message") is None and event.get("finish_reason") is not None and self._characters:
            content = None
        message["content"] = content
        message["tool_calls"] = [{"index": at, **one} for at, one in enumerate(message["tool_calls"])]
        self._characters += len(content) if isinstance(content, str) else 0
        found = {"index": event.get("index"), "delta": message, "finish_reason": choice["finish_reason"]}
        return {"choices": [found], "usage": event.get("usage")}

    def response(self) -> Mapping[str, Any]:
        """Return what was received, with how many characters it has."""
        return {**super().response(), "characters": self._characters}


_LONGEST = 5
"""Characters that a token is taken to have at most, on average."""


def largest(body: Body) -> Mapping[str, Any]:
    """Return the largest answer to a request, for models that are billed by the character."""
    asked = next((one for name in _LIMITS if isinstance(one := body.get(name), int)), DEFAULT_OUTPUT_TOKENS)
    tokens = asked * choices(CHAT, body)
    usage = {"prompt_tokens": 0, "completion_tokens": tokens, "total_tokens": tokens}
    return {"usage": usage, "characters": tokens * _LONGEST}


def read_said(answer: Any) -> Content:
    """Return what was generated, with Cohere's reasons under the conventions' names."""
    messages = read_output(answer)[A.GEN_AI_OUTPUT_MESSAGES]
    named = [{**one, "finish_reason": _FINISH.get(one["finish_reason"], one["finish_reason"])} for one in messages]
    return {A.GEN_AI_OUTPUT_MESSAGES: named}


_LIMITS = ("max_tokens", "max_completion_tokens")

CHAT = OPENAI_CHAT._replace(limit=_LIMITS, accumulate=Events, output=read_said, largest=largest)

GENERATE = COMPLETIONS._replace(accumulate=Events, output=read_said, choices=("n",), largest=largest)

SUMMARIZE = GENERATE._replace(accumulate=None, limit=())
