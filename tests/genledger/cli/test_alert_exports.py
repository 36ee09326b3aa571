"""`genledger alerts export`: the files of the rules, and what is left out of them."""

from __future__ import annotations

from pathlib import Path

import pytest
from typer.testing import CliRunner, Result

from genledger.cli import app

RULES = """
[[alert]]
kind = "spike"

[[alert]]
kind = "errors"
user = "each"
name = "a user's errors"
"""


@pytest.fixture
def rules(tmp_path: Path) -> Path:
    path = tmp_path / "rules.toml"
    path.write_text(RULES)
    return path


def run(rules: Path, *arguments: str) -> Result:
    command = ["alerts", "--file", str(rules), "--store", "memory", "export", *arguments]
    return CliRunner().invoke(app, command, env={"COLUMNS": "300"}, prog_name="genledger")


@pytest.mark.parametrize(
    ("target", "file"),
    [
        ("prometheus", "genledger.rules.yaml"),
        ("datadog", "01-spike.json"),
        ("honeycomb", "01-spike.json"),
    ],
)
def test_the_files_of_a_target_are_written(target: str, file: str, rules: Path, tmp_path: Path) -> None:
    done = run(rules, target, "--dir", str(tmp_path / "out"))
    assert done.exit_code == 0, done.stderr
    assert (tmp_path / "out" / target / file).read_text()


def test_a_rule_that_is_left_out_is_named_with_the_reason(rules: Path, tmp_path: Path) -> None:
    done = run(rules, "prometheus", "--dir", str(tmp_path))
    assert done.exit_code == 0
    (line,) = done.stderr.splitlines()
    assert line.startswith('warning: rule "a user\'s errors" is left out: metrics have no user; ')


def test_a_folder_that_cannot_be_written_to_is_one_line(rules: Path, tmp_path: Path) -> None:
    file = tmp_path / "file"
    file.touch()
    done = run(rules, "datadog", "--dir", str(file))
    assert done.exit_code == 1
    assert len([line for line in done.stderr.splitlines() if line.startswith("error: ")]) == 1


def test_an_unknown_target_is_an_error_that_names_those_there_are(rules: Path) -> None:
    done = run(rules, "nagios")
    assert done.exit_code == 2
    assert "'prometheus', 'datadog', 'honeycomb'" in done.stderr
