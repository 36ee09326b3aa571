"""Refusals of budgets inside frameworks, which tell models of errors, wrap them, and repeat what failed."""

from __future__ import annotations

from genledger.budgets.enforcement.exceeded import BudgetExceeded

_LONGEST_CHAIN = 100
"""Errors behind an error that are looked at: a chain may be a circle."""


def refusal_in(error: BaseException | None) -> BudgetExceeded | None:
    """Return the refusal of a budget that an error is, or was raised because of."""
    for _ in range(_LONGEST_CHAIN):
        if error is None or isinstance(error, BudgetExceeded):
            return error
        error = error.__cause__ or (None if error.__suppress_context__ else error.__context__)
    return None
