"""The local page in a real browser: what is drawn, what is loaded, the keyboard, the address, narrow and dark."""

from __future__ import annotations

import re
import shutil
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest

playwright = pytest.importorskip("playwright.sync_api", reason="playwright is not installed: `make test-page` has it")
pytest.importorskip("plotly.offline", reason="plotly is not installed: `make test-page` has it")

from genledger.dashboards.local_page.ledger_source import Readers  # noqa: E402
from genledger.dashboards.local_page.one_file import one_file  # noqa: E402
from genledger.dashboards.local_page.page import Source  # noqa: E402
from genledger.dashboards.local_page.server import PageServer  # noqa: E402
from genledger.dashboards.local_page.view import View  # noqa: E402
from genledger.ledger import Ledger  # noqa: E402

from ..genledger.dashboards.local_page.month import HOSTILE, write_month  # noqa: E402

CHROMIUM = shutil.which("chromium")
pytestmark = pytest.mark.skipif(CHROMIUM is None, reason="no Chromium: `apt-get install chromium`")

QUIET = (
    "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking",
    "--disable-component-update", "--disable-sync",
)  # fmt: skip
BOARDS = ("overview", "spend", "tenants", "outcomes", "models", "reliability", "retrieval", "unpriced", "explore")
DRAWN = "document.querySelectorAll('.chart').length === document.querySelectorAll('.chart[data-drawn]').length"
PATIENCE_MS = 120_000

Open = Callable[..., Any]


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    with playwright.sync_playwright() as started:
        opened = started.chromium.launch(executable_path=CHROMIUM, args=QUIET)
        yield opened
        opened.close()


@contextmanager
def served(path: Path) -> Iterator[str]:
    readers = Readers(path)
    server = PageServer(Source("ledger.db", readers.ask, readers.find), View())
    threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
    try:
        yield server.url
    finally:
        server.shutdown()
        server.server_close()


@pytest.fixture(scope="module")
def month(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("browser") / "ledger.db"
    write_month(path)
    return path


@pytest.fixture(scope="module")
def url(month: Path) -> Iterator[str]:
    with served(month) as found:
        yield found


@pytest.fixture
def open_page(browser: Any) -> Iterator[Open]:
    """Opens an address and waits for its charts; at the end, says that nothing went wrong and nothing went out."""
    contexts = []
    strange: list[str] = []

    def note(request: Any) -> None:
        parts = urlsplit(request.url)
        if parts.scheme not in ("data", "blob", "file") and parts.hostname != "127.0.0.1":
            strange.append(f"request to {request.url}")

    def open_page(address: str, *, width: int = 1280, scheme: str = "light") -> Any:
        context = browser.new_context(viewport={"width": width, "height": 900}, color_scheme=scheme)
        contexts.append(context)
        page = context.new_page()
        page.set_default_timeout(PATIENCE_MS)
        page.on("request", note)
        page.on("pageerror", lambda error: strange.append(f"error: {error}"))
        page.on("console", lambda said: strange.append(said.text) if said.type in ("error", "warning") else None)
        page.on("dialog", lambda dialog: (strange.append(f"dialog: {dialog.message}"), dialog.dismiss()))
        page.goto(address)
        page.wait_for_function(DRAWN)
        return page

    yield open_page
    for context in contexts:
        context.close()
    assert strange == []


@pytest.mark.parametrize("board", BOARDS)
def test_charts_are_drawn_of_hostile_names_and_nothing_is_loaded_from_elsewhere(
    open_page: Open, url: str, board: str
) -> None:
    page = open_page(f"{url}?board={board}&since=all")
    assert page.locator(".chart").count() == page.locator(".chart .main-svg").count() / 3
    assert page.locator("main img, main b, main i, main iframe, svg a").count() == 0


def test_names_in_charts_are_as_they_are(open_page: Open, url: str) -> None:
    page = open_page(f"{url}?board=explore&metric=cost&by=tenant&since=all")
    labels = page.locator(".chart .ytick text").all_text_contents()
    for name in HOSTILE:
        start = name.replace("\u202e", "\\u202e")[:20]
        assert any(label.startswith(start) for label in labels), (start, labels)


def test_from_a_bar_to_its_traces_to_a_tree_and_back(open_page: Open, url: str) -> None:
    page = open_page(f"{url}?board=models&since=all")
    first = page.url
    bars = page.locator(".chart").first.locator(".bars .point path")
    tall = max(range(bars.count()), key=lambda at: bars.nth(at).bounding_box()["height"])
    box = bars.nth(tall).bounding_box()
    page.mouse.click(box["x"] + box["width"] / 2, box["y"] + box["height"] / 2)
    page.wait_for_url(re.compile("traces=cost"))
    given = parse_qs(urlsplit(page.url).query)
    assert given["where"][0].startswith("model=")
    assert {"since", "until"} <= given.keys()
    page.locator("tbody th a").first.click()
    page.wait_for_url(re.compile("trace="))
    assert page.get_by_text("planner <b>").count() == 1
    assert page.locator(".tree .tree .tree").count() >= 1
    page.go_back()
    page.wait_for_url(re.compile("traces=cost"))
    page.go_back()
    page.wait_for_url(first)
    page.wait_for_function(DRAWN)


def test_all_is_done_with_the_keyboard(open_page: Open, url: str) -> None:
    page = open_page(url)
    page.keyboard.press("Tab")
    assert page.evaluate("document.activeElement.textContent") == "Skip to the panels"
    order = []
    while (name := page.evaluate("document.activeElement.name || document.activeElement.className")) != "where":
        page.keyboard.press("Tab")
        order.append(name)
        assert len(order) < 60
    inputs = [name for name in order if name in ("since", "until", "tz", "tenant", "feature", "model")]
    assert inputs == ["since", "until", "tz", "tenant", "feature", "model"]
    page.get_by_role("combobox", name="Tenant", exact=True).focus()
    page.keyboard.type("acme")
    page.keyboard.press("Enter")
    page.wait_for_url(re.compile("where=tenant%3Dacme"))
    page.wait_for_function(DRAWN)
    remove = page.get_by_role("link", name="Remove the condition: tenant is acme")
    remove.focus()
    page.keyboard.press("Enter")
    page.wait_for_url(lambda address: "where" not in address)
    page.go_back()
    page.wait_for_url(re.compile("where=tenant%3Dacme"))
    cell = page.locator("td a").first
    cell.focus()
    page.keyboard.press("Enter")
    page.wait_for_url(re.compile("traces="))


def test_everything_that_is_used_has_a_name(open_page: Open, url: str) -> None:
    page = open_page(f"{url}?board=explore&metric=cost&by=feature&every=day&since=all")
    unnamed = page.evaluate(
        """[...document.querySelectorAll('input:not([type=hidden]), select, button, a, [role=img], [role=region]')]
        .filter((one) => !(one.labels?.length || one.textContent.trim() || one.getAttribute('aria-label')))
        .map((one) => one.outerHTML)"""
    )
    assert unnamed == []
    assert page.locator("h1").count() == 1


@pytest.mark.parametrize("board", BOARDS)
def test_on_a_narrow_window_nothing_is_beside_it(open_page: Open, url: str, board: str) -> None:
    page = open_page(f"{url}?board={board}&since=all", width=360)
    assert page.evaluate("document.documentElement.scrollWidth") <= 360
    for box in page.locator(".panel, .controls label").all():
        place = box.bounding_box()
        assert place["x"] >= 0
        assert place["x"] + place["width"] <= 360


def test_a_trace_is_readable_on_a_narrow_window(open_page: Open, url: str) -> None:
    page = open_page(f"{url}?trace={1 << 64:032x}", width=360)
    assert page.evaluate("document.documentElement.scrollWidth") <= 360


def test_charts_follow_light_and_dark(open_page: Open, url: str) -> None:
    page = open_page(f"{url}?board=models", scheme="dark")
    label = page.locator(".chart .xtick text").first
    dark = label.evaluate("(one) => getComputedStyle(one).fill"), page.evaluate("getComputedStyle(document.body).color")
    page.emulate_media(color_scheme="light")
    page.wait_for_function(
        "(was) => getComputedStyle(document.querySelector('.chart .xtick text')).fill !== was", arg=dark[0]
    )
    assert page.evaluate("getComputedStyle(document.body).color") != dark[1]


def test_an_empty_ledger_has_a_page(open_page: Open, tmp_path: Path) -> None:
    Ledger(tmp_path / "empty.db").open()
    with served(tmp_path / "empty.db") as address:
        page = open_page(address)
        assert page.get_by_text("Nothing in this period.").count() > 3


def test_the_page_as_a_file_draws_its_charts_without_a_server(open_page: Open, month: Path, tmp_path: Path) -> None:
    readers = Readers(month)
    source = Source("ledger.db", readers.ask, readers.find)
    file = tmp_path / "page.html"
    file.write_text("".join(one_file(View(since="all"), source, datetime.now(UTC))), encoding="utf-8")
    page = open_page(file.as_uri())
    assert page.locator(".chart .main-svg").count() > 10
    assert page.locator("main a, form").count() == 0
