from __future__ import annotations

from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest

from genledger.budgets import RuleFileError, read_rules
from genledger.budgets.rules.rule_file import WatchedRules
from genledger.channels.outbox import Targets

WHOLE = """
store = "memory"

[tiers]
default = "starter"

[tiers.tenants]
acme = "pro"

[alerts]
to = ["json://alerts.example/budgets"]

[[budget]]
name = "tenants"
tenant = "each"
usd = { starter = 0.1, pro = 50 }
per = "day"
timezone = "Europe/Berlin"
alert_at = [90]
at_limit = "degrade"
degrade = { model = "gpt-5-mini", max_output_tokens = 500 }
on_store_down = "closed"
on_crash = "spend"
unpriced = "block"

[[budget]]
user = "each"
requests = 60
per = "rolling 1m"
at_limit = "queue"
queue_seconds = 2.5

[[route]]
feature = "summaries"
tier = "starter"
model = "gpt-5-mini"
"""


def test_everything_that_a_file_can_say_is_read(tmp_path: Path) -> None:
    path = tmp_path / "budgets.toml"
    path.write_text(WHOLE)
    book = read_rules(path)
    tenants, users = book.rules
    assert (tenants.limits, tenants.window.zone) == ({"starter": 100_000_000, "pro": 50_000_000_000}, "Europe/Berlin")
    assert tenants.alert_at == (90,)
    assert tenants.degrade is not None
    assert (tenants.degrade.model, tenants.degrade.max_output_tokens) == ("gpt-5-mini", 500)
    assert (tenants.on_store_down, tenants.on_crash, tenants.unpriced) == ("closed", "spend", "block")
    assert (users.limits, str(users.window), users.queue_seconds) == ({"": 60}, "rolling 1m", 2.5)
    assert (book.default_tier, book.tenants, book.store) == ("starter", {"acme": "pro"}, "memory")
    assert book.alerts == Targets(("json://alerts.example/budgets",))
    assert book.routes[0].model == "gpt-5-mini"


@pytest.mark.parametrize(
    ("text", "line", "message"),
    [
        ('[[budget]]\nusd = 5\nper = "day"\n\n[[budget]]\nusd = 5\nper = "fortnight"\n', 7, "not a window"),
        ('[[budget]]\nusd = 5\nper = "day"\n\n[[budget]]\ntenant = "x"\nusd = 5\n', 5, "per: is missing"),
        ('[[budget]]\nusd = { pro = "x" }\nper = "day"\n', 2, "usd.pro: expected a number"),
        ('[[budget]]\nper = "day"\nusd.pro = "x"\n', 3, "usd.pro: expected a number"),
        ('[[budget]]\n"usd" = -3\nper = "day"\n', 2, "must not be negative"),
        ('[[budget]]\nusd = 5\nper = "day"\n[[budget]]\nusd = 6\nper = "day"\n', 4, "another budget is also named"),
        ("budgets = 5\n", 1, "did you mean 'budget'?"),
        ("budget = 5\n", 1, "expected [[budget]] tables"),
        ("# tiers\n[tiers]\ndefault = 5\n", 3, "expected the name of a tier"),
        ('[tiers.tenants]\na = "x"\nacme = 5\n', 3, "expected the name of a tier"),
        ('[alerts]\nto = ["slack"]\n', 2, "expected a list of notification URLs"),
        ('[[route]]\nfeature = "x"\nmodell = "y"\n', 3, "did you mean 'model'?"),
        ('[[route]]\nfeature = "x"\n', 1, "expected the name of the model"),
        ("store = 5\n", 1, "expected a URL"),
        ('[[budget]]\nusd = \nper = "day"\n', 2, "Invalid value"),
    ],
)
def test_an_error_names_the_file_the_line_and_what_was_expected(
    tmp_path: Path, text: str, line: int, message: str
) -> None:
    path = tmp_path / "budgets.toml"
    path.write_text(text)
    with pytest.raises(RuleFileError) as caught:
        read_rules(path)
    assert str(caught.value).startswith(f"{path}:{line}: ")
    assert message in str(caught.value)


def test_all_mistakes_are_named_at_once_in_the_order_of_the_file(tmp_path: Path) -> None:
    path = tmp_path / "budgets.toml"
    path.write_text(
        '[[route]]\nmodel = 5\n\n[[budget]]\nusd = "lots"\nper = "day"\nalert_at = [50,\n  500]\n\n'
        '[tiers]\ntenants.acme = 5\n\n[[budget]]\ntokens = 5\nper = "fortnight"\n'
    )
    with pytest.raises(RuleFileError) as caught:
        read_rules(path)
    assert [line.removeprefix(f"{path}:").split(": ")[:2] for line in caught.value.lines] == [
        ["2", "model"],
        ["5", "usd"],
        ["8", "alert_at"],
        ["11", "tiers.tenants.acme"],
        ["15", "per"],
    ]


@pytest.mark.parametrize(
    "text",
    [
        pytest.param("[[budget]]\n" * 20_000, id="many empty tables"),
        pytest.param("\n".join(f"k{number} = 1" for number in range(100_000)), id="many unknown keys"),
        pytest.param("budget = [" + "1," * 100_000 + "]", id="many values that are no tables"),
        pytest.param("budget = [" + "{}," * 1_000_000 + "]", id="as many tables as fit"),
        pytest.param("x = " + "[" * 100_000 + "]" * 100_000, id="nested too deeply to be TOML"),
        pytest.param(f"[{'.'.join('a' * 20_000)}]", id="a header of many parts"),
        pytest.param(f"[[budget]]\n{'.'.join('a' * 20_000)} = 1", id="a key of many parts"),
        pytest.param("[[budget]]\nusd = " + "[" * 150 + "]" * 150, id="nested deeply"),
        pytest.param("[[budget]]\nusd = " + "9" * 10_000, id="a number too long to be read"),
    ],
)
def test_a_file_that_nobody_wrote_is_one_clear_error(tmp_path: Path, text: str) -> None:
    path = tmp_path / "budgets.toml"
    path.write_text(text)
    with pytest.raises(RuleFileError) as caught:
        read_rules(path)
    assert len(caught.value.lines) <= 21
    assert all(len(line) < len(str(path)) + 500 for line in caught.value.lines)


def test_the_store_is_known_even_when_the_rules_are_not(tmp_path: Path) -> None:
    path = tmp_path / "budgets.toml"
    path.write_text('store = "redis://redis"\n[[budget]]\nusd = "lots"\n')
    with pytest.raises(RuleFileError) as caught:
        read_rules(path)
    assert caught.value.store == "redis://redis"


@pytest.mark.parametrize(
    ("text", "store"),
    [
        ('# ours\nstore = "redis://redis"\n\n[[budget\nusd = 1\n', "redis://redis"),
        ('x = [\nstore = "budgets.db" # here\n', "budgets.db"),
        ('[[budget\nstore = "redis://redis"\n', None),
        ("store = redis://redis\n", None),
        ('store = "mysql://host"\nx =\n', None),
    ],
)
def test_the_store_is_known_where_the_file_is_not_even_toml(text: str, store: str | None, tmp_path: Path) -> None:
    path = tmp_path / "budgets.toml"
    path.write_text(text)
    with pytest.raises(RuleFileError) as caught:
        read_rules(path)
    assert caught.value.store == store


GOOD = '[[budget]]\nname = "b"\nusd = 5\nper = "day"\n'


def watch(path: Path, **options: Any) -> WatchedRules:
    """What a process that starts now knows of a file."""
    rules = WatchedRules(path, **options)
    with suppress(RuleFileError):
        rules.read()
    return rules


@pytest.mark.parametrize("on_invalid", ["open", "closed"])
def test_rules_stay_in_force_for_processes_that_start_while_the_file_has_mistakes(
    on_invalid: str, tmp_path: Path
) -> None:
    path = tmp_path / "budgets.toml"
    path.write_text(GOOD)
    watch(path)
    for broken in ("[[budget", GOOD + "per = 5\n", None):
        path.unlink() if broken is None else path.write_text(broken)
        rules = watch(path, on_invalid=on_invalid)
        assert [rule.name for rule in rules.book.rules] == ["b"]
        assert rules.refusal is None
        assert rules.holds_instead == "the previous rules stay in force until you correct the file"
    path.write_text(GOOD.replace('"b"', '"c"'))
    assert [rule.name for rule in watch(path).book.rules] == ["c"]


def test_the_copy_of_the_rules_is_for_their_owner_only(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    path = tmp_path / "budgets.toml"
    path.write_text(GOOD)
    watch(path)
    (copy,) = (file for file in (tmp_path / "state").rglob("*") if file.is_file())
    assert copy.read_text() == GOOD
    assert copy.stat().st_mode & 0o077 == 0
    assert copy.parent.stat().st_mode & 0o077 == 0


def test_without_a_place_for_a_copy_rules_are_read_all_the_same(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "state").touch()
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    path = tmp_path / "budgets.toml"
    path.write_text(GOOD)
    assert [rule.name for rule in watch(path).book.rules] == ["b"]


def test_the_example_in_the_documentation_is_a_rule_file(tmp_path: Path) -> None:
    page = (Path(__file__).parents[4] / "docs" / "budgets.md").read_text(encoding="utf-8")
    path = tmp_path / "budgets.toml"
    path.write_text(page.split("```toml\n", 1)[1].split("```", 1)[0], encoding="utf-8")
    book = read_rules(path)
    assert {rule.measure for rule in book.rules} == {"usd", "requests", "steps", "repeats", "depth"}
    assert len(book.routes) == 1


def test_an_error_shows_no_notification_address(tmp_path: Path) -> None:
    path = tmp_path / "budgets.toml"
    path.write_text('[alerts]\nto = "slack://TokenA/TokenB/TokenC"\n')
    with pytest.raises(RuleFileError) as caught:
        read_rules(path)
    assert "Token" not in str(caught.value)


def test_a_file_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(RuleFileError, match=r"nowhere\.toml: cannot be read"):
        read_rules(tmp_path / "nowhere.toml")
