"""What LangChain calls back for each run, as steps and model calls.

https://reference.langchain.com/python/langchain_core/callbacks/
"""

from __future__ import annotations

import sys
from typing import Any

from genledger.engine.tool_signatures import tool_signature
from genledger.instrumentation.adapters.callbacks import Runs, guarded
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
