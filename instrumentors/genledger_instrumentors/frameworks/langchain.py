"""LangChain and LangGraph, through LangChain's own configure hook: every way of calling, every thread.

https://reference.langchain.com/python/langchain_core/callbacks/
"""

from __future__ import annotations

from importlib import import_module
from types import ModuleType
from typing import Any

from genledger.instrumentation.adapters.native_parents import add_resolver
from genledger.instrumentation.adapters.refusals import (
    never_for_refusals,
    passing_refusals,
    raising_refusals,
    uncaught_refusals,
    unretried,
)
from genledger.instrumentation.instrumentor import Instrumentor
from genledger.instrumentation.patching import Patch, Patches

from .langchain_callbacks import RUNS, Callbacks


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


_IGNORED_KINDS = {f"ignore_{kind}": False for kind in ("llm", "chat_model", "chain", "agent", "retriever")}
"""What LangChain asks of a handler before each callback: an attribute answers faster than its own properties."""


class HookedHandler:
    """Stands for the context variable in which LangChain looks for a handler; empty while nothing is hooked."""

    def __init__(self, handler: Any) -> None:
        self._handler = handler

    def get(self) -> Any:
        """Return the handler for a run that begins."""
        return self._handler if RUNS.hooked else None


def register(module: ModuleType) -> Any:
    """Register a handler for every run; returns what LangChain must find alive."""
    variable = HookedHandler(make_handler(**_IGNORED_KINDS))
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
