"""The clients of Z.ai and of Zhipu, its platform in China: a fork of what Stainless generates, only synchronous.

Clients: https://github.com/zai-org/z-ai-sdk-python, https://github.com/MetaGLM/zhipuai-sdk-python-v4.
API: https://docs.z.ai/api-reference. They speak OpenAI's formats.
"""

from __future__ import annotations

import re
from dataclasses import replace
from typing import Any

from genledger.engine.operation import Body, Operation, integer, text
from genledger.instrumentation.adapters.stainless import ClientSpec, StainlessClient, posted
from genledger.instrumentation.instrumentor import Instrumentor
from genledger.pricing.getters import field
from genledger.pricing.providers import providers
from genledger_semconv import attributes as A
from genledger_semconv import spans as S

from ..formats import openai_batches
from ..formats.openai_chat import CHAT as OPENAI_CHAT
from ..formats.openai_embeddings import EMBEDDINGS, MODERATIONS
from ..formats.openai_fields import read_answer
from ..formats.openai_media import COUNTED_IMAGES, SPEECH, TRANSCRIPTIONS
from ..formats.polled_jobs import JobState, creating, fetching, job_in
from ..formats.videos import VIDEO
from ..formats.web_search import SEARCH

CHAT = OPENAI_CHAT._replace(limit=("max_tokens",), choices=())
OCR = Operation(name=S.OCR, api="ocr", fields={"model": (A.GEN_AI_REQUEST_MODEL, text)}, response=read_answer)
CLONE = Operation(name=S.SPEECH, api="voices", fields=OCR.fields, constant=SPEECH.constant)
READER = Operation(name=S.RETRIEVAL, api="reader", target=lambda attributes: None, fixed_model=True)
_SEARCH = SEARCH._replace(
    fields={"search_engine": (A.GEN_AI_REQUEST_MODEL, text), "count": (A.GEN_AI_RETRIEVAL_TOP_K, integer)},
    request=None,
)


def read_job(body: Body, answer: Any) -> JobState | None:
    """Return the job in an answer, which is its result as well."""
    return job_in(body, answer, answer, status="task_status")


def read_agents_job(body: Body, answer: Any) -> JobState | None:
    """Return the job of an agent that does not answer at once."""
    name = text(field(answer, "async_id")) or text(body.get("async_id"))
    return job_in({}, {"id": name, "status": field(answer, "status")}, answer) if name is not None else None


_posted = posted(
    {
        "/chat/completions": CHAT,
        "/async/chat/completions": creating(CHAT, read_job),
        "/agents": creating(CHAT, read_agents_job),
        "/agents/async-result": fetching("chat", read_agents_job),
        "/assistant": CHAT,
        "/embeddings": EMBEDDINGS,
        "/moderations": MODERATIONS,
        "/images/generations": COUNTED_IMAGES,
        "/async/images/generations": creating(COUNTED_IMAGES, read_job),
        "/videos/generations": creating(VIDEO, read_job),
        "/audio/speech": SPEECH,
        "/audio/customization": SPEECH,
        "/audio/transcriptions": TRANSCRIPTIONS,
        "/voice/clone": CLONE,
        "/layout_parsing": OCR,
        "/files/ocr": OCR,
        "/files/parser/create": OCR,
        "/files/parser/sync": OCR,
        "/web_search": _SEARCH,
        "/tools": _SEARCH._replace(fields=OCR.fields),
        "/reader": READER,
    }
)
_JOB = re.compile(r"/async-result/[^/?]+$")
_FETCHED_JOB = fetching("chat", read_job)


def operation_of(method: str, path: str) -> Operation | None:
    """Return the operation of an endpoint."""
    fetched = _FETCHED_JOB if method == "get" and _JOB.match(path) else None
    return fetched or _posted(method, path) or openai_batches.operation_of(method, path)


def provider_of(client: Any, host: str) -> str:
    """Return the platform that bills the customer: by its address, else by the client that is made for it."""
    seller = providers().at(host.lower())
    if seller is not None:
        return seller.name
    return "zhipuai" if "zhipu" in f"{type(client).__module__}.{type(client).__name__}".lower() else "zai"


ZAI = ClientSpec(
    name="zai-sdk",
    module="zai.core._http_client",
    operation=operation_of,
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
