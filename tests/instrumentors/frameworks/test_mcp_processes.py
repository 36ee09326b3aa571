"""MCP between two processes that export to one collector: one trace, and each call priced once, where it was made."""

from __future__ import annotations

import json
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Literal, NamedTuple

import pytest
from examples.demo.provider import DemoProvider
from opentelemetry.sdk.trace import ReadableSpan
from tests.genledger.applications import environment
from tests.instrumentors.frameworks.runs import billed, cost_shown, shown, tree
from tests.instrumentors.telemetry import attributes_of
from tests.launcher.received import readable
from tests.standins.receivers import Collector, Receiver

pytest.importorskip("mcp.client.client", reason="mcp 2 has an environment of its own: make test-frameworks")
pytest.importorskip("fastmcp", reason="fastmcp has an environment of its own: make test-frameworks")

Way = Literal["launcher", "one line", "nothing"]
"""How a program is instrumented."""


class Program(NamedTuple):
    """A client or a server: its command, and its environment."""

    command: list[str]
    variables: dict[str, str]


def program(name: str, library: str, way: Way, collector: Receiver, **variables: str) -> Program:
    """Return `mcp_client.py` or `mcp_server.py`."""
    before = [str(Path(sys.executable).with_name("opentelemetry-instrument"))] if way == "launcher" else []
    exporting = {"OTEL_EXPORTER_OTLP_ENDPOINT": collector.base_url, "OTEL_EXPORTER_OTLP_PROTOCOL": "http/protobuf"}
    ours = {"INSTRUMENT": "INSTRUMENT"} if way == "one line" else {"OTEL_PYTHON_DISTRO": "genledger"}
    return Program(
        [*before, sys.executable, str(Path(__file__).with_name(f"mcp_{name}.py")), library],
        {"OTEL_SERVICE_NAME": name, "GENLEDGER_SPOOL": "off", **exporting, **ours, **variables},
    )


@contextmanager
def served(server: Program, directory: Path) -> Iterator[str]:
    """Serve on a free port, and return the address."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    command = [*server.command, str(port)]
    process = subprocess.Popen(
        command, env=environment(directory, **server.variables), cwd=directory, stderr=subprocess.DEVNULL
    )
    try:
        deadline = time.monotonic() + 120
        while True:
            try:
                socket.create_connection(("127.0.0.1", port)).close()
                break
            except OSError:
                assert process.poll() is None
                assert time.monotonic() < deadline
                time.sleep(0.05)
        yield f"http://127.0.0.1:{port}/mcp"
    finally:
        process.send_signal(signal.SIGINT)
        process.wait(60)


def call(client: Program, server: Program, transport: str, directory: Path, *tools: str) -> list[str]:
    """Call tools of a server from a client, and return what the client printed of errors."""

    def run(address: str) -> list[str]:
        own = {"SERVER_ENVIRONMENT": json.dumps(environment(directory, **server.variables))}
        done = subprocess.run(
            [*client.command, address, *tools],
            env=environment(directory, **client.variables, **own),
            cwd=directory,
            capture_output=True,
            text=True,
            timeout=300,
        )
        assert done.returncode == 0, done.stderr
        return done.stdout.splitlines()

    if transport == "stdio":
        return run(json.dumps(server.command))
    with served(server, directory) as address:
        return run(address)


def traces_of(collector: Receiver, *names: str) -> dict[str, list[ReadableSpan]]:
    """Wait for spans of these names, which are the last ones of their traces; return the spans of each root's trace."""
    assert collector.wait_for(lambda: {*names} <= {sent.name for sent in collector.spans()})
    spans = readable(collector.spans())
    assert set(collector.counts().values()) == {1}
    found: dict[str, list[ReadableSpan]] = {}
    for root in spans:
        if root.parent is None and root.context is not None:
            trace = root.context.trace_id
            found[root.name] = [span for span in spans if span.context is not None and span.context.trace_id == trace]
    return found


def placed(collector: Receiver, spans: list[ReadableSpan]) -> str:
    """Return a trace's tree, with the process that each span is of."""
    process = {sent.span.span_id: sent.resource["service.name"] for sent in collector.spans()}

    def named(span: ReadableSpan) -> str:
        assert span.context is not None
        return f"{span.name} ({process[span.context.span_id.to_bytes(8)]})"

    return tree(spans, named)


def one_trace(library: str, tool: str, *inner: str) -> str:
    """Return the tree of a run with one tool call: FastMCP's client is around MCP's."""
    sides = ["client"] * {"mcp": 1, "fastmcp": 2}[library] + ["server"]
    names = [f"invoke_agent {tool} (client)", *(f"execute_tool {tool} ({side})" for side in sides), *inner]
    return "".join(f"{'  ' * depth}{name}\n" for depth, name in enumerate(names))


CALL = "chat gpt-4.1-mini (server)"


@pytest.fixture
def collector() -> Iterator[Receiver]:
    """Where both processes export to."""
    with Collector() as receiver:
        yield receiver


@pytest.mark.parametrize(
    ("library", "transport", "way", "trusted"),
    [
        ("mcp", "stdio", "one line", True),
        ("mcp", "http", "launcher", False),
        ("fastmcp", "stdio", "launcher", False),
        ("fastmcp", "http", "one line", True),
    ],
)
def test_a_tool_call_is_one_trace_in_both_processes_and_its_calls_are_priced_once(
    collector: Receiver, provider: DemoProvider, tmp_path: Path, library: str, transport: str, way: Way, trusted: bool
) -> None:
    client = program("client", library, way, collector)
    server = program("server", library, way, collector, GENLEDGER_TRUST_BAGGAGE=str(int(trusted)))
    server.command.append(provider.openai_url)
    call(client, server, transport, tmp_path, "weather", "broken", "slow")
    found = traces_of(collector, "invoke_agent weather", "invoke_agent broken", "invoke_agent slow")
    assert set(found) == {"invoke_agent weather", "invoke_agent broken", "invoke_agent slow"}

    # Whole, failed, and cancelled midway.
    whole, failed, cancelled = (found[f"invoke_agent {tool}"] for tool in ("weather", "broken", "slow"))
    assert placed(collector, whole) == one_trace(library, "weather", CALL)
    assert placed(collector, failed) == one_trace(library, "broken")
    assert placed(collector, cancelled) == one_trace(library, "slow", CALL)
    assert [attributes_of(span)["error.type"] for span in failed if "tool" in span.name and span.kind.name == "SERVER"]

    # One price for each request, and on each side the attribution that it knows.
    spans = [*whole, *failed, *cancelled]
    assert shown(spans) == billed(provider)
    assert [cost_shown([span]) > 0 for span in spans if span.name.startswith("chat")] == [True, True]
    assert sum("genledger.cost.amount" in attributes_of(span) for span in spans) == 2
    for span in spans:
        known = attributes_of(span)
        of_client = placed(collector, [span]).endswith("(client)\n")
        assert known.get("genledger.tenant.id") == ("acme" if of_client or trusted else None)
        assert known.get("user.id") == ("u-1" if of_client else None)


def test_a_budget_of_the_server_refuses_for_the_tenant_that_it_trusts(
    collector: Receiver, provider: DemoProvider, tmp_path: Path
) -> None:
    rules = tmp_path / "budgets.toml"
    rules.write_text('[[budget]]\ntenant = "acme"\nrequests = 0\nper = "day"\n')
    trusting = {"GENLEDGER_TRUST_BAGGAGE": "1", "GENLEDGER_BUDGETS": str(rules)}
    server = program("server", "mcp", "one line", collector, **trusting)
    server.command.append(provider.openai_url)
    call(program("client", "mcp", "one line", collector), server, "stdio", tmp_path, "weather")
    (spans,) = traces_of(collector, "invoke_agent weather", "chat gpt-4.1-mini").values()
    assert placed(collector, spans) == one_trace("mcp", "weather", CALL)
    (refused,) = [attributes_of(span) for span in spans if span.name.startswith("chat")]
    assert refused["genledger.outcome"] == "blocked"
    assert not provider.requests


def test_a_server_whose_client_has_no_genledger_has_a_trace_of_its_own(
    collector: Receiver, provider: DemoProvider, tmp_path: Path
) -> None:
    server = program("server", "mcp", "one line", collector, GENLEDGER_TRUST_BAGGAGE="1")
    server.command.append(provider.openai_url)
    assert call(program("client", "mcp", "nothing", collector), server, "stdio", tmp_path, "weather", "broken") == []
    found = traces_of(collector, "execute_tool weather", "execute_tool broken")
    assert placed(collector, found["execute_tool weather"]) == f"execute_tool weather (server)\n  {CALL}\n"
    assert placed(collector, found["execute_tool broken"]) == "execute_tool broken (server)\n"
    assert shown(found["execute_tool weather"]) == billed(provider)


def test_a_client_whose_server_has_no_genledger_has_its_side_of_the_trace(
    collector: Receiver, provider: DemoProvider, tmp_path: Path
) -> None:
    server = program("server", "mcp", "nothing", collector)
    server.command.append(provider.openai_url)
    assert call(program("client", "mcp", "one line", collector), server, "stdio", tmp_path, "weather") == []
    (spans,) = traces_of(collector, "invoke_agent weather").values()
    assert placed(collector, spans) == "invoke_agent weather (client)\n  execute_tool weather (client)\n"
    assert len(provider.requests) == 1
