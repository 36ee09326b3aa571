"""Genledger beside Langfuse's own SDK, version 5: one row for each span, with what both know."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from opentelemetry.sdk.trace import ReadableSpan, SpanLimits, TracerProvider
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.trace import SpanKind

from genledger.context.attribution import attribution
from genledger.destinations.langfuse.destination import LangfuseDestination
from standins.langfuse_reading import rows
from standins.receivers import Langfuse

from ...applications import run

pytest.importorskip("langfuse")

CHAT = {
    "gen_ai.operation.name": "chat",
    "gen_ai.request.model": "gpt-4o",
    "gen_ai.usage.input_tokens": 10,
    "genledger.cost.amount": 0.5,
}


class Both:
    """Both on one provider; the SDK sends to an exporter of its own."""

    def __init__(self, server: Langfuse, span_limits: SpanLimits | None = None) -> None:
        self.server = server
        self.theirs = InMemorySpanExporter()
        self.provider = TracerProvider(shutdown_on_exit=False, span_limits=span_limits)
        self.tracer = self.provider.get_tracer("app")

    def start_ours(self) -> None:
        self.ours = LangfuseDestination(spool=None, threaded=False)
        self.provider.add_span_processor(self.ours.processor)

    def start_theirs(self, chosen: Callable[[ReadableSpan], bool] | None = None, public_key: str | None = None) -> None:
        from langfuse._client.span_processor import LangfuseSpanProcessor

        self.sdk = LangfuseSpanProcessor(
            public_key=public_key or self.server.public_key,
            secret_key="sk",
            base_url="http://127.0.0.1:1",
            should_export_span=chosen,
            span_exporter=self.theirs,
        )
        self.provider.add_span_processor(self.sdk)

    def sent(self) -> tuple[set[str], dict[str, dict[str, Any]]]:
        """The names that we sent, and what the SDK sent, by name."""
        self.sdk.force_flush()
        self.ours.deliveries()[0].step()
        theirs = {span.name: dict(span.attributes or {}) for span in self.theirs.get_finished_spans()}
        return {span.name for span in self.server.spans()}, theirs


@pytest.fixture
def both(langfuse_server: Langfuse) -> Both:
    return Both(langfuse_server)


@pytest.mark.parametrize("ours_first", [True, False], ids=["ours first", "theirs first"])
def test_each_span_is_sent_once_and_with_what_we_know(both: Both, ours_first: bool) -> None:
    for start in (both.start_ours, both.start_theirs) if ours_first else (both.start_theirs, both.start_ours):
        start()
    with (
        attribution(tenant="acme", feature="copilot"),
        both.tracer.start_as_current_span("work"),
        both.tracer.start_as_current_span("chat", attributes=CHAT),
    ):
        pass
    ours, theirs = both.sent()
    assert (ours, set(theirs)) == ({"work"}, {"chat"})
    chat = theirs["chat"]
    assert chat["langfuse.trace.metadata.tenantId"] == "acme"
    assert chat["langfuse.trace.tags"] == ("feature:copilot", "tenant:acme")
    assert chat["langfuse.trace.name"] == "work"
    assert chat["langfuse.observation.cost_details"] == '{"total":0.5}'
    assert chat["gen_ai.usage.input_tokens"] == 10, "other destinations read the span, too"
    assert "langfuse.internal.is_app_root" not in chat, "its parent is sent, by us"


def test_a_client_that_is_created_while_a_span_is_open_is_noticed(both: Both) -> None:
    both.start_ours()
    with both.tracer.start_as_current_span("early", attributes=CHAT):
        with both.tracer.start_as_current_span("before", attributes=CHAT):
            pass
        both.start_theirs()
    ours, theirs = both.sent()
    assert (ours, set(theirs)) == ({"before"}, {"early"})


def test_no_attribute_of_the_span_is_dropped_for_langfuses(langfuse_server: Langfuse) -> None:
    both = Both(langfuse_server, span_limits=SpanLimits(max_span_attributes=6))
    both.start_ours()
    both.start_theirs()
    with attribution(tenant="acme"), both.tracer.start_as_current_span("chat", attributes=CHAT):
        pass
    ours, theirs = both.sent()
    assert (ours, set(theirs)) == ({"chat"}, {"chat"})
    assert CHAT.items() <= theirs["chat"].items()


def fail(span: ReadableSpan) -> bool:
    raise RuntimeError("no")


@pytest.mark.parametrize("chosen", [lambda span: False, fail], ids=["nothing", "a filter that fails"])
def test_what_the_sdk_does_not_send_is_sent_by_us(both: Both, chosen: Any) -> None:
    both.start_ours()
    both.start_theirs(chosen)
    with both.tracer.start_as_current_span("chat", attributes=CHAT):
        pass
    assert both.sent() == ({"chat"}, {})


def test_a_client_of_another_project_changes_nothing(both: Both) -> None:
    both.start_ours()
    both.start_theirs(public_key="pk-lf-another")
    with both.tracer.start_as_current_span("chat", attributes=CHAT):
        pass
    ours, theirs = both.sent()
    assert (ours, set(theirs)) == ({"chat"}, {"chat"})
    assert "langfuse.trace.name" not in theirs["chat"]


def test_below_a_span_that_nobody_sends_the_sdk_marks_the_root(both: Both) -> None:
    both.start_ours()
    both.start_theirs()
    with (
        both.tracer.start_as_current_span("POST /", kind=SpanKind.SERVER),
        both.tracer.start_as_current_span("chat", attributes=CHAT),
    ):
        pass
    ours, theirs = both.sent()
    assert (ours, theirs["chat"]["langfuse.internal.is_app_root"]) == (set(), True)


APPLICATION = """
import asyncio, os
from opentelemetry.context import get_current
import genledger
import langfuse
from tests.instrumentors import openai_format as wire
from tests.instrumentors.provider import Provider, answer, events

filters = {"nothing": lambda span: False, "default": None}
create = lambda: langfuse.Langfuse(should_export_span=filters[os.environ["FILTER"]])
if os.environ["ORDER"] == "theirs":
    client = create()
genledger.instrument(spool="off", capture_content=True)
if os.environ["ORDER"] == "ours":
    client = create()
import langfuse.openai  # patches the OpenAI client

def given(asynchronous, *script):
    provider = Provider(asynchronous=asynchronous)
    provider.will(*script)
    return provider.openai().chat.completions.create

asked = {"model": "gpt-4o", "messages": wire.USER}

@langfuse.observe(name="job")
def job():
    with langfuse.propagate_attributes(metadata={"plan": "pro"}), genledger.attribution(tenant="acme"):
        before = get_current()
        given(False, answer(wire.chat()))(name="whole", **asked)
        for chunk in given(False, events(wire.chat_chunks()))(
            name="stream", stream=True, stream_options={"include_usage": True}, **asked
        ):
            pass
        assert get_current() == before
        asyncio.run(several())

async def several():
    create = given(True, answer(wire.chat()))
    await asyncio.gather(*(create(name=f"async {number}", **asked) for number in range(3)))

job()
given(False, answer(wire.chat()))(name="alone", **asked)
assert genledger.flush(20)
client.flush()
"""


@pytest.mark.parametrize(("order", "chosen"), [("ours", "default"), ("theirs", "default"), ("ours", "nothing")])
def test_a_call_through_langfuses_wrapper_is_priced_once_in_its_trace(
    langfuse_server: Langfuse, tmp_path: Path, order: str, chosen: str
) -> None:
    run(
        tmp_path,
        APPLICATION,
        LANGFUSE_PUBLIC_KEY=langfuse_server.public_key,
        LANGFUSE_SECRET_KEY=langfuse_server.secret_key,
        LANGFUSE_BASE_URL=langfuse_server.base_url,
        ORDER=order,
        FILTER=chosen,
    )
    spans = {span.key: span for span in langfuse_server.spans()}
    assert set(langfuse_server.counts().values()) == {1}
    wrappers = {span.key: span for span in spans.values() if span.scope == "langfuse-sdk" and span.name != "job"}
    calls = [span for span in spans.values() if span.scope == "genledger"]
    assert {span.name for span in wrappers.values()} == {"whole", "stream", "async 0", "async 1", "async 2", "alone"}
    assert {(call.key[0], call.parent) for call in calls} == set(wrappers), "each call is below its own wrapper"
    assert len(calls) == len(wrappers)
    for wrapper in wrappers.values():
        for name in ("usage_details", "cost_details", "model.name"):
            assert f"langfuse.observation.{name}" not in wrapper.attributes
        assert wrapper.attributes["langfuse.observation.input"], "it keeps what it has recorded"
    for call in calls:
        assert call.attributes["langfuse.observation.cost_details"]
        if wrappers[call.key[0], call.parent].name != "alone":
            assert call.attributes["langfuse.trace.metadata.tenantId"] == "acme"
            assert call.attributes["langfuse.trace.metadata.plan"] == "pro"
    assert [name for name, row in rows(langfuse_server).items() if row.priced_by_langfuse] == []
