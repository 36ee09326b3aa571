"""How every budget stands, read from the store."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING

import orjson

from genledger.budgets.rules.units import Measure, from_units
from genledger.budgets.rules.windows import BUCKETS, Window
from genledger.budgets.stores.base import Store

if TYPE_CHECKING:
    from genledger.budgets.rules.rule import Rule


@dataclass(frozen=True, slots=True)
class BudgetStatus:
    """One budget in its current window; amounts in USD or counted.

    `reserved` is held by calls in progress and by leases of `processes` processes. A rule that was not used yet has
    no `scope` of its own but its patterns, and its smallest limit.
    """

    rule: str
    scope: str
    measure: Measure
    per: str
    limit: float
    settled: float
    reserved: float
    left: float
    used: float
    resets_at: datetime | None
    processes: int


def read_status(store: Store, rules: Sequence[Rule] = ()) -> list[BudgetStatus]:
    """Return every budget that is in use, and the rules that are not used yet; those most used up first.

    Raises:
        StoreDown: The store did not answer.
    """
    now = store.now()
    found = []
    for counter in store.counters().values():
        meta = orjson.loads(counter.meta)
        if meta["end"] and not meta["start"] <= now < meta["end"]:
            continue
        counter.age(now, meta["span"], meta["span"] / BUCKETS)
        held = sum(lease.held for lease in counter.leases.values())
        window = Window.parse(meta["per"], meta["zone"])
        found.append(
            _status(
                meta["rule"],
                meta["scope"],
                meta["measure"],
                window,
                meta["limit"],
                counter.settled,
                held,
                meta["end"],
                sum(1 for lease in counter.leases.values() if lease.held),
            )
        )
    used = {status.rule for status in found}
    found.extend(
        _status(
            rule.name, str(rule.scope), rule.measure, rule.window, rule.limit(None), 0, 0, rule.window.bounds(now)[1], 0
        )
        for rule in rules
        if rule.name not in used
    )
    return sorted(found, key=lambda status: (-status.used, status.rule, status.scope))


def _status(
    rule: str,
    scope: str,
    measure: Measure,
    window: Window,
    limit: int,
    settled: int,
    held: int,
    end: float,
    processes: int,
) -> BudgetStatus:
    return BudgetStatus(
        rule=rule,
        scope=scope,
        measure=measure,
        per=str(window),
        limit=from_units(measure, limit),
        settled=from_units(measure, settled),
        reserved=from_units(measure, held),
        left=from_units(measure, max(0, limit - settled - held)),
        used=settled / limit if limit else float(settled > 0),
        resets_at=window.local(end) if end else None,
        processes=processes,
    )
