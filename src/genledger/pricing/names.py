"""Names of providers and models: conventions' names, everyday names, paths, prefixes and ARNs."""

from __future__ import annotations

import re
from collections.abc import Iterator
from functools import lru_cache
from urllib.parse import unquote, urlsplit

from genledger.pricing.providers import providers

_ARN = re.compile(r"^arn:[\w-]+:[\w-]+:[\w-]*:\d*:(?P<kind>[\w-]+)/(?P<name>.+)$")
_PUBLISHED = re.compile(r"^(?:projects/[^/]+/locations/[^/]+/)?publishers/[^/]+/models/")
_LOCATION = re.compile(r"/locations/([\w-]+)/")
_DEPLOYMENT = re.compile(r"/deployments/([^/?]+)")


@lru_cache(maxsize=256)
def host(base_url: str) -> str:
    """Return the host name in a base URL, lower case; empty when there is none."""
    try:
        return (urlsplit(base_url if "//" in base_url else "//" + base_url).hostname or "").lower()
    except ValueError:
        return ""


@lru_cache(maxsize=256)
def provider_of_host(base_url: str) -> str | None:
    """Return the provider that answers at this base URL, if it is one with prices."""
    seller = providers().at(host(base_url))
    return seller.id if seller is not None else None


@lru_cache(maxsize=256)
def canonical_provider(provider: str, base_url: str | None = None) -> str:
    """One name per provider. A known host decides, because the host is who sends the bill.

    Names that are not known come back in lower case, for the price table to recognise or not.
    """
    by_host = provider_of_host(base_url) if base_url else None
    if by_host is not None:
        return by_host
    name = provider.strip().lower()
    return providers().ids.get(name, name)


@lru_cache(maxsize=256)
def region_of_host(base_url: str) -> str | None:
    """Return the region that a base URL pins the call to, or `None` for a global endpoint.

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
    """Return the Azure deployment in a URL's path."""
    found = _DEPLOYMENT.search(base_url)
    return unquote(found.group(1)) if found else None


def names_of_model(provider: str, model: str) -> Iterator[str]:
    """Yield the spellings under which a price table may know a model, the given one first.

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
    if rest and (publisher or providers().ids.get(prefix.lower()) == provider):
        name = rest
    if name != model:
        yield name
    if "@" in name:
        base, _, version = name.partition("@")
        yield f"{base}-{version}"
        if version in ("default", "latest"):
            yield base


def region_of_model(provider: str, model: str) -> tuple[str | None, str]:
    """Return the region written into a model's name, and the name without it, where that is a custom and not an id.

    Azure: `us/…` and `eu/…` for a Data Zone deployment, `global/…` for a global one. Bedrock's geographic
    prefixes are part of the id and have prices of their own.
    """
    if provider == "azure":
        prefix, _, rest = model.partition("/")
        if rest and prefix in ("us", "eu", "global", "global-standard"):
            return (prefix if prefix in ("us", "eu") else None), rest
    return None, model


def of_own(model: str) -> bool:
    """Return whether a Bedrock ARN names something that only its owner can price."""
    arn = _ARN.match(unquote(model))
    return arn is not None and arn["kind"] not in ("foundation-model", "inference-profile")


def gateway_target(provider: str, model: str) -> tuple[str, str]:
    """Behind a gateway that speaks for many, `provider/model` names the provider."""
    if provider == "litellm":
        prefix, _, rest = model.partition("/")
        named = providers().ids.get(prefix.lower())
        if rest and named is not None:
            return named, rest
    return provider, model
