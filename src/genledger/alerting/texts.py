"""Findings as messages: for people, and as data for webhooks."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import Any

from genledger.alerting.actions import Remedy
from genledger.alerting.rule_findings import RuleFinding
from genledger.channels.message import SCHEMA, Notice, State
from genledger.shared.text import message, shown

KEPT_SECONDS = 7 * 86400.0
"""How long a message is still delivered after it was made."""

_UNITS = {
    "spike": "USD",
    "growth": "USD",
    "spend": "USD",
    "new": "USD",
    "errors": "share",
    "unpriced": "share",
    "embeddings": "tokens",
    "silence": "calls",
    "dropped": "records",
}

_COMPARED = frozenset({"growth", "regression"})
"""Kinds that compare with what was before, and whose interval is that of the value."""

_FORMS = {
    ("spike", "plain"): "more than {above:g} times the mean of the 7 days before",
    ("spike", "sound"): "weekday profile, growth and robust deviation; more than {above:g} times what is expected",
    ("spend", "plain"): "more than ${above:,.2f}",
    ("spend", "sound"): "more than ${above:,.2f}, and more than is usual on this weekday",
    ("growth", "plain"): "up by more than {above:.0%}",
    ("growth", "sound"): "up by more than {above:.0%}, which chance does not explain (95 %)",
    ("regression", "plain"): "more than {above:g} times what it was",
    ("regression", "sound"): "more than {above:g} times what it was, which chance does not explain (95 %)",
    ("errors", "plain"): "more than {above:.0%} of calls fail while input tokens rise",
    ("errors", "sound"): "more than {above:.0%} of calls fail (95 %), also lately, while input tokens rise",
    ("pace", "plain"): "more than {above:g} % used in the first week",
    ("pace", "sound"): "forecast of more than {above:g} % by weekday profile (low end of 95 %)",
    ("embeddings", "plain"): "more than {above:g} times the tokens of generation",
    ("embeddings", "sound"): "more than generation, and more than {above:g} times a busy hour",
    ("unpriced", "plain"): "more than {above:.1%} of calls",
    ("unpriced", "sound"): "more than {above:.1%} of calls (95 %)",
    ("dropped", "plain"): "more than {above:g} records",
    ("dropped", "sound"): "more than {above:g} records and 0.1 % of the calls",
    ("silence", "plain"): "no call, and there were some before",
    ("silence", "sound"): "no call, which is most unlikely by the same hours of the last weeks",
    ("new", "plain"): "not used in the 28 days before",
    ("new", "sound"): "not used in the 28 days before, and used more than once or twice",
}


def unit_of(finding: RuleFinding) -> str:
    """Return the unit of the finding's numbers."""
    return finding.unit or _UNITS[finding.rule.kind]


def amount(number: float | None, unit: str) -> str:
    """Return a number with its unit, for people."""
    if number is None:
        return "-"
    if unit.startswith("USD"):
        return f"${number:,.2f}{unit[3:]}" if abs(number) >= 0.01 or not number else f"${number:.6f}{unit[3:]}"
    return f"{number:.1%}" if unit == "share" else f"{number:,.0f} {unit}"


def form_of(finding: RuleFinding) -> str:
    """Return which form has decided, and by what."""
    rule = finding.rule
    by = _FORMS[rule.kind, rule.form].format(above=finding.threshold)
    return f"{rule.form} form: {by}"


def data_of(finding: RuleFinding) -> str:
    """Return how much the finding is judged by, for people."""
    verdict = finding.verdict
    n = f"n = {verdict.n:,} {verdict.of}".rstrip()
    return n if verdict.enough else f"not enough data ({n})"


def measured(finding: RuleFinding) -> str:
    """Return what was measured and what was expected, for people."""
    verdict, unit = finding.verdict, unit_of(finding)
    text = amount(verdict.value, unit)
    if finding.rule.kind in _COMPARED and verdict.expected is not None:
        if verdict.low is not None:
            text += f" (95 %: {amount(verdict.low, unit)} to {amount(verdict.high, unit)})"
        text += f"; before {amount(verdict.expected, unit)}"
    elif verdict.expected is not None:
        text += f"; expected {amount(verdict.expected, unit)}"
        if verdict.low is not None and verdict.high is not None and unit != "share":
            text += f" ({amount(verdict.low, unit)} to {amount(verdict.high, unit)})"
    return f"{text}; limit {amount(verdict.limit, unit)}"


def title_of(finding: RuleFinding, state: State) -> str:
    """Return the title of a message."""
    about = f" {finding.subject}" if finding.subject else ""
    word = "Alert" if state == "firing" else "Resolved"
    return message(f"{word} {finding.rule.name}: {finding.label}{about}")


def window_of(finding: RuleFinding) -> str:
    """Return the window, for people."""
    end = finding.end
    if finding.rule.calendar == "day":
        return f"{finding.start:%A %Y-%m-%d} ({_zone(finding.start)})"
    return f"{finding.start:%Y-%m-%d %H:%M} to {end:%Y-%m-%d %H:%M} ({_zone(end)})"


def _zone(when: datetime) -> str:
    return str(when.tzinfo)


def payload_of(finding: RuleFinding, steps: Sequence[Remedy], state: State = "firing") -> dict[str, Any]:
    """Return a finding as data; docs/alerts.md has the schema."""
    verdict = finding.verdict
    return {
        "schema": SCHEMA,
        "id": finding.id,
        "rule": shown(finding.rule.name),
        "kind": finding.rule.kind,
        "form": finding.rule.form,
        "state": state,
        "scope": {field: shown(value) for field, value in finding.scope},
        "subject": shown(finding.subject),
        "window": {
            "start": finding.start.isoformat(),
            "end": finding.end.isoformat(),
            "timezone": finding.rule.timezone,
        },
        "threshold": finding.threshold,
        "value": _finite(verdict.value),
        "expected": _finite(verdict.expected),
        "low": _finite(verdict.low),
        "high": _finite(verdict.high),
        "limit": _finite(verdict.limit),
        "unit": unit_of(finding),
        "n": verdict.n,
        "enough_data": verdict.enough,
        "impact_usd": round(finding.impact_usd, 6),
        "text": text_of(finding),
        "cause": [message(cause) for cause in finding.cause],
        "actions": [
            {
                "title": message(step.title),
                "command": message(step.command),
                "undo": message(step.undo),
                "done": step.does is not None and finding.rule.action != "notify",
            }
            for step in steps
        ],
        "links": [],
    }


def text_of(finding: RuleFinding) -> str:
    """Return one line about a finding."""
    data = "" if finding.verdict.enough else f"; {data_of(finding)}"
    return message(f"{finding.label}, {window_of(finding)}: {measured(finding)} ({form_of(finding)}{data})")


def firing_notice(payloads: Sequence[dict[str, Any]], title: str, at: float) -> Notice:
    """Return the message about one alert, or about many of one rule: the digest."""
    if len(payloads) == 1:
        (payload,) = payloads
        lines = [payload["text"]]
        if payload["cause"]:
            lines.append(f"Cause: {'; '.join(payload['cause'])}.")
        for step in payload["actions"]:
            undo = f" Undo: `{step['undo']}`." if step["undo"] else ""
            if payload["state"] == "firing":
                lines.append(f"{'Done' if step['done'] else 'To do'}: {step['title']}: `{step['command']}`.{undo}")
            elif step["done"]:
                lines.append(f"It ends by itself: {step['title']}.{undo}")
        return Notice(title, "\n".join(lines), payload, at, at + KEPT_SECONDS)
    first = payloads[0]
    largest = sorted(payloads, key=lambda payload: -payload["impact_usd"])
    lines = [payload["text"] for payload in largest[:MOST_LISTED]]
    if len(payloads) > MOST_LISTED:
        lines.append(f"and {len(payloads) - MOST_LISTED:,} more; `genledger alerts list` has all")
    digest = {
        "schema": SCHEMA,
        "id": "-".join(payload["id"] for payload in payloads[:2]) + f"-{len(payloads)}",
        **{key: first[key] for key in ("rule", "kind", "form", "state")},
        "alerts": largest,
    }
    return Notice(title, "\n".join(lines), digest, at, at + KEPT_SECONDS)


MOST_LISTED = 10
"""Scopes that a digest lists."""


def _finite(number: float | None) -> float | None:
    return None if number is None or number in (float("inf"), float("-inf")) else round(number, 9)
