"""What Langfuse gets of a trace, and that it is a tree there."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from opentelemetry.baggage import set_baggage
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.trace import NonRecordingSpan, SpanContext, SpanKind, TraceFlags, set_span_in_context

from genledger.context.attribution import attribution
from genledger.destinations.langfuse.destination import LangfuseDestination
from standins.receivers import Langfuse, Sent

CHAT = {"gen_ai.operation.name": "chat", "gen_ai.request.model": "gpt-4o"}
WEB = {"http.request.method": "POST"}


class Application:
    def __init__(self, server: Langfuse, **options) -> None:
        self.server = server
        self.destination = LangfuseDestination(spool=None, threaded=False, **options)
        provider = TracerProvider(shutdown_on_exit=False)
        provider.add_span_processor(self.destination.processor)
        self.tracer = provider.get_tracer("app")
        self.span = self.tracer.start_as_current_span

    def sent(self) -> dict[str, Sent]:
        self.destination.deliveries()[0].step()
        return self.server.by_name()


@pytest.fixture
def app(langfuse_server) -> Application:
    return Application(langfuse_server)


def parents(sent: dict[str, Sent]) -> dict[str, str]:
    by_id = {span.key[1]: name for name, span in sent.items()}
    return {name: by_id.get(span.parent, span.parent) for name, span in sent.items()}


def roots(sent: dict[str, Sent]) -> set[str]:
    return {name for name, span in sent.items() if span.attributes.get("langfuse.internal.is_app_root")}


def test_web_database_and_queue_spans_stay_out_and_nothing_is_orphaned(app) -> None:
    with (
        app.span("POST /chat", kind=SpanKind.SERVER, attributes=WEB),
        app.span("answer"),
        app.span("SELECT", kind=SpanKind.CLIENT, attributes={"db.system.name": "postgresql"}),
    ):
        pass
    with (
        app.span("POST /draft", kind=SpanKind.SERVER, attributes=WEB),
        app.span("draft"),
        app.span("invoke_agent a", attributes={"gen_ai.operation.name": "invoke_agent"}),
        app.span("publish", kind=SpanKind.PRODUCER),
        app.span("http send", attributes={"http.method": "POST"}),
        app.span("step"),
        app.span("chat gpt-4o", attributes=CHAT),
    ):
        pass
    sent = app.sent()
    assert parents(sent) == {
        "draft": "",
        "invoke_agent a": "draft",
        "step": "invoke_agent a",
        "chat gpt-4o": "step",
    }
    assert roots(sent) == {"draft"}
    assert {span.attributes["langfuse.trace.name"] for span in sent.values()} == {"POST /draft"}


def test_a_call_right_below_a_request_is_the_root(app) -> None:
    with app.span("POST /chat", kind=SpanKind.SERVER, attributes=WEB):
        with app.span("chat 1", attributes=CHAT):
            pass
        with app.span("chat 2", attributes=CHAT):
            pass
    sent = app.sent()
    assert parents(sent) == {"chat 1": "", "chat 2": ""}
    assert roots(sent) == {"chat 1", "chat 2"}


def test_everything_goes_when_everything_is_asked_for(langfuse_server) -> None:
    app = Application(langfuse_server, everything=True)
    with app.span("POST /chat", kind=SpanKind.SERVER), app.span("SELECT", kind=SpanKind.CLIENT):
        pass
    sent = app.sent()
    assert parents(sent) == {"POST /chat": "", "SELECT": "POST /chat"}


def test_below_a_remote_parent_the_first_span_is_the_root_of_this_application(app) -> None:
    remote = SpanContext(0xABC, 0xDEF, True, TraceFlags(1))
    with (
        app.span("GET /", set_span_in_context(NonRecordingSpan(remote)), kind=SpanKind.SERVER),
        app.span("chat", attributes=CHAT),
    ):
        pass
    sent = app.sent()
    assert parents(sent) == {"chat": f"{0xDEF:016x}"}
    assert roots(sent) == {"chat"}


def test_a_trace_that_langfuses_sdk_has_rooted_in_the_calling_service_gets_no_second_root(app) -> None:
    remote = SpanContext(0xABC, 0xDEF, True, TraceFlags(1))
    context = set_span_in_context(NonRecordingSpan(remote))
    context = set_baggage("langfuse_trace_id", f"{0xABC:032x}", context)
    with app.span("GET /", context, kind=SpanKind.SERVER), app.span("chat", attributes=CHAT):
        pass
    sent = app.sent()
    assert roots(sent) == set()
    assert "langfuse.trace.name" not in sent["chat"].attributes


def test_a_span_that_becomes_genai_only_before_it_ends_goes_out(app) -> None:
    with app.span("late", kind=SpanKind.CLIENT) as late:
        with app.span("chat", attributes=CHAT):
            pass
        late.set_attribute("gen_ai.operation.name", "invoke_agent")
    sent = app.sent()
    assert set(sent) == {"late", "chat"}


def test_a_child_that_outlives_its_parent_finds_the_nearest_one_that_was_sent(app) -> None:
    with app.span("workflow", attributes={"gen_ai.operation.name": "invoke_workflow"}) as workflow:
        inside = set_span_in_context(workflow)
        helper = app.tracer.start_span("helper", inside)
        below = set_span_in_context(helper)
        child = app.tracer.start_span("chat early", below, attributes=CHAT)
        helper.end()
    later = app.tracer.start_span("chat later", below, attributes=CHAT)
    child.end()
    later.end()
    assert parents(app.sent()) == {"workflow": "", "chat early": "workflow", "chat later": "workflow"}


def test_spans_that_are_only_attributed_are_not_genai(app) -> None:
    attributes = {
        "genledger.tenant.id": "acme",
        "user.id": "u",
        "gen_ai.prompt.name": "p",
        "gen_ai.conversation.id": "c",
    }
    with app.span("GET /", kind=SpanKind.SERVER, attributes=attributes):
        pass
    assert app.sent() == {}


def test_our_own_and_other_instrumentors_spans_are_known_by_their_scope(app) -> None:
    provider = TracerProvider(shutdown_on_exit=False)
    provider.add_span_processor(app.destination.processor)
    for scope in ("genledger", "openinference.instrumentation.langchain", "opentelemetry.instrumentation.chromadb"):
        provider.get_tracer(scope).start_span(scope, attributes={"db.system.name": "x"}).end()
    for scope in ("airport", "genledgers", "opentelemetry.instrumentation.redis"):
        provider.get_tracer(scope).start_span(scope, attributes={"db.system.name": "x"}).end()
    assert set(app.sent()) == {
        "genledger", "openinference.instrumentation.langchain", "opentelemetry.instrumentation.chromadb",
    }  # fmt: skip


def test_every_span_carries_whom_it_was_started_for(app) -> None:
    with (
        attribution(tenant="acme", user="u1", session="s1", tags=["t"]),
        app.span("work"),
        app.span("chat", attributes=CHAT),
    ):
        pass
    sent = app.sent()
    assert set(sent) == {"work", "chat"}
    for span in sent.values():
        assert span.attributes["user.id"] == "u1"
        assert span.attributes["session.id"] == "s1"
        assert span.attributes["langfuse.trace.tags"] == ["t", "tenant:acme"]
        assert span.attributes["langfuse.trace.metadata.tenant"] == "acme"


def test_spans_that_are_not_sampled_go_nowhere(langfuse_server) -> None:
    from opentelemetry.sdk.trace.sampling import ALWAYS_OFF

    destination = LangfuseDestination(spool=None, threaded=False)
    provider = TracerProvider(ALWAYS_OFF, shutdown_on_exit=False)
    provider.add_span_processor(destination.processor)
    provider.get_tracer("app").start_span("chat", attributes=CHAT).end()
    assert destination.stats().accepted == 0


KINDS = {
    "web": {"kind": SpanKind.SERVER, "attributes": WEB},
    "db": {"kind": SpanKind.CLIENT, "attributes": {"db.system.name": "pg"}},
    "own": {},
    "chat": {"attributes": CHAT},
    "agent": {"attributes": {"gen_ai.operation.name": "invoke_agent"}},
}
trees = st.recursive(
    st.tuples(st.sampled_from(sorted(KINDS)), st.just(())),
    lambda children: st.tuples(st.sampled_from(sorted(KINDS)), st.lists(children, max_size=3).map(tuple)),
    max_leaves=12,
)


@settings(max_examples=40, deadline=None)
@given(st.lists(trees, min_size=1, max_size=3))
def test_any_trace_becomes_a_forest_of_all_genai_spans_in_their_order(forest) -> None:
    with Langfuse() as server:
        from genledger.destinations.langfuse.destination import LangfuseProject

        project = LangfuseProject(server.public_key, server.secret_key, server.base_url)
        app = Application(server, project=project)
        expected: dict[str, list[str]] = {}
        number = 0

        def grow(tree, above: list[str]) -> None:
            nonlocal number
            kind, children = tree
            number += 1
            name = f"{kind} {number}"
            if kind in ("chat", "agent"):
                expected[name] = [one for one in above if one.startswith(("chat", "agent"))]
            with app.span(name, **KINDS[kind]):
                for child in children:
                    grow(child, [*above, name])

        for tree in forest:
            grow(tree, [])
        sent = app.sent()
        up = parents(sent)
        assert {name for name in sent if not name.startswith("own")} == set(expected)
        for name, above in expected.items():
            chain, at = [], name
            while up[at]:
                at = up[at]
                assert at in sent, "an orphan"
                chain.append(at)
            assert [one for one in reversed(chain) if not one.startswith("own")] == above
        assert roots(sent) == {name for name in sent if not up[name]}
