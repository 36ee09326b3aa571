"""LangChain and LangGraph, through LangChain's own configure hook: every way of calling, every thread.

https://reference.langchain.com/python/langchain_core/callbacks/
"""

from __future__ import annotations

import sys
from collections.abc import Mapping
from contextvars import ContextVar
from types import ModuleType
from typing import Any

from genledger.engine.operation import Endpoint, Operation, integer, text
from genledger.engine.parents import add_resolver, remove_resolver
from genledger.instrumentation.adapters.callbacks import Runs, guarded
from genledger.instrumentation.instrumentor import Instrumentor
from genledger.instrumentation.patching import Hook, Patches
from genledger.pricing.getters import field
from genledger_instrumentors.formats.langchain_messages import read_messages, read_model, read_usage
from genledger_semconv import attributes as A
from genledger_semconv import spans as S

HIDDEN = "langsmith:hidden"
"""The tag of runs that LangChain itself hides."""


def current_run() -> Any:
    """Return the id of the run that is current here, from LangChain's own context variable."""
    config = sys.modules["langchain_core.runnables.config"].var_child_runnable_config.get()
    callbacks = config.get("callbacks") if config else None
    return getattr(callbacks, "parent_run_id", None)


RUNS = Runs(current_run)

CHAT = Operation(
    name=S.CHAT,
    api="responses",
    fields={"model": (A.GEN_AI_REQUEST_MODEL, text), "max_tokens": (A.GEN_AI_REQUEST_MAX_TOKENS, integer)},
    family="inference",
)
"""A model's run that no instrumented client made."""


class Callbacks:
    """What LangChain calls; mixed into its `BaseCallbackHandler` once that is imported."""

    run_inline = True

    def on_chain_start(self, serialized: Any, inputs: Any, *, run_id: Any, **more: Any) -> None:
        """Begin a workflow, an agent or a task; hide plumbing."""
        metadata, tags = more.get("metadata") or {}, more.get("tags") or ()
        name = str(more.get("name") or field(serialized, "name") or "chain")
        node = metadata.get("langgraph_node")
        conversation = metadata.get("thread_id")
        attributes = {A.GEN_AI_CONVERSATION_ID: str(conversation)} if conversation else None
        content = {A.GEN_AI_INPUT_MESSAGES: read_messages(inputs, "user")}
        if metadata.get("ls_integration") == "langchain_create_agent" and not node:
            agent = str(metadata.get("lc_agent_name") or name)
            RUNS.start(run_id, more.get("parent_run_id"), "agent", agent, attributes, content)
        elif more.get("parent_run_id") is None:
            RUNS.start(run_id, None, "workflow", name, attributes, content)
        elif node and name == node and HIDDEN not in tags:
            RUNS.start(run_id, more.get("parent_run_id"), "task", name)
        else:
            RUNS.hide(run_id, more.get("parent_run_id"))

    def on_chain_end(self, outputs: Any, *, run_id: Any, **more: Any) -> None:
        """End it."""
        RUNS.end(run_id, content={A.GEN_AI_OUTPUT_MESSAGES: read_messages(outputs, "assistant")})

    def on_tool_start(self, serialized: Any, input_str: str, *, run_id: Any, **more: Any) -> None:
        """Begin a tool's run."""
        name = str(more.get("name") or field(serialized, "name") or "tool")
        call_id = more.get("tool_call_id")
        attributes = {A.GEN_AI_TOOL_CALL_ID: str(call_id)} if call_id else None
        content = {A.GEN_AI_TOOL_CALL_ARGUMENTS: more.get("inputs") or input_str}
        RUNS.start(run_id, more.get("parent_run_id"), "tool", name, attributes, content)

    def on_tool_end(self, output: Any, *, run_id: Any, **more: Any) -> None:
        """End it."""
        RUNS.end(run_id, content={A.GEN_AI_TOOL_CALL_RESULT: str(field(output, "content") or output)})

    def on_retriever_start(self, serialized: Any, query: str, *, run_id: Any, **more: Any) -> None:
        """Begin a retrieval."""
        name = str(more.get("name") or field(serialized, "name") or "retriever")
        RUNS.start(run_id, more.get("parent_run_id"), "retrieval", name, None, {A.GEN_AI_RETRIEVAL_QUERY_TEXT: query})

    def on_retriever_end(self, documents: Any, *, run_id: Any, **more: Any) -> None:
        """End it."""
        found = [{"content": field(one, "page_content")} for one in documents or ()]
        RUNS.end(run_id, content={A.GEN_AI_RETRIEVAL_DOCUMENTS: found})

    def on_error(self, error: BaseException, *, run_id: Any, **more: Any) -> None:
        """End a run that failed; what interrupts a graph on purpose is no failure."""
        interrupts = any(kind.__name__ == "GraphBubbleUp" for kind in type(error).__mro__)
        RUNS.end(run_id, None if interrupts else error)

    def on_model_start(self, serialized: Any, prompts: Any, *, run_id: Any, **more: Any) -> None:
        """Note a model's run; the client that it calls records it."""
        RUNS.start_model(run_id, more.get("parent_run_id"))
        _ASKED[run_id] = {**(more.get("invocation_params") or {}), **(more.get("metadata") or {})}

    def on_llm_end(self, response: Any, *, run_id: Any, **more: Any) -> None:
        """Price the model's own usage where no client was seen."""
        message = field(next(iter(next(iter(field(response, "generations") or ((),)), ())), None), "message")
        _end_model(run_id, {"usage": read_usage(field(message, "usage_metadata")), "model": read_model(message)})

    def on_llm_error(self, error: BaseException, *, run_id: Any, **more: Any) -> None:
        """Note that the model failed."""
        _end_model(run_id, None, error)


_ASKED: dict[Any, Mapping[str, Any]] = {}


def _end_model(run: Any, answer: Any, error: BaseException | None = None) -> None:
    asked = _ASKED.pop(run, {})
    model = asked.get("ls_model_name") or asked.get("model") or asked.get("model_name")
    provider = str(asked.get("ls_provider") or "unknown")
    body = {"model": model, "max_tokens": asked.get("ls_max_tokens")}
    RUNS.end_model(
        run, answer, operation=CHAT, library="langchain", endpoint=Endpoint(provider), body=body, error=error
    )


_NAMES = {
    **{f"on_{kind}_error": "on_error" for kind in ("chain", "tool", "retriever")},
    **dict.fromkeys(("on_llm_start", "on_chat_model_start"), "on_model_start"),
}


def handler_of(base: ModuleType) -> Any:
    """Return a callback handler, made with the `BaseCallbackHandler` of LangChain's module of that name."""
    names = [name for name in vars(Callbacks) if name.startswith("on_")]
    calls = {name: getattr(Callbacks(), name) for name in names}
    calls |= {name: calls[act] for name, act in _NAMES.items()}
    methods = {name: staticmethod(guarded("langchain", call)) for name, call in calls.items()}
    return type("GenledgerCallbackHandler", (base.BaseCallbackHandler,), {**methods, "run_inline": True})()


def install(module: ModuleType) -> None:
    """Register a handler for every run; LangChain has no way to take it back, so it is registered once."""
    add_resolver(RUNS.resolve)
    if not hasattr(module, "_genledger"):
        handler = handler_of(sys.modules["langchain_core.callbacks.base"])
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
