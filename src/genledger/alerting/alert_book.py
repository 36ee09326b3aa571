"""What has been told, what goes on, and what is snoozed: one small document in the budget store.

Every process that evaluates rules reads it, and puts a new one in its place if it is still the same. So an alert is
told once, whoever evaluates, and also after a restart: the document says so before the message goes out, and has the
message until the store has it to deliver.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field, fields
from typing import Any

import orjson

from genledger.alerting.actions import Remedy
from genledger.alerting.rule_findings import RuleFinding
from genledger.alerting.rules import AlertRule
from genledger.alerting.texts import firing_notice, payload_of, text_of, title_of
from genledger.budgets import Store
from genledger.channels.message import Notice, State
from genledger.shared.text import as_json, shown

NAME = "alerts"
"""Of the document."""

REMEMBERED_SECONDS = 8 * 86400.0
"""How long an alert that ended is remembered, so that its window is not told again: a week, and a day."""

LOST_SECONDS = 7 * 86400.0
"""How long lost records are remembered."""

DIGEST_ABOVE = 3
"""Alerts of one rule, in one round, above which they become one message."""

PART_OF_WINDOW = 1 / 168
"""How often a rule is evaluated that has a rolling window: a window of a week, every hour."""

MAX_KEYS = 10_000
"""API keys that are remembered."""

OWED_SECONDS = 30 * 86400.0
"""How long it is remembered that a message was handed to the store."""

TOLD_ONCE = frozenset({"new"})
"""Kinds that happen once: nothing ends."""

LOOK_BACK = frozenset({"growth"})
"""Kinds whose window is always over."""

Told = tuple[str, dict[str, Any], list[dict[str, Any]]]
"""An alert's id and payload, and what is to be done."""


@dataclass(slots=True)
class AlertBook:
    """The document.

    Attributes:
        alerts: Every alert by its id: `key`, `rule`, `title`, `state`, `since`, `end`, `rolling`, and its `payload`.
        snoozed: Until when nothing is told, by the rule's name, or by it and a scope: `spike|tenant=acme`.
        lost: Records that processes have lost, by the minute, in seconds since the epoch.
        pending: Messages that the store does not have yet, and what is to be done.
        keys: Digests of API keys, and when each was first seen; 0 for those that were there from the beginning.
        evaluated: When each rule was last evaluated.
    """

    alerts: dict[str, dict[str, Any]] = field(default_factory=dict)
    snoozed: dict[str, float] = field(default_factory=dict)
    lost: dict[str, int] = field(default_factory=dict)
    pending: list[dict[str, Any]] = field(default_factory=list)
    keys: dict[str, float] = field(default_factory=dict)
    evaluated: dict[str, float] = field(default_factory=dict)

    @classmethod
    def read(cls, document: str) -> AlertBook:
        """From the store's text; empty when there is none, or one that cannot be read."""
        try:
            found = orjson.loads(document) if document else {}
            return cls(**{one.name: found[one.name] for one in fields(cls) if one.name in found})
        except (ValueError, TypeError):
            return cls()

    def is_snoozed(self, finding: RuleFinding, now: float) -> bool:
        """Return whether nothing is told about a rule or scope."""
        names = (finding.rule.name, f"{finding.rule.name}|{finding.label}")
        return any(self.snoozed.get(name, 0.0) > now for name in names)

    def is_due(self, rule: AlertRule, now: float) -> bool:
        """Return whether a rule is to be evaluated again: one that looks at a week is not, every minute."""
        return now - self.evaluated.get(rule.name, 0.0) >= rule.window_s * PART_OF_WINDOW

    def meet(self, keys: Iterable[str], now: float) -> None:
        """Take in which API keys there are. The first ones are not new."""
        seen = now if self.keys else 0.0
        for key in keys:
            if len(self.keys) < MAX_KEYS:
                self.keys.setdefault(key, seen)

    def firing(self) -> dict[str, dict[str, Any]]:
        """Return the alerts that go on."""
        return {name: alert for name, alert in self.alerts.items() if alert["state"] == "firing"}

    def forget(self, now: float) -> None:
        """Forget what is over."""
        self.alerts = {
            name: alert
            for name, alert in self.alerts.items()
            if alert["state"] == "firing" or now - alert["end"] < REMEMBERED_SECONDS
        }
        self.snoozed = {name: until for name, until in self.snoozed.items() if until > now}
        self.lost = {at: count for at, count in self.lost.items() if now - float(at) < LOST_SECONDS}

    def advance(
        self,
        findings: Sequence[RuleFinding],
        evaluated: Iterable[str],
        known: Iterable[str],
        now: float,
        remedies_for: Callable[[RuleFinding], Sequence[Remedy]],
    ) -> list[Notice]:
        """Take in what was found. Return the messages about what began and what ended; they are also `pending`.

        Args:
            findings: All that was found, firing or not.
            evaluated: The names of the rules that this is everything about.
            known: The names of all rules: alerts of others are forgotten.
            now: The moment, in seconds since the epoch.
            remedies_for: Returns what can be done about a finding.
        """
        self.forget(now)
        names = set(known)
        self.evaluated = {name: at for name, at in self.evaluated.items() if name in names}
        self.evaluated.update(dict.fromkeys(evaluated, now))
        self.alerts = {name: alert for name, alert in self.alerts.items() if alert["rule"] in names}
        ended = self._end(findings, set(evaluated), now)
        begun = self._begin(findings, now, remedies_for)
        return [*self._tell(ended, "resolved", now), *self._tell(begun, "firing", now)]

    def _begin(
        self, findings: Sequence[RuleFinding], now: float, remedies_for: Callable[[RuleFinding], Sequence[Remedy]]
    ) -> list[Told]:
        going_on = {alert["key"] for alert in self.firing().values() if alert["rolling"]}
        begun: list[Told] = []
        for finding in findings:
            told = finding.id in self.alerts or finding.key in going_on
            if not finding.verdict.firing or told or self.is_snoozed(finding, now):
                continue
            steps = remedies_for(finding)
            payload = payload_of(finding, steps)
            rolling = bool(finding.rule.window_s)
            # What is told after its window was over has ended already.
            late = not rolling and finding.end.timestamp() <= now and finding.rule.kind not in LOOK_BACK
            self.alerts[finding.id] = {
                "key": finding.key,
                "rule": finding.rule.name,
                "kind": finding.rule.kind,
                "title": title_of(finding, "firing"),
                "ended": title_of(finding, "resolved"),
                "state": "resolved" if late else "firing",
                "since": now,
                "end": finding.end.timestamp() + finding.rule.window_s,
                "rolling": rolling,
                "payload": payload,
            }
            if rolling:
                going_on.add(finding.key)
            acts = [asdict(step) for step in steps if step.does] if finding.rule.action != "notify" else []
            begun.append((finding.id, payload, acts))
        return begun

    def _end(self, findings: Sequence[RuleFinding], evaluated: set[str], now: float) -> list[Told]:
        by_key: dict[str, RuleFinding] = {}
        firing: set[str] = set()
        for finding in findings:
            by_key[finding.key] = finding
            if finding.verdict.firing:
                firing.add(finding.key if finding.rule.window_s else finding.id)
        ended: list[Told] = []
        for name, alert in self.firing().items():
            if alert["rule"] not in evaluated:
                continue
            over = not alert["rolling"] and alert["end"] <= now and alert["kind"] not in LOOK_BACK
            if (alert["key"] if alert["rolling"] else name) in firing and not over:
                continue
            alert["state"] = "resolved"
            alert["end"] = max(alert["end"], now)
            if alert["kind"] in TOLD_ONCE:
                continue
            latest = next((one for one in findings if one.id == name), by_key.get(alert["key"]))
            text = text_of(latest) if latest is not None else "there are no calls any more"
            payload = {**alert["payload"], "state": "resolved", "text": text, "cause": []}
            alert["payload"] = {}
            ended.append((name, payload, []))
        return ended

    def _tell(self, alerts: Sequence[Told], state: State, now: float) -> list[Notice]:
        by_rule: dict[str, list[Told]] = {}
        for one in alerts:
            by_rule.setdefault(self.alerts[one[0]]["rule"], []).append(one)
        notices = []
        for rule, group in by_rule.items():
            apart = [[one] for one in group] if len(group) <= DIGEST_ABOVE else [group]
            for part in apart:
                word = "Alert" if state == "firing" else "Resolved"
                alert = self.alerts[part[0][0]]
                single = alert["title"] if state == "firing" else alert["ended"]
                title = single if len(part) == 1 else f"{word} {shown(rule)}: {len(part)} scopes"
                notice = firing_notice([payload for _, payload, _ in part], title, now)
                ids = "|".join(sorted(name for name, _, _ in part))
                key = hashlib.sha256(f"{ids}|{state}|{alert['since']}".encode()).hexdigest()[:24]
                self.pending.append(
                    {
                        "key": f"alert|{key}",
                        "notice": notice.dump(),
                        "acts": [act for _, _, acts in part for act in acts],
                    }
                )
                notices.append(notice)
        return notices


def change(store: Store, alter: Callable[[AlertBook], Any]) -> Any:
    """Change the document of a store, and return what `alter` returns.

    Raises:
        StoreDown: The store did not answer.
    """
    while True:
        before = store.document(NAME)
        book = AlertBook.read(before)
        result = alter(book)
        after = as_json(asdict(book))
        if after == before or store.replace_document(before, after, NAME):
            return result


def snooze(store: Store, rule: str, scope: str, until: float) -> None:
    """Tell nothing about a rule, or one scope of it, until a moment; a moment that is past ends it.

    Raises:
        StoreDown: The store did not answer.
    """

    def alter(book: AlertBook) -> None:
        book.snoozed[f"{rule}|{scope}" if scope else rule] = until
        book.forget(store.now())

    change(store, alter)


def report_lost(store: Store, records: int) -> None:
    """Note that a process has lost records.

    Raises:
        StoreDown: The store did not answer.
    """
    now = store.now()

    def alter(book: AlertBook) -> None:
        at = f"{now // 60 * 60:.0f}"
        book.lost[at] = book.lost.get(at, 0) + records
        book.forget(now)

    change(store, alter)


def lost_of(book: AlertBook) -> Mapping[float, int]:
    """Return the records that were lost, by moment in seconds since the epoch."""
    return {float(at): count for at, count in book.lost.items()}
