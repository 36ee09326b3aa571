"""Refusals of budgets that a framework catches: they leave it as themselves, and nothing is tried again.

Frameworks put errors of their own in the place of those of models and tools, and call again what has failed.
"""

from __future__ import annotations

from functools import wraps
from types import new_class
from typing import Any, Self

import wrapt

from genledger.budgets.enforcement.exceeded import BudgetExceeded
from genledger.instrumentation.adapters.methods import of_both_kinds
from genledger.instrumentation.patching import Wrapper

_LONGEST_CHAIN = 100
"""Errors behind an error that are looked at."""


def refusal_in(error: BaseException | None) -> BudgetExceeded | None:
    """Return the refusal of a budget that an error is, or was raised because of."""
    for _ in range(_LONGEST_CHAIN):
        if error is None or isinstance(error, BudgetExceeded):
            return error
        error = error.__cause__ or (None if error.__suppress_context__ else error.__context__)
    return None


class Unwrapped:
    """A block that an error leaves silently which has a refusal behind it; `refusal` is to be raised after the block.

    Raised in the block, it would become the result of its own result.
    """

    refusal: BudgetExceeded

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: Any, error: BaseException | None, traceback: Any) -> bool:
        refusal = refusal_in(error) if isinstance(error, Exception) else None
        if refusal is None or refusal is error:
            return False
        self.refusal = refusal
        return True


def _plain(wrapped: Any, instance: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
    with Unwrapped() as outcome:
        return wrapped(*args, **kwargs)
    raise outcome.refusal


async def _coroutine(wrapped: Any, instance: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
    with Unwrapped() as outcome:
        return await wrapped(*args, **kwargs)
    raise outcome.refusal


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
