"""DSPy, 3.x: runs of modules, tools and retrievers; and since 3.4 the calls of its own client.

https://github.com/stanfordnlp/dspy. What LiteLLM does for it is recorded as LiteLLM's. An answer of DSPy's cache makes
no request, and is no call.
"""

from __future__ import annotations

from typing import Any

from genledger.engine.carried_refusals import refusal_in
from genledger.instrumentation.adapters.refusals import ends_when_refused
from genledger.instrumentation.adapters.stepped_functions import PLUMBING, stepping
from genledger.instrumentation.instrumentor import Instrumentor
from genledger.instrumentation.patching import Patch, Patches

from ..formats.dspy_runs import describe_module, describe_retrieval, describe_tool, finish
from ..providers.lm15 import CLIENT


def is_retryable(wrapped: Any, instance: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
    """Tell DSPy whether to send a request again after an error: not after a budget's refusal."""
    return refusal_in(args[0] if args else kwargs.get("error")) is None and wrapped(*args, **kwargs)


class DspyInstrumentor(Instrumentor):
    """Records the structure of DSPy's runs, and the calls of its own client."""

    library = "dspy"
    distribution = "dspy"
    supports = "dspy >= 3, < 4"

    def patches(self) -> Patches:
        """Return what runs modules, tools and retrievers, what makes calls, and what repeats them."""
        module, tool, retrieval = (
            stepping(describe, finish) for describe in (describe_module, describe_tool, describe_retrieval)
        )
        asking = stepping(lambda adapter, given: PLUMBING)  # which may be done again in another format
        return [
            Patch("dspy.primitives.module", "Module.__call__", module),
            Patch("dspy.primitives.module", "Module.acall", module),
            Patch("dspy.adapters.types.tool", "Tool.__call__", tool),
            Patch("dspy.adapters.types.tool", "Tool.acall", tool),
            Patch("dspy.retrievers.retrieve", "Retrieve.__call__", retrieval, optional=True),
            Patch("dspy.retrievers.embeddings", "Embeddings.__call__", retrieval, optional=True),
            Patch("dspy.adapters.base", "Adapter.__call__", asking),
            Patch("dspy.adapters.base", "Adapter.acall", asking),
            Patch("dspy.clients.base_lm", "BaseLM.__call__", ends_when_refused),
            Patch("dspy.clients.base_lm", "BaseLM.acall", ends_when_refused),
            Patch("dspy.clients.execution", "is_retryable_lm_error", is_retryable, optional=True),
            *CLIENT.patches(),
        ]
