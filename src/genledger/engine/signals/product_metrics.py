"""What product outcomes and cache hits add to counters."""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any

from opentelemetry.trace import SpanContext

from genledger.context.attribution import Attribution
from genledger.engine.record import CacheHit, ProductEvent
from genledger.engine.signals.metric_points import CountedEvent, Point
from genledger.shared.after_fork import run_after_fork
from genledger_semconv import attributes as A
from genledger_semconv import metrics as M

MAX_KEYS = 10_000
"""Outcomes with a key that are remembered, so that one which comes again corrects what was counted."""

_FIELDS = ("tenant", "feature", "user", "session", "prompt_name", "prompt_version", "tags", "metadata")


class ProductMetrics:
    """The counters of one meter, and the outcomes that they have.

    A counter never goes down. What a correction takes back, and a value below 0, is counted in a counter of its own.
    A forked child knows what its parent has counted, so that both together are right.

    Args:
        put: Puts points in line to be recorded.
    """

    def __init__(self, put: Callable[[CountedEvent], None]) -> None:
        self._put = put
        self._known: OrderedDict[tuple[str, str], ProductEvent] = OrderedDict()
        self._renew_lock()
        run_after_fork(self._renew_lock)

    def _renew_lock(self) -> None:
        self._lock = threading.Lock()

    def outcome(self, event: ProductEvent, span: SpanContext | None) -> ProductEvent:
        """Count an outcome. Return it with what it leaves out, if it corrects one that is known."""
        if event.key is None:
            self._count(event, span)
            return event
        with self._lock:
            place = (event.name, event.key)
            before = self._known.get(place)
            if before is None:
                if len(self._known) >= MAX_KEYS:
                    self._known.popitem(last=False)
                self._known[place] = event
                self._count(event, span)
                return event
            now = self._known[place] = _corrected(before, event)
            self._recount(before, now, span)
            return now

    def hit(self, hit: CacheHit, span: SpanContext | None) -> None:
        """Count a cache hit, and what it saved where that is known."""
        points: list[Point] = [(M.GENLEDGER_CACHE_HITS, 1, {})]
        if hit.saved_usd is not None:
            points.append((M.GENLEDGER_CACHE_SAVED, hit.saved_usd, {}))
        labels = {
            A.GENLEDGER_CACHE_NAME: hit.cache,
            A.GEN_AI_PROVIDER_NAME: hit.provider,
            A.GEN_AI_REQUEST_MODEL: hit.model,
        }
        self._put(CountedEvent(points, {**labels, **_who(hit)}, span))

    def _count(self, event: ProductEvent, span: SpanContext | None) -> None:
        points: list[Point] = [(M.GENLEDGER_OUTCOMES, 1, {}), *_amount(event.value, event.currency)]
        self._put(CountedEvent(points, _labels(event), span))

    def _recount(self, before: ProductEvent, now: ProductEvent, span: SpanContext | None) -> None:
        if (_labels(before), before.currency) == (_labels(now), now.currency):
            self._put(CountedEvent(_amount(now.value - before.value, now.currency), _labels(now), span))
        else:
            self._put(CountedEvent(_amount(-before.value, before.currency), _labels(before), span))
            self._put(CountedEvent(_amount(now.value, now.currency), _labels(now), span))


def _corrected(before: ProductEvent, now: ProductEvent) -> ProductEvent:
    """Return an outcome with what a correction gives. The ledger does the same, for all processes."""
    fields: dict[str, Any] = {name: getattr(now.attribution, name) or None for name in _FIELDS}
    given = {name: value for name, value in fields.items() if value is not None}
    place = now if now.placed else before
    return now._replace(
        at_ns=now.at_ns if now.timed else before.at_ns,
        attribution=replace(before.attribution, **given) if given else before.attribution,
        trace_id=place.trace_id,
        span_id=place.span_id,
        currency=now.currency or before.currency,
        release=before.release,
    )


def _amount(value: float, currency: str | None) -> list[Point]:
    if not value:
        return []
    name = M.GENLEDGER_OUTCOMES_VALUE if value > 0 else M.GENLEDGER_OUTCOMES_WITHDRAWN
    return [(name, abs(value), {A.GENLEDGER_OUTCOME_CURRENCY: currency} if currency is not None else {})]


def _labels(event: ProductEvent) -> Mapping[str, str | None]:
    return {A.GENLEDGER_OUTCOME_NAME: event.name, **_who(event)}


def _who(event: ProductEvent | CacheHit) -> Mapping[str, str | None]:
    attribution: Attribution = event.attribution
    return {
        A.GENLEDGER_TENANT_ID: attribution.tenant,
        A.GENLEDGER_FEATURE: attribution.feature,
        A.GEN_AI_PROMPT_VERSION: attribution.prompt_version,
        A.SERVICE_VERSION: event.release,
    }
