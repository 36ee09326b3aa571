"""Which provider is behind a host that speaks OpenAI's API."""

from __future__ import annotations

import re
from typing import Any

_PROVIDERS: tuple[tuple[str, str], ...] = (
    ("api.openai.com", "openai"),
    ("openai.azure.com", "azure.ai.openai"),
    ("openai.azure.us", "azure.ai.openai"),
    ("cognitiveservices.azure.com", "azure.ai.openai"),
    ("services.ai.azure.com", "azure.ai.openai"),
    ("models.inference.ai.azure.com", "azure.ai.inference"),
    ("models.ai.azure.com", "azure.ai.inference"),
    ("generativelanguage.googleapis.com", "gcp.gemini"),
    ("aiplatform.googleapis.com", "gcp.vertex_ai"),
    ("amazonaws.com", "aws.bedrock"),
    ("api.aws", "aws.bedrock"),
    ("api.anthropic.com", "anthropic"),
    ("api.cohere.ai", "cohere"),
    ("api.cohere.com", "cohere"),
    ("api.deepseek.com", "deepseek"),
    ("api.groq.com", "groq"),
    ("api.mistral.ai", "mistral_ai"),
    ("api.moonshot.ai", "moonshot_ai"),
    ("api.moonshot.cn", "moonshot_ai"),
    ("api.perplexity.ai", "perplexity"),
    ("api.x.ai", "x_ai"),
    ("openrouter.ai", "openrouter"),
    ("api.together.xyz", "together"),
    ("api.together.ai", "together"),
    ("api.fireworks.ai", "fireworks"),
    ("api.cerebras.ai", "cerebras"),
    ("router.huggingface.co", "huggingface"),
    ("api-inference.huggingface.co", "huggingface"),
    ("api.venice.ai", "venice"),
    ("api.z.ai", "zai"),
    ("api.sambanova.ai", "sambanova"),
    ("api.deepinfra.com", "deepinfra"),
    ("integrate.api.nvidia.com", "nvidia"),
    ("api.hyperbolic.xyz", "hyperbolic"),
    ("dashscope.aliyuncs.com", "alibaba"),
    ("dashscope-intl.aliyuncs.com", "alibaba"),
    ("githubcopilot.com", "github_copilot"),
    ("models.github.ai", "github"),
    ("snowflakecomputing.com", "snowflake"),
    ("api.doubleword.ai", "doubleword"),
    ("inference.heroku.com", "heroku"),
    ("api.novita.ai", "novita"),
    ("api.scaleway.ai", "scaleway"),
    ("api.voyageai.com", "voyageai"),
    ("ai-gateway.vercel.sh", "vercel"),
)
_KNOWN = dict(_PROVIDERS)
_VERTEX = re.compile(r"(^|-)aiplatform\.googleapis\.com$")


def provider_of(client: Any, host: str) -> str:
    """The provider's name in the conventions, or its own name where they have none.

    A host nobody knows (a proxy, a server of one's own) counts as OpenAI's, whose API it speaks: the
    conventions' rule for a provider that is only seen through something else.
    """
    host = host.lower()
    if host.endswith("services.ai.azure.com") and str(client.base_url).rstrip("/").endswith("/models"):
        return "azure.ai.inference"
    name = host
    while name:
        provider = _KNOWN.get(name)
        if provider is not None:
            return provider
        name = name.partition(".")[2]
    if _VERTEX.search(host):
        return "gcp.vertex_ai"
    return "azure.ai.openai" if "Azure" in type(client).__name__ else "openai"
