"""LangChain and LangGraph, through LangChain's own configure hook: every way of calling, every thread.

https://reference.langchain.com/python/langchain_core/callbacks/
"""

from __future__ import annotations

import sys
from contextvars import ContextVar
from types import ModuleType
from typing import Any

from genledger.engine.operation import Endpoint
from genledger.engine.parents import add_resolver, remove_resolver
from genledger.instrumentation.adapters.callbacks import ModelCall, Runs, guarded
from genledger.instrumentation.instrumentor import Instrumentor
from genledger.instrumentation.patching import Hook, Patches
from genledger.pricing.getters import field
from genledger_semconv import attributes as A

from ..formats.langchain_messages import CHAT, read_answer, read_messages, read_name, read_request

HIDDEN = "langsmith:hidden"
"""The tag of runs that LangChain itself hides."""


def current_run() -> Any:
    """Return the id of the run that is current here, from LangChain's own context variable."""
    config = sys.modules["langchain_core.runnables.config"].var_child_runnable_config.get()
    callbacks = config.get("callbacks") if config else None
    return getattr(callbacks, "parent_run_id", None)


RUNS = Runs(current_run)


@guarded("langchain")
class Callbacks:
    """Callbacks for LangChain, mixed into its `BaseCallbackHandler` once that is imported."""

    run_inline = True

    def on_chain_start(self, serialized: Any, inputs: Any, *, run_id: Any, **more: Any) -> None:
        """Begin a workflow, an agent or a task; hide plumbing."""
        metadata, parent, name = (
            more.get("metadata") or {},
            more.get("parent_run_id"),
            read_name(serialized, more, "chain"),
        )
        node, conversation = metadata.get("langgraph_node"), metadata.get("thread_id")
        attributes = {A.GEN_AI_CONVERSATION_ID: str(conversation)} if conversation else None
        content = {A.GEN_AI_INPUT_MESSAGES: read_messages(inputs, "user")}
        if metadata.get("ls_integration") == "langchain_create_agent" and not node:
            agent = str(metadata.get("lc_agent_name") or name)
            RUNS.start(run_id, parent, "agent", agent, attributes, content)
        elif parent is None:
            RUNS.start(run_id, None, "workflow", name, attributes, content)
        elif node and name == node and HIDDEN not in (more.get("tags") or ()):
            RUNS.start(run_id, parent, "task", name)
        else:
            RUNS.hide(run_id, parent)

    def on_chain_end(self, outputs: Any, *, run_id: Any, **more: Any) -> None:
        """End it."""
        RUNS.end(run_id, content={A.GEN_AI_OUTPUT_MESSAGES: read_messages(outputs, "assistant")})

    def on_tool_start(self, serialized: Any, input_str: str, *, run_id: Any, **more: Any) -> None:
        """Begin a tool's run."""
        call_id = more.get("tool_call_id")
        attributes = {A.GEN_AI_TOOL_CALL_ID: str(call_id)} if call_id else None
        content = {A.GEN_AI_TOOL_CALL_ARGUMENTS: more.get("inputs") or input_str}
        RUNS.start(run_id, more.get("parent_run_id"), "tool", read_name(serialized, more, "tool"), attributes, content)

    def on_tool_end(self, output: Any, *, run_id: Any, **more: Any) -> None:
        """End it."""
        RUNS.end(run_id, content={A.GEN_AI_TOOL_CALL_RESULT: str(field(output, "content") or output)})

    def on_retriever_start(self, serialized: Any, query: str, *, run_id: Any, **more: Any) -> None:
        """Begin a retrieval."""
        content = {A.GEN_AI_RETRIEVAL_QUERY_TEXT: query}
        name = read_name(serialized, more, "retriever")
        RUNS.start(run_id, more.get("parent_run_id"), "retrieval", name, None, content)

    def on_retriever_end(self, documents: Any, *, run_id: Any, **more: Any) -> None:
        """End it."""
        found = [{"content": field(one, "page_content")} for one in documents or ()]
        RUNS.end(run_id, content={A.GEN_AI_RETRIEVAL_DOCUMENTS: found})

    def on_chain_error(self, error: BaseException, *, run_id: Any, **more: Any) -> None:
        """End a run that failed; what interrupts a graph on purpose is no failure."""
        interrupts = any(kind.__name__ == "GraphBubbleUp" for kind in type(error).__mro__)
        RUNS.end(run_id, None if interrupts else error)

    def on_llm_start(self, serialized: Any, prompts: Any, *, run_id: Any, **more: Any) -> None:
        """Note a model's run; the client that it calls records it, else its own usage is priced."""
        provider, body = read_request({**(more.get("invocation_params") or {}), **(more.get("metadata") or {})})
        RUNS.start_model(run_id, more.get("parent_run_id"), ModelCall(CHAT, "langchain", Endpoint(provider), body))

    def on_llm_end(self, response: Any, *, run_id: Any, **more: Any) -> None:
        """Note what the model answered."""
        RUNS.end_model(run_id, read_answer(response))

    def on_llm_error(self, error: BaseException, *, run_id: Any, **more: Any) -> None:
        """Note that the model failed."""
        RUNS.end_model(run_id, error=error)

    on_tool_error = on_retriever_error = on_chain_error
    on_chat_model_start = on_llm_start


def install(module: ModuleType) -> None:
    """Register a handler for every run; LangChain has no way to take it back, so it is registered once."""
    add_resolver(RUNS.resolve)
    if not hasattr(module, "_genledger"):
        base = sys.modules["langchain_core.callbacks.base"].BaseCallbackHandler
        handler = type("GenledgerCallbackHandler", (Callbacks, base), {})()
        variable: ContextVar[Any] = ContextVar("genledger-langchain-handler", default=handler)
        module.register_configure_hook(variable, True)
        module._genledger = variable  # type: ignore[attr-defined]


def remove(module: ModuleType) -> None:
    """Ask for no more parents; the handler does nothing while nothing is recorded."""
    remove_resolver(RUNS.resolve)


class LangChainInstrumentor(Instrumentor):
    """Records the structure of LangChain's and LangGraph's runs."""

    library = "langchain"
    distribution = "langchain-core"
    supports = "langchain-core >= 0.3.63, < 2"

    def patches(self) -> Patches:
        """Return the hook that adds our handler."""
        return [Hook("langchain_core.tracers.context", install, remove)]
