"""The only exception that Genledger raises from a call."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from genledger.shared.text import message as as_message
from genledger.shared.text import shown


class BudgetExceeded(RuntimeError):
    """A rule refused a call. Raised where the call is made, before anything is sent to the provider.

    Its texts are safe to display and log: control characters are escaped, lengths bounded.

    Attributes:
        scope: Scope of the budget: `tenant=acme`, or `organization`.
        rule: Name of the refusing rule; if several refuse, the one with the smallest share left.
        measure: Measure of the rule: `usd`, `tokens`, `requests`, `steps`, `repeats`, `depth`; `calls` for a kill
            switch.
        spent: Amount settled in the current window, in USD or as a count.
        reserved: Amount held by calls in progress and by other processes' leases, in the same unit.
        limit: Limit of the rule, in the same unit.
        resets_at: End of the window, in the rule's time zone; `None` if it never ends.
        retry_after: Seconds after which the same call may be admitted; `None` if waiting does not help.
        status_code: 429, for web frameworks.
    """

    status_code = 429

    def __init__(
        self,
        message: str,
        *,
        scope: str,
        rule: str,
        measure: str,
        spent: float,
        reserved: float,
        limit: float,
        resets_at: datetime | None,
        retry_after: float | None,
    ) -> None:
        super().__init__(as_message(message))
        self.scope = shown(scope)
        self.rule = shown(rule)
        self.measure = measure
        self.spent = spent
        self.reserved = reserved
        self.limit = limit
        self.resets_at = resets_at
        self.retry_after = retry_after

    def __reduce__(self) -> tuple[Any, ...]:
        return _rebuild, (type(self), str(self), self.__dict__)


def _rebuild(kind: type[BudgetExceeded], message: str, fields: dict[str, Any]) -> BudgetExceeded:
    error = kind.__new__(kind, message)
    error.__dict__.update(fields)
    return error
