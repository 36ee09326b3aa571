"""The commonest answers, read without looking everywhere.

`reading` looks for everything that any provider might say. Most answers say little: tokens, some of them cached,
some of them reasoning, at the standard rate. Those of OpenAI's and Anthropic's own clients are typed, so that what
they do not say can be seen at once. Whatever is out of the ordinary is left to `reading`; the tests hold both to
the same result.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from genledger.pricing.getters import MOST
from genledger.pricing.readers.reading import Reading
from genledger.pricing.usage import Usage

_OPENAI = "https://api.openai.com/"
_ANTHROPIC = "https://api.anthropic.com/"
_STANDARD = (None, "default", "auto")
_FREE_OF_CHARGE = frozenset({"message", "function_call", "reasoning", "custom_tool_call"})
_SAYS_NO_PRICE = frozenset({"billing", "frequency_penalty", "presence_penalty", "store"})
_OTHERWISE_BILLED = ("web_search_options", "batch", "service_tier", "inference_geo", "region", "data_residency")


def read_quickly(api: str, answer: Any, request: Any, base_url: str | None) -> Reading | None:
    """The reading of an ordinary answer; `None` for any other, and for one that is not understood."""
    reader = _READERS.get(api)
    if reader is None or type(request) is not dict:
        return None
    try:
        return reader(answer, request, base_url)
    except (AttributeError, KeyError, TypeError):
        return None


def _fields(typed: Any) -> dict[str, Any] | None:
    """The fields of an answer or of a part of it; `None` when it says more than its type has fields for."""
    if type(typed) is dict:
        return typed
    return None if typed.__pydantic_extra__ else typed.__dict__


def _answer(typed: Any) -> dict[str, Any] | None:
    """As `_fields`, of an OpenAI answer, whose type has no field for some of what all of them say."""
    if type(typed) is dict:
        return typed
    extra = typed.__pydantic_extra__
    return None if extra and not _SAYS_NO_PRICE.issuperset(extra) else typed.__dict__


def _count(value: object) -> int:
    """A count as it should be; any other is left to the other reader."""
    if type(value) is int and 0 <= value <= MOST:
        return value
    raise TypeError


def _some(fields: Mapping[str, Any], name: str) -> int:
    value = fields.get(name)
    return 0 if value is None else _count(value)


def _ordinary(body: Mapping[str, Any], request: Mapping[str, Any]) -> bool:
    if body.get("service_tier") not in _STANDARD:
        return False
    return not _otherwise_billed(request)


def _otherwise_billed(request: Mapping[str, Any]) -> bool:
    """Whether a request asks for what has a rate of its own. What was not given may be there as a false placeholder."""
    return any(request.get(name) or type(request.get(name)) is dict for name in _OTHERWISE_BILLED)


def _openai(
    answer: Any, request: Mapping[str, Any], base_url: str | None, given: str, generated: str, chat: bool
) -> Reading | None:
    body = _answer(answer)
    if body is None or base_url is None or not base_url.startswith(_OPENAI) or not _ordinary(body, request):
        return None
    counts = _fields(body["usage"])
    model = body["model"]
    if counts is None or type(model) is not str or not model or "search" in model:
        return None
    input_tokens, output_tokens = _count(counts[given]), _count(counts[generated])
    if _count(counts["total_tokens"]) != input_tokens + output_tokens:
        return None
    cached = reasoning = 0
    details = counts.get("prompt_tokens_details" if chat else "input_tokens_details")
    if details is not None:
        fields = _fields(details)
        if fields is None or any(fields[name] for name in fields if name not in ("cached_tokens", "text_tokens")):
            return None
        cached = _some(fields, "cached_tokens")
    details = counts.get("completion_tokens_details" if chat else "output_tokens_details")
    if details is not None:
        fields = _fields(details)
        if fields is None or fields.get("audio_tokens") or fields.get("image_tokens"):
            return None
        reasoning = _some(fields, "reasoning_tokens")
    if cached > input_tokens or reasoning > output_tokens:
        return None
    if not chat and any(item.type not in _FREE_OF_CHARGE for item in body.get("output") or ()):
        return None
    usage = Usage(input=input_tokens - cached, cache_read=cached, output=output_tokens - reasoning, reasoning=reasoning)
    return Reading(usage, model, requested=_requested(request))


def _chat(answer: Any, request: Mapping[str, Any], base_url: str | None) -> Reading | None:
    return _openai(answer, request, base_url, "prompt_tokens", "completion_tokens", chat=True)


def _responses(answer: Any, request: Mapping[str, Any], base_url: str | None) -> Reading | None:
    return _openai(answer, request, base_url, "input_tokens", "output_tokens", chat=False)


def _messages(answer: Any, request: Mapping[str, Any], base_url: str | None) -> Reading | None:
    body = _fields(answer)
    if body is None or base_url is None or not (base_url + "/").startswith(_ANTHROPIC):
        return None
    if _otherwise_billed(request):
        return None
    counts = _fields(body["usage"])
    model = body["model"]
    if counts is None or type(model) is not str or not model:
        return None
    if counts.get("service_tier") not in (None, "standard") or counts.get("speed") not in (None, "standard"):
        return None
    if counts.get("server_tool_use") is not None or counts.get("iterations"):
        return None
    if counts.get("inference_geo") not in (None, "global", "not_available"):
        return None
    written, written_1h = _some(counts, "cache_creation_input_tokens"), 0
    lifetimes = counts.get("cache_creation")
    if lifetimes is not None:
        fields = _fields(lifetimes)
        if fields is None:
            return None
        written_1h = _some(fields, "ephemeral_1h_input_tokens")
        if written != written_1h + _some(fields, "ephemeral_5m_input_tokens"):
            return None
    input_tokens, output_tokens = _count(counts["input_tokens"]), _count(counts["output_tokens"])
    cached = _some(counts, "cache_read_input_tokens")
    thought = 0
    details = counts.get("output_tokens_details")
    if details is not None:
        fields = _fields(details)
        if fields is None:
            return None
        thought = _some(fields, "thinking_tokens")
    if thought > output_tokens:
        return None
    usage = Usage(
        input=input_tokens,
        cache_read=cached,
        cache_write=written - written_1h,
        cache_write_1h=written_1h,
        output=output_tokens - thought,
        reasoning=thought,
    )
    return Reading(usage, model, requested=_requested(request))


def _requested(request: Mapping[str, Any]) -> str | None:
    model = request.get("model")
    return model if isinstance(model, str) and model else None


_READERS: Mapping[str, Callable[[Any, Mapping[str, Any], str | None], Reading | None]] = {
    "chat": _chat,
    "responses": _responses,
    "messages": _messages,
}
