"""What the evaluation of a rule found for one scope, window and threshold."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from datetime import datetime

from genledger.alerting.history import Scope
from genledger.alerting.rules import AlertRule
from genledger.alerting.verdicts import Verdict
from genledger.budgets.rules.scope import ORGANIZATION, scope_part
from genledger.ledger.query import Filter


@dataclass(frozen=True, slots=True)
class RuleFinding:
    """One answer.

    Attributes:
        rule: The rule.
        scope: The scope: fields and values.
        threshold: Which of the rule's thresholds.
        start: The beginning of the window, in the rule's time zone.
        end: The end of it; of a rolling window, now.
        verdict: The answer.
        impact_usd: What it is about, in USD: the excess over what was expected.
        subject: What it is about, besides the scope: a budget, a version, a new value.
        cause: What changed most, for people.
        where: What selects the calls that it is about.
        unit: Of the numbers, where the kind of rule does not say.
    """

    rule: AlertRule
    scope: Scope
    threshold: float
    start: datetime
    end: datetime
    verdict: Verdict
    impact_usd: float = 0.0
    subject: str = ""
    cause: tuple[str, ...] = ()
    where: tuple[Filter, ...] = ()
    unit: str = ""

    @property
    def label(self) -> str:
        """Return the scope for people, such as `tenant=acme`."""
        return " ".join(scope_part(field, value) for field, value in self.scope) or ORGANIZATION

    @property
    def key(self) -> str:
        """Return what is the same in every window: rule, scope, subject and threshold."""
        return f"{self.rule.name}|{self.label}|{self.subject}|{self.threshold:g}"

    @property
    def id(self) -> str:
        """Return what is the same for one alert: its key and window.

        A rolling window has the number of its lengths since the epoch: what comes and goes is told once in each.
        """
        rolling = self.rule.window_s
        window = self.end.timestamp() // rolling if rolling else self.start.isoformat()
        return hashlib.sha256(f"{self.key}|{window}".encode(errors="surrogatepass")).hexdigest()[:16]
