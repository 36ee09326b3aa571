"""What the SDK's instruments have no public way for: many histogram points in one go, and forgetting them.

The public `Histogram.record` validates, copies and hashes the attributes of every point. The points of one
series have the same attributes, so the first goes through the public method, which makes the aggregation, and
the others are added to it directly. Where the SDK is shaped otherwise (another SDK, a view that aggregates in
another way), every point takes the public way.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Sequence
from typing import Any

from opentelemetry.metrics import Histogram


def record_all(histogram: Histogram, values: Sequence[float], attributes: dict[str, Any]) -> None:
    """Record every value with the same attributes."""
    if not values:
        return
    histogram.record(values[0], attributes)
    if len(values) == 1:
        return
    rest = values[1:]
    aggregations = _aggregations(histogram, attributes)
    if aggregations is None:
        for value in rest:
            histogram.record(value, attributes)
        return
    for aggregation in aggregations:
        _merge(aggregation, rest)


def forget_all(meter: Any) -> None:
    """Forget what a meter's instruments have been told: in a forked child, that is the parent's to report."""
    try:
        for instrument in meter._instrument_id_instrument.values():
            for storage in instrument._measurement_consumer._reader_storages.values():
                for match in storage._instrument_view_instrument_matches[instrument]:
                    match._attributes_aggregation = {}
    except (AttributeError, KeyError, RuntimeError):
        pass  # another SDK, with ways of its own


def _aggregations(histogram: Any, attributes: dict[str, Any]) -> list[Any] | None:
    """The explicit-bucket aggregations that hold these attributes, one per reader; `None` if any is unlike that."""
    try:
        found = []
        for storage in histogram._measurement_consumer._reader_storages.values():
            for match in storage._instrument_view_instrument_matches[histogram]:
                if match._view._attribute_keys is not None:
                    return None
                for aggregation in match._attributes_aggregation.values():
                    if aggregation._attributes == attributes:
                        if not (
                            hasattr(aggregation, "_boundaries")
                            and hasattr(aggregation, "_record_min_max")
                            and isinstance(aggregation._value, list)
                        ):
                            return None
                        found.append(aggregation)
                        break
                else:
                    return None
        return found
    except (AttributeError, KeyError, RuntimeError):
        return None


def _merge(aggregation: Any, values: Sequence[float]) -> None:
    # Sorting once and finding the boundaries among the values costs a fraction of finding each value's bucket.
    ordered = sorted(values)
    below = [bisect_right(ordered, boundary) for boundary in aggregation._boundaries]
    below.append(len(ordered))
    with aggregation._lock:
        if aggregation._value is None:
            aggregation._value = aggregation._get_empty_bucket_counts()
        counts = aggregation._value
        before = 0
        for place, count in enumerate(below):
            counts[place] += count - before
            before = count
        aggregation._sum += sum(ordered)
        if aggregation._record_min_max:
            aggregation._min = min(aggregation._min, ordered[0])
            aggregation._max = max(aggregation._max, ordered[-1])
