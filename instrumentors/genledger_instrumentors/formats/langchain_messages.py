"""LangChain's runs and messages: what they are, what they say, and the usage that they carry.

https://reference.langchain.com/python/langchain_core/messages/
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from genledger.engine.operation import Endpoint, Operation, integer, text
from genledger.instrumentation.adapters.callbacks import ModelCall, Unit
from genledger.pricing.getters import field
from genledger_semconv import attributes as A
from genledger_semconv import spans as S

GRAPH = "LangGraph"
"""The name of graphs, agents among them, that the application gives none."""

_IS_STEP = re.compile("graph:step:").match
"""What tags of a graph's nodes begin with."""

HIDDEN = "langsmith:hidden"
"""The tag of runs that LangChain itself hides."""


def read_usage(usage: Any) -> dict[str, Any] | None:
    """Return LangChain's `UsageMetadata`, inclusive totals with details, as the Responses format has it."""
    if not isinstance(usage, Mapping):
        return None
    given, made = usage.get("input_token_details") or {}, usage.get("output_token_details") or {}
    return {
        "input_tokens": usage.get("input_tokens"),
        "output_tokens": usage.get("output_tokens"),
        "input_tokens_details": {"cached_tokens": given.get("cache_read") or 0},
        "output_tokens_details": {"reasoning_tokens": made.get("reasoning") or 0},
    }


def is_cached(response: Any) -> bool:
    """Return whether LangChain's cache answered, which says that it cost nothing."""
    usage = field(_message(response), "usage_metadata")
    return isinstance(usage, Mapping) and usage.get("total_cost") == 0


def _message(response: Any) -> Any:
    return field(next(iter(next(iter(field(response, "generations") or ((),)), ())), None), "message")


def read_answer(response: Any) -> dict[str, Any]:
    """Return the first message of an `LLMResult` as an answer: its usage, and the model that it is from."""
    message = _message(response)
    metadata = field(message, "response_metadata")
    metadata = metadata if isinstance(metadata, Mapping) else {}
    model = metadata.get("model_name") or metadata.get("model")
    return {"usage": read_usage(field(message, "usage_metadata")), "model": model}


def read_model_call(more: Mapping[str, Any]) -> ModelCall:
    """Return the call that a model's run is, from the parameters and metadata that a callback is given."""
    parameters = {**(more.get("invocation_params") or {}), **(more.get("metadata") or {})}
    model = parameters.get("ls_model_name") or parameters.get("model") or parameters.get("model_name")
    endpoint = Endpoint(str(parameters.get("ls_provider") or "unknown"))
    return ModelCall(CHAT, "langchain", endpoint, {"model": model, "max_tokens": parameters.get("ls_max_tokens")})


def read_name(serialized: Any, more: Mapping[str, Any], kind: str) -> str:
    """Return the name of a run, from what a callback is given; its kind when it has none."""
    return str(more.get("name") or field(serialized, "name") or kind)


def read_ids(more: Mapping[str, Any]) -> dict[str, Any]:
    """Return the user and the session that the metadata of a run names; a thread is a session, too.

    What is in a run has its metadata, and its attribution.
    """
    if more.get("parent_run_id") is not None:
        return {}
    metadata = more.get("metadata") or {}
    return {"user": metadata.get("user_id"), "session": metadata.get("session_id") or metadata.get("thread_id")}


def read_unit(serialized: Any, more: Mapping[str, Any]) -> Unit:
    """Return what a chain is, from what a callback is given: LangGraph's nodes and LangChain's agents are chains.

    Everything in an agent has the metadata of the agent.
    """
    name, metadata, tags = read_name(serialized, more, "chain"), more.get("metadata") or {}, more.get("tags") or ()
    if metadata.get("langgraph_node") == name and any(map(_IS_STEP, tags)):
        return Unit(name, None, HIDDEN not in tags, {})
    agent = None
    if metadata.get("ls_integration") == "langchain_create_agent":
        known = str(metadata.get("lc_agent_name") or GRAPH)
        agent = known if name == known or more.get("parent_run_id") is None else None
    thread = metadata.get("thread_id")
    return Unit(name, agent, False, {A.GEN_AI_CONVERSATION_ID: str(thread)} if thread else {})


def read_documents(documents: Any) -> list[dict[str, Any]]:
    """Return the documents that a retriever found."""
    return [{"content": field(one, "page_content")} for one in documents or ()]


def read_messages(value: Any, role: str) -> list[dict[str, Any]]:
    """Return what goes into or comes out of a run as messages; what has none is one message of `role`."""
    messages = value.get("messages") if isinstance(value, Mapping) else None
    if not isinstance(messages, (list, tuple)):
        return [{"role": role, "parts": [{"type": "text", "content": str(value)}]}]
    found = []
    for one in messages:
        kind = str(field(one, "type") or role)
        said = {"human": "user", "ai": "assistant"}.get(kind, kind)
        found.append({"role": said, "parts": [{"type": "text", "content": str(field(one, "content") or one)}]})
    return found


CHAT = Operation(
    name=S.CHAT,
    api="responses",
    fields={"model": (A.GEN_AI_REQUEST_MODEL, text), "max_tokens": (A.GEN_AI_REQUEST_MAX_TOKENS, integer)},
    family="inference",
)
"""A model's run that no instrumented client made."""
