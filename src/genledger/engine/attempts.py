"""Failed attempts: only an attempt that was sent and not refused may be billed.

Providers bill what they generate, whoever is still listening. An attempt that timed out, was cancelled or lost
its connection after it was sent is therefore paid for as far as anybody here can know.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Literal

from genledger.engine.operation import at_path

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
        *("handle_request", "handle_async_request", "urlopen", "_ws_connect"),
        *("iter_raw", "aiter_raw", "read_chunked", "_error_catcher", "_raw_read", "_do_parse"),
        *("start", "readany"),  # aiohttp's: wait for the head of an answer, and for its body
        *("_read_head", "_iter_body", "chunks_gen"),  # lm15's
    }
)
"""Functions of HTTP clients that a request passes on its way out, or the body of its answer on its way in."""

_RPC_STATUS = {
    "CANCELLED": 499,
    "UNKNOWN": 500,
    "INVALID_ARGUMENT": 400,
    "DEADLINE_EXCEEDED": 408,
    "NOT_FOUND": 404,
    "ALREADY_EXISTS": 409,
    "PERMISSION_DENIED": 403,
    "RESOURCE_EXHAUSTED": 429,
    "FAILED_PRECONDITION": 400,
    "ABORTED": 409,
    "OUT_OF_RANGE": 400,
    "UNIMPLEMENTED": 501,
    "INTERNAL": 500,
    "UNAVAILABLE": 503,
    "DATA_LOSS": 500,
    "UNAUTHENTICATED": 401,
}
"""The HTTP status of each code of gRPC, by the comments of google/rpc/code.proto; but a deadline is the client's own
in gRPC, so that it is a request timeout, and not a gateway's."""

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


def rpc_code(error: BaseException) -> str | None:
    """Return the name of the gRPC code that `error` has; `None` for an error that is not gRPC's."""
    code = getattr(error, "code", None) if _is_a("RpcError", error) else None
    if not callable(code):
        return None
    name = getattr(code(), "name", None)
    return name if name in _RPC_STATUS else None


def answered_status(response: Any) -> int | None:
    """Return the HTTP status of an answer, under any of the names that clients have for it."""
    found = (getattr(response, name, None) for name in ("status_code", "status", "http_status"))
    return next((one for one in found if type(one) is int), None)


def status_of(error: BaseException) -> int | None:
    """Return the HTTP status of the answer that `error` was made from; `None` when there was no answer.

    A code of gRPC counts as the HTTP status that it stands for. Google's errors have the status as their `code`: an
    error inside a stream has no other, since its answer began well.
    """
    code = rpc_code(error)
    if code is not None:
        return _RPC_STATUS[code]
    if _is_a("ConnectionClosed", error):  # a socket's, whose code is another kind of number
        return None
    response = getattr(error, "response", None)
    if isinstance(response, dict):  # botocore's
        status = at_path(response, "ResponseMetadata.HTTPStatusCode")
        return status if type(status) is int else None
    status = answered_status(response)
    if status is None:
        status = answered_status(error)
    if status is None or status < 400:
        said = getattr(error, "code", None)
        return int(said) if isinstance(said, int) and 400 <= said < 600 else status
    return status


def _is_a(name: str, error: BaseException) -> bool:
    return any(kind.__name__ == name for kind in type(error).__mro__)


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
