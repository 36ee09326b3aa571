"""Clients that run functions of the application by themselves when a model asks for them: each run is a tool's step."""

from __future__ import annotations

from typing import Any

from genledger.engine.observe import observed_tool
from genledger.engine.recorder import active
from genledger.instrumentation.adapters.methods import named_arguments
from genledger.instrumentation.patching import Patch
from genledger.shared import internal_errors


def runs_tool(module: str, path: str, function: str) -> Patch:
    """Return the patch of what runs a function, coroutine function or not.

    Args:
        module: The module that it is in.
        path: What runs it.
        function: The argument that is the function to run.
    """

    def wrapper(wrapped: Any, instance: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        if active() is None:
            return wrapped(*args, **kwargs)
        try:
            given = named_arguments(wrapped, args, kwargs)
            given[function] = observed_tool(given[function])
        except Exception as error:
            internal_errors.report("observing a tool", error)
            return wrapped(*args, **kwargs)
        return wrapped(**given)

    return Patch(module, path, wrapper, optional=True)
