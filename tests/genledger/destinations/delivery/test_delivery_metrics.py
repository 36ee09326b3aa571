from __future__ import annotations

from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import InMemoryMetricReader
from opentelemetry.sdk.trace import TracerProvider

from genledger.destinations.delivery.delivery_metrics import RECORDS, observe_destinations
from genledger.destinations.langfuse.destination import LangfuseDestination
from standins.faults import Status


def test_what_becomes_of_records_is_a_metric_by_destination_state_and_reason(langfuse_server, clock, tmp_path) -> None:
    destination = LangfuseDestination(spool=tmp_path, clock=clock, threaded=False)
    provider = TracerProvider(shutdown_on_exit=False)
    provider.add_span_processor(destination.processor)
    reader = InMemoryMetricReader()
    meters = MeterProvider([reader], shutdown_on_exit=False)
    observe_destinations(meters.get_meter("genledger"), lambda: {"langfuse": destination})

    def call() -> None:
        provider.get_tracer("app").start_span("chat", attributes={"gen_ai.operation.name": "chat"}).end()
        clock.run(70, destination)

    call()
    langfuse_server.next(Status(status=503))
    call()
    langfuse_server.next(Status(status=400))
    call()
    data = reader.get_metrics_data()
    assert data is not None
    (metric,) = data.resource_metrics[0].scope_metrics[0].metrics
    assert (metric.name, metric.unit) == (RECORDS, "{record}")
    points = {}
    for point in metric.data.data_points:
        assert point.attributes["genledger.destination.name"] == "langfuse"
        state, reason = (point.attributes.get(f"genledger.destination.{name}") for name in ("state", "reason"))
        points[state, reason] = point.value
    assert points == {
        ("accepted", None): 3,
        ("sent", None): 2,
        ("retried", None): 1,
        ("spooled", None): 1,
        ("dropped", "http_400"): 1,
    }
