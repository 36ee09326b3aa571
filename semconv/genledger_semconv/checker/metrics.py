"""Rules for metrics."""

from __future__ import annotations

from opentelemetry.sdk.metrics.export import (
    ExponentialHistogram,
    Histogram,
    HistogramDataPoint,
    Metric,
    NumberDataPoint,
    Sum,
)
from opentelemetry.sdk.util.instrumentation import InstrumentationScope

from .. import attributes as A
from .. import metrics as M
from .. import registry as R
from .. import spans as S
from .attributes import OUR_NAMESPACES, check_attributes, check_required, check_schema_url
from .deviation import Options, Report, is_ours

_NAMESPACES = (*OUR_NAMESPACES, "mcp.")


def _instrument(metric: Metric) -> str:
    if isinstance(metric.data, (Histogram, ExponentialHistogram)):
        return "histogram"
    if isinstance(metric.data, Sum):
        return "counter" if metric.data.is_monotonic else "updowncounter"
    return "gauge"


def _check_names(metric: Metric, declared: R.Metric, options: Options, report: Report) -> None:
    chosen = options.metric_names
    if declared.names is not None and chosen != "both" and declared.names != chosen:
        report("unknown-name", f"belongs to the {declared.names} names; {chosen} ones are checked for", None)


def _check_value(point: object, declared: R.Metric, report: Report) -> None:
    if isinstance(point, NumberDataPoint):
        # OTLP carries the type of each number, so a double counter that adds an int changes type on the way.
        wanted = int if declared.value_type == "int" else float
        if type(point.value) is not wanted:
            report("value-type", f"has the value {point.value!r}, not {declared.value_type}", None)
    elif isinstance(point, HistogramDataPoint):
        if declared.value_type == "int" and not isinstance(point.sum, int):
            report("value-type", f"has the sum {point.sum!r}, not {declared.value_type}", None)
        if tuple(point.explicit_bounds) != declared.buckets:
            report("buckets", f"are {tuple(point.explicit_bounds)}, not {declared.buckets}", None)


def _check_operation(operation: object, declared: R.Metric, options: Options, report: Report) -> None:
    inference = operation in S.INFERENCE_OPERATIONS
    if declared.inference is True and not inference:
        report("metric-operation", f"is for inference, which {operation!r} is not", A.GEN_AI_OPERATION_NAME)
    if declared.inference is False and inference and options.metric_names == "newest":
        report(
            "metric-operation",
            f"{operation!r} is inference, recorded as {M.GEN_AI_CLIENT_INFERENCE_DURATION}",
            A.GEN_AI_OPERATION_NAME,
        )


def check_metric(metric: Metric, scope: InstrumentationScope | None, options: Options, report: Report) -> None:
    """Check one metric and all of its points.

    A metric that the registry does not have is a deviation if its name is in a namespace of the GenAI
    conventions, or if we made it.
    """
    check_schema_url(scope, report)
    declared = R.registry().metrics.get(metric.name)
    if declared is None:
        if (is_ours(scope) or metric.name.startswith(_NAMESPACES)) and not options.allows(metric.name):
            report("unknown-name", "is not in the registry", None)
        return
    _check_names(metric, declared, options, report)
    instrument = _instrument(metric)
    if instrument != declared.instrument:
        report("instrument", f"is a {instrument}, not a {declared.instrument}", None)
        return
    if metric.unit != declared.unit:
        report("unit", f"is {metric.unit!r}, not {declared.unit!r}", None)
    for point in metric.data.data_points:
        attributes = point.attributes or {}
        _check_value(point, declared, report)
        check_required(attributes, declared.levels, report)
        check_attributes(attributes, options, report, declared=declared.levels.declared, namespaces=("",))
        _check_operation(attributes.get(A.GEN_AI_OPERATION_NAME), declared, options, report)
