"""A provider on loopback that speaks gRPC, and answers as it is told."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from tests.contract.server import Reply, Request

CODES = {400: "INVALID_ARGUMENT", 429: "RESOURCE_EXHAUSTED", 500: "INTERNAL"}
"""The codes that the suite's statuses stand for."""


class GrpcServer:
    """Answers requests with what `will` was given, in order; the last answer stays.

    A reply's body are messages as they are sent: one, or those of a stream. The body of an error is its message.

    Args:
        streams: The methods that answer with a stream, by their last name.
    """

    def __init__(self, *streams: str) -> None:
        import grpc

        self.requests: list[Request] = []
        self._replies: deque[Reply] = deque()
        self._released = threading.Event()
        outer = self

        class Handler(grpc.GenericRpcHandler):
            def service(self, details: Any) -> Any:
                path = details.method
                if path.rpartition("/")[2] in streams:
                    return grpc.unary_stream_rpc_method_handler(lambda *given: outer._parts(path, *given))
                return grpc.unary_unary_rpc_method_handler(lambda *given: next(outer._parts(path, *given)))

        self._grpc = grpc.server(ThreadPoolExecutor(16))
        self._grpc.add_generic_rpc_handlers((Handler(),))
        self._port = self._grpc.add_insecure_port("127.0.0.1:0")
        self._grpc.start()

    @property
    def url(self) -> str:
        """The target of a channel."""
        return f"127.0.0.1:{self._port}"

    def will(self, *replies: Reply) -> None:
        """Answer the next requests so."""
        self._replies = deque(replies)
        self.requests.clear()

    def _parts(self, path: str, message: bytes, context: Any) -> Iterator[bytes]:
        import grpc

        self.requests.append(Request("POST", path, dict(context.invocation_metadata()), message))
        reply = self._replies.popleft() if len(self._replies) > 1 else self._replies[0]
        if reply.status != 200:
            context.abort(grpc.StatusCode[CODES[reply.status]], b"".join(reply.body).decode())
        yield from reply.body
        if reply.hangs:
            self._released.wait()
        if reply.breaks:
            context.abort(grpc.StatusCode.UNAVAILABLE, "Socket closed")

    def close(self) -> None:
        """Stop."""
        self._released.set()
        self._grpc.stop(0).wait()


def refusal(status: int, message: str) -> Reply:
    """An error answer."""
    return Reply(status, "application/grpc", (message.encode(),))


def protobuf(fields: Mapping[int, Any]) -> bytes:
    """A message by the numbers of its fields: integers, text, bytes, messages, and lists of these.

    https://protobuf.dev/programming-guides/encoding/
    """
    encoded = b""
    for number, value in fields.items():
        for one in value if isinstance(value, list) else () if value is None else (value,):
            if isinstance(one, int):
                encoded += _varint(number << 3) + _varint(one)
                continue
            data = one.encode() if isinstance(one, str) else one if isinstance(one, bytes) else protobuf(one)
            encoded += _varint(number << 3 | 2) + _varint(len(data)) + data
    return encoded


def _varint(value: int) -> bytes:
    encoded = b""
    while value > 127:
        encoded += bytes([value & 127 | 128])
        value >>= 7
    return encoded + bytes([value])
