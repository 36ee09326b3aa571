"""A budget's refusal on its way out of a framework, which would try again, or keep the error to itself.

Frameworks do so with every `Exception`. In their own code a refusal is none: a `CarriedRefusal` carries it from the
call to the edge of the framework, and is the `BudgetExceeded` again wherever code of the application can see it.
"""

from __future__ import annotations

from typing import TypeVar

from opentelemetry.context import Context, create_key, get_current, set_value

from genledger.budgets.enforcement.exceeded import BudgetExceeded
from genledger.shared import internal_errors

E = TypeVar("E", bound="BaseException | None")

_SCOPE_KEY = create_key("genledger-refusals")

_LONGEST_CHAIN = 100
"""Errors behind an error that are looked at: a chain may be a circle."""


class CarriedRefusal(BaseException):
    """Carries a `BudgetExceeded` past what catches every `Exception`."""

    def __init__(self, error: BudgetExceeded) -> None:
        super().__init__(str(error))
        self.error = error


class RefusalScope:
    """Code of a framework, or of the application that a framework runs.

    Args:
        carried: Whether refusals in it are carried: it is the framework's.
        loops: Whether it would go on after a refused step in it, as agents do that tell their model about any error.

    Attributes:
        refused: The last refusal that code of the application in it has seen.
    """

    __slots__ = ("_left", "carried", "loops", "outer", "refused")

    def __init__(self, carried: bool, loops: bool = False) -> None:
        self.carried = carried
        self.loops = loops
        self._left: BudgetExceeded | None = None
        self.refused: BudgetExceeded | None = None
        self.outer: RefusalScope | None = None

    def inside(self, context: Context) -> Context:
        """Return `context` with this scope as the innermost."""
        self.outer = refusal_scope(context)
        return set_value(_SCOPE_KEY, self, context)

    def leaving(self, error: BaseException) -> BaseException:
        """Return the error as the code around this scope is to see it; a loop's refusal is what it was at first."""
        found = without_carrier(error)
        refusal = refusal_in(found) if isinstance(found, Exception) else None
        if refusal is None:
            return found
        if self.outer is not None:
            self.outer._left = refusal
        if found is not refusal and not self.loops:
            return found
        return refusal if self.outer is None else self.outer.seen(refusal)

    def goes_on(self) -> None:
        """Raise `BudgetExceeded` if a step was refused that the code of this scope would go on after."""
        if self.loops and self._left is not None:
            raise self._left

    def seen(self, error: BudgetExceeded) -> BaseException:
        """Return a refusal as the code of this scope is to see it."""
        self.refused = error
        return CarriedRefusal(error) if self.carried else error


def refusal_scope(context: Context) -> RefusalScope | None:
    """Return the innermost scope of a context."""
    scope = context.get(_SCOPE_KEY)
    return scope if isinstance(scope, RefusalScope) else None


def raise_as_seen_here(error: BudgetExceeded) -> None:
    """Raise what carries a refusal, where the code that makes a call here has to see it so."""
    seen: BaseException = error
    try:
        scope = refusal_scope(get_current())
        seen = error if scope is None else scope.seen(error)
    except Exception as fault:
        internal_errors.report("carrying a refusal", fault)
    if seen is not error:
        raise seen


def without_carrier(error: E) -> E | BudgetExceeded:
    """Return the refusal that an error carries, or the error."""
    return error.error if isinstance(error, CarriedRefusal) else error


def refusal_in(error: BaseException | None) -> BudgetExceeded | None:
    """Return the refusal of a budget that an error is, or was raised because of."""
    for _ in range(_LONGEST_CHAIN):
        error = without_carrier(error)
        if error is None or isinstance(error, BudgetExceeded):
            return error
        error = error.__cause__ or (None if error.__suppress_context__ else error.__context__)
    return None
