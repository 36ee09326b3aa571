"""Clients that create their own span for each call: Genledger's span replaces it.

Two spans for one call would count its tokens twice. Ours goes out on the wire as the parent, as the client's would
have. Only a provider that Genledger writes to would get two: any other keeps the client's span, where the
application's own spans are its parents. Ours is not there.
"""

from __future__ import annotations

from contextlib import AbstractContextManager, nullcontext
from inspect import iscoroutinefunction
from types import ModuleType
from typing import Any

import wrapt
from opentelemetry import trace
from opentelemetry.context import Context, attach, get_current
from opentelemetry.trace import NonRecordingSpan

from genledger.engine.call import CALL_KEY, Call, running_call
from genledger.instrumentation.patching import Hook, Patch
from genledger.shared import internal_errors


def _lent_span(library: str, tracer: Any) -> tuple[NonRecordingSpan | None, Context | None]:
    """Return what replaces a span of a tracer (of any, if `None`): the running call's, as one that keeps nothing.

    Returns:
        The replacement, if there is one, and the context that a span which is not replaced begins in.
    """
    try:
        call = running_call(library)
        if call is None:
            return None, None
        if tracer is not None and _writes_to(tracer) is not _writes_to(call.recorder.tracer):
            return None, call.before
        return NonRecordingSpan(call.span.get_span_context()), None
    except Exception as error:
        internal_errors.report("lending a span", error)
        return None, None


def _writes_to(tracer: Any) -> Any:
    """Return what tells two providers apart: where the spans of a tracer go; `None` if that is nowhere."""
    if isinstance(tracer, trace.ProxyTracer):
        tracer = trace.get_tracer(__name__)
    return getattr(tracer, "span_processor", None)


def replaces_span(library: str, module: str, path: str) -> Patch:
    """Return the patch of a function that starts the client's span with its first argument, a tracer."""

    def wrapper(wrapped: Any, instance: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        if not args:
            return wrapped(**kwargs)
        ours, _ = _lent_span(library, args[0])
        return ours if ours is not None else wrapped(_lent(args[0], library), *args[1:], **kwargs)

    return Patch(module, path, wrapper, optional=True)


def replaces_tracer_argument(library: str, module: str, path: str) -> Patch:
    """Return the patch of a function that starts the client's span with its argument `tracer`, and does more."""

    def wrapper(wrapped: Any, instance: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        if "tracer" in kwargs:
            kwargs = {**kwargs, "tracer": _lent(kwargs["tracer"], library)}
        return wrapped(*args, **kwargs)

    return Patch(module, path, wrapper, optional=True)


def replaces_tracer(library: str, module: str) -> Hook:
    """Return the hook of a module whose global `tracer` makes the client's spans."""

    def install(found: ModuleType) -> None:
        found.tracer = _Lent(found.tracer, library)  # type: ignore[attr-defined]

    def remove(found: ModuleType) -> None:
        if isinstance(found.tracer, _Lent):
            found.tracer = found.tracer.__wrapped__  # type: ignore[attr-defined]

    return Hook(module, install, remove)


def runs_outside(library: str, module: str, path: str) -> Patch:
    """Return the patch of a function that runs a client's callbacks: outside of the call that they are about.

    They may write to the span that is current, or begin others in it: that is not ours.
    """

    def wrapper(wrapped: Any, instance: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        here = get_current()
        outside = _outside(library, here)
        if outside is here:
            return wrapped(*args, **kwargs)
        if iscoroutinefunction(wrapped):
            return _run_in(outside, wrapped, args, kwargs)
        attach(outside)
        try:
            return wrapped(*args, **kwargs)
        finally:
            attach(here)

    return Patch(module, path, wrapper, optional=True)


async def _run_in(context: Context, function: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
    here = get_current()
    attach(context)
    try:
        return await function(*args, **kwargs)
    finally:
        if get_current() is context:
            attach(here)


def _outside(library: str, context: Context) -> Context:
    """Return the context around the calls of a library; the given one where there are none."""
    call = context.get(CALL_KEY)
    while isinstance(call, Call) and call.library == library:
        context = call.outer
        call = context.get(CALL_KEY)
    return context


def _lent(tracer: Any, library: str) -> Any:
    """Return a tracer that returns Genledger's span; the given one when that fails."""
    try:
        return _Lent(tracer, library)
    except Exception as error:
        internal_errors.report("lending a span", error)
        return tracer


class _Lent(wrapt.ObjectProxy):  # type: ignore[misc,type-arg,unused-ignore]
    """Tracer that returns Genledger's span instead of a new one that would be its double."""

    def __init__(self, tracer: Any, library: str) -> None:
        super().__init__(tracer)
        self._self_library = library

    def start_span(self, name: str, context: Context | None = None, *args: Any, **kwargs: Any) -> Any:
        ours, outside = _lent_span(self._self_library, self.__wrapped__)
        if ours is not None:
            return ours
        return self.__wrapped__.start_span(name, outside if context is None else context, *args, **kwargs)

    def start_as_current_span(self, *args: Any, **kwargs: Any) -> AbstractContextManager[Any]:
        # Whatever its provider: a client's generator would leave its span current between chunks.
        ours, _ = _lent_span(self._self_library, None)
        return nullcontext(ours) if ours is not None else self.__wrapped__.start_as_current_span(*args, **kwargs)
