"""A product outcome is a row, a point, an event; with a key, the last one that is recorded is the one that counts."""

from __future__ import annotations

import time
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta, timezone
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
from opentelemetry import trace

import genledger
from genledger_semconv.checker import assert_clean

from ...instrumentors.telemetry import Telemetry, instrumented
from ..applications import rows, run
from ..forks import run_together

NAMES = {"tenant": "genledger.tenant.id", "feature": "genledger.feature", "prompt_version": "gen_ai.prompt.version"}
TRACE = 0x0AF7651916CD43DD8448EB211C80319C


@pytest.fixture
def ledger(tmp_path: Path) -> Path:
    return tmp_path / "ledger.db"


@pytest.fixture
def telemetry(ledger: Path) -> Iterator[Telemetry]:
    with instrumented(destinations=["ledger"], ledger=str(ledger)) as telemetry:
        yield telemetry
        assert_clean(telemetry.spans, telemetry.metrics, telemetry.logs)
        assert not telemetry.complaints.texts


def outcomes(ledger: Path) -> list[dict[str, Any]]:
    assert genledger.flush(60)
    return rows(ledger, "SELECT * FROM outcomes ORDER BY rowid")


def counted(telemetry: Telemetry, metric: str) -> dict[tuple[Any, ...], float]:
    """What a counter has, by name, tenant, feature, prompt version and currency."""
    assert genledger.flush(60)
    data = telemetry.metrics
    labels = ("genledger.outcome.name", *NAMES.values(), "genledger.outcome.currency")
    return {
        tuple((point.attributes or {}).get(label) for label in labels): point.value  # type: ignore[union-attr]
        for resource in (data.resource_metrics if data is not None else ())
        for scope in resource.scope_metrics
        for one in scope.metrics
        if one.name == metric
        for point in one.data.data_points
        if point.value  # type: ignore[union-attr]
    }


def assert_parity(telemetry: Telemetry, ledger: Path) -> None:
    """What the counters have is what the ledger has, by every label."""
    count: dict[tuple[Any, ...], float] = {}
    value: dict[tuple[Any, ...], float] = {}
    for row in outcomes(ledger):
        who = (row["name"], *(row[name] for name in NAMES))
        count[*who, None] = count.get((*who, None), 0) + 1
        value[*who, row["currency"]] = value.get((*who, row["currency"]), 0) + row["value"]
    assert counted(telemetry, "genledger.outcomes") == count
    net = counted(telemetry, "genledger.outcomes.value")
    for labels, amount in counted(telemetry, "genledger.outcomes.withdrawn").items():
        net[labels] = net.get(labels, 0) - amount
    assert {labels: amount for labels, amount in net.items() if amount} == pytest.approx(
        {labels: amount for labels, amount in value.items() if amount}
    )


def test_it_is_a_row_a_point_and_an_event_of_its_trace(telemetry: Telemetry, ledger: Path) -> None:
    before = time.time_ns()
    with (
        genledger.attribution(
            tenant="acme", feature="copilot", prompt_version="v4", user="u1", metadata={"plan": "pro"}
        ),
        genledger.observe("review"),
    ):
        here = trace.get_current_span().get_span_context()
        genledger.record_outcome("draft_accepted")
        genledger.record_outcome("invoice_paid", Decimal("49.90"), currency="EUR", key="o-17")
    accepted, paid = outcomes(ledger)
    assert (accepted["value"], accepted["currency"], accepted["key"]) == (1.0, None, None)
    assert (paid["value"], paid["currency"], paid["key"]) == (49.9, "EUR", "o-17")
    assert {row["trace_id"] for row in (accepted, paid)} == {f"{here.trace_id:032x}"}
    assert before <= accepted["at_ns"] <= time.time_ns()
    assert counted(telemetry, "genledger.outcomes") == {
        ("draft_accepted", "acme", "copilot", "v4", None): 1,
        ("invoice_paid", "acme", "copilot", "v4", None): 1,
    }
    assert_parity(telemetry, ledger)
    event = telemetry.logs[1].log_record
    assert event.event_name == "genledger.outcome"
    assert (event.trace_id, event.span_id, event.timestamp) == (here.trace_id, here.span_id, paid["at_ns"])
    assert dict(event.attributes or {}) == {
        "genledger.outcome.name": "invoice_paid",
        "genledger.outcome.value": 49.9,
        "genledger.outcome.currency": "EUR",
        "genledger.outcome.key": "o-17",
        "genledger.tenant.id": "acme",
        "genledger.feature": "copilot",
        "gen_ai.prompt.version": "v4",
        "user.id": "u1",
        "genledger.metadata.plan": "pro",
    }


@pytest.mark.parametrize("trace_id", [TRACE, f"{TRACE:032x}", f"{TRACE:032X}"])
@pytest.mark.parametrize("at", [datetime(2026, 11, 1, 8, tzinfo=UTC), 1793520000, 1793520000.0])
def test_a_late_one_has_its_own_time_and_trace(telemetry: Telemetry, ledger: Path, trace_id: Any, at: Any) -> None:
    with genledger.observe("webhook"):
        genledger.record_outcome("renewed", at=at, trace_id=trace_id)
    (row,) = outcomes(ledger)
    assert (row["at_ns"], row["trace_id"], row["span_id"]) == (1793520000_000000000, f"{TRACE:032x}", None)
    (event,) = telemetry.logs
    assert (event.log_record.timestamp, event.log_record.trace_id) == (1793520000_000000000, TRACE)


def test_the_same_key_again_corrects_and_is_not_counted_again(telemetry: Telemetry, ledger: Path) -> None:
    for value in (50.0, 40.0, 40.0, 65.5, -3.0, 0.0, 12.0):
        with genledger.attribution(tenant="acme", feature="shop"):
            genledger.record_outcome("paid", value, currency="EUR", key="o-1")
            genledger.record_outcome("paid", value, currency="EUR", key="o-2")
            genledger.record_outcome("refunded", value, currency="EUR", key="o-1")
        assert_parity(telemetry, ledger)
    assert [(row["name"], row["key"], row["value"]) for row in outcomes(ledger)] == [
        ("paid", "o-1", 12.0),
        ("paid", "o-2", 12.0),
        ("refunded", "o-1", 12.0),
    ]
    assert set(counted(telemetry, "genledger.outcomes").values()) == {1, 2}


def test_what_a_correction_leaves_out_stays_as_it_was(telemetry: Telemetry, ledger: Path) -> None:
    with genledger.attribution(tenant="acme", feature="shop", user="u1", tags=["a"]), genledger.observe("checkout"):
        genledger.record_outcome("paid", 50, currency="EUR", key="o-1")
    (first,) = outcomes(ledger)
    with genledger.observe("webhook"):
        genledger.record_outcome("paid", 40, key="o-1")
    (second,) = outcomes(ledger)
    assert second == {**first, "value": 40.0}
    with genledger.attribution(feature="store"):
        genledger.record_outcome("paid", 30, key="o-1", at=datetime(2026, 11, 1, tzinfo=UTC), trace_id=TRACE)
    (third,) = outcomes(ledger)
    moved = {"at_ns": 1793491200_000000000, "trace_id": f"{TRACE:032x}", "span_id": None, "feature": "store"}
    assert third == {**first, "value": 30.0, **moved}


def test_a_correction_with_another_currency_or_tenant_moves_the_value(telemetry: Telemetry, ledger: Path) -> None:
    for tenant, currency in (("acme", "EUR"), ("acme", "USD"), ("globex", "USD")):
        with genledger.attribution(tenant=tenant):
            genledger.record_outcome("paid", 10, currency=currency, key="o-1")
    (row,) = outcomes(ledger)
    assert (row["tenant"], row["currency"], row["value"]) == ("globex", "USD", 10.0)
    values, back = (counted(telemetry, f"genledger.outcomes.{name}") for name in ("value", "withdrawn"))
    assert {labels: value - back.get(labels, 0) for labels, value in values.items()} == {
        ("paid", "acme", None, None, "EUR"): 0,
        ("paid", "acme", None, None, "USD"): 0,
        ("paid", "globex", None, None, "USD"): 10,
    }
    assert sum(counted(telemetry, "genledger.outcomes").values()) == 1


def test_another_process_corrects_the_same_row(tmp_path: Path, ledger: Path) -> None:
    for value in (50, 40):
        code = f'import genledger\ngenledger.instrument()\ngenledger.record_outcome("paid", {value}, key="o-1")\n'
        run(tmp_path, code, GENLEDGER_LEDGER=str(ledger))
    (row,) = rows(ledger, "SELECT * FROM outcomes")
    assert row["value"] == 40.0


def test_instrumenting_again_forgets_no_key(ledger: Path) -> None:
    with instrumented(destinations=[]) as telemetry:
        genledger.record_outcome("paid", 50, key="o-1")
        genledger.instrument(tracer_provider=telemetry.tracer_provider, meter_provider=telemetry.meter_provider)
        genledger.record_outcome("paid", 40, key="o-1")
        assert sum(counted(telemetry, "genledger.outcomes").values()) == 1


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"value": float("nan")}, "finite"),
        ({"value": float("inf")}, "finite"),
        ({"value": "much"}, "must be a number"),
        ({"value": None}, "must be a number"),
        ({"currency": "eur"}, "currency"),
        ({"currency": "EURO"}, "currency"),
        ({"currency": 978}, "currency"),
        ({"key": ""}, "key"),
        ({"key": "k" * 257}, "key"),
        ({"key": 17}, "key"),
        ({"at": datetime(2026, 11, 1)}, "time zone"),  # noqa: DTZ001
        ({"at": "yesterday"}, "datetime or seconds"),
        ({"at": True}, "datetime or seconds"),
        ({"at": 1793520000000}, "seconds since 1970"),
        ({"at": float("nan")}, "seconds since 1970"),
        ({"at": datetime(1969, 1, 1, tzinfo=UTC)}, "seconds since 1970"),
        ({"trace_id": "0af7"}, "32 hexadecimal digits"),
        ({"trace_id": 0}, "32 hexadecimal digits"),
        ({"trace_id": 1 << 128}, "32 hexadecimal digits"),
        ({"trace_id": True}, "32 hexadecimal digits"),
    ],
)
def test_what_cannot_be_is_named(telemetry: Telemetry, ledger: Path, wrong: dict[str, Any], message: str) -> None:
    with pytest.raises((ValueError, TypeError), match=message):
        genledger.record_outcome("paid", **{"value": 1, **wrong})
    assert outcomes(ledger) == []


def test_a_time_with_a_zone_of_its_own_is_the_same_moment(telemetry: Telemetry, ledger: Path) -> None:
    here = datetime(2026, 11, 1, 9, 30, tzinfo=timezone(timedelta(hours=5, minutes=30)))
    genledger.record_outcome("renewed", at=here)
    (row,) = outcomes(ledger)
    assert row["at_ns"] == 1793505600_000000000


def test_each_has_the_release_that_recorded_it(ledger: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LANGFUSE_RELEASE", "2.0")
    with instrumented(destinations=["ledger"], ledger=str(ledger)) as telemetry:
        genledger.record_outcome("paid", key="o-1")
        assert [row["release"] for row in outcomes(ledger)] == ["2.0"]
        (event,) = telemetry.logs
        assert (event.log_record.attributes or {})["service.version"] == "2.0"
    monkeypatch.setenv("LANGFUSE_RELEASE", "2.1")
    with instrumented(destinations=["ledger"], ledger=str(ledger)):
        genledger.record_outcome("paid", 2, key="o-1")
        assert [(row["release"], row["value"]) for row in outcomes(ledger)] == [("2.0", 2.0)]


def test_what_a_forked_child_corrects_is_right_in_both_together(ledger: Path) -> None:
    def take_back_ten() -> None:
        genledger.record_outcome("paid", 40, key="o-1")
        assert counted(telemetry, "genledger.outcomes") == {}
        assert list(counted(telemetry, "genledger.outcomes.withdrawn").values()) == [10]

    with instrumented(destinations=[]) as telemetry:
        genledger.record_outcome("paid", 50, key="o-1")
        assert run_together([take_back_ten]) == [0]
        assert list(counted(telemetry, "genledger.outcomes.value").values()) == [50]
