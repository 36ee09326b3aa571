"""Azure's agents: runs that are polled or streamed, with tools and without, and the client's own spans."""

from __future__ import annotations

import gc
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from opentelemetry import trace

pytest.importorskip("azure.ai.agents")

from tests.contract.rows.azure_agents import MODEL, ask, make, run
from tests.contract.server import Reply, Server, json_reply, serving, sse
from tests.instrumentors.provider import now
from tests.instrumentors.telemetry import Telemetry, attributes_of, instrumented

import genledger
from genledger_semconv.checker import assert_clean

USD = 1000 * 2.5e-6 + 500 * 10e-6
CALLED = {"id": "call_1", "type": "function", "function": {"name": "weather", "arguments": "{}"}}
NEEDS = {"type": "submit_tool_outputs", "submit_tool_outputs": {"tool_calls": [CALLED]}}
OUTPUTS = [{"tool_call_id": "call_1", "output": "sunny"}]


@pytest.fixture
def server() -> Iterator[Server]:
    with serving() as server:
        yield server


@pytest.fixture
def telemetry(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Telemetry]:
    """Genledger on the client."""
    monkeypatch.setenv("GENLEDGER_LEDGER", str(tmp_path / "ledger.db"))
    with instrumented(libraries=["azure-ai-agents"], capture_content="span") as telemetry:
        yield telemetry
        assert_clean(telemetry.spans, telemetry.metrics, telemetry.logs, capture_content=True)
        assert not telemetry.open.spans
        assert not telemetry.complaints.other


@pytest.fixture(params=[False, True], ids=["sync", "async"])
def asynchronous(request: pytest.FixtureRequest) -> bool:
    """Both clients."""
    return bool(request.param)


def events(*runs: dict[str, Any], said: str = "") -> Reply:
    """A stream of a run: its states, and what it says before the last of them."""
    delta = {
        "id": "msg_1",
        "object": "thread.message.delta",
        "delta": {"role": "assistant", "content": [{"index": 0, "type": "text", "text": {"value": said}}]},
    }
    sent = [({"type": f"thread.run.{one['status']}"}, one) for one in runs]
    if said:
        sent.insert(-1, ({"type": "thread.message.delta"}, delta))
    parts = [b"event: " + kind["type"].encode() + b"\n" + sse(event)[0] for kind, event in sent]
    return Reply(200, "text/event-stream", (*parts, b"event: done\ndata: [DONE]\n\n"))


async def read(stream: Any, limit: int | None = None) -> list[Any]:
    """Read the events of a stream."""
    found: list[Any] = []
    if hasattr(stream, "__aenter__"):
        async with stream as handler:
            async for event in handler:
                found.append(event)
                if len(found) == limit:
                    break
    else:
        with stream as handler:
            for event in handler:
                found.append(event)
                if len(found) == limit:
                    break
    return found


async def test_a_run_is_one_call_until_the_poll_that_ends_it(
    server: Server, telemetry: Telemetry, asynchronous: bool
) -> None:
    server.will(*(json_reply(run(status)) for status in ("queued", "in_progress", "completed")))
    with genledger.attribution(tenant="acme"):
        await now(ask(make(server.url, asynchronous, 0), stream=False))
    assert [one.method for one in server.requests] == ["POST", "GET", "GET"]
    attributes = telemetry.attributes
    assert attributes["genledger.cost.amount"] == pytest.approx(USD)
    assert attributes["gen_ai.operation.name"] == "invoke_agent"
    assert attributes["gen_ai.agent.id"] == "agent_1"
    assert attributes["gen_ai.conversation.id"] == "thread_1"
    assert attributes["gen_ai.response.finish_reasons"] == ("stop",)
    assert attributes["genledger.tenant.id"] == "acme"


async def test_a_run_that_nobody_waits_for_is_charged_when_somebody_asks(
    server: Server, telemetry: Telemetry, asynchronous: bool
) -> None:
    server.will(json_reply(run("queued")), json_reply(run()))
    runs = make(server.url, asynchronous, 0).runs
    with genledger.attribution(tenant="acme"):
        await now(runs.create("thread_1", agent_id="agent_1"))
    assert not telemetry.spans
    for _ in range(2):
        await now(runs.get("thread_1", "run_1"))
    attributes = telemetry.attributes
    assert attributes["gen_ai.request.model"] == MODEL  # the agent's: the request names none
    assert attributes["genledger.cost.amount"] == pytest.approx(USD)
    assert attributes["genledger.tenant.id"] == "acme"


async def test_a_request_may_be_given_at_once(server: Server, telemetry: Telemetry, asynchronous: bool) -> None:
    server.will(json_reply(run()))
    body = {"assistant_id": "agent_1", "model": MODEL, "additional_instructions": "Be brief."}
    await now(make(server.url, asynchronous, 0).runs.create("thread_1", body))
    assert telemetry.attributes["gen_ai.agent.id"] == "agent_1"
    assert "Be brief." in telemetry.attributes["gen_ai.system_instructions"]
    assert telemetry.attributes["genledger.cost.amount"] == pytest.approx(USD)


async def test_a_thread_and_its_run_are_created_by_one_call(
    server: Server, telemetry: Telemetry, asynchronous: bool
) -> None:
    server.will(json_reply(run("queued")), json_reply(run()))
    client = make(server.url, asynchronous, 0)
    made = await now(client.create_thread_and_run(agent_id="agent_1"))
    await now(client.runs.get(made.thread_id, made.id))
    assert telemetry.attributes["genledger.cost.amount"] == pytest.approx(USD)


@pytest.mark.parametrize(
    ("ended", "outcome", "error"),
    [
        (run("failed", last_error={"code": "rate_limit_exceeded", "message": "no"}), "error", "rate_limit_exceeded"),
        (run("expired"), "error", "expired"),
        (run("cancelled"), "cancelled", None),
    ],
)
async def test_a_run_that_did_not_complete_says_why(
    server: Server, telemetry: Telemetry, ended: dict[str, Any], outcome: str, error: str | None
) -> None:
    server.will(json_reply(run("queued")), json_reply(ended))
    ask(make(server.url, False, 0), stream=False)
    assert telemetry.attributes["genledger.outcome"] == outcome
    assert telemetry.attributes.get("error.type") == error
    assert telemetry.attributes.get("genledger.cost.amount") != 0


async def test_a_cancelled_run_is_charged_what_it_had_consumed(
    server: Server, telemetry: Telemetry, asynchronous: bool
) -> None:
    usage = {"prompt_tokens": 1000, "completion_tokens": 0, "total_tokens": 1000}
    server.will(json_reply(run("queued")), json_reply(run("cancelled", usage=usage)))
    runs = make(server.url, asynchronous, 0).runs
    await now(runs.create("thread_1", agent_id="agent_1"))
    await now(runs.cancel("thread_1", "run_1"))
    assert telemetry.attributes["genledger.outcome"] == "cancelled"
    assert telemetry.attributes["genledger.cost.amount"] == pytest.approx(1000 * 2.5e-6)


async def test_the_outputs_of_tools_go_on_with_the_run(
    server: Server, telemetry: Telemetry, asynchronous: bool
) -> None:
    server.will(json_reply(run("requires_action", required_action=NEEDS)), json_reply(run("queued")), json_reply(run()))
    runs = make(server.url, asynchronous, 0).runs
    await now(runs.create("thread_1", agent_id="agent_1"))
    await now(runs.submit_tool_outputs("thread_1", "run_1", tool_outputs=OUTPUTS))
    assert not telemetry.spans
    await now(runs.get("thread_1", "run_1"))
    assert telemetry.attributes["genledger.cost.amount"] == pytest.approx(USD)


async def test_a_streamed_run_is_one_call(server: Server, telemetry: Telemetry, asynchronous: bool) -> None:
    server.will(events(run("queued"), run("in_progress"), run(), said="Paris."))
    stream = await now(make(server.url, asynchronous, 0).runs.stream("thread_1", agent_id="agent_1"))
    found = await read(stream)
    assert [event[0] for event in found][-1] == "done"
    attributes = telemetry.attributes
    assert attributes["genledger.cost.amount"] == pytest.approx(USD)
    assert "Paris." in attributes["gen_ai.output.messages"]


async def test_a_streamed_run_goes_on_in_the_stream_of_its_tools(
    server: Server, telemetry: Telemetry, asynchronous: bool
) -> None:
    from azure.ai.agents import models as agents

    server.will(
        events(run("queued"), run("requires_action", required_action=NEEDS)), events(run("queued"), run(), said="Sun.")
    )
    runs = make(server.url, asynchronous, 0).runs
    handler = agents.AsyncAgentEventHandler() if asynchronous else agents.AgentEventHandler()
    given = {"agent_id": "agent_1", "event_handler": handler}
    with genledger.attribution(tenant="acme"):
        stream = await now(runs.stream("thread_1", **given))
        await read(stream)
    assert not telemetry.spans
    more = {"tool_outputs": OUTPUTS, "event_handler": handler}
    await now(runs.submit_tool_outputs_stream("thread_1", "run_1", **more))
    await now(handler.until_done())
    attributes = telemetry.attributes
    assert attributes["genledger.cost.amount"] == pytest.approx(USD)
    assert attributes["genledger.tenant.id"] == "acme"


async def test_what_a_dropped_stream_consumed_is_unknown(
    server: Server, telemetry: Telemetry, asynchronous: bool
) -> None:
    whole = events(run("queued"), run("in_progress"))
    server.will(replace(whole, body=whole.body[:-1], hangs=True))
    stream = await now(make(server.url, asynchronous, 0).runs.stream("thread_1", agent_id="agent_1"))
    await read(stream, 1)
    del stream
    gc.collect()
    attributes = telemetry.attributes
    assert attributes["genledger.outcome"] == "cancelled"
    assert attributes["genledger.cost.unpriced"] == "no_usage"


async def test_spans_of_the_clients_own_instrumentor_keep_no_usage(
    server: Server, asynchronous: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    plugin = pytest.importorskip("azure.core.tracing.ext.opentelemetry_span")
    from azure.ai.agents.telemetry import AIAgentsInstrumentor
    from azure.core.settings import settings

    server.will(json_reply(run("queued")), json_reply(run()))
    settings.tracing_implementation = plugin.OpenTelemetrySpan
    AIAgentsInstrumentor().instrument()
    try:
        with instrumented(libraries=["azure-ai-agents"]) as telemetry:
            tracer = telemetry.tracer_provider.get_tracer("azure")
            monkeypatch.setattr(trace, "get_tracer", lambda *args, **kwargs: tracer)
            with genledger.attribution(tenant="acme"):
                await now(ask(make(server.url, asynchronous, 0), stream=False))
                spent = genledger.spend()
    finally:
        AIAgentsInstrumentor().uninstrument()
        settings.tracing_implementation = None
    counted = [span for span in telemetry.spans if "gen_ai.usage.input_tokens" in attributes_of(span)]
    assert len(telemetry.spans) > 2
    assert [span.name for span in counted] == ["invoke_agent"]
    assert spent.calls == 1
    assert spent.usd == pytest.approx(USD)
