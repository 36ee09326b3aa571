"""Reservation that the guard returns for an admitted call."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

from genledger.budgets.leases.local_lease import Hold, LocalLeases
from genledger.budgets.rules.units import usd_units

Action = Literal["degrade", "queue", "warn"]
"""Action of a rule on a call that it admitted."""


class Reservation:
    """Permission to make one call. End it with `settle` or `release`; only the first of them has an effect.

    Any thread or finalizer may call them. They do not wait, lock or raise.

    Attributes:
        model: The model to use instead of the requested one, or `None`.
        max_output_tokens: The output limit to use instead of the requested one, or `None`.
        action: Action of a rule: `degrade`, `queue` (the call waited), `warn`, or `None`.
        rule: Name of that rule.
        reason: Reason, in one line.
    """

    __slots__ = ("_books", "_open", "action", "max_output_tokens", "model", "reason", "rule")

    def __init__(self, books: LocalLeases | None, holds: Sequence[Hold]) -> None:
        self._books = books
        # One element, popped by whoever ends the call: popping is atomic.
        self._open = [holds] if holds else []
        self.model: str | None = None
        self.max_output_tokens: int | None = None
        self.action: Action | None = None
        self.rule: str | None = None
        self.reason: str | None = None

    def settle(self, usd: float | None, tokens: int | None) -> None:
        """Settle the cost of the call.

        Args:
            usd: Cost in USD; `None` counts the reserved amount as spent.
            tokens: Input and output tokens; `None` counts the reserved amount as spent.
        """
        if not self._open:
            return
        try:
            holds = self._open.pop()
        except IndexError:
            return
        spent = []
        overran = False
        for account, amount in holds:
            actual = amount
            match account.counted.rule.measure:
                case "usd" if usd is not None:
                    actual = usd_units(usd)
                case "tokens" if tokens is not None:
                    actual = max(0, tokens)
            overran = overran or actual > amount
            spent.append(actual)
        self._end(holds, spent, overran)

    def release(self) -> None:
        """Return the reservation of a call that was never made, or that is free and not counted."""
        if not self._open:
            return
        try:
            holds = self._open.pop()
        except IndexError:
            return
        self._end(holds, [0] * len(holds), False)

    def _end(self, holds: Sequence[Hold], spent: Sequence[int], overran: bool) -> None:
        books = self._books
        if books is not None:
            books.inbox.append((holds, spent))
            if overran:
                books.overran()


UNGUARDED = Reservation(None, ())
"""Reservation of calls that no rule applies to."""
