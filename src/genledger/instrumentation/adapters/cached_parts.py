"""Answers that a client puts together of what a provider has answered and what its own cache has."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any

from genledger.engine.call import running_call
from genledger.engine.client_caches import hit_of
from genledger.instrumentation.adapters.methods import named_arguments
from genledger.instrumentation.patching import Patch, Patches
from genledger.shared import internal_errors

Parts = Callable[[Mapping[str, Any]], tuple[Any, Any]]
"""Return what the provider has answered, and what the cache has, `None` if nothing, from the named arguments."""


def cached_parts(library: str, places: Iterable[tuple[str, str]], parts: Parts) -> Patches:
    """Return the patches of functions that put both together: the provider's part is a call, the cache's a hit.

    Args:
        library: The library's name for users.
        places: Module and path of each function.
        parts: Finds both in its arguments.
    """

    def wrapper(wrapped: Any, instance: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        try:
            call = running_call(library)
            answered, cached = parts(named_arguments(wrapped, args, kwargs)) if call is not None else (None, None)
            if call is not None and cached is not None:
                call.answered = answered
                call.recorder.tell(hit_of(call, cached), call.span.get_span_context())
        except Exception as error:
            internal_errors.report("noting what a cache answered", error)
        return wrapped(*args, **kwargs)

    return [Patch(module, path, wrapper, optional=True) for module, path in places]
