"""Functions of the application that a client runs when a model asks for them."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from types import ModuleType
from typing import Any

import pytest
from tests.instrumentors.provider import now
from tests.instrumentors.telemetry import Telemetry, instrumented

import genledger
from genledger.instrumentation.adapters.tool_calls import runs_tool
from genledger.instrumentation.patching import Patcher
from genledger_semconv.checker import assert_clean


def run(arguments: dict[str, Any], function: Any) -> Any:
    """Run a function, as a client does it."""
    return function(**arguments)


@pytest.fixture
def client() -> Iterator[Any]:
    """A client library that runs functions."""
    module: Any = ModuleType("toollib")
    module.run = run
    sys.modules["toollib"] = module
    patcher = Patcher([runs_tool("toollib", "run", "function")])
    patcher.apply()
    try:
        yield module
    finally:
        patcher.restore()
        del sys.modules["toollib"]


@pytest.fixture
def telemetry() -> Iterator[Telemetry]:
    with instrumented() as telemetry:
        yield telemetry
        assert_clean(telemetry.spans, telemetry.metrics, telemetry.logs)
        assert not telemetry.complaints.other


def add(a: int, b: int) -> int:
    """Add two numbers."""
    return a + b


async def add_soon(a: int, b: int) -> int:
    """Add two numbers, asynchronously."""
    return a + b


@pytest.mark.parametrize("function", [add, add_soon])
async def test_a_function_that_a_client_runs_is_a_step(client: Any, telemetry: Telemetry, function: Any) -> None:
    assert await now(client.run({"a": 1, "b": 2}, function=function)) == 3
    assert telemetry.span.name == f"execute_tool {function.__name__}"


@pytest.mark.parametrize("function", [add, add_soon])
async def test_a_function_that_the_application_observes_as_a_tool_is_one_step(
    client: Any, telemetry: Telemetry, function: Any
) -> None:
    observed = genledger.observe("sum", kind="tool")(function)
    assert await now(client.run({"a": 1, "b": 2}, observed)) == 3
    assert telemetry.span.name == "execute_tool sum"


def test_a_function_that_fails_fails_its_step(client: Any, telemetry: Telemetry) -> None:
    with pytest.raises(TypeError, match="unsupported"):
        client.run({"a": 1, "b": "2"}, add)
    assert telemetry.attributes["error.type"] == "TypeError"


def test_without_instrument_a_function_is_run_as_it_is(client: Any) -> None:
    assert client.run({"a": 1, "b": 2}, add) == 3
