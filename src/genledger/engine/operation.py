"""Description of one kind of call by an instrumentor.

An instrumentor is a description: which methods, which operation, and small readers for the request, the
response and the chunks of a stream. Everything that happens around the call is done by this package.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, MutableMapping, Sequence
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, Literal, NamedTuple, Protocol
from urllib.parse import urlsplit

from opentelemetry.trace import SpanKind
from opentelemetry.util.types import AttributeValue

from genledger.pricing.getters import field
from genledger.shared.text import shown

if TYPE_CHECKING:
    from genledger.engine.later_usage.batch_jobs import Batch

Attributes = MutableMapping[str, AttributeValue]
"""Span attributes under construction."""

Body = Mapping[str, Any]
"""What the application asked for, by the names of the provider's API."""

Family = Literal["inference", "operation", "retrieval", "db"]

Converter = Callable[[Any], AttributeValue | None]
"""Turns one field of a request into an attribute value; `None` leaves the attribute out."""


def text(value: Any) -> str | None:
    """A string that is not empty."""
    return value if isinstance(value, str) and value else None


def integer(value: Any) -> int | None:
    """An integer; booleans are none."""
    return value if type(value) is int else None


def number(value: Any) -> float | None:
    """A number, as a double."""
    return float(value) if isinstance(value, (int, float)) and type(value) is not bool else None


def strings(value: Any) -> Sequence[str] | None:
    """A list of strings; a single string is a list of one."""
    if isinstance(value, str):
        return (value,)
    if isinstance(value, (list, tuple)):
        return tuple(item for item in value if isinstance(item, str)) or None
    return None


def listed(value: Any) -> Sequence[Any]:
    """Return the items of a list; none of anything else."""
    return value if isinstance(value, (list, tuple)) else ()


def write_texts(answer: Any, names: Iterable[tuple[str, str]], attributes: Attributes) -> None:
    """Write fields of an answer into attributes, where they are texts that are not empty."""
    for name, attribute in names:
        value = field(answer, name)
        if isinstance(value, str) and value:
            attributes[attribute] = value


def at_path(body: Any, path: str) -> Any:
    """Return the field of a request at a path such as `inferenceConfig.maxTokens`; `None` when it is absent."""
    for name in path.split("."):
        if isinstance(body, Mapping):
            body = body.get(name)
        elif body is not None:
            body = getattr(body, name, None)
    return body


def with_path(body: Body, path: str, value: Any) -> dict[str, Any]:
    """Return a copy of a request with the field at a path set; mappings on the way are copied, too."""
    name, _, rest = path.partition(".")
    inner = body.get(name)
    return {**body, name: with_path(inner if isinstance(inner, Mapping) else {}, rest, value) if rest else value}


def with_changes(body: Body, changes: Mapping[str, Any]) -> dict[str, Any]:
    """Return a copy of a request with changed fields, each given by its path."""
    changed = dict(body)
    for path, value in changes.items():
        changed = with_path(changed, path, value)
    return changed


class Received(NamedTuple):
    """How much of a streamed answer came.

    Args:
        length: Bytes of generated text, in UTF-8.
        chunks: Chunks received; when the answer was cut, each is taken for a token at least.
        generating: Whether the provider may have gone on generating when the stream ended here.
        level: Chunks received when the application had last waited for one, and so had all that there was.
        seconds: From the first chunk until then.
        since: Seconds from then until the stream ended here.
        measured: Whether what the answer counts was measured here, not by the provider.
    """

    length: int
    chunks: int = 0
    generating: bool = False
    level: int = 0
    seconds: float = 0.0
    since: float = 0.0
    measured: bool = False


def span_name(operation: str, target: object) -> str:
    """The conventions' name of a span: the operation, and what it is about when that is known."""
    if not target:
        return operation
    about = shown(str(target))
    return f"{operation} {about}" if operation else about


Content = Mapping[str, Any]
"""Content of a call, by the attribute that it belongs in; in the shape of the conventions' JSON schemas."""


class ResponseAccumulator(Protocol):
    """Assembler of a response that comes in parts.

    `fold` receives chunks in order, a few at a time. `response` returns what was received so far, in the shape
    of a whole response, so that one reader handles both.
    """

    def fold(self, chunks: Sequence[Any]) -> None:
        """Take in more chunks."""
        ...

    def response(self) -> Mapping[str, Any]:
        """Return what was received, shaped like a whole response."""
        ...

    def text_length(self) -> int:
        """Bytes of generated text received so far, for an estimate when the usage never came."""
        ...

    @property
    def complete(self) -> bool | None:
        """Return whether the provider has marked the response as finished; `None` where a format has no mark."""
        ...


class StreamAccumulator(ResponseAccumulator, Protocol):
    """Assembler of a streamed response."""

    @property
    def counted(self) -> bool:
        """Return whether the usage received so far counts everything that was generated."""
        ...


class Finished(NamedTuple):
    """State of an ended job in an answer.

    Args:
        job: Its id.
        error: Why it failed.
        cancelled: Whether it was cancelled.
        result: What it resulted in, where that is not the answer itself.
    """

    job: str
    error: str | None = None
    cancelled: bool = False
    result: Any = None


class Operation(NamedTuple):
    """One kind of call of a client library.

    Args:
        name: The operation (`gen_ai.operation.name`), which begins the span's name.
        api: The endpoint's name, as `genledger.pricing.cost_of_response` knows it.
        fields: For each field of the request that becomes an attribute: the attribute and its converter.
        nested: As `fields`, for fields inside of others, by path.
        request: Reads what the tables cannot describe into the span's attributes.
        response: Reads a response (a typed object or a mapping) into the span's attributes.
        headers: For each header of a response that becomes an attribute: the attribute.
        accumulate: Creates the accumulator of one stream, from the request and whether its content is captured; `None`
            when the operation does not stream.
        input: Reads the content of a request; called only when capture is on.
        output: Reads the content of a response; called only when capture is on.
        constant: Attributes that every such call has.
        priced: Whether the call is billed. One that is not has neither cost nor usage.
        family: Which of the conventions' metrics it counts in: those of inference, of other client operations,
            of databases, or, for a search in a database, of both.
        target: Returns the part after the operation in the span's name (default: the request's model).
        limit: The fields of the request that limit the tokens generated, by path; a budget's limit is written to
            the one that is set, else to the first.
        choices: The fields of the request that say how many answers are generated, by path: a number of answers, or
            a list of prompts, each of which is answered.
        tools: Returns the units that the server's tools in a request are billed by, at most.
        fixed_model: Whether a request cannot name another model, because its session has one.
        hidden_prompt: Whether the provider adds to the prompt what is not in the request, as an agent does: what a
            stream consumed that does not say it cannot be estimated.
        largest: Makes the largest answer that a request can have, for what is billed by something other than
            generated tokens: the format's own reader counts it, and budgets reserve it. Where a model may be billed
            by one thing or another, it makes an answer for each, in a tuple: what the model has no rate for is free.
        batch: Description of the batch endpoint, if it is one.
        unfinished: Names the job that an answer leaves unfinished, given the request as well: the usage of the call
            comes with a later answer.
        finishes: Names the job whose usage an answer carries, given the request as well; the creating call is charged.
            With `unfinished`, it is that of a job that has ended when it is created.
        within: The field of the body that has the request, where it is not the body itself.
    """

    name: str
    api: str
    fields: Mapping[str, tuple[str, Converter]] = MappingProxyType({})
    nested: Mapping[str, tuple[str, Converter]] = MappingProxyType({})
    request: Callable[[Body, Attributes], None] | None = None
    response: Callable[[Any, Attributes], None] | None = None
    headers: Mapping[str, str] = MappingProxyType({})
    accumulate: Callable[[Body, bool], StreamAccumulator] | None = None
    input: Callable[[Body], Content] | None = None
    output: Callable[[Any], Content] | None = None
    constant: Mapping[str, AttributeValue] = MappingProxyType({})
    priced: bool = True
    family: Family = "operation"
    kind: SpanKind = SpanKind.CLIENT
    target: Callable[[Attributes], str | None] | None = None
    limit: tuple[str, ...] = ()
    choices: tuple[str, ...] = ()
    tools: Callable[[Body], Mapping[str, float]] | None = None
    fixed_model: bool = False
    hidden_prompt: bool = False
    largest: Callable[[Body], Mapping[str, Any] | tuple[Mapping[str, Any], ...]] | None = None
    batch: Batch | None = None
    unfinished: Callable[[Body, Any], str | None] | None = None
    finishes: Callable[[Body, Any], Finished | None] | None = None
    within: str | None = None

    @property
    def inference(self) -> bool:
        """Return whether the call generates output: its usage has output tokens."""
        return self.family == "inference"


def read_request(operation: Operation, body: Body, attributes: Attributes) -> None:
    """Write what a request says into the attributes of its span."""
    if operation.constant:
        attributes.update(operation.constant)
    fields = operation.fields
    for name, value in body.items():
        field = fields.get(name)
        if field is not None and value is not None:
            converted = field[1](value)
            if converted is not None:
                attributes[field[0]] = converted
    for name, (attribute, convert) in operation.nested.items():
        converted = convert(at_path(body, name))
        if converted is not None:
            attributes[attribute] = converted
    if operation.request is not None:
        operation.request(body, attributes)


class Endpoint(NamedTuple):
    """Server and provider a client is connected to.

    `api_key` is a digest that budgets can name; the key itself is never stored.
    """

    provider: str
    host: str | None = None
    port: int | None = None
    base_url: str | None = None
    api_key: str | None = None

    @classmethod
    def at(cls, provider: str, url: str) -> Endpoint:
        """Return the endpoint at a URL: at the port of its scheme, where it names none."""
        parts = urlsplit(url)
        port = parts.port or (443 if parts.scheme in ("https", "wss") else 80)
        return cls(provider, parts.hostname, port, url)
