"""Amazon SageMaker's endpoints in boto3 and botocore, 1.37 to 1.x, and in aiobotocore.

https://docs.aws.amazon.com/sagemaker/latest/APIReference/API_Operations_Amazon_SageMaker_Runtime.html

An endpoint serves a model of the customer's own, in a container that speaks any format: what asks for text or
vectors is recorded. It is billed by the hour, so a call costs what the customer's own price says.
"""

from __future__ import annotations

import re
from collections.abc import Mapping

from genledger.engine.operation import Body, Operation, text, write_texts
from genledger.instrumentation.adapters.botocore import ServiceClients, ServiceOperation, lines
from genledger.instrumentation.instrumentor import Instrumentor
from genledger_semconv import attributes as A
from genledger_semconv import spans as S

from ..formats.openai_chat import CHAT, COMPLETIONS
from ..formats.text_generation import EMBED, GENERATED, TEXT_GENERATION

_EMBEDS = re.compile(r"embed", re.IGNORECASE)

_BY_FIELD: Mapping[str, Operation] = {
    "messages": CHAT._replace(fixed_model=True, limit=("max_tokens", "max_completion_tokens")),
    "prompt": COMPLETIONS._replace(fixed_model=True),
    "inputs": TEXT_GENERATION._replace(fixed_model=True),
}
"""Formats, by a field of their documents."""


def served_later(body: Body) -> Operation | None:
    """Return what is asked of an endpoint that answers into a bucket: a document in a bucket may ask for anything."""
    return _LATER if "InputLocation" in body or served(body) is not None else None


def served(body: Body) -> Operation | None:
    """Return what a document asks of an endpoint; `None` for one that asks for no text: of other machine learning."""
    operation = next((one for name, one in _BY_FIELD.items() if name in body), None)
    return _EMBED if operation is not None and _EMBEDS.search(str(body.get("model"))) else operation


_EMBED = EMBED._replace(fixed_model=True)

_LATER = Operation(
    name=S.GENERATE_CONTENT,
    api="text_generation",
    fields={"model": (A.GEN_AI_REQUEST_MODEL, text)},
    response=lambda answer, attributes: write_texts(answer, (("InferenceId", A.GEN_AI_RESPONSE_ID),), attributes),
    family="inference",
    fixed_model=True,
)
"""An invocation whose answer goes into a bucket, and what it consumed with it: it is one request."""

_MODELS = ("TargetModel", "InferenceComponentName", "EndpointName")

CLIENTS = ServiceClients(
    library="sagemaker",
    provider="aws.sagemaker",
    operations={
        ("sagemaker-runtime", "InvokeEndpoint"): ServiceOperation(served, _MODELS, document="Body", listed=GENERATED),
        ("sagemaker-runtime", "InvokeEndpointAsync"): ServiceOperation(served_later, _MODELS, document="Body"),
        ("sagemaker-runtime", "InvokeEndpointWithResponseStream"): ServiceOperation(
            served, _MODELS, document="Body", stream="Body", messages=lines
        ),
    },
)


class SageMakerInstrumentor(Instrumentor):
    """Records the calls of SageMaker's endpoints by clients of AWS."""

    library = "sagemaker"
    distribution = "botocore"
    supports = "botocore >= 1.37, < 2"
    client = CLIENTS
