"""LlamaIndex's spans: which of them are steps, and what those are given and return.

LlamaIndex has a span for each decorated method, private ones too. Its id names the class and the method.
https://developers.llamaindex.ai/python/framework/module_guides/observability/instrumentation/
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from functools import lru_cache
from typing import Any, NamedTuple

from genledger.engine.content.capture import text_part
from genledger.engine.operation import Content, Endpoint, Operation, text
from genledger.engine.steps import Kind
from genledger.instrumentation.adapters.callbacks import ModelCall
from genledger.pricing.getters import field
from genledger_semconv import attributes as A
from genledger_semconv import spans as S

_UUID = len("-00000000-0000-0000-0000-000000000000")

_METHODS: Mapping[str, tuple[Kind, frozenset[str]]] = {
    "BaseWorkflowAgent": ("agent", frozenset({"run"})),
    "Workflow": ("workflow", frozenset({"run"})),
    "BaseQueryEngine": ("workflow", frozenset({"query", "aquery"})),
    "BaseChatEngine": ("workflow", frozenset({"chat", "achat", "stream_chat", "astream_chat"})),
    "IngestionPipeline": ("workflow", frozenset({"run", "arun"})),
    "BaseRetriever": ("retrieval", frozenset({"retrieve", "aretrieve"})),
    "BaseTool": ("tool", frozenset({"__call__", "call", "acall"})),
    "BaseNodePostprocessor": ("task", frozenset({"_postprocess_nodes", "_apostprocess_nodes"})),
}
"""The methods that are steps, by the class that they are of. The rest is plumbing."""

_HIDDEN_STEPS = frozenset(
    {"_done", "init_run", "setup_agent", "run_agent_step", "parse_agent_output", "aggregate_tool_results"}
)
"""Steps of the workflow that every agent is, and the one by which older versions end a run."""


class SpanName(NamedTuple):
    """Class and method of a span."""

    cls: str
    method: str


class SpanStep(NamedTuple):
    """What is known of the step that a span is; `arguments` are a tool's."""

    kind: Kind
    name: str
    attributes: Mapping[str, Any] = {}
    content: Content | Callable[[], Content] | None = None
    arguments: object = None


def name_of(span: str | None) -> SpanName:
    """Return what a span is of, by its id."""
    owner, _, method = (span or "")[:-_UUID].rpartition(".")
    return SpanName(owner.rpartition(".")[2], method)


@lru_cache(1024)
def _kind(classes: tuple[type, ...], method: str) -> Kind | None:
    """Return what a method of a class, with those that it inherits from, does; `None` for plumbing."""
    for base in classes:
        found = _METHODS.get(base.__name__)
        if found is not None:
            kind, methods = found
            hidden = kind == "task" and "rerank" not in classes[0].__name__.lower()
            return kind if method in methods and not hidden else None
    return None


def read_span(
    span: str, parent: str | None, instance: Any, given: Mapping[str, Any], tags: Any, *, in_workflow: bool
) -> SpanStep | None:
    """Return the step that a span is; `None` for plumbing. What is right in a workflow's run is one of its steps."""
    name, around = name_of(span), name_of(parent)
    if in_workflow:
        return _workflow_step(name, next((one for one in given.values() if hasattr(one, "tool_name")), None))
    kind = _kind(type(instance).__mro__, name.method)
    if kind is None or (around.cls == name.cls and _kind(type(instance).__mro__, around.method) == kind):
        return None
    attributes: dict[str, Any] = {A.GEN_AI_CONVERSATION_ID: _tag(tags, "conversation_id", "thread_id")}
    if kind == "agent":
        attributes[A.GEN_AI_AGENT_DESCRIPTION] = getattr(instance, "description", None)
        return SpanStep(kind, str(getattr(instance, "name", None) or name.cls), attributes, lambda: _asked(given))
    if kind == "tool":
        return None if around.method == "call_tool" else _tool(instance, given)
    if kind == "retrieval":
        return SpanStep(kind, name.cls, {}, lambda: {A.GEN_AI_RETRIEVAL_QUERY_TEXT: _text(next(iter(given.values())))})
    return SpanStep(kind, name.cls, attributes if kind == "workflow" else {}, lambda: _asked(given))


def read_ids(tags: Any) -> dict[str, Any]:
    """Return the user and the session that the application's tags name."""
    return {"user": _tag(tags, "user_id"), "session": _tag(tags, "session_id", "thread_id", "conversation_id")}


def read_agent(workflow: Any, name: str) -> SpanStep:
    """Return the turn of an agent in a workflow of many."""
    agent = (getattr(workflow, "agents", None) or {}).get(name)
    return SpanStep("agent", name, {A.GEN_AI_AGENT_DESCRIPTION: getattr(agent, "description", None)})


def read_result(kind: Kind, result: Any) -> Content:
    """Return the content of a step that has ended."""
    if result is None:
        return {}
    if kind == "retrieval":
        return {A.GEN_AI_RETRIEVAL_DOCUMENTS: _documents(result)}
    if kind == "tool":
        output = getattr(result, "tool_output", result)
        return {A.GEN_AI_TOOL_CALL_RESULT: {"result": str(getattr(output, "content", output))}}
    if kind == "task":
        return {A.GENLEDGER_TASK_RESULT: {"documents": _documents(result)}} if isinstance(result, list) else {}
    if hasattr(result, "response_gen"):
        return {}
    answer = getattr(result, "result", result)
    answer = getattr(answer, "response", answer)
    said = {"role": "assistant", "parts": [text_part(_text(answer))], "finish_reason": "stop"}
    return {A.GEN_AI_OUTPUT_MESSAGES: [said]}


def stream_in(result: Any) -> str | None:
    """Return the name of the generator in an answer that the application is still to read.

    Before 0.14.19, that is the stream of a chat, too, where nothing of LlamaIndex's reads it.
    """
    held = vars(result) if hasattr(result, "__dict__") else {}
    names = ["response_gen"]
    if held.get("is_writing_to_memory") is False:
        names += ["chat_stream", "achat_stream"]
    streams = ((name, held.get(name)) for name in names)
    return next((name for name, one in streams if inspect.isgenerator(one) or inspect.isasyncgen(one)), None)


def is_streamed_chat(result: Any) -> bool:
    """Return whether a chat's answer is streamed: a thread or task of LlamaIndex's reads it."""
    return type(result).__name__ == "StreamingAgentChatResponse"


def read_error(result: Any) -> BaseException | None:
    """Return what a tool failed with, as it says in its result."""
    error = getattr(getattr(result, "tool_output", result), "exception", None)
    return error if isinstance(error, BaseException) else None


def read_model_call(event: Any) -> ModelCall:
    """Return the call that a model's event says has begun."""
    asked = field(event, "model_dict") or {}
    provider = str(asked.get("class_name") or "unknown").lower()
    return ModelCall(CHAT, "llama-index", Endpoint(provider), {"model": asked.get("model")})


def read_answer(response: Any) -> dict[str, Any]:
    """Return an answer: its usage, as the provider gives it or in LlamaIndex's words, and the model that it is from."""
    raw, own = field(response, "raw"), field(response, "additional_kwargs") or {}
    usage = field(raw, "usage")
    if usage is None and own.get("total_tokens") is not None:
        usage = {name: own.get(name) for name in ("prompt_tokens", "completion_tokens", "total_tokens")}
    return {"usage": usage, "model": field(raw, "model")}


def _workflow_step(name: SpanName, event: Any) -> SpanStep | None:
    if name.method in _HIDDEN_STEPS:
        return None
    tool = getattr(event, "tool_name", None) if name.method == "call_tool" else None
    if tool is None:
        return SpanStep("task", name.method)
    arguments = getattr(event, "tool_kwargs", None)
    if tool == "handoff":
        return SpanStep("task", tool, {}, {A.GENLEDGER_TASK_ARGUMENTS: arguments})
    attributes = {A.GEN_AI_TOOL_CALL_ID: getattr(event, "tool_id", None)}
    return SpanStep("tool", str(tool), attributes, {A.GEN_AI_TOOL_CALL_ARGUMENTS: arguments}, arguments)


def _tool(tool: Any, given: Mapping[str, Any]) -> SpanStep:
    metadata = getattr(tool, "metadata", None)
    arguments = {**given, **(given.get("kwargs") or {})}
    arguments.pop("kwargs", None)
    name = str(getattr(metadata, "name", None) or type(tool).__name__)
    attributes = {A.GEN_AI_TOOL_DESCRIPTION: getattr(metadata, "description", None)}
    return SpanStep("tool", name, attributes, {A.GEN_AI_TOOL_CALL_ARGUMENTS: arguments}, arguments)


def _asked(given: Mapping[str, Any]) -> Content:
    start = given.get("start_event")
    asked = getattr(start, "user_msg", None) or start or next(iter(given.values()), None)
    return {A.GEN_AI_INPUT_MESSAGES: asked and [{"role": "user", "parts": [text_part(_text(asked))]}]}


def _text(value: Any) -> str:
    for name in ("query_str", "content", "text"):
        found = getattr(value, name, None)
        if isinstance(found, str):
            return found
    dump = getattr(value, "model_dump", None)
    return str(value if dump is None else dump())


def _documents(nodes: Any) -> list[dict[str, Any]]:
    return [
        {
            "id": getattr(one, "node_id", None),
            "content": getattr(one, "text", None),
            "score": getattr(one, "score", None),
        }
        for one in nodes
    ]


def _tag(tags: Any, *names: str) -> str:
    return next((str(tags[name]) for name in names if tags.get(name)), "")


CHAT = Operation(name=S.CHAT, api="chat", fields={"model": (A.GEN_AI_REQUEST_MODEL, text)}, family="inference")
"""A model's call that no instrumented client made."""
