"""Alert rules of Prometheus, which Mimir, VictoriaMetrics and Grafana Cloud evaluate, too.

Where a sound form needs more than rates, the nearest that PromQL can say is used: the median of the same weekday in
place of a weekday profile, and Poisson counts in place of pairs. Windows roll, in UTC.
"""

from __future__ import annotations

import fnmatch
import json
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from genledger.alerting.exports.scopes import IN_METRICS, CannotSay, remedy, summary
from genledger.alerting.history import LOOK_BACK_DAYS, conditions
from genledger.alerting.kinds.new_values import NEW_CALLS, NEW_USD
from genledger.alerting.kinds.spending_rules import FIRST_TIMES
from genledger.alerting.kinds.traffic import LEAST_EMBEDDING_USD
from genledger.alerting.rules import MIN_SHARE, MIN_USD, AlertRule
from genledger.alerting.verdicts import MIN_CALLS
from genledger.budgets.rules.rule import Rule
from genledger.dashboards.promql import Question, asked, label_of
from genledger.ledger.query import Filter

WEEKS = 4
"""Weeks that the usual day is the median of. Prometheus keeps 15 days unless told otherwise: set 30."""

LEAST_WEEKS = 2
INTERVAL = "5m"
"""Between evaluations: ranges of a month are no work for every few seconds."""

LOOK_BACK = f"{LOOK_BACK_DAYS}d"
_DAY = 86_400
_EMBEDDINGS = Filter("operation", "=", ("embeddings",))
_GENERATION = Filter("operation", "!=", ("embeddings", "rerank"))
_ELAPSED = {
    "day": "(hour() * 60 + minute()) / 1440",
    "week": "((day_of_week() + 6) % 7 + hour() / 24) / 7",
    "month": "(day_of_month() - 1 + hour() / 24) / days_in_month()",
}
_PER = {"hour": "1h", "day": "1d", "week": "7d", "month": "30d"}


def alerts(rule: AlertRule, budgets: Sequence[Rule] = ()) -> list[dict[str, Any]]:
    """Return the alerts of one rule, one for each threshold, and before them what they have recorded.

    Raises:
        CannotSay: PromQL cannot say it.
    """
    unknown = [name for name in rule.patterns if name not in IN_METRICS]
    if unknown:
        raise CannotSay(
            f"metrics have no {' and no '.join(unknown)}; `genledger alerts run` evaluates it on the ledger"
        )

    told, command, undo = map(_template, (summary(rule, _mark), *remedy(rule, _mark)))
    expressions = _Expressions(rule, budgets)
    found = [
        {
            "alert": f"Genledger{rule.kind.title()}",
            "expr": expressions.of(above),
            "labels": {"rule": _template(rule.name), "form": rule.form, "severity": "warning"}
            | ({"threshold": f"{above:g}"} if rule.unit else {}),
            "annotations": {"summary": told, "value": "{{ $value }}", "command": command}
            | ({"undo": undo} if undo else {}),
        }
        for above in rule.thresholds
    ]
    recorded = [
        {"record": name, "expr": text, "labels": {"rule": rule.name}} for name, text in expressions.recorded.items()
    ]
    return [*recorded, *found]


def _mark(field: str) -> str:
    return f"\0{label_of(field)}\0"


def _template(text: str) -> str:
    """Return a text as a template: the labels that are marked in it, and all else as it stands."""
    names = text.replace("{{", '{{ "{{" }}').split("\0")
    return "".join(f"{{{{ $labels.{name} }}}}" if number % 2 else name for number, name in enumerate(names))


def as_yaml(found: Iterable[Mapping[str, Any]]) -> str:
    """Return the text of a rule file with these alerts in one group."""
    lines = ["groups:", "  - name: genledger", f"    interval: {INTERVAL}", "    rules:"]
    for one in found:
        kind = "record" if "record" in one else "alert"
        lines += [f"      - {kind}: {one[kind]}", "        expr: |-"]
        lines += [f"          {line}" for line in one["expr"].splitlines()]
        for key in ("labels", "annotations"):
            if key in one:
                lines.append(f"        {key}:")
                lines += [
                    f"          {name}: {json.dumps(text, ensure_ascii=False)}" for name, text in one[key].items()
                ]
    return "\n".join(lines) + "\n"


def duration(seconds: int) -> str:
    """Return a duration as PromQL writes it, in its largest unit."""
    for size, unit in ((_DAY, "d"), (3600, "h"), (60, "m")):
        if seconds % size == 0:
            return f"{seconds // size}{unit}"
    return f"{seconds}s"


class _Expressions:
    """The expressions of one rule.

    Attributes:
        recorded: Expressions that others use by their names.
    """

    def __init__(self, rule: AlertRule, budgets: Sequence[Rule]) -> None:
        self._rule = rule
        self._budgets = budgets
        self._by: tuple[str, ...] = rule.by
        self._where = conditions(rule)
        self._over = rule.window_s
        self._sound = rule.form == "sound"
        self.recorded: dict[str, str] = {}

    def of(self, above: float) -> str:
        """Return the expression that is there when the rule fires at a threshold."""
        return getattr(self, f"_{self._rule.kind}")(above)

    def _sum(self, metric: str, window: str, *more: Filter, back: str = "", by: tuple[str, ...] | None = None) -> str:
        text = f"[{window}]{f' offset {back}' if back else ''}"
        return asked(metric, Question(self._by if by is None else by, (*self._where, *more), text))

    @property
    def _on(self) -> str:
        return f"on ({', '.join(label_of(name) for name in self._by)})"

    def _spike(self, above: float) -> str:
        today = self._sum("cost", "1d")
        first = self._rule.first_usd
        if not self._sound:
            week = self._sum("cost", "7d", back="1d")
            found = f"{today} > {above:g} * {week} / 7"
            return f"{found}\nand {today} > {self._rule.min_usd:g}" if self._rule.min_usd else found
        spent, usual = self._record("cost", today), self._usual("1d")
        floor = MIN_USD if self._rule.min_usd is None else self._rule.min_usd
        first = FIRST_TIMES * max(floor, MIN_USD) if first is None else first
        found = f"(\n  {spent} > {above:g} * {usual}\n  and {spent} - {usual} >= {floor:g}\n"
        if self._rule.min_usd is None:
            whole = asked("cost", Question((), (), "[1d]"))
            found += f"  and {spent} - {usual} > on () group_left () {MIN_SHARE:g} * {whole}\n"
        before = self._sum("cost", LOOK_BACK, back="1d")
        return f"{found})\nor (\n  {today} > {first:g}\n  unless {before} > 0\n)"

    def _record(self, name: str, text: str) -> str:
        """Return how a recorded expression is named in others."""
        full = f"genledger:{self._rule.kind}:{name}"
        self.recorded[full] = text
        return f"{full}{{rule={json.dumps(self._rule.name, ensure_ascii=False)}}}"

    def _usual(self, window: str) -> str:
        """The median of a window so many weeks ago, where there are enough of them."""
        parts = []
        for number in range(1, WEEKS + 1):
            part = self._sum("cost", window, back=f"{7 * number}d")
            parts.append(f'label_replace({part}, "weeks_ago", "{number}", "", "")')
        weeks = self._record("weeks", "\nor ".join(parts))
        by = f"by ({', '.join(['rule', *map(label_of, self._by)])})"
        return self._record("usual", f"quantile {by} (0.5, {weeks})\nand count {by} ({weeks}) >= {LEAST_WEEKS}")

    def _growth(self, above: float) -> str:
        week, before = self._sum("cost", "7d"), self._sum("cost", "7d", back="7d")
        found = f"{week} / {before} > {1 + above:g}"
        if self._sound:
            cost = self._record("cost", week)
            found = f"{found}\nand {self._on} {cost} > {1 + above:g} * {self._usual('7d')}"
        floor = self._rule.min_usd if self._rule.min_usd is not None else 7 * MIN_USD if self._sound else 0.0
        return f"{found}\nand {week} - {before} > {floor:g}" if floor else found

    def _regression(self, above: float) -> str:
        if not self._by:
            raise CannotSay("a version is compared within each of a field's values; write feature = 'each'")
        over = duration(self._over)
        wanted = (Filter("outcome_name", "=", (self._rule.outcome_name,)),) if self._rule.outcome_name else ()
        versions = (*self._by, self._rule.split)
        metric = self._rule.metric
        many = asked("outcomes", Question(versions, (*self._where, *wanted), f"[{over}]"))
        few = asked("outcomes", Question(self._by, (*self._where, *wanted), f"[{over}] offset {over}"))
        known = asked("outcomes", Question(versions, (*self._where, *wanted), f"[{over}] offset {over}"))
        after = f"({self._sum(metric, over, by=versions)} / {many})"
        before = f"({self._sum(metric, over, back=over)} / {few})"
        ratio = f"{after} / {self._on} group_left () {before}"
        found = f"{ratio} > {above:g}\nunless {known} > 0"
        if not self._sound:
            return found
        least = self._rule.min_successes
        # The lower bound of the ratio, if outcomes come by chance.
        noise = f"sqrt(1 / {many} + {self._on} group_left () 1 / {few})"
        return (
            f"{found}\nand {many} >= {least}\nand {self._on} {few} >= {least}\nand {ratio} * exp(-1.96 * {noise}) > 1.1"
        )

    def _errors(self, above: float) -> str:
        over, short = duration(self._over), duration(self._over // 6)
        least = self._rule.min_calls or MIN_CALLS
        now, before = self._sum("input_tokens", over), self._sum("input_tokens", over, back=over)
        found = f"{self._sum('error_rate', over)} > {above:g}"
        if self._sound:
            found += f"\nand {self._sum('error_rate', short)} > {above:g}"
        return f"{found}\nand {self._sum('calls', over)} >= {least}\nand {now} > ({before} or 0 * {now})"

    def _pace(self, above: float) -> str:
        named: dict[str, list[str]] = {}
        for budget in self._budgets:
            if fnmatch.fnmatchcase(budget.name, self._rule.budget) and budget.window.period in _ELAPSED:
                named.setdefault(budget.window.period, []).append(budget.name)
        if not named:
            named_so = "" if self._rule.budget == "*" else f" with a name like {self._rule.budget!r}"
            raise CannotSay(f"the file has no budget by day, week or month{named_so}")
        fields = ("budget_rule", "budget_scope")
        parts = []
        for period, names in named.items():
            used = asked("budget_used", Question(fields, (Filter("budget_rule", "=", tuple(names)),), ""))
            elapsed = _ELAPSED[period]
            if self._sound:
                # The first tenth of a window says little about its end.
                parts.append(f"{used} / on () group_left () clamp_min({elapsed}, 0.1) > {above / 100:g}")
            else:
                parts.append(f"{used} > {above / 100:g} and on () ({elapsed} <= 0.25)")
        return "\nor ".join(parts)

    def _embeddings(self, above: float) -> str:
        over = duration(self._over)
        embedded = self._sum("tokens", over, _EMBEDDINGS)
        generated = self._sum("tokens", over, _GENERATION)
        if not self._sound:
            return f"{embedded} > {above:g} * ({generated} or 0 * {embedded})"
        usual = f"{self._sum('tokens', '7d', _EMBEDDINGS, back=over)} * {self._over / (7 * _DAY):.6g}"
        floor = LEAST_EMBEDDING_USD if self._rule.min_usd is None else self._rule.min_usd
        return (
            f"{embedded} > ({generated} or 0 * {embedded})\nand {embedded} > {above:g} * {usual}\n"
            f"and {self._sum('cost', over, _EMBEDDINGS)} > {floor:g}"
        )

    def _spend(self, above: float) -> str:
        return f"{self._sum('cost', _PER[self._rule.per])} > {above:g}"

    def _unpriced(self, above: float) -> str:
        over = duration(self._over)
        least = self._rule.min_calls or (MIN_CALLS if self._sound else 1)
        return f"{self._sum('unpriced_share', over)} > {above:g}\nand {self._sum('calls', over)} >= {least}"

    def _dropped(self, above: float) -> str:
        question = Question(("destination", "drop_reason"), (), f"[{duration(self._over)}]")
        return f"{asked('records_dropped', question)} > {above:g}"

    def _silence(self, above: float) -> str:
        over = duration(self._over)
        now, before = self._sum("calls", over), self._sum("calls", over, back=over)
        if not self._by:
            return f"({now} or vector(0)) == 0"
        return f"{before} > 0\nunless {now} > 0"

    def _new(self, above: float) -> str:
        watch = self._rule.watch
        if watch not in IN_METRICS:
            raise CannotSay(f"metrics have no {watch}; `genledger alerts run` evaluates it on the ledger")
        over = duration(self._over)
        by = (*self._by, watch) if watch not in self._by else self._by
        now = self._sum("calls", over, by=by)
        before = self._sum("calls", LOOK_BACK, back=over, by=by)
        least = self._rule.min_calls or (NEW_CALLS if self._sound else 1)
        found = f"{now} >= {least}\nunless {before} > 0"
        usd = self._rule.min_usd if self._rule.min_usd is not None else NEW_USD if self._sound else 0.0
        return f"{found}\nand {self._sum('cost', over, by=by)} >= {usd:g}" if usd else found
