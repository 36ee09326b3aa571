"""Portkey's client, 1.13 to 2.x: OpenAI's client in a package of its own, and a client of its own for stored prompts.

Client: https://github.com/Portkey-AI/portkey-python-sdk. API: https://portkey.ai/docs/api-reference.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import replace
from typing import Any

from genledger.engine.operation import Operation
from genledger.instrumentation.adapters.http_response import parse
from genledger.instrumentation.adapters.stainless import ClientSpec, StainlessClient
from genledger.instrumentation.instrumentor import Instrumentor
from genledger.instrumentation.patching import Patches
from genledger.pricing.getters import field, items
from genledger.pricing.providers import providers

from ..formats.openai_chat import CHAT, ask_for_usage, only_usage
from .openai import operation_of

_PROMPT = re.compile(r"/prompts/[^/?]+/completions$")
STORED_PROMPT = CHAT._replace(fixed_model=True)


def prompt_of(method: str, path: str) -> Operation | None:
    """Return the operation of a request of Portkey's own client: a chat, when it is a stored prompt's."""
    return STORED_PROMPT if method == "post" and _PROMPT.search(path) else None


def _slugs(headers: Mapping[str, Any]) -> Iterator[Any]:
    """Yield the providers that a client's headers name: by themselves, or in a configuration that is not stored."""
    yield headers.get("x-portkey-provider")
    config = headers.get("x-portkey-config")
    if isinstance(config, str) and (written := parse(config)) is not None:
        for target in (written, *items(written, "targets")):
            yield field(target, "provider")


def provider_of(client: Any, host: str) -> str:
    """Return the provider that the gateway asks, or the gateway where only it knows, or where there are several."""
    headers = getattr(client, "_custom_headers", None) or client.custom_headers
    named = {providers().names.get(slug.removeprefix("@")) for slug in _slugs(headers) if isinstance(slug, str)}
    return (named.pop() if len(named) == 1 else None) or "portkey"


OPENAI = ClientSpec(
    name="portkey-ai",
    module="portkey_ai._vendor.openai._base_client",
    operation=operation_of,
    provider=provider_of,
    ask_for_usage=ask_for_usage,
    hidden=only_usage,
)
PROMPTS = replace(
    OPENAI,
    module="portkey_ai.api_resources.base_client",
    operation=prompt_of,
    ask_for_usage=None,
    requests=("APIClient._request", "AsyncAPIClient._request"),
    body="json_body",
)


class PortkeyInstrumentor(Instrumentor):
    """Records the calls of the `portkey-ai` package."""

    library = "portkey-ai"
    distribution = "portkey-ai"
    supports = "portkey-ai >= 1.13, < 3"

    def patches(self) -> Patches:
        """Return the methods that the requests of both clients pass through."""
        return [*StainlessClient(OPENAI).patches(), *StainlessClient(PROMPTS).patches()]
