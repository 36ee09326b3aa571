"""Functions that are steps, whatever they return; refusals that pass a framework, and those that code handles."""

from __future__ import annotations

import asyncio
import gc
import weakref
from collections.abc import AsyncIterator, Iterator
from types import SimpleNamespace
from typing import Any

import pytest
import wrapt
from opentelemetry.context import attach, detach, get_current
from tests.instrumentors.frameworks.runs import nothing_left, tree
from tests.instrumentors.telemetry import Telemetry, attributes_of, instrumented

import genledger
from genledger.budgets.enforcement.exceeded import BudgetExceeded
from genledger.engine.carried_refusals import raise_as_seen_here
from genledger.instrumentation.adapters.stepped_functions import (
    BEYOND,
    PLUMBING,
    Described,
    SteppedCall,
    stepped,
    stepping,
)


@pytest.fixture
def telemetry() -> Iterator[Telemetry]:
    with instrumented(libraries=[]) as telemetry, nothing_left(telemetry):
        yield telemetry


def refusal() -> BudgetExceeded:
    amounts: Any = {"spent": 1.0, "reserved": 0.0, "limit": 1.0, "resets_at": None, "retry_after": None}
    return BudgetExceeded("no more", scope="organization", rule="few", measure="requests", **amounts)


def refuse() -> None:
    """What a client's call does when a budget refuses it."""
    error = refusal()
    raise_as_seen_here(error)
    raise error


def step(function: Any, kind: Any = "agent", application: bool = False) -> Any:
    """Return a function that is a step of its name."""

    def describe(instance: Any, given: dict[str, Any]) -> Described:
        return Described(kind, function.__name__, user=given.get("user"), carried=not application)

    def finish(call: SteppedCall, result: Any) -> BaseException | None:
        return call.told(result.failed) if isinstance(result, SimpleNamespace) else None

    patch = stepped("module", "path", describe, finish)
    return wrapt.FunctionWrapper(function, patch.wrapper)


def inner() -> None:
    with genledger.observe("inner"):
        pass


def plain() -> str:
    inner()
    return "done"


async def coroutine() -> str:
    inner()
    await asyncio.sleep(0)
    return "done"


def generator() -> Iterator[int]:
    inner()
    yield 1


async def async_generator() -> AsyncIterator[int]:
    inner()
    yield 1


async def read(items: Any) -> list[Any]:
    return [item async for item in items]


@pytest.mark.parametrize("function", [plain, coroutine, generator, async_generator])
@pytest.mark.parametrize("promised", [False, True])
def test_what_a_function_does_is_in_its_step_whatever_it_returns(
    telemetry: Telemetry, function: Any, promised: bool
) -> None:
    def promise() -> Any:
        return function()

    before = get_current()
    result = step(promise if promised else function)()
    assert get_current() is before
    if function is coroutine:
        assert asyncio.run(result) == "done"
    elif function is async_generator:
        assert asyncio.run(read(result)) == [1]
    else:
        assert (list(result) if function is generator else result) in ("done", [1])
    assert get_current() is before
    name = "promise" if promised else function.__name__
    assert tree(telemetry.spans) == f"invoke_agent {name}\n  inner\n"


@pytest.mark.parametrize("function", [generator, async_generator, coroutine])
@pytest.mark.parametrize("promised", [False, True])
@pytest.mark.filterwarnings("ignore:coroutine .* was never awaited")
def test_what_is_never_read_ends_its_step_if_that_has_begun(
    telemetry: Telemetry, function: Any, promised: bool
) -> None:
    def promise() -> Any:
        return function()

    step(promise if promised else function)()
    gc.collect()
    assert tree(telemetry.spans) == ("invoke_agent promise\n" if promised else "")


def test_a_result_that_its_maker_holds_is_dropped_with_it(telemetry: Telemetry) -> None:
    class Maker:
        result: Any = None

        @wrapt.decorator(stepping(lambda maker, given: Described("tool", "make")))
        def make(self) -> Any:
            return generator()

    maker = Maker()
    maker.result = maker.make()
    held = weakref.ref(maker)
    del maker
    gc.collect()
    assert held() is None
    assert tree(telemetry.spans) == "execute_tool make\n"


def looping(inside: Any) -> Any:
    """Return an agent that asks twice, whatever comes of it."""

    def agent() -> str:
        for _ in range(2):
            try:
                inside()
            except Exception:
                pass
        return "went on"

    return wrapt.FunctionWrapper(agent, stepping(lambda instance, given: Described("agent", "agent", loops=True)))


def test_what_loops_ends_with_the_refusal_of_a_step_in_it_and_begins_no_other(telemetry: Telemetry) -> None:
    def tool() -> None:
        try:
            refuse()
        except BudgetExceeded as error:
            raise ValueError("the tool's own") from error

    with pytest.raises(BudgetExceeded, match="no more"):
        looping(step(tool, "tool", application=True))()
    assert tree(telemetry.spans) == "invoke_agent agent\n  execute_tool tool\n"


def test_what_loops_sees_a_refusal_outside_of_a_step_as_it_is_and_may_go_on(telemetry: Telemetry) -> None:
    assert looping(refuse)() == "went on"


@pytest.mark.parametrize("function", [plain, coroutine, generator, async_generator])
def test_plumbing_has_no_span_and_passes_what_is_in_it_on(telemetry: Telemetry, function: Any) -> None:
    hidden = wrapt.FunctionWrapper(function, stepping(lambda instance, given: PLUMBING))

    @step
    def agent() -> None:
        result = hidden()
        if function is coroutine:
            asyncio.run(result)
        elif function is async_generator:
            asyncio.run(read(result))
        else:
            list(result)

    agent()
    assert tree(telemetry.spans) == "invoke_agent agent\n  inner\n"


@pytest.mark.parametrize(("items", "result"), [((1, 2), 2), ((), None)])
def test_the_last_item_may_be_the_result_of_a_generator(telemetry: Telemetry, items: Any, result: Any) -> None:
    results: list[Any] = []
    described = stepping(
        lambda instance, given: Described("agent", "agent"), lambda call, result: results.append(result), last=True
    )
    assert list(wrapt.FunctionWrapper(lambda: (item for item in items), described)()) == list(items)
    assert results == [result]


@pytest.mark.parametrize("lazy", [False, True])
def test_an_error_may_be_another_one_to_the_application(telemetry: Telemetry, lazy: bool) -> None:
    def broken() -> Any:
        raise ValueError("told")

    def broken_generator() -> Any:
        yield broken()

    wrapper = stepping(lambda instance, given: Described("agent", "agent"), error=lambda error: KeyError("meant"))
    with pytest.raises(KeyError, match="meant"):
        list(wrapt.FunctionWrapper(broken_generator if lazy else broken, wrapper)())
    assert attributes_of(telemetry.span)["error.type"] == "KeyError"


def test_arguments_beyond_the_named_ones_are_told(telemetry: Telemetry) -> None:
    told: dict[str, Any] = {}

    def describe(instance: Any, given: dict[str, Any]) -> None:
        told.update(given)

    wrapt.FunctionWrapper(lambda first, *more, **named: None, stepping(describe))(1, 2, 3, other=4)
    assert told == {"first": 1, BEYOND: (2, 3), "other": 4}


def test_a_refusal_passes_what_catches_every_exception(telemetry: Telemetry) -> None:
    def framework() -> str:
        try:
            refuse()
        except Exception:
            return "went on"
        return "unreachable"

    with pytest.raises(BudgetExceeded, match="no more") as refused:
        step(framework)()
    assert refused.value.__cause__ is None
    assert attributes_of(telemetry.span)["error.type"].endswith("BudgetExceeded")


def test_code_of_the_application_sees_a_refusal_as_it_is(telemetry: Telemetry) -> None:
    def tool() -> str:
        try:
            refuse()
        except BudgetExceeded:
            return "handled"
        return "unreachable"

    def agent() -> Any:
        return step(tool, "tool", application=True)()

    assert step(agent)() == "handled"


@pytest.mark.parametrize("swallowed", [False, True])
def test_a_refusal_in_code_of_the_application_ends_the_run_around_it(telemetry: Telemetry, swallowed: bool) -> None:
    def tool() -> Any:
        try:
            refuse()
        except BudgetExceeded as error:
            if not swallowed:
                raise
            return SimpleNamespace(failed=str(error))

    def agent() -> Any:
        try:
            return step(tool, "tool", application=True)()
        except Exception:
            return "went on"

    with pytest.raises(BudgetExceeded, match="no more"):
        step(agent)()
    assert {str(attributes_of(span)["error.type"]).rpartition(".")[2] for span in telemetry.spans} == {"BudgetExceeded"}


def test_outside_of_a_framework_a_refusal_is_what_it_is() -> None:
    token = attach({})  # type: ignore[arg-type]
    try:
        with pytest.raises(BudgetExceeded):
            refuse()
    finally:
        detach(token)


def test_who_a_framework_knows_is_attributed_unless_the_application_says_so(telemetry: Telemetry) -> None:
    def agent(user: str) -> None:
        inner()

    step(agent)(user="theirs")
    step(agent)(user="x" * 300)
    with genledger.attribution(user="ours"):
        step(agent)(user="theirs")
    users = [attributes_of(span).get("user.id") for span in telemetry.spans]
    assert users == ["theirs", "theirs", None, None, "ours", "ours"]


def test_a_description_that_fails_is_ours_to_bear() -> None:
    def describe(instance: Any, given: dict[str, Any]) -> Described:
        raise RuntimeError("a fault of ours")

    with instrumented(libraries=[]) as telemetry:
        function = wrapt.FunctionWrapper(plain, stepped("module", "path", describe, lambda call, result: None).wrapper)
        assert function() == "done"
        assert any("a fault of ours" in text for text in telemetry.complaints.other)
