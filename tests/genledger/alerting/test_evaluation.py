"""Every kind of rule on a real ledger, in both forms."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Any

import pytest

from genledger.alerting.evaluation import evaluate
from genledger.alerting.history import History
from genledger.alerting.kinds.surroundings import Surroundings
from genledger.alerting.rule_findings import RuleFinding
from genledger.alerting.rules import alert
from genledger.budgets import budget
from genledger.context.attribution import Attribution
from genledger.engine.record import ProductEvent
from genledger.ledger import Ledger
from genledger.pricing.usage import Usage

from ..samples import a_call
from .conftest import NOW, at, calls_of_days

AROUND = Surroundings()


def firing(
    ledger: Ledger,
    now: datetime = NOW,
    around: Surroundings | None = None,
    lost: dict[float, int] | None = None,
    **keys: Any,
) -> list[RuleFinding]:
    with ledger.reading() as connection:
        found = evaluate(alert(**keys), History(connection, now.timestamp(), lost), around or AROUND)
    return [one for one in found if one.verdict.firing]


def labels(found: list[RuleFinding]) -> list[str]:
    return [f"{one.label} {one.subject}".strip() for one in found]


def test_a_spike_is_found_before_its_day_is_over_and_also_the_day_after(ledger: Ledger) -> None:
    ledger.write(calls_of_days(35, 20, 10.0))
    ledger.write(calls_of_days(35, 20, 10.0, tenant="calm"))
    ledger.write([a_call(41.0, started_ns=at(NOW - timedelta(hours=1)))])
    (found,) = firing(ledger, kind="spike")
    assert (found.label, found.verdict.value, found.start.day) == ("tenant=acme", 41.0, 30)
    assert found.verdict.expected == pytest.approx(10.0)
    assert found.cause == ("100% from feature=copilot, 100% from model=gpt-4o-mini-2024-07-18",)
    (late,) = firing(ledger, now=NOW + timedelta(hours=13), kind="spike")
    assert late.id == found.id
    assert firing(ledger, now=NOW - timedelta(hours=2), kind="spike") == []


def test_days_are_those_of_the_rules_time_zone(ledger: Ledger) -> None:
    ledger.write(calls_of_days(35, 20, 10.0))
    late = NOW.replace(hour=23, minute=30)  # the next day in Berlin
    ledger.write([a_call(25.0, started_ns=at(NOW)), a_call(25.0, started_ns=at(late))])
    now = late + timedelta(minutes=10)
    (utc,) = firing(ledger, now=now, kind="spike", min_usd=30)
    assert utc.verdict.value == 50.0
    assert firing(ledger, now=now, kind="spike", min_usd=30, timezone="Europe/Berlin") == []


def test_a_tenant_of_any_name_is_itself_alone(ledger: Ledger) -> None:
    for tenant in ("a*", "ab", 'x" y\n'):
        ledger.write(calls_of_days(35, 20, 10.0, tenant=tenant))
    ledger.write([a_call(50.0, started_ns=at(NOW), attribution=Attribution(tenant=name)) for name in ("a*", 'x" y\n')])
    found = firing(ledger, now=NOW + timedelta(hours=1), kind="spike")
    assert sorted(labels(found)) == ['tenant="x\\" y\\n"', "tenant=a*"]
    assert {one.verdict.value for one in found} == {50.0}


def test_a_glob_is_one_scope(ledger: Ledger) -> None:
    ledger.write([*calls_of_days(20, 20, 10.0, tenant="eu-1"), *calls_of_days(20, 20, 10.0, tenant="eu-2")])
    ledger.write([a_call(60.0, started_ns=at(NOW), attribution=Attribution(tenant="eu-2"))])
    (found,) = firing(ledger, now=NOW + timedelta(hours=1), kind="spike", tenant="eu-*")
    assert (found.label, found.verdict.expected) == ("tenant=eu-*", pytest.approx(20.0))


def test_growth_names_its_cause(ledger: Ledger) -> None:
    last_monday = NOW - timedelta(days=7)
    ledger.write(calls_of_days(28, 20, 20.0, until=last_monday))
    ledger.write(calls_of_days(7, 60, 60.0))
    (found,) = firing(ledger, kind="growth")
    assert (found.verdict.value, found.verdict.expected) == (pytest.approx(420.0), pytest.approx(140.0))
    assert found.cause[0].startswith("3 times the calls, 1 times the tokens per call, 1 times the cost per token")


@pytest.mark.parametrize("per", ["hour", "day", "week", "month"])
def test_spend_passes_each_amount_once_in_its_window(ledger: Ledger, per: str) -> None:
    ledger.write([a_call(30.0, started_ns=at(NOW - timedelta(minutes=30)))])
    now = NOW - timedelta(minutes=10)
    found = firing(ledger, now=now, kind="spend", per=per, above=[10, 20, 40], form="plain")
    assert [one.threshold for one in found] == [10.0, 20.0]
    assert len({one.id for one in found}) == 2


def test_a_new_version_that_takes_more_tokens_for_a_success_is_a_regression(ledger: Ledger) -> None:
    for number in range(300):
        version, tokens = ("v1", 1000) if number < 200 else ("v2", 1700)
        when = NOW - timedelta(hours=100) + timedelta(minutes=15 * number)
        who = Attribution(feature="draft", prompt_name="p", prompt_version=version)
        ledger.write(
            [a_call(0.1, started_ns=at(when), trace_id=number + 1, attribution=who, usage=Usage(input=tokens))],
            [ProductEvent("accepted", at(when), Attribution(feature="draft"), number + 1, None, 1.0)],
        )
    (found,) = firing(ledger, kind="regression")
    assert labels([found]) == ["feature=draft prompt_version v2"]
    assert (found.verdict.value, found.verdict.expected, found.verdict.n) == (1700.0, 1000.0, 100)
    assert firing(ledger, kind="regression", outcome_name="sent") == []
    with ledger.reading() as connection:
        (few,) = evaluate(alert(kind="regression", min_successes=150), History(connection, NOW.timestamp()), AROUND)
    assert not few.verdict.enough


def test_a_release_is_a_version_too(ledger: Ledger) -> None:
    for number in range(200):
        release, tokens = ("1.0", 1000) if number < 100 else ("1.1", 1700)
        when = NOW - timedelta(hours=100) + timedelta(minutes=15 * number)
        who = Attribution(feature="draft")
        usage = Usage(input=tokens)
        ledger.write(
            [a_call(0.1, started_ns=at(when), trace_id=number + 1, attribution=who, usage=usage, release=release)],
            [ProductEvent("accepted", at(when), who, number + 1, None, 1.0)],
        )
    assert labels(firing(ledger, kind="regression", split="release")) == ["feature=draft release 1.1"]


def test_errors_that_burn_tokens_name_their_kind(ledger: Ledger) -> None:
    for number in range(60):
        failed = number % 2 == 0
        ledger.write(
            [
                a_call(
                    0.1,
                    started_ns=at(NOW - timedelta(seconds=29 * number + 1)),
                    outcome="error" if failed else "success",
                    error_type="RateLimitError" if failed else None,
                    attempts=3 if failed else 1,
                )
            ]
        )
    (found,) = firing(ledger, kind="errors")
    assert (found.label, found.verdict.value) == ("feature=copilot", 0.5)
    assert found.cause == ("errors: RateLimitError (30)", "60 retries")


def test_a_budget_that_will_not_last_is_found_by_its_pace(ledger: Ledger) -> None:
    now = NOW.replace(day=12)
    ledger.write(calls_of_days(35, 20, 40.0, until=now))
    rules = [
        budget(name="tenants", tenant="each", usd={"starter": 1000, "pro": 9000}, per="month"),
        budget(name="rate", requests=60, per="rolling 1m"),
    ]
    starter, pro = Surroundings(rules, lambda tenant: "starter"), Surroundings(rules, lambda tenant: "pro")
    (found,) = firing(ledger, now=now, around=starter, kind="pace")
    assert labels([found]) == ["tenant=acme budget tenants"]
    assert found.verdict.value == pytest.approx(440.0)
    assert found.verdict.expected == pytest.approx(440 + 19 * 40, rel=0.05)
    assert firing(ledger, now=now, around=pro, kind="pace") == []
    assert firing(ledger, now=now, around=starter, kind="pace", budget="other*") == []


def embed(when: datetime, tokens: int, usd: float) -> Any:
    return a_call(usd, started_ns=at(when), operation="embeddings", usage=Usage(input=tokens))


def test_a_surge_of_embeddings_is_found_and_a_weekly_one_is_not(ledger: Ledger) -> None:
    soon = NOW - timedelta(minutes=20)
    for hours in range(1, 20 * 24):
        ledger.write([embed(NOW - timedelta(hours=hours), 2_000, 0.001), a_call(started_ns=at(soon))])
    ledger.write([embed(soon, 5_000_000, 4.0)])
    (found,) = firing(ledger, kind="embeddings")
    assert found.verdict.value == 5_002_000
    ledger.write([embed(soon - timedelta(weeks=1), 5_000_000, 4.0)])
    assert firing(ledger, kind="embeddings") == []
    assert len(firing(ledger, kind="embeddings", form="plain")) == 1


def test_unpriced_calls_name_their_models(ledger: Ledger) -> None:
    ledger.write(calls_of_days(1, 60, 10.0, until=NOW + timedelta(days=1)))
    ledger.write([a_call(None, started_ns=at(NOW - timedelta(hours=1)), response_model="new-1") for _ in range(20)])
    (found,) = firing(ledger, now=NOW + timedelta(hours=10), kind="unpriced")
    assert found.cause == ("unpriced: new-1 (unknown_model, 20)",)


def test_records_that_processes_lost_are_counted(ledger: Ledger) -> None:
    ledger.write([a_call(started_ns=at(NOW))])
    lost = {NOW.timestamp() - 600: 3, NOW.timestamp() - 7200: 50}
    (found,) = firing(ledger, lost=lost, kind="dropped")
    assert found.verdict.value == 3
    assert firing(ledger, kind="dropped") == []


def test_silence_is_told_in_busy_hours_and_not_at_night(ledger: Ledger) -> None:
    ledger.write(calls_of_days(30, 60, 10.0))
    evening = NOW.replace(hour=18)
    assert len(firing(ledger, now=evening, kind="silence")) == 1
    assert firing(ledger, now=NOW.replace(hour=5), kind="silence") == []
    assert len(firing(ledger, now=NOW.replace(hour=5), kind="silence", form="plain")) == 1


def test_a_model_that_was_not_there_before_is_new(ledger: Ledger) -> None:
    ledger.write(calls_of_days(20, 20, 10.0))
    ledger.write([a_call(1.0, started_ns=at(NOW - timedelta(hours=2)), response_model="gpt-9") for _ in range(6)])
    ledger.write([a_call(9.0, started_ns=at(NOW - timedelta(hours=2)), response_model="tried-once")])
    assert labels(firing(ledger, kind="new")) == ["organization model gpt-9"]
    assert len(firing(ledger, kind="new", form="plain")) == 2


def test_an_empty_ledger_has_nothing_to_tell(ledger: Ledger) -> None:
    for kind in ("spike", "regression", "errors", "embeddings", "growth", "unpriced", "dropped", "silence", "new"):
        for form in ("sound", "plain"):
            assert firing(ledger, kind=kind, form=form) == []


def test_a_key_that_budgets_see_for_the_first_time_is_new(ledger: Ledger) -> None:
    around = Surroundings(keys={"a1": 0.0, "b2": NOW.timestamp() - 60, "c3": NOW.timestamp() - 2 * 86400})
    assert labels(firing(ledger, around=around, kind="new", watch="api_key")) == ["organization api_key b2"]
