"""Bedrock's InvokeModel, agents and reranks, by boto3."""

from __future__ import annotations

import json
from base64 import b64encode
from collections.abc import Mapping
from functools import partial
from typing import Any

from tests.contract.event_stream import event
from tests.contract.rows import anthropic_messages
from tests.contract.rows.bedrock_converse import MODEL, PROMPT, TEXT, make_client
from tests.contract.rows.bedrock_converse import ROW as CONVERSE
from tests.contract.server import Reply, json_reply

TITAN = "amazon.titan-embed-text-v2:0"
RERANK = "arn:aws:bedrock:us-east-1::foundation-model/cohere.rerank-v3-5:0"
NOVA = "amazon.nova-lite-v1:0"


def counted(reply: Reply, into: int, out: int) -> Reply:
    """Add what Bedrock counts to an answer."""
    counts = {"x-amzn-bedrock-input-token-count": str(into), "x-amzn-bedrock-output-token-count": str(out)}
    return Reply(reply.status, reply.kind, reply.body, counts)


def framed(document: Any) -> bytes:
    """Frame a chunk of a stream."""
    return event("chunk", {"bytes": b64encode(json.dumps(document).encode()).decode()})


def documents() -> tuple[bytes, ...]:
    """Make a streamed message of Anthropic's; Bedrock adds its counts to the last event."""
    found = [json.loads(part.partition(b"data: ")[2]) for part in anthropic_messages.events()]
    found[-1]["amazon-bedrock-invocationMetrics"] = {"inputTokenCount": 1000, "outputTokenCount": 500}
    return tuple(framed(one) for one in found)


def invoke(client: Any, model: str, document: Mapping[str, Any], *, stream: bool = False) -> Any:
    """Invoke a model with a document."""
    given = {"modelId": model, "body": json.dumps(document)}
    if stream:
        return client.invoke_model_with_response_stream(**given)["body"]
    return json.loads(client.invoke_model(**given)["body"].read())


def ask_claude(client: Any, *, stream: bool, max_tokens: int | None = None) -> Any:
    """Ask one of Anthropic's models, in its own format."""
    messages = [{"role": "user", "content": PROMPT}]
    document = {"anthropic_version": "bedrock-2023-05-31", "max_tokens": max_tokens or 2000, "messages": messages}
    return invoke(client, MODEL, document, stream=stream)


def rerank(client: Any, **_: Any) -> Any:
    """Order documents."""
    source = {"type": "TEXT", "textDocument": {"text": "Paris"}}
    configuration = {"modelConfiguration": {"modelArn": RERANK}}
    return client.rerank(
        queries=[{"type": "TEXT", "textQuery": {"text": PROMPT}}],
        sources=[{"type": "INLINE", "inlineDocumentSource": source}],
        rerankingConfiguration={
            "type": "BEDROCK_RERANKING_MODEL",
            "bedrockRerankingConfiguration": configuration,
        },
    )["results"]


def _trace() -> tuple[bytes, ...]:
    asked = {"traceId": "1", "foundationModel": NOVA, "text": "{}", "type": "ORCHESTRATION"}
    answered = {"traceId": "1", "metadata": {"usage": {"inputTokens": 1000, "outputTokens": 500}}}
    steps = ({"modelInvocationInput": asked}, {"modelInvocationOutput": answered})
    return tuple(
        event("trace", {"agentVersion": "1", "sessionId": "session-1", "trace": {"orchestrationTrace": step}})
        for step in steps
    )


def ask_agent(client: Any, **_: Any) -> Any:
    """Ask an agent, and read its answer, which is a stream always."""
    given = {"agentId": "AGENT12345", "agentAliasId": "ALIAS12345", "sessionId": "session-1", "inputText": PROMPT}
    return list(client.invoke_agent(**given, enableTrace=True)["completion"])


_ANSWER = (event("chunk", {"bytes": b64encode(TEXT.encode()).decode()}), *_trace())
_AGENTS = partial(make_client, "bedrock-agent-runtime")

# https://aws.amazon.com/bedrock/pricing
OPERATIONS = (
    CONVERSE.another(
        "chat",
        endpoint="InvokeModel",
        call=ask_claude,
        whole=counted(anthropic_messages.ROW.whole, 1000, 500),
        streams=True,
        events=documents(),
        text=TEXT,
        limit=lambda request: request.json["max_tokens"],
        cheaper=CONVERSE.cheaper,
    ),
    CONVERSE.another(
        "embeddings",
        call=lambda client, **_: invoke(client, TITAN, {"inputText": PROMPT}),
        whole=json_reply({"embedding": [0.1, 0.2], "inputTextTokenCount": 1000}),
        model=TITAN,
        usage=(1000, 0),
        cost=1000 * 0.02e-6,
        content=False,
    ),
    CONVERSE.another(
        "rerank",
        client=lambda url, asynchronous, retries: _AGENTS(url, retries),
        call=rerank,
        whole=json_reply({"results": [{"index": 0, "relevanceScore": 0.9}]}),
        model=RERANK,
        usage=(0, 0),
        cost=0.002,
        content=False,
        counted=False,
    ),
    CONVERSE.another(
        "invoke_agent",
        client=lambda url, asynchronous, retries: _AGENTS(url, retries),
        call=ask_agent,
        whole=Reply(200, CONVERSE.stream_type, _ANSWER),
        model=NOVA,
        cost=1000 * 0.06e-6 + 500 * 0.24e-6,
        text=TEXT,
        refused=False,
    ),
)
