"""Questions answered by Langfuse's metrics, version 2, through the API client of its SDK.

https://langfuse.com/docs/metrics/features/metrics-api

Langfuse groups by a few dimensions, and by all tags of an observation together. What it cannot group by is refused, or,
for tenant, feature and tag, added up here from the groups of tags: every observation is in one.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from datetime import UTC, datetime
from itertools import product
from typing import Any, NamedTuple

from genledger.destinations.langfuse.api_client import asking, configured_client
from genledger.destinations.langfuse.vocabulary import UNPRICED
from genledger.ledger.fields import METADATA
from genledger.ledger.grains import Bucket, buckets
from genledger.ledger.query import Answer, Filter, Query, QueryError, arranged, nothing_of

MOST_ROWS = 1000
"""Rows that Langfuse returns at most."""

MOST_REQUESTS = 100
"""Requests for one question at most: Langfuse's cloud takes a hundred in an hour."""


class _Measure(NamedTuple):
    """How Langfuse measures a metric.

    Attributes:
        measure: Langfuse's name.
        aggregation: Of it.
        factor: What makes it our unit.
        only: Of which observations, by a name of `_ONLY`.
        sums: Whether groups can be added up.
    """

    measure: str
    aggregation: str
    factor: float | None = None
    only: str = "all"
    sums: bool = True

    @property
    def column(self) -> str:
        return f"{self.aggregation}_{self.measure}"


def _options(column: str, operator: str, *values: str, kind: str = "stringOptions") -> dict[str, Any]:
    return {"column": column, "operator": operator, "value": list(values), "type": kind}


_CALLS = {"column": "providedModelName", "operator": "is not null", "value": "", "type": "null"}
"""A call of a model: what has one. Agents, tools and other steps have none."""
_ONLY: Mapping[str, tuple[Mapping[str, Any], ...]] = {
    "all": (),
    "failed": (_options("level", "any of", "ERROR"),),
    "succeeded": (_options("level", "none of", "ERROR", "WARNING"),),
    "unpriced": (_options("tags", "any of", UNPRICED, kind="arrayOptions"),),
}
_MS = 0.001

_MEASURES: Mapping[str, _Measure] = {
    "calls": _Measure("count", "count"),
    "cost": _Measure("totalCost", "sum"),
    "tokens": _Measure("totalTokens", "sum"),
    "input_tokens": _Measure("inputTokens", "sum"),
    "output_tokens": _Measure("outputTokens", "sum"),
    "errors": _Measure("count", "count", only="failed"),
    "succeeded": _Measure("count", "count", only="succeeded"),
    "unpriced": _Measure("count", "count", only="unpriced"),
    "latency": _Measure("latency", "avg", _MS, "succeeded", sums=False),
    "latency_p50": _Measure("latency", "p50", _MS, "succeeded", sums=False),
    "latency_p95": _Measure("latency", "p95", _MS, "succeeded", sums=False),
    "time_to_first_chunk": _Measure("timeToFirstToken", "avg", _MS, sums=False),
}

_RATIOS: Mapping[str, tuple[str, str]] = {
    "error_rate": ("errors", "calls"),
    "unpriced_share": ("unpriced", "calls"),
    "tokens_per_call": ("tokens", "calls"),
}

METRICS = (*_MEASURES, *_RATIOS)
"""The metrics that Langfuse has, too."""

_DIMENSIONS: Mapping[str, str] = {
    "model": "providedModelName",
    "prompt_name": "promptName",
    "prompt_version": "promptVersion",
    "release": "release",
}
_TAGGED: Mapping[str, str] = {"tenant": "tenant:", "feature": "feature:", "tag": ""}
"""Fields that are in tags, and what those begin with."""

FIELDS = (*_DIMENSIONS, *_TAGGED)
"""The fields that questions to Langfuse can be grouped by."""

_FILTERS: Mapping[str, str] = {**_DIMENSIONS, "user": "userId", "session": "sessionId", "trace": "traceId"}
_IN_METADATA: Mapping[str, str] = {"tenant": "tenantId", "feature": "feature"}


class LangfuseMetrics:
    """Answers questions as `genledger.ledger.query.ask` does, from what a Langfuse project has received.

    Args:
        timeout_s: Seconds that one request may take.

    Raises:
        LangfuseApiError: No project is configured, its settings are wrong, or Langfuse's SDK is not installed.
    """

    def __init__(self, timeout_s: float = 30.0) -> None:
        self._base_url, self._client = configured_client(timeout_s)
        self.name = f"Langfuse at {self._base_url}"

    def ask(self, query: Query) -> Answer:
        """Return the answer to a question.

        Raises:
            QueryError: Langfuse cannot answer it.
            LangfuseApiError: Langfuse does not answer.
        """
        _check(query)
        end_ns = query.until_ns if query.until_ns is not None else int(datetime.now(UTC).timestamp()) * 10**9
        since_ns = query.since_ns
        if since_ns is None:
            raise QueryError("Langfuse needs a period that has a beginning; give one with --since")
        whole = [Bucket(since_ns, end_ns, _utc(since_ns))]
        pieces = whole if query.every is None else buckets(since_ns, end_ns, query.every, query.zone)
        # Langfuse cuts time in UTC. In another zone, each day, week or month is a question of its own.
        cut_here = query.every is not None and query.zone != "UTC"
        asked = _Asked(query, [] if cut_here else pieces, None if cut_here else query.every)
        requests = list(asked.requests(pieces if cut_here else whole))
        if len(requests) > MOST_REQUESTS:
            raise QueryError(
                f"this would be {len(requests)} requests to Langfuse, which cuts time in UTC only; ask for a shorter "
                "period, or in UTC"
            )
        for piece, metrics, request in requests:
            asked.add(piece, metrics, self._rows(request))
        rows = arranged(asked.rows(), query)[: query.limit or None]
        columns = (*(("time",) if query.every is not None else ()), *query.by, *query.metrics)
        return Answer(query, since_ns, end_ns, columns, rows)

    def _rows(self, request: Mapping[str, Any]) -> Sequence[Mapping[str, Any]]:
        with asking(self._base_url):
            rows: Sequence[Mapping[str, Any]] = self._client.metrics.metrics(query=json.dumps(request)).data
        if len(rows) >= MOST_ROWS:
            raise QueryError(
                f"{self.name} returns {MOST_ROWS} rows at most, and this question has as many; ask for a shorter "
                "period or for fewer fields"
            )
        return rows


def _utc(ns: int) -> datetime:
    return datetime.fromtimestamp(ns // 1_000_000_000, UTC)


def _check(query: Query) -> None:
    for name in query.metrics:
        if name not in METRICS:
            raise QueryError(f"Langfuse does not measure {name}; it has {', '.join(METRICS)}. Ask the ledger")
    for name in query.by:
        if name not in FIELDS:
            raise QueryError(f"Langfuse cannot group by {name}; it can by {', '.join(FIELDS)}. Ask the ledger")
    tagged = [name for name in query.by if name in _TAGGED]
    means = [name for name in query.metrics if name in _MEASURES and not _MEASURES[name].sums]
    if tagged and means:
        raise QueryError(
            f"Langfuse groups by all tags of an observation together: {means[0]} by {tagged[0]} cannot be added up "
            "from that. Ask the ledger"
        )


class _Asked:
    """One question in Langfuse's words, and what it answers.

    Args:
        query: The question.
        pieces: Hours, days, weeks or months that Langfuse cuts itself; else empty.
        grain: Which of these; `None` where it does not.
    """

    def __init__(self, query: Query, pieces: Sequence[Bucket], grain: str | None) -> None:
        self._query = query
        self._grain = grain
        self._starts = {piece.start.strftime("%Y-%m-%dT%H"): piece.start.isoformat() for piece in pieces}
        self._tagged = [name for name in query.by if name in _TAGGED]
        self._found: dict[tuple[Any, ...], dict[str, float | None]] = {}
        needed = [part for name in query.metrics for part in _RATIOS.get(name, (name,))]
        self._needed = list(dict.fromkeys(needed))

    def requests(self, pieces: Sequence[Bucket]) -> Iterator[tuple[Bucket, list[str], dict[str, Any]]]:
        """Return the requests for these pieces of time: one for all metrics that are of the same observations."""
        query = self._query
        fields = [_DIMENSIONS[name] for name in query.by if name in _DIMENSIONS] + (["tags"] if self._tagged else [])
        conditions = [_CALLS, *(_filter(condition) for condition in query.where)]
        for only in dict.fromkeys(_MEASURES[name].only for name in self._needed):
            metrics = [name for name in self._needed if _MEASURES[name].only == only]
            for piece in pieces:
                yield (
                    piece,
                    metrics,
                    {
                        "view": "observations",
                        "metrics": [
                            {"measure": _MEASURES[name].measure, "aggregation": _MEASURES[name].aggregation}
                            for name in metrics
                        ],
                        "dimensions": [{"field": field} for field in fields],
                        "filters": [*conditions, *_ONLY[only]],
                        **({"timeDimension": {"granularity": self._grain}} if self._grain is not None else {}),
                        "fromTimestamp": _iso(piece.begin_ns),
                        "toTimestamp": _iso(piece.end_ns),
                        "config": {"row_limit": MOST_ROWS},
                    },
                )

    def add(self, piece: Bucket, metrics: Sequence[str], rows: Sequence[Mapping[str, Any]]) -> None:
        """Take in the rows of one request."""
        for row in rows:
            time = self._time(piece, row)
            if time is None and self._query.every is not None:
                continue
            for keys in self._keys(row):
                found = self._found.setdefault((time, *keys), {})
                for name in metrics:
                    measure = _MEASURES[name]
                    value = _number(row.get(measure.column))
                    if value is not None:
                        value = value if measure.factor is None else value * measure.factor
                        found[name] = value + (found.get(name) or 0) if measure.sums else value

    def _time(self, piece: Bucket, row: Mapping[str, Any]) -> str | None:
        if self._query.every is None:
            return None
        if self._grain is None:
            return piece.start.isoformat()
        given = str(row.get("time_dimension") or "").replace(" ", "T")
        return self._starts.get(given[:13] if "T" in given else f"{given[:10]}T00")

    def _keys(self, row: Mapping[str, Any]) -> Iterator[tuple[str | None, ...]]:
        """Return the values of the fields: one of each, or one for each tag."""
        tags = [str(tag) for tag in row.get("tags") or ()]
        choices: list[Sequence[str | None]] = []
        for name in self._query.by:
            if name in _DIMENSIONS:
                value = row.get(_DIMENSIONS[name])
                choices.append([str(value) if value not in (None, "") else None])
            else:
                begin = _TAGGED[name]
                ours = (UNPRICED, *(one for one in _TAGGED.values() if one))
                values = [
                    tag.removeprefix(begin)
                    for tag in tags
                    if (tag.startswith(begin) if begin else not tag.startswith(ours) and self._is_asked(tag))
                ]
                choices.append(values or [None])
        yield from product(*choices)

    def _is_asked(self, tag: str) -> bool:
        conditions = (condition for condition in self._query.where if condition.field == "tag")
        return all((tag in condition.values) == (condition.operator == "=") for condition in conditions)

    def rows(self) -> Iterator[dict[str, Any]]:
        """Return the rows of the answer."""
        query = self._query
        nothing = nothing_of(query.metrics)
        for (time, *keys), found in self._found.items():
            values: dict[str, Any] = {}
            for name in query.metrics:
                if name in _RATIOS:
                    part, whole = (found.get(one) for one in _RATIOS[name])
                    values[name] = (part or 0) / whole if whole else None
                else:
                    value = found.get(name, nothing[name])
                    values[name] = int(value) if value is not None and nothing[name] == 0 else value
            start = {} if query.every is None else {"time": time}
            yield {**start, **dict(zip(query.by, keys, strict=True)), **values}


def _iso(ns: int) -> str:
    when = datetime.fromtimestamp(ns // 1_000_000_000, UTC).replace(microsecond=ns // 1000 % 1_000_000)
    return when.isoformat(timespec="milliseconds").replace("+00:00", "Z")


def _number(value: Any) -> float | None:
    try:
        return None if value is None else float(value)
    except (TypeError, ValueError):
        return None


def _filter(condition: Filter) -> dict[str, Any]:
    """Return a condition in Langfuse's words.

    Raises:
        QueryError: It has none for it.
    """
    name, operator, values = condition
    said = f"{name}{operator}{','.join(values)}"
    if "" in values:
        raise QueryError(f"Langfuse cannot filter by {said}: it does not find what has no {name}. Ask the ledger")
    if operator == "~":
        return _like(condition, said)
    listed = "any of" if operator == "=" else "none of"
    if name in _TAGGED:
        if operator == "=" and len(values) == 1 and name in _IN_METADATA:
            return _in_metadata(_IN_METADATA[name], "=", values[0])
        return _options("tags", listed, *(f"{_TAGGED[name]}{value}" for value in values), kind="arrayOptions")
    if name in _FILTERS:
        return _options(_FILTERS[name], listed, *values)
    if name.startswith(METADATA) and operator == "=" and len(values) == 1:
        return _in_metadata(name.removeprefix(METADATA), "=", values[0])
    raise QueryError(f"Langfuse cannot filter by {said}; it can by {', '.join((*_FILTERS, *_TAGGED))}. Ask the ledger")


def _in_metadata(key: str, operator: str, value: str) -> dict[str, Any]:
    return {"column": "metadata", "type": "stringObject", "key": key, "operator": operator, "value": value}


def _like(condition: Filter, said: str) -> dict[str, Any]:
    name, _, values = condition
    inner = values[0].strip("*")
    ways: Mapping[tuple[bool, bool], str] = {
        (False, True): "starts with",
        (True, False): "ends with",
        (True, True): "contains",
        (False, False): "=",
    }
    way = ways[values[0].startswith("*"), values[0].endswith("*")]
    if len(values) > 1 or any(special in inner for special in "*?[") or not inner:
        raise QueryError(f"Langfuse cannot filter by {said}; it takes one glob, with * at an end. Ask the ledger")
    if name in _IN_METADATA or name.startswith(METADATA):
        return _in_metadata(_IN_METADATA.get(name, name.removeprefix(METADATA)), way, inner)
    if name in _FILTERS:
        return {"column": _FILTERS[name], "operator": way, "value": inner, "type": "string"}
    raise QueryError(f"Langfuse cannot filter by {said}. Ask the ledger")
