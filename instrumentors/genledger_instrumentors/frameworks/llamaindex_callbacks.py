"""What LlamaIndex's root dispatcher calls for each span and event, as steps and model calls.

https://developers.llamaindex.ai/python/framework/module_guides/observability/instrumentation/
"""

from __future__ import annotations

from typing import Any

from genledger.engine.recorder import active
from genledger.engine.tool_signatures import tool_signature
from genledger.instrumentation.adapters.callbacks import MAX_OPEN, guarded

from ..formats.llamaindex_spans import name_of, read_answer, read_ids, read_model_call, read_span
from .llamaindex_runs import RUNS, SPANS, OpenSpan, WorkflowRun, end, end_chat, run_of


@guarded("llama-index")
class SpanCallbacks:
    """What the root dispatcher calls for each span and event."""

    def on_enter(
        self, id_: str, bound_args: Any, instance: Any = None, parent_id: str | None = None, tags: Any = None, **_: Any
    ) -> None:
        """Begin a step, or plumbing."""
        if active() is None:
            return
        outer = SPANS.get(parent_id) if parent_id is not None else None
        flow = outer.flow if outer is not None else None
        parent, given = outer.run if outer is not None else None, bound_args.arguments
        if flow is not None:
            if name_of(id_).method == "setup_agent":
                flow.take_turn(getattr(given.get("ev"), "current_agent_name", None))
            parent = flow.inside
        found = read_span(id_, parent_id, instance, given, tags or {}, in_workflow=flow is not None)
        if found is None:
            span = OpenSpan(parent)
            span.models = outer is not None and outer.models
        else:
            span = OpenSpan(id_, found.kind, flow)
            if name_of(id_).method == "run":
                span.flow = WorkflowRun(id_, instance)
            if flow is not None:
                flow.steps.add(id_)
            signature = tool_signature(found.name, found.arguments)
            RUNS.start(id_, parent, *found[:4], signature=signature, **read_ids(tags or {}))
        SPANS[id_] = span
        if len(SPANS) > MAX_OPEN:
            SPANS.popitem(last=False)

    def on_exit(self, id_: str, result: Any = None, **_: Any) -> None:
        """End it; one whose answer is streamed goes on until that has been read."""
        end(id_, result)

    def on_drop(self, id_: str, err: BaseException | None = None, **_: Any) -> None:
        """End it with what it failed with."""
        RUNS.end_model(id_, error=err)
        end(id_, None, err)

    def on_event(self, event: Any, **_: Any) -> None:
        """Note models' calls, which their clients record, else their own usage is priced; and that a chat was read."""
        kind = type(event).__name__
        if kind in _MODEL_STARTS:
            span = SPANS.get(event.span_id)
            if span is not None and not span.models:
                span.models = True
                RUNS.start_model(event.span_id, span.run, read_model_call(event))
        elif kind in _MODEL_ENDS:
            RUNS.end_model(event.span_id, read_answer(event.response))
        elif kind == "ExceptionEvent":
            RUNS.end_model(event.span_id, error=event.exception)
        elif kind in ("StreamChatEndEvent", "StreamChatErrorEvent"):
            end_chat(run_of(event.span_id), getattr(event, "exception", None))


_MODEL_STARTS = ("LLMChatStartEvent", "LLMCompletionStartEvent")
_MODEL_ENDS = ("LLMChatEndEvent", "LLMCompletionEndEvent")
