"""`genledger dashboards`: the list, the files, and Langfuse's API."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest
from typer.testing import CliRunner, Result

from genledger.cli import app
from genledger.dashboards.board_files import TARGETS, files

TIME = "2026-11-30T12:00:00.000Z"


def run(*arguments: str, **environment: str) -> Result:
    settings = {"LANGFUSE_PUBLIC_KEY": "", "LANGFUSE_SECRET_KEY": "", "COLUMNS": "200"}
    return CliRunner().invoke(app, arguments, env={**settings, **environment}, prog_name="genledger")


def test_the_list_says_what_each_dashboard_answers() -> None:
    done = run("dashboards", "list")
    assert "What does each feature cost a day" in done.stdout
    rows = {row["name"]: row for row in json.loads(run("dashboards", "list", "--json").stdout)}
    assert rows["spend"]["targets"] == list(TARGETS)
    assert rows["budgets"]["targets"] == ["grafana", "datadog", "honeycomb"]


@pytest.mark.parametrize("target", TARGETS)
def test_the_files_of_a_target_are_written(target: str, tmp_path: Path) -> None:
    done = run("dashboards", "export", target, "--dir", str(tmp_path / "new"))
    assert done.exit_code == 0
    folder = tmp_path / "new" / target
    written = {str(path.relative_to(folder)): path.read_text("utf-8") for path in folder.rglob("*.json")}
    assert written == files(target)  # type: ignore[arg-type]


def test_an_unknown_target_is_an_error_that_names_those_there_are() -> None:
    done = run("dashboards", "export", "kibana")
    assert done.exit_code == 2
    assert "'grafana', 'datadog', 'honeycomb', 'langfuse'" in done.stderr


def test_a_folder_that_cannot_be_written_to_is_one_line(tmp_path: Path) -> None:
    file = tmp_path / "file"
    file.touch()
    done = run("dashboards", "export", "grafana", "--dir", str(file))
    assert done.exit_code == 1
    (line,) = done.stderr.splitlines()
    assert line.startswith("error: --dir: ")


class Langfuse:
    """A stand-in for the API of dashboards, which keeps what it is given."""

    def __init__(self) -> None:
        self.widgets: dict[str, Any] = {}
        self.dashboards: dict[str, Any] = {}
        self.status = 200
        self._count = 0

    def answer(self, method: str, path: str, body: Any) -> tuple[int, Any]:
        if self.status != 200:
            return self.status, {"message": "no"}
        kind, _, key = path.removeprefix("/api/public/unstable/").partition("/")
        kept = {"dashboard-widgets": self.widgets, "dashboards": self.dashboards}[kind]
        if method == "GET":
            meta = {"page": 1, "limit": 50, "totalItems": len(kept), "totalPages": 1}
            return 200, {"data": list(kept.values()), "meta": meta}
        if method == "DELETE":
            del kept[key]
            return 200, {"message": "deleted"}
        if method == "POST":
            self._count += 1
            key = f"{kind}-{self._count}"
            kept[key] = {"filters": []}
        kept[key] |= {"createdAt": TIME, "updatedAt": TIME, **body, "id": key}
        return 200, kept[key]


@pytest.fixture
def langfuse() -> Iterator[tuple[Langfuse, dict[str, str]]]:
    kept = Langfuse()

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            raw = self.rfile.read(int(self.headers.get("Content-Length") or 0))
            status, answer = kept.answer(self.command, urlsplit(self.path).path, json.loads(raw or "null"))
            content = json.dumps(answer).encode()
            self.send_response(status)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(content)))
            self.end_headers()
            self.wfile.write(content)

        do_POST = do_PATCH = do_PUT = do_DELETE = do_GET

        def log_message(self, format: str, *args: Any) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
    yield (
        kept,
        {
            "LANGFUSE_PUBLIC_KEY": "pk-lf-1",
            "LANGFUSE_SECRET_KEY": "sk-lf-1",
            "LANGFUSE_BASE_URL": f"http://127.0.0.1:{server.server_port}",
        },
    )
    server.shutdown()
    server.server_close()


def test_langfuse_has_each_dashboard_once_however_often_they_are_pushed(
    langfuse: tuple[Langfuse, dict[str, str]],
) -> None:
    kept, environment = langfuse
    wanted = {name: json.loads(text) for name, text in files("langfuse").items()}
    for _ in range(2):
        done = run("dashboards", "push", "langfuse", **environment)
        assert (done.exit_code, done.stdout) == (0, f"{len(wanted)} dashboards in Langfuse.\n")
        assert sorted(one["name"] for one in kept.dashboards.values()) == sorted(one["name"] for one in wanted.values())
        placed = {
            tile["widgetId"]: dashboard["name"]
            for dashboard in kept.dashboards.values()
            for tile in dashboard["definition"]["widgets"]
        }
        assert placed.keys() == kept.widgets.keys()
    (spend,) = [one for one in kept.dashboards.values() if one["name"] == "Genledger: spend by feature"]
    shown = [kept.widgets[tile["widgetId"]] for tile in spend["definition"]["widgets"]]
    for widget, description in zip(shown, wanted["spend.json"]["widgets"], strict=True):
        assert {key: widget[key] for key in description} == description


def test_keys_that_are_missing_are_named() -> None:
    done = run("dashboards", "push", "langfuse", LANGFUSE_PUBLIC_KEY="pk-lf-1")
    assert done.exit_code == 1
    assert done.stderr.startswith("error: LANGFUSE_SECRET_KEY not set; ")


def test_a_server_without_the_api_is_one_line(langfuse: tuple[Langfuse, dict[str, str]]) -> None:
    kept, environment = langfuse
    kept.status = 404
    done = run("dashboards", "push", "langfuse", **environment)
    assert done.exit_code == 1
    (line,) = done.stderr.splitlines()
    assert line.startswith("error: Langfuse answered 404: ")


def test_a_server_that_is_down_is_one_line(langfuse: tuple[Langfuse, dict[str, str]]) -> None:
    done = run("dashboards", "push", "langfuse", **langfuse[1] | {"LANGFUSE_BASE_URL": "http://127.0.0.1:9"})
    assert done.exit_code == 1
    (line,) = done.stderr.splitlines()
    assert line.startswith("error: Langfuse did not answer: ")
