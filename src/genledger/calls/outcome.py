"""How a call ended, from what the client raised."""

from __future__ import annotations

from typing import Any

from genledger.budgets.exceeded import BudgetExceeded

from .entry import Outcome
from .redaction import stage


class ErrorEvent(Exception):
    """An error that a provider sent inside of a stream, which nobody raised.

    Attributes:
        kind: The provider's name for it: the call's `error.type`.
    """

    def __init__(self, said: dict[str, Any]) -> None:
        kind = said.get("code") or said.get("type")
        super().__init__(str(said.get("message") or "an error event"))
        self.kind = kind if isinstance(kind, str) else "error_event"


def outcome_of(error: BaseException | None, *, cut: bool) -> Outcome:
    """The outcome: `cut` means that the application stopped reading a response that was still coming."""
    if error is None:
        return "cancelled" if cut else "success"
    if isinstance(error, BudgetExceeded):
        return "blocked"
    # By name: importing asyncio only to compare would cost an application that has no use for it.
    if isinstance(error, (GeneratorExit, KeyboardInterrupt, SystemExit)) or type(error).__name__ == "CancelledError":
        return "cancelled"
    status = getattr(error, "status_code", None)
    if status == 429:
        return "rate_limited"
    if isinstance(error, TimeoutError) or "Timeout" in type(error).__name__ or status == 408:
        return "timeout"
    return "error"


def error_type(error: BaseException) -> str:
    """The conventions' `error.type`: the exception's class, with its module unless it is a builtin."""
    if isinstance(error, ErrorEvent):
        return stage().name(error.kind)
    kind = type(error)
    return kind.__qualname__ if kind.__module__ == "builtins" else f"{kind.__module__}.{kind.__qualname__}"
