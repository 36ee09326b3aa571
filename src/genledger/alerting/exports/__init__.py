"""Alert rules as the files of other evaluators. What these cannot say is left out, and named."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal, get_args

from genledger.alerting.exports.scopes import CannotSay
from genledger.alerting.rules import AlertFile, AlertRule

ExportTarget = Literal["prometheus", "datadog", "honeycomb"]

EXPORT_TARGETS: tuple[ExportTarget, ...] = get_args(ExportTarget)


@dataclass(frozen=True, slots=True)
class Exported:
    """The files of a target: their text by their name, and why a rule is in none of them, by its name."""

    files: dict[str, str] = field(default_factory=dict)
    left_out: dict[str, str] = field(default_factory=dict)


def export(target: ExportTarget, file: AlertFile) -> Exported:
    """Return the files that a target takes for the rules of a file."""
    return _EXPORTS[target](file)


def _prometheus(file: AlertFile) -> Exported:
    from genledger.alerting.exports.prometheus_rules import alerts, as_yaml

    found, left_out = _each(file.alert, lambda rule: alerts(rule, file.budget))
    whole = [one for alerts_of_rule in found.values() for one in alerts_of_rule]
    return Exported({"genledger.rules.yaml": as_yaml(whole)} if whole else {}, left_out)


def _datadog(file: AlertFile) -> Exported:
    from genledger.alerting.exports.datadog_monitors import monitors

    found, left_out = _each(file.alert, monitors)
    return Exported(_written(found), left_out)


def _honeycomb(file: AlertFile) -> Exported:
    from genledger.alerting.exports.honeycomb_triggers import triggers

    found, left_out = _each(file.alert, triggers)
    return Exported(_written(found), left_out)


def _each(
    rules: Iterable[AlertRule], make: Callable[[AlertRule], list[dict[str, Any]]]
) -> tuple[dict[str, list[dict[str, Any]]], dict[str, str]]:
    found: dict[str, list[dict[str, Any]]] = {}
    left_out: dict[str, str] = {}
    for rule in rules:
        try:
            found[rule.name] = make(rule)
        except CannotSay as error:
            left_out[rule.name] = str(error)
    return found, left_out


def _written(found: Mapping[str, list[dict[str, Any]]]) -> dict[str, str]:
    """One file for each monitor, as the APIs take them."""
    files: dict[str, str] = {}
    for number, (name, made) in enumerate(found.items(), start=1):
        safe = "".join(one if one.isascii() and one.isalnum() else "-" for one in name).strip("-").lower()
        for place, one in enumerate(made):
            end = f"-{place + 1}" if place else ""
            files[f"{number:02d}-{safe or 'alert'}{end}.json"] = json.dumps(one, indent=2, ensure_ascii=False) + "\n"
    return files


_EXPORTS: Mapping[ExportTarget, Callable[[AlertFile], Exported]] = {
    "prometheus": _prometheus,
    "datadog": _datadog,
    "honeycomb": _honeycomb,
}
