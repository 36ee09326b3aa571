"""The metrics of calls: the conventions' own, and what they cost.

On the caller's path a call only leaves its numbers with the series it belongs to, without a lock: threads that
meet at one, again and again, would take turns from then on. Counters are read from the series when a reader
collects; histogram points wait there and are handed to the SDK in one go, because one point recorded through an
instrument costs as much as a third of a span.
"""

from __future__ import annotations

import os
import threading
import weakref
from collections import Counter, deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Literal, NamedTuple

from opentelemetry.metrics import CallbackOptions, Histogram, Meter, Observation

from genledger.engine.record import CallRecord
from genledger.engine.signals.histogram_bulk import forget_all, record_all
from genledger.engine.signals.step_metrics import StepMetrics
from genledger.pricing.usage import Usage
from genledger_semconv import attributes as A
from genledger_semconv import metrics as M
from genledger_semconv import spans as S

MetricNames = Literal["newest", "v1.41", "both"]
"""Which generation of the conventions' metric names to emit."""

MAX_PENDING = 4096
"""Histogram points that wait in a series before they are handed on without a reader asking."""

MAX_UNCOUNTED = 64
"""Calls that wait in a series before one of their threads counts them."""

MAX_KNOWN_KEYS = 8192
"""Label combinations whose series is remembered without looking at the label limits again."""

OTHER = "other"
"""What a label says once it has had too many different values."""

_NANO = 1_000_000_000

Labels = dict[str, str | int]
_Key = tuple[object, ...]


class _Point(NamedTuple):
    """What one call adds to its series."""

    error_type: str | None
    duration_s: float
    nano_usd: int | None
    unpriced: str | None
    usage: Usage | None
    first_chunk_s: float | None
    chunk_gaps: Sequence[float] | None


class Series:
    """The numbers of all calls with the same labels."""

    __slots__ = (
        "cache_read",
        "cache_write",
        "chunk_gaps",
        "cost",
        "durations",
        "family",
        "first_chunks",
        "input",
        "input_sizes",
        "labels",
        "lock",
        "modal",
        "output",
        "output_sizes",
        "priced",
        "reasoning",
        "uncounted",
        "unpriced",
    )

    def __init__(self, family: str, labels: Labels) -> None:
        self.family = family
        self.labels = labels
        self.uncounted: deque[_Point] = deque()
        self.lock = threading.Lock()
        self.priced = 0
        self.cost = 0
        self.unpriced: Counter[str] = Counter()
        self.input = 0
        self.output = 0
        self.cache_read = 0
        self.cache_write = 0
        self.reasoning = 0
        self.modal: Counter[tuple[str, str]] = Counter()
        self.durations: dict[str | None, list[float]] = {}
        self.input_sizes: list[float] = []
        self.output_sizes: list[float] = []
        self.first_chunks: list[float] = []
        self.chunk_gaps: list[float] = []

    def add_usage(self, usage: Usage) -> None:
        """Count the tokens of one inference."""
        input_tokens = usage.input_tokens
        output_tokens = usage.output_tokens
        self.input_sizes.append(input_tokens)
        self.output_sizes.append(output_tokens)
        self.cache_read += usage.cache_read_tokens
        self.cache_write += usage.cache_write_tokens
        self.reasoning += usage.reasoning
        for direction, audio, image in (
            ("input", usage.input_audio + usage.cache_read_audio, usage.input_image + usage.cache_read_image),
            ("output", usage.output_audio, usage.output_image),
        ):
            if audio or image:
                total = input_tokens if direction == "input" else output_tokens
                self.modal[direction, "text"] += total - audio - image
                self.modal[direction, "audio"] += audio
                self.modal[direction, "image"] += image
                if direction == "input":
                    input_tokens = 0
                else:
                    output_tokens = 0
        self.input += input_tokens
        self.output += output_tokens


class Metrics:
    """The instruments of one meter, and the series behind them."""

    def __init__(self, meter: Meter, *, names: MetricNames = "newest", max_label_values: int = 1000) -> None:
        self.names = names
        self.max_label_values = max_label_values
        self._meter = meter
        self._closed = False
        self._start_empty()
        _alive.add(self)
        self.steps = StepMetrics(meter)
        newest, old = names in ("newest", "both"), names in ("v1.41", "both")
        self._families: dict[str, _Histograms] = {
            "inference": _Histograms(meter, newest=newest, old=old, inference=True),
            "operation": _Histograms(meter, newest=newest, old=old, inference=False),
            "retrieval": _Histograms(meter, newest=newest, old=old, inference=False, db=True),
            "db": _Histograms(meter, newest=newest, old=old, inference=False, db=True, genai=False),
        }
        # The first callback of a collection hands over the waiting histogram points, so that the same
        # collection includes them.
        counters: list[tuple[str, str, Callable[[Series], Iterable[tuple[float, Labels]]]]] = [
            (M.GENLEDGER_COST, "USD", _cost),
            (M.GENLEDGER_UNPRICED_CALLS, "{call}", _unpriced),
        ]
        if newest:
            counters += [
                (M.GEN_AI_CLIENT_INFERENCE_USAGE_INPUT_TOKENS, "{token}", _tokens("input")),
                (M.GEN_AI_CLIENT_INFERENCE_USAGE_OUTPUT_TOKENS, "{token}", _tokens("output")),
                (M.GEN_AI_CLIENT_INFERENCE_USAGE_CACHE_READ_INPUT_TOKENS, "{token}", _subset("cache_read")),
                (M.GEN_AI_CLIENT_INFERENCE_USAGE_CACHE_WRITE_INPUT_TOKENS, "{token}", _subset("cache_write")),
                (M.GEN_AI_CLIENT_INFERENCE_USAGE_REASONING_OUTPUT_TOKENS, "{token}", _subset("reasoning")),
            ]
        for position, (name, unit, read) in enumerate(counters):
            meter.create_observable_counter(name, [self._callback(read, flush=position == 0)], unit)
        meter.create_observable_counter(M.GENLEDGER_LABELS_OVERFLOW, [self._overflowed], "{value}")

    def _start_empty(self) -> None:
        self._lock = threading.Lock()
        self._by_key: dict[_Key, Series] = {}
        self._series: dict[_Key, Series] = {}
        self._values: dict[str, set[object]] = {}
        self._overflow: Counter[str] = Counter()

    def after_fork(self) -> None:
        """In a forked child: its parent reports what was counted so far, under another name than it."""
        self._start_empty()
        forget_all(self._meter)

    def record(self, entry: CallRecord, family: str, chunk_gaps: Sequence[float] | None = None) -> None:
        """Count one settled call. `chunk_gaps` are the seconds between the chunks of a stream."""
        attribution = entry.attribution
        key = (
            entry.operation,
            entry.provider,
            entry.request_model,
            entry.response_model,
            entry.server_address,
            entry.server_port,
            attribution.tenant,
            attribution.feature,
            entry.outcome,
        )
        series = self._by_key.get(key)
        if series is None:
            series = self._find(key, family)
        cost = entry.cost
        series.uncounted.append(
            _Point(
                entry.error_type,
                entry.duration_s,
                round(cost.amount * _NANO) if cost is not None else None,
                entry.unpriced,
                entry.usage,
                entry.time_to_first_chunk_s,
                chunk_gaps,
            )
        )
        if len(series.uncounted) >= MAX_UNCOUNTED and series.lock.acquire(blocking=False):
            try:
                full = self._count(series)
            finally:
                series.lock.release()
            if full:
                self._flush(series)

    def _count(self, series: Series) -> bool:
        """Count what waits; whether there are many histogram points now. Call with the lock of the series held."""
        uncounted = series.uncounted
        full = False
        while uncounted:
            point = uncounted.popleft()
            durations = series.durations.get(point.error_type)
            if durations is None:
                error = _text(self._bounded(A.ERROR_TYPE, point.error_type))
                durations = series.durations.setdefault(error, [])
            if point.duration_s:
                durations.append(point.duration_s)
            if point.nano_usd is not None:
                series.priced += 1
                series.cost += point.nano_usd
            elif point.unpriced is not None:
                series.unpriced[point.unpriced] += 1
            if point.usage is not None and series.family == "inference":
                series.add_usage(point.usage)
            if point.first_chunk_s is not None:
                series.first_chunks.append(point.first_chunk_s)
                if point.chunk_gaps:
                    series.chunk_gaps.extend(point.chunk_gaps)
            full = full or len(durations) >= MAX_PENDING or len(series.chunk_gaps) >= MAX_PENDING
        return full

    def _find(self, key: _Key, family: str) -> Series:
        with self._lock:
            labels: Labels = {}
            bounded: list[object] = [family]
            for label, value in zip(_LABELS, key, strict=True):
                value = self._bounded(label, value)
                bounded.append(value)
                if value is not None:
                    labels[label] = value  # type: ignore[assignment]
            series = self._series.get(tuple(bounded))
            if series is None:
                series = self._series[tuple(bounded)] = Series(family, labels)
            if len(self._by_key) >= MAX_KNOWN_KEYS:
                self._by_key.clear()
            self._by_key[key] = series
            return series

    def _bounded(self, label: str, value: object) -> object:
        if value is None:
            return None
        values = self._values.get(label)
        if values is None:
            values = self._values[label] = set()
        if value in values:
            return value
        if len(values) >= self.max_label_values:
            self._overflow[label] += 1
            return OTHER
        values.add(value)
        return value

    def _flush(self, series: Series) -> None:
        with series.lock:
            self._count(series)
            durations, series.durations = series.durations, {}
            inputs, series.input_sizes = series.input_sizes, []
            outputs, series.output_sizes = series.output_sizes, []
            firsts, series.first_chunks = series.first_chunks, []
            gaps, series.chunk_gaps = series.chunk_gaps, []
        histograms = self._families[series.family]
        for error, values in durations.items():
            labels = series.labels if error is None else {**series.labels, A.ERROR_TYPE: error}
            histograms.duration(values, labels)
        histograms.tokens(inputs, outputs, series.labels)
        histograms.chunks(firsts, gaps, series.labels)

    def close(self) -> None:
        """Report nothing more: others have taken over on the same meter."""
        self.flush()
        self._closed = True

    def flush(self) -> None:
        """Hand every waiting histogram point to the SDK."""
        for series in list(self._series.values()):
            self._flush(series)

    def _callback(
        self, read: Callable[[Series], Iterable[tuple[float, Labels]]], *, flush: bool
    ) -> Callable[[CallbackOptions], Iterable[Observation]]:
        def observe(_: CallbackOptions) -> Iterator[Observation]:
            if self._closed:
                return
            if flush:
                self.flush()
            for series in list(self._series.values()):
                for value, labels in read(series):
                    yield Observation(value, labels)

        return observe

    def _overflowed(self, _: CallbackOptions) -> Iterator[Observation]:
        for label, count in list(self._overflow.items()) if not self._closed else ():
            yield Observation(count, {A.GENLEDGER_LABEL_NAME: label})


_alive: weakref.WeakSet[Metrics] = weakref.WeakSet()


def _after_fork_in_child() -> None:
    for metrics in tuple(_alive):
        metrics.after_fork()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork_in_child)


_LABELS = (
    A.GEN_AI_OPERATION_NAME,
    A.GEN_AI_PROVIDER_NAME,
    A.GEN_AI_REQUEST_MODEL,
    A.GEN_AI_RESPONSE_MODEL,
    A.SERVER_ADDRESS,
    A.SERVER_PORT,
    A.GENLEDGER_TENANT_ID,
    A.GENLEDGER_FEATURE,
    A.GENLEDGER_OUTCOME,
)


def _text(value: object) -> str | None:
    return value if isinstance(value, str) else None


def _cost(series: Series) -> Iterable[tuple[float, Labels]]:
    if series.priced:
        yield series.cost / _NANO, series.labels


def _unpriced(series: Series) -> Iterable[tuple[float, Labels]]:
    for reason, count in list(series.unpriced.items()):
        yield count, {**series.labels, A.GENLEDGER_COST_UNPRICED: reason}


def _tokens(direction: str) -> Callable[[Series], Iterable[tuple[float, Labels]]]:
    def read(series: Series) -> Iterable[tuple[float, Labels]]:
        unknown: int = getattr(series, direction)
        if unknown:
            yield unknown, {**series.labels, A.GEN_AI_TOKEN_MODALITY: "unknown"}
        for (side, modality), count in list(series.modal.items()):
            if side == direction and count:
                yield count, {**series.labels, A.GEN_AI_TOKEN_MODALITY: modality}

    return read


def _subset(name: str) -> Callable[[Series], Iterable[tuple[float, Labels]]]:
    def read(series: Series) -> Iterable[tuple[float, Labels]]:
        count: int = getattr(series, name)
        if count:
            yield count, {**series.labels, A.GEN_AI_TOKEN_MODALITY: "unknown"}

    return read


class _Histograms:
    """The histograms that one family of operations records into."""

    def __init__(
        self, meter: Meter, *, newest: bool, old: bool, inference: bool, db: bool = False, genai: bool = True
    ) -> None:
        def histogram(name: str, unit: str) -> Histogram:
            return meter.create_histogram(name, unit, explicit_bucket_boundaries_advisory=M.BUCKETS[name])

        names = []
        if genai and (old or not inference):
            names.append(M.GEN_AI_CLIENT_OPERATION_DURATION)
        if inference and newest:
            names.append(M.GEN_AI_CLIENT_INFERENCE_DURATION)
        self._durations = [histogram(name, "s") for name in names]
        self._database = histogram(M.DB_CLIENT_OPERATION_DURATION, "s") if db else None
        self._inputs: list[Histogram] = []
        self._outputs: list[Histogram] = []
        self._firsts: list[Histogram] = []
        self._gaps: list[Histogram] = []
        self._old_tokens: Histogram | None = None
        if inference and newest:
            self._inputs.append(histogram(M.GEN_AI_CLIENT_INFERENCE_OPERATION_INPUT_TOKENS, "{token}"))
            self._outputs.append(histogram(M.GEN_AI_CLIENT_INFERENCE_OPERATION_OUTPUT_TOKENS, "{token}"))
            self._firsts.append(histogram(M.GEN_AI_CLIENT_INFERENCE_TIME_TO_FIRST_CHUNK, "s"))
            self._gaps.append(histogram(M.GEN_AI_CLIENT_INFERENCE_TIME_PER_OUTPUT_CHUNK, "s"))
        if inference and old:
            self._old_tokens = histogram(M.GEN_AI_CLIENT_TOKEN_USAGE, "{token}")
            self._firsts.append(histogram(M.GEN_AI_CLIENT_OPERATION_TIME_TO_FIRST_CHUNK, "s"))
            self._gaps.append(histogram(M.GEN_AI_CLIENT_OPERATION_TIME_PER_OUTPUT_CHUNK, "s"))

    def duration(self, values: Sequence[float], labels: Labels) -> None:
        """Record how long calls took, in seconds."""
        for histogram in self._durations:
            record_all(histogram, values, labels)
        if self._database is not None:
            record_all(self._database, values, _database_labels(labels))

    def tokens(self, inputs: Sequence[float], outputs: Sequence[float], labels: Labels) -> None:
        """Record how many tokens each call took and gave."""
        for histograms, values in ((self._inputs, inputs), (self._outputs, outputs)):
            for histogram in histograms:
                record_all(histogram, values, labels)
        if self._old_tokens is not None:
            record_all(self._old_tokens, inputs, {**labels, A.GEN_AI_TOKEN_TYPE: "input"})
            record_all(self._old_tokens, outputs, {**labels, A.GEN_AI_TOKEN_TYPE: "output"})

    def chunks(self, firsts: Sequence[float], gaps: Sequence[float], labels: Labels) -> None:
        """Record the pace of streams, in seconds."""
        for histograms, values in ((self._firsts, firsts), (self._gaps, gaps)):
            for histogram in histograms:
                record_all(histogram, values, labels)


def _database_labels(labels: Labels) -> Labels:
    renamed = {A.GEN_AI_OPERATION_NAME: A.DB_OPERATION_NAME, A.GEN_AI_PROVIDER_NAME: A.DB_SYSTEM_NAME}
    renamed_labels = {
        renamed.get(name, name): value
        for name, value in labels.items()
        if name not in (A.GEN_AI_REQUEST_MODEL, A.GEN_AI_RESPONSE_MODEL)
    }
    if renamed_labels.get(A.DB_OPERATION_NAME) == S.RETRIEVAL:
        renamed_labels[A.DB_OPERATION_NAME] = "query"
    return renamed_labels
