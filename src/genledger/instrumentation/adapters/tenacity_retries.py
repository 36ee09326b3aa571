"""Retries by tenacity, which many libraries make them by: a budget's refusal is not tried again.

https://tenacity.readthedocs.io
"""

from __future__ import annotations

from collections.abc import Callable
from inspect import iscoroutinefunction
from typing import Any

from genledger.instrumentation.adapters.refused_runs import refusal_in
from genledger.shared import internal_errors


def unless_refused(retrying: Any) -> Any:
    """Return a copy of a `tenacity.Retrying` or `AsyncRetrying` that ends with a refusal; anything else as it is."""
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

    asynchronous = iscoroutinefunction(again) or iscoroutinefunction(getattr(again, "__call__", None))  # noqa: B004
    return decide_async if asynchronous else decide
