"""A budget's refusal, behind whatever a framework has made of it."""

from __future__ import annotations

from genledger.budgets import BudgetExceeded
from genledger.engine.carried_refusals import CarriedRefusal, refusal_in


def refusal() -> BudgetExceeded:
    """A refusal."""
    told = {"spent": 1.0, "reserved": 0.0, "limit": 1.0, "resets_at": None, "retry_after": None}
    return BudgetExceeded("no", scope="organization", rule="limit", measure="requests", **told)  # type: ignore[arg-type]


def test_a_refusal_is_found_behind_the_errors_that_were_raised_because_of_it() -> None:
    refused, outer, middle = refusal(), ValueError(), KeyError()
    outer.__cause__, middle.__context__ = middle, refused
    assert refusal_in(outer) is refused
    assert refusal_in(refused) is refusal_in(CarriedRefusal(refused)) is refused


def test_an_error_that_has_nothing_to_do_with_it_has_none() -> None:
    replaced, circle = ValueError(), KeyError()
    replaced.__context__, replaced.__suppress_context__ = refusal(), True
    circle.__context__ = ValueError()
    circle.__context__.__context__ = circle
    assert refusal_in(replaced) is refusal_in(circle) is refusal_in(None) is None
