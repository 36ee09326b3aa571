"""The server of the page: who may read, how, and what is in an answer."""

from __future__ import annotations

import json
import re
import socket
import threading
from html import unescape
from html.parser import HTMLParser
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest

from genledger.budgets.budget_status import BudgetStatus
from genledger.cli.trace import print_trace
from genledger.dashboards.local_page.ledger_source import Readers
from genledger.dashboards.local_page.page import Source
from genledger.dashboards.local_page.server import BindError, PageServer, is_loopback
from genledger.dashboards.local_page.view import View
from genledger.ledger import Ledger
from genledger.ledger.query import Query, ask

from .conftest import Get, served
from .month import HOSTILE, TRACE

TOKEN = "a-token-of-many-characters"
BOARDS = ("overview", "spend", "tenants", "outcomes", "models", "reliability", "retrieval", "unpriced", "explore")


class Page(HTMLParser):
    """What a browser makes of a page: its elements, links, panels, and the rows of its tables."""

    def __init__(self, text: str) -> None:
        super().__init__(convert_charrefs=True)
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self.links: list[str] = []
        self.titles: list[str] = []
        self.data: list[Any] = []
        self.tables: dict[str, list[list[str]]] = {}
        self._within: list[str] = []
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        values = dict(attrs)
        self.elements.append((tag, values))
        if tag == "a":
            self.links.append(values["href"] or "")
        if tag == "h2":
            self.titles.append("")
        if tag == "table":
            self.tables[self.titles[-1]] = []
        if tag == "tr":
            self.tables[self.titles[-1]].append([])
        if tag in ("td", "th"):
            self.tables[self.titles[-1]][-1].append("")
        self._within.append(tag)

    def handle_endtag(self, tag: str) -> None:
        while self._within and self._within.pop() != tag:
            pass

    def handle_data(self, data: str) -> None:
        if self._within and self._within[-1] == "script" and data.startswith("{"):
            self.data.append(json.loads(data))
        elif "h2" in self._within:
            self.titles[-1] += data
        elif "td" in self._within or "th" in self._within:
            self.tables[self.titles[-1]][-1][-1] += data


@pytest.mark.parametrize("board", BOARDS)
def test_every_dashboard_is_answered(get: Get, board: str) -> None:
    reply = get(f"/?board={board}")
    assert reply.status == 200
    assert reply.text.endswith("</html>\n")
    assert 'role="alert"' not in reply.text
    assert Page(reply.text).titles


def test_the_overview_has_what_a_team_needs_on_day_one(get: Get) -> None:
    titles = Page(get().text).titles
    assert {"Cost by feature", "Top tenants, 24 hours and 7 days", "Cost per outcome", "Tokens per outcome"} <= {
        *titles
    }
    assert {"Cost by model", "Error rate", "Cost of retried calls", "Time to first chunk by model"} <= {*titles}
    assert "Unpriced share" in titles


def test_the_numbers_are_those_of_the_ledger(get: Get, month: Path) -> None:
    with Ledger(month).reading() as connection:
        rows = ask(connection, Query(metrics=("calls",), by=("model",))).rows
    shown = Page(get("/?board=explore&metric=calls&by=model&since=all").text).tables["Calls by model"]
    assert {row[0]: row[1] for row in shown[1:]} == {row["model"]: f"{row['calls']:,}" for row in rows}


def test_a_table_beside_every_chart_has_the_same_numbers(get: Get) -> None:
    page = Page(get("/?board=models&since=all").text)
    charts = [tag for tag, values in page.elements if values.get("class") == "chart"]
    assert len(charts) == len(page.data) >= 3
    (cost, *_) = page.data
    newest = page.tables["Cost by model"][1]
    values = [one["values"][-1] for one in cost["series"]]
    assert [float(text.strip("$").replace(",", "")) for text in newest[1:]] == pytest.approx([*values, sum(values)])


def test_from_a_bar_to_its_traces_and_from_a_trace_to_its_tree(get: Get, month: Path) -> None:
    page = Page(get("/?board=models&since=all").text)
    bar = page.data[0]["series"][0]["to"] + page.data[0]["spans"][-1]
    assert bar in page.links
    traces = Page(get("/" + bar).text)
    rows = traces.tables["Traces by cost"]
    assert rows[0] == ["trace", "cost", "calls", "tokens", "errors"]
    opened = next(link for link in traces.links if "trace=" in link)
    tree = get("/" + opened)
    assert tree.status == 200
    assert rows[1][0] in tree.text


def test_a_trace_is_the_tree_of_the_command(get: Get, source: Source) -> None:
    from rich.console import Console

    console = Console(width=1_000, record=True, markup=False, highlight=False, file=open("/dev/null", "w"))  # noqa: SIM115
    print_trace(console, source.find(TRACE).spans)
    expected = [re.sub(r"^[ │├└─]+", "", line).strip() for line in console.export_text().splitlines()]
    lines = re.findall(r'class="line">(.*?)</(?:h1|span)>(?=<ul|</li|</section)', get(f"/?trace={TRACE[:20]}").text)
    assert [re.sub(r"\s+", " ", unescape(re.sub("<[^>]+>", "", line))) for line in lines] == [
        re.sub(r"\s+", " ", line) for line in expected
    ]


def test_a_trace_that_there_is_not_says_so(get: Get) -> None:
    assert "There is no call of trace &#x27;ffff&#x27;" in get("/?trace=ffff").text


def test_hostile_names_are_text(get: Get) -> None:
    for board in BOARDS:
        page = Page(get(f"/?board={board}&where=tenant%3D{HOSTILE[0]}".replace("<", "%3C").replace(" ", "+")).text)
        for tag, values in page.elements:
            assert tag not in ("img", "iframe", "b", "i", "object")
            assert not any(name.startswith("on") for name in values)
            if tag == "script":
                assert values.get("src") in ("charts.js", "page.js") or values.get("type") == "application/json"
        assert all(link.startswith(("?", "#")) for link in page.links)
    names = {row[0] for row in Page(get("/?board=tenants&since=all").text).tables["Tokens by tenant"]}
    assert {*HOSTILE[:5], "A" * 300, "\\u202eevil"} <= names


def test_an_empty_ledger_is_a_page_that_says_so(tmp_path: Path) -> None:
    Ledger(tmp_path / "empty.db").open()
    readers = Readers(tmp_path / "empty.db")
    with served(Source("empty.db", readers.ask, readers.find)) as asked:
        for board in BOARDS:
            reply = asked(f"/?board={board}&since=all")
            assert reply.status == 200
            assert 'role="alert"' not in reply.text
        assert "Nothing in this period." in asked().text


def test_budgets_are_shown_where_there_are_some(source: Source) -> None:
    budgets = [BudgetStatus("daily", "tenant=<b>", "usd", "day", 50.0, 40.0, 5.0, 5.0, 0.8, None, 1)]
    with served(Source("ledger", source.ask, source.find, lambda: budgets)) as asked:
        table = Page(asked("/?board=budgets").text).tables["Budgets that are used most"]
    assert table[1] == ["daily", "tenant=<b>", "80.0%", "$50.00", "$40.00", "$5.00", "$5.00", "never"]


def test_a_form_leads_to_an_address_to_share(get: Get) -> None:
    reply = get("/?board=spend&since=7d&until=&tz=UTC&tenant=acme&feature=&model=&where=user%3Dann&where=")
    assert reply.status == 303
    assert parse_qs(urlsplit(reply.headers["location"]).query) == {
        "board": ["spend"],
        "since": ["7d"],
        "tz": ["UTC"],
        "where": ["tenant=acme", "user=ann"],
    }


@pytest.mark.parametrize(
    ("query", "said"),
    [
        ("tz=Mars", "there is no time zone"),
        ("since=sometime&board=spend", "sometime"),
        ("board=nothing", "There is no &#x27;nothing&#x27;"),
        ("board=explore&metric=spend", "there is no metric"),
        ("board=explore&by=nobody", "there is no field"),
        ("where=nothing", "is no condition"),
        ("since=all&until=2020-01-01", "Nothing in this period."),
    ],
)
def test_an_address_with_a_mistake_says_what_is_wrong(get: Get, query: str, said: str) -> None:
    reply = get(f"/?{query}")
    assert reply.status in (200, 400)
    assert said in reply.text
    assert reply.text.endswith("</html>\n")


@pytest.mark.parametrize("method", ["POST", "PUT", "PATCH", "DELETE", "OPTIONS"])
def test_the_page_can_only_be_read(get: Get, method: str) -> None:
    reply = get(method=method)
    assert (reply.status, reply.headers["allow"]) == (405, "GET, HEAD")


def test_a_head_has_no_body(get: Get) -> None:
    reply = get(method="HEAD")
    assert (reply.status, reply.text) == (200, "")


def test_the_ledger_cannot_be_written_through_the_page(month: Path) -> None:
    readers = Readers(month)
    with pytest.raises(Exception, match="readonly"), readers.reading() as connection:
        connection.execute("DELETE FROM calls")


@pytest.mark.parametrize("host", ["evil.example", "evil.example:8321", "127.0.0.1.evil.example", "", "[::1", "a b"])
def test_a_name_that_another_site_had_resolved_is_refused(get: Get, host: str) -> None:
    reply = get(Host=host)
    assert reply.status in (400, 421)
    assert "Cost" not in reply.text


@pytest.mark.parametrize("host", ["localhost", "LOCALHOST:9", "127.0.0.1:9000", "[::1]:8321"])
def test_own_names_and_addresses_are_not(get: Get, host: str) -> None:
    assert get("/page.css", Host=host).status == 200


@pytest.mark.parametrize("path", ["/", "/page.js", "/charts.js", "/nothing", "/?tz=Mars"])
def test_nothing_is_loaded_from_elsewhere_or_embedded_there(get: Get, path: str) -> None:
    headers = get(path).headers
    policy = dict(part.split(" ", 1) for part in headers["content-security-policy"].split("; "))
    assert policy["default-src"] == "'none'"
    assert policy["script-src"] == "'self'"
    assert policy["frame-ancestors"] == "'none'"
    assert not re.search("https?:|\\*", headers["content-security-policy"])
    assert headers["cross-origin-resource-policy"] == "same-origin"
    assert headers["x-content-type-options"] == "nosniff"
    assert "access-control-allow-origin" not in headers
    assert "server" not in headers or "Python" not in headers["server"]


def test_what_the_page_loads_is_there(get: Get) -> None:
    page = Page(get().text)
    loaded = [values.get("src") or values.get("href") for tag, values in page.elements if tag in ("script", "link")]
    for path in filter(None, loaded):
        if not path.startswith("data:"):
            assert get(f"/{path}").status == 200


@pytest.mark.parametrize("host", ["0.0.0.0", "192.0.2.1", "::", "example.org"])
def test_other_machines_are_let_in_by_a_token_alone(source: Source, host: str) -> None:
    assert not is_loopback(host)
    with pytest.raises(BindError, match="--token"):
        PageServer(source, View(), host=host)
    with pytest.raises(BindError, match="needs 16 letters"):
        PageServer(source, View(), host=host, token="short")


def test_with_a_token_nothing_is_shown_without_it(source: Source) -> None:
    with served(source, token=TOKEN) as asked:
        for path in ("/", "/page.js", "/charts.js", "/?board=spend", f"/?trace={TRACE}"):
            for headers in ({}, {"Authorization": "Bearer wrong"}, {"Cookie": "genledger_token=wrong"}):
                reply = asked(path, **headers)
                assert reply.status == 401
                assert "Cost" not in reply.text
        assert asked("/?token=wrong").status == 401
        assert asked("/?board=spend", Authorization=f"Bearer {TOKEN}").status == 200


def test_a_token_is_given_once_and_does_not_stay_in_the_address(source: Source) -> None:
    with served(source, token=TOKEN) as asked:
        reply = asked(f"/?board=spend&token={TOKEN}")
        assert (reply.status, reply.headers["location"]) == (303, "?board=spend")
        cookie = reply.headers["set-cookie"]
        assert {"HttpOnly", "SameSite=Lax", "Path=/"} <= {*cookie.split("; ")}
        assert asked("/?board=spend", Cookie=cookie.split(";")[0]).status == 200


def test_a_reader_that_says_nothing_keeps_nobody_waiting(get: Get, source: Source) -> None:
    server = PageServer(source, View())
    threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
    idle = [socket.create_connection(server.server_address[:2]) for _ in range(20)]
    try:
        with socket.create_connection(server.server_address[:2], timeout=60) as reader:
            reader.sendall(b"GET /page.css HTTP/1.0\r\nHost: localhost\r\n\r\n")
            assert reader.recv(12) == b"HTTP/1.0 200"
    finally:
        for one in idle:
            one.close()
        server.shutdown()
        server.server_close()
