"""Patches: put back by identity, whoever else has patched above or below."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import anthropic._base_client
import openai._base_client
import pytest
import wrapt

from . import openai_format
from .provider import Provider, answer, now
from .telemetry import instrumented

CHAT: dict[str, Any] = {"model": "gpt-4o", "messages": openai_format.USER}
CLASSES = [
    openai._base_client.SyncAPIClient,
    openai._base_client.AsyncAPIClient,
    anthropic._base_client.SyncAPIClient,
    anthropic._base_client.AsyncAPIClient,
]


REQUEST = [(kind, "request") for kind in CLASSES]


def bound() -> list[Any]:
    return [vars(kind).get(name) for kind in CLASSES for name in sorted(vars(kind))]


def test_uninstrument_restores_every_attribute_by_identity() -> None:
    before = bound()
    with instrumented():
        during = bound()
        assert len(during) == len(before)
        assert [a is b for a, b in zip(before, during, strict=True)].count(False) >= 4
    after = bound()
    assert all(a is b for a, b in zip(before, after, strict=True))


@pytest.mark.parametrize(("kind", "name"), REQUEST, ids=[f"{k.__module__}.{k.__name__}" for k, _ in REQUEST])
def test_a_patch_below_ours_stays(kind: type, name: str) -> None:
    original = vars(kind)[name]
    below = wrapt.FunctionWrapper(original, lambda wrapped, instance, args, kwargs: wrapped(*args, **kwargs))
    setattr(kind, name, below)
    try:
        with instrumented():
            assert vars(kind)[name] is not below
        assert vars(kind)[name] is below
    finally:
        setattr(kind, name, original)


@pytest.fixture
def request_of(provider: Provider) -> Iterator[tuple[Any, Any]]:
    """The class whose `request` a client of OpenAI's runs, and the attribute as it is without Genledger."""
    kind: Any = CLASSES[1] if provider.asynchronous else CLASSES[0]
    original = vars(kind)["request"]
    yield kind, original
    with instrumented():
        pass
    assert vars(kind)["request"] is original


def passing_on(called: list[str]) -> Callable[..., Any]:
    def wrapper(wrapped: Any, instance: Any, args: Any, kwargs: Any) -> Any:
        called.append("called")
        return wrapped(*args, **kwargs)

    return wrapper


async def test_a_patch_on_top_of_ours_stays_and_works(provider: Provider, request_of: tuple[Any, Any]) -> None:
    kind, _ = request_of
    called: list[str] = []
    provider.will(answer(openai_format.chat()))
    client = provider.openai()
    with instrumented() as telemetry:
        ours = vars(kind)["request"]
        kind.request = on_top = wrapt.FunctionWrapper(ours, passing_on(called))
        await now(client.chat.completions.create(**CHAT))
        assert len(telemetry.spans) == 1
    assert vars(kind)["request"] is on_top
    await now(client.chat.completions.create(**CHAT))
    assert len(telemetry.spans) == 1
    with instrumented() as again:
        await now(client.chat.completions.create(**CHAT))
        assert len(again.spans) == 1
    assert vars(kind)["request"] is on_top
    assert called == ["called"] * 3
    kind.request = ours  # as the other leaves, it puts back what it had found


async def test_ours_comes_back_after_somebody_put_back_what_was_below(
    provider: Provider, request_of: tuple[Any, Any]
) -> None:
    kind, original = request_of
    provider.will(answer(openai_format.chat()))
    with instrumented():
        kind.request = wrapt.FunctionWrapper(vars(kind)["request"], passing_on([]))
    kind.request = original
    with instrumented() as telemetry:
        await now(provider.openai().chat.completions.create(**CHAT))
        assert len(telemetry.spans) == 1


async def test_instrumenting_twice_records_once(provider: Provider) -> None:
    provider.will(answer(openai_format.chat()))
    with instrumented() as first:
        with instrumented() as second:
            await now(provider.openai().chat.completions.create(**CHAT))
            assert len(second.spans) == 1
        assert len(first.spans) == 0
