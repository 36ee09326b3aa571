"""Questions in PromQL, with the metric names that an OpenTelemetry collector and the Prometheus exporter write."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import NamedTuple

from genledger.dashboards.panels import Panel
from genledger.ledger.query import Filter

_WHO = {
    "tenant": "genledger_tenant_id",
    "feature": "genledger_feature",
    "prompt_version": "gen_ai_prompt_version",
    "release": "service_version",
}
_CALL = {
    **_WHO,
    "model": "gen_ai_response_model",
    "request_model": "gen_ai_request_model",
    "provider": "gen_ai_provider_name",
    "operation": "gen_ai_operation_name",
    "outcome": "genledger_outcome",
    "agent": "gen_ai_agent_name",
}
_TIMED = {**_CALL, "error_type": "error_type"}
_STORE = {**_WHO, "outcome": "genledger_outcome", "error_type": "error_type"}
_OUTCOME = {**_WHO, "outcome_name": "genledger_outcome_name"}
_VALUE = {**_OUTCOME, "currency": "genledger_outcome_currency"}
_HIT = {**_WHO, "request_model": "gen_ai_request_model", "provider": "gen_ai_provider_name"}
_BUDGET = {"budget_rule": "genledger_budget_rule", "budget_scope": "genledger_budget_scope"}
_DROPPED = {"destination": "genledger_destination_name", "drop_reason": "genledger_destination_reason"}

LABELS: Mapping[str, str] = {
    **_TIMED,
    **_VALUE,
    **_BUDGET,
    **_DROPPED,
    "label_name": "genledger_label_name",
}
"""The label of each field that metrics have."""

PLACES = ("cluster", "job")
"""Labels of every series, by which a dashboard's reader chooses clusters and services."""

VARIABLES = ("tenant", "feature", "model")
"""Fields that a dashboard's reader chooses values of, for every panel whose metrics have them."""


class Series(NamedTuple):
    """Metric of Prometheus.

    Attributes:
        name: Its own.
        labels: The label of each field that it has.
        matchers: What selects the series that are meant, if not all are.
        operations: The operations that it is of; empty: of any.
    """

    name: str
    labels: Mapping[str, str]
    matchers: tuple[str, ...] = ()
    operations: frozenset[str] = frozenset()


_OTHER_OPERATIONS = frozenset({"embeddings", "rerank", "retrieval"})
_INFERENCE = "gen_ai_client_inference"
_DURATIONS = (
    Series(f"{_INFERENCE}_duration_seconds", _TIMED),
    Series("gen_ai_client_operation_duration_seconds", _TIMED),
    # Searches are among the operations already.
    Series("db_client_operation_duration_seconds", _STORE, ('db_operation_name!="query"',)),
)
_INPUT = (
    Series(f"{_INFERENCE}_usage_input_tokens_total", _CALL),
    Series("genledger_embeddings_tokens_total", _CALL, operations=frozenset({"embeddings"})),
    Series("genledger_rerank_tokens_total", _CALL, operations=frozenset({"rerank"})),
)
_OUTPUT = Series(f"{_INFERENCE}_usage_output_tokens_total", _CALL)
_CHUNKS = Series(f"{_INFERENCE}_time_to_first_chunk_seconds", _CALL)

_COUNTERS: Mapping[str, tuple[Series, ...]] = {
    "cost": (Series("genledger_cost_USD_total", _CALL),),
    "unpriced": (Series("genledger_unpriced_calls_total", {**_CALL, "unpriced_reason": "genledger_cost_unpriced"}),),
    "input_tokens": _INPUT,
    "output_tokens": (_OUTPUT,),
    "cached_tokens": (Series(f"{_INFERENCE}_usage_cache_read_input_tokens_total", _CALL),),
    "cache_write_tokens": (Series(f"{_INFERENCE}_usage_cache_write_input_tokens_total", _CALL),),
    "reasoning_tokens": (Series(f"{_INFERENCE}_usage_reasoning_output_tokens_total", _CALL),),
    "outcomes": (Series("genledger_outcomes_total", _OUTCOME),),
    "cache_hits": (Series("genledger_cache_hits_total", _HIT),),
    "saved": (Series("genledger_cache_saved_USD_total", _HIT),),
    "budget_blocks": (Series("genledger_budget_blocks_total", _BUDGET),),
    "budget_store_failures": (Series("genledger_budget_store_failures_total", {}),),
    "records_dropped": (
        Series("genledger_destination_records_total", _DROPPED, ('genledger_destination_state="dropped"',)),
    ),
    "labels_overflow": (Series("genledger_labels_overflow_total", {"label_name": "genledger_label_name"}),),
}
_GAUGES: Mapping[str, Series] = {
    # A collector adds the unit of a share to its name; the exporter of the SDK does not.
    "budget_used": Series("", _BUDGET, ('__name__=~"genledger_budget_used(_ratio)?"',)),
    "budget_reserved": Series("genledger_budget_reserved", _BUDGET),
}
_ERRORS = Filter("outcome", "=", ("error", "timeout", "rate_limited"))
_SUCCESS = Filter("outcome", "=", ("success",))
_QUANTILES = {"latency_p50": 0.5, "latency_p95": 0.95}


class Question(NamedTuple):
    """What a metric is asked for.

    Attributes:
        by: Fields.
        where: Conditions, all of which hold.
        window: Duration in brackets, and what follows them.
        chosen: Variables of the dashboard that narrow it.
    """

    by: tuple[str, ...]
    where: tuple[Filter, ...]
    window: str
    chosen: tuple[str, ...] = ()

    def also(self, *conditions: Filter) -> Question:
        """Return it with further conditions."""
        return self._replace(where=(*self.where, *conditions))


def expression(panel: Panel, metric: str, window: str) -> str | None:
    """Return a metric of a panel in PromQL, or `None` if metrics do not have it.

    Args:
        panel: Its fields and conditions are used, and the dashboard's variables.
        metric: One of the panel's.
        window: As in `Question`: for example `[1d] offset -1d`, where a day's sum stands at its beginning.
    """
    question = Question(panel.by, panel.where, window, (*PLACES, *VARIABLES))
    found = _asked(metric, question, panel.least_outcomes)
    if found is None or not panel.top:
        return found
    if not panel.over_time:
        return f"topk({panel.top}, {found})"
    whole = _asked(metric, question._replace(window="[$__range] @ end()"))
    return f"{found} and on ({_labels(panel.by)}) topk({panel.top}, {whole})"


def asked(metric: str, question: Question) -> str:
    """Return a metric in PromQL.

    Raises:
        KeyError: Metrics do not have it.
    """
    found = _asked(metric, question)
    if found is None:
        raise KeyError(metric)
    return found


def _asked(metric: str, question: Question, least_outcomes: int = 0) -> str | None:
    if metric in _GAUGES:
        return _max(_GAUGES[metric], question)
    if metric in _COUNTERS:
        return _sum(_COUNTERS[metric], question)
    if metric in _QUANTILES:
        buckets = _sum(_DURATIONS, question.also(_SUCCESS), "_bucket", "le")
        return buckets and f"histogram_quantile({_QUANTILES[metric]}, {buckets})"
    if metric in ("cost_per_outcome", "tokens_per_outcome"):
        return _per_outcome(metric, question, least_outcomes)
    match metric:
        case "calls":
            return _sum(_DURATIONS, question, "_count")
        case "errors":
            return _sum(_DURATIONS, question.also(_ERRORS), "_count")
        case "tokens":
            return _sum((*_INPUT, _OUTPUT), question)
        case "error_rate":
            return _share(_asked("errors", question), _asked("calls", question))
        case "unpriced_share":
            return _share(_asked("unpriced", question), _asked("calls", question))
        case "latency":
            of = question.also(_SUCCESS)
            return _ratio(_sum(_DURATIONS, of, "_sum"), _sum(_DURATIONS, of, "_count"))
        case "time_to_first_chunk":
            return _ratio(_sum((_CHUNKS,), question, "_sum"), _sum((_CHUNKS,), question, "_count"))
        case "outcome_value":
            given, withdrawn = (Series(f"genledger_outcomes_{kind}_total", _VALUE) for kind in ("value", "withdrawn"))
            total, back = _sum((given,), question), _sum((withdrawn,), question)
            return total and f"{total} - ({back} or 0 * {total})"
    return None


def _ratio(part: str | None, whole: str | None) -> str | None:
    return part and whole and f"{part} / {whole}"


def _share(part: str | None, whole: str | None) -> str | None:
    """A share of 0 where there is a whole, and no part."""
    return part and whole and f"({part} or 0 * {whole}) / {whole}"


def _per_outcome(metric: str, question: Question, least: int) -> str | None:
    spent = tuple(name for name in question.by if name != "outcome_name")
    part = _asked(metric.removesuffix("_per_outcome"), question._replace(by=spent))
    whole = _asked("outcomes", question)
    if part is None or whole is None:
        return None
    enough = f"({whole} >= {least})" if least else f"({whole} > 0)"
    joined = "" if spent == question.by else f" on ({_labels(spent)}) group_right ()"
    return f"{part} /{joined} {enough}"


def _max(series: Series, question: Question) -> str | None:
    selector = _selector(series, question)
    return None if selector is None else f"max {_by(question.by)}({series.name}{selector})"


def _sum(series: Sequence[Series], question: Question, suffix: str = "", *also_by: str) -> str | None:
    """The increase of all of them together. A call that two count with the same labels counts once."""
    parts: list[str] = []
    for one in series:
        selector = _selector(one, question)
        if selector is not None:
            part = f"increase({one.name}{suffix}{selector}{question.window})"
            # Input and output tokens have the same labels.
            parts.append(f'label_replace({part}, "part", "output", "", "")' if one is _OUTPUT and parts else part)
    return f"sum {_by(question.by, *also_by)}({' or '.join(parts)})" if parts else None


def _by(fields: Sequence[str], *more: str) -> str:
    labels = ", ".join(filter(None, [*more, _labels(fields)]))
    return f"by ({labels}) " if labels else ""


def _labels(fields: Sequence[str]) -> str:
    return ", ".join(label_of(name) for name in fields)


def label_of(field: str) -> str:
    """Return the label of a field."""
    return "genledger_cost_unpriced" if field == "unpriced_reason" else LABELS.get(field, field)


def _selector(series: Series, question: Question) -> str | None:
    """The matchers of the series that are meant, or `None` if it has none of what is asked for."""
    if any(name not in series.labels for name in question.by):
        return None
    matchers = [f'{name}=~"${name}"' for name in question.chosen if name in PLACES]
    matchers += series.matchers
    matchers += [f'{series.labels[name]}=~"${name}"' for name in question.chosen if name in series.labels]
    for condition in question.where:
        if condition.field not in series.labels:
            return None
        if condition.field == "operation" and not _may_be(series, condition):
            return None
        matchers.append(f"{series.labels[condition.field]}{_matches(condition)}")
    return f"{{{', '.join(matchers)}}}" if matchers else ""


def _may_be(series: Series, condition: Filter) -> bool:
    if condition.operator != "=":
        return True
    if series.operations:
        return not series.operations.isdisjoint(condition.values)
    inference = series.name.startswith(_INFERENCE)
    other = series.name.startswith("gen_ai_client_operation")
    wanted = _OTHER_OPERATIONS.intersection(condition.values)
    return not ((inference and len(wanted) == len(condition.values)) or (other and not wanted))


def _matches(condition: Filter) -> str:
    """The operator and value of a matcher."""
    if condition.operator == "~":
        patterns = [re.escape(value).replace(r"\*", ".*").replace(r"\?", ".") for value in condition.values]
        return f"=~{_quoted('|'.join(patterns))}"
    if len(condition.values) == 1:
        return f"{condition.operator}{_quoted(condition.values[0])}"
    operator = "!~" if condition.operator == "!=" else "=~"
    return f"{operator}{_quoted('|'.join(map(re.escape, condition.values)))}"


def _quoted(text: str) -> str:
    return '"' + text.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n") + '"'
