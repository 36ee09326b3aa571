"""AI21's client, 3.3 to 4.x: direct, and as a client of Bedrock, Vertex and Azure; speaks OpenAI's chat format.

Client: https://github.com/AI21Labs/ai21-python. API: https://docs.ai21.com/reference.
"""

from __future__ import annotations

import re
from typing import Any

from genledger.engine.content.capture import generic_part, text_part
from genledger.engine.operation import Attributes, Body, Content, Operation, write_texts
from genledger.instrumentation.adapters.response_method import ResponseMethodClient
from genledger.instrumentation.adapters.stainless import posted
from genledger.instrumentation.adapters.wire import WireClient
from genledger.instrumentation.instrumentor import Instrumentor
from genledger.pricing.getters import field
from genledger_semconv import attributes as A
from genledger_semconv import spans as S

from ..formats import openai_batches
from ..formats.audio import answered, asked
from ..formats.openai_chat import CHAT as OPENAI_CHAT
from ..formats.openai_chat import read_input
from ..formats.polled_jobs import JobState, creating, fetching, job_in

CHAT = OPENAI_CHAT._replace(limit=("max_tokens",))
_CLOUDS = {"Bedrock": "aws.bedrock", "Vertex": "gcp.vertex_ai", "Azure": "azure.ai.inference"}


def provider_of(http: Any, host: str) -> str:
    """Return the platform that serves the model and bills the customer."""
    return next((provider for cloud, provider in _CLOUDS.items() if cloud in type(http).__name__), "ai21")


def read_run(body: Body, answer: Any) -> JobState | None:
    """Return the run in an answer. One that asks the application to act has ended: another one goes on."""
    run = job_in(body, answer, answer)
    return run._replace(status="completed") if run and field(answer, "status") == "requires_action" else run


def _run_models(body: Body, attributes: Attributes) -> None:
    models = body.get("models")
    if isinstance(models, list) and len(models) == 1 and isinstance(models[0], str):
        attributes[A.GEN_AI_REQUEST_MODEL] = models[0]


def _run_response(answer: Any, attributes: Attributes) -> None:
    write_texts(answer, (("id", A.GEN_AI_RESPONSE_ID),), attributes)
    acts = field(answer, "status") == "requires_action"
    attributes[A.GEN_AI_RESPONSE_FINISH_REASONS] = ("tool_call" if acts else "stop",)


def _run_input(body: Body) -> Content:
    given = body.get("input")
    if isinstance(given, str):
        return asked([text_part(given)])
    return read_input({"messages": given})


def _run_output(answer: Any) -> Content:
    result = field(answer, "result")
    if result is None:
        return {}
    return answered([text_part(result) if isinstance(result, str) else generic_part({"type": "json", "json": result})])


MAESTRO = Operation(
    name=S.CHAT,
    api="maestro",
    request=_run_models,
    response=_run_response,
    input=_run_input,
    output=_run_output,
    family="inference",
    fixed_model=True,
    hidden_prompt=True,
)
"""A run of Maestro, which plans, calls models and tools, and says nothing of what it consumed."""

_posted = posted({"/chat/completions": CHAT, "/conversational-rag": CHAT, "/maestro/runs": creating(MAESTRO, read_run)})
_RUN = re.compile(r"/maestro/runs/[^/?]+$")
_FETCHED_RUN = fetching("maestro", read_run)


def operation_of(method: str, path: str) -> Operation | None:
    """Return the operation of an endpoint."""
    if method == "get" and _RUN.match(path):
        return _FETCHED_RUN
    return _posted(method, path) or openai_batches.operation_of(method, path)


CLIENT = ResponseMethodClient(
    WireClient("ai21", {}, provider_of),
    operation_of,
    modules=("ai21.http_client.http_client", "ai21.http_client.async_http_client"),
    classes=("AI21HTTPClient", "AsyncAI21HTTPClient"),
    request="execute_http_request",
    attempt="_run_request",
)


class AI21Instrumentor(Instrumentor):
    """Records the calls of the `ai21` package."""

    library = "ai21"
    distribution = "ai21"
    supports = "ai21 >= 3.3, < 5"
    client = CLIENT
