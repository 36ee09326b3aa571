"""Connections of the `websockets` package: what a client library sends and receives over one that it has opened.

The methods of the one connection are replaced on it, for as long as it lives: no other connection of the process
passes through here, and whatever a client reads with (a loop, a thread, callbacks) comes down to them.
"""

from __future__ import annotations

import functools
import weakref
from inspect import iscoroutinefunction
from typing import Any, Protocol

from genledger.engine.driver import Exchange, asynchronous, synchronous
from genledger.engine.recorder import Recorder
from genledger.instrumentation.adapters.http_response import parse
from genledger.shared import internal_errors


class SocketListener(Protocol):
    """What is told of a connection. A message is a JSON object, or bytes that are none.

    Attributes:
        asks: Whether a message of the application may ask for a call of its own: then `ask` is given each, else `sent`.
    """

    asks: bool

    def ask(self, recorder: Recorder, message: Any) -> Exchange | None:
        """Open a call, if the application is about to ask for one with this message."""
        ...

    def sent(self, message: Any) -> None:
        """Take in a message that has been sent."""
        ...

    def hear(self, message: Any) -> None:
        """Take in a message of the provider."""
        ...

    def end(self, error: BaseException | None = None, *, cut: bool = True) -> None:
        """The connection is gone.

        Args:
            error: How it broke, if it did.
            cut: The application has closed it, not the provider.
        """
        ...


def listen(socket: Any, listener: SocketListener) -> None:
    """Tell a listener of everything that passes over a connection from now on, and of its end.

    Args:
        socket: A connection of `websockets`, synchronous or not, of any of its implementations.
        listener: Is told.
    """
    own = weakref.ref(socket)  # kept by what the connection keeps itself

    def ask(recorder: Recorder, wrapped: Any, instance: Any, args: tuple[Any, ...], kwargs: Any) -> Exchange | None:
        return listener.ask(recorder, message_of(args[0] if args else kwargs.get("message")))

    def sent(args: tuple[Any, ...], kwargs: dict[str, Any], result: Any, error: BaseException | None) -> None:
        if error is not None:
            _broken(listener, error)
        elif not listener.asks:
            listener.sent(message_of(args[0] if args else kwargs.get("message")))

    def received(args: tuple[Any, ...], kwargs: dict[str, Any], result: Any, error: BaseException | None) -> None:
        if error is None:
            listener.hear(message_of(result))
        else:
            _broken(listener, error)

    def closed(args: tuple[Any, ...], kwargs: dict[str, Any], result: Any, error: BaseException | None) -> None:
        listener.end()

    for name, note in (("send", sent), ("recv", received), ("close", closed)):
        method = getattr(type(socket), name)
        drive = asynchronous(ask) if iscoroutinefunction(method) else synchronous(ask)
        told = noted_async(note) if iscoroutinefunction(method) else noted(note)
        call = functools.partial(_call, method, own)
        if name == "send" and listener.asks:
            call = functools.partial(_driven, drive, call)
        socket.__dict__[name] = functools.partial(told, call)


def _call(method: Any, own: Any, *args: Any, **kwargs: Any) -> Any:
    return method(own(), *args, **kwargs)


def _driven(drive: Any, call: Any, *args: Any, **kwargs: Any) -> Any:
    return drive(call, None, args, kwargs)


def noted(note: Any) -> Any:
    """Return what calls a function, and tells what it was given and has returned or raised."""

    def run(call: Any, *args: Any, **kwargs: Any) -> Any:
        try:
            result = call(*args, **kwargs)
        except BaseException as error:
            _tell(note, args, kwargs, None, error)
            raise
        _tell(note, args, kwargs, result, None)
        return result

    return run


def noted_async(note: Any) -> Any:
    """As `noted`, of a coroutine function."""

    async def run(call: Any, *args: Any, **kwargs: Any) -> Any:
        try:
            result = await call(*args, **kwargs)
        except BaseException as error:
            _tell(note, args, kwargs, None, error)
            raise
        _tell(note, args, kwargs, result, None)
        return result

    return run


def _tell(note: Any, *said: Any) -> None:
    try:
        note(*said)
    except Exception as fault:
        internal_errors.report("following a connection", fault)


def message_of(data: Any) -> Any:
    """Return what a frame says: a JSON object, where it is one."""
    if isinstance(data, str) or (isinstance(data, bytes) and data[:1] == b"{"):
        found = parse(data)
        return data if found is None else found
    return data


def _broken(listener: SocketListener, error: BaseException) -> None:
    """When sending or receiving failed, the connection is gone, unless it was only for want of time."""
    gone = closing(error)
    if gone is not None:
        listener.end(error if gone else None, cut=False)


def closing(error: BaseException) -> bool | None:
    """Return whether a connection broke with an error; `False` when it was closed, `None` when it is still there."""
    names = {kind.__name__ for kind in type(error).__mro__}
    return "ConnectionClosedOK" not in names if "ConnectionClosed" in names else None
