"""What is promised of a run, whichever framework runs it: each has its row in its own module, as `FRAMEWORK`."""

from __future__ import annotations

import asyncio
import importlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
from examples.demo.provider import DemoProvider, Fault
from opentelemetry.context import get_current
from tests.instrumentors.frameworks.runs import (
    Framework,
    Record,
    Totals,
    assert_billed_once,
    billed,
    cancelled,
    cost_shown,
    in_thread,
    nothing_left,
    ours,
    outcomes,
    refusing,
    tenants,
    traces,
    tree,
    trees,
)
from tests.instrumentors.telemetry import Telemetry, attributes_of

import genledger
from genledger.ledger import Ledger, queries
from genledger.ledger.run_spending import RunSpending

FRAMEWORKS = {
    "ag2": "ag2.agent",
    "agent_framework": "agent_framework",
    "agno": "agno",
    "autogen": "autogen_agentchat",
    "crewai": "crewai",
    "dspy": "dspy",
    "google_adk": "google.adk",
    "haystack": "haystack",
    "instructor": "instructor",
    "langchain_agents": "langchain.agents",
    "livekit": "livekit.agents",
    "llamaindex": "llama_index.llms.openai",
    "openai_agents": "agents",
    "pipecat": "pipecat",
    "pydantic_ai": "pydantic_ai",
    "semantic_kernel": "semantic_kernel",
    "smolagents": "smolagents",
    "strands": "strands",
}
"""The end of the name of each module, and the package that it needs."""


REPORTS: dict[str, str] = {"agent": "invoke_agent", "workflow": "invoke_workflow", "tool": "execute_tool"}
"""What runs are reported by, and the operation of their spans."""

OTHERS = {"instructor", "pipecat", "smolagents", "strands"}
"""instructor's tasks are no runs, smolagents' model is asked once, and Strands and Pipecat wrap what is raised."""


NATIVE = ("agent_framework", "google_adk", "pydantic_ai", "strands")
"""Those that record their own work, and run as coroutines from end to end."""

LEFT = {"execute_event_loop_cycle", "chat"}
"""Spans that Strands does not end when a run is cancelled, nor marks when it fails."""


@pytest.fixture(params=FRAMEWORKS)
def framework(request: pytest.FixtureRequest) -> Framework:
    """A row; a test may name others."""
    package = FRAMEWORKS[request.param]
    pytest.importorskip(package, reason=f"{package} has an environment of its own: make test-frameworks")
    row: Framework = importlib.import_module(f"tests.instrumentors.frameworks.test_{request.param}").FRAMEWORK
    return row


@pytest.fixture
def record(framework: Framework) -> Record:
    """Genledger beside the framework."""
    return framework.record


@pytest.fixture
def replies(framework: Framework) -> Mapping[str, str]:
    """What the framework's model says."""
    return framework.replies


async def test_a_run_has_its_tree_and_leaves_the_context_as_it_was(
    framework: Framework, telemetry: Telemetry, provider: DemoProvider
) -> None:
    before = get_current()
    await framework.run(provider, 1)
    assert get_current() is before
    assert tree(telemetry.spans, kept=framework.kept) == framework.tree
    assert_billed_once(telemetry, provider)


def test_a_run_in_a_thread_of_its_own_has_its_tree(
    framework: Framework, telemetry: Telemetry, provider: DemoProvider
) -> None:
    in_thread(lambda: asyncio.run(_once(framework, provider)))
    assert tree(telemetry.spans, kept=framework.kept) == framework.tree
    assert_billed_once(telemetry, provider)


async def _once(framework: Framework, provider: DemoProvider) -> None:
    await framework.run(provider, 1)


@pytest.mark.parametrize("framework", NATIVE, indirect=True)
async def test_a_run_that_is_streamed_has_the_same_tree(
    framework: Framework, telemetry: Telemetry, provider: DemoProvider
) -> None:
    assert framework.stream is not None
    before = get_current()
    await framework.stream(provider)
    assert get_current() is before
    assert tree(telemetry.spans, kept=framework.kept) == framework.tree
    assert_billed_once(telemetry, provider)


@pytest.mark.parametrize("framework", NATIVE, indirect=True)
async def test_an_error_of_the_provider_ends_every_step_with_it(framework: Framework, telemetry: Telemetry) -> None:
    with DemoProvider(faults=[Fault("Paris", 400)]) as provider, pytest.raises(Exception, match=r"."):
        await framework.run(provider, 1)
    assert framework.tree.startswith(tree(telemetry.spans, kept=framework.kept))
    assert outcomes(telemetry) == ["error"]
    assert {span.name for span in telemetry.spans if span.status.is_unset} <= LEFT


@pytest.mark.parametrize("framework", NATIVE, indirect=True)
async def test_a_run_that_is_cancelled_midway_leaves_its_call_cancelled(framework: Framework) -> None:
    with framework.record() as telemetry, DemoProvider(latency=1) as provider:
        before = get_current()
        await cancelled(framework.run(provider, 1), lambda: provider.requests)
        assert get_current() is before
        assert outcomes(telemetry) == ["cancelled"]
        assert traces(telemetry.spans) == 1
        assert set(telemetry.open.spans.values()) <= LEFT
        assert not telemetry.complaints.other


@pytest.mark.parametrize("framework", NATIVE, indirect=True)
async def test_the_cost_is_the_same_where_nobody_listens_to_the_frameworks_own_telemetry(
    framework: Framework, provider: DemoProvider
) -> None:
    assert framework.alone is not None
    with framework.alone() as telemetry, nothing_left(telemetry):
        await framework.run(provider, 1)
        assert [span.name for span in telemetry.spans] == [span.name for span in ours(telemetry.spans)]
        assert traces(telemetry.spans) == len(telemetry.spans) == 2
        assert_billed_once(telemetry, provider)


async def test_runs_at_the_same_time_have_trees_of_their_own(
    framework: Framework, telemetry: Telemetry, provider: DemoProvider
) -> None:
    await framework.run(provider, 3)
    assert trees(telemetry.spans, kept=framework.kept) == [framework.tree] * 3
    assert_billed_once(telemetry, provider)


async def test_a_run_in_a_thread_has_its_tree(
    framework: Framework, telemetry: Telemetry, provider: DemoProvider
) -> None:
    await asyncio.to_thread(lambda: asyncio.run(_once(framework, provider)))
    assert tree(telemetry.spans, kept=framework.kept) == framework.tree


async def _once(framework: Framework, provider: DemoProvider) -> None:
    await framework.run(provider, 1)


async def test_a_run_takes_the_attribution_around_it(
    framework: Framework, telemetry: Telemetry, provider: DemoProvider
) -> None:
    with genledger.attribution(tenant="acme"):
        await framework.run(provider, 1)
    assert tenants(filter(framework.kept, telemetry.spans)) == {"acme"}


@pytest.mark.parametrize("framework", [name for name in FRAMEWORKS if name not in OTHERS], indirect=True)
@pytest.mark.parametrize("limit", [{"steps": 1, "per": "run"}, {"requests": 1, "per": "run"}])
async def test_a_run_counts_in_budgets(framework: Framework, provider: DemoProvider, limit: dict[str, Any]) -> None:
    with refusing(framework.record, **limit) as telemetry:
        for _ in range(2):  # each run has a limit of its own
            with pytest.raises(genledger.BudgetExceeded):
                await framework.run(provider, 1)
        assert outcomes(telemetry).count("blocked") == 2


async def test_reports_count_every_run_and_every_token_once(
    framework: Framework, provider: DemoProvider, tmp_path: Path
) -> None:
    path = tmp_path / "ledger.db"
    with framework.record(destinations=["ledger"], ledger=path) as telemetry:
        await framework.run(provider, 2)
        assert genledger.flush(60)
    used, done = billed(provider), [attributes_of(span).get("gen_ai.operation.name") for span in telemetry.spans]
    with Ledger(path).reading() as connection:
        for by, operation in REPORTS.items():
            found = queries.report(connection, by)
            runs = [row for row in found.rows if isinstance(row, RunSpending) and row.key is not None]
            assert sum(row.runs for row in runs) == done.count(operation)
            assert Totals(found.total.input_tokens, found.total.output_tokens) == used
            assert found.total.cost_usd == pytest.approx(cost_shown(telemetry.spans))
            for row in runs:
                assert row.calls_per_run == row.calls / row.runs
                assert row.tokens_per_run == (row.input_tokens + row.output_tokens) / row.runs
                assert (row.cost_per_run or 0.0) == pytest.approx((row.cost_usd or 0.0) / row.runs)


async def test_no_content_is_recorded_unless_it_is_captured(
    framework: Framework, telemetry: Telemetry, provider: DemoProvider
) -> None:
    await framework.run(provider, 1)
    assert ours(telemetry.spans)
    assert "Paris" not in "".join(span.to_json() for span in ours(telemetry.spans))


async def test_nothing_of_genledgers_is_recorded_after_uninstrument(
    framework: Framework, provider: DemoProvider
) -> None:
    hook = framework.hook()
    with framework.record() as telemetry:
        await framework.run(provider, 1)
        count = len(telemetry.spans)
        genledger.uninstrument()
        assert framework.hook() == hook
        await framework.run(provider, 1)
    later = telemetry.spans[count:]
    assert not ours(later)
    assert "genledger" not in str([span.attributes for span in later])


@pytest.mark.parametrize("framework", NATIVE, indirect=True)
async def test_the_same_call_of_a_tool_repeats_itself_though_its_span_does_not_tell_the_arguments(
    framework: Framework,
) -> None:
    with DemoProvider(rounds=10) as provider:
        with refusing(framework.record, repeats=2), pytest.raises(Exception, match=r"repeats"):
            await framework.run(provider, 1)
        assert len(provider.requests) == 3
