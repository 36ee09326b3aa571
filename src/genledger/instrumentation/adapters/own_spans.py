"""Clients that create their own span for each call: Genledger's span replaces it.

Two spans for one call would count its tokens twice. Ours goes out on the wire as the parent, as the client's would
have.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager, nullcontext
from types import ModuleType, SimpleNamespace
from typing import Any

import wrapt
from opentelemetry import trace
from opentelemetry.trace import NonRecordingSpan

from genledger.engine.call import running_call
from genledger.instrumentation.patching import Hook, Patch
from genledger.shared import internal_errors


def _lent_span(library: str) -> NonRecordingSpan | None:
    """Return the context of the running call's span, as a span that keeps nothing."""
    try:
        call = running_call(library)
        return NonRecordingSpan(call.span.get_span_context()) if call is not None else None
    except Exception as error:
        internal_errors.report("lending a span", error)
        return None


def _named(tracer: Any) -> bool:
    """Return whether the application gave the client a provider of its own, neither Genledger's nor the global one."""
    try:
        theirs, call = getattr(tracer, "span_processor", None), running_call()
        if theirs is None or call is None or theirs is getattr(call.recorder.tracer, "span_processor", None):
            return False
        return theirs is not getattr(trace.get_tracer(__name__), "span_processor", None)
    except Exception as error:
        internal_errors.report("lending a span", error)
        return False


def replaces_span(library: str, module: str, path: str) -> Patch:
    """Return the patch of a function that starts the client's span with its first argument, a tracer."""

    def wrapper(wrapped: Any, instance: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        ours = None if args and _named(args[0]) else _lent_span(library)
        return ours if ours is not None else wrapped(*args, **kwargs)

    return Patch(module, path, wrapper, optional=True)


def replaces_tracer_argument(library: str, module: str, path: str, when: Callable[[Mapping[str, Any]], bool]) -> Patch:
    """Return the patch of a function that starts the client's span with its argument `tracer`, and does more.

    Args:
        library: The library's name for users.
        module: The module that the function is in.
        path: The function.
        when: Tells from the arguments whether ours may take the span's place.
    """

    def wrapper(wrapped: Any, instance: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        ours = _lent_span(library) if when(kwargs) else None
        if ours is not None:
            kwargs = {**kwargs, "tracer": SimpleNamespace(start_span=lambda *args, **kwargs: ours)}
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


class _Lent(wrapt.ObjectProxy):  # type: ignore[misc,type-arg,unused-ignore]
    """Tracer that returns Genledger's span instead of a new one."""

    def __init__(self, tracer: Any, library: str) -> None:
        super().__init__(tracer)
        self._self_library = library

    def start_as_current_span(self, *args: Any, **kwargs: Any) -> AbstractContextManager[Any]:
        ours = _lent_span(self._self_library)
        return nullcontext(ours) if ours is not None else self.__wrapped__.start_as_current_span(*args, **kwargs)
