"""The address of the page: it says all that is shown, and comes back as it was."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from genledger.dashboards.local_page.view import Span, View, address, conditions, narrowed, read_view, within, without
from genledger.ledger.query import Filter, QueryError
from genledger.reports.periods import PeriodError

HOME = View()
NAMES = st.text(st.characters(exclude_categories=["Cs"]), max_size=12)


@given(
    values=st.lists(NAMES, min_size=1, max_size=3, unique=True),
    operator=st.sampled_from(["=", "!=", "~"]),
    since=st.sampled_from(["", "7d", "last-week", "2026-11-01T00:00"]),
    by=st.lists(st.sampled_from(["feature", "metadata.plan"]), max_size=2, unique=True),
)
def test_a_view_comes_back_from_its_address(values: list[str], operator: str, since: str, by: list[str]) -> None:
    view = View(
        board="explore",
        since=since,
        zone="Asia/Kolkata",
        where=(Filter("tenant", operator, tuple(values)),),  # type: ignore[arg-type]
        metrics=("cost",),
        by=tuple(by),
        every="day",
    )
    assert read_view(address(view).removeprefix("?"), HOME) == view


def test_an_address_that_says_nothing_shows_what_the_command_was_given() -> None:
    home = View(since="last-week", zone="Europe/Berlin")
    assert read_view("", home) == home
    assert read_view("board=spend", home) == View(board="spend", since="last-week", zone="Europe/Berlin")


def test_inputs_of_fields_are_conditions() -> None:
    assert read_view("tenant=acme%2C+Inc&feature=&where=user%21%3Dann", HOME).where == (
        Filter("tenant", "=", ("acme, Inc",)),
        Filter("user", "!=", ("ann",)),
    )


def test_a_condition_can_be_taken_away() -> None:
    view = read_view("where=tenant%3Dacme&where=tenant%3Dglobex&where=feature%3D", HOME)
    first, *others = conditions(view)
    assert conditions(without(view, first)) == others


def test_what_a_bar_stands_for_is_narrower_than_what_is_shown() -> None:
    view = read_view("board=tenants&where=tenant%3Dacme&where=tenant%3Dglobex&tz=Asia/Kolkata", HOME)
    span = Span(1_790_000_000_123_456_000, 1_790_003_600_000_000_000)
    opened = read_view((address(narrowed(view, {"tenant": "acme"}, "cost")) + within(span)).removeprefix("?"), HOME)
    assert opened.where == (Filter("tenant", "=", ("acme",)),)
    assert opened.traces == "cost"
    assert opened.span("30d", datetime.now(UTC)) == span
    unknown = read_view(address(narrowed(view, {"feature": None}, "cost")).removeprefix("?"), HOME)
    assert Filter("feature", "=", ("",)) in unknown.where


@pytest.mark.parametrize(
    ("query", "error", "said"),
    [
        ("where=tenant", QueryError, "write it like tenant=acme"),
        ("every=minute", QueryError, "there is no time grain 'minute'; there are hour"),
        ("tz=Mars/Olympus", PeriodError, "there is no time zone 'Mars/Olympus'"),
        ("&".join(["by=x"] * 200), ValueError, "fields"),
    ],
)
def test_an_address_that_is_none_says_why(query: str, error: type[Exception], said: str) -> None:
    with pytest.raises(error, match=said):
        read_view(query, HOME)
