"""How LiteLLM's functions are asked: a model with its provider before it, and where to send the request.

https://docs.litellm.ai/docs/providers
"""

from __future__ import annotations

import sys
from collections.abc import Mapping
from typing import Any

from genledger.engine.operation import Body, Endpoint
from genledger.instrumentation.adapters.methods import update
from genledger.instrumentation.adapters.wire import endpoint_at
from genledger.pricing.providers import providers

_PROVIDERS = {
    "anthropic_text": "anthropic",
    "azure_ai": "azure.ai.inference",
    "azure_text": "azure.ai.openai",
    "codestral": "mistral_ai",
    "cohere_chat": "cohere",
    "custom_openai": "openai",
    "dashscope": "alibaba",
    "hosted_vllm": "openai",
    "litellm_proxy": "openai",
    "nvidia_nim": "nvidia",
    "ollama_chat": "ollama",
    "openai_like": "openai",
    "text-completion-codestral": "mistral_ai",
    "text-completion-openai": "openai",
    "vertex_ai_beta": "gcp.vertex_ai",
    "watsonx": "ibm.watsonx.ai",
    "watsonx_text": "ibm.watsonx.ai",
}
"""Names of LiteLLM's that tell ways to a provider apart, and those of the conventions."""


def provider_named(name: str) -> str:
    """Return the conventions' name of what LiteLLM calls a provider."""
    name = "vertex_ai" if name.startswith("vertex_ai-") else name
    return _PROVIDERS.get(name) or providers().names.get(name, name)


def split_model(given: Mapping[str, Any]) -> tuple[str | None, Any]:
    """Return LiteLLM's name of the provider that arguments name, and the model without it.

    `litellm.get_llm_provider` is not asked: it prints for the application when it does not know.
    """
    litellm: Any = sys.modules["litellm"]
    model, named = given.get("model"), given.get("custom_llm_provider")
    if not isinstance(model, str):
        return named, model
    prefix, _, rest = model.partition("/")
    if rest and (prefix == named or (named is None and prefix in litellm.provider_list)):
        return prefix, rest
    if named is None:
        named = (litellm.model_cost.get(model) or {}).get("litellm_provider")
    return named, model


_OWN = frozenset(
    {
        *("api_base", "api_key", "api_version", "base_url", "custom_llm_provider", "extra_headers", "headers"),
        *("cache", "caching", "client", "context_window_fallback_dict", "fallbacks", "max_retries", "metadata"),
        *("model_info", "model_list", "num_retries", "original_function", "proxy_server_request", "shared_session"),
        *("timeout", "ttl"),
    }
)
"""Arguments that are for LiteLLM and not for the provider, beside those that begin with its name."""


def body(instance: Any, given: dict[str, Any]) -> Body:
    """Return the request, with the model as the provider names it."""
    sent = {name: value for name, value in given.items() if name not in _OWN and not name.startswith("litellm_")}
    return {**sent, "model": split_model(given)[1]} if "model" in given else sent


def endpoint(instance: Any, given: dict[str, Any]) -> Endpoint:
    """Return who is called, as far as the arguments say."""
    found = endpoint_at("", str(given.get("api_base") or given.get("base_url") or ""), given.get("api_key"))
    named, _ = split_model(given)
    seller = providers().at(found.host) if named is None and found.host else None
    return found._replace(provider=seller.name if seller is not None else provider_named(str(named or "openai")))


def endpoint_reached(before: Endpoint, named: Any, url: str) -> Endpoint:
    """Return who is called in the end: `named` is LiteLLM's name of the provider, if it says it."""
    provider = provider_named(str(named)) if named else before.provider
    found = Endpoint.at(provider, url.partition("?")[0]) if "://" in url else before
    return (found if found.host is not None else before)._replace(provider=provider, api_key=before.api_key)


def write(arguments: dict[str, Any], changes: Mapping[str, Any]) -> None:
    """Write changes into the arguments; another model is one of the same provider."""
    model, named = arguments.get("model"), changes.get("model")
    if isinstance(model, str) and named is not None:
        prefix = model.removesuffix(split_model(arguments)[1])
        changes = {**changes, "model": named if str(named).startswith(prefix) else f"{prefix}{named}"}
    update(arguments, changes)


def names_arguments(function: Any) -> Any:
    """Return the function that names the arguments: asynchronous ones pass all on to their twins."""
    name = getattr(function, "__name__", "")
    return getattr(sys.modules["litellm"], name[1:], function) if name.startswith("a") else function
