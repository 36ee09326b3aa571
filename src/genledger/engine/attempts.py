"""What became of an attempt that failed: only one that left, and that nobody refused, may be billed.

Providers bill what they generate, whoever is still listening. An attempt that timed out, was cancelled or lost
its connection after it was sent is therefore paid for as far as anybody here can know.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Literal

_NEVER_SENT = frozenset(
    {
        "BudgetExceeded",
        "ClientConnectorError",
        "ConnectError",
        "ConnectTimeout",
        "ConnectTimeoutError",
        "ConnectionRefusedError",
        "EndpointConnectionError",
        "InvalidURL",
        "LocalProtocolError",
        "NameResolutionError",
        "NewConnectionError",
        "PoolTimeout",
        "ProxyConnectionError",
        "UnsupportedProtocol",
        "gaierror",
    }
)
"""Exceptions of httpx, urllib3, requests, aiohttp and botocore that mean that no request was sent."""

_GAVE_UP = frozenset({408, 499, 504, 524})
"""Answers of a gateway that stopped waiting: the provider behind it may have gone on."""

_TRANSPORT = frozenset(
    {
        "_error_catcher",
        "_make_request",
        "_ws_connect",
        "aiter_raw",
        "handle_async_request",
        "handle_request",
        "iter_raw",
        "urlopen",
    }
)
"""Functions of HTTP clients that a request passes on its way out, or the body of its answer on its way in."""

_CONNECTING = frozenset(
    {"_connect", "_create_connection", "_new_conn", "connect", "connect_tcp", "start_tls", "wait_for_connection"}
)
"""Functions of HTTP clients that run before there is a connection to send on."""


Fate = Literal["unsent", "refused", "lost"]
"""What became of a failed attempt: it never left, the provider refused it, or nobody knows and it may be billed."""


def fate_of(error: BaseException) -> Fate:
    """Return what became of the attempt that ended with `error`.

    An answer with an error status is a refusal, which providers do not bill, unless a gateway gave up waiting
    for it. Without an answer, the request counts once it has reached the HTTP client's transport on a connection.
    """
    sent = False
    for one in _chain(error):
        if any(kind.__name__ in _NEVER_SENT for kind in type(one).__mro__):
            return "unsent"
        status = status_of(one)
        if status is not None:
            return fate_of_status(status)
        passed = set(_functions(one))
        if passed & _CONNECTING:
            return "unsent"
        sent = sent or bool(passed & _TRANSPORT)
    return "lost" if sent else "unsent"


def fate_of_status(status: int) -> Fate:
    """Return what became of an attempt that was answered with this HTTP status and is not used."""
    return "lost" if status < 400 or status in _GAVE_UP else "refused"


def status_of(error: BaseException) -> int | None:
    """Return the HTTP status of the answer that `error` was made from; `None` when there was no answer."""
    for source in (getattr(error, "response", None), error):
        status = getattr(source, "status_code", None)
        if type(status) is int:
            return status
    return None


def _chain(error: BaseException) -> Iterator[BaseException]:
    seen: set[int] = set()
    one: BaseException | None = error
    while one is not None and id(one) not in seen:
        seen.add(id(one))
        yield one
        # A cancellation says by itself where it struck; what it interrupted is an attempt that was noted before.
        context = None if one.__suppress_context__ or not isinstance(one, Exception) else one.__context__
        one = one.__cause__ or context


def _functions(error: BaseException) -> Iterator[str]:
    trace: Any = error.__traceback__
    while trace is not None:
        yield trace.tb_frame.f_code.co_name
        trace = trace.tb_next
