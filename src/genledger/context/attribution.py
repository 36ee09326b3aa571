"""Attribution of calls: tenant, feature, user, session, prompt, tags and metadata.

The attribution lives in the OpenTelemetry context, so it goes wherever the context goes: into tasks,
`asyncio.to_thread`, executors (with the threading instrumentation that `instrument()` turns on) and, for
the keys allowed to travel, into the next service as W3C baggage.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field, replace
from functools import partial
from types import MappingProxyType, TracebackType
from typing import Any, Self, cast

from opentelemetry import baggage
from opentelemetry.context import Context, create_key, get_current, set_value
from opentelemetry.trace import SpanContext, format_trace_id, get_current_span
from opentelemetry.util.types import AttributeValue

from genledger.context.scoped_context import Begun, F, ScopedBlock, enter, in_block, leave
from genledger.context.totals import SPENDS, RunningTotal
from genledger.shared import internal_errors
from genledger_semconv import attributes as A

MetadataValue = str | int | float | bool

MAX_VALUE_LENGTH = 256
"""Characters that one attribution value may have."""

MAX_BAGGAGE_LENGTH = 8192
"""Characters that the baggage of a request may have (https://www.w3.org/TR/baggage/#limits)."""

MAX_TAGS = 32
"""Tags that one attribution may have."""

MAX_METADATA = 32
"""Metadata keys that one attribution may have."""

BAGGAGE_KEYS: Mapping[str, str] = MappingProxyType(
    {
        "tenant": A.GENLEDGER_TENANT_ID,
        "feature": A.GENLEDGER_FEATURE,
        "user": A.USER_ID,
        "session": A.SESSION_ID,
        "prompt_name": A.GEN_AI_PROMPT_NAME,
        "prompt_version": A.GEN_AI_PROMPT_VERSION,
    }
)
"""The baggage key, and span attribute, of each field that can travel to the next service."""

_NO_METADATA: Mapping[str, MetadataValue] = MappingProxyType({})

ATTRIBUTION_KEY = create_key("genledger-attribution")
SPEND_KEY = create_key("genledger-spend")


@dataclass(slots=True, frozen=True)
class Attribution:
    """Attribution of a call. Immutable; every field is optional."""

    tenant: str | None = None
    feature: str | None = None
    user: str | None = None
    session: str | None = None
    prompt_name: str | None = None
    prompt_version: str | None = None
    tags: tuple[str, ...] = ()
    metadata: Mapping[str, MetadataValue] = field(default_factory=lambda: _NO_METADATA)
    _attributes: Mapping[str, AttributeValue] | None = field(default=None, init=False, repr=False, compare=False)

    @property
    def attributes(self) -> Mapping[str, AttributeValue]:
        """This attribution as span attributes; made once, then kept."""
        if self._attributes is not None:
            return self._attributes
        attributes: dict[str, AttributeValue] = {}
        for name, key in BAGGAGE_KEYS.items():
            value = getattr(self, name)
            if value is not None:
                attributes[key] = value
        if self.tags:
            attributes[A.GENLEDGER_TAGS] = self.tags
        for key, metadata in self.metadata.items():
            attributes[f"{A.GENLEDGER_METADATA}.{key}"] = metadata
        object.__setattr__(self, "_attributes", attributes)
        return attributes


NOBODY = Attribution()
"""The attribution of a call made outside of any block."""


class BaggagePolicy:
    """Attribution fields that travel to other services, and whether to accept theirs.

    `fields` names fields of `Attribution`. Users and sessions identify people, so they are not sent by default.
    `trust_inbound` accepts the same fields, and no others, from the baggage of an incoming request.
    `trace_claim` names the entry by which a destination tells the next service that it shows the trace already.
    """

    fields: frozenset[str] = frozenset({"tenant", "feature"})
    trust_inbound: bool = False
    trace_claim: str | None = None


baggage_policy = BaggagePolicy()
"""The policy in force; set by `genledger.instrument()` from the settings."""


def current(context: Context | None = None) -> Attribution:
    """Return the attribution of `context`, or of the current context."""
    context = get_current() if context is None else context
    own = context.get(ATTRIBUTION_KEY)
    if own is not None:
        return cast(Attribution, own)
    if baggage_policy.trust_inbound:
        return _from_baggage(context)
    return NOBODY


def completed(attribution: Attribution, *, user: object = None, session: object = None) -> Attribution:
    """Return an attribution with the user and the session that a framework knows, where the application gave none.

    An id that is no valid value of an attribution is left out.
    """
    found: dict[str, Any] = {
        name: text
        for name, value in (("user", user), ("session", session))
        if value and getattr(attribution, name) is None and _problem(text := str(value)) is None
    }
    return replace(attribution, **found) if found else attribution


def with_session(session: object, context: Context) -> Context:
    """Return `context` with a framework's conversation as the session, unless it has one or this cannot be one."""
    attribution = current(context)
    found = completed(attribution, session=session)
    return context if found is attribution else set_value(ATTRIBUTION_KEY, found, context)


def current_spend(context: Context | None = None) -> RunningTotal | None:
    """Return the innermost running total of `context`, or of the current context: a block's, or its span's."""
    if context is None:
        context = get_current()
    spend = cast("RunningTotal | None", context.get(SPEND_KEY))
    if not SPENDS:
        return spend
    own = SPENDS.get(get_current_span(context).get_span_context().span_id)
    return own if own is not None and (spend is None or own.is_in(spend)) else spend


def claim_trace(span: SpanContext, context: Context) -> Context:
    """Return `context` with the trace of a span claimed in the baggage, if a destination asks for it.

    Nothing is sent where no field may travel.
    """
    key = baggage_policy.trace_claim
    if key is None or not baggage_policy.fields or not span.trace_flags.sampled:
        return context
    trace_id = format_trace_id(span.trace_id)
    return context if baggage.get_baggage(key, context) == trace_id else baggage.set_baggage(key, trace_id, context)


def _from_baggage(context: Context) -> Attribution:
    entries = baggage.get_all(context)
    found: dict[str, Any] = {}
    for name in baggage_policy.fields:
        value = entries.get(BAGGAGE_KEYS[name])
        if isinstance(value, str) and _problem(value) is None:
            found[name] = value
    return replace(NOBODY, **found) if found else NOBODY


def _travelling(value_of: Callable[[str], str | None], context: Context) -> Context:
    """Return `context` with the fields that travel to the next service in its baggage."""
    for name in baggage_policy.fields:
        value = value_of(name)
        if value is not None:
            context = baggage.set_baggage(BAGGAGE_KEYS[name], value, context)
    return context


def _problem(value: str) -> str | None:
    if not value or value.isspace():
        return "must not be empty"
    if len(value) > MAX_VALUE_LENGTH:
        return f"has {len(value)} characters, more than the {MAX_VALUE_LENGTH} allowed"
    if not value.isprintable():
        return "contains control characters"
    return None


def _check(argument: str, value: object) -> str:
    if not isinstance(value, str):
        raise TypeError(f"attribution({argument}=…) must be a string, not {type(value).__name__}: {value!r:.60}")
    problem = _problem(value)
    if problem is not None:
        raise ValueError(f"attribution({argument}=…) {problem}: {value!r:.60}")
    return value


def _check_tags(tags: Iterable[str]) -> tuple[str, ...]:
    if isinstance(tags, str) or not isinstance(tags, Iterable):
        raise TypeError(f"attribution(tags=…) must be a list of strings, not {type(tags).__name__}: {tags!r:.60}")
    checked = tuple(_check(f"tags[{index}]", tag) for index, tag in enumerate(tags))
    if len(checked) > MAX_TAGS:
        raise ValueError(f"attribution(tags=…) has {len(checked)} tags, more than the {MAX_TAGS} allowed")
    return checked


def _check_metadata(metadata: Mapping[str, MetadataValue]) -> Mapping[str, MetadataValue]:
    if not isinstance(metadata, Mapping):
        raise TypeError(f"attribution(metadata=…) must be a mapping, not {type(metadata).__name__}")
    if len(metadata) > MAX_METADATA:
        raise ValueError(f"attribution(metadata=…) has {len(metadata)} keys, more than the {MAX_METADATA} allowed")
    checked: dict[str, MetadataValue] = {}
    for key, value in metadata.items():
        _check("metadata key", key)
        if isinstance(value, str):
            _check(f"metadata[{key!r}]", value)
        elif not isinstance(value, (bool, int, float)):
            raise TypeError(
                f"attribution(metadata[{key!r}]) must be a string, number or boolean, not {type(value).__name__}"
            )
        elif type(value) is int and not -(2**63) <= value < 2**63:
            raise ValueError(f"attribution(metadata[{key!r}]) must fit in 64 bits")
        checked[key] = value
    return MappingProxyType(checked)


class _Arrived(ScopedBlock[None]):
    """A block in the attribution that came with a request."""

    __slots__ = ("_carrier",)

    def __init__(self, carrier: object) -> None:
        self._carrier = carrier

    def __enter__(self) -> None:
        if not baggage_policy.trust_inbound or not isinstance(self._carrier, Mapping):
            return
        try:
            from opentelemetry import propagate  # on first use: nothing else asks for it at start

            carried = {
                name: value
                for name, value in self._carrier.items()
                if isinstance(value, str) and len(value) <= MAX_BAGGAGE_LENGTH
            }
            found = _from_baggage(propagate.extract(carried, Context()))
            if found is not NOBODY:
                outer = get_current()
                enter(self, outer, _travelling(partial(getattr, found), set_value(ATTRIBUTION_KEY, found, outer)))
        except Exception as error:
            internal_errors.report("reading the attribution of a request", error)

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        leave(self)


def arrived(carrier: object) -> ScopedBlock[None]:
    """Return a block in the attribution that came with a request: where it is trusted, and only the accepted fields.

    For protocols whose libraries take a request's context for nothing but the parent of a span.

    Args:
        carrier: What has W3C baggage, as sent by anybody: values that are no text, or too long, are left out.
    """
    return _Arrived(carrier)


class AttributionBlock(ScopedBlock["AttributionBlock"]):
    """One `with attribution(...)` block; also a decorator. Re-entrant, and usable by many tasks and threads at once."""

    __slots__ = ("_changes",)

    def __init__(self, changes: dict[str, Any]) -> None:
        self._changes = changes

    def inside(self, outer: Context) -> Context:
        """Return the context for the block's code."""
        try:
            before = current(outer)
            changes = self._changes
            if before is not NOBODY:
                if before.tags and changes.get("tags"):
                    changes = {**changes, "tags": tuple(dict.fromkeys((*before.tags, *changes["tags"])))}
                if before.metadata and changes.get("metadata"):
                    metadata = MappingProxyType({**before.metadata, **changes["metadata"]})
                    changes = {**changes, "metadata": metadata}
            inside = set_value(ATTRIBUTION_KEY, replace(before, **changes), outer)
            inside = set_value(SPEND_KEY, RunningTotal(current_spend(outer)), inside)
            return _travelling(changes.get, inside)
        except Exception as error:
            internal_errors.report("attributing a block", error)
            return outer

    def __enter__(self) -> Self:
        outer = get_current()
        enter(self, outer, self.inside(outer))
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        leave(self)

    def __call__(self, function: F) -> F:
        def block(args: tuple[Any, ...], kwargs: dict[str, Any]) -> AttributionBlock:
            return AttributionBlock(self._changes)

        def begin(args: tuple[Any, ...], kwargs: dict[str, Any]) -> Begun:
            return Begun(self.inside(get_current()), lambda error: None)

        return in_block(function, block, begin)


def attribution(
    *,
    tenant: str | None = None,
    feature: str | None = None,
    user: str | None = None,
    session: str | None = None,
    prompt_name: str | None = None,
    prompt_version: str | None = None,
    tags: Iterable[str] | None = None,
    metadata: Mapping[str, MetadataValue] | None = None,
) -> AttributionBlock:
    """Attribute the calls inside: a context manager, and a decorator (sync, async, generators).

    Blocks nest. An inner value replaces the outer one; tags are added; metadata merges by key. An omitted
    argument keeps the outer value.

    Args:
        tenant: Customer that the calls belong to.
        feature: Part of the product that makes them.
        user: Person they are made for.
        session: Conversation or visit they belong to (the conventions' `session.id`).
        prompt_name: Managed prompt in use (`gen_ai.prompt.name`).
        prompt_version: Its version (`gen_ai.prompt.version`).
        tags: Free labels, at most 32.
        metadata: Free keys with string, number or boolean values, at most 32.

    Raises:
        TypeError: A value has the wrong type; the message names the argument.
        ValueError: A value is empty, longer than 256 characters, or contains control characters.
    """
    changes: dict[str, Any] = {}
    for name, value in (
        ("tenant", tenant),
        ("feature", feature),
        ("user", user),
        ("session", session),
        ("prompt_name", prompt_name),
        ("prompt_version", prompt_version),
    ):
        if value is not None:
            changes[name] = _check(name, value)
    if tags is not None and (checked_tags := _check_tags(tags)):
        changes["tags"] = checked_tags
    if metadata is not None and (checked_metadata := _check_metadata(metadata)):
        changes["metadata"] = checked_metadata
    return AttributionBlock(changes)
