"""One module for each client library: which recordings it sends, with which method, by which client."""

from __future__ import annotations

from importlib import import_module
from importlib.util import find_spec

from ..plan import Sdk

NAMES = (
    "openai",
    "anthropic",
    "groq",
    "mistralai",
    "cohere",
    "boto3",
    "replicate",
    "cerebras",
    "perplexity",
    "writerai",
)


def installed() -> dict[str, Sdk]:
    """The libraries that are installed, by import package."""
    return {name: import_module(f"{__name__}.{name}").SDK for name in NAMES if find_spec(name) is not None}
