"""The way of one call through a client: the only place where it is written, once sync and once async.

An adapter says what it knows of one kind of client by subclassing `Exchange`. The driver asks the budgets, calls
the client's own method on the request as it is to be sent, and settles whatever comes of it.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable, Generator, Iterator
from contextlib import AsyncExitStack, ExitStack, asynccontextmanager, contextmanager
from dataclasses import dataclass
from inspect import isasyncgen, isasyncgenfunction, isawaitable, iscoroutine, isgenerator
from typing import Any

from opentelemetry.context import Context, attach, get_current

from genledger.context.scoped_context import Begun, async_steps_in_context, steps_in_context
from genledger.engine.call import Call
from genledger.engine.operation import StreamAccumulator
from genledger.engine.recorder import Recorder, active
from genledger.engine.streams import AsyncStreamIterator, StreamRecorder, iterated
from genledger.engine.suppression import recordable
from genledger.shared import internal_errors

Arguments = tuple[tuple[Any, ...], dict[str, Any]]
"""Positional and keyword arguments of a client's method."""


@dataclass(slots=True, eq=False)
class Exchange:
    """One request of a client and what comes back for it.

    Args:
        call: The open call.
    """

    call: Call

    def send(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Arguments:
        """Return the arguments to send: those given, with `call.changes` written into a copy of the request."""
        return args, kwargs

    def enter(self) -> Context:
        """Make the call the current one while the client's own method runs; return the context that it runs in."""
        return self.call.enter()

    def answer(self, error: BaseException) -> Any:
        """Return what the provider had answered when the client raised `error`; `None` when it had not."""
        return None

    def receive(self, result: Any) -> Any:
        """Settle the call with what the client returned, or follow it; return what the application gets."""
        self.call.settle(result)
        return result


Open = Callable[[Recorder, Any, Any, tuple[Any, ...], dict[str, Any]], Exchange | None]
"""Given recorder, method, instance and arguments: opens a call, or returns `None` for what is not one."""

Wrapper = Callable[[Any, Any, tuple[Any, ...], dict[str, Any]], Any]
"""`wrapper(wrapped, instance, args, kwargs)`, as wrapt calls it."""


def synchronous(open_call: Open) -> Wrapper:
    """Return the wrapper of a method that returns its result."""

    def drive(wrapped: Any, instance: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        exchange = _begin(open_call, wrapped, instance, args, kwargs)
        if exchange is None:
            return wrapped(*args, **kwargs)
        call = exchange.call
        call.admit()
        args, kwargs = _sent(exchange, args, kwargs)
        inside = _entered(exchange)
        try:
            result = wrapped(*args, **kwargs)
        except BaseException as error:
            call.settle(_answered(exchange, error), error=error)
            raise
        finally:
            call.leave(inside)
        return _await(exchange, result) if isawaitable(result) else _received(exchange, result)

    return drive


async def _await(exchange: Exchange, result: Awaitable[Any]) -> Any:
    """Wait for what a plain function promised, with the call as the current one."""
    call = exchange.call
    before = get_current()
    inside = call.inside()
    attach(inside)
    try:
        answer = await result
    except BaseException as error:
        call.settle(_answered(exchange, error), error=error)
        raise
    finally:
        if get_current() is inside:
            attach(before)
    return _received(exchange, answer)


def asynchronous(open_call: Open) -> Wrapper:
    """Return the wrapper of a coroutine function."""

    async def drive(wrapped: Any, instance: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        exchange = _begin(open_call, wrapped, instance, args, kwargs)
        if exchange is None:
            return await wrapped(*args, **kwargs)
        call = exchange.call
        await call.admit_async()
        args, kwargs = _sent(exchange, args, kwargs)
        inside = _entered(exchange)
        try:
            result = await wrapped(*args, **kwargs)
        except BaseException as error:
            call.settle(_answered(exchange, error), error=error)
            raise
        finally:
            call.leave(inside)
        return _received(exchange, result)

    return drive


def generating(open_call: Open) -> Wrapper:
    """Return the wrapper of a function that gives a generator: it sends its request when its first item is asked for.

    The call belongs to who called the function, whoever reads the items.
    """

    def drive(wrapped: Any, instance: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        return _generate(open_call, get_current(), wrapped, instance, args, kwargs)

    return drive


def generating_async(open_call: Open) -> Wrapper:
    """Return the wrapper of an asynchronous generator function, as `generating` does."""

    def drive(wrapped: Any, instance: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        return _generate_async(open_call, get_current(), wrapped, instance, args, kwargs)

    return drive


def generating_awaited(open_call: Open) -> Wrapper:
    """Return the wrapper of a coroutine function that gives an asynchronous generator, as `generating` does."""

    async def drive(wrapped: Any, instance: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        return _generate_async(open_call, get_current(), wrapped, instance, args, kwargs)

    return drive


def _generate(
    open_call: Open, context: Context, wrapped: Any, instance: Any, args: tuple[Any, ...], kwargs: dict[str, Any]
) -> Generator[Any, Any, Any]:
    exchange = _begin(open_call, wrapped, instance, args, kwargs, context)
    if exchange is None:
        return (yield from wrapped(*args, **kwargs))
    call = exchange.call
    call.admit()
    args, kwargs = _sent(exchange, args, kwargs)
    try:
        items = iter(wrapped(*args, **kwargs))
    except BaseException as error:
        call.settle(error=error)
        raise
    return (yield from _received(exchange, _first_in(call.inside(), items)))


async def _generate_async(
    open_call: Open, context: Context, wrapped: Any, instance: Any, args: tuple[Any, ...], kwargs: dict[str, Any]
) -> AsyncGenerator[Any, None]:
    exchange = _begin(open_call, wrapped, instance, args, kwargs, context)
    if exchange is None:
        async for item in await _items(wrapped, args, kwargs):
            yield item
        return
    call = exchange.call
    await call.admit_async()
    args, kwargs = _sent(exchange, args, kwargs)
    try:
        source = await _items(wrapped, args, kwargs)
    except BaseException as error:
        call.settle(error=error)
        raise
    stream = _received(exchange, _first_in_async(call.inside(), source))
    try:
        async for item in stream:
            yield item
    finally:
        await stream.aclose()


async def _items(wrapped: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> AsyncIterator[Any]:
    """Call a function that gives an asynchronous generator, at once or when it is awaited."""
    source = wrapped(*args, **kwargs)
    return aiter(await source if isawaitable(source) else source)


def in_callers_context(wrapped: Any, instance: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
    """Run a generator function up to its first item in the context of who called it.

    For a generator, asynchronous or not, that makes a call by another method of the client, which has the wrapper of
    its own: the call belongs to who asked for the stream, whoever reads it.
    """
    function = getattr(wrapped, "__func__", wrapped)
    first_in = _first_in_async if isasyncgenfunction(function) else _first_in
    return first_in(get_current(), wrapped(*args, **kwargs))


def throughout_in_callers_context(wrapped: Any, instance: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
    """As `in_callers_context`, up to its last item: for a generator that may make many calls, one after another.

    Also for a coroutine function that returns an asynchronous generator.
    """
    begun = Begun(get_current(), lambda error: None)
    result = wrapped(*args, **kwargs)
    return _wait_in(begun, result) if iscoroutine(result) else _steps_in(begun, result)


async def _wait_in(begun: Begun, result: Awaitable[Any]) -> Any:
    return _steps_in(begun, await result)


def _steps_in(begun: Begun, source: Any) -> Any:
    """Return a generator whose steps run in a context; anything else, as another instrumentation may give, as it is."""
    if isgenerator(source):
        return steps_in_context(lambda: source, lambda args, kwargs: begun)()
    if isasyncgen(source):
        return async_steps_in_context(lambda: source, lambda args, kwargs: begun)()
    return source


def _first_in(context: Context, source: Iterator[Any]) -> Generator[Any, Any, Any]:
    """The items of a stream; the request is sent, in a context of its own, for the first of them."""
    before = get_current()
    attach(context)
    try:
        first = next(source)
    except StopIteration as end:
        return end.value
    finally:
        attach(before)
    try:
        yield first
    except GeneratorExit:
        close = getattr(source, "close", None)
        if close is not None:
            close()
        raise
    return (yield from source)


async def _first_in_async(context: Context, source: AsyncIterator[Any]) -> AsyncGenerator[Any, None]:
    before = get_current()
    attach(context)
    try:
        first = await anext(source)
    except StopAsyncIteration:
        return
    finally:
        attach(before)
    try:
        yield first
        async for item in source:
            yield item
    finally:
        aclose = getattr(source, "aclose", None)
        if aclose is not None:
            await aclose()


def entering(open_call: Open) -> Wrapper:
    """Return the wrapper of a function that gives a context manager: it sends its request when it is entered."""

    def drive(wrapped: Any, instance: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        return _enter(open_call, wrapped, instance, args, kwargs)

    return drive


def entering_async(open_call: Open) -> Wrapper:
    """Return the wrapper of a function that gives an asynchronous context manager, as `entering` does."""

    def drive(wrapped: Any, instance: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        return _enter_async(open_call, wrapped, instance, args, kwargs)

    return drive


@contextmanager
def _enter(
    open_call: Open, wrapped: Any, instance: Any, args: tuple[Any, ...], kwargs: dict[str, Any]
) -> Iterator[Any]:
    exchange = _begin(open_call, wrapped, instance, args, kwargs)
    with ExitStack() as entered:
        if exchange is None:
            yield entered.enter_context(wrapped(*args, **kwargs))
            return
        call = exchange.call
        call.admit()
        args, kwargs = _sent(exchange, args, kwargs)
        inside = _entered(exchange)
        try:
            result = entered.enter_context(wrapped(*args, **kwargs))
        except BaseException as error:
            call.settle(_answered(exchange, error), error=error)
            raise
        finally:
            call.leave(inside)
        yield _received(exchange, result)


@asynccontextmanager
async def _enter_async(
    open_call: Open, wrapped: Any, instance: Any, args: tuple[Any, ...], kwargs: dict[str, Any]
) -> AsyncIterator[Any]:
    exchange = _begin(open_call, wrapped, instance, args, kwargs)
    async with AsyncExitStack() as entered:
        if exchange is None:
            yield await entered.enter_async_context(wrapped(*args, **kwargs))
            return
        call = exchange.call
        await call.admit_async()
        args, kwargs = _sent(exchange, args, kwargs)
        inside = _entered(exchange)
        try:
            result = await entered.enter_async_context(wrapped(*args, **kwargs))
        except BaseException as error:
            call.settle(_answered(exchange, error), error=error)
            raise
        finally:
            call.leave(inside)
        yield _received(exchange, result)


def follow(call: Call, source: Any, accumulator: StreamAccumulator, hide: Callable[[Any], bool] | None = None) -> Any:
    """Return an iterator over `source`, of its kind (sync or async), that settles the call when it ends.

    Args:
        call: The call that the stream is the result of.
        source: An iterator or asynchronous iterator of chunks.
        accumulator: Puts the chunks together.
        hide: Tells the chunks that the application did not ask for and does not get.
    """
    recording = StreamRecorder(call, accumulator)
    if hasattr(source, "__anext__"):
        return AsyncStreamIterator(source, recording, hide)
    return iterated(source, recording, hide)


def _begin(
    open_call: Open,
    wrapped: Any,
    instance: Any,
    args: tuple[Any, ...],
    kwargs: dict[str, Any],
    context: Context | None = None,
) -> Exchange | None:
    try:
        recorder = active()
        if recorder is None:
            return None
        here = get_current()
        recorded_in = recordable(here)
        if recorded_in is None:
            return None
        if context is None:
            context = recorded_in
        if context is here:
            return open_call(recorder, wrapped, instance, args, kwargs)
        attach(context)
        try:
            return open_call(recorder, wrapped, instance, args, kwargs)
        finally:
            attach(here)
    except Exception as error:
        internal_errors.report("opening a call", error)
        return None


def _sent(exchange: Exchange, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Arguments:
    try:
        return exchange.send(args, kwargs)
    except Exception as error:
        internal_errors.report("preparing the request", error)
        return args, kwargs


def _entered(exchange: Exchange) -> Context:
    try:
        return exchange.enter()
    except Exception as error:
        internal_errors.report("entering the call", error)
        return exchange.call.outer


def _answered(exchange: Exchange, error: BaseException) -> Any:
    try:
        return exchange.answer(error)
    except Exception as fault:
        internal_errors.report("recording the response", fault)
        return None


def _received(exchange: Exchange, result: Any) -> Any:
    try:
        return exchange.receive(result)
    except Exception as error:
        internal_errors.report("handing over the response", error)
        exchange.call.settle()
        return result
