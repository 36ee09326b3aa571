"""Streams that make calls while they are read: each belongs to who asked for the stream."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from typing import Any

import pytest
import wrapt
from opentelemetry.context import attach, create_key, detach, get_value, set_value
from tests.instrumentors.provider import items, now

from genledger.engine.driver import throughout_in_callers_context

WHO = create_key("who")


def stream() -> Iterator[Any]:
    """Tell before each item whose it is."""
    for _ in range(3):
        yield get_value(WHO)


async def astream() -> AsyncIterator[Any]:
    """Tell before each item whose it is."""
    for _ in range(3):
        yield get_value(WHO)


async def opened() -> Any:
    """Give a stream once it is open."""
    return astream()


@pytest.mark.parametrize("function", [stream, astream, opened])
async def test_each_item_is_made_for_who_asked_and_read_by_who_reads(function: Any) -> None:
    ask = wrapt.FunctionWrapper(function, throughout_in_callers_context)
    asker = attach(set_value(WHO, "asker"))
    found = await now(ask())
    detach(asker)
    reader = attach(set_value(WHO, "reader"))
    assert await items(found) == ["asker"] * 3
    assert get_value(WHO) == "reader"
    detach(reader)


def test_what_another_instrumentation_returns_instead_of_a_stream_is_left_alone() -> None:
    given = iter([1, 2])
    ask = wrapt.FunctionWrapper(lambda: given, throughout_in_callers_context)
    assert ask() is given


@pytest.mark.parametrize("function", [stream, astream, opened])
async def test_a_stream_is_of_the_kind_that_it_was(function: Any) -> None:
    ask = wrapt.FunctionWrapper(function, throughout_in_callers_context)
    one, other = ask(), function()
    assert type(one) is type(other)
    assert type(await now(one)) is type(await now(other))
