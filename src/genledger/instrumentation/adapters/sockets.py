"""How clients open their sockets, and where the open connection is found."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Iterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from functools import lru_cache
from inspect import isgenerator
from typing import Any

from genledger.engine.driver import (
    Exchange,
    Open,
    asynchronous,
    entering,
    entering_async,
    generating,
    synchronous,
)
from genledger.engine.operation import Body, Endpoint, Operation, text
from genledger.engine.recorder import Recorder, active
from genledger.instrumentation.adapters.conversations import Conversation, Conversations
from genledger.instrumentation.adapters.methods import kind_of, named_arguments
from genledger.instrumentation.adapters.sessions import OPENING, Connecting, SessionCall, SessionEvents
from genledger.instrumentation.adapters.websockets import closing, listen, noted, noted_async
from genledger.instrumentation.patching import Patch, Patches, Wrapper
from genledger.pricing.getters import field
from genledger.shared import internal_errors
from genledger.shared.identity_map import IdentityMap


@dataclass(frozen=True, slots=True)
class SessionSockets:
    """Methods that open a session, which is one call.

    What a method is (a context manager, a coroutine function, a generator, or one that just returns) is read from the
    method itself. Budgets are asked before it connects.

    Args:
        library: The library's name for users.
        classes: The classes, synchronous and not, by the module that they are in.
        opens: The method.
        operation: The operation.
        events: Makes what puts the messages of one session together, of the request and whether its content is kept.
        endpoint: Finds the endpoint that an instance talks to.
        body: Makes the request, by the provider's names, of the instance and the named arguments.
        socket: The attribute with the connection, of what the method returned, else of the instance.
        connect: The module and name of the function that it connects with: where the connection is used before the
            method returns, and so has to be followed from the first.
        told: The method that is given each message, and the connection, where that is opened in the background.
        runs: The method that does so, until the session ends.
    """

    library: str
    classes: Mapping[str, tuple[str, ...]]
    opens: str
    operation: Operation
    events: Callable[[Body, bool], SessionEvents]
    endpoint: Callable[[Any], Endpoint]
    body: Callable[[Any, dict[str, Any]], Body] = lambda instance, given: given
    socket: str = ""
    connect: tuple[str, str] | None = None
    told: str = ""
    runs: str = ""

    def patches(self) -> Patches:
        """Return what to patch, and with what."""
        begun: IdentityMap[SessionCall] = IdentityMap()
        patches: list[tuple[str, Wrapper]] = [(self.opens, by_kind(self._opening(begun)))]
        if self.told:
            patches += [(self.told, _noting(_told(begun))), (self.runs, _noting(_run(begun)))]
        found: Patches = [
            Patch(module, f"{cls}.{name}", wrapper, optional=True)
            for module, classes in self.classes.items()
            for cls in classes
            for name, wrapper in patches
        ]
        return found if self.connect is None else [*found, Patch(*self.connect, _connect, optional=True)]

    def _opening(self, begun: IdentityMap[SessionCall]) -> Open:
        def open_call(
            recorder: Recorder, wrapped: Any, instance: Any, args: tuple[Any, ...], kwargs: dict[str, Any]
        ) -> Exchange | None:
            body = self.body(instance, named_arguments(wrapped, args, kwargs))
            call = recorder.open(self.operation, self.library, self.endpoint(instance), body)
            if call is None:
                return None
            session = SessionCall(call, self.events(body, recorder.capture is not None))
            if self.told:
                begun.set(instance, session)
            return Connecting(call, session, lambda result, done: self._found(session, instance, result, done))

        return open_call

    def _found(self, session: SessionCall, instance: Any, result: Any, followed: bool) -> Any:
        if isgenerator(result):
            return _until_end(session, result)
        if self.told or (followed and self.connect):
            return result
        socket = field(result, self.socket) or field(instance, self.socket)
        if socket is None:
            session.fail(None)
        else:
            listen(socket, session)
        return result


def _connect(wrapped: Any, instance: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
    """Follow the connection that a function has opened."""
    session = OPENING.get()
    socket = wrapped(*args, **kwargs)
    if session is not None:
        OPENING.set(None)
        try:
            listen(socket, session)
        except Exception as fault:
            internal_errors.report("opening a session", fault)
    return socket


def _until_end(session: SessionCall, items: Iterator[Any]) -> Iterator[Any]:
    """The items of a generator that opens the connection; its end is that of the session, if that could not open."""
    OPENING.set(session)
    try:
        yield from items
    except GeneratorExit:
        raise
    except BaseException as error:
        session.end(error)
        raise
    finally:
        OPENING.set(None)
        session.end()


def _told(begun: IdentityMap[SessionCall]) -> Note:
    """Follow the connection from the first message that came over it."""

    def note(instance: Any, args: tuple[Any, ...], result: Any, error: BaseException | None) -> None:
        message, socket = args
        session = begun.pop(instance)
        if session is not None:
            session.hear(message)
            listen(socket, session)

    return note


def _run(begun: IdentityMap[SessionCall]) -> Note:
    """End a session that nothing was told of: it had no connection."""

    def note(instance: Any, args: tuple[Any, ...], result: Any, error: BaseException | None) -> None:
        session = begun.pop(instance)
        if session is not None:
            session.fail(error)

    return note


def by_kind(open_call: Open) -> Wrapper:
    """Return the wrapper of a method that opens a connection, by what it is."""
    drivers = {
        "plain": synchronous(open_call),
        "coroutine": asynchronous(open_call),
        "generator": generating(open_call),
        "context": entering(open_call),
        "async context": entering_async(open_call),
    }

    def wrapper(wrapped: Any, instance: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        return drivers[_opened_by(getattr(wrapped, "__func__", wrapped))](wrapped, instance, args, kwargs)

    return wrapper


@lru_cache(256)
def _opened_by(function: Any) -> str:
    """Return the kind of a function; one that makes a context manager is written as a generator."""
    written = kind_of(getattr(function, "__wrapped__", function))
    if hasattr(function, "__wrapped__") and "generator" in written:
        return "async context" if written == "async generator" else "context"
    return kind_of(function)


@dataclass(frozen=True, slots=True)
class ConversationSockets:
    """Methods that open a conversation, whose responses are the calls: asynchronous context managers.

    Args:
        kind: How conversations are read.
        classes: The class, by the module that it is in.
        opens: The method.
        endpoint: Finds the endpoint that an instance talks to.
        body: Makes what every response is asked for with, of the named arguments.
        socket: The attribute with the connection, of what the method gives.
    """

    kind: Conversations
    classes: Mapping[str, str]
    opens: str
    endpoint: Callable[[Any], Endpoint]
    body: Callable[[dict[str, Any]], Body]
    socket: str

    def patches(self) -> Patches:
        """Return what to patch, and with what."""
        return [Patch(module, f"{cls}.{self.opens}", self._open) for module, cls in self.classes.items()]

    def _open(self, wrapped: Any, instance: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        return self._opened(wrapped, instance, args, kwargs)

    @asynccontextmanager
    async def _opened(
        self, wrapped: Any, instance: Any, args: tuple[Any, ...], kwargs: dict[str, Any]
    ) -> AsyncIterator[Any]:
        async with wrapped(*args, **kwargs) as opened:
            if active() is not None:
                try:
                    body = self.body(named_arguments(wrapped, args, kwargs))
                    listen(field(opened, self.socket), Conversation(self.kind, self.endpoint(instance), body))
                except Exception as fault:
                    internal_errors.report("opening a conversation", fault)
            yield opened


class StainlessSockets:
    """The conversations of a client library that is generated by Stainless, synchronous and not.

    Args:
        kind: How they are read.
        modules: The modules that have the classes, of every version.
        connection: The class of an open connection: `send`, `recv_bytes`, `parse_event`, `close`. `…Manager` opens it,
            also with `enter`; `Async…` are their twins. It may open another connection when one is lost.
        endpoint: Returns the server and provider a client is connected to.
    """

    def __init__(
        self, kind: Conversations, modules: tuple[str, ...], connection: str, endpoint: Callable[[Any], Endpoint]
    ) -> None:
        self._kind = kind
        self._modules = modules
        self._connection = connection
        self._endpoint = endpoint
        self._conversations: IdentityMap[Conversation] = IdentityMap()

    def patches(self) -> Patches:
        """Return the methods to patch, and their wrappers."""
        opened, received, closed = (_noting(note) for note in (self._opened, self._received, self._closed))
        asked = by_kind(self._ask)
        methods = (
            ("Manager.__enter__", "Manager.__aenter__", opened),
            ("Manager.enter", "Manager.enter", opened),
            (".send", ".send", asked),
            (".recv_bytes", ".recv_bytes", received),
            (".parse_event", ".parse_event", _noting(self._parsed)),
            (".close", ".close", closed),
        )
        return [
            Patch(module, f"{kind}{self._connection}{path}", wrapper, optional=True)
            for module in self._modules
            for sync, twin, wrapper in methods
            for kind, path in (("", sync), ("Async", twin))
        ]

    def _opened(self, manager: Any, args: tuple[Any, ...], connection: Any, error: BaseException | None) -> None:
        if error is not None:
            return
        own = f"_{'Async' if hasattr(manager, '__aenter__') else ''}{self._connection}Manager__"
        client = getattr(manager, f"{own}client")
        endpoint = self._endpoint(client)
        address = field(client, "websocket_base_url")
        if address is not None:
            endpoint = Endpoint.at(endpoint.provider, str(address))._replace(
                base_url=endpoint.base_url, api_key=endpoint.api_key
            )
        model = text(getattr(manager, f"{own}model", None))
        body = {"model": model} if model else {}
        self._conversations.set(connection, Conversation(self._kind, endpoint, body))

    def _ask(
        self, recorder: Recorder, wrapped: Any, connection: Any, args: tuple[Any, ...], kwargs: dict[str, Any]
    ) -> Exchange | None:
        conversation = self._conversations.get(connection)
        return conversation.ask(recorder, args[0] if args else kwargs.get("event")) if conversation else None

    def _parsed(self, connection: Any, args: tuple[Any, ...], event: Any, error: BaseException | None) -> None:
        conversation = self._conversations.get(connection)
        if conversation is not None and error is None:
            conversation.hear(event)

    def _received(self, connection: Any, args: tuple[Any, ...], data: Any, error: BaseException | None) -> None:
        """When receiving failed, the connection is gone, unless it was only for want of time."""
        conversation = self._conversations.get(connection)
        broke = closing(error) if error is not None else None
        if conversation is not None and broke is not None:
            conversation.end(error if broke else None)

    def _closed(self, connection: Any, args: tuple[Any, ...], result: Any, error: BaseException | None) -> None:
        conversation = self._conversations.get(connection)
        if conversation is not None:
            conversation.end()


Note = Callable[[Any, tuple[Any, ...], Any, BaseException | None], None]
"""Is told of an instance what its method was given, and has returned or raised."""


def _noting(note: Note) -> Wrapper:
    """Return the wrapper of a method, coroutine function or not, that notes what came of it."""

    def wrapper(wrapped: Any, instance: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        def told(args: tuple[Any, ...], kwargs: dict[str, Any], result: Any, error: BaseException | None) -> None:
            note(instance, args, result, error)

        follow = noted_async if kind_of(wrapped) == "coroutine" else noted
        return follow(told)(wrapped, *args, **kwargs)

    return wrapper
