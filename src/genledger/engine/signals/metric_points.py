"""The points that one call adds to metrics: the conventions' own, and what it cost."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Literal, NamedTuple

from opentelemetry.trace import SpanContext

from genledger.engine.record import CallRecord
from genledger.pricing.usage import Usage
from genledger_semconv import attributes as A
from genledger_semconv import metrics as M
from genledger_semconv import spans as S

MetricNames = Literal["newest", "v1.41", "both"]
"""Which generation of the conventions' metric names to emit."""

Labels = dict[str, str | int]


class CountedCall(NamedTuple):
    """A call that waits to be recorded.

    Attributes:
        record: The call.
        family: Its operation's.
        chunk_gaps: Seconds between the chunks of a stream.
        span: The span that exemplars lead to.
        agent: The nearest agent that it was made in.
    """

    record: CallRecord
    family: str
    chunk_gaps: Sequence[float]
    span: SpanContext | None
    agent: str | None


DURATIONS = frozenset(
    {M.GEN_AI_CLIENT_INFERENCE_DURATION, M.GEN_AI_CLIENT_OPERATION_DURATION, M.DB_CLIENT_OPERATION_DURATION}
)
"""Histograms that have the error as a label."""

_V1_41 = {
    M.GEN_AI_CLIENT_INFERENCE_DURATION: M.GEN_AI_CLIENT_OPERATION_DURATION,
    M.GEN_AI_CLIENT_INFERENCE_TIME_TO_FIRST_CHUNK: M.GEN_AI_CLIENT_OPERATION_TIME_TO_FIRST_CHUNK,
    M.GEN_AI_CLIENT_INFERENCE_TIME_PER_OUTPUT_CHUNK: M.GEN_AI_CLIENT_OPERATION_TIME_PER_OUTPUT_CHUNK,
}
"""Metrics that only have another name in the conventions' last core release."""

Point = tuple[str, float, Labels]
"""Metric, value, and the labels that it has beside those of all points of the call."""


class CountedEvent(NamedTuple):
    """Something other than a call that waits to be recorded.

    Attributes:
        points: What it adds to counters.
        labels: The labels of all of these; those that are `None` are left out.
        span: The span that exemplars lead to.
    """

    points: Sequence[Point]
    labels: Mapping[str, str | None]
    span: SpanContext | None


_TOKENS = {S.EMBEDDINGS: M.GENLEDGER_EMBEDDINGS_TOKENS, S.RERANK: M.GENLEDGER_RERANK_TOKENS}
"""Counters of operations that the conventions count no tokens of."""


def points_of(call: CountedCall, names: MetricNames) -> Iterator[Point]:
    """The points of one call. Those whose metric has buckets are of histograms, the others of counters."""
    record, family = call.record, call.family
    newest, old = names != "v1.41", names != "newest"

    def renamed(name: str, value: float) -> Iterator[Point]:
        if newest:
            yield name, value, {}
        if old:
            yield _V1_41[name], value, {}

    if record.duration_s:
        if family == "inference":
            yield from renamed(M.GEN_AI_CLIENT_INFERENCE_DURATION, record.duration_s)
        elif family != "db":
            yield M.GEN_AI_CLIENT_OPERATION_DURATION, record.duration_s, {}
        if family in ("db", "retrieval"):
            yield M.DB_CLIENT_OPERATION_DURATION, record.duration_s, {}
    if record.cost is not None:
        yield M.GENLEDGER_COST, float(record.cost.amount), {}
    elif record.unpriced is not None:
        yield M.GENLEDGER_UNPRICED_CALLS, 1, {A.GENLEDGER_COST_UNPRICED: record.unpriced}
    if family != "inference":
        if record.usage is not None and (tokens := record.usage.total_tokens) and record.operation in _TOKENS:
            yield _TOKENS[record.operation], tokens, {}
        return
    if record.time_to_first_chunk_s is not None:
        yield from renamed(M.GEN_AI_CLIENT_INFERENCE_TIME_TO_FIRST_CHUNK, record.time_to_first_chunk_s)
        for gap in call.chunk_gaps:
            yield from renamed(M.GEN_AI_CLIENT_INFERENCE_TIME_PER_OUTPUT_CHUNK, gap)
    usage = record.usage
    if usage is not None and old:
        yield M.GEN_AI_CLIENT_TOKEN_USAGE, usage.input_tokens, {A.GEN_AI_TOKEN_TYPE: "input"}
        yield M.GEN_AI_CLIENT_TOKEN_USAGE, usage.output_tokens, {A.GEN_AI_TOKEN_TYPE: "output"}
    if usage is not None and newest:
        yield M.GEN_AI_CLIENT_INFERENCE_OPERATION_INPUT_TOKENS, usage.input_tokens, {}
        yield M.GEN_AI_CLIENT_INFERENCE_OPERATION_OUTPUT_TOKENS, usage.output_tokens, {}
        for name, modality, count in _counts(usage):
            if count:
                yield name, count, {A.GEN_AI_TOKEN_MODALITY: modality}


def _counts(usage: Usage) -> Iterator[tuple[str, str, int]]:
    """The tokens of one call: counter, modality, how many."""
    for name, total, audio, image in (
        (
            M.GEN_AI_CLIENT_INFERENCE_USAGE_INPUT_TOKENS,
            usage.input_tokens,
            usage.input_audio + usage.cache_read_audio,
            usage.input_image + usage.cache_read_image,
        ),
        (
            M.GEN_AI_CLIENT_INFERENCE_USAGE_OUTPUT_TOKENS,
            usage.output_tokens,
            usage.output_audio,
            usage.output_image,
        ),
    ):
        yield name, "text" if audio or image else "unknown", total - audio - image
        yield name, "audio", audio
        yield name, "image", image
    yield M.GEN_AI_CLIENT_INFERENCE_USAGE_CACHE_READ_INPUT_TOKENS, "unknown", usage.cache_read_tokens
    yield M.GEN_AI_CLIENT_INFERENCE_USAGE_CACHE_WRITE_INPUT_TOKENS, "unknown", usage.cache_write_tokens
    yield M.GEN_AI_CLIENT_INFERENCE_USAGE_REASONING_OUTPUT_TOKENS, "unknown", usage.reasoning


def database_labels(labels: Labels) -> Labels:
    """The labels of a call as the database conventions name them."""
    renamed = {A.GEN_AI_OPERATION_NAME: A.DB_OPERATION_NAME, A.GEN_AI_PROVIDER_NAME: A.DB_SYSTEM_NAME}
    renamed_labels = {
        renamed.get(name, name): value
        for name, value in labels.items()
        if name not in (A.GEN_AI_REQUEST_MODEL, A.GEN_AI_RESPONSE_MODEL)
    }
    if renamed_labels.get(A.DB_OPERATION_NAME) == S.RETRIEVAL:
        renamed_labels[A.DB_OPERATION_NAME] = "query"
    return renamed_labels
