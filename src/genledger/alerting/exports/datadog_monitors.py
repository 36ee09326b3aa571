"""Alert rules as monitors of Datadog. Its windows roll, and a change is against the same time a week ago."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from genledger.alerting.exports.scopes import IN_METRICS, CannotSay, remedy, summary
from genledger.alerting.history import conditions
from genledger.alerting.rules import AlertRule
from genledger.dashboards.datadog import monitored
from genledger.dashboards.trace_attributes import ATTRIBUTES
from genledger.ledger.query import Filter

_EMBEDDINGS = Filter("operation", "=", ("embeddings",))
_PER = {"hour": "last_1h", "day": "last_1d", "week": "last_1w", "month": "last_1mo"}
_WINDOWS: Mapping[int, str] = {
    300: "last_5m",
    600: "last_10m",
    900: "last_15m",
    1_800: "last_30m",
    3_600: "last_1h",
    7_200: "last_2h",
    14_400: "last_4h",
    86_400: "last_1d",
}


def monitors(rule: AlertRule) -> list[dict[str, Any]]:
    """Return the bodies of `POST /api/v1/monitor`: one for each threshold.

    Raises:
        CannotSay: A monitor cannot say it.
    """
    unknown = [name for name in rule.patterns if name not in IN_METRICS]
    if unknown:
        raise CannotSay(f"metrics have no {' and no '.join(unknown)}")

    def value_of(field: str) -> str:
        return f"{{{{{ATTRIBUTES[field]}.name}}}}"

    command, undo = remedy(rule, value_of)
    found = []
    for above in rule.thresholds:
        query, critical = _query(rule, above)
        undone = f" Undo it with `{undo}`." if undo else ""
        found.append(
            {
                "name": f"Genledger: {rule.name}" + (f" above {above:g}" if rule.unit else ""),
                "type": "query alert",
                "query": query,
                "message": f"{summary(rule, value_of)}. Value: {{{{value}}}}. Act with `{command}`.{undone}",
                "tags": ["genledger", f"genledger_alert:{rule.kind}"],
                "options": {
                    "thresholds": {"critical": critical},
                    "include_tags": True,
                    "notify_no_data": rule.kind == "silence",
                    "require_full_window": False,
                }
                | ({"no_data_timeframe": max(10, rule.window_s // 60)} if rule.kind == "silence" else {}),
            }
        )
    return found


def _query(rule: AlertRule, above: float) -> tuple[str, float]:
    where = conditions(rule)

    def of(metric: str, *more: Filter, by: tuple[str, ...] = rule.by) -> str:
        text = monitored(metric, by, (*where, *more))
        if text is None:
            raise CannotSay(f"Datadog has no metric for {metric} of such a scope")
        return text

    match rule.kind:
        case "spike":
            critical = (above - 1) * 100
            return f"pct_change(sum(last_1d),last_1w):{of('cost')} > {critical:g}", critical
        case "errors":
            return f"sum({_window(rule)}):{of('error_rate')} > {100 * above:g}", 100 * above
        case "embeddings":
            embedded, generated = of("tokens", _EMBEDDINGS), of("output_tokens")
            return f"sum({_window(rule)}):{embedded} / {generated} > {above:g}", above
        case "spend":
            return f"sum({_PER[rule.per]}):{of('cost')} > {above:g}", above
        case "unpriced":
            return f"sum({_window(rule)}):{of('unpriced_share')} > {100 * above:g}", 100 * above
        case "dropped":
            dropped = of("records_dropped", by=("destination", "drop_reason"))
            return f"sum({_window(rule)}):{dropped} > {above:g}", above
        case "silence":
            return f"sum({_silence(rule)}):{of('calls')} < 1", 1
        case "pace":
            if rule.form == "sound":
                raise CannotSay(
                    "a monitor does not know how much of a budget's window has passed; form = 'plain' is exported"
                )
            used = monitored("budget_used", ("budget_rule", "budget_scope"), ())
            return f"max(last_15m):{used} > {above:g}", above
    raise CannotSay(f"a monitor cannot compare {_COMPARED[rule.kind]}; `genledger alerts run` does, on the ledger")


_COMPARED = {
    "regression": "a version with the one before it",
    "growth": "one week with another",
    "new": "values with those that there were before",
}


def _window(rule: AlertRule) -> str:
    if rule.window_s not in _WINDOWS:
        raise CannotSay(f"a monitor has no window of {rule.over}; write one of 5m, 10m, 15m, 30m, 1h, 2h, 4h or 1d")
    return _WINDOWS[rule.window_s]


def _silence(rule: AlertRule) -> str:
    return _WINDOWS.get(rule.window_s, "last_4h")
