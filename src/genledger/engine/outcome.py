"""How a call ended, from what the client raised."""

from __future__ import annotations

import re
from typing import Any

from genledger.budgets.enforcement.exceeded import BudgetExceeded
from genledger.engine.attempts import rpc_code, status_of
from genledger.engine.content.redaction import stage
from genledger.engine.operation import at_path
from genledger.engine.record import Outcome


class ErrorEvent(Exception):
    """Error that a provider sent inside a stream, without an exception.

    Attributes:
        kind: The provider's name for it: the call's `error.type`.
    """

    def __init__(self, said: dict[str, Any]) -> None:
        kind = said.get("code") or said.get("type")
        super().__init__(str(said.get("message") or "an error event"))
        self.kind = kind if isinstance(kind, str) else "error_event"


class ErrorAnswer(Exception):
    """An answer with an error status, which the client's method gave back instead of raising.

    Attributes:
        status_code: The HTTP status, which is the call's `error.type`, too.
    """

    def __init__(self, status_code: int) -> None:
        super().__init__(f"HTTP {status_code}")
        self.status_code = status_code


def outcome_of(error: BaseException) -> Outcome:
    """The outcome of a call that raised."""
    if isinstance(error, BudgetExceeded):
        return "blocked"
    # By name: importing asyncio only to compare would cost an application that has no use for it.
    if isinstance(error, (GeneratorExit, KeyboardInterrupt, SystemExit)) or type(error).__name__ == "CancelledError":
        return "cancelled"
    status, name = status_of(error), f"{type(error).__name__} {_code_of(error)}"
    if status == 429 or _RATE_LIMITED.search(name):
        return "rate_limited"
    if status == 499:
        return "cancelled"
    if isinstance(error, TimeoutError) or _TIMED_OUT.search(name) or status == 408:
        return "timeout"
    return "error"


_TIMED_OUT = re.compile(r"timeout|deadline_?exceeded", re.IGNORECASE)
_RATE_LIMITED = re.compile(r"throttl|too_?many_?requests|rate_?limit|slow_?down", re.IGNORECASE)
"""Names that providers have for a refusal because of too many calls; an error event has no status beside it."""


def _code_of(error: BaseException) -> str:
    """The provider's name for an error, from an error event or from botocore's `ClientError`."""
    if isinstance(error, ErrorEvent):
        return error.kind
    response = getattr(error, "response", None)
    return str(at_path(response, "Error.Code")) if isinstance(response, dict) else ""


def error_type(error: BaseException) -> str:
    """The conventions' `error.type`: the exception's class, with its module unless it is a builtin.

    Where nothing was raised, it is the provider's name for the error, or the HTTP status. All errors of gRPC have one
    class, so that their code says which it is.
    """
    if isinstance(error, ErrorEvent):
        return stage().name(error.kind)
    if isinstance(error, ErrorAnswer):
        return str(error.status_code)
    code = rpc_code(error)
    if code is not None:
        return code
    kind = type(error)
    return kind.__qualname__ if kind.__module__ == "builtins" else f"{kind.__module__}.{kind.__qualname__}"
