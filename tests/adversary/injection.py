"""Raises an exception at a chosen place in Genledger's own work.

A place is an event of the interpreter, in the order in which they happen: one of our functions is entered, or one of
them calls something else, be it Python or C. That is every point at which memory may run out, the stack may be
full, or a line of ours may be wrong.
"""

from __future__ import annotations

import _weakrefset
import gc
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
from genledger.instrumentation.adapters import http_response, own_spans, stainless
from genledger.setup import threads
from genledger.setup.delegating_processor import DelegatingSpanProcessor

attribution = import_module("genledger.context.attribution")

_HOMES = tuple(
    f"{Path(package.__file__).parent}/" for package in (genledger, genledger_instrumentors, genledger_semconv)
)


def _codes(*functions: Any) -> frozenset[CodeType]:
    """The code of functions, and of what is defined inside of them."""
    found: list[CodeType] = []
    for function in functions:
        function = function.fget if isinstance(function, property) else function
        found.append(function.__code__)
    for code in found:
        found += [constant for constant in code.co_consts if isinstance(constant, CodeType)]
    return frozenset(found)


IN_PLACE = _codes(
    # What stands where the client's method, or the application's function, stands: its own work is done in here, so
    # what is raised at these very lines is raised into it. They call guarded functions, and do nothing else that could
    # fail.
    driver.asynchronous,
    driver.synchronous,
    stainless.StainlessExchange._with_parser,
    stainless._answered,
    stainless._aretry,
    stainless._retry,
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
    http_response._taps,
    http_response._tell,
    http_response._telling.__wrapped__,
    http_response._tapped_async,
    http_response.tapped,
    own_spans.replaces_span,
    own_spans.replaces_tracer_argument,
    own_spans._Lent.__init__,
    own_spans._Lent.start_span,
    own_spans._Lent.start_as_current_span,
    threads._start,
    threads._submit,
    observe.Observation.__enter__,
    observe.Observation.__exit__,
    observe._Block.__call__,
    observe._Block.__enter__,
    observe._Block.__init__,
    observe.observe,
    attribution._Block.__enter__,
    attribution._Block.__exit__,
    attribution._Block.__init__,
    attribution.attribution,
    DelegatingSpanProcessor.on_start,
    DelegatingSpanProcessor.on_ending,
    DelegatingSpanProcessor.on_end,
    # What is there to raise: it checks the application's arguments.
    attribution._check,
    attribution._check_metadata,
    attribution._check_tags,
    attribution._problem,
)

GUARDED = _codes(
    # What these call: functions that catch everything that happens inside of them.
    driver._answered,
    driver._begin,
    driver._received,
    driver._sent,
    stainless._note_retry,
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
    http_response.ResponseTap.asks,
    http_response.ResponseTap.closed,
    http_response.ResponseTap.feed,
    http_response.ResponseTap.finish,
    own_spans._lent_span,
    scoped_context.enter,
    scoped_context.leave,
    observe.Observation.__init__,
    observe.Observation.finish,
    observe.Observation.start,
    observe._Block.__exit__,
    attribution._Block.inside,
    steps.Step.end,
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
