"""Budgets as metrics: how much is used, how much is reserved, how often calls are refused."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING

from genledger.budgets.leases.local_lease import CounterKey, LocalLease
from genledger.budgets.rules.units import from_units
from genledger.shared.text import shown
from genledger_semconv.attributes import GENLEDGER_BUDGET_RULE, GENLEDGER_BUDGET_SCOPE

if TYPE_CHECKING:
    from opentelemetry.metrics import CallbackOptions, Meter, Observation

    from genledger.budgets.enforcement.guard import Guard

MAX_SERIES = 200
"""Pairs of rule and scope that have a time series of their own; all further scopes of a rule share `other`."""

MAX_WARNINGS = 1000
"""Counters of rules that only warn whose warning is remembered."""

OTHER = "other"


class Figures:
    """The last known state of each counter that this process uses, and its refusals."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._scopes: set[tuple[str, str]] = set()
        self._states: dict[tuple[str, str], tuple[float, int, CounterKey]] = {}
        self._blocks: dict[tuple[str, str], int] = {}
        self._warned: set[str] = set()

    def heard(self, account: LocalLease) -> None:
        """Take down how a counter stands."""
        counted, standing = account.counted, account.standing
        label = self._label(counted.rule.name, counted.scope)
        if label[1] == OTHER:
            return
        used = standing.settled / counted.limit if counted.limit else 1.0
        self._states[label] = (used, standing.others + standing.held, counted)

    def blocked(self, rule: str, scope: str) -> None:
        """Count a refusal."""
        label = self._label(rule, scope)
        with self._lock:
            self._blocks[label] = self._blocks.get(label, 0) + 1

    def first_warning(self, key: str) -> bool:
        """Return whether this counter warns for the first time."""
        with self._lock:
            if key in self._warned:
                return False
            if len(self._warned) >= MAX_WARNINGS:
                self._warned.clear()
            self._warned.add(key)
            return True

    def _label(self, rule: str, scope: str) -> tuple[str, str]:
        label = (shown(rule), shown(scope))
        if label not in self._scopes:
            if len(self._scopes) >= MAX_SERIES:
                return label[0], OTHER
            self._scopes.add(label)
        return label

    def states(self, moment: float) -> list[tuple[dict[str, str], float, float]]:
        """Of each counter whose window is open: its attributes, the settled share, and what is reserved."""
        return [
            (_attributes(*label), used, float(from_units(counted.rule.measure, reserved)))
            for label, (used, reserved, counted) in list(self._states.items())
            if not counted.end or moment < counted.end
        ]

    def blocks(self) -> list[tuple[dict[str, str], int]]:
        """Return the refusals of each counter."""
        with self._lock:
            return [(_attributes(*label), count) for label, count in self._blocks.items()]


def observe_budgets(meter: Meter, guard: Callable[[], Guard | None]) -> None:
    """Register the budgets' instruments.

    `genledger.budget.used` is the settled share of the limit (1 = all of it), `genledger.budget.reserved` what
    calls under way and leases hold (USD or counted), `genledger.budget.blocks` counts the calls that this process
    refused, `genledger.budget.store.failures` the requests that the store did not answer. The first three carry
    `genledger.budget.rule` and `genledger.budget.scope`.

    Args:
        meter: Where to register. An instrument cannot be taken back, and a second one of the same name is ignored.
        guard: Asked at each collection for the guard that is in use.
    """
    from opentelemetry.metrics import Observation

    def used(options: CallbackOptions) -> Iterable[Observation]:
        now = guard()
        return [Observation(share, attributes) for attributes, share, _ in now.states()] if now else []

    def reserved(options: CallbackOptions) -> Iterable[Observation]:
        now = guard()
        return [Observation(held, attributes) for attributes, _, held in now.states()] if now else []

    def blocks(options: CallbackOptions) -> Iterable[Observation]:
        now = guard()
        return [Observation(count, attributes) for attributes, count in now.blocks()] if now else []

    def failed(options: CallbackOptions) -> Iterable[Observation]:
        now = guard()
        return [Observation(now.failures)] if now else []

    meter.create_observable_gauge(
        "genledger.budget.used", [used], "1", "Settled share of a budget's limit in its current window."
    )
    meter.create_observable_gauge(
        "genledger.budget.reserved",
        [reserved],
        "{unit}",
        "What calls under way and leases hold of a budget, in what its rule counts.",
    )
    meter.create_observable_counter("genledger.budget.blocks", [blocks], "{call}", "Calls that a budget rule refused.")
    meter.create_observable_counter(
        "genledger.budget.store.failures",
        [failed],
        "{request}",
        "Requests that the budget store did not answer.",
    )


def _attributes(rule: str, scope: str) -> dict[str, str]:
    return {GENLEDGER_BUDGET_RULE: rule, GENLEDGER_BUDGET_SCOPE: scope}
