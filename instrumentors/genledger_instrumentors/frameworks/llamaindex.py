"""LlamaIndex and its workflows, through handlers of their root dispatcher: what is decorated, in every thread and task.

https://developers.llamaindex.ai/python/framework/module_guides/observability/instrumentation/
"""

from __future__ import annotations

import sys
from types import ModuleType

from genledger.instrumentation.adapters.native_parents import add_resolver, remove_resolver
from genledger.instrumentation.adapters.refusals import none_for_refusals, raising_handled_refusals
from genledger.instrumentation.instrumentor import Instrumentor
from genledger.instrumentation.patching import Hook, Patch, Patches

from .llamaindex_callbacks import SpanCallbacks
from .llamaindex_runs import RUNS

_MODULE = "llama_index_instrumentation"
_SPANS, _EVENTS = "GenledgerSpanHandler", "GenledgerEventHandler"


def add_handlers(module: ModuleType) -> None:
    """Add ours to the root dispatcher."""
    add_resolver(RUNS.resolve)
    spans = sys.modules[f"{_MODULE}.span_handlers"].BaseSpanHandler
    events = sys.modules[f"{_MODULE}.event_handlers"].BaseEventHandler
    unused = dict.fromkeys(("new_span", "prepare_to_exit_span", "prepare_to_drop_span"), lambda *args, **more: None)
    methods = {f"span_{name}": getattr(SpanCallbacks, f"on_{name}") for name in ("enter", "exit", "drop")}
    module.root_dispatcher.add_span_handler(type(_SPANS, (spans,), unused | methods)())
    module.root_dispatcher.add_event_handler(type(_EVENTS, (events,), {"handle": SpanCallbacks.on_event})())


def remove_handlers(module: ModuleType) -> None:
    """Remove them."""
    root = module.root_dispatcher
    remove_resolver(RUNS.resolve)
    root.span_handlers = [one for one in root.span_handlers if type(one).__name__ != _SPANS]
    root.event_handlers = [one for one in root.event_handlers if type(one).__name__ != _EVENTS]


class LlamaIndexInstrumentor(Instrumentor):
    """Records the structure of LlamaIndex's queries, retrievals, agents, tools and workflows."""

    library = "llama-index"
    distribution = "llama-index-core"
    supports = "llama-index-core >= 0.14.8, < 0.15"

    def patches(self) -> Patches:
        """Return the hook that adds our handlers, and what keeps refusals from being retried or hidden."""
        loop, policies = "workflows.runtime.control_loop", "workflows.retry_policy"
        decisions = [(f"{loop}.{name}", "_decide_retry_delay") for name in ("runner", "reduce")]
        decisions += [
            (policies, f"{name}RetryPolicy.next") for name in ("_Composable", "ConstantDelay", "ExponentialBackoff")
        ]
        return [
            Hook(_MODULE, add_handlers, remove_handlers),
            Patch("llama_index.core.tools.types", "ToolOutput.__init__", raising_handled_refusals),
            *(Patch(module, path, none_for_refusals, optional=True) for module, path in decisions),
        ]
