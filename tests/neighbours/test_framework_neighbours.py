"""Agent frameworks beside other vendors' instrumentations of them and of their clients: every token counts once.

Each run is in a process of its own, as few of the instrumentations can be taken back.
"""

from __future__ import annotations

import asyncio
import faulthandler
import importlib
import logging
import os
import pickle
import traceback
from collections.abc import Callable
from importlib.util import find_spec
from pathlib import Path
from typing import Any, NamedTuple

import pytest
from examples.demo.provider import DemoProvider
from opentelemetry import _logs, metrics, trace
from opentelemetry.sdk.trace import ReadableSpan, SpanProcessor
from opentelemetry.sdk.trace.export import SimpleSpanProcessor

import genledger

from ..instrumentors.destination import Destination
from ..instrumentors.frameworks.conftest import at_home
from ..instrumentors.frameworks.runs import Framework, Totals, billed, cost_shown, ours, shown, tree
from ..instrumentors.frameworks.test_promises import FRAMEWORKS
from ..instrumentors.telemetry import Telemetry

VENDORS: dict[str, dict[str, str]] = {
    "openinference.instrumentation": {
        "ag2": "",
        "agent_framework": "",
        "agno": "agno:AgnoInstrumentor",
        "autogen": "autogen_agentchat:AutogenAgentChatInstrumentor",
        "crewai": "crewai:CrewAIInstrumentor",
        "dspy": "dspy:DSPyInstrumentor",
        "google_adk": "google_adk:GoogleADKInstrumentor",
        "haystack": "haystack:HaystackInstrumentor",
        "langchain_agents": "langchain:LangChainInstrumentor",
        "llamaindex": "llama_index:LlamaIndexInstrumentor",
        "openai_agents": "openai_agents:OpenAIAgentsInstrumentor",
        "pydantic_ai": "",
        "semantic_kernel": "",
        "smolagents": "smolagents:SmolagentsInstrumentor",
        "strands": "strands_agents:StrandsAgentsToOpenInferenceProcessor",
    },
    "opentelemetry.instrumentation": {
        "agno": "agno:AgnoInstrumentor",
        "crewai": "crewai:CrewAIInstrumentor",
        "langchain_agents": "langchain:LangchainInstrumentor",
        "llamaindex": "llamaindex:LlamaIndexInstrumentor",
        "openai_agents": "openai_agents:OpenAIAgentsInstrumentor",
    },
    "opentelemetry.instrumentation.genai": {
        "agno": "agno:AgnoInstrumentor",
        "dspy": "dspy:DSPyInstrumentor",
        "langchain_agents": "langchain:LangChainInstrumentor",
        "llamaindex": "llama_index:LlamaIndexInstrumentor",
        "openai_agents": "openai_agents:OpenAIAgentsInstrumentor",
        "smolagents": "smolagents:SmolagentsInstrumentor",
    },
    "openlit": {"google_adk": "google-adk", "langchain_agents": "langchain", "llamaindex": "llama_index"},
    "logfire": {"langchain_agents": "", "openai_agents": "", "pydantic_ai": "", "smolagents": ""},
}
"""What each vendor (the second is OpenLLMetry) has for frameworks; OpenLIT's own names of them.

Where it has nothing, or we name nothing, there is only its instrumentation of the client: one vendor's for frameworks
that record their own work, and Logfire's, which keeps others out of the client, for one framework of each kind.

Left out, as they do not work with today's versions, with or without Genledger: OpenInference's of AG2, OpenLLMetry's
of Haystack, and OpenTelemetry's older one of OpenAI.
"""

CELLS = [
    pytest.param(framework, vendor, marks=pytest.mark.xdist_group(framework), id=f"{framework}-{vendor}")
    for framework in FRAMEWORKS
    for vendor, names in VENDORS.items()
    if framework in names
]
"""By framework: a worker imports it once."""

CLIENT = "openai:OpenAIInstrumentor"
"""What those that are found by their modules have for the client."""

LEAVES_SPANS_OPEN = {("openlit", "langchain_agents")}
"""With or without Genledger."""

LIMIT = 600
"""Seconds that a run may take before it counts as hanging: it says where, and ends."""

STEPS = frozenset({"invoke_agent", "invoke_workflow", "execute_tool"})


class Seen(NamedTuple):
    """What a run left behind."""

    billed: Totals
    exported: Totals
    delivered: Totals
    costs: tuple[float, float, float]
    tree: str
    theirs: int
    complaints: list[str]
    open: list[str]
    left: list[str]


def start_theirs(vendor: str, framework: str, telemetry: Telemetry, prices: Path) -> None:
    """Start a vendor's instrumentations of a framework and of its client."""
    names = VENDORS[vendor]
    if vendor == "openlit":
        known = importlib.import_module("openlit._instrumentors").MODULE_NAME_MAP
        wanted = {"openai", "langgraph", names[framework]}
        prices.write_text('{"chat": {"gpt-4.1-mini-2025-04-14": {"promptPrice": 0.0004, "completionPrice": 0.0016}}}')
        importlib.import_module(vendor).init(
            disabled_instrumentors=[name for name in known if name not in wanted], pricing_json=str(prices)
        )
        return
    if vendor == "logfire":
        importlib.import_module(vendor).instrument_openai()
        return
    for module, _, name in (one.partition(":") for one in (CLIENT, names[framework]) if one):
        found = getattr(importlib.import_module(f"{vendor}.{module}"), name)()
        if isinstance(found, SpanProcessor):
            telemetry.tracer_provider.add_span_processor(found)
            continue
        found.instrument(
            tracer_provider=telemetry.tracer_provider,
            meter_provider=telemetry.meter_provider,
            logger_provider=telemetry.logger_provider,
            skip_dep_check=True,
        )


def names_in(span: ReadableSpan) -> list[str]:
    """Return the names that say whose a span is: of its scope and its attributes."""
    scope = span.instrumentation_scope
    return [f"{scope.name if scope is not None else ''}.", *(span.attributes or {})]


def is_structure(span: ReadableSpan) -> bool:
    """Return whether a span is ours, or a step: neighbours take away what frameworks make around calls."""
    return bool(ours([span])) or (span.attributes or {}).get("gen_ai.operation.name") in STEPS


def run(row: Framework, framework: str, vendor: str | None, ours_first: bool, prices: Path) -> Seen:
    """Run a framework beside a vendor, and once more without Genledger."""
    telemetry, destination = Telemetry(), Destination()
    if vendor == "logfire":  # it insists on a provider of its own
        processors = [telemetry.open, SimpleSpanProcessor(telemetry.exporter)]
        importlib.import_module(vendor).configure(
            send_to_logfire=False, console=False, metrics=False, additional_span_processors=processors
        )
        telemetry.tracer_provider = trace.get_tracer_provider()  # type: ignore[assignment]
    else:
        trace.set_tracer_provider(telemetry.tracer_provider)
    metrics.set_meter_provider(telemetry.meter_provider)
    _logs.set_logger_provider(telemetry.logger_provider)
    for name in ("genledger", "genledger_instrumentors"):
        logging.getLogger(name).addHandler(telemetry.complaints)
    libraries = getattr(row.record, "keywords", {}).get("libraries")
    starts: list[Callable[[], Any]] = [
        lambda: genledger.instrument(
            tracer_provider=telemetry.tracer_provider,
            meter_provider=telemetry.meter_provider,
            logger_provider=telemetry.logger_provider,
            libraries=libraries,
            destinations=[destination],
        )
    ]
    if vendor is not None:
        starts.insert(ours_first, lambda: start_theirs(vendor, framework, telemetry, prices))
    for start in starts:
        start()
    loop = asyncio.new_event_loop()
    with DemoProvider(replies=row.replies) as provider:
        loop.run_until_complete(row.run(provider, 1))
        genledger.flush()
        spans, records = telemetry.spans, destination.records
        found = Seen(
            billed(provider),
            shown(spans),
            shown(destination.spans),
            (
                cost_shown(spans),
                cost_shown(destination.spans),
                sum(one.cost.amount for one in records if one.cost is not None),
            ),
            tree(destination.spans, kept=is_structure),
            len(spans) - len(ours(spans)),
            telemetry.complaints.other,
            list(telemetry.open.spans.values()),
            [],
        )
        genledger.uninstrument()
        loop.run_until_complete(row.run(provider, 1))
        later = telemetry.spans[len(spans) :]
        found.left.extend(span.name for span in later if any(name.startswith("genledger.") for name in names_in(span)))
        return found


def apart(act: Callable[[], Seen]) -> Seen:
    """Return what something returns in a child process, where it may change whatever it likes."""
    reader, writer = os.pipe()
    child = os.fork()
    if child == 0:
        faulthandler.dump_traceback_later(LIMIT, exit=True)
        try:
            said: Any = act()
        except BaseException:
            said = traceback.format_exc()
        with os.fdopen(writer, "wb") as to:
            pickle.dump(said, to)
        os._exit(0)
    os.close(writer)
    with os.fdopen(reader, "rb") as received:
        answer = pickle.load(received)
    os.waitpid(child, 0)
    assert isinstance(answer, Seen), answer
    return answer


@pytest.fixture(autouse=True)
def nothing_leaves_the_machine(monkeypatch: pytest.MonkeyPatch, tmp_path_factory: pytest.TempPathFactory) -> None:
    """As for the frameworks alone."""
    for name, value in at_home(tmp_path_factory.getbasetemp()).items():
        monkeypatch.setenv(name, value)


_alone: dict[str, Seen] = {}


def is_here(framework: str, vendor: str) -> bool:
    """Return whether both are in this environment."""
    module = VENDORS[vendor][framework].partition(":")[0]
    packages = [FRAMEWORKS[framework], vendor if vendor == "openlit" or not module else f"{vendor}.{module}"]
    try:
        return all(find_spec(package) for package in packages)
    except ModuleNotFoundError:  # of what a package is in
        return False


@pytest.mark.parametrize(("framework", "vendor"), CELLS)
@pytest.mark.parametrize("ours_first", [True, False], ids=["ours first", "theirs first"])
def test_a_frameworks_run_counts_once_beside_a_vendors_instrumentations(
    framework: str, vendor: str, ours_first: bool, tmp_path: Path
) -> None:
    if not is_here(framework, vendor):
        pytest.skip("it has another environment")
    row: Framework = importlib.import_module(f"tests.instrumentors.frameworks.test_{framework}").FRAMEWORK
    if framework not in _alone:
        _alone[framework] = apart(lambda: run(row, framework, None, True, tmp_path / "prices.json"))
    alone = _alone[framework]
    found = apart(lambda: run(row, framework, vendor, ours_first, tmp_path / "prices.json"))
    assert found.billed == found.exported == found.delivered == alone.billed
    assert found.costs == pytest.approx(alone.costs)
    assert found.tree == alone.tree
    assert not found.complaints
    assert not found.left
    if (vendor, framework) not in LEAVES_SPANS_OPEN:
        assert not found.open
