"""What reports on a week read: clusters, successes of traces and sessions, endings, what cost consists of."""

from __future__ import annotations

from typing import Any

import pytest

from genledger.context.attribution import Attribution
from genledger.engine.record import CallRecord, ProductEvent
from genledger.ledger import Ledger, weeks
from genledger.ledger.rows import trace_hex
from genledger.ledger.weeks import WHOLE, Composition, Ended, Period
from genledger.pricing.cost import Cost, Part
from genledger.pricing.usage import Usage

from ..samples import a_call

WEEK = Period(1_000_000, 2_000_000)


def call(usd: float | None = 1.0, *, trace: int, session: str | None = None, **fields: Any) -> CallRecord:
    who = Attribution(tenant="acme", feature="copilot", session=session)
    return a_call(usd, **{"trace_id": trace, "started_ns": 1_500_000, "attribution": who, **fields})


def event(
    value: float = 1.0, *, trace: int | None = None, session: str | None = None, at_ns: int = 1_600_000
) -> ProductEvent:
    return ProductEvent(
        "accepted", at_ns, Attribution(tenant="acme", feature="copilot", session=session), trace, None, value
    )


def ended(ledger: Ledger) -> dict[tuple[str, bool], int]:
    with ledger.reading() as connection:
        return {(one.ending, one.won): one.calls for one in weeks.endings(connection, WEEK)}


def test_a_trace_with_a_success_won_and_so_did_all_of_its_calls(ledger: Ledger) -> None:
    ledger.write([call(trace=1), call(trace=1), call(trace=2)], [event(trace=1)])
    assert ended(ledger) == {("answered", True): 2, ("answered", False): 1}
    with ledger.reading() as connection:
        assert weeks.traces_won(connection, WEEK) == {"copilot": (1, 2)}


def test_an_outcome_without_value_is_no_success(ledger: Ledger) -> None:
    ledger.write([call(trace=1)], [event(0.0, trace=1)])
    assert ended(ledger) == {("answered", False): 1}


def test_a_success_after_the_week_counts_for_its_trace(ledger: Ledger) -> None:
    ledger.write([call(trace=1)], [event(trace=1, at_ns=WEEK.end_ns + 10**15)])
    assert ended(ledger) == {("answered", True): 1}


def test_an_outcome_in_a_trace_without_calls_belongs_to_its_session(ledger: Ledger) -> None:
    ledger.write([call(trace=1, session="s"), call(trace=2, session="t")], [event(trace=9, session="s")])
    assert ended(ledger) == {("answered", True): 1, ("answered", False): 1}


def test_an_outcome_in_a_trace_with_calls_belongs_to_this_trace_alone(ledger: Ledger) -> None:
    ledger.write([call(trace=1, session="s"), call(trace=2, session="s")], [event(trace=1, session="s")])
    assert ended(ledger) == {("answered", True): 1, ("answered", False): 1}


def test_an_outcome_without_trace_and_session_tells_of_no_trace(ledger: Ledger) -> None:
    ledger.write([call(trace=1)], [event(), event()])
    assert ended(ledger) == {("answered", False): 1}
    with ledger.reading() as connection:
        found = weeks.cluster_outcomes(connection, WEEK)
    assert [(one.successes, one.joined) for one in found] == [(1, False), (1, False)]
    assert len({one.cluster for one in found}) == 2


def test_calls_end_as_failed_cancelled_or_answered(ledger: Ledger) -> None:
    outcomes = ("error", "timeout", "rate_limited", "cancelled", "blocked", "success")
    ledger.write([call(trace=number, outcome=outcome) for number, outcome in enumerate(outcomes, 1)])
    assert ended(ledger) == {("failed", False): 3, ("cancelled", False): 1, ("answered", False): 2}


def test_outcomes_and_calls_of_a_session_are_one_cluster(ledger: Ledger) -> None:
    ledger.write(
        [call(2.0, trace=1, session="s"), call(3.0, trace=2, session="s"), call(4.0, trace=3)],
        [event(trace=1), event(session="s"), event(trace=3)],
    )
    with ledger.reading() as connection:
        spent = {one.cluster: (one.calls, one.cost) for one in weeks.cluster_spend(connection, WEEK)}
        gained = {one.cluster: one.successes for one in weeks.cluster_outcomes(connection, WEEK)}
    assert spent == {"s": (2, 5.0), trace_hex(3): (1, 4.0)}
    assert gained == {"s": 2, trace_hex(3): 1}


def test_only_calls_of_the_period_count(ledger: Ledger) -> None:
    times = (WEEK.begin_ns - 1, WEEK.begin_ns, WEEK.end_ns - 1, WEEK.end_ns)
    ledger.write([call(trace=number, started_ns=at) for number, at in enumerate(times, 1)])
    with ledger.reading() as connection:
        assert {one.cluster for one in weeks.cluster_spend(connection, WEEK)} == {trace_hex(2), trace_hex(3)}
    assert ended(ledger) == {("answered", False): 2}


def test_what_cost_consisted_of(ledger: Ledger) -> None:
    parts = (Part("input", 100, 0.01, 1.0), Part("output", 10, 0.1, 1.0))
    ledger.write(
        [
            call(trace=1, cost=Cost(2.0, "table", parts)),
            call(trace=2, cost=Cost(2.0, "table", parts)),
            call(5.0, trace=3, usage=Usage(input=40, output=10)),  # the provider's total
            call(None, trace=4),
            call(None, trace=5, unpriced=None),  # nobody bills it
        ]
    )
    with ledger.reading() as connection:
        found = weeks.compositions(connection, WEEK)
    assert found == {
        ("acme", "copilot", "openai/gpt-4o-mini-2024-07-18"): Composition(
            calls=4, priced=3, parts={WHOLE: (50, 5.0), "input": (200, 2.0), "output": (20, 2.0)}
        )
    }


def test_attempts_that_were_never_answered_are_found(ledger: Ledger) -> None:
    parts = (Part("input", 1, 1.0, 1.0), Part("input", 2, 1.0, 2.0))
    ledger.write(
        [
            call(trace=1, attempts=2, cost=Cost(3.0, "table", parts, None, ("x", "includes_lost_attempts:2"))),
            call(
                trace=2, attempts=2, outcome="error", cost=Cost(3.0, "table", (), None, ("includes_lost_attempts:1",))
            ),
            call(trace=3, attempts=2),
        ]
    )
    with ledger.reading() as connection:
        (found,) = weeks.lost_attempts(connection, WEEK)
    assert (found.cost, found.parts, found.attempts) == (3.0, parts, 2)


@pytest.mark.parametrize(("unit", "lengths"), [("call", [(10, 2), (30, 1)]), ("trace", [(20, 1), (30, 1)])])
def test_outputs_are_those_of_calls_or_of_traces(ledger: Ledger, unit: Any, lengths: list[tuple[int, int]]) -> None:
    ledger.write(
        [
            *(call(trace=1, usage=Usage(input=5, output=8, reasoning=2)) for _ in range(2)),
            call(trace=2, usage=Usage(output=30)),
            call(trace=3, usage=Usage(input=7)),
        ]
    )
    with ledger.reading() as connection:
        assert [row[1:] for row in weeks.output_lengths(connection, WEEK, unit)] == lengths
        (longest,) = weeks.long_outputs(connection, WEEK, unit, "copilot", 25, 10)
    assert (longest.trace, longest.output_tokens, longest.span is None) == (trace_hex(2), 30, unit == "trace")


def test_revenue_is_what_outcomes_with_a_currency_add_up_to(ledger: Ledger) -> None:
    ledger.write(
        events=[
            event(5.0),
            event(49.9)._replace(currency="USD", key="invoice-1"),
            event(39.9)._replace(currency="USD", key="invoice-1"),  # corrected
            event(10.1)._replace(currency="USD", key="invoice-2"),
            event(-3.0)._replace(currency="EUR"),
            event(9.0, at_ns=WEEK.end_ns)._replace(currency="USD"),
        ]
    )
    with ledger.reading() as connection:
        found = {one.currency: one.amount for one in weeks.revenue(connection, WEEK)}
    assert found == {"USD": pytest.approx(50.0), "EUR": -3.0}


def test_a_call_without_anything_is_no_trouble(ledger: Ledger) -> None:
    ledger.write([call(None, trace=1, usage=None, request_model=None, response_model=None, attribution=Attribution())])
    with ledger.reading() as connection:
        assert list(weeks.compositions(connection, WEEK)) == [(None, None, "openai/")]
        assert weeks.endings(connection, WEEK) == [Ended(None, "answered", False, 1, 0.0)]
