"""One module for each client library: which recordings it sends, with which method, by which client."""

from __future__ import annotations

from importlib import import_module
from importlib.util import find_spec

from ..plan import Sdk

NAMES = (
    *("openai", "anthropic", "groq", "mistralai", "cohere", "boto3", "replicate"),
    *("google_genai", "ollama", "huggingface_hub", "deepgram", "litellm"),
    *("cerebras", "perplexity", "writerai", "zai", "together", "openrouter", "voyageai", "azure_inference"),
    "vertexai",
)
_PACKAGES = {"google_genai": "google.genai", "azure_inference": "azure.ai.inference"}


def installed() -> dict[str, Sdk]:
    """The libraries that are installed, by the modules that describe them."""
    return {name: import_module(f"{__name__}.{name}").SDK for name in NAMES if _installed(name)}


def _installed(name: str) -> bool:
    try:
        return find_spec(_PACKAGES.get(name, name)) is not None
    except ModuleNotFoundError:
        return False
