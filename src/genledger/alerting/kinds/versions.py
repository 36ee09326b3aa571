"""New versions that take more for a success."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime, timedelta

from genledger.alerting import verdicts
from genledger.alerting.history import History, Scope, conditions, scope_of, within
from genledger.alerting.kinds.surroundings import Surroundings
from genledger.alerting.rule_findings import RuleFinding
from genledger.alerting.rules import AlertRule
from genledger.ledger.query import Filter


def regressions(rule: AlertRule, history: History, around: Surroundings) -> Iterator[RuleFinding]:
    """Yield whether the newest version takes more for a success than the one before it."""
    now = history.local(rule.timezone)
    since = now - 2 * timedelta(seconds=rule.window_s)
    used_by_trace = history.rows((rule.metric,), since, by=(*rule.by, rule.split, "trace"), where=conditions(rule))
    wanted = (Filter("outcome_name", "=", (rule.outcome_name,)),) if rule.outcome_name is not None else ()
    successes = {
        row["trace"]: row["outcomes"] for row in history.rows(("outcomes",), since, by=("trace",), where=wanted)
    }
    firsts = {
        (scope_of(rule, row), row[rule.split]): row["time"]
        for row in reversed(
            history.rows(("calls",), since, by=(*rule.by, rule.split), every="hour", where=conditions(rule))
        )
    }
    pairs: dict[Scope, dict[str, list[tuple[float, float]]]] = {}
    for row in used_by_trace:
        scope, version = scope_of(rule, row), row[rule.split]
        if scope is not None and version is not None:
            pair = (float(row[rule.metric] or 0), float(successes.get(row["trace"], 0)))
            pairs.setdefault(scope, {}).setdefault(str(version), []).append(pair)
    for scope, versions in pairs.items():
        order = sorted(versions, key=lambda version: firsts.get((scope, version), ""))
        if len(order) < 2:
            continue
        before, after = order[-2], order[-1]
        first = datetime.fromisoformat(firsts[scope, after])
        for above in rule.thresholds:
            verdict = verdicts.regression(
                rule.form,
                versions[after],
                versions[before],
                above=above,
                min_successes=rule.min_successes,
            )
            yield RuleFinding(
                rule,
                scope,
                above,
                first,
                now,
                verdict,
                subject=f"{rule.split} {after}",
                cause=(f"{rule.split} {after} since {first:%Y-%m-%d %H:%M}, before it {before}",),
                where=(*within(rule, scope), Filter(rule.split, "=", (after,))),
                unit="tokens per success" if rule.metric == "tokens" else "USD per success",
            )
