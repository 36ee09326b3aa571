"""One trace through several services, each of which reports to Langfuse: it has one root and one name there."""

from __future__ import annotations

from typing import Any

import pytest
from opentelemetry.context import Context, attach, detach
from opentelemetry.propagate import extract, inject
from opentelemetry.sdk.trace import SpanProcessor, TracerProvider
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.trace import SpanKind

import genledger
from genledger.destinations.langfuse.destination import LangfuseDestination, LangfuseProject
from standins.langfuse_reading import rows
from standins.receivers import Langfuse

from ....instrumentors.telemetry import instrumented

CHAT = {"gen_ai.operation.name": "chat", "gen_ai.request.model": "gpt-4o"}


def asked(**options: Any) -> dict[str, str]:
    """Return the headers of the request that the first service makes of the second, inside an observed block."""
    headers: dict[str, str] = {}
    with instrumented(**{"destinations": ["langfuse"], "spool": "off", **options}), genledger.observe("first"):
        inject(headers)
    return headers


def serve(headers: dict[str, str], processor: SpanProcessor) -> None:
    """Answer a request as the second service."""
    provider = TracerProvider(shutdown_on_exit=False)
    provider.add_span_processor(processor)
    tracer = provider.get_tracer("second")
    before = attach(extract(headers, Context()))
    try:
        with (
            tracer.start_as_current_span("POST /second", kind=SpanKind.SERVER),
            tracer.start_as_current_span("chat", attributes=CHAT),
        ):
            pass
    finally:
        detach(before)
    provider.force_flush()
    provider.shutdown()


def test_below_a_service_that_reports_to_langfuse_there_is_no_second_root_and_no_second_name(
    langfuse_server: Langfuse,
) -> None:
    serve(asked(), LangfuseDestination(spool=None).processor)
    first, chat = (rows(langfuse_server)[name] for name in ("first", "chat"))
    assert (first.root, chat.root) == (True, False)
    assert (first.trace_name, chat.trace_name) == ("first", None)
    assert len({sent.key[0] for sent in langfuse_server.spans()}) == 1


def test_langfuses_sdk_in_the_second_service_understands_it(langfuse_server: Langfuse) -> None:
    processors = pytest.importorskip("langfuse._client.span_processor")
    exporter = InMemorySpanExporter()
    sdk = processors.LangfuseSpanProcessor(
        public_key="pk", secret_key="sk", base_url="http://127.0.0.1:1", span_exporter=exporter
    )
    serve(asked(), sdk)
    (chat,) = exporter.get_finished_spans()
    assert "langfuse.internal.is_app_root" not in (chat.attributes or {})


@pytest.mark.parametrize(
    "options",
    [{"baggage": ()}, {"destinations": []}],
    ids=["no field may travel", "the first service does not report to Langfuse"],
)
def test_otherwise_the_second_service_has_the_root(langfuse_server: Langfuse, options: dict[str, Any]) -> None:
    headers = asked(**options)
    assert "langfuse_trace_id" not in headers.get("baggage", "")
    serve(headers, LangfuseDestination(spool=None).processor)
    chat = rows(langfuse_server)["chat"]
    assert (chat.root, chat.trace_name) == (True, "POST /second")


def test_projects_of_tenants_make_no_claim(langfuse_server: Langfuse) -> None:
    project = LangfuseProject("pk-lf-acme", "sk-lf-acme", langfuse_server.base_url)
    tenants = LangfuseDestination(routes={"acme": project}, unknown="drop", spool=None)
    assert "langfuse_trace_id" not in asked(destinations=[tenants]).get("baggage", "")


def test_the_claim_ends_with_the_destination(langfuse_server: Langfuse) -> None:
    asked()
    headers: dict[str, str] = {}
    with instrumented(), genledger.observe("later"):
        inject(headers)
    assert "baggage" not in headers
