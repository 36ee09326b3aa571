"""`BudgetExceeded` as an HTTP response: 429 with `Retry-After`, in FastAPI, Starlette, Flask and Django.

The response names the rule and the time to retry, but not the amount spent: the budget may not belong to the
visitor.
"""

from __future__ import annotations

import math
from importlib import import_module
from typing import Any

from genledger.budgets.enforcement.exceeded import BudgetExceeded


def body(error: BudgetExceeded) -> dict[str, Any]:
    """Return the response's JSON."""
    return {
        "error": {
            "type": "budget_exceeded",
            "message": "The budget for this request is used up.",
            "rule": error.rule,
            "scope": error.scope,
            "resets_at": error.resets_at.isoformat() if error.resets_at is not None else None,
            "retry_after": error.retry_after,
        }
    }


def headers(error: BudgetExceeded) -> dict[str, str]:
    """`Retry-After` in whole seconds (RFC 9110, section 10.2.3), when waiting helps."""
    return {} if error.retry_after is None else {"Retry-After": str(math.ceil(error.retry_after))}


def install_starlette(app: Any) -> None:
    """Let a Starlette or FastAPI application answer `BudgetExceeded` with 429."""
    response = import_module("starlette.responses").JSONResponse

    async def answer(request: Any, error: BudgetExceeded) -> Any:
        return response(body(error), error.status_code, headers(error))

    app.add_exception_handler(BudgetExceeded, answer)


def install_flask(app: Any) -> None:
    """Let a Flask application, or blueprint, answer `BudgetExceeded` with 429."""

    def answer(error: BudgetExceeded) -> tuple[dict[str, Any], int, dict[str, str]]:
        return body(error), error.status_code, headers(error)

    app.register_error_handler(BudgetExceeded, answer)


class BudgetMiddleware:
    """Django middleware that answers `BudgetExceeded` with 429; sync and async.

    Add `"genledger.integrations.web.BudgetMiddleware"` to `MIDDLEWARE`.
    """

    sync_capable = True
    async_capable = True

    def __init__(self, get_response: Any) -> None:
        sync = import_module("asgiref.sync")
        self._get_response = get_response
        if sync.iscoroutinefunction(get_response):
            sync.markcoroutinefunction(self)

    def __call__(self, request: Any) -> Any:
        return self._get_response(request)

    def process_exception(self, request: Any, error: Exception) -> Any:
        """Called by Django with what a view raised."""
        if not isinstance(error, BudgetExceeded):
            return None
        response = import_module("django.http").JsonResponse
        return response(body(error), status=error.status_code, headers=headers(error))
