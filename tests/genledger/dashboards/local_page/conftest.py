from __future__ import annotations

import http.client
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from genledger.dashboards.local_page.ledger_source import Readers
from genledger.dashboards.local_page.page import Source
from genledger.dashboards.local_page.view import View

from .month import write_month


class Reply(NamedTuple):
    """What the server answered; names of headers in small letters."""

    status: int
    headers: dict[str, str]
    text: str


Get = Callable[..., Reply]


@pytest.fixture(scope="session")
def month(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A ledger with a month of calls, some of them of tenants with hostile names."""
    path = tmp_path_factory.mktemp("page") / "ledger.db"
    write_month(path)
    return path


@pytest.fixture(scope="session")
def source(month: Path) -> Source:
    readers = Readers(month)
    return Source(str(month), readers.ask, readers.find)


@contextmanager
def served(source: Source, **settings: Any) -> Iterator[Get]:
    """Serve the page, and return what asks it."""
    from genledger.dashboards.local_page.server import PageServer

    server = PageServer(source, settings.pop("home", View()), **settings)
    threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()

    def get(path: str = "/", method: str = "GET", **headers: str) -> Reply:
        connection = http.client.HTTPConnection("127.0.0.1", server.server_address[1], timeout=60)
        try:
            connection.request(method, path, headers=headers)
            answer = connection.getresponse()
            known = {name.lower(): value for name, value in answer.getheaders()}
            return Reply(answer.status, known, answer.read().decode())
        finally:
            connection.close()

    try:
        yield get
    finally:
        server.shutdown()
        server.server_close()


@pytest.fixture(scope="session")
def get(source: Source) -> Iterator[Get]:
    with served(source) as asked:
        yield asked
