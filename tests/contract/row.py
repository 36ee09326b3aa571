"""What the contract suite has to know of one operation of a client."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from importlib.metadata import PackageNotFoundError, version
from typing import Any

from tests.contract.server import Reply, Server


def at_least(distribution: str, *numbers: int) -> bool:
    """Whether a distribution is installed, in this version or a newer one."""
    try:
        return tuple(int(number) for number in re.findall(r"\d+", version(distribution))[: len(numbers)]) >= numbers
    except PackageNotFoundError:
        return False


@dataclass(frozen=True)
class Row:
    """One operation of a client.

    Args:
        library: The library's name for users.
        module: What has to be importable, or the row is skipped.
        client: Makes a client of the server's URL, synchronous or not, with so many retries: none is 0,
            whatever the client's default is.
        call: Makes the call; keywords: `stream` and `max_tokens` (`None`: not set).
        whole: A whole answer with usage.
        events: The parts of a streamed answer, each as it is sent; the usage is in the last ones.
        provider: `gen_ai.provider.name` of a client at an address that is not the provider's own.
        model: The model that is asked for.
        usage: Input and output tokens of both answers.
        cost: USD of both answers, by the provider's public list.
        error: An error answer of the provider for a status.
        text: Text of the answers, which content has to show when it is on, and never otherwise.
        prompt: Text of the prompt, likewise.
        limit: Reads the output limit out of a request as the server got it; `None` for an operation without one.
        sent_model: Reads the model out of a request as the server got it.
        cheaper: A model of the same provider to degrade to, with a price.
        synchronous: Whether there is a synchronous client.
        asynchronous: Whether there is an asynchronous client.
        streams: Whether the operation streams.
        closes: Whether a stream can be closed early; the generators of some clients raise an error of their own.
        ends: Whether the client wants to be closed, if it can be, when one of its streams was left.
        stream_counts: Whether a stream says its usage; one that does not is estimated.
        raises: Whether a refused call raises; else it returns an answer that says so.
        throttled: Whether the application hears that it is throttled; else the client tries again until a deadline.
        says: Whether an answer has what was generated; else that is asked for apart.
        retries: Whether the client sends a failed request again when it is allowed to.
        read_chunk: Makes text of a chunk, to compare streams.
        operation: The operation's name.
        endpoint: What to call the endpoint, where others of the client have the same operation.
        content: Whether the operation has content that can be captured.
        refused: Whether a budget can refuse the call: none that is free, or whose model only the answer says.
        counted: Whether an answer says what is billed; else the request alone does.
        options: Options of `genledger.instrument`.
    """

    library: str
    module: str
    client: Callable[[str, bool, int], Any]
    call: Callable[..., Any]
    whole: Reply
    events: tuple[bytes, ...]
    provider: str
    model: str
    usage: tuple[int, int]
    cost: float
    error: Callable[[int], Reply]
    text: str = "The capital of France is Paris."
    prompt: str = "What is the capital of France?"
    limit: Callable[[Any], Any] | None = lambda request: request.json.get("max_tokens")
    sent_model: Callable[[Any], Any] = lambda request: request.json.get("model")
    cheaper: str = ""
    synchronous: bool = True
    asynchronous: bool = True
    streams: bool = True
    closes: bool = True
    ends: bool = False
    stream_counts: bool = True
    raises: bool = True
    throttled: bool = True
    says: bool = True
    retries: bool = True
    stream_type: str = "text/event-stream"
    operation: str = "chat"
    endpoint: str = ""
    content: bool = True
    refused: bool = True
    counted: bool = True
    options: Mapping[str, Any] = field(default_factory=dict)
    server: Callable[[], Any] = Server

    @property
    def title(self) -> str:
        """The operation, and its endpoint where others of the client have the same."""
        return f"{self.operation} ({self.endpoint})" if self.endpoint else self.operation

    def another(self, operation: str, **changes: Any) -> Row:
        """Return the row of another operation of the same client.

        Unless `changes` say otherwise, it does not stream, limits no output, answers without text, and has no model to
        degrade to.
        """
        nothing: dict[str, Any] = {"events": (), "streams": False, "limit": None, "text": "", "cheaper": ""}
        return replace(self, operation=operation, **{**nothing, **changes})

    def streamed(self, count: int | None = None) -> Reply:
        """The streamed answer, or its first `count` parts, after which the connection breaks."""
        parts = self.events if count is None else self.events[:count]
        return Reply(200, self.stream_type, parts, breaks=count is not None)

    def begun(self, count: int) -> Reply:
        """The first `count` parts of the streamed answer; the rest does not come while anybody waits for it."""
        return Reply(200, self.stream_type, self.events[:count], hangs=True)
