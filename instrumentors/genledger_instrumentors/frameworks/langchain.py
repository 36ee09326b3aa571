"""LangChain and LangGraph, through LangChain's own configure hook: every way of calling, every thread.

https://reference.langchain.com/python/langchain_core/callbacks/
"""

from __future__ import annotations

import sys
from contextvars import ContextVar
from importlib import import_module
from types import ModuleType
from typing import Any

from genledger.engine.parents import add_resolver
from genledger.engine.steps import tool_signature
from genledger.instrumentation.adapters.callbacks import Runs, guarded
from genledger.instrumentation.adapters.refusals import (
    never_for_refusals,
    passing_refusals,
    raising_refusals,
    uncaught_refusals,
    unretried,
)
from genledger.instrumentation.instrumentor import Instrumentor
from genledger.instrumentation.patching import Patch, Patches
from genledger.pricing.getters import field
from genledger_semconv import attributes as A

from ..formats.langchain_messages import (
    is_cached,
    read_answer,
    read_documents,
    read_ids,
    read_messages,
    read_model_call,
    read_name,
    read_unit,
)


def current_run() -> Any:
    """Return the id of the run that is current here, from LangChain's own context variable."""
    config = sys.modules["langchain_core.runnables.config"].var_child_runnable_config.get()
    callbacks = config.get("callbacks") if config else None
    return getattr(callbacks, "parent_run_id", None)


RUNS = Runs(current_run)


@guarded("langchain")
class Callbacks:
    """Callbacks for LangChain, mixed into its `BaseCallbackHandler` once that is imported."""

    def on_chain_start(self, serialized: Any, inputs: Any, *, run_id: Any, **more: Any) -> None:
        """Begin a workflow, an agent or a task."""
        RUNS.start_unit(
            run_id,
            more.get("parent_run_id"),
            read_unit(serialized, more),
            lambda: {A.GEN_AI_INPUT_MESSAGES: read_messages(inputs, "user")},
            **read_ids(more),
        )

    def on_chain_end(self, outputs: Any, *, run_id: Any, **more: Any) -> None:
        """End it."""
        RUNS.end(run_id, content=lambda: {A.GEN_AI_OUTPUT_MESSAGES: read_messages(outputs, "assistant")})

    def on_tool_start(self, serialized: Any, input_str: str, *, run_id: Any, **more: Any) -> None:
        """Begin a tool's run."""
        name = read_name(serialized, more, "tool")
        RUNS.start(
            run_id,
            more.get("parent_run_id"),
            "tool",
            name,
            {A.GEN_AI_TOOL_CALL_ID: str(more.get("tool_call_id") or "")},
            {A.GEN_AI_TOOL_CALL_ARGUMENTS: more.get("inputs") or input_str},
            signature=tool_signature(name, more.get("inputs") or input_str),
            **read_ids(more),
        )

    def on_tool_end(self, output: Any, *, run_id: Any, **more: Any) -> None:
        """End it."""
        RUNS.end(run_id, content=lambda: {A.GEN_AI_TOOL_CALL_RESULT: str(field(output, "content") or output)})

    def on_retriever_start(self, serialized: Any, query: str, *, run_id: Any, **more: Any) -> None:
        """Begin a retrieval."""
        content = {A.GEN_AI_RETRIEVAL_QUERY_TEXT: query}
        name = read_name(serialized, more, "retriever")
        RUNS.start(run_id, more.get("parent_run_id"), "retrieval", name, None, content, **read_ids(more))
        RUNS.enter(run_id)

    def on_retriever_end(self, documents: Any, *, run_id: Any, **more: Any) -> None:
        """End it."""
        RUNS.end(run_id, content=lambda: {A.GEN_AI_RETRIEVAL_DOCUMENTS: read_documents(documents)})

    def on_chain_error(self, error: BaseException, *, run_id: Any, **more: Any) -> None:
        """End a run that failed; what interrupts a graph on purpose is no failure."""
        interrupts = any(kind.__name__ == "GraphBubbleUp" for kind in type(error).__mro__)
        RUNS.end(run_id, None if interrupts else error)

    def on_llm_start(self, serialized: Any, prompts: Any, *, run_id: Any, **more: Any) -> None:
        """Note a model's run; the client that it calls records it, else its own usage is priced."""
        RUNS.start_model(run_id, more.get("parent_run_id"), read_model_call(more))

    def on_llm_end(self, response: Any, *, run_id: Any, **more: Any) -> None:
        """Note what the model answered."""
        RUNS.end_model(run_id, read_answer(response), cached=is_cached(response))

    def on_llm_error(self, error: BaseException, *, run_id: Any, **more: Any) -> None:
        """Note that the model failed."""
        RUNS.end_model(run_id, error=error)

    on_tool_error = on_retriever_error = on_chain_error
    on_chat_model_start = on_llm_start


def entering(wrapped: Any, instance: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
    """Wrap what calls back in other threads: the runs that it begins are entered here, where they go on."""

    async def entered() -> Any:
        managers = await wrapped(*args, **kwargs)
        RUNS.enter(*(one.run_id for one in (managers if isinstance(managers, list) else [managers])))
        return managers

    return entered()


def make_handler(**attributes: Any) -> Any:
    """Return a new handler of LangChain's callbacks, with attributes of its class."""
    base = import_module("langchain_core.callbacks.base").BaseCallbackHandler
    return type("GenledgerCallbackHandler", (Callbacks, base), attributes)()


def register(module: ModuleType) -> Any:
    """Register a handler for every run; returns what LangChain must find alive."""
    kinds = ("llm", "chat_model", "chain", "agent", "retriever")
    ours = make_handler(**{f"ignore_{kind}": property(lambda self: not RUNS.hooked) for kind in kinds})
    variable: ContextVar[Any] = ContextVar("genledger-langchain-handler", default=ours)
    module.register_configure_hook(variable, True)
    return variable


_CALLBACKS = "langchain_core.callbacks.manager"
_MIDDLEWARE = "langchain.agents.middleware"


class LangChainInstrumentor(Instrumentor):
    """Records the structure of LangChain's and LangGraph's runs."""

    library = "langchain"
    distribution = "langchain-core"
    supports = "langchain-core >= 0.3.63, < 2"

    @staticmethod
    def handler() -> Any:
        """Return a handler for an application that passes it to LangChain: asynchronous runs call it in place."""
        add_resolver(RUNS.resolve)
        return make_handler(run_inline=True)

    def patches(self) -> Patches:
        """Return the hook that adds our handler, and what keeps refusals from being retried."""
        starts = ("on_llm_start", "on_chat_model_start", "on_retriever_start")
        return [
            RUNS.hook("langchain_core.tracers.context", register),
            *(Patch(_CALLBACKS, f"AsyncCallbackManager.{name}", entering) for name in starts),
            Patch("langchain_core.runnables.retry", "RunnableRetry._sync_retrying", unretried),
            Patch("langchain_core.runnables.retry", "RunnableRetry._async_retrying", unretried),
            uncaught_refusals("langchain_core.runnables.fallbacks", "RunnableWithFallbacks", "exceptions_to_handle"),
            Patch("langgraph.pregel._retry", "_should_retry_on", never_for_refusals, optional=True),
            Patch("langgraph.pregel.retry", "_should_retry_on", never_for_refusals, optional=True),
            Patch("langgraph.prebuilt.tool_node", "_handle_tool_error", raising_refusals, optional=True),
            *(
                Patch(f"{_MIDDLEWARE}.{module}", "should_retry_exception", never_for_refusals, optional=True)
                for module in ("model_retry", "tool_retry")
            ),
            *(
                Patch(f"{_MIDDLEWARE}.{module}", f"{cls}.{name}", passing_refusals("handler"), optional=True)
                for module, cls, kind in (
                    ("model_fallback", "ModelFallbackMiddleware", "model"),
                    ("tool_error", "ToolErrorMiddleware", "tool"),
                )
                for name in (f"wrap_{kind}_call", f"awrap_{kind}_call")
            ),
        ]
