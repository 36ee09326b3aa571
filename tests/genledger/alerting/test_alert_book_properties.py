"""Whatever is found, and whenever: each alert is told once, and ends after it began."""

from __future__ import annotations

from collections import Counter
from dataclasses import asdict
from datetime import UTC, datetime, timedelta

from hypothesis import given
from hypothesis import strategies as st

from genledger.alerting.alert_book import AlertBook
from genledger.alerting.rule_findings import RuleFinding
from genledger.alerting.rules import AlertRule, alert
from genledger.alerting.verdicts import Verdict
from genledger.shared.text import as_json

RULES = [alert(kind="spike"), alert(kind="unpriced", over="1h"), alert(kind="growth"), alert(kind="new")]
BEGIN = datetime(2026, 11, 23, tzinfo=UTC)

moments = st.lists(
    st.tuples(st.integers(1, 3000), st.sets(st.tuples(st.sampled_from(range(len(RULES))), st.integers(0, 5)))),
    min_size=1,
    max_size=25,
)
"""Minutes since the moment before, and the rules that fire then, each for a tenant."""


def found(rule: AlertRule, tenant: int, now: datetime, firing: bool) -> RuleFinding:
    day = now.replace(hour=0, minute=0)
    start, end = (now - timedelta(hours=1), now) if rule.window_s else (day, day + timedelta(days=1))
    if rule.kind == "growth":
        end = day - timedelta(days=day.weekday())
        start = end - timedelta(days=7)
    verdict = Verdict(firing, 2.0, 1.0, 1.0, n=30, of="days")
    return RuleFinding(rule, (("tenant", f"t{tenant}"),), 2.0, start, end, verdict)


@given(moments)
def test_each_alert_is_told_once_and_ends_after_it_began(steps: list[tuple[int, set[tuple[int, int]]]]) -> None:
    now, document = BEGIN, ""
    told: Counter[tuple[str, str]] = Counter()
    for minutes, firing in steps:
        now += timedelta(minutes=minutes)
        book = AlertBook.read(document)
        book.pending = []  # handed over
        findings = [
            found(rule, tenant, now, (number, tenant) in firing)
            for number, rule in enumerate(RULES)
            for tenant in range(6)
        ]
        names = [rule.name for rule in RULES]
        notices = book.advance(findings, names, names, now.timestamp(), lambda finding: ())
        assert [one["notice"] for one in book.pending] == [notice.dump() for notice in notices]
        for notice in notices:
            for payload in notice.payload.get("alerts", [notice.payload]):
                if payload["state"] == "resolved":
                    assert told[payload["id"], "firing"] == 1
                told[payload["id"], payload["state"]] += 1
        assert set(told.values()) <= {1}
        going_on = {alert["key"] for alert in book.firing().values()}
        assert {one.key for one in findings if one.verdict.firing and one.rule.window_s} >= {
            key for key in going_on if key.startswith("unpriced")
        }
        document = as_json(asdict(book))


@given(moments)
def test_evaluating_again_at_the_same_moment_tells_nothing(steps: list[tuple[int, set[tuple[int, int]]]]) -> None:
    now, book = BEGIN, AlertBook()
    names = [rule.name for rule in RULES]
    for minutes, firing in steps:
        now += timedelta(minutes=minutes)
        findings = [found(RULES[number], tenant, now, True) for number, tenant in firing]
        book.advance(findings, names, names, now.timestamp(), lambda finding: ())
        assert book.advance(findings, names, names, now.timestamp(), lambda finding: ()) == []


def test_what_a_newer_version_has_noted_is_left_out_and_the_rest_is_known() -> None:
    document = '{"snoozed": {"spike": 5.0}, "of a newer version": 1}'
    assert AlertBook.read(document).snoozed == {"spike": 5.0}
    assert AlertBook.read("[1, 2") == AlertBook.read("[1]") == AlertBook()
