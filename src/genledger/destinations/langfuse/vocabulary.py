"""A span in Langfuse's words: a copy with explicit observation type, usage, cost, model, prompt and trace fields.

Every field is written out, so that what Langfuse shows depends neither on the server's version nor on what
it makes of attribute names: its generic rule turns any `gen_ai.usage.*` key into a usage bucket and adds it
to the total. Sources: Langfuse's OTLP mapping (`OtelIngestionProcessor`) and its SDK's attribute constants.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any, Literal

from opentelemetry.sdk.trace import ReadableSpan
from opentelemetry.trace import StatusCode

from genledger.context.attribution import Attribution
from genledger.destinations.langfuse.chat_messages import chat_messages
from genledger.destinations.langfuse.json_text import as_json, from_json, to_json
from genledger.destinations.langfuse.langfuse_usage import cost_details, is_usage_key, usage_details
from genledger.destinations.selection.span_processor import FinishedSpan
from genledger_semconv import attributes as A

OBSERVATION = "langfuse.observation"
SDK_SCOPE = "langfuse-sdk"
"""The scope of the spans that Langfuse's own SDK makes."""

IS_APP_ROOT = "langfuse.internal.is_app_root"
"""Marks the topmost span that Langfuse gets of a trace, though it has a parent."""

UNPRICED = "unpriced"
"""The tag of a call whose cost is not known."""

_METADATA = f"{OBSERVATION}.metadata"
_TRACE_METADATA = "langfuse.trace.metadata."
_TRACE_TAGS = "langfuse.trace.tags"
_COST = f"{OBSERVATION}.cost_details"

_TYPES = {
    "chat": "generation",
    "completion": "generation",
    "text_completion": "generation",
    "generate_content": "generation",
    "image_generation": "generation",
    "speech": "generation",
    "transcription": "generation",
    "translation": "generation",
    "realtime": "generation",
    "embeddings": "embedding",
    "retrieval": "retriever",
    "rerank": "retriever",
    "search_memory": "retriever",
    "invoke_agent": "agent",
    "create_agent": "agent",
    "execute_tool": "tool",
    "invoke_workflow": "chain",
    "plan": "chain",
    "evaluation": "evaluator",
    "guardrail": "guardrail",
    "moderation": "guardrail",
}
_OPENINFERENCE_TYPES = {
    "LLM": "generation",
    "CHAIN": "chain",
    "RETRIEVER": "retriever",
    "RERANKER": "retriever",
    "EMBEDDING": "embedding",
    "AGENT": "agent",
    "TOOL": "tool",
    "GUARDRAIL": "guardrail",
    "EVALUATOR": "evaluator",
}
_TRACELOOP_TYPES = {"workflow": "chain", "task": "chain", "agent": "agent", "tool": "tool"}
_VECTOR_QUERIES = frozenset({"query", "search", "get", "peek"})

_LEVELS = {
    "error": "ERROR",
    "timeout": "ERROR",
    "rate_limited": "ERROR",
    "blocked": "WARNING",
    "cancelled": "WARNING",
}
_FAILED = frozenset({"error", "timeout", "rate_limited", "blocked"})

_MODELS = (A.GEN_AI_RESPONSE_MODEL, A.GEN_AI_REQUEST_MODEL, "llm.response.model", "llm.model_name")

_PARAMETERS = {
    "temperature": (A.GEN_AI_REQUEST_TEMPERATURE,),
    "top_p": (A.GEN_AI_REQUEST_TOP_P,),
    "top_k": (A.GEN_AI_REQUEST_TOP_K,),
    "max_tokens": (A.GEN_AI_REQUEST_MAX_TOKENS,),
    "n": (A.GEN_AI_REQUEST_CHOICE_COUNT,),
    "stop": (A.GEN_AI_REQUEST_STOP_SEQUENCES,),
    "frequency_penalty": (A.GEN_AI_REQUEST_FREQUENCY_PENALTY,),
    "presence_penalty": (A.GEN_AI_REQUEST_PRESENCE_PENALTY,),
    "seed": (A.GEN_AI_REQUEST_SEED,),
    "stream": (A.GEN_AI_REQUEST_STREAM,),
    "reasoning_effort": (A.GEN_AI_REQUEST_REASONING_LEVEL,),
    "encoding_formats": (A.GEN_AI_REQUEST_ENCODING_FORMATS,),
    "dimensions": ("gen_ai.embeddings.dimension.count",),
    # Langfuse shows and prices the tier that is here: the one that served the call.
    "service_tier": (A.OPENAI_RESPONSE_SERVICE_TIER, A.OPENAI_REQUEST_SERVICE_TIER),
}
"""Langfuse's model parameters, and the attributes that they come from: the first that is there."""

_CONTENT = (
    (A.GEN_AI_INPUT_MESSAGES, A.GEN_AI_OUTPUT_MESSAGES),
    (A.GEN_AI_TOOL_CALL_ARGUMENTS, A.GEN_AI_TOOL_CALL_RESULT),
    (A.GEN_AI_RETRIEVAL_QUERY_TEXT, A.GEN_AI_RETRIEVAL_DOCUMENTS),
    (A.GENLEDGER_TASK_ARGUMENTS, A.GENLEDGER_TASK_RESULT),
)
_VERSION = re.compile(r"v?(\d{1,9})", re.ASCII | re.IGNORECASE)
_NOT_IN_ENVIRONMENT = re.compile(r"[^a-z0-9\-_]")


@dataclass(slots=True, frozen=True)
class Project:
    """Values shared by every span of a process.

    `environment` must match `[a-z0-9-_]{1,40}` and not begin with `langfuse`; `environment_name` makes it so.
    `tags` says whether `feature:<name>`, `tenant:<id>` and `unpriced` are among the tags. `trace_name` says what
    traces are called: by their topmost `span`, or by the `feature` of each observation that has one.
    """

    environment: str | None = None
    release: str | None = None
    version: str | None = None
    tags: bool = True
    trace_name: Literal["span", "feature"] = "span"


def environment_name(value: str) -> str:
    """`value` as Langfuse takes it for the name of an environment."""
    lowered = re.sub(r"^langfuse[-_]?", "", value.strip().lower())
    return _NOT_IN_ENVIRONMENT.sub("-", lowered)[:40]


def translate(item: FinishedSpan, project: Project) -> ReadableSpan:
    """Return a copy of an ended span in Langfuse's vocabulary. The span itself is not touched."""
    span = item.span
    # A plain copy: the SDK's own mapping takes a lock for every look.
    given = dict(span.attributes or {})
    attributes = _Writer(given)
    ours = span.instrumentation_scope is None or span.instrumentation_scope.name != SDK_SCOPE
    if ours:
        attributes.observation(span)
    attributes.trace(item, project, decode=ours)
    return ReadableSpan(
        name=span.name,
        context=span.context,
        parent=item.parent,
        resource=span.resource,
        attributes=attributes.result(),
        events=span.events,
        links=span.links,
        kind=span.kind,
        instrumentation_scope=span.instrumentation_scope,
        status=span.status,
        start_time=span.start_time,
        end_time=span.end_time,
    )


class _Writer:
    """Collects the attributes of the copy: `new` ones, and the given ones that were not `used` for them."""

    def __init__(self, given: Mapping[str, Any]) -> None:
        self.given = given
        self.new: dict[str, Any] = {}
        self.used: set[str] = set()

    def result(self) -> dict[str, Any]:
        """Return new attributes, and the given ones that remain. What the application has set itself wins."""
        kept = {
            key: value
            for key, value in self.given.items()
            if key not in self.used and not is_usage_key(key) and not key.startswith("genledger.")
        }
        return {**self.new, **kept}

    def put(self, key: str, value: Any) -> None:
        if value is not None and value != "" and value != ():
            self.new[key] = value

    def take(self, *keys: str) -> Any:
        """Return the first of several attributes that is there; all of them count as used."""
        self.used.update(keys)
        for key in keys:
            value = self.given.get(key)
            if value is not None:
                return value
        return None

    # Fields of the trace, which Langfuse keeps on every observation

    def trace(self, item: FinishedSpan, project: Project, *, decode: bool) -> None:
        """Write who the span is for.

        Args:
            item: The span.
            project: What all spans share.
            decode: Whether metadata that Langfuse's SDK has propagated is decoded: it is JSON, and Langfuse decodes it
                only on the SDK's own spans.
        """
        who = item.attribution
        given = self.given
        resource = item.span.resource.attributes
        tenant = given.get(A.GENLEDGER_TENANT_ID) or who.tenant
        feature = given.get(A.GENLEDGER_FEATURE) or who.feature
        self.put("user.id", given.get(A.USER_ID) or who.user)
        self.put("session.id", given.get(A.SESSION_ID) or who.session)
        named = feature if project.trace_name == "feature" else None
        self.put("langfuse.trace.name", named or item.trace_name)
        self.put("langfuse.environment", project.environment or resource_environment(resource))
        self.put("langfuse.release", project.release)
        self.put("langfuse.version", project.version or resource.get("service.version"))
        self.used.add(IS_APP_ROOT)  # Langfuse's SDK sets it at the start, by what it sends itself
        if item.is_app_root:
            self.put(IS_APP_ROOT, True)
        tags = [*(given.get(A.GENLEDGER_TAGS) or who.tags)]
        if project.tags:
            tags += [feature and f"feature:{feature}", tenant and f"tenant:{tenant}"]
            tags += [self._is_unpriced() and UNPRICED]
        self._tags(tags)
        ours = {
            "tenantId": tenant,
            "tenant": tenant,
            "feature": feature,
            "promptName": given.get(A.GEN_AI_PROMPT_NAME) or who.prompt_name,
            "promptVersion": given.get(A.GEN_AI_PROMPT_VERSION) or who.prompt_version,
        }
        self._metadata({key: value for key, value in ours.items() if value is not None}, who, decode)

    def _is_unpriced(self) -> bool:
        return A.GENLEDGER_COST_UNPRICED in self.given and _COST not in self.new

    def _tags(self, tags: list[Any]) -> None:
        named = self.given.get(_TRACE_TAGS, ())
        if not isinstance(named, str):  # else the application's own list, in a form that is Langfuse's to read
            self.used.add(_TRACE_TAGS)
            self.put(_TRACE_TAGS, tuple(dict.fromkeys(tag for tag in (*named, *tags) if tag)))

    def _metadata(self, ours: Mapping[str, Any], who: Attribution, decode: bool) -> None:
        """Write the trace's metadata. An application's key that is one of ours is sent as `metadata_<key>`."""
        prefix = f"{A.GENLEDGER_METADATA}."
        theirs: dict[str, Any] = dict(who.metadata)
        for key, value in self.given.items():
            if key.startswith(prefix):
                theirs[key.removeprefix(prefix)] = value
            elif key.startswith(_TRACE_METADATA):
                self.used.add(key)
                theirs[key.removeprefix(_TRACE_METADATA)] = _decoded(value) if decode else value
        for key, value in theirs.items():
            taken = key in ours or key in _RESERVED or key.startswith("usage_")
            self.put(f"{_TRACE_METADATA}{'metadata_' if taken else ''}{key}", value)
        for key, value in ours.items():
            self.put(f"{_TRACE_METADATA}{key}", value)

    # Fields of the observation

    def observation(self, span: ReadableSpan) -> None:
        given = self.given
        kind = given.get(f"{OBSERVATION}.type") or observation_type(given)
        outcome = given.get(A.GENLEDGER_OUTCOME)
        failed = span.status.status_code is StatusCode.ERROR or outcome in _FAILED
        self.put(f"{OBSERVATION}.type", kind)
        self.put(f"{OBSERVATION}.level", "ERROR" if failed and outcome != "blocked" else _LEVELS.get(outcome or ""))
        self.put(f"{OBSERVATION}.status_message", _status_message(span, given) if failed else None)
        if kind in ("generation", "embedding") or self._is_priced():
            self._model()
            self._usage_and_cost(failed)
        self._prompt(kind)
        self._content()
        self._first_chunk(span)
        self._details()

    def _is_priced(self) -> bool:
        return A.GENLEDGER_COST_AMOUNT in self.given or A.GENLEDGER_COST_UNPRICED in self.given

    def _model(self) -> None:
        self.put(f"{OBSERVATION}.model.name", self.take(*_MODELS))
        parameters = {}
        for name, keys in _PARAMETERS.items():
            value = self.take(*keys)
            if value is not None:
                parameters[name] = list(value) if isinstance(value, tuple) else value
        if parameters:
            self.put(f"{OBSERVATION}.model.parameters", to_json(parameters))

    def _usage_and_cost(self, failed: bool) -> None:
        usage = usage_details(self.given)
        cost = cost_details(self.given)
        if usage is not None:
            self.put(f"{OBSERVATION}.usage_details", to_json(usage))
        elif cost is None and (failed or A.GENLEDGER_CACHE_NAME in self.given):
            # Otherwise Langfuse counts the tokens of the text and bills a call that failed or was not made.
            cost = {"total": 0}
        if cost is not None:
            self.put(_COST, to_json(cost))
        if self._is_priced() and self.given.get(A.GEN_AI_OPERATION_NAME) in ("invoke_agent", "agent_step"):
            # Langfuse throws away model, usage and cost of a span with this operation name.
            self.put(f"{_METADATA}.operation", self.take(A.GEN_AI_OPERATION_NAME))

    def _prompt(self, kind: str) -> None:
        name, version = self.take(A.GEN_AI_PROMPT_NAME), self.take(A.GEN_AI_PROMPT_VERSION)
        if name is None:
            return
        number = _VERSION.fullmatch(str(version)) if version is not None else None
        if kind == "generation":
            self.put(f"{OBSERVATION}.prompt.name", name)
            self.put(f"{OBSERVATION}.prompt.version", int(number[1]) if number else None)
        self.put(f"{_METADATA}.prompt_name", name)
        self.put(f"{_METADATA}.prompt_version", version)

    def _content(self) -> None:
        if f"{OBSERVATION}.input" in self.given or f"{OBSERVATION}.output" in self.given:
            return
        for input_key, output_key in _CONTENT:
            if input_key in self.given or output_key in self.given:
                put_in, put_out = self.take(input_key), self.take(output_key)
                if input_key == A.GEN_AI_INPUT_MESSAGES:
                    instructions = from_json(self.take(A.GEN_AI_SYSTEM_INSTRUCTIONS))
                    put_in, put_out = _input(put_in, instructions), _output(put_out)
                for name, value in (("input", put_in), ("output", put_out)):
                    if value is not None:
                        self.put(f"{OBSERVATION}.{name}", as_json(value))
                return

    def _first_chunk(self, span: ReadableSpan) -> None:
        seconds = self.take(A.GEN_AI_RESPONSE_TIME_TO_FIRST_CHUNK)
        if isinstance(seconds, (int, float)) and span.start_time is not None:
            at_us = span.start_time // 1000 + round(seconds * 1e6)
            at = datetime(1970, 1, 1, tzinfo=UTC) + timedelta(microseconds=at_us)
            self.put(
                f"{OBSERVATION}.completion_start_time",
                at.isoformat(timespec="microseconds").replace("+00:00", "Z"),
            )

    def _details(self) -> None:
        """Write Genledger's other attributes as metadata of the observation."""
        for key, value in self.given.items():
            if key.startswith("genledger.") and not key.startswith(f"{A.GENLEDGER_METADATA}."):
                if key in _NO_DETAILS or (key.startswith("genledger.cost.") and isinstance(value, float)):
                    continue
                name = _metadata_name(key)
                self.put(f"{_METADATA}.{name}", to_json(value) if isinstance(value, tuple) else value)


def _metadata_name(key: str) -> str:
    """Return the name that one of Genledger's attributes has in Langfuse's metadata."""
    return key.removeprefix("genledger.").replace(".", "_")


_NO_DETAILS = frozenset(
    {
        *(A.GENLEDGER_TENANT_ID, A.GENLEDGER_FEATURE, A.GENLEDGER_TAGS),
        *(A.GENLEDGER_TASK_ARGUMENTS, A.GENLEDGER_TASK_RESULT),
    }
)
"""Attributes that have another place in Langfuse than the metadata of an observation."""
_RESERVED = frozenset(
    {
        *(
            _metadata_name(key)
            for key in vars(A).values()
            if isinstance(key, str) and key.startswith("genledger.") and key not in _NO_DETAILS
        ),
        *("prompt_name", "prompt_version", "operation"),
        # Langfuse's own, beside which it puts what it gets.
        *("attributes", "resourceAttributes", "scope"),
    }
)
"""Keys of the metadata that an application cannot use: Langfuse puts the trace's over the observation's."""


def observation_type(given: Mapping[str, Any]) -> str:
    """Langfuse's type for a span with such attributes.

    Returns:
        `generation`, `embedding`, `retriever`, `agent`, `tool`, `chain`, `evaluator`, `guardrail` or `span`.
    """
    operation = given.get(A.GEN_AI_OPERATION_NAME)
    if operation in _TYPES:
        return _TYPES[str(operation)]
    if operation is None:
        for key, types in (
            ("openinference.span.kind", _OPENINFERENCE_TYPES),
            ("traceloop.span.kind", _TRACELOOP_TYPES),
        ):
            named = types.get(str(given.get(key)))
            if named is not None:
                return named
        if given.get(A.GENLEDGER_OPERATION_KIND) == "task":
            return "span"
        if A.GEN_AI_TOOL_NAME in given:
            return "tool"
        if given.get("db.operation.name") in _VECTOR_QUERIES:
            return "retriever"
        if "llm.request.type" in given or any(key in given for key in _MODELS):
            return "embedding" if given.get("llm.request.type") == "embedding" else "generation"
    return "span"


def _status_message(span: ReadableSpan, given: Mapping[str, Any]) -> str | None:
    if span.status.description:
        return span.status.description
    for event in span.events:
        if event.name == "exception" and event.attributes:
            said = event.attributes.get("exception.message")
            kind = event.attributes.get("exception.type")
            return ": ".join(str(part) for part in (kind, said) if part)
    return given.get(A.ERROR_TYPE) or given.get(A.GENLEDGER_OUTCOME)


def resource_environment(resource: Mapping[str, Any]) -> str | None:
    """Return the environment that a resource names, as Langfuse takes it."""
    value = resource.get("deployment.environment.name") or resource.get("deployment.environment")
    return environment_name(str(value)) if value else None


def _decoded(value: Any) -> Any:
    """Return the text that a JSON string describes; anything else as it is."""
    text = from_json(value) if isinstance(value, str) and value.startswith('"') else None
    return text if isinstance(text, str) else value


def _input(messages: Any, instructions: Any) -> Any:
    listed = from_json(messages)
    if listed is None and instructions is not None:
        listed = [] if messages is None else [{"role": "user", "content": messages}]
    return messages if listed is None else chat_messages(listed, instructions)


def _output(messages: Any) -> Any:
    """Return the messages that were generated: usually one, which stands alone."""
    chat = chat_messages(from_json(messages))
    if isinstance(chat, list) and len(chat) == 1:
        return chat[0]
    return messages if chat is None else chat
