"""Every row of `rows/`, synchronous and not, with Genledger on it."""

from __future__ import annotations

import importlib
import importlib.metadata
import importlib.util
import pkgutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from tests.contract import rows
from tests.contract.coverage import Results
from tests.contract.row import Row
from tests.contract.server import serving
from tests.contract.stores.row import StoreRow
from tests.instrumentors.provider import items, now
from tests.instrumentors.telemetry import Telemetry, attributes_of, instrumented

from genledger_semconv.checker import assert_clean


def pytest_addoption(parser: pytest.Parser) -> None:
    """Add the option that says where results are written."""
    parser.addoption("--coverage-results", type=Path, help="where to write what tests came to")


def pytest_configure(config: pytest.Config) -> None:
    """Write down results, in the process that has all of them."""
    path = config.getoption("coverage_results")
    if path is not None and not hasattr(config, "workerinput"):
        config.pluginmanager.register(Results(path))


def described(library: str, operation: str, asynchronous: bool, *, store: bool) -> list[tuple[str, object]]:
    """What `coverage` has to know of a test."""
    (entry,) = importlib.metadata.entry_points(group="opentelemetry_instrumentor", name=library)
    version = importlib.metadata.version(entry.load().distribution)
    found = {"library": library, "operation": operation, "asynchronous": asynchronous, "version": version}
    return list({**found, "store": store}.items())


def importable(module: str) -> bool:
    """Whether a module is installed."""
    try:
        return importlib.util.find_spec(module) is not None
    except ModuleNotFoundError:
        return False


MODULES = [importlib.import_module(f"{rows.__name__}.{found.name}") for found in pkgutil.iter_modules(rows.__path__)]
CLIENTS: list[Row] = [module.ROW for module in MODULES if hasattr(module, "ROW")]
"""What each client is mainly for."""

OPERATIONS: list[Row] = [row for module in MODULES for row in getattr(module, "OPERATIONS", ())]
"""What else the clients do."""


def _cases(rows: list[Row]) -> Iterator[Any]:
    for row in rows:
        for asynchronous in [False] * row.synchronous + [True] * row.asynchronous:
            skip = () if importable(row.module) else (pytest.mark.skip(reason=f"{row.module} is not installed"),)
            name = f"{row.library}-{'async' if asynchronous else 'sync'}-{row.title.replace(' ', '-')}"
            yield pytest.param((row, asynchronous), id=name, marks=skip)


of_each_client = pytest.mark.parametrize("case", list(_cases(CLIENTS)), indirect=True)
"""For promises about a client, whatever it is asked for."""


@dataclass
class Case:
    """One operation of a client, and the server that it talks to."""

    row: Row
    asynchronous: bool
    server: Any

    def client(self, retries: int = 0) -> Any:
        """A client."""
        return self.row.client(self.server.url, self.asynchronous, retries)

    async def whole(self, client: Any, max_tokens: int | None = None) -> Any:
        """Make the call, and wait for the whole answer."""
        return await now(self.row.call(client, stream=False, max_tokens=max_tokens))

    async def stream(self, client: Any, limit: int | None = None) -> list[Any]:
        """Make the call, read its stream (only the first `limit` chunks), and leave it there."""
        stream = await self.opened(client)
        found = await items(stream, limit)
        if limit is not None:
            await self.close(stream)
        return found

    async def opened(self, client: Any) -> Any:
        """Make the call; gives what the stream is read from."""
        return await now(self.row.call(client, stream=True, max_tokens=None))

    async def close(self, stream: Any) -> None:
        """End a stream that is not read on."""
        for name, given in (("close", ()), ("aclose", ()), ("__exit__", (None,) * 3), ("__aexit__", (None,) * 3)):
            close = getattr(stream, name, None)
            if close is not None:
                await now(close(*given))
                return


@pytest.fixture(autouse=True)
def ledger(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The ledger file: one of its own for every test."""
    monkeypatch.setenv("GENLEDGER_LEDGER", str(tmp_path / "ledger.db"))


@pytest.fixture(params=list(_cases(CLIENTS + OPERATIONS)))
def case(request: pytest.FixtureRequest) -> Iterator[Case]:
    """Each operation of each client in turn."""
    row, asynchronous = request.param
    request.node.user_properties += described(row.library, row.title, asynchronous, store=False)
    with serving(row.server) as server:
        yield Case(row, asynchronous, server)


@contextmanager
def recording(row: Row | StoreRow, *, content: bool = False, **options: Any) -> Iterator[Telemetry]:
    """Genledger on one client; what it emits is checked against the registry in the end."""
    capture = {"capture_content": "span"} if content else {}
    with instrumented(libraries=[row.library], **{**capture, **row.options, **options}) as telemetry:
        yield telemetry
        assert_clean(telemetry.spans, telemetry.metrics, telemetry.logs, capture_content=content)
        assert not telemetry.open.spans
        assert not telemetry.complaints.other


def calls(telemetry: Telemetry) -> list[dict[str, Any]]:
    """The attributes of the spans that are calls."""
    return [found for span in telemetry.spans if "genledger.outcome" in (found := attributes_of(span))]


def call(telemetry: Telemetry) -> dict[str, Any]:
    """The attributes of the one call that there must be."""
    (found,) = calls(telemetry)
    return found
