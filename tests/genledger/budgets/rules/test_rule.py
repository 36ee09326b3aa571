from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from genledger.budgets import RuleError, budget
from genledger.budgets.rules.rule import Scope


@pytest.mark.parametrize(
    ("patterns", "values", "label"),
    [
        ({}, {"tenant": "acme"}, "organization"),
        ({"tenant": "acme"}, {"tenant": "acme"}, "tenant=acme"),
        ({"tenant": "acme"}, {"tenant": "acme2"}, None),
        ({"tenant": "each"}, {"tenant": "acme"}, "tenant=acme"),
        ({"tenant": "each"}, {"tenant": None}, None),
        ({"model": "gpt-5*"}, {"model": "gpt-5-mini"}, "model=gpt-5*"),
        ({"model": "gpt-5*"}, {"model": "o3"}, None),
        ({"tenant": "each", "feature": "chat"}, {"tenant": "a", "feature": "chat"}, "tenant=a feature=chat"),
        ({"tenant": "each", "feature": "chat"}, {"tenant": "a", "feature": "mail"}, None),
        ({"tenant": "Acme"}, {"tenant": "acme"}, None),
    ],
)
def test_a_scope_matches_values_globs_and_each(patterns: Any, values: Any, label: str | None) -> None:
    assert Scope(patterns).label(values) == label


def test_a_scope_of_absurd_length_is_bounded_and_still_its_own() -> None:
    scope = Scope({"model": "each"})
    labels = {scope.label({"model": "x" * 1_000_000 + end}) for end in "ab"}
    assert len(labels) == 2
    assert max(len(label or "") for label in labels) < 600


VALUES = st.text(alphabet='ab =" é\n', min_size=1, max_size=12)


@given(VALUES, VALUES, VALUES, VALUES)
def test_different_values_never_share_a_counter(tenant: str, user: str, other: str, another: str) -> None:
    scope = Scope({"tenant": "each", "user": "each"})
    same = scope.label({"tenant": tenant, "user": user}) == scope.label({"tenant": other, "user": another})
    assert same == ((tenant, user) == (other, another))


def test_a_rule_has_a_name_that_says_what_it_is() -> None:
    assert budget(tenant="each", usd=5, per="day").name == "tenant=each usd/day"
    assert budget(tokens=5, per="rolling 1h").name == "organization tokens/rolling 1h"


def test_the_life_of_a_session_or_run_counts_each_one_by_itself() -> None:
    assert budget(usd=1, per="session").scope.patterns == {"session": "each"}
    assert budget(steps=5, per="run", tenant="acme").scope.patterns == {"tenant": "acme", "run": "each"}
    assert budget(repeats=3).scope.patterns == {"run": "each"}


def test_a_tier_that_a_rule_does_not_name_gets_its_smallest_limit() -> None:
    rule = budget(tenant="each", requests={"starter": 5, "pro": 50}, per="day")
    assert [rule.limit(tier) for tier in ("starter", "pro", "enterprise", None)] == [5, 50, 5, 5]


@pytest.mark.parametrize(
    ("fields", "key", "message"),
    [
        ({"per": "day"}, "", "has no limit; expected one of usd, tokens, requests, steps, repeats, depth"),
        ({"usd": 1, "tokens": 1, "per": "day"}, "tokens", "cannot be combined with usd"),
        ({"usd": 1}, "per", "is missing"),
        ({"usd": 1, "per": "fortnight"}, "per", "'fortnight' is not a window"),
        ({"usd": 1, "per": "day", "timezone": "Mars/Base"}, "timezone", "unknown time zone 'Mars/Base'"),
        ({"usd": "5", "per": "day"}, "usd", "expected a number, got '5'"),
        ({"usd": True, "per": "day"}, "usd", "expected a number"),
        ({"usd": -1, "per": "day"}, "usd", "-1 must not be negative"),
        ({"usd": {}, "per": "day"}, "usd", "one for each plan tier"),
        ({"usd": {"pro": "x"}, "per": "day"}, "usd.pro", "expected a number"),
        ({"usd": 1, "per": "day", "tenat": "acme"}, "tenat", "did you mean 'tenant'?"),
        ({"usd": 1, "per": "day", "tenant": None}, "tenant", "expected a value, a glob or 'each', got None"),
        ({"usd": 1, "per": "day", "at_limit": "degrade", "degrade": {}}, "degrade", "model, max_output_tokens or both"),
        ({"usd": 1, "per": "day", "tenant": 7}, "tenant", "expected a value, a glob or 'each', got 7"),
        (
            {"usd": 1, "per": "day", "at_limit": "blok"},
            "at_limit",
            "expected 'block', 'degrade', 'queue' or 'warn', got 'blok'",
        ),
        ({"usd": 1, "per": "day", "at_limit": "degrade"}, "degrade", "goes together with at_limit"),
        ({"usd": 1, "per": "day", "degrade": {"model": "m"}}, "degrade", "goes together with at_limit"),
        (
            {"usd": 1, "per": "day", "at_limit": "degrade", "degrade": {"modell": "m"}},
            "degrade.modell",
            "did you mean 'model'?",
        ),
        ({"usd": 1, "per": "day", "at_limit": "degrade", "degrade": {"model": 5}}, "degrade.model", "expected the"),
        ({"usd": 1, "per": "day", "at_limit": "queue"}, "queue_seconds", "goes together with at_limit"),
        ({"usd": 1, "per": "day", "at_limit": "queue", "queue_seconds": 0}, "queue_seconds", "between 0 and 3600"),
        ({"usd": 1, "per": "day", "alert_at": [0]}, "alert_at", "percentages from 1 to 100"),
        ({"usd": 1, "per": "day", "on_store_down": "maybe"}, "on_store_down", "'open', 'closed' or 'lease'"),
        ({"usd": 1, "per": "day", "on_crash": "cry"}, "on_crash", "'release' or 'spend'"),
        ({"usd": 1, "per": "day", "unpriced": "no"}, "unpriced", "'allow' or 'block'"),
        ({"usd": 1, "per": "day", "name": ""}, "name", "expected a name"),
        ({"depth": 3, "at_limit": "queue", "queue_seconds": 1}, "at_limit", "expected 'block' or 'warn' for depth"),
    ],
)
def test_a_rule_that_makes_no_sense_names_the_key_and_what_was_expected(
    fields: dict[str, Any], key: str, message: str
) -> None:
    with pytest.raises(RuleError) as caught:
        budget(**fields)
    assert caught.value.key == key
    assert message in str(caught.value)


def test_all_that_is_wrong_with_a_rule_is_named_at_once() -> None:
    with pytest.raises(RuleError) as caught:
        budget(tenant="", usd={"pro": "x", "starter": -1}, per="fortnight", at_limit="queue")
    assert [part.split(": ")[0] for part in str(caught.value).split("; ") if ": " in part] == [
        "tenant",
        "usd.pro",
        "usd.starter",
        "per",
        "queue_seconds",
    ]


def test_a_misspelt_key_is_not_called_missing_as_well() -> None:
    with pytest.raises(RuleError) as caught:
        budget(udd=5, per="day")
    assert str(caught.value) == "udd: is not a known key; did you mean 'usd'?"
