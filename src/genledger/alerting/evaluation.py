"""The evaluation of rules, of whatever kind."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping

from genledger.alerting.history import History
from genledger.alerting.kinds.budget_pace import paces
from genledger.alerting.kinds.new_values import new_values
from genledger.alerting.kinds.spending_rules import growths, spends, spikes
from genledger.alerting.kinds.surroundings import Surroundings
from genledger.alerting.kinds.traffic import embedding_surges, error_burns, lost_records, silences, unpriced_shares
from genledger.alerting.kinds.versions import regressions
from genledger.alerting.rule_findings import RuleFinding
from genledger.alerting.rules import AlertRule, KindName


def evaluate(rule: AlertRule, history: History, around: Surroundings) -> list[RuleFinding]:
    """Return what a rule finds, for each of its scopes, windows and thresholds, firing or not.

    Raises:
        QueryError: The ledger cannot answer what the rule asks.
        LedgerError: The ledger cannot be read.
    """
    return list(_KINDS[rule.kind](rule, history, around))


_KINDS: Mapping[KindName, Callable[[AlertRule, History, Surroundings], Iterator[RuleFinding]]] = {
    "spike": spikes,
    "regression": regressions,
    "errors": error_burns,
    "pace": paces,
    "embeddings": embedding_surges,
    "growth": growths,
    "spend": spends,
    "unpriced": unpriced_shares,
    "dropped": lost_records,
    "silence": silences,
    "new": new_values,
}
