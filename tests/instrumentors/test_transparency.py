"""The application never notices: types, signatures, attributes, copies, arguments, errors and other patches."""

from __future__ import annotations

import asyncio
import copy
import functools
import inspect
import json
import pickle
from collections.abc import Callable, Iterator
from typing import Any

import anthropic
import anthropic._base_client
import openai
import openai._base_client
import pytest
from opentelemetry.instrumentation.utils import suppress_instrumentation

import genledger

from ..replay.observation import difference, seen
from . import anthropic_format, openai_format
from .provider import Provider, Within, answer, events, items, now
from .telemetry import Telemetry, attributes_of, instrumented

CHAT: dict[str, Any] = {"model": "gpt-4o", "messages": openai_format.USER}
CLASSES = [
    openai._base_client.SyncAPIClient,
    openai._base_client.AsyncAPIClient,
    anthropic._base_client.SyncAPIClient,
    anthropic._base_client.AsyncAPIClient,
]


def surface(kind: type) -> dict[str, Any]:
    """What introspection says about a class: of every attribute its kind, signature, name, text and place."""
    found: dict[str, Any] = {}
    for name in dir(kind):
        value = getattr(kind, name)
        static = inspect.getattr_static(kind, name)
        found[name] = (
            callable(value),
            inspect.isfunction(value),
            inspect.iscoroutinefunction(value),
            inspect.ismethoddescriptor(static),
            str(inspect.signature(value)) if inspect.isfunction(value) else None,
            getattr(value, "__name__", None),
            getattr(value, "__qualname__", None),
            getattr(value, "__module__", None),
            getattr(value, "__doc__", None),
            dict(getattr(value, "__annotations__", None) or {}) if inspect.isfunction(value) else None,
        )
    return found


@pytest.mark.parametrize("kind", CLASSES, ids=lambda kind: f"{kind.__module__}.{kind.__name__}")
def test_the_classes_look_the_same(kind: type) -> None:
    before = surface(kind)
    with instrumented():
        during = surface(kind)
    assert {name for name in before if before[name] != during.get(name)} == set()
    assert surface(kind) == before


def public_methods(client: Any) -> Iterator[tuple[str, Any]]:
    """Every public method of every resource of a client."""
    todo = [("client", client)]
    met: set[type] = set()
    while todo:
        path, value = todo.pop()
        if type(value) in met:
            continue
        met.add(type(value))
        for name in dir(type(value)):
            if name.startswith("_"):
                continue
            attribute = getattr(value, name, None)
            if inspect.ismethod(attribute):
                yield f"{path}.{name}", attribute
            elif hasattr(attribute, "_client"):
                todo.append((f"{path}.{name}", attribute))


def test_every_public_method_has_its_signature_and_kind(provider: Provider) -> None:
    def shapes() -> dict[str, Any]:
        return {
            name: (
                str(inspect.signature(method)),
                inspect.iscoroutinefunction(method),
                method.__class__,
                method.__doc__,
            )
            for client in (provider.openai(), provider.azure(), provider.anthropic())
            for name, method in public_methods(client)
        }

    before = shapes()
    assert len(before) > 200
    with instrumented():
        assert shapes() == before


def typed(sdk: str) -> list[tuple[str, Callable[[Any], Any], Any]]:
    """Calls that return something that is not a stream: a name, the call and the answer."""
    if sdk == "anthropic":
        ask = anthropic_format.ASK
        return [
            ("create", lambda c: c.messages.create(**ask), answer(anthropic_format.message())),
            ("beta", lambda c: c.beta.messages.create(**ask), answer(anthropic_format.message())),
            ("raw", lambda c: c.messages.with_raw_response.create(**ask), answer(anthropic_format.message())),
        ]
    file = ("a.wav", b"RIFF")
    return [
        ("chat", lambda c: c.chat.completions.create(**CHAT), answer(openai_format.chat())),
        ("raw", lambda c: c.chat.completions.with_raw_response.create(**CHAT), answer(openai_format.chat())),
        ("responses", lambda c: c.responses.create(model="gpt-4o", input="a"), answer(openai_format.response())),
        (
            "embeddings",
            lambda c: c.embeddings.create(model="m", input="a", encoding_format="float"),
            answer(openai_format.embeddings()),
        ),
        ("images", lambda c: c.images.generate(model="m", prompt="a"), answer(openai_format.images())),
        ("speech", lambda c: c.audio.speech.create(model="m", voice="a", input="a"), answer(b"ID3\x00")),
        ("transcription", lambda c: c.audio.transcriptions.create(model="m", file=file), answer({"text": "a"})),
    ]


TYPED = [(sdk, *case) for sdk in ("openai", "anthropic") for case in typed(sdk)]


@pytest.mark.parametrize(("sdk", "name", "call", "reply"), TYPED, ids=[f"{c[0]}-{c[1]}" for c in TYPED])
async def test_results_are_what_they_were(
    provider: Provider, sdk: str, name: str, call: Callable[[Any], Any], reply: Any
) -> None:
    provider.will(reply)
    client = getattr(provider, sdk)()
    bare = await now(call(client))
    with instrumented(capture_content="both"):
        result = await now(call(client))
    assert type(result) is type(bare)
    assert set(dir(result)) == set(dir(bare))
    assert set(vars(result)) == set(vars(bare))
    assert difference(seen(result), seen(bare)) is None
    assert repr(result).split(" at 0x")[0] == repr(bare).split(" at 0x")[0]
    if name not in ("raw", "speech"):
        assert result == bare
        assert copy.copy(result) == bare
        assert copy.deepcopy(result) == bare
        assert pickle.loads(pickle.dumps(result)) == bare
        assert result.model_dump_json() == bare.model_dump_json()


STREAMED: list[tuple[str, Callable[[Any], Any], Any]] = [
    (
        "openai",
        lambda c: c.chat.completions.create(**CHAT, stream=True),
        events(openai_format.chat_chunks()),
    ),
    (
        "openai",
        lambda c: c.responses.create(model="gpt-4o", input="a", stream=True),
        events(openai_format.response_events()),
    ),
    (
        "anthropic",
        lambda c: c.messages.create(**anthropic_format.ASK, stream=True),
        events(anthropic_format.message_events(), done=False),
    ),
]


def public(value: Any) -> set[str]:
    return {name for name in vars(value) if not name.startswith("_")}


@pytest.mark.parametrize(("sdk", "call", "reply"), STREAMED, ids=["chat", "responses", "messages"])
async def test_streams_are_what_they_were(provider: Provider, sdk: str, call: Callable[[Any], Any], reply: Any) -> None:
    provider.will(reply)
    client = getattr(provider, sdk)()
    bare = await now(call(client))
    with instrumented():
        stream = await now(call(client))
        assert type(stream) is type(bare)
        assert set(dir(stream)) == set(dir(bare))
        assert public(stream) == public(bare)
        assert type(stream.response) is type(bare.response)
        assert stream.response.headers == bare.response.headers
        assert isinstance(stream.response.stream, type(bare.response.stream))
        for ours, theirs in zip(await items(stream), await items(bare), strict=True):
            assert type(ours) is type(theirs)
            assert ours == theirs
        assert stream.response.is_closed
        assert await items(stream) == await items(bare) == []


def raw(sdk: str, client: Any) -> Any:
    """Ask for a stream whose response the application reads by itself."""
    if sdk == "openai":
        return client.chat.completions.with_raw_response.create(**CHAT, stream=True)
    return client.messages.with_raw_response.create(**anthropic_format.ASK, stream=True)


@pytest.mark.parametrize(("sdk", "reply"), [STREAMED[0][::2], STREAMED[2][::2]], ids=["chat", "messages"])
async def test_the_body_of_a_raw_response_is_what_it_was(provider: Provider, sdk: str, reply: Any) -> None:
    provider.will(reply)
    client = getattr(provider, sdk)()
    bare = (await now(raw(sdk, client))).http_response
    with instrumented() as telemetry:
        response = (await now(raw(sdk, client))).http_response
        ours, theirs = type(response.stream), type(bare.stream)
        assert issubclass(ours, theirs)
        assert (ours.__module__, ours.__qualname__) == (theirs.__module__, theirs.__qualname__)
        lines = [
            item.iter_lines() if hasattr(item.stream, "__iter__") else item.aiter_lines() for item in (response, bare)
        ]
        assert await items(lines[0]) == await items(lines[1])
        assert attributes_of(telemetry.span)["gen_ai.usage.output_tokens"] > 0


async def test_arguments_are_the_same_objects_and_untouched(provider: Provider) -> None:
    with instrumented(capture_content="both", request_stream_usage=True):
        kwargs: dict[str, Any] = {
            "model": "gpt-4o",
            "messages": [{"role": "user", "content": [{"type": "text", "text": "a"}]}],
            "tools": [openai_format.TOOL],
            "stream": True,
            "stream_options": {"include_obfuscation": False},
            "metadata": {"a": "b"},
            "extra_headers": {"x-a": "b"},
            "extra_body": {"c": [1]},
        }
        identities = {name: id(value) for name, value in kwargs.items()}
        before = copy.deepcopy(kwargs)
        provider.will(events(openai_format.chat_chunks()))
        await items(await now(provider.openai().chat.completions.create(**kwargs)))
        assert kwargs == before
        assert {name: id(value) for name, value in kwargs.items()} == identities


async def test_an_iterable_that_can_be_read_once_is_left_to_the_sdk(provider: Provider) -> None:
    def once() -> Iterator[dict[str, Any]]:
        yield from openai_format.USER

    provider.will(answer(openai_format.chat()))
    with instrumented(capture_content="both"):
        await now(provider.openai().chat.completions.create(model="gpt-4o", messages=once()))
    assert provider.bodies == [CHAT]


async def test_clients_are_what_they_were(provider: Provider) -> None:
    for make in (provider.openai, provider.azure, provider.anthropic):
        bare = make()
        with instrumented():
            client = make()
            assert type(client) is type(bare)
            assert set(vars(client)) == set(vars(bare))
            assert set(dir(client)) == set(dir(bare))
            assert type(client.with_options(timeout=1)) is type(bare)
            assert isinstance(client.request, type(bare.request))


@pytest.mark.parametrize("status", [400, 401, 403, 404, 409, 422, 429, 500, 529])
async def test_exceptions_are_what_they_were(provider: Provider, status: int) -> None:
    async def raised(call: Callable[[], Any]) -> Any:
        try:
            await now(call())
        except Exception as error:
            return seen(error)
        return None

    provider.will(answer(openai_format.error(), status))
    chat = functools.partial(provider.openai().chat.completions.create, **CHAT)
    messages = functools.partial(provider.anthropic().messages.create, **anthropic_format.ASK)
    for call in (chat, messages):
        bare = await raised(call)
        assert bare is not None
        with instrumented():
            assert difference(await raised(call), bare) is None


async def test_a_mistaken_call_fails_as_it_did(provider: Provider) -> None:
    client = provider.openai()
    for wrong in ({}, {"model": "gpt-4o"}, {**CHAT, "no_such_argument": 1}):
        try:
            await now(client.chat.completions.create(**wrong))
        except TypeError as error:
            expected = str(error)
        with instrumented() as telemetry, pytest.raises(TypeError) as raised:
            await now(client.chat.completions.create(**wrong))
        assert str(raised.value) == expected
        assert not telemetry.spans


async def test_a_traceback_ends_in_the_sdk(provider: Provider) -> None:
    provider.will(answer(openai_format.error(), 404))
    with instrumented(), pytest.raises(openai.NotFoundError) as raised:
        await now(provider.openai().chat.completions.create(**CHAT))
    assert str(raised.traceback[-1].path).endswith("_base_client.py")
    assert raised.value.__cause__ is None


async def test_keyboard_interrupts_and_exits_pass_through(provider: Provider) -> None:
    class Leaving(SystemExit):
        pass

    def leave(request: Any) -> Any:
        raise Leaving(3)

    client = provider.openai()
    provider._wires["openai"].respond = leave
    with instrumented() as telemetry, pytest.raises(Leaving):
        await now(client.chat.completions.create(**CHAT))
    assert telemetry.attributes["genledger.outcome"] == "cancelled"


async def test_calls_made_at_once_do_not_mix(telemetry: Telemetry) -> None:
    provider = Provider(asynchronous=True)
    client = provider.openai()

    def echo(request: Any) -> Any:
        model = json.loads(request.content)["model"]
        return answer(openai_format.chat(id=f"chatcmpl-{model}", model=model))

    provider._wires["openai"].respond = echo

    async def one(i: int) -> None:
        with genledger.attribution(tenant=f"t{i % 5}"):
            result = await client.chat.completions.create(model=f"m{i}", messages=openai_format.USER)
            assert result.id == f"chatcmpl-m{i}"

    await asyncio.gather(*(one(i) for i in range(50)))
    assert len(telemetry.spans) == 50
    for span in telemetry.spans:
        attributes = attributes_of(span)
        i = int(attributes["gen_ai.request.model"].removeprefix("m"))
        assert attributes["gen_ai.response.id"] == f"chatcmpl-m{i}"
        assert attributes["genledger.tenant.id"] == f"t{i % 5}"


async def test_suppression_is_respected(provider: Provider, telemetry: Telemetry) -> None:
    provider.will(answer(openai_format.chat()))
    with suppress_instrumentation():
        await now(provider.openai().chat.completions.create(**CHAT))
    assert not telemetry.spans
    await now(provider.openai().chat.completions.create(**CHAT))
    assert len(telemetry.spans) == 1


async def test_helpers_and_managers_are_what_they_were(provider: Provider) -> None:
    async def through(sdk: str) -> Any:
        if sdk == "openai":
            provider.will(events(openai_format.chat_chunks()))
            manager = provider.openai().chat.completions.stream(**CHAT)
        else:
            provider.will(events(anthropic_format.message_events(), done=False))
            manager = provider.anthropic().messages.stream(**anthropic_format.ASK)
        async with Within(manager) as stream:
            found = [seen(type(manager)), seen(type(stream))]
            found += [seen(item) for item in await items(stream)]
            return found, sorted(dir(stream))

    for sdk in ("openai", "anthropic"):
        bare = await through(sdk)
        with instrumented():
            assert difference(await through(sdk), bare) is None
