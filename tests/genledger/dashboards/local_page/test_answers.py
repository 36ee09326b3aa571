"""What panels show: the numbers of the ledger, cut to what a chart can tell apart."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from math import fsum

import pytest

from genledger.context.attribution import Attribution
from genledger.dashboards.local_page.answers import Shown, answer
from genledger.dashboards.local_page.ledger_source import Readers
from genledger.dashboards.local_page.page import Source
from genledger.dashboards.local_page.view import Span
from genledger.dashboards.panels import Panel
from genledger.engine.record import CallRecord, ProductEvent
from genledger.ledger import Ledger
from genledger.ledger.query import Answer, Query

from ...samples import a_call
from .conftest import served

BEGIN = datetime(2026, 10, 24, tzinfo=UTC)
ZONE = "Europe/Berlin"  # summer time ends on the 25th


def ns(when: datetime) -> int:
    return int(when.timestamp()) * 10**9


SPAN = Span(ns(BEGIN), ns(BEGIN + timedelta(days=3)))


def calls() -> Iterator[CallRecord]:
    for number in range(300):
        yield a_call(
            number / 100,
            started_ns=ns(BEGIN + timedelta(minutes=14 * number)),
            attribution=Attribution(
                tenant=f"t{number % 25}", feature="search" if number % 3 else None, user=f"u{number}"
            ),
        )


@pytest.fixture(scope="module")
def readers(tmp_path_factory: pytest.TempPathFactory) -> Readers:
    path = tmp_path_factory.mktemp("answers") / "ledger.db"
    written = list(calls())
    events = [ProductEvent("accepted", call.started_ns, call.attribution, None, None, 1.0) for call in written[:150]]
    Ledger(path, max_age_days=None).write(written, events)
    return Readers(path)


def shown(readers: Readers, panel: Panel) -> Shown:
    return answer(panel, (), SPAN, ZONE, readers.ask)


def a_panel(**fields: object) -> Panel:
    values: dict[str, object] = {"title": "T", "help": "H", "chart": "bars", "metrics": ("cost",), **fields}
    return Panel(**values)  # type: ignore[arg-type]


@pytest.mark.parametrize("field", ["tenant", "user"])
def test_groups_that_are_not_drawn_are_one_bar_or_said_to_be_left_out(readers: Readers, field: str) -> None:
    found = shown(readers, a_panel(by=(field,), every="day"))
    if field == "tenant":
        assert [one.name for one in found.series if one.other] == ["16 others"]
        assert fsum(value or 0 for one in found.series for value in one.values) == pytest.approx(
            sum(number / 100 for number in range(300))
        )
    drawn = [fsum(value or 0 for value in one.values) for one in found.series if not one.other]
    assert len(drawn) == 9
    assert drawn == sorted(drawn, reverse=True)


def test_the_groups_of_a_rate_are_those_with_most_calls(readers: Readers) -> None:
    found = shown(readers, a_panel(chart="lines", metrics=("error_rate",), by=("tenant",), every="day"))
    assert not any(one.other for one in found.series)
    assert found.notes == ["The 9 largest of 25 are drawn."]


def test_the_table_has_what_is_drawn_newest_first(readers: Readers) -> None:
    found = shown(readers, a_panel(by=("feature",), every="day"))
    assert found.headings == ["day", "search", "(none)", "total"]
    assert [row[0].text for row in found.rows] == ["Mon 2026-10-26", "Sun 2026-10-25", "Sat 2026-10-24"]
    for at, row in enumerate(reversed(found.rows)):
        assert [float(cell.text.strip("$")) for cell in row[1:3]] == pytest.approx(
            [one.values[at] for one in found.series], abs=0.01
        )


def test_an_hour_that_comes_twice_is_two_rows(readers: Readers) -> None:
    found = shown(readers, a_panel(metrics=("calls",), every="hour"))
    times = [row[0].text for row in found.rows]
    assert len(times) == len(set(times)) == 70
    assert {"2026-10-25 02:00+0200", "2026-10-25 02:00+0100"} < set(times)


def test_ratios_to_few_outcomes_are_left_out_and_counted(readers: Readers) -> None:
    panel = a_panel(chart="lines", metrics=("cost_per_outcome",), by=("feature",), every="day", least_outcomes=60)
    found = shown(readers, panel)
    assert [(one.name, [value is not None for value in one.values]) for one in found.series] == [
        ("search", [True, False, False, False])
    ]
    assert found.notes == ["3 days of groups with fewer than 60 outcomes left out."]


def test_many_hours_are_cut_into_days(readers: Readers) -> None:
    panel = a_panel(metrics=("calls",), every="hour")
    found = answer(panel, (), Span(ns(BEGIN - timedelta(days=60)), SPAN.until_ns), ZONE, readers.ask)
    assert found.headings[0] == "day"


def test_a_panel_that_fails_leaves_the_others(readers: Readers, caplog: pytest.LogCaptureFixture) -> None:
    def ask(query: Query) -> Answer:
        if "tokens" in query.metrics:
            raise RuntimeError("a fault")
        return readers.ask(query)

    with served(Source("ledger", ask, readers.find)) as asked:
        text = asked("/?board=spend&since=all").text
    assert text.count('role="alert"') == text.count("a fault") > 0
    assert "Cost by feature" in text
    assert text.endswith("</html>\n")
    assert any("the panel Tokens could not be answered" in record.getMessage() for record in caplog.records)
