"""The clients of Z.ai and of Zhipu, its platform in China: a fork of what Stainless generates, only synchronous.

Clients: https://github.com/zai-org/z-ai-sdk-python, https://github.com/MetaGLM/zhipuai-sdk-python-v4.
API: https://docs.z.ai/api-reference. They speak OpenAI's formats.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from genledger.engine.operation import integer, text
from genledger.instrumentation.adapters.stainless import ClientSpec, StainlessClient, posted
from genledger.instrumentation.instrumentor import Instrumentor
from genledger.pricing.providers import providers
from genledger_semconv import attributes as A

from ..formats.openai_chat import CHAT as OPENAI_CHAT
from ..formats.openai_embeddings import EMBEDDINGS, MODERATIONS
from ..formats.openai_media import IMAGES, SPEECH, TRANSCRIPTIONS
from ..formats.web_search import SEARCH

CHAT = OPENAI_CHAT._replace(limit=("max_tokens",), choices=())


def provider_of(client: Any, host: str) -> str:
    """Return the platform that bills the customer: by its address, else by the client that is made for it."""
    seller = providers().at(host.lower())
    if seller is not None:
        return seller.name
    return "zhipuai" if "zhipu" in f"{type(client).__module__}.{type(client).__name__}".lower() else "zai"


ZAI = ClientSpec(
    name="zai-sdk",
    module="zai.core._http_client",
    operation=posted(
        {
            "/chat/completions": CHAT,
            "/agents": CHAT,
            "/embeddings": EMBEDDINGS,
            "/moderations": MODERATIONS,
            "/images/generations": IMAGES,
            "/audio/speech": SPEECH,
            "/audio/transcriptions": TRANSCRIPTIONS,
            "/web_search": SEARCH._replace(
                fields={
                    "search_engine": (A.GEN_AI_REQUEST_MODEL, text),
                    "count": (A.GEN_AI_RETRIEVAL_TOP_K, integer),
                },
                request=None,
            ),
        }
    ),
    provider=provider_of,
    requests=("HttpClient.request",),
    iterator="_stream_chunks",
)
ZHIPU = replace(ZAI, name="zhipuai", module="zhipuai.core._http_client")


class ZaiInstrumentor(Instrumentor):
    """Records the calls of the `zai-sdk` package."""

    library = "zai-sdk"
    distribution = "zai-sdk"
    supports = "zai-sdk >= 0.0.1, < 1"
    client = StainlessClient(ZAI)


class ZhipuInstrumentor(Instrumentor):
    """Records the calls of the `zhipuai` package."""

    library = "zhipuai"
    distribution = "zhipuai"
    supports = "zhipuai >= 2.1, < 3"
    client = StainlessClient(ZHIPU)
