from __future__ import annotations

import json
import os
import threading
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
from typer.testing import CliRunner, Result

from genledger.cli import app

Doctor = Callable[..., Result]


@pytest.fixture
def doctor(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Doctor:
    """Runs `genledger doctor` with nothing configured but what the test sets."""
    for name in list(os.environ):
        if name.startswith(("OTEL_", "GENLEDGER_", "LANGFUSE_")):
            monkeypatch.delenv(name)
    monkeypatch.setenv("GENLEDGER_LEDGER", str(tmp_path / "ledger.db"))
    monkeypatch.setenv("GENLEDGER_BUDGET_STORE", "memory:")
    monkeypatch.setenv("GENLEDGER_SPOOL", "off")

    def invoke(*arguments: str, width: int = 80) -> Result:
        return CliRunner().invoke(app, ["doctor", *arguments], env={"COLUMNS": str(width)}, prog_name="genledger")

    return invoke


@pytest.mark.parametrize("width", [80, 140])
def test_everything_fits_the_terminal(doctor: Doctor, width: int) -> None:
    result = doctor(width=width)
    assert result.exit_code == 0
    assert max(map(len, result.stdout.splitlines())) <= width
    row = next(line for line in result.stdout.splitlines() if line.startswith("openai"))
    assert "yes, once imported" in row
    assert "No problems found." in result.stdout


def test_something_wrong_is_said_last_and_in_the_exit_code(doctor: Doctor, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GENLEDGER_LEGER", "x")
    monkeypatch.setenv("GENLEDGER_EXCLUDE", "openai")
    result = doctor(width=140)
    assert result.exit_code == 1
    assert result.stdout.splitlines()[-1] == "1 problem found."
    assert any(line.startswith("wrong") and "GENLEDGER_LEGER" in line for line in result.stdout.splitlines())
    row = next(line for line in result.stdout.splitlines() if line.startswith("openai"))
    assert "no: GENLEDGER_EXCLUDE" in row


def test_json_has_the_same(doctor: Doctor) -> None:
    result = doctor("--json")
    found = json.loads(result.stdout)
    assert result.exit_code == 0
    assert set(found) == {
        "genledger", "python", "ok", "findings", "libraries", "not_installed", "distro", "configurator",
        "destinations", "spool", "ledger", "prices", "budgets", "private_uses",
    }  # fmt: skip
    assert found["ok"] is True
    assert set(found["libraries"][0]) == {
        "name", "distribution", "version", "supports", "supported", "recorded", "excluded_by", "own_spans",
        "patched", "missing", "also_traced_by",
    }  # fmt: skip
    assert found["destinations"][0]["name"] == "ledger"


def test_a_bad_option_is_named(doctor: Doctor) -> None:
    result = doctor("--timeout", "0")
    assert result.exit_code == 2
    assert "--timeout" in result.stderr


def test_a_receiver_that_refuses_the_credentials_is_not_said_to_be_silent(
    doctor: Doctor, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Refusing(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            self.rfile.read(int(self.headers["content-length"]))
            self.send_error(401)

        def log_message(self, format: str, *args: object) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Refusing) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", f"http://127.0.0.1:{server.server_port}")
        result = doctor(width=200)
        server.shutdown()
    row = next(line for line in result.stdout.splitlines() if line.startswith("otlp "))
    assert "401" in row
    assert "does not answer" not in row
