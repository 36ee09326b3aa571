"""The span processor of a destination: picks the spans that go there, and their parents among those."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache

from opentelemetry.context import Context
from opentelemetry.sdk.trace import ReadableSpan, SpanProcessor
from opentelemetry.trace import SpanContext, SpanKind

from genledger.context.attribution import NOBODY, Attribution
from genledger.destinations.selection.open_spans import OpenSpans, SpanNode
from genledger.shared.loggers import logger_of
from genledger_semconv import attributes as A

log = logger_of("genledger")

_GENAI_PREFIXES = (
    A.GENLEDGER_OPERATION_KIND,
    "gen_ai.",
    "langfuse.",
    "openinference.",
    "llm.",
    "traceloop.",
    "mcp.",
)

_ATTRIBUTION_ONLY = frozenset(
    {A.GEN_AI_PROMPT_NAME, A.GEN_AI_PROMPT_VERSION, A.GEN_AI_CONVERSATION_ID, A.USER_ID, A.SESSION_ID}
)
"""Attributes that say who a span is for, not that it is a GenAI span: any span inside may carry them."""

_GENAI_SCOPES = (
    "genledger",
    "genledger_instrumentors",
    "opentelemetry.instrumentation.genai",
    # Frameworks and instrumentors whose structural spans need not carry a GenAI attribute. The scopes that
    # Langfuse's own SDK lets through (`langfuse.span_filter`, 5.0), and the vector stores' instrumentors.
    "agent_framework",
    "ai",
    "autogen-core",
    "haystack",
    "langfuse-sdk",
    "langsmith",
    "litellm",
    "openinference",
    "pydantic-ai",
    "strands-agents",
    "vllm",
    *(
        f"opentelemetry.instrumentation.{name}"
        for name in (
            "agno", "alephalpha", "anthropic", "bedrock", "chromadb", "cohere", "crewai", "google_generativeai",
            "groq", "haystack", "lancedb", "langchain", "llamaindex", "marqo", "milvus", "mistralai", "ollama",
            "openai", "openai_agents", "openai_v2", "pinecone", "qdrant", "replicate", "sagemaker", "together",
            "transformers", "vertexai", "voyageai", "watsonx", "weaviate", "writer",
        )
    ),
)  # fmt: skip

_INFRASTRUCTURE_PREFIXES = ("http.", "url.", "db.", "rpc.", "messaging.", "faas.", "asgi.", "graphql.")
_INFRASTRUCTURE_KINDS = (SpanKind.SERVER, SpanKind.CLIENT, SpanKind.PRODUCER, SpanKind.CONSUMER)


@dataclass(slots=True)
class FinishedSpan:
    """An ended span on its way to one destination.

    `parent` is its parent among the spans that go there; `is_app_root` says that there is none in this
    process though the trace has one elsewhere or above. `attribution` is what it was started for.
    `trace_name` is the name of the topmost span of this process, unless the calling service shows the trace.
    `ends_trace` marks that span itself; `goes` is false for one that is only there to say that the trace has ended.
    `line` is its place among the spans of this process, where the destination remembers them. `ready` and `row` belong
    to the delivery: the translated span, and its row in the spool.
    """

    span: ReadableSpan
    parent: SpanContext | None
    is_app_root: bool = False
    attribution: Attribution = NOBODY
    trace_name: str | None = None
    ends_trace: bool = False
    goes: bool = True
    line: SpanNode | None = None
    ready: ReadableSpan | None = None
    row: int | None = None


class SelectingSpanProcessor(SpanProcessor):
    """Span processor of a destination.

    Args:
        take: Takes a span that goes out.
        select: Whether only GenAI spans and the ancestors they need go out. Needs `lineage`.
        lineage: Remembers open spans; needed to select and to route by tenant.
        tells_ends: Whether to report the end of a trace even if its topmost span is not sent.
        shutdown: Called when the provider shuts down; gets the seconds it may take, or `None`.
        flush: Called when the provider flushes; gets the seconds it may take.
    """

    def __init__(
        self,
        take: Callable[[FinishedSpan], None],
        *,
        select: bool,
        lineage: OpenSpans | None,
        shutdown: Callable[[], bool],
        flush: Callable[[float], bool],
        tells_ends: bool = False,
    ) -> None:
        self._take = take
        self._select = select
        self._lineage = lineage
        self._tells_ends = tells_ends
        self._shutdown = shutdown
        self._flush = flush
        self._complained = False

    def on_start(self, span: ReadableSpan, parent_context: Context | None = None, *, live: bool = True) -> None:
        """Remember an open span; `live` when it started in the current context just now."""
        if self._lineage is not None and span.context.trace_flags.sampled:
            try:
                self._lineage.start(span, parent_context, live=live)
            except Exception:
                self._complain()

    def on_end(self, span: ReadableSpan) -> None:
        """Hand an ended span on, if it goes to this destination."""
        if not span.context.trace_flags.sampled:
            return
        try:
            lineage = self._lineage
            if lineage is None:
                self._take(FinishedSpan(span, span.parent))
                return
            line = lineage.end(span)
            line.sent = line.elsewhere or not self._select or line.wanted or _is_genai(span)
            if line.sent and not line.elsewhere:
                self._take(self._placed(span, line))
            elif line.parent is None and self._tells_ends:
                self._take(FinishedSpan(span, None, ends_trace=True, goes=False, line=line))
        except Exception:
            self._complain()

    def place(self, span: ReadableSpan) -> FinishedSpan | None:
        """Return an open span with its place among those that go out; `None` when it is not remembered."""
        line = self._lineage.get(span) if self._lineage is not None else None
        return None if line is None else self._placed(span, line)

    def _placed(self, span: ReadableSpan, line: SpanNode) -> FinishedSpan:
        """Return a span that goes out, with its place among those that do."""
        root = line.root
        parent = _adopt(line) if self._select else span.parent
        is_app_root = (parent is None or parent.is_remote) and not root.claimed
        if parent is None and root.above is not None and root.above.is_remote:
            # The caller may have sent its span, too: stay below it.
            parent = root.above
        # Where the caller shows the trace, it names it as well.
        name = None if root.claimed else root.name
        return FinishedSpan(span, parent, is_app_root, line.attribution, name, line.parent is None, line=line)

    def shutdown(self) -> None:
        """Deliver or spool what there is, within the destination's own deadline."""
        self._shutdown()

    def force_flush(self, timeout_millis: int = 30_000) -> bool:
        """Deliver what there is, within the time given."""
        return self._flush(timeout_millis / 1000.0)

    def _complain(self) -> None:
        if not self._complained:
            self._complained = True
            log.exception("genledger: passing a span to its destination failed; further failures are not logged")


def _is_genai(span: ReadableSpan) -> bool:
    """Whether a span describes GenAI work: a call, an agent, a tool, a retrieval, an observed block."""
    # The span may still be open, and written to by another thread: take its keys in one go.
    for key in tuple(span.attributes or ()):
        if key.startswith(_GENAI_PREFIXES) and key not in _ATTRIBUTION_ONLY:
            return True
    scope = span.instrumentation_scope
    return scope is not None and _is_genai_scope(scope.name)


def _is_infrastructure(span: ReadableSpan) -> bool:
    """Whether a span describes a web request, a database statement, a message or the like."""
    return span.kind in _INFRASTRUCTURE_KINDS or any(
        key.startswith(_INFRASTRUCTURE_PREFIXES) for key in tuple(span.attributes or ())
    )


@lru_cache(maxsize=1024)
def _is_genai_scope(scope: str) -> bool:
    return any(scope == known or scope.startswith(f"{known}.") for known in _GENAI_SCOPES)


def _adopt(line: SpanNode) -> SpanContext | None:
    """The parent that an ended span has among the spans that go out; it is marked as wanted.

    An ancestor that has not ended yet goes out if it is GenAI work or the application's own structure around
    it; web, database and queue spans are skipped. `None` when no ancestor in this process goes out.
    """
    ancestor = line.parent
    while ancestor is not None:
        span = ancestor.span
        if ancestor.sent or (span is not None and (_is_genai(span) or not _is_infrastructure(span))):
            ancestor.wanted = True
            return ancestor.context
        ancestor = ancestor.parent
    return None
