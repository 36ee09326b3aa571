"""instructor: one task around the attempts at an answer, each of them priced, and a refusal keeps its name."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import openai
import pytest
from examples.demo.provider import DemoProvider, Fault
from opentelemetry.context import get_current
from tests.instrumentors.frameworks.runs import billed, cost_shown, nothing_left, shown, traces, tree
from tests.instrumentors.telemetry import Telemetry, attributes_of, instrumented

import genledger
from genledger_semconv.checker import assert_clean

pytest.importorskip("instructor", reason="instructor has an environment of its own: make test-frameworks")

import instructor
from examples.frameworks.instructor_agent import forecast
from tenacity import AsyncRetrying, Retrying, retry_if_exception, stop_after_attempt, wait_fixed

LIBRARIES = ["openai", "instructor"]

RUN = """\
extract Forecast
  chat gpt-4.1-mini
  chat gpt-4.1-mini
"""


@pytest.fixture
def provider() -> Iterator[DemoProvider]:
    with DemoProvider() as provider:
        yield provider


@pytest.fixture
def telemetry() -> Iterator[Telemetry]:
    with instrumented(libraries=LIBRARIES) as telemetry, nothing_left(telemetry):
        yield telemetry
        assert_clean(telemetry.spans, telemetry.metrics, telemetry.logs)


def ask(provider: DemoProvider, **options: Any) -> Any:
    """Ask for a forecast."""
    return forecast(openai.OpenAI(base_url=provider.openai_url, api_key="k", max_retries=0), **options)


def ask_async(provider: DemoProvider, **options: Any) -> Any:
    """The same in a loop of its own."""

    async def within() -> Any:
        client = openai.AsyncOpenAI(base_url=provider.openai_url, api_key="k", max_retries=0)
        return await forecast(client, **options)

    return asyncio.run(within())


both = pytest.mark.parametrize("way", [ask, ask_async], ids=["sync", "async"])


@both
def test_attempts_are_in_one_task_and_each_is_priced(telemetry: Telemetry, provider: DemoProvider, way: Any) -> None:
    before = get_current()
    assert way(provider).degrees == 1
    assert get_current() is before
    assert tree(telemetry.spans) == RUN
    assert shown(telemetry.spans) == billed(provider)
    assert cost_shown(telemetry.spans) > 0


def test_an_answer_of_any_form_is_a_call_without_a_task(telemetry: Telemetry, provider: DemoProvider) -> None:
    openai_client = openai.OpenAI(base_url=provider.openai_url, api_key="k", max_retries=0)
    client = instructor.from_openai(openai_client)
    client.chat.completions.create(
        model="gpt-4.1-mini", messages=[{"role": "user", "content": "Hi"}], response_model=None
    )
    assert telemetry.span.name == "chat gpt-4.1-mini"


def test_tasks_in_threads_are_apart(telemetry: Telemetry, provider: DemoProvider) -> None:
    threads = [threading.Thread(target=ask, args=(provider,)) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert traces(telemetry.spans) == 3
    assert shown(telemetry.spans) == billed(provider)


@both
def test_attempts_that_never_fit_end_the_task_with_the_error_of_instructor(
    telemetry: Telemetry, provider: DemoProvider, way: Any
) -> None:
    from instructor.core import InstructorRetryException

    with pytest.raises(InstructorRetryException):
        way(provider, max_retries=0)
    assert "InstructorRetryException" in telemetry.attributes_of("extract Forecast")["error.type"]


def test_a_task_that_is_cancelled_ends(telemetry: Telemetry) -> None:
    async def cancelled(provider: DemoProvider) -> None:
        task = asyncio.create_task(
            forecast(openai.AsyncOpenAI(base_url=provider.openai_url, api_key="k", max_retries=0))
        )
        while not telemetry.open.spans:  # noqa: ASYNC110
            await asyncio.sleep(0.01)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task

    with DemoProvider(latency=1.0) as slow:
        asyncio.run(cancelled(slow))
    assert "CancelledError" in telemetry.attributes_of("extract Forecast")["error.type"]


def test_the_result_is_on_the_task_where_content_is_captured(provider: DemoProvider) -> None:
    with instrumented(libraries=LIBRARIES, capture_content=True) as telemetry:
        ask(provider)
    assert telemetry.attributes_of("extract Forecast")["genledger.task.result"] == '{"city":"Paris","degrees":1}'


@pytest.fixture
def refusing(tmp_path: Path) -> Iterator[Telemetry]:
    """One call of the tenant, and never a second."""
    rules = tmp_path / "budgets.toml"
    rules.write_text('[[budget]]\nname="one"\ntenant="acme"\nrequests=1\nper="day"\n')
    with (
        instrumented(libraries=LIBRARIES, budgets=str(rules), budget_store="memory:") as telemetry,
        nothing_left(telemetry),
        genledger.attribution(tenant="acme"),
    ):
        yield telemetry


@both
def test_a_refusal_keeps_its_name_and_ends_the_attempts(refusing: Telemetry, provider: DemoProvider, way: Any) -> None:
    with pytest.raises(genledger.BudgetExceeded):
        way(provider)
    assert len(provider.requests) == 1
    assert refusing.attributes_of("extract Forecast")["error.type"].endswith("BudgetExceeded")


@pytest.mark.parametrize(("way", "kind"), [(ask, Retrying), (ask_async, AsyncRetrying)], ids=["sync", "async"])
def test_retries_of_the_applications_own_end_with_a_refusal(
    refusing: Telemetry, provider: DemoProvider, way: Any, kind: Any
) -> None:
    always = retry_if_exception(lambda error: True)
    again = kind(stop=stop_after_attempt(50), wait=wait_fixed(0), retry=always)
    with pytest.raises(genledger.BudgetExceeded):
        way(provider, max_retries=again)
    assert len(provider.requests) == 1
    refused = [span for span in refusing.spans if attributes_of(span).get("genledger.outcome") == "blocked"]
    assert len(refused) == 1


@both
def test_retries_of_the_applications_own_are_made_as_it_says(telemetry: Telemetry, way: Any) -> None:
    kind = Retrying if way is ask else AsyncRetrying
    again = kind(stop=stop_after_attempt(3), wait=wait_fixed(0), retry=retry_if_exception(lambda error: True))
    with DemoProvider(faults=[Fault("Paris", 500)]) as provider:
        assert way(provider, max_retries=again).city == "Paris"
        assert len(provider.requests) == 3


def test_nothing_is_recorded_after_uninstrument(provider: DemoProvider) -> None:
    with instrumented(libraries=LIBRARIES) as telemetry:
        ask(provider)
        count = len(telemetry.spans)
    ask(provider)
    assert len(telemetry.spans) == count == 3
