"""The models of Honeycomb's client read the boards, as the input that its builder makes boards and queries of."""

from __future__ import annotations

import asyncio
import json
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, ClassVar

import pytest
from honeycomb import HoneycombClient
from honeycomb.models.queries import QuerySpec
from honeycomb.models.tool_inputs import BoardToolInput, TriggerToolInput
from honeycomb.tools import execute_tool
from pydantic import ValidationError

from genledger.alerting.exports import export
from genledger.alerting.rules import KINDS, AlertFile, alert

FILES = sorted((Path(__file__).parents[2] / "dashboards" / "honeycomb").glob("*.json"))
OF_A_QUERY = set(QuerySpec.model_fields)
MOST_PRESET_FILTERS = 5


@pytest.mark.parametrize("file", FILES, ids=lambda file: file.stem)
def test_the_client_knows_all_of_a_board(file: Path) -> None:
    text = file.read_text("utf-8")
    board = BoardToolInput.model_validate_json(text)
    assert board.panels
    written = json.loads(board.model_dump_json(exclude_unset=True))
    assert written == json.loads(text)
    assert len(board.preset_filters or ()) <= MOST_PRESET_FILTERS


@pytest.mark.parametrize("file", FILES, ids=lambda file: file.stem)
def test_a_panel_is_a_query_that_can_be_saved(file: Path) -> None:
    for panel in json.loads(file.read_text("utf-8"))["panels"]:
        query = QuerySpec.model_validate({name: value for name, value in panel.items() if name in OF_A_QUERY})
        seconds = query.time_range or 0
        grain = query.granularity or seconds
        assert seconds / 1000 <= grain <= seconds
        terms = {*(query.breakdowns or ()), *((one.op, one.column) for one in query.calculations or ())}
        assert all((one.op, one.column) in terms or one.column in terms for one in query.orders or ())


@pytest.mark.parametrize("broken", [('"tsbar"', '"bars"'), ('"exists"', '"is there"'), ('"breakdowns"', '"by"')])
def test_a_mistake_would_be_found(broken: tuple[str, str]) -> None:
    text = next(file for file in FILES if file.stem == "spend").read_text("utf-8")
    assert broken[0] in text
    with pytest.raises(ValidationError):
        BoardToolInput.model_validate_json(text.replace(*broken))


EXPORTED = {"spike", "errors", "embeddings", "spend", "unpriced", "silence"}


@pytest.mark.parametrize("form", ["sound", "plain"])
def test_the_client_knows_all_of_a_trigger(form: str) -> None:
    hourly = {"spend": {"above": [10, 40], "per": "hour"}}
    file = AlertFile(alert=[alert(kind=kind, form=form, name=kind, **hourly.get(kind, {})) for kind in KINDS])
    exported = export("honeycomb", file)
    assert exported.left_out.keys() == KINDS.keys() - EXPORTED
    assert len(exported.files) == len(EXPORTED) + 1
    for text in exported.files.values():
        trigger = TriggerToolInput.model_validate_json(text)
        assert json.loads(trigger.model_dump_json(exclude_unset=True)) == json.loads(text)


@pytest.mark.parametrize(
    ("pattern", "filter_"),
    [
        ("acme", {"column": "genledger.tenant.id", "op": "=", "value": "acme"}),
        ("ac*", {"column": "genledger.tenant.id", "op": "starts-with", "value": "ac"}),
    ],
)
def test_a_scope_is_a_filter(pattern: str, filter_: dict[str, str]) -> None:
    (text,) = export("honeycomb", AlertFile(alert=[alert(kind="spike", tenant=pattern)])).files.values()
    assert filter_ in json.loads(text)["query"]["filters"]


def test_what_a_trigger_cannot_say_is_left_out_and_named() -> None:
    rules = [alert(kind="spend", above=10), alert(kind="spike", tenant="a?b")]
    assert [why.partition(";")[0] for why in export("honeycomb", AlertFile(alert=rules)).left_out.values()] == [
        "a trigger looks at an hour at most",
        "Honeycomb has no words for the pattern 'a?b'",
    ]


class Honeycomb(BaseHTTPRequestHandler):
    """A stand-in for the API, which gives everything an id and keeps it."""

    kept: ClassVar[list[tuple[str, dict[str, Any]]]] = []

    def do_POST(self) -> None:
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        self.kept.append((self.path, body))
        content = json.dumps({**body, "id": f"id{len(self.kept)}"}).encode()
        self.send_response(201)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)

    def log_message(self, format: str, *args: Any) -> None:
        pass


@pytest.mark.parametrize("file", FILES, ids=lambda file: file.stem)
def test_a_board_and_its_queries_are_created_by_the_client(file: Path) -> None:
    async def create(url: str) -> None:
        async with HoneycombClient(api_key="hcaik_test", base_url=url) as client:
            await execute_tool(client, "honeycomb_create_board", wanted)

    Honeycomb.kept.clear()
    server = ThreadingHTTPServer(("127.0.0.1", 0), Honeycomb)
    threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
    wanted = json.loads(file.read_text("utf-8"))
    try:
        asyncio.run(create(f"http://127.0.0.1:{server.server_port}"))
    finally:
        server.shutdown()
        server.server_close()
    queries = [body for path, body in Honeycomb.kept if path == "/1/queries/__all__"]
    (board,) = [body for path, body in Honeycomb.kept if path == "/1/boards"]
    assert board["name"] == wanted["name"]
    assert len(board["panels"]) == len(queries) == len(wanted["panels"])
    for query, panel in zip(queries, wanted["panels"], strict=True):
        for name in OF_A_QUERY & panel.keys():
            assert query[name] == panel[name] or name == "filter_combination", (panel["name"], name)
