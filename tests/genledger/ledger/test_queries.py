from __future__ import annotations

import sqlite3
from collections import defaultdict
from collections.abc import Callable
from contextlib import closing
from datetime import UTC, datetime
from fractions import Fraction
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from genledger.context.attribution import Attribution
from genledger.engine.record import CallRecord, ProductEvent
from genledger.ledger import Ledger
from genledger.ledger.queries import nothing, outcome_costs, report, retries, spending
from genledger.ledger.run_spending import total
from genledger.ledger.spending import EVERYTHING, Dimension, Selection
from genledger.pricing.usage import Usage

MakeEntry = Callable[..., CallRecord]
CENT = Fraction(1, 100)


def ns(text: str) -> int:
    return int(datetime.fromisoformat(text).replace(tzinfo=UTC).timestamp()) * 10**9


def by_key(ledger: Ledger, by: Dimension, selection: Selection = EVERYTHING) -> dict[str | None, Any]:
    with ledger.reading() as connection:
        return {row.key: row for row in spending(connection, by, selection)}


KEYS: dict[Dimension, Callable[[CallRecord], str | None]] = {
    "feature": lambda entry: entry.attribution.feature,
    "tenant": lambda entry: entry.attribution.tenant,
    "user": lambda entry: entry.attribution.user,
    "session": lambda entry: entry.attribution.session,
    "prompt_version": lambda entry: (
        " ".join(filter(None, (entry.attribution.prompt_name, entry.attribution.prompt_version))) or None
    ),
    "model": lambda entry: entry.response_model if entry.response_model is not None else entry.request_model,
    "provider": lambda entry: entry.provider,
    "day": lambda entry: f"{datetime.fromtimestamp(entry.started_ns // 10**9, UTC):%Y-%m-%d}",
}

names = st.none() | st.sampled_from(["a", "b", "c"])
specimens = st.fixed_dictionaries(
    {
        "usd": st.none() | st.sampled_from([0.0, 0.1, 0.07, 1e-9, 1 / 3]) | st.floats(0, 1e4),
        "started_ns": st.integers(ns("2026-11-01"), ns("2026-11-04") - 1),
        "provider": st.sampled_from(["openai", "anthropic"]),
        "request_model": names,
        "response_model": names,
        "outcome": st.sampled_from(["success", "timeout", "rate_limited", "error", "cancelled", "blocked"]),
        "attribution": st.builds(
            Attribution,
            tenant=names,
            feature=names,
            user=names,
            session=names,
            prompt_name=names,
            prompt_version=names,
        ),
        "usage": st.none()
        | st.builds(
            Usage,
            input=st.integers(0, 10**6),
            input_audio=st.integers(0, 9),
            cache_read=st.integers(0, 10**6),
            cache_read_image=st.integers(0, 9),
            cache_write_1h=st.integers(0, 9),
            output=st.integers(0, 10**6),
            reasoning=st.integers(0, 9),
        ),
    }
)


@settings(
    max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow]
)
@given(fields=st.lists(specimens, max_size=40), by=st.sampled_from(sorted(KEYS)))
def test_every_breakdown_adds_up_to_the_cent(
    ledger: Ledger, make_entry: MakeEntry, fields: list[dict[str, Any]], by: Dimension
) -> None:
    entries = [make_entry(**one) for one in fields]
    ledger.path.unlink(missing_ok=True)
    ledger.write(entries)
    groups: dict[str | None, list[CallRecord]] = defaultdict(list)
    for entry in entries:
        groups[KEYS[by](entry)].append(entry)
    rows = by_key(ledger, by)
    assert rows.keys() == groups.keys()
    for key, members in groups.items():
        row = rows[key]
        costs = [Fraction(entry.cost.amount) for entry in members if entry.cost is not None]
        assert (row.cost_usd is None) == (not costs)
        assert abs(Fraction(row.cost_usd or 0) - sum(costs)) < CENT / 1000
        assert row.calls == len(members)
        assert row.priced == len(costs)
        assert row.unpriced == len(members) - len(costs)
        assert sum(row.unpriced_reasons.values()) == row.unpriced
        assert row.errors == sum(entry.outcome in ("error", "timeout", "rate_limited") for entry in members)
        used = [entry.usage for entry in members if entry.usage is not None]
        assert row.input_tokens == sum(usage.input_tokens for usage in used)
        assert row.output_tokens == sum(usage.output_tokens for usage in used)
        assert row.cached_tokens == sum(usage.cache_read_tokens for usage in used)
    whole = total(rows.values())
    exact = sum(Fraction(entry.cost.amount) for entry in entries if entry.cost is not None)
    assert abs(Fraction(whole.cost_usd or 0) - exact) < CENT / 1000
    assert whole.calls == len(entries)
    if exact:
        assert sum(row.share or 0.0 for row in rows.values()) == pytest.approx(1.0)


def test_many_tiny_and_huge_costs_in_any_order_agree_to_the_cent(ledger: Ledger) -> None:
    ledger.open()
    with closing(sqlite3.connect(ledger.path)) as connection, connection:
        # 50,000 calls from a hundredth of a micro-dollar to a thousand dollars, mixed.
        connection.execute(
            """
            INSERT INTO calls (trace_id, span_id, started_ns, duration_s, library, provider, operation, stream,
                outcome, attempts, usage_estimated, tenant, cost_usd)
            WITH RECURSIVE n (i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 50000)
            SELECT i, i, i, 0, '', '', '', 0, 'success', 1, 0, i % 50,
                CASE WHEN i % 7 THEN 1e-8 * (1 + i % 13) ELSE 999.99 / (1 + i % 11) END
            FROM n
            """
        )
        amounts = [row[0] for row in connection.execute("SELECT cost_usd FROM calls")]
    exact = sum(map(Fraction, amounts))
    for by in KEYS:
        assert abs(Fraction(total(by_key(ledger, by).values()).cost_usd or 0) - exact) < CENT / 1000


def test_what_is_unpriced_is_never_zero(ledger: Ledger, make_entry: MakeEntry) -> None:
    nobody_bills = make_entry(cost=None, unpriced=None, provider="chroma")
    free = make_entry(usd=0.0, provider="self_hosted")
    ledger.write([make_entry(usd=None), make_entry(usd=None, unpriced="no_usage"), nobody_bills, free])
    rows = by_key(ledger, "provider")
    assert (rows["openai"].cost_usd, rows["openai"].unpriced) == (None, 2)
    assert rows["openai"].unpriced_reasons == {"no_usage": 1, "unknown_model": 1}
    assert (rows["self_hosted"].cost_usd, rows["self_hosted"].unpriced) == (0.0, 0)
    assert (rows["chroma"].cost_usd, rows["chroma"].unpriced, rows["chroma"].priced) == (None, 0, 0)
    whole = total(rows.values())
    assert (whole.cost_usd, whole.priced, whole.unpriced, whole.calls) == (0.0, 1, 2, 4)


def test_the_dearest_comes_first_and_days_come_in_order(ledger: Ledger, make_entry: MakeEntry) -> None:
    for tenant, usd, day in (("a", 1.0, 3), ("b", 3.0, 1), ("c", None, 2), ("d", 2.0, 2)):
        ledger.write([make_entry(usd, attribution=Attribution(tenant=tenant), started_ns=ns(f"2026-11-0{day}T12:00"))])
    assert list(by_key(ledger, "tenant")) == ["b", "d", "a", "c"]
    assert list(by_key(ledger, "day")) == ["2026-11-01", "2026-11-02", "2026-11-03"]


def test_a_selection_takes_what_started_from_since_to_before_until(ledger: Ledger, make_entry: MakeEntry) -> None:
    ledger.write([make_entry(started_ns=at, provider=str(at)) for at in (9, 10, 19, 20)])
    assert set(by_key(ledger, "provider", Selection(since_ns=10, until_ns=20))) == {"10", "19"}


def test_a_selection_of_a_tenant_and_feature_leaves_out_the_others(ledger: Ledger, make_entry: MakeEntry) -> None:
    for tenant in ("a", "b"):
        for feature in ("x", "y"):
            ledger.write([make_entry(attribution=Attribution(tenant=tenant, feature=feature))])
    assert by_key(ledger, "feature", Selection(tenant="a")).keys() == {"x", "y"}
    assert by_key(ledger, "tenant", Selection(tenant="a", feature="x"))["a"].calls == 1


def accepted(tenant: str, feature: str | None = "copilot", **more: Any) -> ProductEvent:
    return ProductEvent(
        "draft_accepted", 1_790_000_000 * 10**9, Attribution(tenant=tenant, feature=feature, **more), None, None, 1.0
    )


@pytest.fixture
def with_outcomes(ledger: Ledger, make_entry: MakeEntry) -> Ledger:
    """acme spends 3 dollars on 4 accepted drafts, globex 1 on none; search spends 50 on something else."""
    ledger.write(
        [
            make_entry(2.0, attribution=Attribution(tenant="acme", feature="copilot", prompt_version="v1")),
            make_entry(1.0, attribution=Attribution(tenant="acme", feature="copilot", prompt_version="v2")),
            make_entry(1.0, attribution=Attribution(tenant="globex", feature="copilot", prompt_version="v2")),
            make_entry(None, attribution=Attribution(tenant="globex", feature="copilot", prompt_version="v2")),
            make_entry(50.0, attribution=Attribution(tenant="acme", feature="search")),
        ],
        [accepted("acme", prompt_version="v1"), *[accepted("acme", prompt_version="v2")] * 3],
    )
    return ledger


def test_an_outcome_costs_what_its_feature_spent_divided_by_how_often_it_came(with_outcomes: Ledger) -> None:
    with with_outcomes.reading() as connection:
        (cost,) = outcome_costs(connection, "feature")
        assert outcome_costs(connection, "model") == outcome_costs(connection, "day") == [cost]
    assert (cost.name, cost.feature, cost.key) == ("draft_accepted", "copilot", None)
    assert (cost.outcomes, cost.value, cost.calls, cost.unpriced) == (4, 4.0, 4, 1)
    assert (cost.cost_usd, cost.cost_per_outcome) == (4.0, 1.0)


def test_by_tenant_those_who_only_spend_are_there_too(with_outcomes: Ledger) -> None:
    with with_outcomes.reading() as connection:
        acme, globex = outcome_costs(connection, "tenant")
    assert (acme.key, acme.outcomes, acme.cost_usd, acme.cost_per_outcome) == ("acme", 4, 3.0, 0.75)
    assert (globex.key, globex.outcomes, globex.cost_usd, globex.cost_per_outcome) == ("globex", 0, 1.0, None)


def test_prompt_versions_can_be_compared_by_what_an_outcome_costs(with_outcomes: Ledger) -> None:
    with with_outcomes.reading() as connection:
        costs = {cost.key: cost.cost_per_outcome for cost in outcome_costs(connection, "prompt_version")}
    assert costs == {"v1": 2.0, "v2": pytest.approx(2 / 3)}


def test_values_in_several_currencies_are_not_added_up(ledger: Ledger) -> None:
    ledger.write(events=[accepted("acme")._replace(currency=currency, value=10.0) for currency in ("EUR", "EUR")])
    with ledger.reading() as connection:
        assert [cost.value for cost in outcome_costs(connection, "feature")] == [20.0]
    ledger.write(events=[accepted("acme")._replace(currency="USD", value=10.0)])
    with ledger.reading() as connection:
        assert [(cost.outcomes, cost.value) for cost in outcome_costs(connection, "feature")] == [(3, None)]


def test_an_outcome_nobody_spent_on_has_no_cost(ledger: Ledger) -> None:
    ledger.write(events=[accepted("acme", feature=None)])
    with ledger.reading() as connection:
        (cost,) = outcome_costs(connection, "feature")
    assert (cost.feature, cost.outcomes, cost.cost_usd, cost.cost_per_outcome) == (None, 1, None, None)


def test_retries_are_counted_by_cause(ledger: Ledger, make_entry: MakeEntry) -> None:
    ledger.write(
        [
            make_entry(1.0),
            make_entry(0.5, attempts=3, retry_causes=("429", "timeout"), duration_s=4.0),
            make_entry(None, attempts=2, retry_causes=("429",), duration_s=2.0),
            make_entry(0.25, attempts=2, retry_causes=("429",), started_ns=1),
        ]
    )
    with ledger.reading() as connection:
        found = retries(connection, Selection(since_ns=2))
    assert (found.calls, found.requests, found.causes) == (2, 3, {"429": 2, "timeout": 1})
    assert (found.cost_usd, found.unpriced, found.duration_s) == (0.5, 1, 6.0)


def test_a_report_of_an_empty_ledger_is_that_of_none(ledger: Ledger) -> None:
    with ledger.reading() as connection:
        assert report(connection, "tenant") == nothing("tenant")


@pytest.mark.parametrize(
    ("sql", "index"),
    [
        ("SELECT sum(cost_usd) FROM calls WHERE started_ns >= 1 GROUP BY tenant", "calls_started"),
        ("SELECT count(*) FROM calls WHERE unpriced IS NOT NULL AND started_ns >= 1", "calls_unpriced"),
        ("SELECT count(*) FROM calls WHERE attempts > 1 AND started_ns >= 1", "calls_retried"),
        ("SELECT count(*) FROM outcomes WHERE at_ns >= 1", "outcomes_at"),
        ("SELECT * FROM calls WHERE trace_id = 'a'", "sqlite_autoindex_calls_1"),
        ("SELECT * FROM steps WHERE trace_id = 'a'", "sqlite_autoindex_steps_1"),
        ("SELECT count(*) FROM steps WHERE kind = 'agent' AND started_ns >= 1", "steps_started"),
    ],
)
def test_a_report_reads_only_its_period(ledger: Ledger, sql: str, index: str) -> None:
    with ledger.reading() as connection:
        plan = [row["detail"] for row in connection.execute(f"EXPLAIN QUERY PLAN {sql}")]
    assert plan[0].startswith("SEARCH"), plan
    assert index in plan[0]
