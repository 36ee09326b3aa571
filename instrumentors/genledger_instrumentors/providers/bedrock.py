"""Amazon Bedrock's clients in boto3 and botocore, 1.37 to 1.x, and in aiobotocore, which aioboto3 builds on.

https://docs.aws.amazon.com/bedrock/latest/APIReference/API_Operations_Amazon_Bedrock_Runtime.html
"""

from __future__ import annotations

import re
from collections.abc import Mapping

from genledger.engine.operation import Body, Operation, at_path, text
from genledger.instrumentation.adapters.botocore import ServiceClients, ServiceOperation, documents
from genledger.instrumentation.instrumentor import Instrumentor
from genledger_semconv import attributes as A

from ..formats import async_invoke
from ..formats.anthropic_messages import COUNT_TOKENS, MESSAGES
from ..formats.bedrock_agents import INVOKE_AGENT, INVOKE_FLOW, INVOKE_INLINE_AGENT
from ..formats.bedrock_guardrails import APPLY_GUARDRAIL
from ..formats.converse import CONVERSE
from ..formats.invoke_model import CHAT_DOCUMENTS, EMBEDDINGS, GENERATION, IMAGES, RERANK
from ..formats.knowledge_bases import AGENTIC_RETRIEVE, MODELS, RERANKERS, generation, retrieval

_BY_MODEL: tuple[tuple[re.Pattern[str], Operation], ...] = (
    (re.compile(r"embed"), EMBEDDINGS),
    (re.compile(r"rerank"), RERANK),
    (re.compile(r"nova-canvas|image|(^|[./])stability\."), IMAGES),
    (re.compile(r"amazon\.nova-"), CONVERSE),
)
"""Families of models that their names tell."""

_BY_FIELD: Mapping[str, Operation] = {
    "anthropic_version": MESSAGES,
    "inferenceConfig": CONVERSE,
    "inputText": GENERATION,
    "inputPrompt": GENERATION,
    "prompt": GENERATION,
    "messages": CHAT_DOCUMENTS,
    "query": RERANK,
    "texts": EMBEDDINGS,
}
"""Families that a field of their documents tells: the name of a profile of the customer's own says nothing."""


def _family(body: Body) -> Operation:
    name = str(body.get("model"))
    by_name = (operation for pattern, operation in _BY_MODEL if pattern.search(name))
    by_field = (operation for marker, operation in _BY_FIELD.items() if marker in body)
    return next(by_name, None) or next(by_field, GENERATION)


def invoked(body: Body) -> Operation:
    """Return what a document asks of a model, by the model's family."""
    operation = _family(body)
    if not operation.inference:
        return operation
    fields = {**operation.fields, "guardrailIdentifier": (A.AWS_BEDROCK_GUARDRAIL_ID, text)}
    if operation is MESSAGES or operation is CONVERSE:
        return operation._replace(fields=fields)
    # The name of a limit differs from model to model, and one that a model does not know makes it refuse the request.
    known = tuple(name for name in operation.limit if at_path(body, name) is not None)
    return operation._replace(fields=fields, limit=known)


_RUNTIME: Mapping[str, ServiceOperation] = {
    "Converse": ServiceOperation(lambda body: CONVERSE),
    "ConverseStream": ServiceOperation(lambda body: CONVERSE, stream="stream"),
    "InvokeModel": ServiceOperation(invoked, document="body"),
    "InvokeModelWithResponseStream": ServiceOperation(invoked, document="body", stream="body", messages=documents),
    "CountTokens": ServiceOperation(lambda body: COUNT_TOKENS),
    "ApplyGuardrail": ServiceOperation(lambda body: APPLY_GUARDRAIL),
    "InvokeGuardrailChecks": ServiceOperation(lambda body: APPLY_GUARDRAIL),
    "StartAsyncInvoke": ServiceOperation(lambda body: async_invoke.START),
    "GetAsyncInvoke": ServiceOperation(lambda body: async_invoke.GET),
}

_AGENT_RUNTIME: Mapping[str, ServiceOperation] = {
    "InvokeAgent": ServiceOperation(lambda body: INVOKE_AGENT, stream="completion"),
    "InvokeInlineAgent": ServiceOperation(lambda body: INVOKE_INLINE_AGENT, ("foundationModel",), stream="completion"),
    "InvokeFlow": ServiceOperation(lambda body: INVOKE_FLOW, stream="responseStream"),
    "Retrieve": ServiceOperation(retrieval, RERANKERS),
    "AgenticRetrieveStream": ServiceOperation(lambda body: AGENTIC_RETRIEVE, stream="stream"),
    "RetrieveAndGenerate": ServiceOperation(generation, MODELS),
    "RetrieveAndGenerateStream": ServiceOperation(generation, MODELS, stream="stream"),
    "Rerank": ServiceOperation(
        lambda body: RERANK, ("rerankingConfiguration.bedrockRerankingConfiguration.modelConfiguration.modelArn",)
    ),
}

CLIENTS = ServiceClients(
    library="bedrock",
    provider="aws.bedrock",
    operations={
        **{("bedrock-runtime", name): operation for name, operation in _RUNTIME.items()},
        **{("bedrock-agent-runtime", name): operation for name, operation in _AGENT_RUNTIME.items()},
    },
)


class BedrockInstrumentor(Instrumentor):
    """Records the calls of Bedrock by clients of AWS."""

    library = "bedrock"
    distribution = "botocore"
    supports = "botocore >= 1.37, < 2"
    client = CLIENTS
