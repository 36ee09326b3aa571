"""LlamaIndex and its workflows, through handlers of their root dispatcher: what is decorated, in every thread and task.

https://developers.llamaindex.ai/python/framework/module_guides/observability/instrumentation/
"""

from __future__ import annotations

import inspect
import sys
from collections import OrderedDict
from types import ModuleType
from typing import Any

from genledger.engine.parents import add_resolver, remove_resolver
from genledger.engine.recorder import active
from genledger.engine.steps import Kind, tool_signature
from genledger.instrumentation.adapters.callbacks import MAX_OPEN, Runs, guarded
from genledger.instrumentation.adapters.refusals import none_for_refusals, raising_handled_refusals
from genledger.instrumentation.instrumentor import Instrumentor
from genledger.instrumentation.patching import Hook, Patch, Patches

from ..formats.llamaindex_spans import (
    is_streamed_chat,
    name_of,
    read_agent,
    read_answer,
    read_error,
    read_ids,
    read_model_call,
    read_result,
    read_span,
)

_MODULE = "llama_index_instrumentation"
_SPANS, _EVENTS = "GenledgerSpanHandler", "GenledgerEventHandler"


class _WorkflowRun:
    """A workflow that runs: its open steps and, if it is one of many agents, whose turn it is."""

    def __init__(self, run: str, workflow: Any) -> None:
        self.inside = run
        self._run = run
        self._workflow = workflow
        self._turns = 0
        self._agent: str | None = None
        self.steps: set[str] = set()

    def take_turn(self, agent: str | None) -> None:
        """Begin the turn of an agent, and end that of the one before."""
        if agent is None or agent == self._agent or not hasattr(self._workflow, "agents"):
            return
        self._end_turn()
        self._agent = agent
        self._turns += 1
        self.inside = f"{self._run}/{self._turns}"
        RUNS.start(self.inside, self._run, *read_agent(self._workflow, agent)[:3])

    def end(self, error: BaseException | None) -> None:
        """End what is still open: a run that fails gives up its steps without a word."""
        for step in tuple(self.steps):
            RUNS.end(step)
        self._end_turn(error)

    def _end_turn(self, error: BaseException | None = None) -> None:
        if self.inside != self._run:
            RUNS.end(self.inside, error)


class _OpenSpan:
    """An open span of LlamaIndex's.

    Attributes:
        run: The step that it is or, as plumbing, is in.
        kind: What that step does; `None` for plumbing.
        flow: The workflow that it is the run of.
        around: The workflow that it is a step of.
        models: Whether it is within a model's call.
        answer: What a chat has returned that is still read.
        read: Whether that has been read.
    """

    __slots__ = ("answer", "around", "flow", "kind", "models", "read", "run")

    def __init__(self, run: str | None, kind: Kind | None = None, around: _WorkflowRun | None = None) -> None:
        self.run = run
        self.kind = kind
        self.flow: _WorkflowRun | None = None
        self.around = around
        self.answer: Any = None
        self.models = self.read = False


SPANS: OrderedDict[str, _OpenSpan] = OrderedDict()
"""The open spans by their ids."""


def current_run() -> str | None:
    """Return the id of the step that is current here, from LlamaIndex's own context variable."""
    module = sys.modules.get(f"{_MODULE}.span")
    return _run_of(module.active_span_id.get()) if module is not None else None


def _run_of(span: str | None) -> str | None:
    found = SPANS.get(span) if span is not None else None
    return found.run if found is not None else None


RUNS = Runs(current_run)


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
            span = _OpenSpan(parent)
            span.models = outer is not None and outer.models
        else:
            span = _OpenSpan(id_, found.kind, flow)
            if name_of(id_).method == "run":
                span.flow = _WorkflowRun(id_, instance)
            if flow is not None:
                flow.steps.add(id_)
            signature = tool_signature(found.name, found.arguments)
            RUNS.start(id_, parent, *found[:4], signature=signature, **read_ids(tags or {}))
        SPANS[id_] = span
        if len(SPANS) > MAX_OPEN:
            SPANS.popitem(last=False)

    def on_exit(self, id_: str, result: Any = None, **_: Any) -> None:
        """End it; one whose answer is streamed goes on until that has been read."""
        _end(id_, result)

    def on_drop(self, id_: str, err: BaseException | None = None, **_: Any) -> None:
        """End it with what it failed with."""
        RUNS.end_model(id_, error=err)
        _end(id_, None, err)

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
            _end_chat(_run_of(event.span_id), getattr(event, "exception", None))


_MODEL_STARTS = ("LLMChatStartEvent", "LLMCompletionStartEvent")
_MODEL_ENDS = ("LLMChatEndEvent", "LLMCompletionEndEvent")


def _end(id_: str, result: Any, error: BaseException | None = None) -> None:
    span = SPANS.pop(id_, None)
    if span is None or span.kind is None:
        return
    if span.around is not None:
        span.around.steps.discard(id_)
    if span.flow is not None:
        span.flow.end(error)
    kind = span.kind
    if _is_streamed(result):
        result.response_gen = RUNS.until_read(id_, result.response_gen)
    elif is_streamed_chat(result):
        SPANS[id_] = span
        span.answer = result
        if span.read:
            _end_chat(id_)
    else:
        RUNS.end(id_, error or read_error(result), lambda: read_result(kind, result))


def _end_chat(run: str | None, error: BaseException | None = None) -> None:
    """End a chat when it has returned and its answer has been read, in whichever order that happens."""
    chat = SPANS.get(run) if run is not None else None
    if run is not None and chat is not None:
        chat.read = True
        if chat.answer is not None:
            SPANS.pop(run, None)
            answer = chat.answer
            RUNS.end(run, error, lambda: read_result("workflow", answer))


def _is_streamed(result: Any) -> bool:
    stream = vars(result).get("response_gen") if hasattr(result, "__dict__") else None
    return inspect.isgenerator(stream) or inspect.isasyncgen(stream)


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
    supports = "llama-index-core >= 0.14.20, < 0.15"

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
