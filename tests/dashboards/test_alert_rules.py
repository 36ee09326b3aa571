"""promtool evaluates the exported rules on made-up series: a first sample, a deploy, a weekend, and each other kind."""

from __future__ import annotations

import json
import re
import subprocess
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from genledger.alerting.exports import export
from genledger.alerting.rules import KINDS, AlertFile, AlertRule, alert, read_alert_file

from .running import program

BUDGETS = """
[[budget]]
name = "monthly"
tenant = "each"
usd = 100
per = "month"

[[budget]]
name = "daily"
usd = 10
per = "day"
"""

DAY = 24
"""Samples of a day: one each hour."""


class Line(NamedTuple):
    """A counter: its labels, and by how much it grows each hour. `None`: it is not there yet."""

    name: str
    labels: Mapping[str, str]
    grows: Sequence[float | None]

    def as_input(self) -> dict[str, str]:
        labels = ", ".join(f'{name}="{value}"' for name, value in self.labels.items())
        total, values = 0.0, []
        for amount in self.grows:
            total += amount or 0.0
            values.append("_" if amount is None else f"{total:.6f}")
        return {"series": f"{self.name}{{{labels}}}", "values": " ".join(values)}


class Gauge(NamedTuple):
    name: str
    labels: Mapping[str, str]
    value: float
    hours: int

    def as_input(self) -> dict[str, str]:
        labels = ", ".join(f'{name}="{value}"' for name, value in self.labels.items())
        return {"series": f"{self.name}{{{labels}}}", "values": f"{self.value}x{self.hours}"}


def days(*amounts: float) -> list[float | None]:
    return [amount / DAY for amount in amounts for _ in range(DAY)]


def cost(tenant: str, grows: Sequence[float | None], **labels: str) -> Line:
    return Line("genledger_cost_USD_total", {"genledger_tenant_id": tenant, **labels}, grows)


def of_file(directory: Path, *rules: AlertRule) -> AlertFile:
    path = directory / "rules.toml"
    path.write_text(BUDGETS)
    return read_alert_file(path).model_copy(update={"alert": [*rules]})


def firing(directory: Path, rule: AlertRule, lines: Sequence[Line | Gauge], hours: int) -> set[tuple[str, ...]]:
    """The values of the labels of a scope that an alert is there for, after so many hours."""
    exported = export("prometheus", of_file(directory, rule))
    assert not exported.left_out
    (text,) = exported.files.values()
    # Each hour is often enough for series of hours.
    (directory / "genledger.rules.yaml").write_text(text.replace("interval: 5m", "interval: 1h"))
    # What is expected is wrong in every case; promtool says what it got.
    test = {
        "interval": "1h",
        "input_series": [line.as_input() for line in lines],
        "promql_expr_test": [
            {"expr": "ALERTS", "eval_time": f"{hours}h", "exp_samples": [{"labels": '{no="alert"}', "value": -1}]}
        ],
    }
    file = directory / "test.yaml"
    file.write_text(json.dumps({"rule_files": ["genledger.rules.yaml"], "evaluation_interval": "1h", "tests": [test]}))
    done = subprocess.run(
        [program("promtool"), "test", "rules", str(file)], capture_output=True, text=True, timeout=120, check=False
    )
    assert "FAILED" in done.stdout + done.stderr, done.stderr
    got = [line for line in (done.stdout + done.stderr).splitlines() if line.strip().startswith("got:")]
    assert len(got) == 1, done.stderr
    return scopes(got[0].partition("got:")[2])


def scopes(got: str) -> set[tuple[str, ...]]:
    """The values of the labels of a scope, in the order of the labels' names, of each alert that promtool got."""
    ours = {"__name__", "alertname", "alertstate", "form", "rule", "severity", "threshold"}
    return {
        tuple(value for name, value in sorted(re.findall(r'(\w+)="((?:[^"\\]|\\.)*)"', labels)) if name not in ours)
        for labels in re.findall(r"{(.*?)} 1E\+00", got)
    }


@pytest.mark.parametrize("form", ["sound", "plain"])
def test_promtool_accepts_every_kind(form: str, tmp_path: Path) -> None:
    rules = [
        alert(kind=kind, form=form, name=f"{kind} {form}", **({"above": [10, 20]} if kind == "spend" else {}))
        for kind in KINDS
    ]
    rules.append(alert(kind="spike", form=form, name="odd 'name' \"with\" {{ braces }}", tenant="ac*", feature="each"))
    exported = export("prometheus", of_file(tmp_path, *rules))
    assert exported.left_out == {}
    (text,) = exported.files.values()
    path = tmp_path / "genledger.rules.yaml"
    path.write_text(text)
    done = subprocess.run(
        [program("promtool"), "check", "rules", str(path)], capture_output=True, text=True, timeout=120, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert text.count("- alert: ") == len(rules) + 1


def spike(form: str) -> AlertRule:
    return alert(kind="spike", form=form)


WEEK = (20.0, 20.0, 20.0, 20.0, 20.0, 4.0, 4.0)
"""What a tenant that works from Monday to Friday costs; the fifth of these weeks is the one that is judged."""


@pytest.mark.parametrize(
    ("amounts", "form", "expected"),
    [
        pytest.param((*WEEK * 4, *WEEK[:6]), "sound", set(), id="a usual Saturday"),
        pytest.param((*WEEK * 4, *WEEK[:5], 12.0), "sound", {("acme",)}, id="a tripled Saturday"),
        pytest.param((*WEEK * 4, *WEEK[:5], 12.0), "plain", set(), id="a tripled Saturday, plain"),
        pytest.param((*WEEK * 4, 20.0), "sound", set(), id="Monday after a weekend"),
        pytest.param((*WEEK * 4, 50.0), "sound", {("acme",)}, id="a dear Monday"),
        pytest.param((*WEEK * 4, 50.0), "plain", {("acme",)}, id="a dear Monday, plain"),
        pytest.param((*(50.0, 0, 0, 0, 0, 0, 0) * 4, 50.0), "sound", set(), id="only on Mondays"),
        pytest.param((*(50.0, 0, 0, 0, 0, 0, 0) * 4, 50.0), "plain", {("acme",)}, id="only on Mondays, plain"),
        pytest.param((*(0.5,) * 28, 2.0), "sound", set(), id="four times a little"),
    ],
)
def test_a_spike_is_against_the_same_weekday(
    amounts: tuple[float, ...], form: str, expected: set[tuple[str, ...]], tmp_path: Path
) -> None:
    grows = [0.0, *days(*amounts)]
    assert firing(tmp_path, spike(form), [cost("acme", grows)], len(grows) - 1) == expected


@pytest.mark.parametrize(
    ("first", "expected"),
    [
        pytest.param([0.0, 80.0], {("new",)}, id="from 0, as Genledger begins a series"),
        pytest.param([0.0, 30.0], set(), id="not much"),
        pytest.param([80.0, 0.0], set(), id="without the 0, increase() sees nothing"),
    ],
)
def test_a_first_sample_counts_because_a_series_begins_at_0(
    first: list[float], expected: set[tuple[str, ...]], tmp_path: Path
) -> None:
    old = [0.0, *days(*(20.0,) * 29)]
    grows: list[float | None] = [*(None for _ in range(len(old) - 12)), *first, *(0.0 for _ in range(10))]
    lines = [cost("acme", old), cost("new", grows)]
    assert firing(tmp_path, spike("sound"), lines, len(old) - 1) == expected


def deployed(tokens: float, successes: float, form: str, tmp_path: Path) -> set[tuple[str, ...]]:
    """A feature whose version 4 has followed version 3 two days ago: its tokens for each success."""
    lines = []
    for version, begin, end, each in (("3", 0, 12, 100.0), ("4", 12, 14, tokens)):
        labels = {"genledger_feature": "draft", "gen_ai_prompt_version": version}
        there: list[float | None] = [None] * (begin * DAY)
        outcomes = [*there, 0.0, *days(*(successes,) * (end - begin))]
        counted = {**labels, "genledger_outcome_name": "accepted"}
        lines.append(Line("genledger_outcomes_total", counted, outcomes))
        spent = [one if one is None else one * each for one in outcomes]
        lines.append(Line("gen_ai_client_inference_usage_input_tokens_total", labels, spent))
    return firing(tmp_path, alert(kind="regression", form=form), lines, 14 * DAY)


@pytest.mark.parametrize(
    ("tokens", "successes", "form", "expected"),
    [
        pytest.param(200.0, 60, "sound", {("4", "draft")}, id="twice the tokens"),
        pytest.param(110.0, 60, "sound", set(), id="a tenth more"),
        pytest.param(160.0, 8, "sound", set(), id="too few successes to tell"),
        pytest.param(160.0, 8, "plain", {("4", "draft")}, id="too few successes to tell, plain"),
    ],
)
def test_a_deploy_is_compared_with_what_was_before(
    tokens: float, successes: float, form: str, expected: set[tuple[str, ...]], tmp_path: Path
) -> None:
    assert deployed(tokens, successes, form, tmp_path) == expected


def calls(outcome: str, grows: Sequence[float | None], **labels: str) -> Line:
    known = {"genledger_feature": "draft", "gen_ai_operation_name": "chat", "genledger_outcome": outcome, **labels}
    return Line("gen_ai_client_inference_duration_seconds_count", known, grows)


def tokens(grows: Sequence[float | None], **labels: str) -> Line:
    return Line("gen_ai_client_inference_usage_input_tokens_total", {"genledger_feature": "draft", **labels}, grows)


def flat(amount: float, hours: int = 48) -> list[float | None]:
    return [0.0, *(amount for _ in range(hours))]


def rising(amount: float, then: float, hours: int = 48, last: int = 6) -> list[float | None]:
    return [0.0, *(amount for _ in range(hours - last)), *(then for _ in range(last))]


@pytest.mark.parametrize("form", ["sound", "plain"])
@pytest.mark.parametrize(
    ("failed", "used", "expected"),
    [
        pytest.param(flat(30.0), rising(1_000.0, 3_000.0), {("draft",)}, id="failing, with more tokens"),
        pytest.param(flat(30.0), rising(1_000.0, 500.0), set(), id="failing, with fewer tokens"),
        pytest.param(flat(1.0), rising(1_000.0, 3_000.0), set(), id="hardly failing"),
    ],
)
def test_errors_count_where_tokens_rise(
    failed: list[float | None], used: list[float | None], expected: set[Any], form: str, tmp_path: Path
) -> None:
    rule = alert(kind="errors", form=form, over="12h")
    assert firing(tmp_path, rule, [calls("success", flat(100.0)), calls("error", failed), tokens(used)], 48) == expected


@pytest.mark.parametrize(
    ("form", "used", "expected"),
    [
        # The series begin on the first of January 1970.
        ("plain", 0.85, {("monthly", "acme")}),
        ("plain", 0.7, set()),
        ("sound", 0.3, {("monthly", "acme")}),
        ("sound", 0.15, set()),
    ],
)
def test_a_budget_is_used_too_fast(form: str, used: float, expected: set[Any], tmp_path: Path) -> None:
    labels = {"genledger_budget_rule": "monthly", "genledger_budget_scope": "acme"}
    lines = [Gauge("genledger_budget_used_ratio", labels, used, 200)]
    assert firing(tmp_path, alert(kind="pace", form=form, budget="month*"), lines, 6 * DAY) == expected


def embeddings(amounts: Sequence[float | None]) -> list[Line]:
    labels = {"gen_ai_operation_name": "embeddings", "genledger_feature": "search"}
    dollars = [one if one is None else one / 1_000 for one in amounts]
    return [
        Line("genledger_embeddings_tokens_total", labels, amounts),
        Line("genledger_cost_USD_total", labels, dollars),
    ]


@pytest.mark.parametrize(
    ("form", "embedded", "expected"),
    [
        ("sound", rising(500.0, 50_000.0, 200, 3), {()}),
        ("sound", flat(50_000.0, 200), set()),
        ("plain", flat(50_000.0, 200), {()}),
        ("plain", flat(500.0, 200), set()),
    ],
)
def test_embeddings_surge(form: str, embedded: list[float | None], expected: set[Any], tmp_path: Path) -> None:
    lines = [*embeddings(embedded), tokens(flat(1_000.0, 200), gen_ai_operation_name="chat")]
    rule = alert(kind="embeddings", form=form, over="2h")
    assert firing(tmp_path, rule, lines, 200) == expected


@pytest.mark.parametrize("form", ["sound", "plain"])
def test_a_week_costs_more_than_the_one_before(form: str, tmp_path: Path) -> None:
    weeks = (*(100.0,) * 35, *(150.0,) * 7)
    grows = [0.0, *days(*weeks)]
    steady = [0.0, *days(*(100.0,) * 42)]
    assert firing(tmp_path, alert(kind="growth", form=form), [cost("a", grows), cost("b", steady)], 42 * DAY) == {
        ("a",)
    }


def test_each_amount_that_is_passed_has_an_alert_of_its_own(tmp_path: Path) -> None:
    rule = alert(kind="spend", above=[10, 40, 100], tenant="each")
    exported = export("prometheus", of_file(tmp_path, rule))
    assert "".join(exported.files.values()).count("alert: GenledgerSpend") == 3
    lines = [cost("a", [0.0, *days(20.0)]), cost("b", [0.0, *days(5.0)])]
    assert firing(tmp_path, rule, lines, DAY) == {("a",)}


@pytest.mark.parametrize(("unpriced", "expected"), [(10.0, {()}), (0.1, set())])
def test_too_many_calls_have_no_price(unpriced: float, expected: set[Any], tmp_path: Path) -> None:
    lines = [
        calls("success", flat(100.0)),
        Line("genledger_unpriced_calls_total", {"genledger_cost_unpriced": "unknown_model"}, flat(unpriced)),
    ]
    assert firing(tmp_path, alert(kind="unpriced"), lines, 48) == expected


def test_telemetry_was_lost(tmp_path: Path) -> None:
    def records(state: str, grows: list[float | None], **labels: str) -> Line:
        known = {"genledger_destination_name": "otlp", "genledger_destination_state": state, **labels}
        return Line("genledger_destination_records_total", known, grows)

    lines = [records("sent", flat(100.0)), records("dropped", flat(2.0), genledger_destination_reason="full")]
    assert firing(tmp_path, alert(kind="dropped", over="2h"), lines, 48) == {("otlp", "full")}
    assert firing(tmp_path, alert(kind="dropped", over="2h"), lines[:1], 48) == set()


def test_silence_is_there_without_any_series(tmp_path: Path) -> None:
    rule = alert(kind="silence")
    assert firing(tmp_path, rule, [], 48) == {()}
    assert firing(tmp_path, rule, [calls("success", flat(1.0))], 48) == set()
    assert firing(tmp_path, rule, [calls("success", rising(5.0, 0.0, last=12))], 48) == {()}


def test_a_new_model_appears(tmp_path: Path) -> None:
    there: list[float | None] = [None] * 40
    lines = [
        line
        for model, grows in (("old", flat(10.0)), ("new", [*there, *flat(10.0, 8)]))
        for line in (
            calls("success", grows, gen_ai_response_model=model),
            Line("genledger_cost_USD_total", {"gen_ai_response_model": model}, grows),
        )
    ]
    assert firing(tmp_path, alert(kind="new"), lines, 48) == {("new",)}


def test_an_alert_names_the_command_that_acts_and_the_one_that_undoes_it(tmp_path: Path) -> None:
    rule = alert(kind="errors", feature="each")
    (text,) = export("prometheus", of_file(tmp_path, rule)).files.values()
    assert "genledger kill feature={{ $labels.genledger_feature }} --for 1h" in text
    assert "genledger revive feature={{ $labels.genledger_feature }}" in text


@pytest.mark.parametrize(
    ("keys", "reason"),
    [
        ({"kind": "spike", "user": "each"}, "metrics have no user"),
        ({"kind": "new", "watch": "user"}, "metrics have no user"),
        ({"kind": "pace", "budget": "none*"}, "the file has no budget by day, week or month with a name like 'none*'"),
        ({"kind": "regression", "feature": "draft"}, "write feature = 'each'"),
    ],
)
def test_what_promql_cannot_say_is_left_out_and_named(keys: dict[str, str], reason: str, tmp_path: Path) -> None:
    exported = export("prometheus", of_file(tmp_path, alert(**keys)))
    assert exported.files == {}
    (why,) = exported.left_out.values()
    assert reason in why
