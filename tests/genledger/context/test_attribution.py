"""What a call is for: blocks, decorators, threads, tasks, generators and services."""

from __future__ import annotations

import asyncio
import contextvars
import gc
import inspect
import threading
from collections.abc import AsyncGenerator, Callable, Generator, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from opentelemetry import baggage, trace
from opentelemetry.baggage.propagation import W3CBaggagePropagator
from opentelemetry.context import Context, attach, get_current, set_value
from opentelemetry.trace import NonRecordingSpan, SpanContext

import genledger
from genledger.context.attribution import NOBODY, Attribution, arrived, baggage_policy, current

from ...instrumentors.telemetry import instrumented


@pytest.fixture(autouse=True)
def restored() -> Iterator[None]:
    """Nothing here may leave anything behind in the test's own context."""
    before = get_current()
    yield
    assert get_current() == before


def tenant() -> str | None:
    return current().tenant


# Blocks


def test_inner_values_win_and_the_others_stay() -> None:
    with genledger.attribution(tenant="acme", feature="copilot", user="u1"):
        with genledger.attribution(feature="search", session="s1", prompt_name="draft", prompt_version="v4"):
            assert current() == Attribution("acme", "search", "u1", "s1", "draft", "v4")
        assert current() == Attribution("acme", "copilot", "u1")
    assert current() is NOBODY


def test_tags_add_up_once_each_and_metadata_merges_by_key() -> None:
    with (
        genledger.attribution(tags=["beta", "eu"], metadata={"plan": "pro", "seats": 3}),
        genledger.attribution(tags=["eu", "canary"], metadata={"seats": 4, "trial": True}),
    ):
        assert current().tags == ("beta", "eu", "canary")
        assert current().metadata == {"plan": "pro", "seats": 4, "trial": True}


def test_no_tags_and_no_metadata_take_nothing_away() -> None:
    with (
        genledger.attribution(tags=["beta"], metadata={"plan": "pro"}),
        genledger.attribution(tenant="acme", tags=[], metadata={}),
    ):
        assert current() == Attribution("acme", tags=("beta",), metadata={"plan": "pro"})


def test_the_block_is_left_when_its_code_fails() -> None:
    with pytest.raises(KeyError), genledger.attribution(tenant="acme"):
        raise KeyError("x")
    assert tenant() is None


def test_a_block_can_be_entered_again_within_itself() -> None:
    block = genledger.attribution(tenant="acme")
    with block:
        with genledger.attribution(tenant="globex"), block:
            assert tenant() == "acme"
        assert tenant() == "acme"
    assert tenant() is None


def test_later_changes_of_the_arguments_change_nothing() -> None:
    tags, metadata = ["beta"], {"plan": "pro"}
    with genledger.attribution(tags=tags, metadata=metadata):
        tags.append("late")
        metadata["plan"] = "free"
        assert current() == Attribution(tags=("beta",), metadata={"plan": "pro"})


def test_attributes_have_the_names_of_the_conventions_and_leave_out_what_is_not_set() -> None:
    with genledger.attribution(
        tenant="acme", feature="f", user="u", session="s", prompt_name="p", prompt_version="v", tags=["t"]
    ):
        assert dict(current().attributes) == {
            "genledger.tenant.id": "acme",
            "genledger.feature": "f",
            "user.id": "u",
            "session.id": "s",
            "gen_ai.prompt.name": "p",
            "gen_ai.prompt.version": "v",
            "genledger.tags": ("t",),
        }
    with genledger.attribution(metadata={"plan": "pro", "seats": 3}):
        assert dict(current().attributes) == {"genledger.metadata.plan": "pro", "genledger.metadata.seats": 3}


async def test_a_block_works_in_async_with() -> None:
    async with genledger.attribution(tenant="acme"):
        await asyncio.sleep(0)
        assert tenant() == "acme"
    assert tenant() is None


KINDS = st.lists(st.sampled_from(["attribution", "observe"]), max_size=8)


@given(KINDS.flatmap(lambda kinds: st.tuples(st.just(kinds), st.permutations(range(len(kinds))))))
def test_whatever_the_order_in_which_blocks_are_left_nothing_remains(blocks: tuple[list[str], list[int]]) -> None:
    kinds, order = blocks

    def run() -> None:
        before = get_current()
        entered: list[Any] = []
        for number, kind in enumerate(kinds):
            entered.append(
                genledger.attribution(tenant=str(number)) if kind == "attribution" else genledger.observe(str(number))
            )
            entered[-1].__enter__()
        for place in order:
            entered[place].__exit__(None, None, None)
        assert get_current() is before

    contextvars.copy_context().run(run)


@given(st.lists(st.sampled_from(["enter shared", "enter own", "leave first", "leave last"]), min_size=1, max_size=20))
def test_one_block_entered_several_times_is_left_as_often(steps: list[str]) -> None:
    shared = genledger.attribution(tenant="shared")

    def run() -> None:
        entered: list[Any] = []
        for step in steps:
            if step == "enter shared":
                entered.append(shared.__enter__())
            elif step == "enter own":
                entered.append(genledger.attribution(tenant="own").__enter__())
            elif entered:
                entered.pop(0 if step == "leave first" else -1).__exit__(None, None, None)
        while entered:
            entered.pop(0).__exit__(None, None, None)
        assert tenant() is None

    contextvars.copy_context().run(run)


def test_a_block_left_in_another_context_changes_nothing_there() -> None:
    block = genledger.attribution(tenant="acme")
    contextvars.copy_context().run(block.__enter__)
    with genledger.attribution(tenant="globex"):
        block.__exit__(None, None, None)
        assert tenant() == "globex"


def test_a_context_that_somebody_else_attached_inside_stays_theirs() -> None:
    with genledger.attribution(tenant="acme"):
        outer = get_current()
        theirs = set_value("theirs", 1)
        attach(theirs)
        with genledger.attribution(tenant="globex"):
            pass
        assert get_current() is theirs
        attach(outer)


# Bad values

BAD_TEXTS = [
    pytest.param("", ValueError, "must not be empty", id="empty"),
    pytest.param("  ", ValueError, "must not be empty", id="blank"),
    pytest.param("x" * 10_240, ValueError, "10240 characters", id="10 kB"),
    pytest.param("x" * 257, ValueError, "257 characters", id="one too long"),
    pytest.param("a\nb", ValueError, "control characters", id="newline"),
    pytest.param("a\x00b", ValueError, "control characters", id="nul"),
    pytest.param("a\x1b[31m", ValueError, "control characters", id="escape"),
    pytest.param("a\ud800", ValueError, "control characters", id="surrogate"),
    pytest.param(7, TypeError, "must be a string, not int", id="number"),
    pytest.param(b"acme", TypeError, "must be a string, not bytes", id="bytes"),
    pytest.param(["acme"], TypeError, "must be a string, not list", id="list"),
]
FIELDS = ["tenant", "feature", "user", "session", "prompt_name", "prompt_version"]


@pytest.mark.parametrize("field", FIELDS)
@pytest.mark.parametrize(("value", "kind", "says"), BAD_TEXTS)
def test_a_bad_value_is_refused_with_the_name_of_its_argument(
    field: str, value: Any, kind: type[Exception], says: str
) -> None:
    with pytest.raises(kind) as error:
        genledger.attribution(**{field: value})
    assert f"attribution({field}=" in str(error.value)
    assert says in str(error.value)
    assert len(str(error.value)) < 200
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    ("arguments", "kind", "says"),
    [
        ({"tags": "beta"}, TypeError, "attribution(tags="),
        ({"tags": 5}, TypeError, "attribution(tags="),
        ({"tags": ["a", 5]}, TypeError, "attribution(tags[1]="),
        ({"tags": ["a", ""]}, ValueError, "attribution(tags[1]="),
        ({"tags": [f"t{n}" for n in range(33)]}, ValueError, "33 tags"),
        ({"metadata": "plan"}, TypeError, "attribution(metadata="),
        ({"metadata": [("plan", "pro")]}, TypeError, "attribution(metadata="),
        ({"metadata": {f"k{n}": 1 for n in range(33)}}, ValueError, "33 keys"),
        ({"metadata": {5: "x"}}, TypeError, "metadata key"),
        ({"metadata": {"": "x"}}, ValueError, "metadata key"),
        ({"metadata": {"plan": "x" * 300}}, ValueError, "metadata['plan']"),
        ({"metadata": {"plan": {"a": 1}}}, TypeError, "metadata['plan']"),
        ({"metadata": {"plan": None}}, TypeError, "metadata['plan']"),
        ({"metadata": {"plan": 2**63}}, ValueError, "metadata['plan']"),
    ],
)
def test_bad_tags_and_metadata_are_refused_with_their_place(
    arguments: dict[str, Any], kind: type[Exception], says: str
) -> None:
    with pytest.raises(kind) as error:
        genledger.attribution(**arguments)
    assert says in str(error.value)


def test_an_unknown_argument_is_refused() -> None:
    with pytest.raises(TypeError, match="tennant"):
        genledger.attribution(tennant="acme")  # type: ignore[call-arg]


@given(st.text())
def test_a_value_is_either_kept_as_it_is_or_refused(value: str) -> None:
    try:
        block = genledger.attribution(tenant=value)
    except ValueError:
        assert not value.strip() or len(value) > 256 or not value.isprintable()
        return
    with block:
        assert tenant() == value


# Decorators


def test_a_decorated_function_runs_inside() -> None:
    @genledger.attribution(tenant="acme")
    def work(a: int, *, b: int) -> tuple[int, str | None]:
        """Does work."""
        return a + b, tenant()

    assert work(1, b=2) == (3, "acme")
    assert (work.__name__, work.__doc__) == ("work", "Does work.")
    assert tenant() is None


async def test_a_decorated_coroutine_runs_inside_and_stays_a_coroutine_function() -> None:
    @genledger.attribution(tenant="acme")
    async def work() -> str | None:
        await asyncio.sleep(0)
        return tenant()

    assert inspect.iscoroutinefunction(work)
    assert await work() == "acme"


def test_a_decorated_generator_runs_inside_and_its_consumer_does_not() -> None:
    @genledger.attribution(tenant="acme")
    def steps() -> Generator[str | None, str, str]:
        got = yield tenant()
        with genledger.attribution(user="u1"):
            yield f"{tenant()} {current().user} {got}"
            yield f"{tenant()} {current().user}"
        yield f"{tenant()} {current().user}"
        return "done"

    assert inspect.isgeneratorfunction(steps)
    with genledger.attribution(tenant="consumer", user="consumer"):
        generator = steps()
        seen = [next(generator)]
        assert tenant() == "consumer"
        seen.append(generator.send("sent"))
        assert (tenant(), current().user) == ("consumer", "consumer")
        seen += [next(generator), next(generator)]
        with pytest.raises(StopIteration) as stop:
            next(generator)
        assert tenant() == "consumer"
    assert seen == ["acme", "acme u1 sent", "acme u1", "acme consumer"]
    assert stop.value.value == "done"


async def test_a_decorated_asynchronous_generator_runs_inside_and_its_consumer_does_not() -> None:
    @genledger.attribution(tenant="acme")
    async def steps() -> AsyncGenerator[str | None, str]:
        got = yield tenant()
        with genledger.attribution(user="u1"):
            await asyncio.sleep(0)
            yield f"{tenant()} {current().user} {got}"
            await asyncio.sleep(0)
            yield f"{tenant()} {current().user}"
        yield f"{tenant()} {current().user}"

    assert inspect.isasyncgenfunction(steps)
    with genledger.attribution(tenant="consumer", user="consumer"):
        generator = steps()
        seen = [await anext(generator)]
        assert tenant() == "consumer"
        seen.append(await generator.asend("sent"))
        assert (tenant(), current().user) == ("consumer", "consumer")
        seen += [item async for item in generator]
        assert tenant() == "consumer"
    assert seen == ["acme", "acme u1 sent", "acme u1", "acme consumer"]


def both(function: Callable[..., Any]) -> list[Any]:
    return [genledger.attribution(tenant="acme")(function), genledger.observe(kind="agent")(function)]


def test_a_decorated_generator_hears_what_is_thrown_into_it_and_its_close() -> None:
    heard: list[tuple[object, str | None]] = []

    def steps() -> Generator[int, None, None]:
        try:
            yield 1
        except KeyError as error:
            heard.append((type(error), tenant()))
            yield 2
        try:
            yield 3
        finally:
            heard.append(("closed", tenant()))

    for decorated in both(steps):
        heard.clear()
        generator = decorated()
        assert next(generator) == 1
        assert generator.throw(KeyError("x")) == 2
        assert next(generator) == 3
        generator.close()
        assert [what for what, _ in heard] == [KeyError, "closed"]
        assert len({whose for _, whose in heard}) == 1
        assert tenant() is None


async def test_a_decorated_asynchronous_generator_hears_what_is_thrown_into_it_and_its_close() -> None:
    heard: list[tuple[object, str | None]] = []

    async def steps() -> AsyncGenerator[int, None]:
        try:
            yield 1
        except KeyError as error:
            heard.append((type(error), tenant()))
            yield 2
        try:
            yield 3
        finally:
            await asyncio.sleep(0)
            heard.append(("closed", tenant()))

    for decorated in both(steps):
        heard.clear()
        generator = decorated()
        assert await anext(generator) == 1
        assert await generator.athrow(KeyError("x")) == 2
        assert await anext(generator) == 3
        await generator.aclose()
        # Closed when `aclose` returns, not when somebody collects it.
        assert [what for what, _ in heard] == [KeyError, "closed"]
        assert len({whose for _, whose in heard}) == 1
        assert tenant() is None


async def test_errors_leave_decorated_generators_as_they_are() -> None:
    error = LookupError("mine")

    def steps() -> Iterator[int]:
        yield 1
        raise error

    async def asteps() -> AsyncGenerator[int, None]:
        yield 1
        raise error

    for decorated in both(steps):
        with pytest.raises(LookupError) as raised:
            list(decorated())
        assert raised.value is error
    for decorated in both(asteps):
        with pytest.raises(LookupError) as raised:
            _ = [item async for item in decorated()]
        assert raised.value is error


def test_a_decorated_generator_that_is_dropped_leaves_the_context_alone() -> None:
    for decorated in both(lambda: (yield from (1, 2))):
        generator = decorated()
        next(generator)
        with genledger.attribution(tenant="consumer"):
            del generator
            gc.collect()
            assert tenant() == "consumer"


# Threads, tasks and generators


async def test_gathered_tasks_keep_their_own() -> None:
    gates = [asyncio.Event() for _ in range(20)]

    async def work(number: int) -> None:
        with genledger.attribution(tenant=f"t{number}"):
            gates[number].set()
            await gates[(number + 1) % 20].wait()
            assert tenant() == f"t{number}"
            assert await asyncio.to_thread(tenant) == f"t{number}"

    with genledger.attribution(feature="batch"):
        await asyncio.gather(*(work(number) for number in range(20)))
        assert current() == Attribution(feature="batch")


async def test_one_block_serves_many_tasks_at_once() -> None:
    block = genledger.attribution(tenant="acme")
    gates = [asyncio.Event() for _ in range(10)]
    order: list[int] = []

    async def work(number: int) -> None:
        with genledger.attribution(feature=f"f{number}"):
            with block:
                if number:
                    gates[number - 1].set()
                # First in, first out: not the order of a stack.
                await gates[number].wait()
                assert current() == Attribution("acme", f"f{number}")
            assert current() == Attribution(feature=f"f{number}")
            order.append(number)
            if number + 1 < 10:
                gates[number + 1].set()

    gates[9].clear()
    await asyncio.gather(*(work(number) for number in range(9)), work(9))
    assert sorted(order) == list(range(10))


async def test_a_task_keeps_the_attribution_it_was_started_with_after_the_block_was_left() -> None:
    left = asyncio.Event()

    async def work() -> None:
        await left.wait()
        assert tenant() == "acme"
        with genledger.attribution(feature="inner"):
            assert current() == Attribution("acme", "inner")
        assert current() == Attribution("acme")

    with genledger.attribution(tenant="acme"):
        task = asyncio.create_task(work())
        await asyncio.sleep(0)
    left.set()
    await task


@pytest.fixture
def instrument() -> Iterator[None]:
    with instrumented(libraries=[]):
        yield


@pytest.mark.usefixtures("instrument")
def test_threads_and_executors_carry_it_and_do_not_keep_it() -> None:
    seen: list[str | None] = []
    with ThreadPoolExecutor(2) as pool:
        with genledger.attribution(tenant="acme"):
            assert list(pool.map(lambda _: tenant(), range(8))) == ["acme"] * 8
            thread = threading.Thread(target=lambda: seen.append(tenant()))
            thread.start()
            thread.join()
        assert pool.submit(tenant).result() is None
    assert seen == ["acme"]


def test_a_generator_consumed_in_another_context_runs_in_its_own() -> None:
    @genledger.attribution(tenant="acme")
    def steps() -> Iterator[str | None]:
        yield tenant()
        yield tenant()

    generator = steps()
    with genledger.attribution(tenant="globex"):
        assert next(generator) == "acme"

    def elsewhere() -> tuple[str | None, str | None]:
        return next(generator), tenant()

    assert contextvars.copy_context().run(elsewhere) == ("acme", None)
    with ThreadPoolExecutor(1) as pool:
        assert pool.submit(list, generator).result() == []
        assert pool.submit(tenant).result() is None


def test_interleaved_generators_with_blocks_inside_leave_nothing_behind() -> None:
    def steps(name: str) -> Iterator[None]:
        with genledger.attribution(tenant=name):
            yield

    first, second = steps("a"), steps("b")
    next(first)
    next(second)
    assert list(first) == []
    assert list(second) == []
    assert tenant() is None


# Services


@contextmanager
def policy(**values: Any) -> Iterator[None]:
    before = {name: getattr(baggage_policy, name) for name in values}
    for name, value in values.items():
        setattr(baggage_policy, name, value)
    try:
        yield
    finally:
        for name, value in before.items():
            setattr(baggage_policy, name, value)


EVERYTHING: dict[str, Any] = {
    "tenant": "acme & söhne, =;",
    "feature": "f",
    "user": "u1",
    "session": "s1",
    "prompt_name": "p",
}


def outgoing() -> dict[str, str]:
    carrier: dict[str, str] = {}
    W3CBaggagePropagator().inject(carrier)
    return carrier


def incoming(carrier: dict[str, str]) -> Context:
    return W3CBaggagePropagator().extract(carrier, Context())


def test_only_tenant_and_feature_travel_unless_told_otherwise() -> None:
    with genledger.attribution(**EVERYTHING):
        assert set(baggage.get_all()) == {"genledger.tenant.id", "genledger.feature"}
    with policy(fields=frozenset({"session"})), genledger.attribution(**EVERYTHING):
        assert dict(baggage.get_all()) == {"session.id": "s1"}
    with policy(fields=frozenset()), genledger.attribution(**EVERYTHING):
        assert outgoing() == {}


def test_the_baggage_of_the_application_stays() -> None:
    outer = baggage.set_baggage("mine", "1")
    attached = get_current()
    attach(outer)
    with genledger.attribution(tenant="acme"):
        assert dict(baggage.get_all()) == {"mine": "1", "genledger.tenant.id": "acme"}
    assert dict(baggage.get_all()) == {"mine": "1"}
    attach(attached)


def test_the_attribution_of_another_service_is_believed_only_when_told_so() -> None:
    with policy(fields=frozenset(EVERYTHING)), genledger.attribution(**EVERYTHING):
        carrier = outgoing()
    assert current(incoming(carrier)) is NOBODY
    with policy(trust_inbound=True, fields=frozenset(EVERYTHING)):
        assert current(incoming(carrier)) == Attribution(**EVERYTHING)


def test_of_what_another_service_says_only_the_fields_that_may_travel_are_believed() -> None:
    with policy(fields=frozenset(EVERYTHING)), genledger.attribution(**EVERYTHING):
        carrier = outgoing()
    with policy(trust_inbound=True):
        assert current(incoming(carrier)) == Attribution(EVERYTHING["tenant"], EVERYTHING["feature"])
    with policy(trust_inbound=True, fields=frozenset({"session"})):
        assert current(incoming(carrier)) == Attribution(session="s1")
    with policy(trust_inbound=True, fields=frozenset()):
        assert current(incoming(carrier)) is NOBODY


def test_what_another_service_says_is_checked_like_what_we_are_told() -> None:
    carrier = {
        "baggage": f"genledger.tenant.id={'x' * 300},genledger.feature=a%0Ab,user.id=,session.id=s1,other=o",
    }
    with policy(trust_inbound=True, fields=frozenset(EVERYTHING)):
        assert current(incoming(carrier)) == Attribution(session="s1")


def test_a_block_stands_on_what_another_service_said() -> None:
    context = incoming({"baggage": "genledger.tenant.id=acme,genledger.feature=theirs"})
    before = get_current()
    with policy(trust_inbound=True):
        attach(context)
        with genledger.attribution(feature="mine"):
            assert current() == Attribution("acme", "mine")
            assert baggage.get_baggage("genledger.feature") == "mine"
        attach(before)


@pytest.mark.parametrize("trusted", [False, True])
def test_what_serves_a_request_is_in_the_attribution_that_came_with_it_where_it_is_trusted(trusted: bool) -> None:
    before = get_current()
    with policy(trust_inbound=trusted), arrived({"baggage": "genledger.tenant.id=acme,user.id=u-1,other=o"}):
        assert current() == (Attribution("acme") if trusted else NOBODY)
        assert baggage.get_all() == ({"genledger.tenant.id": "acme"} if trusted else {})
    assert get_current() is before


HOSTILE: dict[str, Any] = {
    "nothing": None,
    "no mapping": ["baggage"],
    "a number": {"baggage": 5},
    "a list": {"baggage": [["genledger.tenant.id=acme"]]},
    "a mapping": {"baggage": {"genledger.tenant.id": "acme"}},
    "no names": {5: "x", None: None, "baggage": "=,;,==,%"},
    "too long": {"baggage": f"genledger.tenant.id={'x' * 300}"},
    "very long": {"baggage": "genledger.tenant.id=acme," * 10_000},
    "control characters": {"baggage": "genledger.tenant.id=a%0Ab"},
    "fields that are not accepted": {"baggage": "user.id=u-1,session.id=s-1,genledger.cost.amount=0"},
}


@pytest.mark.parametrize("carrier", HOSTILE.values(), ids=HOSTILE)
def test_a_hostile_request_is_served_without_attribution(carrier: Any, caplog: pytest.LogCaptureFixture) -> None:
    before = get_current()
    with policy(trust_inbound=True), arrived(carrier):
        assert current() is NOBODY
    assert get_current() is before
    assert [record for record in caplog.records if record.name.startswith("genledger")] == []


def test_a_block_changes_neither_span_nor_trace() -> None:
    span = NonRecordingSpan(SpanContext(1, 2, is_remote=False))
    before = get_current()
    attach(trace.set_span_in_context(span))
    with genledger.attribution(tenant="acme"):
        assert trace.get_current_span() is span
    assert trace.get_current_span() is span
    attach(before)
