"""What providers and models are called: conventions' names, everyday names, paths, prefixes and ARNs."""

from __future__ import annotations

import re
from collections.abc import Iterator
from functools import lru_cache
from urllib.parse import unquote, urlsplit

_ALIASES = {
    "openai": "openai",
    "azure": "azure az.ai.openai azure.ai.openai az.ai.inference azure.ai.inference azure_openai azure-openai"
    " azureopenai azure_ai azure-ai azure_foundry microsoft.foundry",
    "anthropic": "anthropic claude",
    "google": "google gemini gcp.gemini gcp.gen_ai google_genai google-genai google_ai google-gla"
    " google_ai_studio googleai",
    "vertex": "vertex gcp.vertex_ai vertex_ai vertexai vertex-ai google-vertex google_vertex google_vertexai",
    "aws": "aws aws.bedrock bedrock aws_bedrock amazon_bedrock amazon-bedrock amazon.bedrock bedrock_converse"
    " bedrock_mantle bedrock-runtime",
    "mistral": "mistral mistral_ai mistralai mistral-ai",
    "cohere": "cohere",
    "groq": "groq",
    "deepseek": "deepseek",
    "x-ai": "x-ai x_ai xai grok",
    "voyageai": "voyageai voyage voyage_ai voyage-ai",
    "openrouter": "openrouter open_router",
    "perplexity": "perplexity pplx perplexity_ai",
    "together": "together together_ai together-ai togetherai",
    "fireworks": "fireworks fireworks_ai fireworks-ai fireworksai",
    "cerebras": "cerebras",
    "moonshotai": "moonshotai moonshot_ai moonshot",
    "github-copilot": "github-copilot github_copilot copilot",
    "litellm": "litellm litellm_proxy litellm-proxy",
    "venice": "venice venice_ai venice-ai",
}
_CANONICAL = {alias: name for name, aliases in _ALIASES.items() for alias in aliases.split()}

TABLE_IDS = {"vertex": "google"}
"""Canonical names that the price table files under another provider."""

_HOSTS = (
    (
        re.compile(r"(^|\.)openai\.azure\.(com|us)$|cognitiveservices\.azure\.com$|services\.ai\.azure\.com$"),
        "azure",
    ),
    (re.compile(r"(^|\.)api\.openai\.com$"), "openai"),
    (re.compile(r"(^|\.)api\.anthropic\.com$"), "anthropic"),
    (re.compile(r"^generativelanguage\.googleapis\.com$"), "google"),
    (re.compile(r"(^|[.-])aiplatform\.(\w+\.rep\.)?googleapis\.com$"), "vertex"),
    (re.compile(r"^bedrock[\w-]*\.[\w.-]+\.(amazonaws\.com(\.cn)?|api\.aws)$"), "aws"),
    (re.compile(r"(^|\.)api\.mistral\.ai$"), "mistral"),
    (re.compile(r"(^|\.)api\.cohere\.(ai|com)$"), "cohere"),
    (re.compile(r"(^|\.)api\.groq\.com$"), "groq"),
    (re.compile(r"(^|\.)api\.deepseek\.com$"), "deepseek"),
    (re.compile(r"(^|\.)api\.x\.ai$"), "x-ai"),
    (re.compile(r"(^|\.)api\.voyageai\.com$"), "voyageai"),
    (re.compile(r"(^|\.)openrouter\.ai$"), "openrouter"),
    (re.compile(r"(^|\.)api\.perplexity\.ai$"), "perplexity"),
    (re.compile(r"(^|\.)api\.together\.(xyz|ai)$"), "together"),
    (re.compile(r"(^|\.)api\.fireworks\.ai$"), "fireworks"),
    (re.compile(r"(^|\.)api\.cerebras\.ai$"), "cerebras"),
    (re.compile(r"(^|\.)api\.moonshot\.(ai|cn)$"), "moonshotai"),
    (re.compile(r"(^|\.)githubcopilot\.com$"), "github-copilot"),
    (re.compile(r"(^|\.)api\.venice\.ai$"), "venice"),
)

_ARN = re.compile(r"^arn:[\w-]+:[\w-]+:[\w-]*:\d*:(?P<kind>[\w-]+)/(?P<name>.+)$")
_PUBLISHED = re.compile(r"^(?:projects/[^/]+/locations/[^/]+/)?publishers/[^/]+/models/")
_LOCATION = re.compile(r"/locations/([\w-]+)/")
_DEPLOYMENT = re.compile(r"/deployments/([^/?]+)")


@lru_cache(maxsize=256)
def host(base_url: str) -> str:
    """The host name in a base URL, lower case; empty when there is none."""
    try:
        return (urlsplit(base_url if "//" in base_url else "//" + base_url).hostname or "").lower()
    except ValueError:
        return ""


@lru_cache(maxsize=256)
def provider_of_host(base_url: str) -> str | None:
    """The provider that answers at this base URL, if it is a known one."""
    name = host(base_url)
    return next((provider for pattern, provider in _HOSTS if pattern.search(name)), None)


@lru_cache(maxsize=256)
def canonical_provider(provider: str, base_url: str | None = None) -> str:
    """One name per provider. A known host decides, because the host is who sends the bill.

    Names that are not known come back in lower case, for the price table to recognise or not.
    """
    by_host = provider_of_host(base_url) if base_url else None
    if by_host is not None:
        return by_host
    name = provider.strip().lower()
    return _CANONICAL.get(name, name)


@lru_cache(maxsize=256)
def region_of_host(base_url: str) -> str | None:
    """The region that a base URL pins the call to, or `None` for a global endpoint.

    OpenAI and xAI: the prefix of the host (`eu.api.openai.com`, `us.api.x.ai`). Vertex AI: the location in
    the host or path; `global` is not a region. Sources: the providers' pages on regional endpoints.
    """
    name = host(base_url)
    for suffix in (".api.openai.com", ".api.x.ai"):
        if name.endswith(suffix):
            return name.removesuffix(suffix)
    if name.endswith("googleapis.com") and "aiplatform" in name:
        pinned = re.match(r"^([\w-]+)-aiplatform\.|^aiplatform\.(\w+)\.rep\.", name)
        location = _LOCATION.search(base_url)
        region = (pinned.group(1) or pinned.group(2)) if pinned else (location.group(1) if location else None)
        return None if region == "global" else region
    return None


def deployment_of_url(base_url: str) -> str | None:
    """The Azure deployment in a URL's path."""
    found = _DEPLOYMENT.search(base_url)
    return unquote(found.group(1)) if found else None


def names_of_model(provider: str, model: str) -> Iterator[str]:
    """The spellings under which a price table may know a model, the given one first.

    Strips resource paths (`models/…`, `publishers/…/models/…`), a prefix that repeats the provider
    (`openai/gpt-4o`), Bedrock ARNs down to the profile or model they name, and Vertex `@version`. An ARN
    that names something of the customer's own (application inference profile, provisioned, imported or
    custom model) stays as it is: only the customer knows what is behind it.
    """
    yield model
    name = _PUBLISHED.sub("", model).removeprefix("models/")
    if provider == "aws":
        arn = _ARN.match(unquote(name))
        if arn is not None:
            if arn["kind"] not in ("foundation-model", "inference-profile"):
                return
            name = arn["name"]
        elif "%" in name:
            name = unquote(name)
    prefix, _, rest = name.partition("/")
    publisher = provider == "vertex" and "/" not in rest  # its OpenAI-compatible endpoint: `google/gemini-2.5-pro`
    if rest and (publisher or _CANONICAL.get(prefix.lower()) == provider):
        name = rest
    if name != model:
        yield name
    if "@" in name:
        base, _, version = name.partition("@")
        yield f"{base}-{version}"
        if version in ("default", "latest"):
            yield base


def region_of_model(provider: str, model: str) -> tuple[str | None, str]:
    """The region written into a model's name, and the name without it, where that is a custom and not an id.

    Azure: `us/…` and `eu/…` for a Data Zone deployment, `global/…` for a global one. Bedrock's geographic
    prefixes are part of the id and have prices of their own.
    """
    if provider == "azure":
        prefix, _, rest = model.partition("/")
        if rest and prefix in ("us", "eu", "global", "global-standard"):
            return (prefix if prefix in ("us", "eu") else None), rest
    return None, model


def of_own(model: str) -> bool:
    """Whether a Bedrock ARN names something only its owner can price."""
    arn = _ARN.match(unquote(model))
    return arn is not None and arn["kind"] not in ("foundation-model", "inference-profile")


def gateway_target(provider: str, model: str) -> tuple[str, str]:
    """Behind a gateway that speaks for many, `provider/model` names the provider."""
    if provider == "litellm":
        prefix, _, rest = model.partition("/")
        if rest and prefix.lower() in _CANONICAL:
            return _CANONICAL[prefix.lower()], rest
    return provider, model
