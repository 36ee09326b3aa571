"""instructor: one task around the attempts at an answer, each of them priced, and a refusal keeps its name."""

from __future__ import annotations

import asyncio
import threading
from functools import partial
from importlib import import_module
from importlib.metadata import version
from pathlib import Path
from typing import Any

import openai
import pytest
from examples.demo.provider import DemoProvider, Fault
from packaging.version import Version
from tests.genledger.applications import rows
from tests.instrumentors.frameworks.runs import (
    Framework,
    assert_billed_once,
    cancelled,
    is_open,
    outcomes,
    together,
    traces,
    tree,
)
from tests.instrumentors.telemetry import Telemetry, instrumented

import genledger
from genledger_semconv.checker import assert_clean

pytest.importorskip("instructor", reason="instructor has an environment of its own: make test-frameworks")

import instructor
from examples.frameworks.instructor_agent import forecast
from tenacity import AsyncRetrying, Retrying, retry_if_exception, stop_after_attempt, wait_fixed

record = partial(instrumented, libraries=["openai", "instructor"])

RUN = """\
extract Forecast
  chat gpt-4.1-mini
  chat gpt-4.1-mini
"""


def ask(provider: DemoProvider, **options: Any) -> Any:
    """Ask for a forecast."""
    return forecast(openai.OpenAI(base_url=provider.openai_url, api_key="k", max_retries=0), **options)


async def extracted(provider: DemoProvider, **options: Any) -> Any:
    """Ask in the loop that runs."""
    async with openai.AsyncOpenAI(base_url=provider.openai_url, api_key="k", max_retries=0) as client:
        return await forecast(client, **options)


def ask_async(provider: DemoProvider, **options: Any) -> Any:
    """The same in a loop of its own."""
    return asyncio.run(extracted(provider, **options))


async def _at_once(provider: DemoProvider, times: int) -> None:
    await together(*(extracted(provider) for _ in range(times)))


FRAMEWORK = Framework(record, _at_once, RUN)


both = pytest.mark.parametrize("way", [ask, ask_async], ids=["sync", "async"])


@both
def test_attempts_are_in_one_task_and_each_is_priced(telemetry: Telemetry, provider: DemoProvider, way: Any) -> None:
    assert way(provider).degrees == 1
    assert tree(telemetry.spans) == RUN
    assert_billed_once(telemetry, provider)


def test_what_instructors_cache_answers_is_a_hit_and_no_call(provider: DemoProvider, tmp_path: Path) -> None:
    if Version(version("instructor")) < Version("1.16"):
        pytest.skip("instructor's cache is looked into elsewhere before 1.16, and what it answers is no hit")
    cache = import_module("instructor.cache")
    ledger = tmp_path / "ledger.db"
    with record(destinations=["ledger"], ledger=str(ledger)) as telemetry, genledger.attribution(tenant="acme"):
        openai_client = openai.OpenAI(base_url=provider.openai_url, api_key="k", max_retries=0)
        kept = {"cache": cache.AutoCache(), "cache_namespace": "forecasts"}
        for _ in range(3):
            assert forecast(openai_client, **kept).degrees == 1
        assert_clean(telemetry.spans, telemetry.metrics, telemetry.logs)
    spent = sum(row["cost_usd"] for row in rows(ledger))
    hits = rows(ledger, "SELECT * FROM cache_hits")
    assert [(row["cache"], row["tenant"]) for row in hits] == [("instructor", "acme")] * 2
    assert [row["saved_usd"] for row in hits] == [pytest.approx(spent)] * 2


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
    assert_billed_once(telemetry, provider)


@both
def test_attempts_that_never_fit_end_the_task_with_the_error_of_instructor(
    telemetry: Telemetry, provider: DemoProvider, way: Any
) -> None:
    from instructor.exceptions import InstructorRetryException

    with pytest.raises(InstructorRetryException):
        way(provider, max_retries=0)
    assert "InstructorRetryException" in telemetry.attributes_of("extract Forecast")["error.type"]


def test_a_task_that_is_cancelled_ends(telemetry: Telemetry) -> None:
    with DemoProvider(latency=1.0) as provider:
        asyncio.run(cancelled(extracted(provider), is_open(telemetry, "extract Forecast")))
    assert "CancelledError" in telemetry.attributes_of("extract Forecast")["error.type"]


def test_the_result_is_on_the_task_where_content_is_captured(provider: DemoProvider) -> None:
    with record(capture_content=True) as telemetry:
        ask(provider)
    assert telemetry.attributes_of("extract Forecast")["genledger.task.result"] == '{"city":"Paris","degrees":1}'


@both
def test_a_refusal_keeps_its_name_and_ends_the_attempts(refused: Telemetry, provider: DemoProvider, way: Any) -> None:
    with pytest.raises(genledger.BudgetExceeded):
        way(provider)
    assert len(provider.requests) == 1
    assert refused.attributes_of("extract Forecast")["error.type"].endswith("BudgetExceeded")


@pytest.mark.parametrize(("way", "kind"), [(ask, Retrying), (ask_async, AsyncRetrying)], ids=["sync", "async"])
def test_retries_of_the_applications_own_end_with_a_refusal(
    refused: Telemetry, provider: DemoProvider, way: Any, kind: Any
) -> None:
    always = retry_if_exception(lambda error: True)
    again = kind(stop=stop_after_attempt(50), wait=wait_fixed(0), retry=always)
    with pytest.raises(genledger.BudgetExceeded):
        way(provider, max_retries=again)
    assert len(provider.requests) == 1
    assert outcomes(refused).count("blocked") == 1


@both
def test_retries_of_the_applications_own_are_made_as_it_says(telemetry: Telemetry, way: Any) -> None:
    kind = Retrying if way is ask else AsyncRetrying
    again = kind(stop=stop_after_attempt(3), wait=wait_fixed(0), retry=retry_if_exception(lambda error: True))
    with DemoProvider(faults=[Fault("Paris", 500)]) as provider:
        assert way(provider, max_retries=again).city == "Paris"
        assert len(provider.requests) == 3
