"""What Genledger takes from others' private attributes is there in the installed versions, and can be missed."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import genai_prices.types
import pytest
from opentelemetry import context as context_api
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics._internal._view_instrument_match import _ViewInstrumentMatch
from opentelemetry.sdk.metrics.export import InMemoryMetricReader
from opentelemetry.sdk.trace import Span, TracerProvider

import genledger
from genledger.doctor import diagnose
from genledger.pricing import table, table_update
from genledger.shared import private_attributes
from genledger.shared.private_attributes import USES, PrivateUse

from ...instrumentors.telemetry import instrumented

CALL: dict[str, Any] = {
    "gen_ai.operation.name": "chat",
    "gen_ai.provider.name": "openai",
    "gen_ai.request.model": "gpt-4o",
    "gen_ai.usage.input_tokens": 1_000_000,
    "gen_ai.usage.output_tokens": 0,
}


def forget_self_tests() -> None:
    for use in USES:
        use.__dict__.pop("works", None)


@pytest.fixture(autouse=True)
def untested() -> Iterator[None]:
    """Every test begins, and the next test file too, as if no self-test had run yet."""
    forget_self_tests()
    yield
    forget_self_tests()


def complaints(caplog: pytest.LogCaptureFixture) -> list[str]:
    return [record.getMessage() for record in caplog.records if " no longer has " in record.getMessage()]


@pytest.mark.parametrize("use", USES, ids=lambda use: use.purpose)
def test_the_installed_versions_have_what_is_used(use: PrivateUse, caplog: pytest.LogCaptureFixture) -> None:
    assert use.works
    assert caplog.records == []


def test_the_doctor_lists_every_use_and_what_a_missing_one_means(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GENLEDGER_BUDGET_STORE", "memory:")
    monkeypatch.delattr(genai_prices.types, "_providers_from_raw")
    found = diagnose(timeout=1.0)
    assert {use.purpose: use.works for use in found.private_uses} == {
        use.purpose: use is not private_attributes.PRICE_TABLES for use in USES
    }
    assert any("the installed price table is used" in one.message for one in found.findings)


def test_spans_of_others_still_count_with_their_cost_when_the_sdk_does_not_announce_their_end(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def end(self: Any, end_time: int | None = None) -> None:
        """As the SDK ends a span, without `_on_ending`."""
        self._end_time = end_time or self.start_time + 1
        self._span_processor.on_end(self._readable_span())

    monkeypatch.setattr(Span, "end", end)
    with instrumented() as telemetry:
        span = telemetry.tracer_provider.get_tracer("theirs").start_span("chat gpt-4o", attributes=CALL)
        span.end()
        assert genledger.flush(60)
        assert "genledger.cost.amount" not in telemetry.attributes
        data = telemetry.metrics
    assert data is not None
    costs = [
        point.value
        for resource in data.resource_metrics
        for scope in resource.scope_metrics
        for metric in scope.metrics
        if metric.name == "genledger.cost"
        for point in metric.data.data_points
    ]
    assert costs == [2.5]
    (line,) = complaints(caplog)
    assert "_on_ending" in line
    assert "do not show the cost" in line


def test_without_a_look_at_span_processors_nothing_is_found_and_one_line_is_logged(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    class Moved(TracerProvider):
        def __init__(self, *args: Any, **kwargs: Any) -> None:
            super().__init__(*args, **kwargs)
            self._moved = self.__dict__.pop("_active_span_processor")

        def add_span_processor(self, span_processor: Any) -> None:
            self._moved.add_span_processor(span_processor)

    monkeypatch.setattr("opentelemetry.sdk.trace.TracerProvider", Moved)
    provider = Moved(shutdown_on_exit=False)
    assert [private_attributes.span_processors(provider) for _ in range(2)] == [(), ()]
    (line,) = complaints(caplog)
    assert "_active_span_processor" in line


def test_points_that_cannot_be_forgotten_stay_and_a_new_series_starts_with_its_amount(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def kept(self: Any, new: Any) -> None:
        self.__dict__.setdefault("_moved", new)

    monkeypatch.setattr(
        _ViewInstrumentMatch, "_attributes_aggregation", property(lambda self: self._moved, kept), raising=False
    )
    provider = MeterProvider([reader := InMemoryMetricReader()], shutdown_on_exit=False)
    meter = provider.get_meter("app")
    meter.create_counter("calls").add(1)
    for _ in range(2):
        private_attributes.forget_points(meter)
        assert private_attributes.is_last_collection(meter)
    assert reader.get_metrics_data() is not None
    (line,) = complaints(caplog)
    assert "forked children report their parent's points again" in line


def test_without_the_key_of_the_api_the_documented_one_counts(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.delattr(context_api, "_SUPPRESS_INSTRUMENTATION_KEY")
    assert [private_attributes.suppression_keys() for _ in range(2)] == [("suppress_instrumentation",)] * 2
    assert len(complaints(caplog)) == 1


def test_without_a_reader_of_price_tables_the_installed_table_is_used(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    stored = table_update.Snapshot([{"id": "p", "name": "P", "api_pattern": "p", "models": []}], "2999-01-01", "u")
    monkeypatch.setattr(table_update, "read", lambda: stored)
    table.load.cache_clear()
    try:
        assert [provider.id for provider in table.load().providers] == ["p"]
        table.load.cache_clear()
        forget_self_tests()
        monkeypatch.delattr(genai_prices.types, "_providers_from_raw")
        assert "openai" in {provider.id for provider in table.load().providers}
    finally:
        table.load.cache_clear()
    assert len(complaints(caplog)) == 1
