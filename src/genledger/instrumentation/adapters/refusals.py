"""Frameworks that retry what fails, ask another model, or make an answer of the error: not when a budget refused.

A refusal ends the run that it is in, as waiting a second or asking again changes nothing.
"""

from __future__ import annotations

import inspect
import sys
from collections.abc import Callable
from typing import Any

from genledger.budgets.enforcement.exceeded import BudgetExceeded
from genledger.instrumentation.patching import Hook, viewed


def never_for_refusals(wrapped: Any, instance: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
    """Wrap a function that tells of an error among its arguments whether to go on after it."""
    return not _refusal(args, kwargs) and wrapped(*args, **kwargs)


def none_for_refusals(wrapped: Any, instance: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
    """Wrap a function that tells of an error among its arguments how long to wait before the next attempt."""
    return None if _refusal(args, kwargs) is not None else wrapped(*args, **kwargs)


def unretried(wrapped: Any, instance: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
    """Wrap a function that makes a controller of retries of tenacity's: none after a refusal.

    https://tenacity.readthedocs.io/en/latest/api.html
    """
    retrying = wrapped(*args, **kwargs)
    retry = retrying.retry
    retrying.retry = lambda state: not isinstance(state.outcome.exception(), BudgetExceeded) and retry(state)
    return retrying


def raising_refusals(wrapped: Any, instance: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
    """Wrap a function that makes an answer of an error among its arguments."""
    refusal = _refusal(args, kwargs)
    if refusal is not None:
        raise refusal
    return wrapped(*args, **kwargs)


def raising_handled_refusals(wrapped: Any, instance: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
    """Wrap a function that makes something else of the error that is being handled."""
    refusal = sys.exception()
    if isinstance(refusal, BudgetExceeded):
        raise refusal
    return wrapped(*args, **kwargs)


def passing_refusals(name: str) -> Callable[..., Any]:
    """Return the wrapper of a method that catches what a function fails with; that is its last argument, or `name`."""

    def wrapper(wrapped: Any, instance: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        if name in kwargs:
            kwargs = {**kwargs, name: _carrying(kwargs[name])}
        elif args:
            args = (*args[:-1], _carrying(args[-1]))
        return unpacking_refusals(wrapped, instance, args, kwargs)

    return wrapper


def carrying_refusals(wrapped: Any, instance: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
    """Wrap a function that is called where every `Exception` is caught; what calls that is `unpacking_refusals`."""
    return _carrying(wrapped)(*args, **kwargs)


def unpacking_refusals(wrapped: Any, instance: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
    """Wrap a function that catches every `Exception` of one that is `carrying_refusals`."""
    if inspect.iscoroutinefunction(wrapped):
        return _unpacked(wrapped, args, kwargs)
    try:
        return wrapped(*args, **kwargs)
    except _Carried as carried:
        raise carried.refusal from None


def uncaught_refusals(module: str, cls: str, name: str) -> Hook:
    """Return the patch of a class whose objects have the types of errors that they catch in an attribute."""
    return viewed(module, cls, name, lambda types: () if isinstance(sys.exception(), BudgetExceeded) else types)


class _Carried(BaseException):
    """A refusal on its way past what catches every `Exception`."""

    def __init__(self, refusal: BudgetExceeded) -> None:
        super().__init__(str(refusal))
        self.refusal = refusal


async def _unpacked(wrapped: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
    try:
        return await wrapped(*args, **kwargs)
    except _Carried as carried:
        raise carried.refusal from None


def _carrying(function: Callable[..., Any]) -> Callable[..., Any]:
    async def awaited(result: Any) -> Any:
        try:
            return await result
        except BudgetExceeded as refusal:
            raise _Carried(refusal) from None

    def call(*args: Any, **kwargs: Any) -> Any:
        try:
            result = function(*args, **kwargs)
        except BudgetExceeded as refusal:
            raise _Carried(refusal) from None
        return awaited(result) if inspect.isawaitable(result) else result

    return call


def _refusal(args: tuple[Any, ...], kwargs: dict[str, Any]) -> BudgetExceeded | None:
    return next((one for one in (*args, *kwargs.values()) if isinstance(one, BudgetExceeded)), None)
