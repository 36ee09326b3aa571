"""A Langfuse project's public API for metrics (version 2) and models, as its documentation describes it.

https://langfuse.com/docs/metrics/features/metrics-api and the docstrings of Langfuse's SDK 5: the observations view
groups by a few dimensions and by whole arrays of tags, refuses those of high cardinality, measures time in
milliseconds, cuts it in UTC, and returns `row_limit` rows at most.
"""

from __future__ import annotations

import base64
import http.server
import json
import threading
from collections import defaultdict
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from statistics import fmean
from typing import Any
from urllib.parse import parse_qs, urlsplit

DIMENSIONS = {"environment", "type", "name", "level", "version", "tags", "release", "traceName", "providedModelName"}
DIMENSIONS |= {"promptName", "promptVersion"}
MEASURES: Mapping[str, Callable[[Mapping[str, Any]], float | None]] = {
    "count": lambda one: 1,
    "latency": lambda one: one["latency"],
    "timeToFirstToken": lambda one: one.get("timeToFirstToken"),
    "inputTokens": lambda one: one["inputTokens"],
    "outputTokens": lambda one: one["outputTokens"],
    "totalTokens": lambda one: one["inputTokens"] + one["outputTokens"],
    "totalCost": lambda one: one["totalCost"],
}


def _percentile(share: float) -> Callable[[list[float]], float]:
    return lambda values: sorted(values)[min(int(share * len(values)), len(values) - 1)]


AGGREGATIONS: Mapping[str, Callable[[list[float]], float]] = {
    "sum": sum,
    "count": len,
    "avg": fmean,
    "p50": _percentile(0.5),
    "p95": _percentile(0.95),
}


@dataclass
class LangfuseApi:
    """One project on loopback.

    Attributes:
        observations: What it has received: `startTime` (a datetime), the dimensions, `userId`, `metadata`, `latency`
            (ms), tokens and cost.
        queries: The metrics queries that were asked.
        models: The model definitions, by id.
    """

    public_key: str = "pk-lf-standin"
    secret_key: str = "sk-lf-standin-secret"
    observations: list[dict[str, Any]] = field(default_factory=list)
    queries: list[dict[str, Any]] = field(default_factory=list)
    models: dict[str, dict[str, Any]] = field(default_factory=dict)

    def __enter__(self) -> LangfuseApi:
        self._server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), _handler(self))
        threading.Thread(target=self._server.serve_forever, daemon=True).start()
        return self

    def __exit__(self, *details: object) -> None:
        self._server.shutdown()
        self._server.server_close()

    @property
    def environment(self) -> dict[str, str]:
        """The variables that name the project."""
        return {
            "LANGFUSE_PUBLIC_KEY": self.public_key,
            "LANGFUSE_SECRET_KEY": self.secret_key,
            "LANGFUSE_BASE_URL": f"http://127.0.0.1:{self._server.server_address[1]}",
        }

    def answer(self, method: str, target: str, headers: Mapping[str, str], body: bytes) -> tuple[int, Any]:
        """Return status and JSON."""
        expected = base64.b64encode(f"{self.public_key}:{self.secret_key}".encode()).decode()
        if headers.get("authorization") != f"Basic {expected}":
            return 401, {"message": "Invalid credentials. Confirm that you've configured the correct host."}
        url = urlsplit(target)
        if (method, url.path) == ("GET", "/api/public/v2/metrics"):
            query = json.loads(parse_qs(url.query)["query"][0])
            self.queries.append(query)
            return self.metrics(query)
        if method == "PUT" and url.path.startswith("/api/public/models/"):
            return self._model(url.path.rpartition("/")[2], json.loads(body))
        return 404, {"message": "not found"}

    def _model(self, key: str, given: dict[str, Any]) -> tuple[int, Any]:
        tiers = given.get("pricingTiers") or []
        defaults = [one for one in tiers if one.get("isDefault")]
        if len(defaults) != 1 or defaults[0]["priority"] != 0 or defaults[0]["conditions"]:
            return 400, {"message": "exactly one default tier with priority 0 and without conditions"}
        for name in ("name", "priority"):
            if len({one[name] for one in tiers}) != len(tiers):
                return 400, {"message": f"the {name} of a tier must be unique"}
        if not all(one["prices"] for one in tiers):
            return 400, {"message": "each tier must define at least one price"}
        self.models[key] = given
        now = datetime.now(UTC).isoformat()
        more = {"id": key, "isLangfuseManaged": False, "createdAt": now, "prices": {}, "tokenizerConfig": None}
        stored = [
            {
                **one,
                "id": str(one["priority"]),
                "conditions": [{"caseSensitive": False, **given} for given in one["conditions"]],
            }
            for one in tiers
        ]
        return 200, {**given, **more, "pricingTiers": stored}

    def metrics(self, query: dict[str, Any]) -> tuple[int, Any]:
        """Answer a query of the metrics API."""
        fields = [one["field"] for one in query.get("dimensions", [])]
        if query["view"] != "observations" or not set(fields) <= DIMENSIONS:
            return 400, {"message": f"Invalid dimension: {fields}"}
        begin, end = (_time(query[name]) for name in ("fromTimestamp", "toTimestamp"))
        chosen = [
            one
            for one in self.observations
            if begin <= one["startTime"] < end and all(_meets(one, given) for given in query.get("filters", []))
        ]
        grain = (query.get("timeDimension") or {}).get("granularity")
        groups: dict[Any, list[dict[str, Any]]] = defaultdict(list)
        for one in chosen:
            time = None if grain is None else _start(one["startTime"], grain)
            values = (tuple(one.get(name) or ()) if name == "tags" else one.get(name) for name in fields)
            groups[(time, *values)].append(one)
        if not fields and grain is None:
            groups.setdefault((None,), [])
        rows = []
        for (time, *keys), members in groups.items():
            row = {name: list(key) if name == "tags" else key for name, key in zip(fields, keys, strict=True)}
            row |= {} if grain is None else {"time_dimension": time}
            for metric in query["metrics"]:
                measured = (MEASURES[metric["measure"]](one) for one in members)
                known = [value for value in measured if value is not None]
                name = f"{metric['aggregation']}_{metric['measure']}"
                row[name] = AGGREGATIONS[metric["aggregation"]](known) if known or name == "count_count" else None
                if name == "count_count":
                    row[name] = str(row[name])  # ClickHouse's 64-bit integers are strings in JSON
            rows.append(row)
        return 200, {"data": rows[: query.get("config", {}).get("row_limit", 100)]}


def _time(text: str) -> datetime:
    return datetime.fromisoformat(text.replace("Z", "+00:00"))


def _start(when: datetime, grain: str) -> str:
    if grain == "hour":
        return when.strftime("%Y-%m-%d %H:00:00")
    day = when - timedelta(days=when.weekday() if grain == "week" else when.day - 1 if grain == "month" else 0)
    return day.strftime("%Y-%m-%d")


def _meets(one: Mapping[str, Any], given: Mapping[str, Any]) -> bool:
    value: Any = one.get(given["column"])
    wanted: Any = given["value"]
    operator: str = given["operator"]
    kind: str = given["type"]
    if kind == "null":
        return (value is None) == (operator == "is null")
    if kind == "stringOptions":
        return (value in wanted) == (operator == "any of")
    if kind == "arrayOptions":
        return bool(set(value or ()) & set(wanted)) == (operator == "any of")
    if kind == "stringObject":
        value = (one.get("metadata") or {}).get(given["key"])
    elif kind != "string":
        raise AssertionError(f"no filter has the type {kind}")
    text = "" if value is None else str(value)
    ways: dict[str, Callable[[], bool]] = {
        "=": lambda: text == wanted,
        "contains": lambda: wanted in text,
        "starts with": lambda: text.startswith(wanted),
        "ends with": lambda: text.endswith(wanted),
    }
    return ways[operator]()


def _handler(api: LangfuseApi) -> type[http.server.BaseHTTPRequestHandler]:
    class Handler(http.server.BaseHTTPRequestHandler):
        def _answer(self) -> None:
            body = self.rfile.read(int(self.headers.get("content-length", 0)))
            headers = {name.lower(): value for name, value in self.headers.items()}
            status, value = api.answer(self.command, self.path, headers, body)
            content = json.dumps(value).encode()
            self.send_response(status)
            self.send_header("content-type", "application/json")
            self.send_header("content-length", str(len(content)))
            self.end_headers()
            self.wfile.write(content)

        do_GET = do_PUT = do_POST = _answer

        def log_message(self, *arguments: Any) -> None:
            """Print nothing."""

    return Handler
