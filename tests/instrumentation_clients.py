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
NAMES = ("chat", "achat", "stream", "astream", "iterator", "over")


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
    )
    patcher = Patcher(methods.patches())
    patcher.apply()
    try:
        yield cls
    finally:
        patcher.restore()
        del sys.modules["clientlib"]
