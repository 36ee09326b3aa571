"""Frameworks that wrap the errors of models and tools, or make answers of them for the model.

A refusal by a budget is neither: it ends the run, under its own name.
"""

from __future__ import annotations

from typing import Any

from genledger.budgets.enforcement.exceeded import BudgetExceeded
from genledger.instrumentation.patching import Patch


def raises_refusal(module: str, path: str) -> Patch:
    """Return the patch of a function that is given what failed, as an exception's `__init__` may be.

    It raises what a budget raised, and takes every other error as before. The refusal is raised where the framework
    handles the error, so that nothing there wraps it or goes on.

    Args:
        module: Its module.
        path: The function, or a method with its class.
    """

    def wrapper(wrapped: Any, instance: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        for given in (*args, *kwargs.values()):
            if isinstance(given, BudgetExceeded):
                raise given
        return wrapped(*args, **kwargs)

    return Patch(module, path, wrapper, optional=True)
