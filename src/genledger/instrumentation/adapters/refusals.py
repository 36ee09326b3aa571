"""Frameworks that retry what fails, ask another model, or make an answer of the error: not when a budget refused.

A refusal ends the run that it is in, as waiting a second or asking again changes nothing.
"""

from __future__ import annotations

import inspect
import sys
from collections import OrderedDict
from collections.abc import Callable
from contextvars import ContextVar
from functools import wraps
from types import new_class
from typing import Any

import wrapt

from genledger.budgets.enforcement.exceeded import BudgetExceeded
from genledger.engine.carried_refusals import CarriedRefusal, refusal_in
from genledger.instrumentation.adapters.methods import of_both_kinds
from genledger.instrumentation.patching import Hook, Wrapper, viewed
from genledger.shared import internal_errors


def as_error_of(refusal: BudgetExceeded, kind: type[BaseException], **attributes: Any) -> BudgetExceeded:
    """Return a refusal that is also an error of a framework's, after which the framework does not go on.

    Args:
        refusal: What it is raised for; becomes its cause.
        kind: The framework's class of error.
        attributes: What an error of that class has.
    """
    made = type(BudgetExceeded.__name__, (BudgetExceeded, kind), {"__module__": BudgetExceeded.__module__})
    error = made.__new__(made, *refusal.args)
    vars(error).update(vars(refusal), **attributes)
    error.__cause__ = refusal
    assert isinstance(error, BudgetExceeded)
    return error


def first_refusal_in(error: BaseException | None) -> BudgetExceeded | None:
    """Return the refusal behind an error; not one that `as_error_of` has made of it."""
    refusal = refusal_in(error)
    first = refusal.__cause__ if refusal is not None else None
    return first if isinstance(first, BudgetExceeded) else refusal


def never_for_refusals(wrapped: Any, instance: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
    """Wrap a function that tells of an error among its arguments whether to go on after it."""
    return not _refusal(args, kwargs) and wrapped(*args, **kwargs)


def none_for_refusals(wrapped: Any, instance: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
    """Wrap a function that tells of an error among its arguments how long to wait before the next attempt."""
    return None if _refusal(args, kwargs) is not None else wrapped(*args, **kwargs)


def unretried(wrapped: Any, instance: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
    """Wrap a function that makes a controller of retries of tenacity's: none after a refusal."""
    return unless_refused(wrapped(*args, **kwargs))


def unless_refused(retrying: Any) -> Any:
    """Return a copy of a `tenacity.Retrying` or `AsyncRetrying` that ends with a refusal; anything else as it is.

    https://tenacity.readthedocs.io/en/latest/api.html
    """
    try:
        return retrying.copy(retry=_unless_refused(retrying.retry)) if hasattr(retrying, "retry") else retrying
    except Exception as error:  # a class of the application's own
        internal_errors.report("telling tenacity what not to try again", error)
        return retrying


def _unless_refused(again: Callable[[Any], Any]) -> Callable[[Any], Any]:
    def refused(state: Any) -> bool:
        outcome = state.outcome
        return outcome is not None and outcome.failed and refusal_in(outcome.exception()) is not None

    def decide(state: Any) -> Any:
        return False if refused(state) else again(state)

    async def decide_async(state: Any) -> Any:
        return False if refused(state) else await again(state)

    asynchronous = inspect.iscoroutinefunction(again) or inspect.iscoroutinefunction(getattr(again, "__call__", None))  # noqa: B004
    return decide_async if asynchronous else decide


def raising_refusals(wrapped: Any, instance: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
    """Wrap a function that makes an answer of an error among its arguments."""
    refusal = _refusal(args, kwargs)
    if refusal is not None:
        raise refusal
    return wrapped(*args, **kwargs)


def raising_handled_refusals(wrapped: Any, instance: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
    """Wrap an `__init__`: an object that is made where an error is handled, without being given it."""
    handled = sys.exception()
    if isinstance(handled, BudgetExceeded) and _is_handled_by_maker(handled):
        raise handled
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
    except CarriedRefusal as carried:
        raise carried.error from None


def _plain(wrapped: Any, instance: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
    try:
        return wrapped(*args, **kwargs)
    except Exception as error:
        refusal = refusal_in(error)
        if refusal is None or refusal is error:
            raise
    raise refusal  # within the block, it would become the result of its own result


async def _coroutine(wrapped: Any, instance: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
    try:
        return await wrapped(*args, **kwargs)
    except Exception as error:
        refusal = refusal_in(error)
        if refusal is None or refusal is error:
            raise
    raise refusal


ends_when_refused = of_both_kinds(_plain, _coroutine)
"""The wrapper of a function, coroutine function or not: a refusal leaves it as itself, whatever it was made into."""


def not_repeated(wrapped: Any, instance: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
    """Wrap what calls its first argument again when that fails: a budget's refusal goes past it."""
    if not args:
        return wrapped(*args, **kwargs)
    refusal: BudgetExceeded | None = None

    @wraps(args[0])
    def once(*given: Any, **named: Any) -> Any:
        nonlocal refusal
        try:
            return args[0](*given, **named)
        except BudgetExceeded as error:
            refusal = error
            return None

    result = wrapped(once, *args[1:], **kwargs)
    if refusal is not None:
        raise refusal
    return result


def heard(attribute: str, method: str) -> Wrapper:
    """Return the wrapper of a method that makes a text of any error of what it calls: a refusal leaves it all the same.

    Args:
        attribute: The attribute of the instance that has what it calls.
        method: The method of that which it calls.
    """

    def wrapper(wrapped: Any, instance: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        function = getattr(wrapped, "__func__", None)
        if function is None:  # another instrumentation's
            return wrapped(*args, **kwargs)
        refusal: BudgetExceeded | None = None
        source = getattr(instance, attribute)

        def call(*given: Any, **named: Any) -> Any:
            nonlocal refusal
            try:
                return getattr(source, method)(*given, **named)
            except BudgetExceeded as error:
                refusal = error
                raise

        listening = _with(instance, attribute, _with(source, method, staticmethod(call)))
        result = function(listening, *args, **kwargs)
        if refusal is not None:
            raise refusal
        return result

    return wrapper


def _with(instance: Any, name: str, value: Any) -> Any:
    """Return something like an object, with another value of one attribute."""
    return new_class("Listening", (wrapt.ObjectProxy,), exec_body=lambda body: body.update({name: value}))(instance)


def uncaught_refusals(module: str, cls: str, name: str) -> Hook:
    """Return the patch of a class whose objects have the types of errors that they catch in an attribute."""
    return viewed(module, cls, name, lambda types: () if isinstance(sys.exception(), BudgetExceeded) else types)


_TEXTS = 1000
"""Refusals whose text is remembered until it is raised."""


class ToldRefusals:
    """Refusals that a framework makes a text of, and another error of the text."""

    def __init__(self) -> None:
        self._by_text: OrderedDict[str, BudgetExceeded] = OrderedDict()

    def told(self, wrapped: Any, instance: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        """Wrap what makes an object of an error, whose text is that of the error to come."""
        made = wrapped(*args, **kwargs)
        refusal = _refusal(args, kwargs)
        if refusal is not None:
            self._by_text[str(made)] = refusal
            if len(self._by_text) > _TEXTS:
                self._by_text.popitem(last=False)
        return made

    def behind(self, error: Exception) -> Exception:
        """Return the refusal that an error was made of, or the error."""
        return self.in_text(str(error)) or error

    def in_text(self, text: str) -> BudgetExceeded | None:
        """Return the refusal that a text was made of, once."""
        return self._by_text.pop(text, None)


class CaughtRefusals:
    """Refusals in a coroutine that its caller, another one, makes an answer of.

    Args:
        called: Finds the object whose method is called, among the arguments of the caller.
    """

    def __init__(self, called: Callable[[tuple[Any, ...], dict[str, Any]], Any]) -> None:
        self._called = called
        self._waiting: ContextVar[tuple[Any, list[BudgetExceeded]]] = ContextVar(
            "genledger-refused", default=(None, [])
        )

    async def noted(self, wrapped: Any, instance: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        """Wrap the method: note what refused it."""
        try:
            return await wrapped(*args, **kwargs)
        except BudgetExceeded as refusal:
            called, refusals = self._waiting.get()
            if called is instance and called is not None:
                refusals.append(refusal)
            raise

    async def raised(self, wrapped: Any, instance: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        """Wrap the caller: raise what was noted."""
        refusals: list[BudgetExceeded] = []
        token = self._waiting.set((self._called(args, kwargs), refusals))
        try:
            answer = await wrapped(*args, **kwargs)
        finally:
            self._waiting.reset(token)
        if refusals:
            raise refusals[0]
        return answer


async def _unpacked(wrapped: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
    try:
        return await wrapped(*args, **kwargs)
    except CarriedRefusal as carried:
        raise carried.error from None


def _carrying(function: Callable[..., Any]) -> Callable[..., Any]:
    async def awaited(result: Any) -> Any:
        try:
            return await result
        except BudgetExceeded as refusal:
            raise CarriedRefusal(refusal) from None

    def call(*args: Any, **kwargs: Any) -> Any:
        try:
            result = function(*args, **kwargs)
        except BudgetExceeded as refusal:
            raise CarriedRefusal(refusal) from None
        return awaited(result) if inspect.isawaitable(result) else result

    return call


def _refusal(args: tuple[Any, ...], kwargs: dict[str, Any]) -> BudgetExceeded | None:
    return next((one for one in (*args, *kwargs.values()) if isinstance(one, BudgetExceeded)), None)


def _is_handled_by_maker(error: BaseException) -> bool:
    """Return whether it was caught by who makes the object, and not by somebody around that runs something else."""
    frame = inspect.currentframe()
    frame = frame and frame.f_back and frame.f_back.f_back
    while frame is not None and frame.f_code.co_name in ("__init__", "__call__"):
        frame = frame.f_back  # of a derived class, or of wrapt
    return frame is not None and error.__traceback__ is not None and error.__traceback__.tb_frame is frame
