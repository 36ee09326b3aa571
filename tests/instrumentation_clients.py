"""A client library made for tests: functions and methods of each kind, over a real client or by themselves."""

from __future__ import annotations

import sys
from collections.abc import AsyncIterator, Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from types import ModuleType
from typing import Any

from genledger.engine.operation import Endpoint, Operation, text
from genledger.instrumentation.adapters.methods import Methods
from genledger.instrumentation.patching import Patcher
from genledger_instrumentors.formats.vector_store import access, search
from genledger_semconv import attributes as A

USAGE = {"prompt_tokens": 1000, "completion_tokens": 500, "total_tokens": 1500}
ANSWER = {"model": "gpt-4o", "usage": USAGE, "choices": [{"finish_reason": "stop"}]}
PRICE = 1000 * 2.5e-6 + 500 * 10e-6
"""USD of `ANSWER`: gpt-4o has 2.50 and 10.00 USD per million."""


class Pieces:
    """Puts the chunks of a stream together: the last one has the usage."""

    def __init__(self, body: Mapping[str, Any], keep: bool) -> None:
        self._last: Any = None
        self._length = 0

    def fold(self, chunks: Sequence[Any]) -> None:
        """Take in more chunks."""
        for chunk in chunks:
            self._last = chunk
            self._length += len(chunk.get("text", ""))

    def response(self) -> Mapping[str, Any]:
        """Return what has come."""
        return {**ANSWER, "usage": (self._last or {}).get("usage")}

    def text_length(self) -> int:
        """Return the bytes that have come."""
        return self._length

    @property
    def counted(self) -> bool:
        """Whether the usage has come."""
        return bool(self._last and self._last.get("usage"))

    complete = counted


CHAT = Operation(
    name="chat",
    api="chat",
    fields={"model": (A.GEN_AI_REQUEST_MODEL, text), "max_tokens": (A.GEN_AI_REQUEST_MAX_TOKENS, int)},
    accumulate=Pieces,
    family="inference",
    limit=("max_tokens",),
)
STORE = {
    "find": search("clientlib", "find", {}),
    "afind": search("clientlib", "afind", {}),
    "nearest": search("clientlib", "nearest", {}),
    "load": access("load", {}),
}
NAMES = ("chat", "achat", "stream", "astream", "iterator", "over", "object")


class Stream:
    """A stream of a class of the library's own, which can be read both ways."""

    def __init__(self) -> None:
        self._chunks = iter([{"text": "Hello"}, {"text": " there"}])
        self.kept = [{"text": "", "usage": USAGE}]

    def __iter__(self) -> Stream:
        return self

    def __aiter__(self) -> Stream:
        return self

    def __next__(self) -> Any:
        try:
            return next(self._chunks)
        except StopIteration:
            self.close()
            raise

    async def __anext__(self) -> Any:
        try:
            return next(self)
        except StopIteration:
            raise StopAsyncIteration from None

    def close(self) -> None:
        """End it."""


class Elsewhere(Stream):
    """A stream whose iterator is another object."""

    def __iter__(self) -> Any:
        yield from [{"text": "Hello"}, {"text": " there"}]


class Client:
    """What the library's `Client` is; each test gets a class of its own."""

    def __init__(self, inner: Callable[[], Any] | None = None) -> None:
        self.inner = inner
        self.asked: list[dict[str, Any]] = []

    def chat(self, model: str, max_tokens: int | None = None) -> Any:
        """Answer at once."""
        self.asked.append({"model": model, "max_tokens": max_tokens})
        return {**ANSWER, "model": model}

    async def achat(self, model: str, max_tokens: int | None = None) -> Any:
        """Answer at once."""
        self.asked.append({"model": model, "max_tokens": max_tokens})
        return {**ANSWER, "model": model}

    def stream(self, model: str, max_tokens: int | None = None) -> Iterator[Any]:
        """Send the request when the first chunk is asked for."""
        self.asked.append({"model": model, "max_tokens": max_tokens})
        yield {"text": "Hello"}
        yield {"text": " there", "usage": USAGE}

    async def astream(self, model: str, max_tokens: int | None = None) -> AsyncIterator[Any]:
        """Send the request when the first chunk is asked for."""
        self.asked.append({"model": model, "max_tokens": max_tokens})
        yield {"text": "Hello"}
        yield {"text": " there", "usage": USAGE}

    def iterator(self, model: str, max_tokens: int | None = None) -> Any:
        """Send the request, and give an iterator over what is coming."""
        self.asked.append({"model": model, "max_tokens": max_tokens})
        return iter([{"text": "Hello"}, {"text": " there", "usage": USAGE}])

    def object(self, model: str, max_tokens: int | None = None) -> Any:
        """Send the request, and give an object to read what is coming."""
        self.asked.append({"model": model, "max_tokens": max_tokens})
        return Elsewhere() if model == "elsewhere" else Stream()

    def over(self, model: str, max_tokens: int | None = None) -> Any:
        """Let another client make the call."""
        assert self.inner is not None
        return self.inner()

    def find(self) -> Any:
        """Search, by another search."""
        return self.nearest()

    async def afind(self) -> Any:
        """Search, by another search."""
        return self.nearest()

    def nearest(self) -> Any:
        """Search, and read what is found."""
        return self.load()

    def load(self) -> Any:
        """Read."""
        return ["found"]


@contextmanager
def library() -> Iterator[type[Client]]:
    """The library, imported and patched for a while; gives its `Client`."""
    module = ModuleType("clientlib")
    functions = {name: value for name, value in vars(Client).items() if not name.startswith("__") or name == "__init__"}
    module.Client = cls = type("Client", (), functions)  # type: ignore[attr-defined]
    sys.modules["clientlib"] = module
    methods = Methods(
        "clientlib",
        {"clientlib": "Client"},
        {**dict.fromkeys(NAMES, CHAT), **STORE},
        endpoint=lambda client, given: Endpoint("openai", "api.openai.com", 443, "https://api.openai.com/v1"),
        streamed=lambda body: False,
        kept=lambda stream: stream.kept,
        local=lambda body, result: "cache" if isinstance(result, dict) and result.get("cached") else None,
    )
    patcher = Patcher(methods.patches())
    patcher.apply()
    try:
        yield cls
    finally:
        patcher.restore()
        del sys.modules["clientlib"]
