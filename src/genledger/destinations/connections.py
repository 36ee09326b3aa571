"""HTTP connections that can be cut off during a request.

`requests` knows timeouts for a connection and for each read, but no deadline: a receiver that sends a byte now and
then holds a request for as long as it likes. A socket that is shut down ends whatever waits for it.
"""

from __future__ import annotations

import socket
import threading
from typing import Any
from weakref import WeakSet

import requests
from requests.adapters import HTTPAdapter

from genledger.destinations.delivery.attempt import Attempt


class SessionClosed(Exception):
    """No more requests. Not one of `requests`' own errors, after which exporters try again."""


class Session(requests.Session):
    """A session whose current requests can be ended from another thread."""

    def __init__(self) -> None:
        super().__init__()
        self._lock = threading.Lock()
        self._open: WeakSet[Any] = WeakSet()
        self._cuts = 0
        self._closed = False
        adapter = _Adapter(self)
        self.mount("https://", adapter)
        self.mount("http://", adapter)

    def cut(self) -> None:
        """End the current requests of all threads; later ones reconnect."""
        with self._lock:
            self._cuts += 1
            connections = tuple(self._open)
        for connection in connections:
            try:
                connection.sock.shutdown(socket.SHUT_RDWR)
            except (AttributeError, OSError):
                pass  # it is closed, or not connected yet

    def close(self) -> None:
        """End the current requests, and make no more."""
        self._closed = True
        self.cut()
        super().close()

    def send(self, *args: Any, **options: Any) -> requests.Response:
        """Send a prepared request, as `requests.Session.send`.

        Raises:
            SessionClosed: `close` has been called.
        """
        if self._closed:
            raise SessionClosed("the session is closed")
        return super().send(*args, **options)

    def watched(self, kind: type[Any]) -> type[Any]:
        """Return a class of connections like `kind`, each of which this session can cut off."""
        session = self

        class Watched(kind):  # type: ignore[misc]
            def connect(self) -> None:
                with session._lock:
                    cuts = session._cuts
                    session._open.add(self)
                super().connect()
                if cuts != session._cuts:
                    # A socket that is not there yet cannot be shut down.
                    self.close()
                    raise ConnectionAbortedError("closed while connecting")

        Watched.__name__ = kind.__name__  # which errors show
        return Watched


class SessionWithDeadline(Session):
    """A session whose timeout is a deadline for the whole request, its answer included; for others' exporters."""

    def request(self, *args: Any, **options: Any) -> requests.Response:
        """Make a request, as `requests.Session.request`; `timeout` must be given, in seconds."""
        request = super().request
        attempt = Attempt(lambda: request(*args, **options))
        try:
            return attempt.result(float(options["timeout"]))
        except TimeoutError as error:
            self.cut()
            attempt.leave()
            raise requests.Timeout(str(error)) from None


class _Adapter(HTTPAdapter):
    def __init__(self, session: Session) -> None:
        self._session = session
        super().__init__(pool_connections=1, pool_maxsize=1)

    def init_poolmanager(self, *args: Any, **options: Any) -> None:
        super().init_poolmanager(*args, **options)
        self._watch(self.poolmanager)

    def proxy_manager_for(self, proxy: str, **options: Any) -> Any:
        known = proxy in self.proxy_manager
        manager = super().proxy_manager_for(proxy, **options)
        if not known:
            self._watch(manager)
        return manager

    def _watch(self, manager: Any) -> None:
        # Any kind of connection, those through a SOCKS proxy included, is what it would be but for `connect`.
        manager.pool_classes_by_scheme = {
            scheme: type(pool.__name__, (pool,), {"ConnectionCls": self._session.watched(pool.ConnectionCls)})
            for scheme, pool in manager.pool_classes_by_scheme.items()
        }
