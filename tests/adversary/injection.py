"""Raises an exception at a chosen place in Genledger's own work.

A place is an event of the interpreter, in the order in which they happen: one of our functions is entered, or one of
them calls something else, be it Python or C. That is every point at which memory may run out, the stack may be
full, or a line of ours may be wrong.
"""

from __future__ import annotations

import _weakrefset
import gc
import inspect
import sys
import weakref
from collections.abc import Collection, Iterator
from contextlib import contextmanager
from functools import cache
from importlib import import_module
from inspect import CO_ASYNC_GENERATOR, CO_GENERATOR
from pathlib import Path
from types import CodeType, FrameType, FunctionType
from typing import Any

import genledger
import genledger_instrumentors
import genledger_semconv
from genledger.context import scoped_context
from genledger.engine import call, driver, observe, steps, streams
from genledger.engine.foreign_spans.delegating_processor import DelegatingSpanProcessor
from genledger.instrumentation.adapters import http_response, own_spans, stainless
from genledger.instrumentation.patching import Patch
from genledger.setup import threads
from genledger_instrumentors.providers.anthropic import AnthropicInstrumentor
from genledger_instrumentors.providers.openai import OpenAIInstrumentor

attribution = import_module("genledger.context.attribution")

_HOMES = tuple(
    f"{Path(package.__file__).parent}/" for package in (genledger, genledger_instrumentors, genledger_semconv)
)


def _functions(*found: Any) -> list[FunctionType]:
    """Functions and methods, those of patches and properties included, as plain functions."""
    plain = []
    for one in found:
        one = one.wrapper if isinstance(one, Patch) else one.fget if isinstance(one, property) else one
        plain.append(getattr(one, "__func__", one))
    return plain


def _codes(*functions: Any) -> frozenset[CodeType]:
    """The code of functions, and of what is defined inside of them."""
    found = [function.__code__ for function in _functions(*functions)]
    for code in found:
        found += [constant for constant in code.co_consts if isinstance(constant, CodeType)]
    return frozenset(found)


def _helpers(*functions: Any) -> list[FunctionType]:
    """The functions of their own module that these call, and that those call."""
    found = _functions(*functions)
    given = len(found)
    for function in found:
        names = {name for code in _codes(function) for name in code.co_names}
        called = (function.__globals__.get(name) for name in sorted(names))
        found += [
            one
            for one in called
            if isinstance(one, FunctionType) and one.__module__ == function.__module__ and one not in found
        ]
    return found[given:]


PATCHES = [
    patch
    for patch in (*OpenAIInstrumentor().patches(), *AnthropicInstrumentor().patches(), *threads.PATCHER.patches)
    if isinstance(patch, Patch)
]
"""What stands where a method of the client, or of a thread, stands."""

IN_PLACE = _codes(
    # What stands where the client's method, or the application's function, stands: its own work is done in here, so
    # what is raised at these very lines is raised into it. They call guarded functions, and do nothing else that could
    # fail.
    *PATCHES,
    driver.asynchronous,
    driver.synchronous,
    stainless.StainlessExchange.with_parser,
    streams.AsyncStreamIterator.__aiter__,
    streams.AsyncStreamIterator.__anext__,
    streams.AsyncStreamIterator.__del__,
    streams.AsyncStreamIterator.aclose,
    streams.iterate,
    http_response.Body.__aiter__,
    http_response.Body.__iter__,
    http_response.Body.aclose,
    http_response.Body.close,
    http_response.ResponseTap.__del__,
    http_response.tapped,
    http_response.tapped_async,
    inspect.unwrap(http_response.telling),
    *_helpers(inspect.unwrap(http_response.telling)),
    own_spans.replaces_span,
    own_spans.replaces_tracer_argument,
    scoped_context.in_block,
    observe.Observation.__enter__,
    observe.Observation.__exit__,
    observe.ObservedBlock.__call__,
    observe.ObservedBlock.__enter__,
    observe.ObservedBlock.__init__,
    observe.observe,
    attribution.AttributionBlock.__enter__,
    attribution.AttributionBlock.__exit__,
    attribution.AttributionBlock.__init__,
    DelegatingSpanProcessor.on_start,
    DelegatingSpanProcessor.on_ending,
    DelegatingSpanProcessor.on_end,
    # What is there to raise: it checks the application's arguments.
    attribution.attribution,
    *_helpers(attribution.attribution),
)

GUARDED = _codes(
    # What these call: functions that catch everything that happens inside of them.
    *_helpers(*PATCHES, own_spans.replaces_span, own_spans.replaces_tracer_argument),
    call.Call.admit,
    call.Call.admit_async,
    call.Call.enter,
    call.Call.leave,
    call.Call.readmit,
    call.Call.readmit_async,
    call.Call.conclude,
    call.Call.settle,
    call.Call.settled,
    streams.StreamRecorder.asks,
    streams.StreamRecorder.closed,
    streams.StreamRecorder.finish,
    streams.StreamRecorder.fold,
    streams.StreamRecorder.take,
    streams.StreamRecorder.waits,
    http_response.ResponseTap.asks,
    http_response.ResponseTap.closed,
    http_response.ResponseTap.feed,
    http_response.ResponseTap.finish,
    scoped_context.enter,
    scoped_context.leave,
    observe.Observation.__init__,
    observe.Observation.finish,
    observe.Observation.returned,
    observe.Observation.start,
    observe.ObservedBlock.__exit__,
    attribution.AttributionBlock.inside,
    steps.Step.end,
    steps.Step.write,
    # Constructors that only keep what they are given, and those of what has a finalizer, which would run without it.
    driver.Exchange.__init__,
    stainless.StainlessExchange.__init__,
    http_response.ResponseTap.__init__,
    streams.AsyncStreamIterator.__init__,
)

RELEASING = {"__exit__", "release"}
"""What gives a lock back. It cannot fail; were it kept from running, everything would stand still."""


CALLED_BACK = (weakref.__file__, _weakrefset.__file__)
"""Where callbacks of weak references are. The interpreter runs them when something is dropped."""


class Entered:
    """Collects the code of those of our functions that run, and that a fault may keep from being entered."""

    def __init__(self) -> None:
        self.codes: set[CodeType] = set()

    def __call__(self, frame: FrameType, event: str, argument: Any) -> None:
        if event == "call" and _ours(frame.f_code) and _enters(frame.f_code):
            self.codes.add(frame.f_code)


def functions_with(codes: Collection[CodeType]) -> Iterator[FunctionType]:
    """The functions that have one of these as their code."""
    for one in gc.get_objects():
        if isinstance(one, FunctionType) and one.__code__ in codes:
            yield one


@contextmanager
def failing(function: FunctionType, kind: type[Exception]) -> Iterator[None]:
    """Make a function raise whenever it is called, by whatever name and from wherever."""

    def fail(*args: Any, **kwargs: Any) -> Any:
        raise RuntimeError("a fault of our own")

    def exhaust(*args: Any, **kwargs: Any) -> Any:
        raise MemoryError("a fault of our own")

    code = function.__code__
    broken = exhaust if kind is MemoryError else fail
    function.__code__ = broken.__code__.replace(co_freevars=code.co_freevars)
    try:
        yield
    finally:
        function.__code__ = code


class Fault:
    """What is raised, and where it was.

    Attributes:
        index: The number of the event; -1 to count them only.
        kind: What is raised.
        seen: Events so far.
        place: Where it was raised: the function, and what it was about to call.
        ending: It struck while a span was being ended, so that one cannot be expected to have ended.
    """

    def __init__(self, index: int, kind: type[BaseException] = RuntimeError) -> None:
        self.index = index
        self.kind = kind
        self.seen = 0
        self.place: str | None = None
        self.ending = False

    def __call__(self, frame: FrameType, event: str, argument: Any) -> None:
        name = argument.__name__ if event == "c_call" else frame.f_code.co_name
        if name in RELEASING:
            return
        if event == "call":
            caller = frame.f_back
            if not _enters(frame.f_code) or not (
                _ours(frame.f_code) or (caller is not None and _attacked(caller.f_code))
            ):
                return
        elif event != "c_call" or not _attacked(frame.f_code):
            return
        if self.seen == self.index:
            self.seen += 1
            self.place = f"{_name(frame.f_code)}:{frame.f_lineno}"
            if event == "c_call":
                self.place += f" calling {argument.__qualname__}"
            while frame is not None:
                self.ending = self.ending or frame.f_code.co_qualname == "Span.end"
                self.place += f" < {_name(frame.f_code)}:{frame.f_lineno}"
                frame = frame.f_back
            raise self.kind("a fault of our own")
        self.seen += 1


@contextmanager
def injected(fault: Fault | Entered) -> Iterator[None]:
    """Let it watch what happens in this thread, and raise there."""
    sys.setprofile(fault)
    try:
        yield
    finally:
        sys.setprofile(None)


@cache
def _ours(code: CodeType) -> bool:
    return code.co_filename.startswith(_HOMES)


@cache
def _attacked(code: CodeType) -> bool:
    """Whether faults happen in this function: it is ours, and does not stand in place of the application's."""
    return _ours(code) and code not in IN_PLACE


@cache
def _enters(code: CodeType) -> bool:
    """Whether a fault may keep this function from being entered.

    Generators and weak references' callbacks are also run by the interpreter, when something is dropped: what they
    raise is printed and changes nothing.
    """
    resumed = code.co_flags & (CO_GENERATOR | CO_ASYNC_GENERATOR)
    return not resumed and code not in IN_PLACE and code not in GUARDED and code.co_filename not in CALLED_BACK


def _name(code: CodeType) -> str:
    return f"{Path(code.co_filename).stem}.{code.co_qualname}"
