"""Requests of lm15: each in the format of the provider that it goes to, as it goes over the wire.

https://dspy.ai/community/normalized-lm-api-migration/
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import replace
from typing import Any
from urllib.parse import unquote, urlsplit

from genledger.engine.driver import Arguments
from genledger.engine.operation import Operation
from genledger.instrumentation.adapters.http_response import parse
from genledger.instrumentation.adapters.request_method import Request
from genledger.instrumentation.adapters.wire import content_with, endpoint_at
from genledger.pricing.providers import providers

from .anthropic_messages import MESSAGES
from .gemini_content import GENERATE_CONTENT
from .openai_chat import CHAT
from .openai_responses import RESPONSES

_OPERATIONS: Mapping[str, Operation] = {
    "/chat/completions": CHAT,
    "/responses": RESPONSES,
    "/messages": MESSAGES,
    ":generateContent": GENERATE_CONTENT,
    ":streamGenerateContent": GENERATE_CONTENT,
    ":rawPredict": MESSAGES,
    ":streamRawPredict": MESSAGES,
}
"""The operation of each endpoint, by how its path ends."""

_METHOD = re.compile(r"[/:]\w+$|/chat/completions$")
_MODEL = re.compile(r"(?<=/models/)[^/:]+(?=:\w+$)")
"""The model in a path that names one: Google's."""

_DIALECT = re.compile(r"-(chat|responses|anthropic|express|mantle-chat)$")
_PROVIDERS = {
    "claude-code": "anthropic",
    "openai-codex": "openai",
    "azure-anthropic": "azure.ai.inference",
    "vertex-anthropic": "gcp.vertex_ai",
}
"""Names of lm15's that tell ways to a provider apart, beside those that end with a format's name."""

_KEYS = ("authorization", "x-api-key", "x-goog-api-key", "api-key")


def provider_named(name: str) -> str:
    """Return the conventions' name of what lm15 calls a provider."""
    plain = _PROVIDERS.get(name) or _DIALECT.sub("", name)
    return providers().names.get(plain, plain)


def read_request(lm: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Request | None:
    """Read what is about to be sent: the last argument is the request; a stream's method has two."""
    sent = args[-1]
    path = urlsplit(sent.url).path
    found = _METHOD.search(path)
    operation = _OPERATIONS.get(found.group()) if found is not None and sent.method == "POST" else None
    body = parse(sent.body) if operation is not None else None
    if operation is None or body is None:
        return None
    model = _MODEL.search(path)
    if model is not None:
        body["model"] = unquote(model.group())
    streamed = len(args) > 1
    if streamed:
        body["stream"] = True
    headers = {name.lower(): value for name, value in sent.headers}
    key = next((headers[name] for name in _KEYS if headers.get(name)), "").removeprefix("Bearer ")
    base = str(getattr(lm, "base_url", None) or sent.url)
    return Request(operation, endpoint_at(provider_named(lm.provider), base, key), body, streamed)


def write(args: tuple[Any, ...], kwargs: dict[str, Any], changes: Mapping[str, Any]) -> Arguments:
    """Write changed fields into a copy of the request, and another model into its path."""
    sent, rest = args[-1], dict(changes)
    address = urlsplit(sent.url)
    if "model" in rest and _MODEL.search(address.path):
        address = address._replace(path=_MODEL.sub(rest.pop("model"), address.path))
    body = content_with(sent.body, rest)
    headers = [(name, str(len(body)) if name.lower() == "content-length" else value) for name, value in sent.headers]
    return (*args[:-1], replace(sent, url=address.geturl(), headers=headers, body=body)), kwargs


def cause_of(error: BaseException) -> BaseException:
    """Return what failed behind lm15's error for a request without an answer: it has the same name for all."""
    return (error.__cause__ or error) if type(error).__name__ == "TransportError" else error
