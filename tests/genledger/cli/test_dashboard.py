"""`genledger dashboard`: the page, served or as a file."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import urllib.request
from pathlib import Path

import pytest
from typer.testing import CliRunner, Result

from genledger.cli import app
from genledger.dashboards.local_page.ledger_source import roll_up
from genledger.ledger import Ledger

from ..samples import a_call


@pytest.fixture
def ledger(tmp_path: Path) -> Path:
    path = tmp_path / "ledger.db"
    Ledger(path, max_age_days=None).write([a_call(attribution=a_call().attribution) for _ in range(3)])
    return path


def run(*arguments: str, **environment: str) -> Result:
    return CliRunner().invoke(app, ["dashboard", *arguments], env={"COLUMNS": "200", **environment})


def error(done: Result) -> str:
    assert done.exit_code == 1
    (line,) = done.stderr.splitlines()
    assert line.startswith("error: ")
    return line


def test_the_page_is_written_as_one_file_that_loads_nothing(ledger: Path, tmp_path: Path) -> None:
    file = tmp_path / "page.html"
    done = run("--ledger", str(ledger), "--html", str(file), "--since", "all", "--tz", "Asia/Kolkata")
    assert done.exit_code == 0
    assert done.stdout.startswith(f"Wrote the dashboards to {file}, ")
    assert file.stat().st_mode & 0o077 == 0
    text = file.read_text("utf-8")
    assert "default-src 'none'" in text
    assert "Asia/Kolkata" in text
    assert "$0.7500" in text
    assert text.count("<script>") == 2
    assert text.count("</script>") == 2 + text.count('<script type="application/json">')
    page = text[: text.index("<script>")]
    assert not re.search(r'(src|href)="(?!#|data:)', page)
    assert "<form" not in page


def test_the_page_is_served_until_the_command_is_stopped(ledger: Path) -> None:
    start = [sys.executable, "-c", "from genledger.cli import main; main()"]
    command = [*start, "dashboard", "--ledger", str(ledger), "--port", "0"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env={**os.environ, "COLUMNS": "200"}) as server:
        assert server.stdout is not None
        try:
            found = re.search(r"at (http://127\.0\.0\.1:\d+/) until", server.stdout.readline())
            assert found is not None
            with urllib.request.urlopen(found[1]) as answer:
                assert b"Cost by feature" in answer.read()
        finally:
            server.terminate()


def test_hours_are_added_up_without_a_writer(ledger: Path) -> None:
    roll_up(ledger)
    with Ledger(ledger).reading() as connection:
        assert connection.execute("SELECT count(*) FROM rollups").fetchone()[0] > 0
        assert connection.execute("SELECT count(*) FROM unrolled").fetchone()[0] == 0


def test_without_the_chart_library_the_command_to_install_it_is_named(
    ledger: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "plotly.offline", None)
    assert "pip install 'genledger[page]'" in error(run("--ledger", str(ledger)))


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--host", "0.0.0.0"], "give readers a --token"),
        (["--host", "0.0.0.0", "--token", "short"], "needs 16 letters"),
        (["--host", "no such host", "--token", "a-token-of-many-characters"], "--host no such host"),
        (["--tz", "Mars"], "there is no time zone"),
        (["--since", "sometime"], "sometime"),
        (["--where", "tenant"], "write it like tenant=acme"),
        (["--html", "/nowhere/page.html"], "--html /nowhere/page.html"),
    ],
)
def test_what_cannot_be_done_is_one_line(ledger: Path, arguments: list[str], said: str) -> None:
    assert said in error(run("--ledger", str(ledger), *arguments))


def test_a_file_that_is_no_ledger_is_one_line(tmp_path: Path) -> None:
    assert "there is no ledger at" in error(run("--ledger", str(tmp_path / "nothing.db")))
    (tmp_path / "foreign.db").write_bytes(b"not a database, " * 100)
    assert "damaged or not a ledger" in error(run("--ledger", str(tmp_path / "foreign.db")))
