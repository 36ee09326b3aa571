"""What readers collect is what was recorded, under bounded labels, by the names that were asked for."""

from __future__ import annotations

import os
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from opentelemetry.sdk.metrics import Counter as SdkCounter
from opentelemetry.sdk.metrics import ExemplarFilter, Histogram, MeterProvider, ObservableCounter
from opentelemetry.sdk.metrics.export import (
    AggregationTemporality,
    InMemoryMetricReader,
    MetricExporter,
    MetricExportResult,
    PeriodicExportingMetricReader,
)
from opentelemetry.sdk.metrics.view import ExponentialBucketHistogramAggregation, View
from opentelemetry.trace import NonRecordingSpan, SpanContext, TraceFlags, use_span

from genledger.context.attribution import Attribution
from genledger.engine.record import CacheHit, CallRecord, ProductEvent
from genledger.engine.signals.metric_points import MetricNames
from genledger.engine.signals.metrics import MAX_WAITING, Metrics
from genledger.pricing.usage import Usage
from genledger_semconv import SCHEMA_URL
from genledger_semconv.checker import check

MakeEntry = Callable[..., CallRecord]
DELTA = dict.fromkeys((SdkCounter, Histogram, ObservableCounter), AggregationTemporality.DELTA)
NEWEST = {
    "gen_ai.client.inference.duration",
    "gen_ai.client.inference.operation.input_tokens",
    "gen_ai.client.inference.operation.output_tokens",
    "gen_ai.client.inference.time_to_first_chunk",
    "gen_ai.client.inference.time_per_output_chunk",
    "gen_ai.client.inference.usage.input_tokens",
    "gen_ai.client.inference.usage.output_tokens",
    "gen_ai.client.inference.usage.cache_read.input_tokens",
    "gen_ai.client.inference.usage.reasoning.output_tokens",
}
V1_41 = {
    "gen_ai.client.operation.duration",
    "gen_ai.client.token.usage",
    "gen_ai.client.operation.time_to_first_chunk",
    "gen_ai.client.operation.time_per_output_chunk",
}
OURS = {"genledger.cost", "genledger.unpriced.calls"}


class Meters:
    """Metrics on a provider of their own, and what its readers collect."""

    def __init__(
        self,
        *readers: InMemoryMetricReader,
        names: MetricNames = "newest",
        exemplar_filter: ExemplarFilter | None = None,
        views: Sequence[View] = (),
        **options: Any,
    ) -> None:
        self.readers = readers or (InMemoryMetricReader(),)
        self.provider = MeterProvider(
            self.readers, shutdown_on_exit=False, exemplar_filter=exemplar_filter, views=views
        )
        meter = self.provider.get_meter("genledger", "0", SCHEMA_URL)
        self.metrics = Metrics(meter, names=names, **options)
        self.names = names

    def collect(self, reader: int = 0, *, flush: bool = True) -> dict[str, list[Any]]:
        """The points by metric, all of them after a flush; the telemetry is checked against the registry."""
        if flush:
            self.metrics.flush()
        data = self.readers[reader].get_metrics_data()
        if data is None:
            return {}
        assert check(metrics=data, metric_names=self.names) == []
        return {
            metric.name: list(metric.data.data_points)
            for resource in data.resource_metrics
            for scope in resource.scope_metrics
            for metric in scope.metrics
        }


@pytest.fixture
def meters() -> Iterator[Meters]:
    made = Meters()
    yield made
    made.provider.shutdown()


class Gate(ExemplarFilter):
    """Sees every point that the SDK is given, and holds it up while it is closed."""

    def __init__(self) -> None:
        self.seen = 0
        self.reached, self.opened = threading.Event(), threading.Event()
        self.opened.set()

    def should_sample(self, *_: object) -> bool:
        self.seen += 1
        self.reached.set()
        assert self.opened.wait(60)
        return False


def test_a_call_does_not_wait_for_a_collection(make_entry: MakeEntry) -> None:
    gate = Gate()
    meters = Meters(exemplar_filter=gate)
    meters.metrics.record(make_entry(), "inference")
    gate.opened.clear()
    collection = threading.Thread(target=meters.collect)
    collection.start()
    assert gate.reached.wait(60)
    for _ in range(199):
        meters.metrics.record(make_entry(), "inference")
    assert collection.is_alive()
    gate.opened.set()
    collection.join(60)
    (duration,) = meters.collect()["gen_ai.client.inference.duration"]
    assert duration.count == 200


def test_one_call_is_one_point_of_each_with_its_labels(meters: Meters, make_entry: MakeEntry) -> None:
    meters.metrics.record(make_entry(), "inference")
    found = meters.collect()
    labels = {
        "gen_ai.operation.name": "chat",
        "gen_ai.provider.name": "openai",
        "gen_ai.request.model": "gpt-4o-mini",
        "gen_ai.response.model": "gpt-4o-mini-2024-07-18",
        "server.address": "api.openai.com",
        "server.port": 443,
        "genledger.tenant.id": "acme",
        "genledger.feature": "copilot",
        "genledger.outcome": "success",
    }
    (cost,) = found["genledger.cost"]
    assert (cost.value, dict(cost.attributes)) == (0.25, labels)
    (duration,) = found["gen_ai.client.inference.duration"]
    assert (duration.count, duration.sum, dict(duration.attributes)) == (1, 0.5, labels)
    (size,) = found["gen_ai.client.inference.operation.input_tokens"]
    assert (size.count, size.sum) == (1, 120)
    tokens = {
        name: [(p.value, p.attributes["gen_ai.token.modality"]) for p in found[name]]
        for name in found.keys() & NEWEST_COUNTERS
    }
    assert tokens == {
        "gen_ai.client.inference.usage.input_tokens": [(120, "unknown")],
        "gen_ai.client.inference.usage.output_tokens": [(15, "unknown")],
        "gen_ai.client.inference.usage.cache_read.input_tokens": [(20, "unknown")],
        "gen_ai.client.inference.usage.reasoning.output_tokens": [(5, "unknown")],
    }


NEWEST_COUNTERS = {name for name in NEWEST if ".usage." in name}


def test_users_and_sessions_are_no_labels(meters: Meters, make_entry: MakeEntry) -> None:
    who = Attribution("acme", "copilot", "u1", "s1", "draft", "v4", ("beta",), {"plan": "pro"})
    meters.metrics.record(make_entry(attribution=who), "inference")
    labels = {name for points in meters.collect().values() for point in points for name in point.attributes}
    assert not labels & {"user.id", "session.id", "gen_ai.prompt.name", "genledger.tags"}


def test_prompt_version_agent_and_release_are_labels(meters: Meters, make_entry: MakeEntry) -> None:
    who = Attribution("acme", "copilot", prompt_name="draft", prompt_version="v4")
    meters.metrics.record(make_entry(attribution=who, release="1.4.2"), "inference", agent="writer")
    for points in meters.collect().values():
        for point in points:
            labels = {name: point.attributes.get(name) for name in ("gen_ai.prompt.version", "gen_ai.agent.name")}
            assert labels == {"gen_ai.prompt.version": "v4", "gen_ai.agent.name": "writer"}
            assert point.attributes["service.version"] == "1.4.2"


@pytest.mark.parametrize(
    ("operation", "metric"), [("embeddings", "genledger.embeddings.tokens"), ("rerank", "genledger.rerank.tokens")]
)
@pytest.mark.parametrize("names", ["newest", "v1.41", "both"])
def test_tokens_of_embeddings_and_rerank_are_counted_by_themselves(
    operation: str, metric: str, names: MetricNames, make_entry: MakeEntry
) -> None:
    meters = Meters(names=names)
    for tokens in (400, 600):
        meters.metrics.record(make_entry(operation=operation, usage=Usage(input=tokens)), "operation")
    meters.metrics.record(make_entry(operation=operation, usage=Usage(units={"search_unit": 1})), "operation")
    found = meters.collect()
    (point,) = found[metric]
    assert point.value == 1_000
    assert point.attributes["genledger.tenant.id"] == "acme"
    assert not [name for name in found if "inference" in name]


def test_a_failed_call_has_its_error_on_its_duration(meters: Meters, make_entry: MakeEntry) -> None:
    failed = {"usage": None, "outcome": "rate_limited", "error_type": "openai.RateLimitError"}
    meters.metrics.record(make_entry(usd=0.0, **failed), "inference")
    meters.metrics.record(make_entry(), "inference")
    durations = meters.collect()["gen_ai.client.inference.duration"]
    assert Counter(point.attributes.get("error.type") for point in durations) == Counter(
        [None, "openai.RateLimitError"]
    )


def test_unpriced_calls_are_counted_by_reason_and_never_as_nothing(meters: Meters, make_entry: MakeEntry) -> None:
    for _ in range(3):
        meters.metrics.record(make_entry(usd=None), "inference")
    found = meters.collect()
    assert "genledger.cost" not in found
    (unpriced,) = found["genledger.unpriced.calls"]
    assert unpriced.value == 3
    assert unpriced.attributes["genledger.cost.unpriced"] == "unknown_model"


def test_each_modality_is_counted_apart(meters: Meters, make_entry: MakeEntry) -> None:
    usage = Usage(input=100, input_audio=30, input_image=20, output=10, output_audio=5)
    meters.metrics.record(make_entry(usage=usage), "inference")
    found = meters.collect()

    def by_modality(name: str) -> dict[str, int]:
        return {point.attributes["gen_ai.token.modality"]: point.value for point in found[name]}

    assert by_modality("gen_ai.client.inference.usage.input_tokens") == {"text": 100, "audio": 30, "image": 20}
    assert by_modality("gen_ai.client.inference.usage.output_tokens") == {"text": 10, "audio": 5}


@pytest.mark.parametrize(
    ("names", "expected"), [("newest", NEWEST | OURS), ("v1.41", V1_41 | OURS), ("both", NEWEST | V1_41 | OURS)]
)
def test_the_names_are_those_that_were_asked_for(names: MetricNames, expected: set[str], make_entry: MakeEntry) -> None:
    meters = Meters(names=names)
    meters.metrics.record(make_entry(time_to_first_chunk_s=0.1), "inference", [0.01, 0.02])
    meters.metrics.record(make_entry(usd=None), "inference")
    found = meters.collect()
    assert set(found) == expected
    if names != "newest":
        assert {p.attributes["gen_ai.token.type"]: p.sum for p in found["gen_ai.client.token.usage"]} == {
            "input": 240,
            "output": 30,
        }
    if names == "both":
        for pair in (
            ("gen_ai.client.inference.duration", "gen_ai.client.operation.duration"),
            ("gen_ai.client.inference.time_to_first_chunk", "gen_ai.client.operation.time_to_first_chunk"),
        ):
            newest, old = ([(p.count, p.sum) for p in found[name]] for name in pair)
            assert newest == old


@pytest.mark.parametrize(
    ("family", "names"),
    [
        ("operation", {"gen_ai.client.operation.duration"}),
        ("retrieval", {"gen_ai.client.operation.duration", "db.client.operation.duration"}),
        ("db", {"db.client.operation.duration"}),
    ],
)
def test_other_calls_count_in_the_metrics_of_their_family(
    family: str, names: set[str], meters: Meters, make_entry: MakeEntry
) -> None:
    operation = {"operation": "embeddings", "retrieval": "retrieval", "db": "add"}[family]
    provider = "openai" if family == "operation" else "chroma"
    about = {"operation": operation, "provider": provider, "usage": None, "cost": None, "unpriced": None}
    meters.metrics.record(make_entry(request_model=None, response_model=None, **about), family)
    assert set(meters.collect()) == names


# Labels are bounded


def test_a_label_with_too_many_values_says_other_and_the_overflow_is_counted(make_entry: MakeEntry) -> None:
    meters = Meters(max_label_values=3)
    for number in range(10):
        meters.metrics.record(make_entry(attribution=Attribution(f"t{number}")), "inference")
        meters.metrics.record(make_entry(attribution=Attribution(f"t{number}")), "inference")
    found = meters.collect()
    tenants = {point.attributes["genledger.tenant.id"]: point.value for point in found["genledger.cost"]}
    assert tenants == {"t0": 0.5, "t1": 0.5, "t2": 0.5, "other": 7 * 0.5}
    (overflow,) = found["genledger.labels.overflow"]
    assert overflow.attributes == {"genledger.label.name": "genledger.tenant.id"}
    assert overflow.value == 7
    assert {p.attributes["gen_ai.request.model"] for p in found["genledger.cost"]} == {"gpt-4o-mini"}


def test_other_labels_are_bounded_too(make_entry: MakeEntry) -> None:
    meters = Meters(max_label_values=2)
    for number in range(6):
        failed = {"outcome": "error", "error_type": f"E{number}", "request_model": f"m{number}"}
        meters.metrics.record(make_entry(**failed), "inference")
    points = meters.collect()["gen_ai.client.inference.duration"]
    assert {point.attributes["gen_ai.request.model"] for point in points} == {"m0", "m1", "other"}
    assert {point.attributes["error.type"] for point in points} == {"E0", "E1", "other"}
    assert sum(point.count for point in points) == 6


def test_versions_and_agents_are_bounded_too(make_entry: MakeEntry) -> None:
    meters = Meters(max_label_values=2)
    for number in range(5):
        who = Attribution(prompt_version=f"v{number}")
        meters.metrics.record(make_entry(attribution=who), "inference", agent=f"a{number}" * 500)
    for point in meters.collect()["genledger.cost"]:
        assert point.attributes["gen_ai.prompt.version"] in ("v0", "v1", "other")
        assert len(point.attributes["gen_ai.agent.name"]) <= 512


def test_the_names_of_agents_and_tools_are_bounded_too(meters: Meters) -> None:
    meters.metrics.labels.max_values = 2
    for number in range(4):
        meters.metrics.steps.record("agent", f"agent-{number}", 1.0, f"E{number}", 3, 1)
        meters.metrics.steps.record("tool", f"tool-{number % 2}", 1.0, None, 0, 0)
    found = meters.collect()
    for name in ("duration", "inference_calls", "tool_calls"):
        points = found[f"gen_ai.invoke_agent.{name}"]
        assert {point.attributes["gen_ai.agent.name"] for point in points} == {"agent-0", "agent-1", "other"}
        assert sum(point.count for point in points) == 4
    assert {point.attributes["error.type"] for point in found["gen_ai.invoke_agent.duration"]} == {"E0", "E1", "other"}
    assert {p.attributes["gen_ai.tool.name"] for p in found["gen_ai.execute_tool.duration"]} == {"tool-0", "tool-1"}
    overflow = {p.attributes["genledger.label.name"]: p.value for p in found["genledger.labels.overflow"]}
    assert overflow == {"gen_ai.agent.name": 2, "error.type": 2}


# Readers


CALLS = st.lists(
    st.tuples(
        st.sampled_from(["acme", "globex", None]),
        st.sampled_from(["success", "error"]),
        st.one_of(st.none(), st.integers(0, 10**9)),
        st.integers(0, 5000),
        st.integers(0, 5000),
        st.floats(0.001, 100),
        st.lists(st.floats(0, 2), max_size=4),
        st.booleans(),
    ),
    max_size=60,
)


def entries(make: MakeEntry, calls: list[Any]) -> Iterator[tuple[CallRecord, list[float]]]:
    for tenant, outcome, nanos, input, output, duration, gaps, streamed in calls:
        error = "openai.APIError" if outcome == "error" else None
        yield (
            make(
                usd=None if nanos is None else nanos / 1e9,
                attribution=Attribution(tenant),
                outcome=outcome,
                error_type=error,
                usage=Usage(input=input, output=output),
                duration_s=duration,
                time_to_first_chunk_s=0.25 if streamed else None,
            ),
            gaps,
        )


def totals(found: dict[str, list[Any]]) -> dict[str, Any]:
    """Everything that a reader collected, without times."""
    summed: dict[str, Any] = {}
    for name, points in found.items():
        for point in points:
            key = f"{name} {sorted(point.attributes.items())}"
            if hasattr(point, "bucket_counts"):
                said: Any = (point.count, tuple(point.bucket_counts), pytest.approx(point.sum), point.min, point.max)
            else:
                said = pytest.approx(point.value, abs=1e-9)
            summed[key] = said
    return summed


@given(CALLS)
def test_how_often_a_reader_collects_changes_no_total(calls: list[Any]) -> None:
    made = list(entries(plain_entry, calls))
    rarely, often = Meters(), Meters()
    for entry, gaps in made:
        rarely.metrics.record(entry, "inference", gaps)
        often.metrics.record(entry, "inference", gaps)
        often.collect(flush=False)
    assert totals(rarely.collect()) == totals(often.collect())


@given(CALLS, st.integers(1, 5))
def test_what_is_collected_is_what_was_recorded_cumulative_and_delta(calls: list[Any], every: int) -> None:
    cumulative = InMemoryMetricReader()
    delta = InMemoryMetricReader(preferred_temporality=DELTA)  # type: ignore[arg-type]
    meters = Meters(cumulative, delta)
    cost: Counter[Any] = Counter()
    count: Counter[Any] = Counter()
    inputs: Counter[Any] = Counter()
    made = list(entries(plain_entry, calls))
    for number, (entry, gaps) in enumerate(made):
        meters.metrics.record(entry, "inference", gaps)
        if number % every == 0 or number == len(made) - 1:
            found = meters.collect(1, flush=number == len(made) - 1)
            for point in found.get("genledger.cost", ()):
                cost[point.attributes.get("genledger.tenant.id")] += round(point.value * 1e9)
            for point in found.get("gen_ai.client.inference.duration", ()):
                count[point.attributes.get("genledger.tenant.id")] += point.count
            for point in found.get("gen_ai.client.inference.operation.input_tokens", ()):
                inputs[point.attributes.get("genledger.tenant.id")] += point.sum
    truth: Counter[Any] = Counter()
    calls_of: Counter[Any] = Counter()
    tokens_of: Counter[Any] = Counter()
    for entry, _ in made:
        calls_of[entry.attribution.tenant] += 1
        tokens_of[entry.attribution.tenant] += entry.usage.input_tokens if entry.usage is not None else 0
        if entry.cost is not None:
            truth[entry.attribution.tenant] += round(entry.cost.amount * 1e9)
    assert count == calls_of
    assert inputs == tokens_of
    assert cost == truth
    whole = meters.collect(0)
    kept: Counter[Any] = Counter()
    for point in whole.get("genledger.cost", ()):
        kept[point.attributes.get("genledger.tenant.id")] += round(point.value * 1e9)
    assert kept == truth
    assert sum(point.count for point in whole.get("gen_ai.client.inference.duration", ())) == len(made)


def plain_entry(**fields: Any) -> CallRecord:
    usd = fields.pop("usd", 0.25)
    from genledger.pricing.cost import Cost

    values: dict[str, Any] = {
        "trace_id": 1,
        "span_id": 2,
        "parent_span_id": None,
        "library": "openai",
        "provider": "openai",
        "operation": "chat",
        "request_model": "gpt-4o-mini",
        "response_model": "gpt-4o-mini-2024-07-18",
        "response_id": None,
        "started_ns": 1,
        "stream": False,
        "attempts": 1,
        "retry_causes": (),
        "usage_estimated": False,
        "cost": None if usd is None else Cost(usd, "table"),
        "unpriced": "unknown_model" if usd is None else None,
        "server_address": "api.openai.com",
        "server_port": 443,
    }
    return CallRecord(**(values | fields))


def test_points_that_no_reader_asks_for_are_handed_on_in_time(make_entry: MakeEntry) -> None:
    gate = Gate()
    meters = Meters(exemplar_filter=gate)
    for _ in range(3 * MAX_WAITING):
        meters.metrics.record(make_entry(), "inference")
    deadline = time.monotonic() + 60
    while gate.seen < 2 * MAX_WAITING and time.monotonic() < deadline:
        time.sleep(0.01)
    assert gate.seen >= 2 * MAX_WAITING
    (point,) = meters.collect()["gen_ai.client.inference.duration"]
    assert point.count == 3 * MAX_WAITING


def test_views_aggregate_and_drop_labels_as_they_say(make_entry: MakeEntry) -> None:
    view = View(
        instrument_name="*.duration",
        aggregation=ExponentialBucketHistogramAggregation(),
        attribute_keys={"genledger.feature"},
    )
    meters = Meters(views=[view])
    for number in range(5):
        who = Attribution(f"t{number}", "copilot")
        meters.metrics.record(make_entry(attribution=who, duration_s=float(number + 1)), "inference")
    meters.metrics.flush()
    data = meters.readers[0].get_metrics_data()
    assert data is not None
    (point,) = [
        point
        for resource in data.resource_metrics
        for scope in resource.scope_metrics
        for metric in scope.metrics
        if metric.name == "gen_ai.client.inference.duration"
        for point in metric.data.data_points
    ]
    assert (getattr(point, "count", 0), getattr(point, "sum", 0)) == (5, 15.0)
    assert point.attributes == {"genledger.feature": "copilot"}


# Metrics lead to traces


def span_context(number: int, *, sampled: bool = True) -> SpanContext:
    return SpanContext(number, number, is_remote=False, trace_flags=TraceFlags(sampled))


@pytest.mark.parametrize("names", ["newest", "v1.41"])
def test_every_point_of_a_call_leads_to_its_trace(names: MetricNames, make_entry: MakeEntry) -> None:
    meters = Meters(names=names)
    usage = Usage(input=100, input_audio=30, output=10, reasoning=5, cache_read=7)
    streamed = make_entry(usage=usage, time_to_first_chunk_s=0.1)
    meters.metrics.record(streamed, "inference", [0.01, 0.02], span_context(7))
    meters.metrics.record(make_entry(usd=None), "inference", (), span_context(7))
    for name, points in meters.collect().items():
        for point in points:
            assert {exemplar.trace_id for exemplar in point.exemplars} == {7}, name


def test_a_call_whose_span_is_not_sampled_has_no_exemplars(meters: Meters, make_entry: MakeEntry) -> None:
    meters.metrics.record(make_entry(), "inference", (), span_context(7, sampled=False))
    meters.metrics.record(make_entry(), "inference")
    with use_span(NonRecordingSpan(span_context(8))):  # whoever collects is not the call
        found = meters.collect()
    assert not [one for points in found.values() for point in points for one in point.exemplars]


def test_the_exemplar_of_the_cost_is_the_dearest_call_and_what_it_cost(meters: Meters, make_entry: MakeEntry) -> None:
    for number, usd in enumerate((0.25, 50.0, 0.5), 1):
        meters.metrics.record(make_entry(usd=usd), "inference", (), span_context(number))
    (cost,) = meters.collect()["genledger.cost"]
    assert cost.value == 50.75
    assert [(exemplar.trace_id, exemplar.value) for exemplar in cost.exemplars] == [(2, 50.0)]


# A new series starts at 0


COUNTERS = OURS | NEWEST_COUNTERS


def values(found: dict[str, list[Any]]) -> dict[str, float]:
    return {name: point.value for name, points in found.items() if name in COUNTERS for point in points}


def test_a_new_series_is_0_in_its_first_collection_and_has_its_amount_in_the_next(
    meters: Meters, make_entry: MakeEntry
) -> None:
    meters.metrics.record(make_entry(usd=50.0), "inference")
    first = values(meters.collect(flush=False))
    assert set(first) == {"genledger.cost"} | NEWEST_COUNTERS
    assert set(first.values()) == {0}
    assert values(meters.collect(flush=False)) == {
        "genledger.cost": 50.0,
        "gen_ai.client.inference.usage.input_tokens": 120,
        "gen_ai.client.inference.usage.output_tokens": 15,
        "gen_ai.client.inference.usage.cache_read.input_tokens": 20,
        "gen_ai.client.inference.usage.reasoning.output_tokens": 5,
    }


def test_outcomes_and_cache_hits_start_at_0_too_and_lead_to_their_traces(meters: Meters) -> None:
    event = ProductEvent("paid", 1, Attribution(tenant="acme"), 7, 8, 50.0, "EUR")
    hit = CacheHit("redis", 1, Attribution(tenant="acme"), 7, 8, saved_usd=0.02)
    meters.metrics.products.outcome(event, span_context(7))
    meters.metrics.products.hit(hit, span_context(7))
    first, second = (meters.collect(flush=False) for _ in range(2))
    amounts = {"outcomes": 1, "outcomes.value": 50.0, "cache.hits": 1, "cache.saved": 0.02}
    for name, amount in amounts.items():
        (before,), (after,) = first[f"genledger.{name}"], second[f"genledger.{name}"]
        assert (before.value, after.value) == (0, amount)
        assert [one.trace_id for one in after.exemplars] == [span_context(7).trace_id]


def test_a_known_series_has_what_is_added_to_it_in_the_next_collection(meters: Meters, make_entry: MakeEntry) -> None:
    meters.metrics.record(make_entry(usd=50.0), "inference")
    meters.collect(flush=False)
    meters.metrics.record(make_entry(usd=1.0), "inference")
    assert values(meters.collect(flush=False))["genledger.cost"] == 51.0
    meters.metrics.record(make_entry(usd=2.0), "inference")
    meters.metrics.record(make_entry(usd=7.0, attribution=Attribution("new")), "inference")
    costs = {p.attributes["genledger.tenant.id"]: p.value for p in meters.collect(flush=False)["genledger.cost"]}
    assert costs == {"acme": 53.0, "new": 0}


def test_a_flush_shows_a_new_series_at_0_to_whoever_can_be_made_to_collect(
    meters: Meters, make_entry: MakeEntry
) -> None:
    seen: list[float] = []

    def collect() -> None:
        seen.append(values(meters.collect(flush=False))["genledger.cost"])

    meters.metrics.record(make_entry(usd=50.0), "inference")
    meters.metrics.flush(collect)
    collect()
    assert seen == [0, 50.0]
    meters.metrics.record(make_entry(usd=1.0), "inference")
    meters.metrics.flush(collect)
    assert seen == [0, 50.0]  # nothing is new: no collection is needed


class Exported(MetricExporter):
    """Keeps the cost of every export."""

    def __init__(self) -> None:
        super().__init__()
        self.costs: list[float] = []

    def export(self, metrics_data: Any, timeout_millis: float = 10_000, **_: Any) -> MetricExportResult:
        for resource in metrics_data.resource_metrics:
            for scope in resource.scope_metrics:
                for metric in scope.metrics:
                    if metric.name == "genledger.cost":
                        self.costs += [point.value for point in metric.data.data_points]
        return MetricExportResult.SUCCESS

    def force_flush(self, timeout_millis: float = 10_000) -> bool:
        return True

    def shutdown(self, timeout_millis: float = 30_000, **_: Any) -> None:
        """Nothing to end."""


def test_the_last_collection_of_a_provider_that_is_shut_down_has_everything(make_entry: MakeEntry) -> None:
    exporter = Exported()
    reader = PeriodicExportingMetricReader(exporter, export_interval_millis=3_600_000)
    provider = MeterProvider([reader], shutdown_on_exit=False)
    metrics = Metrics(provider.get_meter("genledger", "0", SCHEMA_URL))
    metrics.record(make_entry(usd=50.0), "inference")
    provider.shutdown()
    assert exporter.costs == [50.0]


@pytest.mark.skipif(not hasattr(os, "fork"), reason="there is no fork here")
def test_a_forked_child_reports_its_own_calls_only(meters: Meters, make_entry: MakeEntry) -> None:
    meters.metrics.record(make_entry(usd=50.0), "inference")
    meters.collect()
    meters.metrics.record(make_entry(usd=4.0), "inference")
    receiving, sending = os.pipe()
    child = os.fork()
    if child == 0:
        try:
            meters.metrics.record(make_entry(usd=1.0), "inference")
            found = meters.collect()
            (duration,) = found["gen_ai.client.inference.duration"]
            os.write(sending, f"{values(found)['genledger.cost']} {duration.count}".encode())
        finally:
            os._exit(0)
    os.waitpid(child, 0)
    assert os.read(receiving, 100) == b"1.0 1"
    (duration,) = meters.collect()["gen_ai.client.inference.duration"]
    assert duration.count == 2
    assert values(meters.collect())["genledger.cost"] == 54.0
