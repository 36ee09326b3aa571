from __future__ import annotations

import contextlib
import random
import threading
from collections.abc import Iterator

import pytest
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.trace import SpanKind, StatusCode

from genledger.context.attribution import attribution
from genledger.destinations.langfuse.destination import LangfuseDestination, LangfuseProject
from genledger.destinations.otlp import OtlpDestination, OtlpEndpoint
from standins.faults import Status
from standins.receivers import Collector, Langfuse

CHAT = {"gen_ai.operation.name": "chat", "gen_ai.input.messages": '[{"role":"user"}]', "gen_ai.request.model": "m"}
TENANTS = [f"tenant-{number}" for number in range(6)]


@pytest.fixture
def projects() -> Iterator[dict[str, Langfuse]]:
    with contextlib.ExitStack() as stack:
        yield {
            tenant: stack.enter_context(Langfuse(public_key=f"pk-lf-{tenant}", secret_key=f"sk-lf-secret-{tenant}"))  # type: ignore[misc]
            for tenant in [*TENANTS, "operator"]
        }


def key(server: Langfuse) -> LangfuseProject:
    return LangfuseProject(server.public_key, server.secret_key, server.base_url)


def routed(projects: dict[str, Langfuse], **options) -> tuple[LangfuseDestination, TracerProvider]:
    routes = {tenant: key(projects[tenant]) for tenant in TENANTS}
    options = {"routes": routes, "spool": None, **options}
    destination = LangfuseDestination(key(projects["operator"]), **options)
    provider = TracerProvider(shutdown_on_exit=False)
    provider.add_span_processor(destination.processor)
    return destination, provider


def names(server: Langfuse) -> set[str]:
    return {span.name for span in server.spans()}


def test_a_whole_trace_goes_to_its_tenants_project_and_nowhere_else(projects) -> None:
    destination, provider = routed(projects)
    tracer = provider.get_tracer("app")
    for tenant in TENANTS:
        with (
            tracer.start_as_current_span("POST /", kind=SpanKind.SERVER),
            tracer.start_as_current_span(f"work {tenant}"),
        ):
            tracer.start_span(f"look up {tenant}", attributes=CHAT).end()
            with attribution(tenant=tenant), tracer.start_as_current_span(f"chat {tenant}", attributes=CHAT):
                tracer.start_span(f"tool {tenant}", attributes={"gen_ai.operation.name": "execute_tool"}).end()
    assert destination.flush(60)
    for tenant in TENANTS:
        assert names(projects[tenant]) == {f"{kind} {tenant}" for kind in ("work", "look up", "chat", "tool")}
    assert projects["operator"].spans() == []
    destination.shutdown(5)


def test_a_trace_of_several_tenants_is_nobodys_where_it_is_common(projects) -> None:
    destination, provider = routed(projects)
    tracer = provider.get_tracer("app")
    with tracer.start_as_current_span("batch", attributes={"gen_ai.operation.name": "invoke_workflow"}):
        for tenant in TENANTS[:2]:
            tracer.start_span(f"prepare {tenant}", attributes=CHAT).end()
            with attribution(tenant=tenant):
                tracer.start_span(f"chat {tenant}", attributes=CHAT).end()
    assert destination.flush(60)
    for tenant in TENANTS[:2]:
        assert names(projects[tenant]) == {f"chat {tenant}"}
    assert names(projects["operator"]) == {"batch", *(f"prepare {tenant}" for tenant in TENANTS[:2])}
    destination.shutdown(5)


@pytest.mark.parametrize("unknown", ["default", "drop"])
def test_an_unknown_tenant_goes_to_the_default_or_nowhere(projects, unknown) -> None:
    destination, provider = routed(projects, unknown=unknown)
    with attribution(tenant="stranger"):
        provider.get_tracer("app").start_span("chat", attributes=CHAT).end()
    provider.get_tracer("app").start_span("nobody's", attributes=CHAT).end()
    destination.flush(10)
    assert names(projects["operator"]) == ({"chat", "nobody's"} if unknown == "default" else set())
    assert not any(projects[tenant].spans() for tenant in TENANTS)
    assert destination.stats().dropped == ({} if unknown == "default" else {"unrouted": 2})
    destination.shutdown(5)


def test_routes_that_cannot_be_read_are_unknown_tenants_and_leak_nothing(projects, caplog) -> None:
    def routes(tenant: str) -> LangfuseProject:
        raise KeyError(f"sk-lf-secret-{tenant}")

    destination, provider = routed(projects, routes=routes)
    for tenant in TENANTS:
        with attribution(tenant=tenant):
            provider.get_tracer("app").start_span("chat", attributes=CHAT).end()
    assert destination.flush(60)
    assert len(projects["operator"].spans()) == len(TENANTS)
    assert len(caplog.messages) == 1
    assert "secret" not in caplog.text
    destination.shutdown(5)


def test_the_operators_copy_has_everything_but_content(projects) -> None:
    destination, provider = routed(projects, operator_copy=True)
    attributes = {
        **CHAT,
        "genledger.cost.amount": 0.5,
        "gen_ai.usage.input_tokens": 5,
        "app.note": "private",
        "input": "private",
    }
    with attribution(tenant=TENANTS[0], user="u1"):
        span = provider.get_tracer("app").start_span("chat", attributes=attributes)
        span.add_event("exception", {"exception.type": "E", "exception.message": "private"})
        span.set_status(StatusCode.ERROR, "private")
        span.end()
    assert destination.flush(60)
    (own,) = projects[TENANTS[0]].spans()
    (copy,) = projects["operator"].spans()
    assert "langfuse.observation.input" in own.attributes
    assert copy.attributes["langfuse.observation.cost_details"] == '{"total":0.5}'
    assert copy.attributes["langfuse.trace.metadata.tenant"] == TENANTS[0]
    assert b"private" not in copy.span.SerializeToString()
    assert b'{"role":"user"}' not in copy.span.SerializeToString()
    destination.shutdown(5)


def test_one_tenants_trouble_is_not_anothers_and_is_kept_for_it(projects, tmp_path) -> None:
    destination, provider = routed(projects, spool=tmp_path)
    sick, well = TENANTS[:2]
    projects[sick].always(Status(status=503))
    for number in range(5):
        for tenant in (sick, well):
            with attribution(tenant=tenant):
                provider.get_tracer("app").start_span(f"{tenant} {number}", attributes=CHAT).end()
    assert projects[well].wait_for(lambda: len(projects[well].spans()) == 5)
    destination.shutdown(5)
    projects[sick].always(None)

    # The next process, in which the tenants have swapped places: what was kept goes where it belongs.
    destination, provider = routed(projects, spool=tmp_path)
    for tenant in (well, sick):
        with attribution(tenant=tenant):
            provider.get_tracer("app").start_span(f"{tenant} again", attributes=CHAT).end()
    assert destination.flush(60)
    assert names(projects[sick]) == {f"{sick} {number}" for number in range(5)} | {f"{sick} again"}
    assert names(projects[well]) == {f"{well} {number}" for number in range(5)} | {f"{well} again"}
    destination.shutdown(5)


def test_the_pool_is_bounded_and_nothing_is_lost_or_goes_astray_in_it(projects) -> None:
    destination, provider = routed(projects, pool=2)
    order = TENANTS * 4
    random.Random(3).shuffle(order)
    for number, tenant in enumerate(order):
        with attribution(tenant=tenant):
            provider.get_tracer("app").start_span(f"{tenant} {number}", attributes=CHAT).end()
        assert sum(not delivery.has_ended() for delivery in destination.deliveries()) <= 1 + 2 + len(order)
    assert destination.shutdown(60)
    for tenant in TENANTS:
        expected = {f"{one} {number}" for number, one in enumerate(order) if one == tenant}
        assert names(projects[tenant]) == expected
    stats = destination.stats()
    assert (stats.accepted, stats.sent, stats.dropped) == (len(order), len(order), {})


def test_many_threads_and_tenants_at_once_stay_apart(projects) -> None:
    destination, provider = routed(projects)
    tracer = provider.get_tracer("app")

    def work(seed: int) -> None:
        order = random.Random(seed)
        for number in range(30):
            tenant = order.choice(TENANTS)
            with tracer.start_as_current_span(f"{tenant} around {seed} {number}"), attribution(tenant=tenant):
                tracer.start_span(f"{tenant} chat {seed} {number}", attributes=CHAT).end()

    threads = [threading.Thread(target=work, args=(seed,)) for seed in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert destination.flush(60)
    seen = 0
    for tenant in TENANTS:
        seen += len(projects[tenant].spans())
        assert all(name.startswith(f"{tenant} ") for name in names(projects[tenant]))
    assert seen == 6 * 30 * 2
    assert projects["operator"].spans() == []
    destination.shutdown(5)


def test_tenants_can_have_otlp_headers_of_their_own(collector: Collector, tmp_path) -> None:
    endpoint = OtlpEndpoint(collector.url, headers={"x-common": "1", "authorization": "Bearer operator-token"})
    destination = OtlpDestination(
        endpoint, routes={"a": {"authorization": "Bearer token-of-a"}}, spool=tmp_path, operator_copy=False
    )
    provider = TracerProvider(shutdown_on_exit=False)
    provider.add_span_processor(destination.processor)
    tracer = provider.get_tracer("app")
    with tracer.start_as_current_span("around a"), attribution(tenant="a"):
        tracer.start_span("of a").end()
    with attribution(tenant="b"):
        tracer.start_span("of b").end()
    assert destination.flush(60)
    sent = {span.name: request.headers for request in collector.traces() for span in request.spans}
    assert sent["of a"]["authorization"] == sent["around a"]["authorization"] == "Bearer token-of-a"
    assert sent["of b"]["authorization"] == "Bearer operator-token"
    assert {headers["x-common"] for headers in sent.values()} == {"1"}
    destination.shutdown(5)
    for file in tmp_path.rglob("*"):
        assert "token" not in str(file)
