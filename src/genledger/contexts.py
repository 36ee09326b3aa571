"""Generators whose own code runs in one context, while their consumer keeps its own.

A context that stayed attached while a generator is suspended would become the consumer's: the next call of
another tenant in the same thread or task would be billed to the wrong one.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, Generator
from typing import Any

from opentelemetry.context import Context, attach, get_current


def in_context(steps: Generator[Any, Any, Any], inside: Context) -> Generator[Any, Any, Any]:
    """Run every step of a generator in `inside`."""
    send: Any = None
    raised: BaseException | None = None
    try:
        while True:
            outer = get_current()
            attach(inside)
            try:
                item = steps.throw(raised) if raised is not None else steps.send(send)
            except StopIteration as stop:
                return stop.value
            finally:
                attach(outer)
            send, raised = None, None
            try:
                send = yield item
            except GeneratorExit:
                raise
            except BaseException as error:
                raised = error
    finally:
        outer = get_current()
        attach(inside)
        try:
            steps.close()
        finally:
            attach(outer)


async def in_context_async(steps: AsyncGenerator[Any, Any], inside: Context) -> AsyncGenerator[Any, Any]:
    """Run every step of an asynchronous generator in `inside`."""
    send: Any = None
    raised: BaseException | None = None
    try:
        while True:
            outer = get_current()
            attach(inside)
            try:
                item = await (steps.athrow(raised) if raised is not None else steps.asend(send))
            except StopAsyncIteration:
                return
            finally:
                attach(outer)
            send, raised = None, None
            try:
                send = yield item
            except GeneratorExit:
                raise
            except BaseException as error:
                raised = error
    finally:
        outer = get_current()
        attach(inside)
        try:
            await steps.aclose()
        finally:
            attach(outer)
