"""Alert rules as triggers of Honeycomb. One looks at an hour at most, and compares it with that of a week ago."""

from __future__ import annotations

import math
from typing import Any

from genledger.alerting.exports.scopes import CannotSay, remedy, summary
from genledger.alerting.history import conditions
from genledger.alerting.rules import AlertRule
from genledger.alerting.verdicts import MIN_CALLS
from genledger.dashboards.honeycomb import COLUMNS, DATASET
from genledger.ledger.query import Filter
from genledger_semconv import attributes as A

HOUR_S = 3_600
_WEEK_MIN = 10_080
_CALLS = {"column": A.GENLEDGER_OUTCOME, "op": "exists"}
_FAILED = {"column": A.GENLEDGER_OUTCOME, "op": "in", "value": ["error", "timeout", "rate_limited"]}
_UNPRICED = {"column": A.GENLEDGER_COST_UNPRICED, "op": "exists"}
_EMBEDDINGS = {"column": A.GEN_AI_OPERATION_NAME, "op": "=", "value": "embeddings"}
_COST = {"op": "SUM", "column": A.GENLEDGER_COST_AMOUNT}
_COUNT = {"op": "COUNT"}


def triggers(rule: AlertRule) -> list[dict[str, Any]]:
    """Return triggers with their queries inside: one for each threshold.

    Raises:
        CannotSay: A trigger cannot say it.
    """
    unknown = [name for name in rule.patterns if name not in COLUMNS]
    if unknown:
        raise CannotSay(f"spans have no {' and no '.join(unknown)}")
    command, undo = remedy(rule, lambda field: f"<{field}>")
    described = f"{summary(rule, lambda field: f'<{field}>')}. Act with `{command}`."
    found = []
    for above in rule.thresholds:
        trigger = _trigger(rule, above)
        trigger["query"]["filters"] += [_filter(one) for one in conditions(rule)]
        if rule.by and rule.kind != "silence":
            trigger["query"]["breakdowns"] = [COLUMNS[field] for field in rule.by]
        name = f"Genledger: {rule.name}" + (f" above {above:g}" if rule.unit else "")
        seconds = trigger["query"]["time_range"]
        found.append(
            {
                "name": name,
                "description": described + (f" Undo it with `{undo}`." if undo else ""),
                "dataset": DATASET,
                # Its window may be four times as long at most.
                "frequency": max(60, math.ceil(seconds / 240) * 60),
                "alert_type": "on_change",
                **trigger,
            }
        )
    return found


def _trigger(rule: AlertRule, above: float) -> dict[str, Any]:
    a_week_ago = {"baseline_details": {"offset_minutes": _WEEK_MIN, "type": "percentage"}}
    match rule.kind:
        case "spike":
            return {**_asked(HOUR_S, _COST, ">", (above - 1) * 100, _CALLS), **a_week_ago}
        case "embeddings":
            tokens = {"op": "SUM", "column": A.GEN_AI_USAGE_INPUT_TOKENS}
            return {**_asked(HOUR_S, tokens, ">", (above - 1) * 100, _EMBEDDINGS), **a_week_ago}
        case "spend" if rule.per == "hour":
            return _asked(HOUR_S, _COST, ">", above, _CALLS)
        case "spend":
            raise CannotSay("a trigger looks at an hour at most; per = 'hour' is exported")
        case "errors":
            return _asked(_hour(rule), _COUNT, ">=", rule.min_calls or MIN_CALLS, _FAILED)
        case "unpriced":
            least = max(1, math.ceil(above * (rule.min_calls or MIN_CALLS)))
            return _asked(_hour(rule), _COUNT, ">=", least, _UNPRICED)
        case "silence":
            return _asked(HOUR_S, _COUNT, "<", 1, _CALLS)
    raise CannotSay(f"a trigger cannot watch {rule.kind}; `genledger alerts run` does, on the ledger")


def _hour(rule: AlertRule) -> int:
    return min(HOUR_S, rule.window_s)


def _asked(
    seconds: int, calculation: dict[str, str], operator: str, value: float, condition: dict[str, Any]
) -> dict[str, Any]:
    return {
        "query": {"time_range": seconds, "calculations": [calculation], "filters": [dict(condition)]},
        "threshold": {"op": operator, "value": value},
    }


def _filter(condition: Filter) -> dict[str, Any]:
    (pattern,) = condition.values
    if condition.operator == "=":
        return {"column": COLUMNS[condition.field], "op": "=", "value": pattern}
    head, star, rest = pattern.partition("*")
    if not star or rest or any(one in head for one in "?["):
        raise CannotSay(f"Honeycomb has no words for the pattern {pattern!r}; write a value, or one that ends with '*'")
    return {"column": COLUMNS[condition.field], "op": "starts-with", "value": head}
