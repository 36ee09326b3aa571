from __future__ import annotations

from pathlib import Path

import pytest

from genledger.alerting.rules import KINDS, AlertRule, alert, read_alert_file
from genledger.budgets import RuleError, RuleFileError, read_rules

MISTAKES = """\
[[budget]]
tenant = "each"
usd = 5
per = "day"

[[alert]]
kind = "spend"

[[alert]]
kind = "spikes"
above = "x"
ovr = 3
timezone = "Mars"

[[alert]]
kind = "spend"
above = [50, 100]
over = "6h"

[[alert]]
kind = "spike"
action = "kill"
provider = "openai"

[[alert]]
name = "twice"
kind = "spike"

[[alert]]
name = "twice"
kind = "growth"
"""


@pytest.fixture
def rule_file(tmp_path: Path) -> Path:
    path = tmp_path / "budgets.toml"
    path.write_text(MISTAKES, encoding="utf-8")
    return path


def test_every_mistake_is_named_at_once_with_its_line(rule_file: Path) -> None:
    with pytest.raises(RuleFileError) as caught:
        read_alert_file(rule_file)
    found = [line.removeprefix(f"{rule_file}:") for line in caught.value.lines]
    assert [line[: line.index(":", line.index(":") + 1)] for line in found] == [
        "6: above",
        "10: kind",
        "11: above",
        "12: ovr",
        "13: timezone",
        "18: over",
        "22: action",
    ]
    assert found[0].endswith("is missing; expected an amount in USD, or a list of them")
    assert found[3].endswith("is not a known key; did you mean 'over'?")


def test_two_alerts_of_one_name_are_a_mistake(tmp_path: Path) -> None:
    path = tmp_path / "budgets.toml"
    path.write_text('[[alert]]\nkind = "spike"\n\n[[alert]]\nkind = "spike"\n', encoding="utf-8")
    with pytest.raises(RuleFileError, match=r":4: name: another alert is also named 'spike'; rename one of them"):
        read_alert_file(path)


def test_a_mistake_in_an_alert_stops_no_budget(rule_file: Path) -> None:
    assert [rule.name for rule in read_rules(rule_file).rules] == ["tenant=each usd/day"]


def test_rules_are_read_beside_budgets_with_exact_numbers(tmp_path: Path) -> None:
    path = tmp_path / "budgets.toml"
    path.write_text(
        '[alerts]\nto = ["json://127.0.0.1"]\n\n'
        '[[alert]]\nkind = "spike"\nfeature = "draft-*"\nabove = 2.5\nmin_usd = 0.1\n'
        'action = "degrade"\naction_for = "2h"\ndegrade = { model = "gpt-5-mini" }\n\n'
        '[[alert]]\nkind = "spend"\nabove = [100, 50]\nper = "hour"\ntenant = "each"\n',
        encoding="utf-8",
    )
    spike, spend = read_alert_file(path).alert
    assert (spike.thresholds, spike.min_usd, spike.action_seconds) == ((2.5,), 0.1, 7200)
    assert (spike.by, spike.filters) == ((), {"feature": "draft-*"})
    assert (spend.thresholds, spend.calendar, spend.by) == ((50.0, 100.0), "hour", ("tenant",))


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("form", ["sound", "plain"])
def test_every_kind_has_defaults_for_both_forms(kind: str, form: str) -> None:
    given = {"above": 50} if kind == "spend" else {}
    rule = alert(kind=kind, form=form, **given)
    assert rule.name == ("new model" if kind == "new" else kind)
    assert rule.thresholds
    assert rule.window_s or rule.calendar or kind == "pace"


@pytest.mark.parametrize(
    ("keys", "problem"),
    [
        ({"kind": "pace", "tenant": "acme"}, "tenant: has no meaning for kind = 'pace'"),
        ({"kind": "silence", "action": "kill"}, "action: expected 'notify' for kind = 'silence', got 'kill'"),
        ({"kind": "spike", "action": "degrade"}, "degrade: goes together with action = 'degrade'"),
        ({"kind": "spike", "action_for": "2h"}, "action_for: goes together with an action"),
        ({"kind": "errors", "over": "0m"}, "over: expected a duration such as 30m, 6h or 7d, got '0m'"),
        ({"kind": "spike", "above": -1}, "above"),
        ({"kind": "spike", "name": "a|b"}, "name: expected a name without '|'"),
    ],
)
def test_keys_that_make_no_sense_are_refused(keys: dict[str, object], problem: str) -> None:
    with pytest.raises(RuleError) as caught:
        alert(**keys)
    assert problem in str(caught.value)


def test_a_rule_in_code_is_the_same_as_one_in_a_file(tmp_path: Path) -> None:
    path = tmp_path / "budgets.toml"
    path.write_text('[[alert]]\nkind = "errors"\nabove = 0.1\nover = "1h"\n', encoding="utf-8")
    rule = alert(kind="errors", above=0.1, over="1h")
    assert isinstance(rule, AlertRule)
    assert read_alert_file(path).alert == [rule]
