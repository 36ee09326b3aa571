from __future__ import annotations

from collections.abc import Callable

import pytest

from genledger.budgets import Guard, Rulebook, RuleError, chosen, route


@pytest.fixture
def guard(make_guard: Callable[..., Guard]) -> Guard:
    routes = (
        route(name="trial", tier="trial", feature="summaries", model="gpt-5-nano"),
        route(feature="summaries", model="gpt-5-mini"),
        route(tenant="acme-*", model="o3"),
    )
    return make_guard(Rulebook(routes=routes, tenants={"newco": "trial"}), "memory")


@pytest.mark.parametrize(
    ("feature", "tenant", "model", "rule"),
    [
        ("summaries", "newco", "gpt-5-nano", "trial"),
        ("summaries", "acme-1", "gpt-5-mini", "feature=summaries -> gpt-5-mini"),
        ("chat", "acme-1", "o3", "tenant=acme-* -> o3"),
        ("chat", "zeta", "gpt-5", None),
        (None, None, "gpt-5", None),
    ],
)
def test_the_first_route_that_matches_decides(
    guard: Guard, feature: str | None, tenant: str | None, model: str, rule: str | None
) -> None:
    choice = guard.select_model(feature, tenant, default="gpt-5")
    assert (choice.model, choice.rule, choice.asked) == (model, rule, "gpt-5")
    assert rule is None or rule in choice.reason
    assert chosen(model) == choice
    assert chosen("another") is None


def test_without_a_route_or_a_default_there_is_no_model(guard: Guard) -> None:
    with pytest.raises(ValueError, match="no route matches"):
        guard.select_model("chat", "zeta")


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"feature": "x"}, "expected the name of the model"),
        ({"model": "m", "featur": "x"}, "did you mean 'feature'"),
        ({"model": "m", "tier": 5}, "expected the name of a plan tier"),
        ({"model": "m", "user": "x"}, "is not a known key"),
    ],
)
def test_a_route_that_makes_no_sense_is_refused(fields: dict[str, object], message: str) -> None:
    with pytest.raises(RuleError, match=message):
        route(**fields)
